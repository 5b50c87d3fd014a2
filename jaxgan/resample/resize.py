"""Resizing to any size."""

from __future__ import annotations

import numbers

import jax

from jaxgan.resample.fir import check_images, widened

METHODS = ("linear", "cubic", "lanczos3", "lanczos5")


def resize_antialiased(x: jax.Array, size: tuple[int, int], method: str = "cubic") -> jax.Array:
    """Resizes images; when they shrink, the filter is widened in proportion to avoid aliasing.

    Along each axis, output i is the mean of the pixels j weighted by

        k((j - c) / s),    c = (i + 1/2) n / m - 1/2,    s = max(1, n / m),

    where n and m are the old and the new size. Pixels are squares; weights outside the image are removed and the
    others renormalised. k is the triangle ("linear"), Keys's cubic with a = -1/2 ("cubic"), or the sinc with a
    window of 3 or 5 lobes ("lanczos3", "lanczos5"). The results equal Pillow's BILINEAR, BICUBIC and LANCZOS on
    float images (mode "F"), so "cubic" on float pixels is the mode "clean" of clean-fid. For 8-bit images Pillow
    rounds after each of the two passes, which changes results by one or two levels. Library functions that do not
    widen the filter (`torch.nn.functional.interpolate` without `antialias`, TensorFlow 1) give other results when
    they shrink.

    Args:
      x: images [B, H, W, C], floating point.
      size: the new (height, width), each at least 1.
      method: one of `METHODS`.

    Returns:
      [B, height, width, C] in the dtype of `x`; sums are computed in float32 or wider. "cubic" and
      "lanczos" overshoot at edges; clip to the range of pixels if necessary.

    Source: Parmar et al., On Aliased Resizing and Surprising Subtleties in GAN Evaluation (2022).

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(4.0).reshape(1, 1, 4, 1)
    >>> print(resize_antialiased(x, (1, 2), "linear").ravel().round(2))  # weights 3/7, 3/7, 1/7
    [0.71 2.29]
    """
    check_images("resize_antialiased", x)
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; give one of {', '.join(METHODS)}.")
    if len(size) != 2 or not all(isinstance(n, numbers.Integral) and n >= 1 for n in size):
        raise ValueError(f"size is {size}; give (height, width), whole numbers from 1.")
    if 0 in x.shape[1:3]:
        raise ValueError(f"x has shape {x.shape}, which holds no pixels to resize.")
    shape = (x.shape[0], *size, x.shape[3])
    return jax.image.resize(widened(x), shape, method, antialias=True).astype(x.dtype)
