"""Modes found: against cases that can be counted by hand, and the closed form in the plane."""

import numpy as np
import pytest

from jaxgan.metrics.modes import modes_found

CENTERS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def test_counted_by_hand():
    points = np.array([[0.0, 2.9], [0.0, 3.0], [0.0, 3.1], [10.0, 0.0], [5.0, 5.0]])
    assert modes_found(points, CENTERS, std=1.0) == (2, 3 / 5)


def test_true_samples():
    random = np.random.default_rng(0)
    points = CENTERS[random.integers(3, size=20_000)] + random.normal(size=(20_000, 2)) * 0.5
    modes, share = modes_found(points, CENTERS, std=0.5)
    # The squared distance over the variance is chi-squared with two degrees of freedom.
    expected = 1 - np.exp(-9 / 2)
    assert modes == 3
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / 20_000)


def test_a_sample_counts_for_its_nearest_mode_only():
    # Within three std of both centres, nearer to the second.
    assert modes_found(np.array([[1.2]]), np.array([[0.0], [2.0]]), std=1.0) == (1, 1.0)
    assert modes_found(np.array([[1.2], [0.8]]), np.array([[0.0], [2.0]]), std=1.0) == (2, 1.0)


def test_what_is_not_finite_is_not_near():
    points = np.array([[np.nan, 0.0], [np.inf, 0.0], [0.0, 0.0], [-np.inf, np.nan]])
    assert modes_found(points, CENTERS, std=1.0) == (1, 1 / 4)
    assert modes_found(points[:2], CENTERS, std=1.0) == (0, 0.0)


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (np.zeros((3, 3)), r"points \[N, D\] and centers \[M, D\], not \[3, 3\] and \[3, 2\]"),
        (np.zeros(3), r"not \[3\] and \[3, 2\]"),
        (np.zeros((0, 2)), "needs at least one point and one center"),
    ],
)
def test_wrong_shapes_are_named(points, text):
    with pytest.raises(ValueError, match=text):
        modes_found(points, CENTERS, std=1.0)
