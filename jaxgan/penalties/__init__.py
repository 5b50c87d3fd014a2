"""Penalties and constraints on a critic or a generator: pure functions of closures, arrays and
trees.

Those on a gradient ask only for a closure `critic: [B, ...] -> [B]` (or `[B, 1]`): bind parameters,
labels and state first, so that each sample's output depends on that sample alone. That excludes
batch normalisation in the critic, whose coupling of samples makes per-sample gradients meaningless
(WGAN-GP, Section 4). A conditional critic closes over the labels of its samples.

    penalty = 5.0 * penalties.r1(lambda x: critic.apply(variables, x, labels), real)

Each is one number to be minimised, a float32 scalar whatever the dtype of the samples, without its
weight (lambda, gamma), which is the caller's. What must be remembered from step to step is an
argument and a result: the path length's running mean, LeCam's averages of the logits.

`checkpoint=True` recomputes the critic's activations instead of keeping them (`jax.checkpoint`):
slower by about one forward pass, and what it saves is in the README's table.
"""

from jaxgan.penalties.gradient import (
    dragan,
    gradient_penalty,
    max_gradient_penalty,
    r1,
    r1_r2,
    r2,
    safe_norm,
)
from jaxgan.penalties.logits import (
    LeCam,
    balanced_consistency,
    consistency,
    latent_consistency,
    lecam,
    top_k,
)
from jaxgan.penalties.path_length import path_length
from jaxgan.penalties.weights import clip_weights, orthogonal, spectral_regularisation

__all__ = [
    "LeCam",
    "balanced_consistency",
    "clip_weights",
    "consistency",
    "dragan",
    "gradient_penalty",
    "latent_consistency",
    "lecam",
    "max_gradient_penalty",
    "orthogonal",
    "path_length",
    "r1",
    "r1_r2",
    "r2",
    "safe_norm",
    "spectral_regularisation",
    "top_k",
]
