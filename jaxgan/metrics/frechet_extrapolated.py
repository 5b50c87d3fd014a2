"""The Fréchet distance for infinitely many fakes, extrapolated from finitely many.

Chong & Forsyth, "Effectively unbiased FID and Inception Score and where to find them", 2020: the bias
of the distance for N fakes is about a constant divided by N. The constant depends on the model, so
even scores at equal N may rank two models wrongly. A line is fitted to the distances at several N as a
function of 1 / N; its intercept is the distance at N = infinity. With Inception's features that is
FID-infinity. The bias due to the finite number of reals remains.
"""

from typing import NamedTuple

import numpy as np

from jaxgan.metrics._check import at_least, feature_set
from jaxgan.metrics.frechet import frechet_distance_to
from jaxgan.metrics.moments import Moments


class ExtrapolatedDistance(NamedTuple):
    """The fitted line: distance = slope / N + limit.

    Attributes:
      limit: the distance at N = infinity; it may be negative if the true distance is near 0.
      slope: the slope of the line in 1 / N: the bias times N.
      residual: the root of the sum of squared deviations from the line over (points - 2). The points share examples,
        so it measures how well a line fits, not the uncertainty of the limit.
      sizes: int [points], the numbers of fakes N.
      distances: float [points], the means over the draws.
    """

    limit: float
    slope: float
    residual: float
    sizes: np.ndarray
    distances: np.ndarray


def extrapolated_frechet(
    real,
    fake,
    *,
    points: int = 15,
    smallest: int | None = None,
    draws: int = 1,
    seed: int = 0,
) -> ExtrapolatedDistance:
    """Computes Fréchet distances of random subsets of the fakes and fits a line to them as a function of 1 / N.

    Args:
      real: float [M, D] features, or their `Moments`.
      fake: float [N, D] features.
      points: number of subset sizes, evenly spaced from `smallest` to N; at least 3.
      smallest: the smallest size. By default a tenth of N (as the authors' 5,000 of 50,000), but at least
        D + 1, as the bias is not proportional to 1 / N if the covariance is singular.
      draws: number of random subsets of each size, over which the distance is averaged.
      seed: the seed of the draws.

    Returns:
      An `ExtrapolatedDistance`.

    >>> rng = np.random.default_rng(0)
    >>> real, fake = rng.normal(size=(100_000, 4)), rng.normal(size=(1000, 4)) + 1
    >>> found = extrapolated_frechet(real, fake, draws=20)  # the truth is 4
    >>> round(found.limit), found.sizes[[0, -1]].tolist()
    (4, [100, 1000])
    """
    fake = feature_set("fake", fake)
    if not isinstance(real, Moments):
        real = Moments.of(feature_set("real", real))
    count, dim = fake.shape
    at_least("points", points, 3)
    at_least("draws", draws, 1)
    if smallest is None:
        smallest = max(count // 10, dim + 1)
    at_least("smallest", smallest, 2)
    if count < 2 * smallest:
        raise ValueError(
            f"{count} fakes are too few for a line from smallest = {smallest} on; give at least"
            f" {2 * smallest}"
        )
    rng, distance_to_real = np.random.default_rng(seed), frechet_distance_to(real)
    sizes = np.linspace(smallest, count, points).astype(int)

    def distance(size: int) -> float:
        return distance_to_real(Moments.of(fake[rng.permutation(count)[:size]]))

    distances = np.array([np.mean([distance(size) for _ in range(draws)]) for size in sizes])
    slope, limit = np.polyfit(1 / sizes, distances, 1)
    errors = distances - (slope / sizes + limit)
    residual = np.sqrt(np.sum(np.square(errors)) / (points - 2))
    return ExtrapolatedDistance(float(limit), float(slope), float(residual), sizes, distances)
