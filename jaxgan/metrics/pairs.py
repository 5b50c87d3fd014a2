"""Mean distances over random pairs of pictures within classes or groups, for diversity scores."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jaxgan.metrics._check import at_least, labels_of, pictures


class PairMean(NamedTuple):
    """mean: over the groups, equally weighted; per_group: by label (0 if there is one group)."""

    mean: float
    per_group: dict[int, float]


def mean_over_pairs(
    images,
    distance: Callable[[jax.Array, jax.Array], jax.Array],
    groups=None,
    *,
    pairs: int | None = 100,
    batch_size: int = 32,
    seed: int = 0,
) -> PairMean:
    """Computes the mean of a distance or similarity over pairs of two different pictures of a group.

    Args:
      images: [N, H, W, C].
      distance: (one [B, H, W, C], other [B, H, W, C]) -> [B]; compiled once, for B = batch_size.
      groups: int [N], the class of each picture, or the input it was generated from; None for one group.
        Each group must have 2 pictures or more.
      pairs: number of pairs drawn from each group, independently, so that a pair may repeat; None uses every pair once.
      batch_size: pairs per call of `distance`; the last batch is padded, and the padding dropped from the result.
      seed: the seed of the draws.

    Returns:
      `PairMean(mean, per_group)`.

    >>> images = np.arange(4.0, dtype=np.float32).reshape(4, 1, 1, 1)
    >>> apart = lambda a, b: abs(a - b).mean((1, 2, 3))
    >>> mean_over_pairs(images, apart, pairs=None).mean  # (1 + 1 + 1 + 2 + 2 + 3) / 6
    1.6666666666666667
    """
    images = pictures("images", images)
    groups = np.zeros(len(images), int) if groups is None else groups
    groups = labels_of("groups", groups, len(images))
    at_least("batch_size", batch_size, 1)
    if pairs is not None:
        at_least("pairs", pairs, 1)
    drawn = _pairs(groups, pairs, np.random.default_rng(seed))
    every = np.concatenate(list(drawn.values()))
    values = _distances(images, distance, every, batch_size)
    ends = np.cumsum([len(of_group) for of_group in drawn.values()])[:-1]
    per_group = {
        name: float(of_group.mean())
        for name, of_group in zip(drawn, np.split(values, ends), strict=True)
    }
    return PairMean(float(np.mean(list(per_group.values()))), per_group)


def _pairs(groups: np.ndarray, pairs: int | None, rng) -> dict[int, np.ndarray]:
    """The indices of the pairs of each group, int [pairs, 2]."""
    drawn = {}
    for name in np.unique(groups).tolist():
        members = np.flatnonzero(groups == name)
        if len(members) < 2:
            raise ValueError(f"group {name} has one picture; a pair needs two")
        if pairs is None:
            drawn[name] = members[np.stack(np.triu_indices(len(members), 1), axis=1)]
            continue
        one = rng.integers(len(members), size=pairs)
        other = (one + rng.integers(1, len(members), size=pairs)) % len(members)
        drawn[name] = members[np.stack([one, other], axis=1)]
    return drawn


def _distances(images, distance, pairs: np.ndarray, batch_size: int) -> np.ndarray:
    distance = jax.jit(distance)
    values = np.empty(len(pairs))
    for start in range(0, len(pairs), batch_size):
        batch = pairs[start : start + batch_size]
        filled = np.resize(batch, (batch_size, 2))
        found = np.asarray(distance(images[filled[:, 0]], images[filled[:, 1]]))
        if found.shape != (batch_size,):
            raise ValueError(
                f"distance gave an array {list(found.shape)} for {batch_size} pairs; it must be [{batch_size}]"
            )
        values[start : start + len(batch)] = found[: len(batch)]
    return values
