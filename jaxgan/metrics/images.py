"""Quantisation of generated pictures to uint8.

Quantisation is part of a metric's definition: rounding down, or scaling by the range of the samples,
changes the score (GaParmar/clean-fid). The sampler and the metrics therefore share this function, and
protocols state its rule.
"""

import jax
import jax.numpy as jnp
import numpy as np

QUANTISATION = "uint8 = clip(round(127.5 x + 127.5), 0, 255)"


def to_uint8(images):
    """Quantises pictures in [-1, 1] to uint8: clip(round(127.5 x + 127.5), 0, 255).

    Args:
      images: float [...] of any float dtype, NumPy or JAX; values outside [-1, 1] saturate.

    Returns:
      uint8 [...], a NumPy array for a NumPy array and a JAX array for a JAX array. Computed in
      float32; halves round to even. NaN raises an error, except while being traced, where values
      are unknown: there it becomes 0.

    >>> to_uint8(np.array([-1.0, -0.5, 0.0, 1.0, 7.0])).tolist()
    [0, 64, 128, 255, 255]
    """
    xp = jnp if isinstance(images, jax.Array) else np
    x = xp.asarray(images)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        way = "uint8 needs no quantising"
        if x.dtype != np.uint8:
            way = "convert whole numbers from 0 to 255 by images.astype(numpy.uint8)"
        raise ValueError(f"to_uint8 takes float pictures in [-1, 1], not {x.dtype}; {way}")
    x = x.astype(xp.float32)
    nan = xp.isnan(x)
    if not isinstance(x, jax.core.Tracer) and nan.any():
        raise ValueError("to_uint8 was given pictures that contain NaN: the generator has diverged")
    x = xp.where(nan, xp.float32(-1), xp.clip(x, -1, 1))
    return xp.round(xp.float32(127.5) * x + xp.float32(127.5)).astype(xp.uint8)
