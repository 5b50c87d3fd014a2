"""Improved precision and recall.

Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", 2019,
Eq. 1 and 2. A set's manifold is the union of balls around its points, each reaching to the point's
k-th nearest neighbour in the set, itself not counted. Precision is the share of fakes inside the
manifold of the reals, recall the share of reals inside the manifold of the fakes.

Scores under different k, counts or features are not comparable: the paper takes k = 3 and VGG-16.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# A squared distance is |a|² + |b|² - 2ab, exact to about this much of |a|² + |b|² in float64. What
# lies on the edge within it is inside: copies of a picture, say, whose balls have radius 0.
_ROUNDING = 1e-12


class PrecisionRecall(NamedTuple):
    precision: float
    recall: float


def precision_recall(real, fake, k: int = 3, *, block: int = 1024) -> PrecisionRecall:
    """How many fakes look real, and how many reals the fakes reach.

    Args:
      real: float [N, D] features.
      fake: float [M, D] features.
      k: which neighbour sets a ball's radius; both sets need more than k points.
      block: distances are held for `block` x `block` pairs at a time, in float64.

    Returns:
      `PrecisionRecall(precision, recall)`, each in [0, 1].

    >>> line = np.arange(5.0)[:, None]
    >>> precision_recall(line, np.array([[0.5], [1.5], [100.0], [101.0]]), k=1)
    PrecisionRecall(precision=0.5, recall=0.6)
    """
    real, fake = np.asarray(real), np.asarray(fake)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"features must have shapes [N, D] and [M, D], not {list(real.shape)} and "
            f"{list(fake.shape)}"
        )
    if k < 1 or min(len(real), len(fake)) <= k:
        raise ValueError(
            f"k = {k} nearest neighbours must be at least 1 and fewer than the examples "
            f"({len(real)} reals, {len(fake)} fakes)"
        )
    centre = real.mean(axis=0, dtype=np.float64)  # keeps |a|² + |b|² small, and so its rounding
    real, fake = _Points(real, centre, block), _Points(fake, centre, block)
    return PrecisionRecall(
        precision=float(_inside(fake, real, _squared_radii(real, k)).mean()),
        recall=float(_inside(real, fake, _squared_radii(fake, k)).mean()),
    )


class _Points:
    """Features, centred and widened to float64 a block at a time."""

    def __init__(self, features: np.ndarray, centre: np.ndarray, block: int):
        self._features, self._centre, self._block = features, centre, block

    def __len__(self) -> int:
        return len(self._features)

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yields (where, points [b, D], squared norms [b])."""
        for start in range(0, len(self), self._block):
            where = slice(start, start + self._block)
            points = self._features[where] - self._centre
            yield where, points, np.square(points).sum(axis=1)


def _squared_distances(a, a_norms, b, b_norms) -> np.ndarray:
    distances = a @ b.T
    distances *= -2
    distances += a_norms[:, None]
    distances += b_norms
    return np.maximum(distances, 0, out=distances)


def _squared_radii(points: _Points, k: int) -> np.ndarray:
    """The squared distance from each point to its k-th nearest other point: [N]."""
    radii = np.empty(len(points))
    for rows, a, a_norms in points:
        nearest = np.full((len(a), k), np.inf)
        for columns, b, b_norms in points:
            distances = _squared_distances(a, a_norms, b, b_norms)
            if rows == columns:
                np.fill_diagonal(distances, np.inf)
            distances.partition(min(k, distances.shape[1]) - 1, axis=1)
            nearest = np.sort(np.concatenate([nearest, distances[:, :k]], axis=1), axis=1)[:, :k]
        radii[rows] = nearest[:, -1]
    return radii


def _inside(queries: _Points, points: _Points, squared_radii: np.ndarray) -> np.ndarray:
    """Which queries lie in the union of balls around the points: bool [len(queries)]."""
    inside = np.zeros(len(queries), bool)
    for rows, a, a_norms in queries:
        for columns, b, b_norms in points:
            distances = _squared_distances(a, a_norms, b, b_norms)
            # d² <= r² + rounding (|a|² + |b|²), with the terms that share an axis put together.
            distances -= _ROUNDING * a_norms[:, None]
            reach = squared_radii[columns] + _ROUNDING * b_norms
            inside[rows] |= (distances <= reach).any(axis=1)
    return inside
