"""Sliced Wasserstein distance of the patches of pictures, at each level of a Laplacian pyramid.

Karras et al., "Progressive growing of GANs for improved quality, stability, and variation", 2018, Section 5: a good
generator's patches look like those of reals in appearance and variation at every scale; the coarsest level shows
large structure, the finest edges and noise. The paper prints it times 1,000, of 16,384 pictures.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.metrics._check import at_least, pictures
from jaxgan.resample import laplacian_pyramid

_PATCH = 7
_SMALLEST = 16  # the side of the coarsest of several levels is at least this
_PROJECTIONS_AT_A_TIME = 16


class PatchDistance(NamedTuple):
    """mean over the levels; per_level, by the height of its pictures, from fine to coarse."""

    mean: float
    per_level: dict[int, float]


def patch_sliced_wasserstein(
    real,
    fake,
    *,
    patches: int = 128,
    projections: int = 512,
    seed: int = 0,
    batch_size: int = 64,
) -> PatchDistance:
    """The sliced Wasserstein-1 distance of 7 x 7 patches of reals and of fakes, level by level.

    Of each picture and level `patches` patches are taken at random. Each channel is shifted and scaled to
    mean 0 and deviation 1 over all patches of a set, reals and fakes each by their own; so a cast of colour or a wrong
    contrast of the whole set does not count. A constant channel becomes 0. Then on each of `projections` random
    lines the sorted shadows are compared: the mean |x_(i) - y_(i)|.

    Args:
      real, fake: [N, H, W, C], equally many and of one shape and type, uint8 or float.
      patches: of each picture and level.
      projections: random lines for each level.
      seed: of places and lines.
      batch_size: pictures whose pyramids are built at a time.

    Returns:
      `PatchDistance(mean, per_level)`. Levels halve the sides as long as they are at least 16; pictures below 32, down
      to 7, have one level, themselves. Held at a time are one level's patches: 2 N x patches x 49 C float32.

    >>> rng = np.random.default_rng(0)
    >>> sharp = rng.integers(0, 256, (20, 32, 32, 3)).astype(np.uint8)
    >>> flat = sharp // 2 + 64  # less contrast, which is divided out
    >>> found = patch_sliced_wasserstein(sharp, flat, projections=32)
    >>> list(found.per_level), found.mean < 0.1
    ([32, 16], True)
    """
    real, fake = pictures("real", real), pictures("fake", fake)
    if real.shape != fake.shape or real.dtype != fake.dtype:
        raise ValueError(
            f"reals and fakes must be equally many pictures of one shape and type, not {real.dtype} "
            f"{list(real.shape)} and {fake.dtype} {list(fake.shape)}"
        )
    at_least("patches", patches, 1)
    at_least("projections", projections, 1)
    at_least("batch_size", batch_size, 1)
    height, width = real.shape[1:3]
    levels = _levels(height, width)
    per_level = {}
    for level in range(levels):
        at_level = jax.jit(partial(_pyramid_level, levels=levels, level=level))
        descriptors = [
            _descriptors(
                images, at_level, patches, batch_size, np.random.default_rng([seed, level, which])
            )
            for which, images in enumerate((real, fake))
        ]
        lines = np.random.default_rng([seed, level, len(descriptors)])
        per_level[height >> level] = _sliced(descriptors[0], descriptors[1], projections, lines)
    return PatchDistance(float(np.mean(list(per_level.values()))), per_level)


def _levels(height: int, width: int) -> int:
    side = min(height, width)
    if side < _PATCH:
        raise ValueError(
            f"pictures {height} x {width} are too small; both sides must be at least {_PATCH}, those of a patch"
        )
    levels = max(1, (side // _SMALLEST).bit_length())
    step = 2 ** (levels - 1)
    if height % step or width % step:
        raise ValueError(
            f"pictures {height} x {width} cannot be halved {levels - 1} times; resize reals and fakes to sides that "
            f"{step} divides"
        )
    return levels


def _pyramid_level(images: jax.Array, levels: int, level: int) -> jax.Array:
    """One level of the Laplacian pyramid, 0 the finest: [B, H >> level, W >> level, C] float32."""
    return laplacian_pyramid(images.astype(jnp.float32), levels)[level]


def _descriptors(images: np.ndarray, at_level, patches: int, batch_size: int, rng) -> np.ndarray:
    """Random patches, each channel normalised over all of them: float32 [N patches, 49 C]."""
    channels = images.shape[3]
    taken = np.empty((len(images), patches, channels, _PATCH, _PATCH), np.float32)
    for start in range(0, len(images), batch_size):
        level = np.asarray(at_level(images[start : start + batch_size]))
        windows = np.lib.stride_tricks.sliding_window_view(level, (_PATCH, _PATCH), axis=(1, 2))
        shape = (len(level), patches)
        which = np.arange(len(level))[:, None]
        rows, columns = (rng.integers(windows.shape[axis], size=shape) for axis in (1, 2))
        taken[start : start + len(level)] = windows[which, rows, columns]
    axes = (0, 1, 3, 4)
    taken -= taken.mean(axis=axes, keepdims=True, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.square(taken).mean(axis=axes, keepdims=True, dtype=np.float64))
    taken /= np.where(deviation > 0, deviation, 1).astype(np.float32)
    return taken.reshape(len(images) * patches, -1)


def _sliced(one: np.ndarray, other: np.ndarray, projections: int, rng) -> float:
    """The mean over random lines of the Wasserstein-1 distance of two sets of equal size.

    On the host, and not by `divergences.sliced_wasserstein`: NumPy sorts twenty times as fast as XLA does on a CPU.
    """
    total = 0.0
    for start in range(0, projections, _PROJECTIONS_AT_A_TIME):
        count = min(_PROJECTIONS_AT_A_TIME, projections - start)
        lines = rng.normal(size=(count, one.shape[1]))
        lines = (lines / np.linalg.norm(lines, axis=1, keepdims=True)).astype(np.float32)
        shadows, others = (np.sort(lines @ points.T, axis=1) for points in (one, other))
        total += np.abs(shadows - others).mean(axis=1, dtype=np.float64).sum()
    return float(total / projections)
