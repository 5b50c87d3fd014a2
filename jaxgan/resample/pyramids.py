"""Gaussian and Laplacian pyramids of images."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxgan.resample.fir import check_images, upfirdn2d, widened
from jaxgan.resample.fused import avg_pool
from jaxgan.resample.kernels import binomial


def average_pyramid(x: jax.Array, levels: int) -> tuple[jax.Array, ...]:
    """The images and their averages over blocks of 2^i x 2^i pixels, i = 1 to `levels` - 1.

    Args:
      x: images [B, H, W, C], floating point; 2^(levels - 1) divides H and W.
      levels: number of images, static, at least 1.

    Returns:
      [B, H, W, C], [B, H/2, W/2, C], ..., in the dtype of `x`; means are taken in float32 or wider.

    Source: Karnewar and Wang, MSG-GAN: Multi-Scale Gradients for Generative Adversarial Networks
      (2020), Section 2.

    >>> import jax.numpy as jnp
    >>> [level.ravel().tolist() for level in average_pyramid(jnp.arange(4.0).reshape(1, 2, 2, 1), 2)]
    [[0.0, 1.0, 2.0, 3.0], [1.5]]
    """
    _check_levels("average_pyramid", x, levels)
    images = [widened(x)]
    for _ in range(levels - 1):
        images.append(avg_pool(images[-1]))
    return tuple(image.astype(x.dtype) for image in images)


def gaussian_pyramid(x: jax.Array, levels: int) -> tuple[jax.Array, ...]:
    """The images at `levels` sizes, each half of the one before.

    Each is the one before, filtered by [1, 4, 6, 4, 1] / 16 along both axes, with every second pixel kept from
    the first. Images are mirrored at the pixels of their edges, so that a constant image stays constant.

    Args:
      x: images [B, H, W, C], floating point; 2^(levels - 1) divides H and W.
      levels: number of images, static, at least 1.

    Returns:
      [B, H, W, C], [B, H/2, W/2, C], ..., in the dtype of `x`.

    Source: Burt and Adelson, The Laplacian Pyramid as a Compact Image Code (1983), Eq. 1, with
      a = 3/8.

    >>> import jax.numpy as jnp
    >>> [image.shape for image in gaussian_pyramid(jnp.zeros((1, 8, 4, 3)), 3)]
    [(1, 8, 4, 3), (1, 4, 2, 3), (1, 2, 1, 3)]
    """
    _check_levels("gaussian_pyramid", x, levels)
    return tuple(image.astype(x.dtype) for image in _sizes(x, levels))


def laplacian_pyramid(x: jax.Array, levels: int) -> tuple[jax.Array, ...]:
    """The difference of each size of `gaussian_pyramid` and the next smaller one enlarged, and the smallest image.

        L_i = G_i - expand(G_{i+1}),    L_last = G_last

    `expand` inserts zeros between the pixels and filters with 4 times the same kernel.

    Args:
      x: images [B, H, W, C], floating point; 2^(levels - 1) divides H and W.
      levels: number of images, static, at least 1.

    Returns:
      [B, H, W, C], [B, H/2, W/2, C], ..., in the dtype of `x`. `laplacian_reconstruct` is the inverse.

    Sources: Burt and Adelson, The Laplacian Pyramid as a Compact Image Code (1983), Eq. 2-3; Karras
      et al., Progressive Growing of GANs (2018), Section 5, whose sliced Wasserstein distance
      compares patches of each level.

    >>> import jax.numpy as jnp
    >>> [round(float(jnp.abs(level).max()), 6) for level in laplacian_pyramid(jnp.ones((1, 8, 8, 1)), 3)]
    [0.0, 0.0, 1.0]
    """
    _check_levels("laplacian_pyramid", x, levels)
    images = _sizes(x, levels)
    differences = [fine - _expand(coarse) for fine, coarse in itertools.pairwise(images)]
    return tuple(level.astype(x.dtype) for level in (*differences, images[-1]))


def laplacian_reconstruct(pyramid: Sequence[jax.Array]) -> jax.Array:
    """The images of a `laplacian_pyramid`: [B, H, W, C] from the largest to the smallest -> [B, H, W, C].

    The result is exact up to the rounding of each difference, because the same enlarged levels are subtracted and
    added.

    Source: Burt and Adelson, The Laplacian Pyramid as a Compact Image Code (1983), Eq. 4.

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> bool(jnp.allclose(laplacian_reconstruct(laplacian_pyramid(x, 3)), x))
    True
    """
    if not pyramid:
        raise ValueError("The pyramid has no levels; give those of laplacian_pyramid.")
    for level in pyramid:
        check_images("laplacian_reconstruct", level)
    dtype = pyramid[0].dtype
    x = widened(pyramid[-1])
    for level in reversed(pyramid[:-1]):
        b, h, w, c = x.shape
        if level.shape != (b, 2 * h, 2 * w, c):
            raise ValueError(
                f"A level of shape {level.shape} is followed by one of {x.shape}; each must be half as high and wide "
                "as the one before, as returned by laplacian_pyramid."
            )
        x = widened(level) + _expand(x)
    return x.astype(dtype)


def _sizes(x, levels: int) -> list[jax.Array]:
    """The Gaussian pyramid in float32 or wider."""
    images = [widened(x)]
    for _ in range(levels - 1):
        images.append(_reduce(images[-1]))
    return images


def _reduce(x):
    edges = ((0, 0), (2, 1), (2, 1), (0, 0))
    return upfirdn2d(jnp.pad(x, edges, mode="reflect"), binomial(5), down=2)


def _expand(x):
    # Mirrors pixels that have a zero after each: the second pixel before the first, the last one again at the end.
    x = jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)), mode="reflect")
    x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    return upfirdn2d(x, 2 * binomial(5), up=2)


def _check_levels(name: str, x, levels: int) -> None:
    check_images(name, x)
    if not isinstance(levels, numbers.Integral) or levels < 1:
        raise ValueError(f"levels is {levels}; give a whole number from 1.")
    h, w = x.shape[1:3]
    if h % 2 ** (levels - 1) or w % 2 ** (levels - 1) or 0 in (h, w):
        raise ValueError(
            f"{levels} levels halve height and width {levels - 1} times; got {h}x{w}. Give fewer levels, or pad or "
            "resize the images first."
        )
