"""One level of the Haar wavelet transform, and its inverse."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgan.resample.fir import check_images


def haar(x: jax.Array) -> jax.Array:
    """Splits images into four bands of half the size: [B, H, W, C] -> [B, H/2, W/2, 4C].

    For each block of four pixels, a b above c d,

        LL = (a + b + c + d) / 2,    LH = (a + b - c - d) / 2,
        HL = (a - b + c - d) / 2,    HH = (a - b - c + d) / 2.

    The channels are all of LL, then LH (low-pass horizontally, high-pass vertically: horizontal edges), HL and
    HH. The transform is orthonormal: it preserves norms and inner products, and `haar_inverse` is its
    transpose.

    Args:
      x: images [B, H, W, C], floating point; H and W even.

    Returns:
      [B, H/2, W/2, 4C] in the type of `x`.

    Source: Gal et al., SWAGAN: A Style-based Wavelet-driven Generative Model (2021), Section 3.

    >>> import jax.numpy as jnp
    >>> haar(jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)).ravel().tolist()
    [5.0, -2.0, -1.0, 0.0]
    """
    check_images("haar", x)
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise ValueError(
            f"haar halves height and width, so both must be even; got {h}x{w}. Pad or resize the "
            "images first."
        )
    x = x.reshape(b, h // 2, 2, w // 2, 2, c)
    low, high = x[:, :, 0] + x[:, :, 1], x[:, :, 0] - x[:, :, 1]
    bands = [_mixed(rows, sign) for rows in (low, high) for sign in (1, -1)]
    ll, hl, lh, hh = bands
    return jnp.concatenate([ll, lh, hl, hh], axis=3) / 2


def haar_inverse(bands: jax.Array) -> jax.Array:
    """The inverse of `haar`: [B, h, w, 4C] -> [B, 2h, 2w, C], in the dtype of `bands`.

    Source: as for `haar`.

    >>> import jax.numpy as jnp
    >>> haar_inverse(jnp.array([5.0, -2.0, -1.0, 0.0]).reshape(1, 1, 1, 4))[0, :, :, 0].tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    check_images("haar_inverse", bands)
    b, h, w, c = bands.shape
    if c % 4:
        raise ValueError(
            f"haar_inverse takes four bands, 4C channels in the order LL, LH, HL, HH; got {c}."
        )
    ll, lh, hl, hh = jnp.split(bands, 4, axis=3)
    rows = [jnp.stack([ll + s * lh + t * (hl + s * hh) for t in (1, -1)], axis=3) for s in (1, -1)]
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, c // 4) / 2


def _mixed(x, sign: int):
    """[B, h, w, 2, C]: the left of each pair of columns, plus or minus the right."""
    return x[:, :, :, 0] + sign * x[:, :, :, 1]
