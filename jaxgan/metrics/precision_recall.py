"""Improved precision and recall, and density and coverage: overlap of the fakes with the reals.

Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", 2019,
Eq. 1 and 2. The manifold of a set is the union of balls around its points. The radius of a ball is the
distance to the k-th nearest other point of the set. Precision is the share of fakes inside the
manifold of the reals, recall the share of reals inside the manifold of the fakes.

Naeem et al., "Reliable fidelity and diversity metrics for generative models", 2020, Section 3. An
outlier among the reals has a large ball, which may contain many fakes; an outlier among the fakes has
one that may contain many reals. Density therefore counts the balls of reals that contain a fake, and
coverage uses only balls of reals.

Scores with different k, counts or features are not comparable: the first paper uses k = 3 and VGG-16,
the second k = 5.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxgan.metrics._check import feature_pair
from jaxgan.metrics.neighbours import ROUNDING, Points, squared_distances, squared_radii


class PrecisionRecall(NamedTuple):
    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    density: float
    coverage: float


def precision_recall(real, fake, k: int = 3, *, block: int = 1024) -> PrecisionRecall:
    """Computes improved precision and recall of two sets of features.

    Balls are closed, as in the authors' code: they contain their surface, and a ball of radius 0 contains the
    copies of its picture.

    Args:
      real: float [N, D] features.
      fake: float [M, D] features.
      k: the neighbour that defines the radius of a ball; both sets need more than k points.
      block: number of reals and of fakes for which distances are computed at a time, in float64.

    Returns:
      `PrecisionRecall(precision, recall)`, each in [0, 1].

    >>> line = np.arange(5.0)[:, None]
    >>> precision_recall(line, np.array([[0.5], [1.5], [100.0], [101.0]]), k=1)
    PrecisionRecall(precision=0.5, recall=0.6)
    """
    real, fake = _sets(real, fake, k, block)
    real_radii, fake_radii = squared_radii(real, k), squared_radii(fake, k)
    precise, reached = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for rows, columns, distances in _between(real, fake, -ROUNDING):
        precise[columns] |= (distances <= real_radii[rows, None]).any(axis=0)
        reached[rows] |= (distances <= fake_radii[columns]).any(axis=1)
    return PrecisionRecall(float(precise.mean()), float(reached.mean()))


def density_coverage(real, fake, k: int = 5, *, block: int = 1024) -> DensityCoverage:
    """Computes density and coverage of two sets of features.

        density = 1/(k M) sum over fakes of the number of balls of reals that contain the fake
        coverage = share of the reals whose ball contains a fake

    Balls are open, without their surface, as in the authors' package `prdc`: so a set has density 1 and
    coverage 1 with respect to itself, and the balls of a real picture with more than k copies are empty.

    Args:
      real: float [N, D] features.
      fake: float [M, D] features.
      k: the neighbour that defines the radius of a ball; the reals need more than k points.
      block: number of reals and of fakes for which distances are computed at a time, in float64.

    Returns:
      `DensityCoverage(density, coverage)`. Density is 1 on average for equal distributions, and higher
      if the fakes concentrate where reals are dense. Coverage is in [0, 1], and about 1 - 2^-k for equal
      distributions and counts.

    >>> line = np.arange(5.0)[:, None]
    >>> density_coverage(line, np.array([[0.5], [1.5], [100.0], [101.0]]), k=1)
    DensityCoverage(density=1.0, coverage=0.6)
    """
    real, fake = _sets(real, fake, k, block, neighbours_of_fakes=False)
    radii = squared_radii(real, k)
    balls, covered = 0, np.zeros(len(real), bool)
    for rows, _, distances in _between(real, fake, ROUNDING):
        inside = distances < radii[rows, None]
        balls += int(np.count_nonzero(inside))
        covered[rows] |= inside.any(axis=1)
    return DensityCoverage(balls / (k * len(fake)), float(covered.mean()))


def _sets(
    real, fake, k: int, block: int, neighbours_of_fakes: bool = True
) -> tuple[Points, Points]:
    real, fake = feature_pair(real, fake)
    least = min(len(real), len(fake)) if neighbours_of_fakes else len(real)
    if k < 1 or least <= k:
        raise ValueError(
            f"k = {k} nearest neighbours must be at least 1 and fewer than the examples "
            f"({len(real)} reals, {len(fake)} fakes)"
        )
    centre = real.mean(axis=0, dtype=np.float64)  # reduces |a|² + |b|² and thus rounding errors
    return Points(real, centre, block), Points(fake, centre, block)


def _between(real: Points, fake: Points, slack: float) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yields (slice of reals, slice of fakes, squared distances + slack (|a|² + |b|²)) for all pairs."""
    for rows, a, a_norms in real.blocks():
        for columns, b, b_norms in fake.blocks():
            distances = squared_distances(a, a_norms, b, b_norms)
            distances += slack * a_norms[:, None]
            distances += slack * b_norms
            yield rows, columns, distances
