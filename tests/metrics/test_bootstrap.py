"""Intervals must hold what they promise: experiments are repeated, and it is counted how often the truth is inside."""

import numpy as np
import pytest

from jaxgan.metrics.bootstrap import confidence_interval, frechet_interval
from jaxgan.metrics.precision_recall import precision_recall

LEVEL = 0.9


def _mean_apart(real, fake):
    return fake.mean() - real.mean()


def _share_inside(intervals, truth):
    return np.mean([found.low <= truth <= found.high for found in intervals])


def _repeat(interval, sizes, dim, shift, repeats=150, **how):
    found = []
    for seed in range(repeats):
        rng = np.random.default_rng([seed, 5])
        real = rng.normal(size=(sizes[0], dim))
        fake = 1.3 * rng.normal(size=(sizes[1], dim)) + shift
        found.append(interval(real, fake, resamples=100, level=LEVEL, seed=seed, **how))
    return found


@pytest.mark.parametrize("draw", ["halves", "replacement"])
def test_the_standard_error_of_a_mean_is_the_textbooks(draw):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(80, 1)), 2 * rng.normal(size=(120, 1))
    found = confidence_interval(_mean_apart, real, fake, resamples=4000, draw=draw)
    expected = np.sqrt(real.var() / 80 + fake.var() / 120)
    assert found.standard_error == pytest.approx(expected, rel=0.05)
    assert abs(found.shift) < 4 * expected / np.sqrt(4000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * expected, rel=0.1)


@pytest.mark.parametrize(
    ("resampled", "variances"), [("real", [1, 0]), ("fake", [0, 1]), ("both", [1, 1])]
)
def test_only_what_is_resampled_counts(resampled, variances):
    rng = np.random.default_rng(1)
    real, fake = rng.normal(size=(60, 1)), rng.normal(size=(60, 1))
    found = confidence_interval(_mean_apart, real, fake, resamples=2000, resampled=resampled)
    expected = np.sqrt(variances @ np.array([real.var(), fake.var()]) / 60)
    assert found.standard_error == pytest.approx(expected, rel=0.07)
    assert found.resampled == resampled


@pytest.mark.parametrize(("dim", "size"), [(4, 200), pytest.param(10, 60, marks=pytest.mark.slow)])
def test_the_intervals_of_a_frechet_distance_hold_what_they_promise_and_percentiles_do_not(
    dim, size
):
    """Gaussians whose distance is known; with 60 examples in 10 dimensions, a bias of twice the deviation."""
    truth = dim * (0.5**2 + 0.3**2)
    limit = _repeat(frechet_interval, (size, size), dim, 0.5, target="limit")
    expected = np.mean([found.score for found in limit])
    assert 0.85 < _share_inside(limit, truth) <= 0.98

    # The same draws with the other target: the mean of the values takes the place of the score.
    same_size = [f._replace(low=f.low + f.shift, high=f.high + f.shift) for f in limit]
    for found, moved in zip(
        _repeat(frechet_interval, (size, size), dim, 0.5, repeats=3), same_size, strict=False
    ):
        assert found[1:3] == pytest.approx(moved[1:3])
    assert 0.85 < _share_inside(same_size, expected) <= 0.98

    percentiles = [np.quantile(found.values, [0.05, 0.95]) for found in limit]
    assert np.mean([low <= truth <= high for low, high in percentiles]) < 0.85


def test_of_a_fixed_reference_only_the_fakes_vary():
    """The expected distance of fakes from these very reals."""
    real = np.random.default_rng(2).normal(size=(150, 3))
    intervals, scores = [], []
    for seed in range(150):
        fake = np.random.default_rng([seed, 6]).normal(size=(150, 3)) + 0.5
        intervals.append(
            frechet_interval(real, fake, resampled="fake", resamples=60, level=LEVEL, seed=seed)
        )
        scores.append(intervals[-1].score)
    assert 0.82 < _share_inside(intervals, np.mean(scores)) <= 0.97
    assert np.mean([i.standard_error for i in intervals]) == pytest.approx(np.std(scores), rel=0.2)


def test_neighbours_survive_halves_and_not_replacement():
    """Copies lie at distance 0, so balls shrink and precision falls by several standard errors."""
    rng = np.random.default_rng(3)
    real, fake = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))

    def precision(reals, fakes):
        return precision_recall(reals, fakes).precision

    halves, copies = (
        confidence_interval(precision, real, fake, resamples=60, resampled="real", draw=draw)
        for draw in ("halves", "replacement")
    )
    assert abs(halves.shift) < 1.5 * halves.standard_error
    assert copies.shift < -1.5 * copies.standard_error
    assert abs(copies.shift) > 2 * abs(halves.shift)


def test_is_repeated_by_its_seed_and_states_what_it_is():
    rng = np.random.default_rng(4)
    real, fake = rng.normal(size=(2, 40, 2))
    first, again, other = (
        frechet_interval(real, fake, resamples=20, seed=seed, target="limit") for seed in (1, 1, 2)
    )
    assert first[:3] == again[:3] != other[:3]
    assert first.low < first.high
    assert first[6:] == (0.95, "both", "halves", "limit")
    assert len(first.values) == 20


@pytest.mark.parametrize(
    ("sizes", "how", "message"),
    [
        ((9, 9), {"level": 95}, "level = 95 must lie between 0 and 1; 0.95 is usual"),
        ((9, 9), {"resamples": 1}, "resamples = 1 must be at least 2"),
        (
            (9, 9),
            {"resampled": "fakes"},
            "resampled is 'fakes'; it must be one of both, fake, real",
        ),
        ((9, 9), {"draw": "thirds"}, "draw is 'thirds'; it must be one of halves, replacement"),
        ((9, 9), {"target": "mean"}, "target is 'mean'; it must be one of same_size, limit"),
        ((9, 3), {}, "9 reals and 3 fakes are too few to resample; give 4 or more of each"),
    ],
)
def test_refuses(sizes, how, message):
    with pytest.raises(ValueError, match=message):
        confidence_interval(_mean_apart, *(np.zeros((size, 1)) for size in sizes), **how)
