"""Gaussians in the plane."""

import re

import numpy as np
import pytest

from jaxgan.data import open_source
from jaxgan.options import OptionError


def mixture(**options):
    return open_source("mixture2d", **options)


@pytest.mark.parametrize(
    ("layout", "modes", "std"), [("grid", 25, 0.05), ("ring", 8, 0.01), ("ring", 7, 0.2)]
)
def test_points_are_the_mixture(layout, modes, std):
    source = mixture(layout=layout, modes=modes, std=std if modes == 7 else 0.0)
    assert (source.spec.shape, source.spec.num_classes, source.spec.size) == ((2,), modes, 100_000)
    assert source.std == std
    batch = source.gather(np.arange(100_000))
    assert batch["image"].dtype == np.float32
    counts = np.bincount(batch["label"])
    assert np.ptp(counts) <= 1
    offset = batch["image"] - source.centers[batch["label"]]
    for mode in range(modes):
        mean = offset[batch["label"] == mode].mean(axis=0)
        assert np.abs(mean).max() < 5 * std / np.sqrt(counts[mode])  # Five standard errors.
    # Chi-squared with 200,000 degrees of freedom: its mean ± five standard deviations.
    assert abs(np.square(offset / std).sum() / 200_000 - 1) < 5 * np.sqrt(2 / 200_000)


def test_centers():
    grid = mixture().centers
    assert sorted({float(x) for x in grid.ravel()}) == [-4, -2, 0, 2, 4]
    assert len(np.unique(grid, axis=0)) == 25
    ring = mixture(layout="ring", modes=8).centers
    np.testing.assert_allclose(np.linalg.norm(ring, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1), 2 * np.sin(np.pi / 8), rtol=1e-6
    )


def test_same_points_every_time_and_others_in_the_test_split():
    np.testing.assert_array_equal(mixture().images(100), mixture().images(100))
    assert not np.isin(mixture().images(100), mixture(split="test").images(100)).any()
    assert mixture(labels=False).spec.num_classes is None
    assert mixture().summary == (
        "mixture2d grid (train), std 0.05: 100,000 points, 2-D, 25 classes"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"layout": "rng"},
            "layout is 'rng', but it must be one of grid, ring: set layout=ring.",
        ),
        (
            {"modes": 24},
            "modes is 24, but a grid has a square number of modes: set modes=25 or modes=36 or layout=ring.",
        ),
        ({"modes": 0}, "modes is 0, but it must be at least 1: set modes=1."),
        ({"std": -0.1}, "std is -0.1, but it must be at least 0: set std=0.0."),
        ({"resolution": 32}, "there is no option resolution; there are split, labels, modes, "),
        ({"split": "all"}, "split is 'all', but it must be one of train, test: set split="),
    ],
)
def test_wrong_options_are_named(options, text):
    with pytest.raises(OptionError, match=re.escape(text)) as raised:
        mixture(**options)
    # An option that there is not can only be left out.
    for fix in raised.value.fixes or [dict.fromkeys(options)]:
        changed = {name: value for name, value in (options | fix).items() if value is not None}
        assert len(mixture(**changed)) == 100_000


def test_a_spread_meets_every_mode_and_no_point_twice():
    # Labels go round by 25: every 40th point would be of five modes.
    source = mixture()
    labels = np.concatenate([batch["label"] for batch in source.spread(2500)])
    assert np.bincount(labels, minlength=25).min() > 50
    assert len(np.unique(source.images(2500), axis=0)) == 2500
    np.testing.assert_array_equal(source.images(2500), source.images(2500))
