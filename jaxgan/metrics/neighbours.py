"""Exact nearest neighbours among feature vectors, computed in blocks of distances.

All scores and diagnoses that use distances compute them here, in float64, at most `block` x `block` at a time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxgan.metrics._check import feature_sets

# The rounding error of a squared distance, |a|² + |b|² - 2ab in float64, relative to |a|² + |b|². A point
# closer than that to the surface of a ball counts as on the surface.
ROUNDING = 1e-12


class Neighbours(NamedTuple):
    """distance: float64 [N, k], ascending in each row; index: int [N, k], into the points."""

    distance: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # overrides `tuple.index`


class Points:
    """Features that are centred and converted to float64 one block at a time."""

    def __init__(self, features: np.ndarray, centre: np.ndarray, block: int):
        self._features, self._centre, self._block = features, centre, block

    def __len__(self) -> int:
        return len(self._features)

    def blocks(self, first: int = 0) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yields (where, points [b, D], squared norms [b]) from point `first`, where a block begins."""
        for start in range(first, len(self), self._block):
            where = slice(start, start + self._block)
            points = self._features[where] - self._centre
            yield where, points, np.square(points).sum(axis=1)


def squared_distances(a, a_norms, b, b_norms) -> np.ndarray:
    distances = a @ b.T
    distances *= -2
    distances += a_norms[:, None]
    distances += b_norms
    return np.maximum(distances, 0, out=distances)


def squared_radii(points: Points, k: int) -> np.ndarray:
    """The squared distance from each point to its k-th nearest other point: [N]."""
    nearest = np.full((len(points), k), np.inf)
    for rows, a, a_norms in points.blocks():
        for columns, b, b_norms in points.blocks(rows.start):  # each pair of blocks once
            distances = squared_distances(a, a_norms, b, b_norms)
            if rows == columns:
                np.fill_diagonal(distances, np.inf)
            else:
                nearest[columns] = _least(nearest[columns], distances.T.copy())
            nearest[rows] = _least(nearest[rows], distances)
    return nearest[:, -1]


def _least(nearest: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """The k least values of each row of both arrays, ascending; reorders `distances` in place."""
    k = nearest.shape[1]
    distances.partition(min(k, distances.shape[1]) - 1, axis=1)
    return np.sort(np.concatenate([nearest, distances[:, :k]], axis=1), axis=1)[:, :k]


def nearest(
    queries, points, k: int = 1, *, themselves: bool = False, block: int = 1024
) -> Neighbours:
    """Finds the k nearest points of each query.

    Args:
      queries: float [N, D].
      points: float [M, D].
      k: number of neighbours.
      themselves: whether the queries are the points; then no point is a neighbour of itself.
      block: number of queries and of points for which distances are computed at a time.

    Returns:
      `Neighbours`. Distances are the norms of differences, so the distance to a copy is exactly 0.

    >>> nearest(np.array([[0.0], [5.0]]), np.array([[1.0], [3.0], [9.0]]))
    Neighbours(distance=array([[1.], [2.]]), index=array([[0], [1]]))
    """
    queries, points = feature_sets(queries=queries, points=points)
    available = len(points) - themselves
    if not 1 <= k <= available:
        raise ValueError(
            f"k = {k} nearest neighbours were requested, but it must be from 1 to the {available} points available"
        )
    if themselves and queries.shape != points.shape:
        raise ValueError(
            f"themselves=True requires that the queries are the points, but there are {len(queries)} queries and "
            f"{len(points)} points"
        )
    centre = points.mean(axis=0, dtype=np.float64)  # reduces |a|² + |b|² and thus rounding errors
    found = Neighbours(np.empty((len(queries), k)), np.empty((len(queries), k), np.int64))
    inner = Points(points, centre, block)
    for rows, a, a_norms in Points(queries, centre, block).blocks():
        best, index = np.full((len(a), k), np.inf), np.zeros((len(a), k), np.int64)
        for columns, b, b_norms in inner.blocks():
            distances = squared_distances(a, a_norms, b, b_norms)
            if themselves and rows == columns:
                np.fill_diagonal(distances, np.inf)
            if k == 1:
                part = distances.argmin(axis=1)[:, None]  # ten times as fast
            else:
                part = np.argpartition(distances, min(k, len(b)) - 1, axis=1)[:, :k]
            best = np.concatenate([best, np.take_along_axis(distances, part, axis=1)], axis=1)
            index = np.concatenate([index, part + columns.start], axis=1)
            order = np.argsort(best, axis=1, kind="stable")[:, :k]
            best = np.take_along_axis(best, order, axis=1)
            index = np.take_along_axis(index, order, axis=1)
        wide = queries[rows].astype(np.float64)
        for j in range(k):
            found.distance[rows, j] = np.linalg.norm(wide - points[index[:, j]], axis=1)
        found.index[rows] = index
    return found
