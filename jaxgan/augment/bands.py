"""Amplification of an image's frequency bands, ADA's image-space filtering."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxgan.augment import _check
from jaxgan.augment.wavelets import SYM2_LOW_PASS

BANDS = 4


def amplify_bands(images: jax.Array, gains: jax.Array) -> jax.Array:
    """Multiplies four frequency bands of each image by gains of its own, rows and columns alike.

    The bands of one axis are [0, pi/8], [pi/8, pi/4], [pi/4, pi/2] and [pi/2, pi], split without
    decimation by the zero-phase filters of the sym2 wavelet, L(z) = H(z) H(1/z) / 2 and 1 - L(z):

        L1 = L(z),  L2 = L(z) L(z^2),  L3 = L(z) L(z^2) L(z^4)
        F(z) = g_1 L3 + g_2 (L2 - L3) + g_3 (L1 - L2) + g_4 (1 - L1)

    F is applied along the height and then along the width, so equal gains g amplify by g^2. Beyond
    its edges an image is mirrored at its outermost pixels.

    Args:
      images: [B, H, W, C].
      gains: [B, 4], or [4] for all, the lowest band first; 1 leaves a band.

    Returns:
      [B, H, W, C] in the type of `images`.

    Source: Karras et al., Training Generative Adversarial Networks with Limited Data (2020),
      Appendix B, Figure 15, "Image-space filtering". There F is one filter of 43 taps; this is the
      same by repeated filtering, 15 taps along each axis.

    >>> x = jnp.full((1, 8, 8, 3), 0.5)
    >>> print(amplify_bands(x, jnp.array([2.0, 0.0, 0.0, 0.0]))[0, 0, 0])  # the lowest, twice
    [2. 2. 2.]
    """
    images = _check.images_of(images, "amplify_bands")
    x = _check.widened(images)
    gains = _check.per_sample(gains, images, "gains", (BANDS,)).astype(x.dtype)
    for axis in (1, 2):
        x = _amplify(x, gains, axis=axis)
    return x.astype(images.dtype)


# One program even where the caller compiles nothing.
@partial(jax.jit, static_argnames="axis", inline=True)
def _amplify(x, gains, axis):
    finer = x
    y = jnp.zeros_like(x)
    for level in range(BANDS - 1):
        coarser = _low_pass(finer, axis, 2**level)
        y = y + _check.over_pixels(gains[:, BANDS - 1 - level]) * (finer - coarser)
        finer = coarser
    return y + _check.over_pixels(gains[:, 0]) * finer


def _low_pass(x, axis, spread):
    """L(z^spread). A filter of zero phase keeps the mirrored image mirrored, so every level can mirror anew."""
    size, reach = x.shape[axis], len(SYM2_LOW_PASS) // 2 * spread
    pads = [(reach, reach) if a == axis else (0, 0) for a in range(4)]
    padded = jnp.pad(x, pads, mode="reflect")
    return sum(
        tap * jax.lax.slice_in_dim(padded, i * spread, i * spread + size, axis=axis)
        for i, tap in enumerate(SYM2_LOW_PASS.tolist())
        if tap
    )
