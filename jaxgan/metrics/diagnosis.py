"""The type of a diagnosis, and the statistics that all diagnoses use.

A score ranks generators; a diagnosis tests one generator for one fault and returns green, amber or
red. It is red if a test detects the fault at level `ALPHA` and the fault is large. It is amber if
the fault is significant but small, so that a good generator does not turn red for an imperceptible
fault when the test uses very many examples.

Generated examples are seldom independent: a generator that can produce only thirty pictures has
thirty independent examples, however many are drawn. Bounds on shares therefore count clusters of
examples, not examples.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse, stats

ALPHA = 1e-3  # probability that a diagnosis raises a false alarm, divided among its tests

GREEN, AMBER, RED = VERDICTS = ("green", "amber", "red")


class Diagnosis(NamedTuple):
    """The result of testing a generator for one fault.

    name: the name of the diagnosis ("memorisation").
    verdict: "green", "amber" or "red".
    numbers: the measured statistics, ready for JSON.
    sentence: an explanation of the verdict, with advice, for a person.
    evidence: arrays to inspect, such as the index of each fake's nearest training example.
    """

    name: str
    verdict: str
    numbers: dict[str, Any]
    sentence: str
    evidence: dict[str, np.ndarray]


def share_above(values, clusters, alpha: float) -> tuple[float, float]:
    """Computes the mean of values in [0, 1] and a lower bound of the true mean at confidence 1 - alpha.

    Values of one cluster may depend on each other in any way. The variance is the cluster-robust one of Liang &
    Zeger ("Longitudinal data analysis using generalized linear models", Biometrika 1986),
    Var = G/(G - 1) sum_g e_g² / n² with residual sums e_g of G clusters, and the bound uses Student's t with
    G - 1 degrees of freedom. With a single cluster the bound is 0.

    Args:
      values: [n], numbers or booleans.
      clusters: int [n], the cluster of each value.
      alpha: probability that the bound exceeds the true mean.

    >>> share_above([1, 1, 0, 0], [0, 0, 1, 1], 0.05)
    (0.5, 0.0)
    """
    values = np.asarray(values, np.float64)
    mean = float(values.mean())
    _, clusters = np.unique(clusters, return_inverse=True)
    sums = np.bincount(clusters, values - mean)
    count = len(sums)
    if count < 2:
        return mean, 0.0
    variance = count / (count - 1) * np.square(sums).sum() / len(values) ** 2
    bound = mean - stats.t.ppf(1 - alpha, count - 1) * np.sqrt(variance)
    return mean, float(max(bound, 0.0))


def near_threshold(distances, share: float = 0.01) -> tuple[float, int]:
    """(distance, rank): the distance below which only `share` of the reference distances lie.

    It is the `rank`-th smallest of the n distances, with rank = max(1, floor(share n)).
    """
    rank = max(1, int(share * len(distances)))
    return float(np.partition(distances, rank - 1)[rank - 1]), rank


def share_expected(rank: int, count: int, alpha: float) -> tuple[float, float]:
    """(mean, upper bound) of the share of new values that fall below the rank-th smallest of `count` others.

    For independent draws from any one continuous distribution, that share has the distribution
    Beta(rank, count + 1 - rank) (David & Nagaraja, "Order Statistics", 2003). It exceeds the bound
    with probability alpha.

    >>> mean, bound = share_expected(10, 999, 0.001)
    >>> mean, round(bound, 3)
    (0.01, 0.023)
    """
    law = stats.beta(rank, count + 1 - rank)
    return rank / (count + 1), float(law.ppf(1 - alpha))


def linked(nearest_index) -> np.ndarray:
    """The clusters int [N] that result from joining each point to its nearest other point."""
    nearest_index = np.asarray(nearest_index)
    size = len(nearest_index)
    graph = sparse.coo_matrix((np.ones(size), (np.arange(size), nearest_index)), (size, size))
    return sparse.csgraph.connected_components(graph, directed=False)[1]
