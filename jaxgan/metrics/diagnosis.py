"""What a diagnosis is, and the statistics that all of them decide by.

A score ranks generators; a diagnosis asks one generator one question and answers green, amber or
red. Two things make it red: a test finds the fault at level `ALPHA`, and the fault is large enough
to matter. A fault that is certain and small is amber, so that a good generator judged by very many
examples does not turn red for what nobody could see.

Generated examples are seldom independent: a generator that knows thirty pictures has thirty to
show, however many are drawn. So shares are bounded by clusters of examples, not by examples.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse, stats

ALPHA = 1e-3  # chance that a diagnosis raises a false alarm, shared out among the tests it makes

GREEN, AMBER, RED = VERDICTS = ("green", "amber", "red")


class Diagnosis(NamedTuple):
    """The answer to one question about a generator.

    name: of the question ("memorisation").
    verdict: "green", "amber" or "red".
    numbers: what was measured, ready for JSON.
    sentence: what it means, and what to do, for a person.
    evidence: arrays to look at, such as each fake's nearest training example.
    """

    name: str
    verdict: str
    numbers: dict[str, Any]
    sentence: str
    evidence: dict[str, np.ndarray]


def share_above(values, clusters, alpha: float) -> tuple[float, float]:
    """A mean of values in [0, 1], and what the true mean exceeds with confidence 1 - alpha.

    Values of one cluster may depend on each other in any way. With residual sums e_g of G clusters,
    Var = G/(G - 1) sum_g e_g² / n² (the cluster-robust variance of Liang & Zeger, "Longitudinal data
    analysis using generalized linear models", Biometrika 1986), and Student's t with G - 1 degrees of
    freedom. One cluster bounds nothing: the bound is then 0.

    Args:
      values: [n], numbers or truth values.
      clusters: int [n].
      alpha: chance that the bound lies above the true mean.

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
    """(distance, rank): the distance nearer than which only `share` of a reference set lies.

    It is the `rank`-th smallest, rank = max(1, floor(share n)).
    """
    rank = max(1, int(share * len(distances)))
    return float(np.partition(distances, rank - 1)[rank - 1]), rank


def share_expected(rank: int, count: int, alpha: float) -> tuple[float, float]:
    """(mean, upper bound): how many of new examples fall below the rank-th smallest of `count` others.

    For independent draws from one continuous distribution, whatever it is, that share has the
    distribution Beta(rank, count + 1 - rank) (David & Nagaraja, "Order Statistics", 2003). It exceeds
    the bound with chance alpha.

    >>> mean, bound = share_expected(10, 999, 0.001)
    >>> mean, round(bound, 3)
    (0.01, 0.023)
    """
    law = stats.beta(rank, count + 1 - rank)
    return rank / (count + 1), float(law.ppf(1 - alpha))


def linked(nearest_index) -> np.ndarray:
    """Clusters of points that are joined by "is nearest to": int [N], from each one's nearest other."""
    nearest_index = np.asarray(nearest_index)
    size = len(nearest_index)
    graph = sparse.coo_matrix((np.ones(size), (np.arange(size), nearest_index)), (size, size))
    return sparse.csgraph.connected_components(graph, directed=False)[1]
