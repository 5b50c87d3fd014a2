"""Penalties and constraints on a critic or a generator: pure functions of closures, arrays and
trees.

Gradient penalties take a closure `critic: [B, ...] -> [B]` (or `[B, 1]`), with parameters, labels and
state bound. Each sample's output must depend on that sample alone. This excludes batch normalisation in
the critic, with which per-sample gradients are not defined (WGAN-GP, Section 4). For a conditional
critic, the closure contains the labels of the samples.

    penalty = 5.0 * penalties.r1(lambda x: critic.apply(variables, x, labels), real)

Each returns a float32 scalar to be minimised, whatever the dtype of the samples. The caller multiplies
it by its weight (lambda, gamma). State between steps (the running mean of the path length, LeCam's
averages of the logits) is an argument and a result.

`checkpoint=True` recomputes the critic's activations instead of storing them (`jax.checkpoint`). It
costs about one more forward pass; `docs/maths.md` has a table of the memory that it saves.
"""

from jaxgan.penalties.gradient import (
    approximate_r1,
    approximate_r2,
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
    "approximate_r1",
    "approximate_r2",
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
