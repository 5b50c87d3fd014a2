"""Confidence intervals of scores by resampling, for scores that the usual bootstrap gets wrong.

The usual bootstrap draws N of N examples with replacement and takes percentiles of the score. Both are wrong
here. A drawn set contains 1.6 copies, on average, of each example that it contains: nearest neighbours are at
distance 0, and the unbiased MMD includes pairs of an example with itself. A Fréchet distance with a bias of b for N
examples has a bias of about 2b in the drawn sets, so the interval may not even contain the score itself.

The default therefore draws random halves without replacement (the delete-half jackknife: Shao & Wu, "A general theory
for jackknife variance estimation", 1989; Politis, Romano & Wolf, "Subsampling", 1999). To first order, the variance of
a half's score around the whole set's score equals the variance of the latter around the true score:
s²/(N/2) - s²/N = s²/N. A bias b/N becomes 2b/N in a half, so the shift of the halves estimates the bias. Intervals are
reflected ("basic": Davison & Hinkley, "Bootstrap methods and their application", 1997, Chapter 5), not percentiles.

Limits: resampling does not measure how the score varies between training runs. Near a true Fréchet distance of 0 the
intervals are too wide, by a factor of up to sqrt 3, as the distance is no longer linear in the moments.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from jaxgan.metrics._check import at_least, feature_pair
from jaxgan.metrics.frechet import frechet_distance_to
from jaxgan.metrics.moments import Moments

RESAMPLED = ("both", "fake", "real")
DRAWS = ("halves", "replacement")
TARGETS = ("same_size", "limit")


class Interval(NamedTuple):
    """low <= target <= high at the stated level.

    Attributes:
      score: the score of all examples.
      low, high: the bounds of the interval.
      standard_error: the standard error of the score, which is the standard deviation of `values`.
      shift: the mean of `values` minus the score; an estimate of the score's finite-sample bias.
      values: float [resamples], the scores of the resampled sets.
      level, resampled, draw, target: the arguments of `confidence_interval`.
    """

    score: float
    low: float
    high: float
    standard_error: float
    shift: float
    values: np.ndarray
    level: float
    resampled: str
    draw: str
    target: str


def confidence_interval(
    score: Callable[[np.ndarray, np.ndarray], float],
    real,
    fake,
    *,
    level: float = 0.95,
    resamples: int = 200,
    resampled: str = "both",
    draw: str = "halves",
    target: str = "same_size",
    seed: int = 0,
) -> Interval:
    """Computes a confidence interval of any score of two sets of features.

        same_size: [score - (q_high - mean), score - (q_low - mean)],  quantiles and mean of the values
        limit:     [2 score - q_high, 2 score - q_low]

    Args:
      score: (real, fake) -> float.
      real: float [N, D] features.
      fake: float [M, D] features.
      level: the confidence level, between 0 and 1.
      resamples: number of resampled sets; the score is computed once for each.
      resampled: which sets are resampled: "both", "real" or "fake". Use "fake" where the reals are a fixed reference
        of the protocol.
      draw: "halves", or "replacement" for a score that is a smooth function of means.
      target: the quantity that the interval covers. "same_size": the expected score of sets of the same size,
        including its bias, for comparison with other scores at that size. "limit": the score of infinitely large
        (resampled) sets, with a bias proportional to 1 / N removed.
      seed: the seed of the draws.

    >>> rng = np.random.default_rng(0)
    >>> real, fake = rng.normal(size=(400, 1)), rng.normal(size=(400, 1)) + 1
    >>> found = confidence_interval(lambda r, f: f.mean() - r.mean(), real, fake)
    >>> found.low < 1 < found.high, round(found.standard_error, 2)  # sqrt(2 / 400)
    (True, 0.07)
    """
    real, fake = feature_pair(real, fake)
    _check_options(level, resamples, resampled, draw, target)
    _check_numbers(len(real), len(fake), draw)
    whole = float(score(real, fake))
    pairs = _resampled_pairs(real, fake, resamples, resampled, draw, np.random.default_rng(seed))
    values = np.array([score(*pair) for pair in pairs], np.float64)
    shift = values.mean() - whole
    centre = values.mean() if target == "same_size" else whole
    q_low, q_high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        score=whole,
        low=float(whole - (q_high - centre)),
        high=float(whole - (q_low - centre)),
        standard_error=float(values.std(ddof=1)),
        shift=float(shift),
        values=values,
        level=level,
        resampled=resampled,
        draw=draw,
        target=target,
    )


def _check_options(level: float, resamples: int, resampled: str, draw: str, target: str) -> None:
    """Raises an error if an option has an invalid value."""
    for name, value, choices in (
        ("resampled", resampled, RESAMPLED),
        ("draw", draw, DRAWS),
        ("target", target, TARGETS),
    ):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
    if not 0 < level < 1:
        raise ValueError(f"level = {level} must lie between 0 and 1; 0.95 is usual")
    at_least("resamples", resamples, 2)


def _check_numbers(reals: int, fakes: int, draw: str) -> None:
    """Raises an error if there are too few examples to resample."""
    least = 4 if draw == "halves" else 2
    if min(reals, fakes) < least:
        raise ValueError(
            f"{reals} reals and {fakes} fakes are too few to resample; give {least} or more of each"
        )


def _resampled_pairs(
    real: np.ndarray, fake: np.ndarray, resamples: int, resampled: str, draw: str, rng
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields pairs of resampled sets (real, fake); a set that is not resampled is unchanged."""

    def drawn(features: np.ndarray, kind: str) -> np.ndarray:
        count = len(features)
        if resampled not in (kind, "both"):
            return features
        if draw == "halves":
            return features[rng.permutation(count)[: count // 2]]
        return features[rng.integers(count, size=count)]

    for _ in range(resamples):
        yield drawn(real, "real"), drawn(fake, "fake")


def frechet_interval(real, fake, *, resampled: str = "both", **how) -> Interval:
    """Computes the `confidence_interval` of the Fréchet distance.

    With resampled="fake" the covariance of the reals is factored only once.

    Args:
      real, fake, resampled, **how: as in `confidence_interval`.

    Returns:
      An `Interval`.

    >>> rng = np.random.default_rng(0)
    >>> real, fake = rng.normal(size=(500, 3)), rng.normal(size=(500, 3)) + 1
    >>> found = frechet_interval(real, fake, target="limit")
    >>> found.low < 3 < found.high
    True
    """
    real, fake = feature_pair(real, fake)
    if resampled == "fake":
        distance_to_real = frechet_distance_to(Moments.of(real))

        def distance(_, fakes):
            return distance_to_real(Moments.of(fakes))
    else:

        def distance(reals, fakes):
            return frechet_distance_to(Moments.of(reals))(Moments.of(fakes))

    return confidence_interval(distance, real, fake, resampled=resampled, **how)
