"""Resizing to any size."""

from __future__ import annotations

import jax

from jaxgan.resample.fir import check_images, widened

METHODS = ("linear", "cubic", "lanczos3", "lanczos5")


def resize_antialiased(x: jax.Array, size: tuple[int, int], method: str = "cubic") -> jax.Array:
    """Resizes images, the filter widened as much as they shrink, so that nothing folds over.

    Along each axis, output i is the mean of the pixels j weighted by

        k((j - c) / s),    c = (i + 1/2) n / m - 1/2,    s = max(1, n / m),

    n and m being the old and the new size: pixels are squares, and weights beyond an edge go to
    those inside. k is the triangle ("linear"), Keys's cubic with a = -1/2 ("cubic"), or the sinc in
    a window of 3 or 5 lobes ("lanczos3", "lanczos5"). Those are Pillow's BILINEAR, BICUBIC and
    LANCZOS, in size and place, on float images (mode "F"), and so "cubic" on float pixels is what
    clean-fid calls clean. Of 8-bit images Pillow rounds each of the two passes: differences of a
    level or two are its rounding. Library functions that do not widen the filter
    (`torch.nn.functional.interpolate` without `antialias`, TensorFlow 1) give other numbers when
    they shrink.

    Args:
      x: images [B, H, W, C], floating point.
      size: the new (height, width), from 1.
      method: of `METHODS`.

    Returns:
      [B, height, width, C] in the type of `x`; sums are taken in float32 or wider. "cubic" and
      "lanczos" overshoot at edges: clip to the range of pixels if that matters.

    Source: Parmar et al., On Aliased Resizing and Surprising Subtleties in GAN Evaluation (2022).

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(4.0).reshape(1, 1, 4, 1)
    >>> print(resize_antialiased(x, (1, 2), "linear").ravel().round(2))  # weights 3/7, 3/7, 1/7
    [0.71 2.29]
    """
    check_images("resize_antialiased", x)
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; give one of {', '.join(METHODS)}.")
    if len(size) != 2 or not all(isinstance(n, int) and n >= 1 for n in size):
        raise ValueError(f"size is {size}; give (height, width), whole numbers from 1.")
    if 0 in x.shape[1:3]:
        raise ValueError(f"x has shape {x.shape}, which holds no pixels to resize.")
    shape = (x.shape[0], *size, x.shape[3])
    return jax.image.resize(widened(x), shape, method, antialias=True).astype(x.dtype)
