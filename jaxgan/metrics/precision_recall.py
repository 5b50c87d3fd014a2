"""Improved precision and recall.

Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", 2019,
Eq. 1 and 2. A set's manifold is the union of balls around its points, each reaching to the point's
k-th nearest neighbour in the set, itself not counted. Precision is the share of fakes inside the
manifold of the reals, recall the share of reals inside the manifold of the fakes.

Scores under different k, counts or features are not comparable: the paper takes k = 3 and VGG-16.
"""

from typing import NamedTuple

import numpy as np

from jaxgan.metrics.neighbours import ROUNDING, Points, squared_distances, squared_radii


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
    real, fake = Points(real, centre, block), Points(fake, centre, block)
    return PrecisionRecall(
        precision=float(_inside(fake, real, squared_radii(real, k)).mean()),
        recall=float(_inside(real, fake, squared_radii(fake, k)).mean()),
    )


def _inside(queries: Points, points: Points, squared_radii: np.ndarray) -> np.ndarray:
    """Which queries lie in the union of balls around the points: bool [len(queries)]."""
    inside = np.zeros(len(queries), bool)
    for rows, a, a_norms in queries:
        for columns, b, b_norms in points:
            distances = squared_distances(a, a_norms, b, b_norms)
            # d² <= r² + rounding (|a|² + |b|²), with the terms that share an axis put together.
            distances -= ROUNDING * a_norms[:, None]
            reach = squared_radii[columns] + ROUNDING * b_norms
            inside[rows] |= (distances <= reach).any(axis=1)
    return inside
