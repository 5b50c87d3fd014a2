"""Sliced Wasserstein distance of the patches of pictures, at each level of a Laplacian pyramid.

Karras et al., "Progressive growing of GANs for improved quality, stability, and variation", 2018, Section 5: the
patches of a good generator match those of reals in appearance and variation at every scale. The coarsest level
represents large structures, the finest edges and noise. The paper reports the distance times 1,000, for 16,384
pictures.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.metrics._check import at_least, pictures
from jaxgan.resample import laplacian_pyramid

_PATCH = 7
_SMALLEST = 16  # minimum side of the coarsest of several levels
_PROJECTIONS_AT_A_TIME = 16


class PatchDistance(NamedTuple):
    """mean: over the levels; per_level: by the height of the level's pictures, from fine to coarse."""

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
    """Computes the sliced Wasserstein-1 distance of 7 x 7 patches of reals and of fakes, for each level.

    From each picture and level, `patches` patches are drawn at random. Each channel is normalised to mean 0 and
    standard deviation 1 over all patches of a set, separately for reals and fakes. A colour cast or a wrong contrast of
    the whole set therefore has no effect. A constant channel becomes 0. The patches are then projected onto
    `projections` random directions, and the distance is the mean |x_(i) - y_(i)| of the sorted projections.

    Args:
      real, fake: [N, H, W, C], of the same number, shape and dtype, uint8 or float.
      patches: number of patches from each picture and level.
      projections: number of random directions for each level.
      seed: the seed of positions and directions.
      batch_size: number of pictures whose pyramids are built at a time.

    Returns:
      `PatchDistance(mean, per_level)`. Each level halves the sides, down to 16 or more. Pictures with a side below 32
      (at least 7) have one level, the picture itself. The patches of one level are in memory at a time:
      2 N x patches x 49 C float32.

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
            f"reals and fakes must have the same number, shape and dtype, not {real.dtype} "
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
            f"pictures {height} x {width} are too small; both sides must be at least {_PATCH}, the side of a patch"
        )
    levels = max(1, (side // _SMALLEST).bit_length())
    step = 2 ** (levels - 1)
    if height % step or width % step:
        raise ValueError(
            f"pictures {height} x {width} cannot be halved {levels - 1} times; resize reals and fakes to sides "
            f"divisible by {step}"
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
    """The mean over random directions of the Wasserstein-1 distance of two sets of equal size.

    It uses NumPy instead of `divergences.sliced_wasserstein`, as NumPy sorts twenty times as fast as XLA on a CPU.
    """
    total = 0.0
    for start in range(0, projections, _PROJECTIONS_AT_A_TIME):
        count = min(_PROJECTIONS_AT_A_TIME, projections - start)
        lines = rng.normal(size=(count, one.shape[1]))
        lines = (lines / np.linalg.norm(lines, axis=1, keepdims=True)).astype(np.float32)
        shadows, others = (np.sort(lines @ points.T, axis=1) for points in (one, other))
        total += np.abs(shadows - others).mean(axis=1, dtype=np.float64).sum()
    return float(total / projections)
