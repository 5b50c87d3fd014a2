"""The statistics that diagnoses decide by keep their promises under simulation."""

import numpy as np
import pytest

from jaxgan.metrics import diagnosis


def test_share_above_by_hand():
    # Residual sums of the three clusters: 1/2, -1, 1/2; variance 3/2 * 3/2 / 16.
    mean, bound = diagnosis.share_above([1, 0, 0, 1], [3, 8, 8, 5], 0.4)
    t = 0.28867513  # Student's t with 2 degrees of freedom: P(T < t) = 1/2 + t / (2 sqrt(2 + t²)) = 0.6
    assert mean == 0.5
    assert bound == pytest.approx(0.5 - t * np.sqrt(1.5 * 1.5 / 16), abs=1e-6)


def test_share_above_counts_clusters_and_not_examples():
    """Thirty pictures, a third of them copies, shown a hundred times each."""
    alpha, wrong, naive = 0.05, 0, 0
    for seed in range(400):
        values = np.random.default_rng(seed).random(30) < 1 / 3
        mean, bound = diagnosis.share_above(
            np.repeat(values, 100), np.repeat(np.arange(30), 100), alpha
        )
        wrong += bound > 1 / 3
        naive += mean - 1.645 * np.sqrt(mean * (1 - mean) / 3000) > 1 / 3
    assert wrong / 400 < 0.09
    assert naive / 400 > 0.3


def test_share_above_of_one_cluster_bounds_nothing_and_of_equal_ones_all():
    assert diagnosis.share_above([1, 1, 1], [4, 4, 4], 0.01) == (1.0, 0.0)
    assert diagnosis.share_above([1, 1, 1], [4, 5, 6], 0.01) == (1.0, 1.0)


def test_share_expected_is_exceeded_as_often_as_promised():
    alpha, above, shares = 0.05, 0, []
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        threshold, rank = diagnosis.near_threshold(rng.exponential(size=300))
        mean, bound = diagnosis.share_expected(rank, 300, alpha)
        share = 1 - np.exp(-threshold)  # of infinitely many new examples
        shares.append(share)
        above += share > bound
    assert rank == 3
    assert mean == pytest.approx(3 / 301)
    assert np.mean(shares) == pytest.approx(mean, rel=0.06)  # 3.5 standard errors
    assert above / 1000 == pytest.approx(alpha, abs=0.025)


def test_near_threshold_is_an_order_statistic():
    values = np.random.default_rng(0).permutation(1000) + 1
    assert diagnosis.near_threshold(values) == (10, 10)
    assert diagnosis.near_threshold(values[:50])[1] == 1


def test_linked_joins_what_is_nearest_to_each_other():
    clusters = diagnosis.linked([1, 0, 1, 4, 3, 2])
    assert len(set(clusters[[0, 1, 2, 5]])) == 1
    assert clusters[3] == clusters[4] != clusters[0]
