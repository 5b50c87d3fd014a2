"""Penalties and constraints on a critic: pure functions of closures, arrays and trees.

A penalty asks only for a closure `critic: [B, ...] -> [B]` (or `[B, 1]`): bind parameters, labels
and state first, so that each sample's output depends on that sample alone. That excludes batch
normalisation in the critic, whose coupling of samples makes per-sample gradients meaningless
(WGAN-GP, Section 4). Results are unscaled, so the weight (lambda) is the caller's, and float32
scalars whatever the dtype of the samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def gradient_penalty(
    critic: Callable[[jax.Array], jax.Array],
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
    target: float = 1.0,
    one_sided: bool = False,
) -> jax.Array:
    """Pulls the norm of the critic's input gradient to `target`, between real and generated
    samples.

        E (||grad C(y)|| - target)^2,    y = x + alpha (x' - x),    alpha ~ U[0, 1]

    alpha is uniform and drawn once per sample (not normal, not per pixel), and the norm is over all
    axes but the first. The root's value is exact and its gradient 0 where the critic is flat, so a
    dead critic gives target^2 and no NaN.

    Args:
      critic: samples [B, ...] -> logits [B] or [B, 1], each depending on its own sample alone.
      real: [B, ...], floating point. Interpolates have the dtype of both, or float32 if they
        differ.
      fake: [B, ...], of the same shape. Stop its gradient if the generator moves in the same turn.
      key: for alpha.
      target: the norm to pull to.
      one_sided: penalise only norms above the target: E max(0, ||grad C(y)|| - target)^2.

    Returns:
      The unscaled penalty, a float32 scalar. The paper's weight is 10.

    Sources: Gulrajani et al., Improved Training of Wasserstein GANs (2017), Eq. 3; for one-sided,
      its Section 4 and Petzka et al., On the Regularization of Wasserstein GANs (2018).

    >>> import jax, jax.numpy as jnp
    >>> x = jax.random.normal(jax.random.key(0), (2, 4, 3))
    >>> slope_2 = lambda x: 2.0 * x[:, 0]
    >>> print(gradient_penalty(slope_2, x[0], x[1], jax.random.key(1)))  # (2 - 1)^2
    1.0
    """
    real, fake = jnp.asarray(real), jnp.asarray(fake)
    _check_samples(real, fake)
    if isinstance(target, int | float) and target < 0:
        raise ValueError(f"target is {target}, but a norm is never negative; give 0 or more.")
    dtype = real.dtype if real.dtype == fake.dtype else jnp.float32
    real, fake = real.astype(jnp.float32), fake.astype(jnp.float32)
    alpha = jax.random.uniform(key, (real.shape[0],) + (1,) * (real.ndim - 1), jnp.float32)
    interpolates = (real + alpha * (fake - real)).astype(dtype)

    gradient = jax.grad(lambda x: _total(critic, x))(interpolates)
    excess = safe_norm(gradient) - target
    if one_sided:
        excess = jax.nn.relu(excess)
    return jnp.mean(jnp.square(excess))


def safe_norm(x: jax.Array) -> jax.Array:
    """Euclidean norm of each sample, [B, ...] -> float32 [B], with gradient 0 (not NaN) where it is
    0.

    The value is exact: no epsilon under the root, which would bias small norms.

    >>> import jax.numpy as jnp
    >>> print(safe_norm(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
    [5. 0.]
    """
    square = jnp.sum(jnp.square(x.astype(jnp.float32)), axis=tuple(range(1, x.ndim)))
    positive = square > 0.0
    # The inner `where` keeps the root's infinite slope at 0 out of the gradient, the outer one
    # restores the value.
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def clip_weights(params: Any, limit: float) -> Any:
    """Clips every leaf of the tree to [-limit, limit].

    To leave some parameters alone, pass the others only. The paper's limit is 0.01, applied after
    each step of the critic.

    Source: Arjovsky et al., Wasserstein GAN (2017), Algorithm 1, line 7.

    >>> import jax.numpy as jnp
    >>> print(clip_weights({"kernel": jnp.array([-3.0, 0.5])}, 1.0)["kernel"])
    [-1.   0.5]
    """
    if isinstance(limit, int | float) and not limit > 0:
        raise ValueError(f"limit is {limit}; weights are clipped to a limit above 0.")

    def clip(w: jax.Array) -> jax.Array:
        bound = jnp.asarray(limit, w.dtype)
        return jnp.clip(w, -bound, bound)

    return jax.tree.map(clip, params)


def _check_samples(real: jax.Array, fake: jax.Array) -> None:
    if real.shape != fake.shape:
        raise ValueError(
            f"real has shape {real.shape} and fake {fake.shape}; each interpolate needs one of "
            "both, so make the shapes equal."
        )
    if real.ndim == 0 or real.size == 0:
        raise ValueError(
            f"real and fake have shape {real.shape}, which holds no samples; give [B, ...]."
        )
    for name, x in (("real", real), ("fake", fake)):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"{name} has dtype {x.dtype}, which has no gradient; convert it to floating point."
            )


def _total(critic: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Sum of the critic's outputs: its gradient is each sample's own, as samples do not mix."""
    logits = critic(x)
    batch = x.shape[0]
    shape = getattr(logits, "shape", None)
    if shape not in ((batch,), (batch, 1)):
        found = f"an array of shape {shape}" if shape is not None else f"a {type(logits).__name__}"
        raise ValueError(
            f"the critic returned {found} for a batch of {batch}; a gradient penalty needs one "
            f"number per sample, [{batch}] or [{batch}, 1] (average a patch critic's map first)."
        )
    return jnp.sum(logits.astype(jnp.float32))
