import itertools

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.metrics.pairs import mean_over_pairs
from jaxgan.metrics.perceptual_diversity import perceptual_diversity


def _apart(one, other):
    return jnp.abs(one - other).mean((1, 2, 3))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(11, 2, 3, 1)).astype(np.float32)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_all_pairs_of_each_group(images, batch_size):
    groups = np.array([4] * 5 + [-1] * 6)
    found = mean_over_pairs(images, _apart, groups, pairs=None, batch_size=batch_size)
    for name, members in ((4, images[:5]), (-1, images[5:])):
        expected = np.mean([abs(a - b).mean() for a, b in itertools.combinations(members, 2)])
        assert found.per_group[name] == pytest.approx(expected, rel=1e-6)
    assert found.mean == pytest.approx((found.per_group[4] + found.per_group[-1]) / 2)


def test_drawn_pairs_are_uniform_over_different_pictures():
    """The mean over many draws is that over all pairs; no picture is compared with itself."""
    images = np.array([0.0, 1.0, 5.0], np.float32).reshape(3, 1, 1, 1)
    found = mean_over_pairs(images, _apart, pairs=30_000, batch_size=30_000)
    assert found.mean == pytest.approx(10 / 3, rel=0.02)

    def same(one, other):
        return (one == other).all((1, 2, 3)).astype(jnp.float32)

    assert mean_over_pairs(images, same, pairs=500, batch_size=500).mean == 0


def test_the_seed_fixes_the_pairs_and_the_distance_is_compiled_once(images):
    distance = chex.assert_max_traces(_apart, n=3)
    first, again, other = (
        perceptual_diversity(images, distance, pairs=9, batch_size=4, seed=seed).mean
        for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"groups": np.arange(11) // 2}, "group 5 has one picture; a pair needs two"),
        ({"groups": np.zeros(3, int)}, r"groups must be 11 whole numbers.* not int64 \[3\]"),
        ({"pairs": 0}, "pairs = 0 must be at least 1"),
        ({"batch_size": 0}, "batch_size = 0 must be at least 1"),
        ({"distance": lambda a, b: a - b}, r"gave an array \[32, 2, 3, 1\] .* it must be \[32\]"),
        ({"images": np.zeros((4, 3))}, r"images must be pictures \[N, H, W, C\], not \[4, 3\]"),
        ({"images": np.full((2, 1, 1, 1), np.nan)}, "2 of 2 rows of images contain NaN or Inf"),
    ],
)
def test_refuses(images, how, message):
    with pytest.raises(ValueError, match=message):
        mean_over_pairs(**{"images": images, "distance": _apart} | how)
