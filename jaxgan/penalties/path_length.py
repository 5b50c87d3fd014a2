"""Path length regularisation of a generator."""

from __future__ import annotations

import numbers
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgan import draws
from jaxgan.penalties.gradient import safe_norm


def path_length(
    generator: Callable[[jax.Array], jax.Array],
    w: jax.Array,
    mean: jax.Array,
    key: jax.Array,
    decay: float = 0.99,
    checkpoint: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Penalty for the distance of path lengths (image change per step in w) from their running mean.

        E (||J_w^T y|| - a)^2,    J_w = d G(w) / d w,    y ~ N(0, I) / sqrt(H W)

    J_w^T y is the gradient of sum(G(w) y) with respect to w. For w [B, L, D], one vector for each of L
    layers, the norm is over D and its square is averaged over the layers. y is scaled so that lengths do
    not depend on the resolution. The target `a` is the running mean including this batch, without gradient. It does not
    move if the batch's mean is NaN or infinite, so that only this penalty is NaN and not all later ones.

    Args:
      generator: w -> images [B, H, W, C]; each image must depend on its own w only (noise inputs may be
        fixed or drawn inside).
      w: [B, D] or [B, L, D].
      mean: the running mean `a`, a float32 scalar, initially 0.
      key: random key for y.
      decay: decay of the running mean per call.
      checkpoint: recompute the generator's activations instead of storing them.

    Returns:
      (the unscaled penalty, the new mean), float32 scalars; the mean has no gradient. The
      paper's weight corresponds to 2 here at any resolution r, times the interval of the regulariser: its
      log 2 / (r^2 (log r - log 2)) is for noise of variance 1 and lengths summed over the layers
      (StyleGAN2, Appendix B).

    Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020), Eq. 4, and
      Appendix B for the details.

    >>> import jax, jax.numpy as jnp
    >>> brightness = lambda w: jnp.broadcast_to(w[:, :1, None, None], (2, 4, 4, 1))
    >>> penalty, mean = path_length(brightness, jnp.zeros((2, 8)), jnp.float32(0), jax.random.key(0))
    >>> penalty, mean = path_length(brightness, jnp.zeros((2, 8)), mean, jax.random.key(1))
    """
    w = jnp.asarray(w)
    _check_arguments(w, mean, decay)

    def projection(w: jax.Array) -> jax.Array:
        images = generator(w)
        _check_images(images, w)
        y = draws.normal(key, images.shape)
        y /= jnp.sqrt(jnp.float32(images.shape[1] * images.shape[2]))
        return jnp.sum(images.astype(jnp.float32) * y)

    gradient = jax.grad(jax.checkpoint(projection) if checkpoint else projection)(w)
    layers = w.shape[1] if w.ndim == 3 else 1
    lengths = safe_norm(gradient) / jnp.sqrt(jnp.float32(layers))
    batch_mean = jax.lax.stop_gradient(jnp.mean(lengths))
    mean = jax.lax.stop_gradient(jnp.asarray(mean, jnp.float32))
    moved = mean + (1.0 - jnp.asarray(decay, jnp.float32)) * (batch_mean - mean)
    mean = jnp.where(jnp.isfinite(batch_mean), moved, mean)
    return jnp.mean(jnp.square(lengths - mean)), mean


def _check_arguments(w: jax.Array, mean, decay) -> None:
    """Raises for invalid arguments."""
    if w.ndim not in (2, 3) or w.size == 0:
        raise ValueError(f"w has shape {w.shape}; give [B, D], or [B, L, D] for L layers.")
    if not jnp.issubdtype(w.dtype, jnp.floating):
        raise ValueError(f"w has dtype {w.dtype}, which has no gradient; convert it to float.")
    if isinstance(decay, numbers.Real) and not 0 <= float(decay) <= 1:
        raise ValueError(f"decay is {decay}; give 0 (no memory) to 1 (a fixed mean).")
    if jnp.shape(mean) != ():
        raise ValueError(
            f"mean has shape {jnp.shape(mean)}; give the scalar that the last call returned."
        )


def _check_images(images: jax.Array, w: jax.Array) -> None:
    """Raises unless the generator returned one image for each w."""
    if images.ndim != 4 or images.shape[0] != w.shape[0]:
        raise ValueError(
            f"the generator returned shape {images.shape} for w of shape {w.shape}; "
            f"path_length needs images [{w.shape[0]}, H, W, C]."
        )
