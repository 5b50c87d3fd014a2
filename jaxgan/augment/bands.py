"""Amplification of frequency bands of images (the image-space filtering of ADA)."""

from __future__ import annotations

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.augment import _check
from jaxgan.augment.pixels import reflected
from jaxgan.augment.wavelets import SYM2_LOW_PASS

BANDS = 4


def amplify_bands(images: jax.Array, gains: jax.Array) -> jax.Array:
    """Multiplies four frequency bands of each image by its own gains, along rows and columns.

    The bands of one axis are [0, pi/8], [pi/8, pi/4], [pi/4, pi/2] and [pi/2, pi], split without
    decimation by the zero-phase filters of the sym2 wavelet, L(z) = H(z) H(1/z) / 2 and 1 - L(z):

        L1 = L(z),  L2 = L(z) L(z^2),  L3 = L(z) L(z^2) L(z^4)
        F(z) = g_1 L3 + g_2 (L2 - L3) + g_3 (L1 - L2) + g_4 (1 - L1)

    F is applied along the height and then along the width, so equal gains g amplify by g^2. Images are
    mirrored at their outermost pixels.

    Args:
      images: [B, H, W, C].
      gains: [B, 4], or [4] for all images, the lowest band first; 1 does not change a band.

    Returns:
      [B, H, W, C] in the type of `images`.

    Source: Karras et al., Training Generative Adversarial Networks with Limited Data (2020),
      Appendix B, Figure 15, "Image-space filtering". There F is a filter of 43 taps. Here it is
      a matrix product along each axis, including the mirroring, which compiles faster and, for 32x32 pixels,
      runs faster.

    >>> x = jnp.full((1, 8, 8, 3), 0.5)
    >>> print(amplify_bands(x, jnp.array([2.0, 0.0, 0.0, 0.0]))[0, 0, 0])  # the lowest, twice
    [2. 2. 2.]
    """
    images = _check.images_of(images, "amplify_bands")
    x = _check.widened(images)
    gains = _check.per_sample(gains, images, "gains", (BANDS,)).astype(x.dtype)
    return _amplified(x, gains).astype(images.dtype)


# Jitted for callers outside `jax.jit`.
@partial(jax.jit, inline=True)
def _amplified(x, gains):
    down, across = (
        jnp.einsum("bk,kij->bij", gains, jnp.asarray(_bands(size), x.dtype), precision="highest")
        for size in x.shape[1:3]
    )
    x = jnp.einsum("bij,bjwc->biwc", down, x, precision="highest")
    return jnp.einsum("bij,bhjc->bhic", across, x, precision="highest")


@lru_cache
def _bands(size: int) -> np.ndarray:
    """The matrices of the bands of a line of pixels: [4, size, size], the lowest first; they sum to the identity."""
    levels = [np.eye(size)]
    for level in range(BANDS - 1):
        # A zero-phase filter preserves the mirror symmetry, so every level can mirror again.
        levels.append(_low_pass(size, 2**level) @ levels[-1])
    finer, coarser = np.stack(levels[:-1]), np.stack(levels[1:])
    return np.concatenate([coarser[-1:], (finer - coarser)[::-1]])


def _low_pass(size: int, spread: int) -> np.ndarray:
    """The matrix of L(z^spread) on the mirrored line: [size, size]."""
    matrix = np.zeros((size, size))
    pixels = np.arange(size)
    for i, tap in enumerate(SYM2_LOW_PASS):
        shift = (i - len(SYM2_LOW_PASS) // 2) * spread
        matrix[pixels, reflected(pixels + shift, size)] += tap
    return matrix
