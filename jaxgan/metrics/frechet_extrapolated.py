"""The Fréchet distance of infinitely many fakes, extrapolated from finitely many.

Chong & Forsyth, "Effectively unbiased FID and Inception Score and where to find them", 2020: with N
fakes the distance is too great by about a constant over N, and the constant is the model's own, so
that even scores at equal N may order two models wrongly. A line through the distances at several N,
over 1 / N, meets the axis at N = infinity; in Inception's features that is their FID-infinity. The bias by
the finite number of reals stays.
"""

from typing import NamedTuple

import numpy as np

from jaxgan.metrics._check import at_least, feature_set
from jaxgan.metrics.frechet import frechet_distance_to
from jaxgan.metrics.moments import Moments


class ExtrapolatedDistance(NamedTuple):
    """distance = slope / N + limit, fitted.

    Attributes:
      limit: the distance at N = infinity; below 0 where the truth is near 0.
      slope: how fast the bias fades, in distance times examples.
      residual: root of the mean square distance from the line, over the points' number less 2. The points share
        examples, so it says whether a line fits, and not how certain the limit is.
      sizes: int [points], the numbers of fakes N.
      distances: float [points], means over the draws.
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
    """Fréchet distances of random parts of the fakes, and the line through them over 1 / N.

    Args:
      real: float [M, D] features, or their `Moments`.
      fake: float [N, D] features.
      points: numbers of fakes, evenly spaced from `smallest` to N; at least 3.
      smallest: of them; a tenth of N where not given, but D + 1 at least, as the bias is no longer
        like 1 / N where the covariance is singular. The authors' 5,000 of 50,000.
      draws: random parts of each size, over which the distance is averaged.
      seed: of the draws.

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
            f"{count} fakes are too few for a line from smallest = {smallest} on; give at least twice as many"
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
