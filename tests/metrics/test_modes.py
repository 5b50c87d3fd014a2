"""Modes found: against cases that can be counted by hand, and the closed form in the plane."""

import numpy as np
import pytest

from jaxgan.metrics.modes import mode_coverage, modes_found, nearest_modes

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


def test_nearest_modes_are_numbers_and_minus_one():
    centers = np.array([[0.0, 0.0], [5.0, 5.0]])
    points = np.array([[0.1, 0.0], [5.0, 5.3], [2.0, 2.0], [np.nan, 0.0]])
    assert nearest_modes(points, centers, std=0.1).tolist() == [0, 1, -1, -1]


def test_reverse_kl_and_count_are_their_definitions():
    modes = np.repeat([0, 1, 3], [10, 30, 60])
    numbers = mode_coverage(np.append(modes, [-1, -1]), 5).numbers
    share = np.array([0.1, 0.3, 0.6])
    assert (numbers["modes"], numbers["num_modes"], numbers["num_samples"]) == (3, 5, 102)
    assert numbers["reverse_kl"] == pytest.approx((share * np.log(share / 0.2)).sum())
    assert numbers["assigned"] == 100 / 102


def test_the_chance_to_miss_modes_bounds_how_often_it_happens():
    """Ten modes, 25 samples: none missing, one, two or more; against 20,000 draws."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(10, size=(20_000, 25))
    missed = 10 - np.array([len(set(row)) for row in drawn])
    for k in range(1, 5):
        modes = np.arange(25) % (10 - k)
        bound = mode_coverage(modes, 10).numbers["missed_by_chance_p"]
        seen = (missed >= k).mean()
        assert seen - 0.01 < bound < 1.5 * seen + 0.1


@pytest.mark.parametrize(
    ("modes", "verdict"),
    [
        (np.random.default_rng(1).integers(1000, size=26_000), "green"),
        (np.random.default_rng(1).integers(999, size=26_000), "red"),
        # Too few samples to miss anything surely: e^-2 of a thousand modes are missed on average.
        (np.random.default_rng(1).integers(1000, size=2_000), "green"),
        (np.random.default_rng(1).integers(500, size=2_000), "red"),
        (np.random.default_rng(1).integers(1000, size=26_000) ** 2 // 1000, "red"),
        (np.repeat(np.arange(10), np.arange(50, 60) ** 2), "red"),
        (np.full(50, -1), "red"),
    ],
)
def test_stacked_digits_are_judged(modes, verdict):
    found = mode_coverage(modes, 1000)
    assert found.verdict == verdict
    assert ("missing" in found.sentence) == (verdict == "red")


def test_unequal_modes_are_amber():
    found = mode_coverage(np.repeat(np.arange(10), np.arange(100, 200, 10)), 10)
    assert found.verdict == "amber"
    assert found.sentence.startswith(
        "10 of 10 modes are covered by 1,450 samples, but with significantly unequal"
    )


def test_samples_between_the_modes_are_no_sign_of_coverage():
    modes = np.concatenate([np.arange(13), np.full(487, -1)])
    found = mode_coverage(modes, 25)
    assert found.verdict == "amber"
    assert "only 2.6% of the samples are near a mode, too few to tell" in found.sentence
    assert (
        mode_coverage(np.concatenate([np.arange(300) % 25, np.full(200, -1)]), 25).verdict
        == "green"
    )


def test_mode_coverage_refuses():
    with pytest.raises(ValueError, match=r"below num_modes = 3, not \[2\] up to 3"):
        mode_coverage([0, 3], 3)
    with pytest.raises(ValueError, match=r"modes must be \[N\] with N of at least 1"):
        mode_coverage([], 3)
