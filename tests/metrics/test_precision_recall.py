import numpy as np
import pytest

from jaxgan.metrics.precision_recall import density_coverage, precision_recall


def _brute_force(real, fake, k):
    """Kynkäänniemi et al. 2019, Eq. 1 and 2, from the definition."""

    def distances(a, b):
        return np.linalg.norm(a[:, None].astype(np.float64) - b[None], axis=-1)

    def covered(queries, points):
        radii = np.sort(distances(points, points), axis=1)[:, k]  # the 0th is the point itself
        return (distances(queries, points) <= radii).any(axis=1).mean()

    return covered(fake, real), covered(real, fake)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("block", [7, 64, 4096])
def test_is_the_definition_whatever_the_block(k, block):
    rng = np.random.default_rng(k)
    real = rng.normal(size=(150, 6)).astype(np.float32)
    fake = (0.8 * rng.normal(size=(101, 6)) + 0.9).astype(np.float32)
    expected = _brute_force(real, fake, k)
    assert 0.1 < min(expected) < max(expected) < 0.95  # so that equality says something
    assert precision_recall(real, fake, k, block=block) == expected


def test_a_set_covers_itself():
    x = np.random.default_rng(0).normal(size=(200, 9)).astype(np.float32)
    assert precision_recall(x, x, block=64) == (1, 1)


def test_far_sets_do_not_meet():
    x = np.random.default_rng(0).normal(size=(200, 9)).astype(np.float32)
    assert precision_recall(x, x + 100) == (0, 0)


def test_precise_but_narrow_and_wide_but_imprecise():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(400, 2))
    narrow = precision_recall(real, 0.1 * rng.normal(size=(400, 2)))
    assert narrow.precision == 1
    assert narrow.recall < 0.2
    wide = precision_recall(real, 6 * rng.normal(size=(400, 2)))
    assert wide.recall > 0.9
    assert wide.precision < 0.3


def test_swapping_the_sets_swaps_the_scores():
    rng = np.random.default_rng(2)
    one, two = rng.normal(size=(90, 3)), rng.normal(size=(70, 3)) * 1.5
    precision, recall = precision_recall(one, two)
    assert precision != recall
    assert precision_recall(two, one) == (recall, precision)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_copies_are_inside_their_own_balls_of_radius_0(offset):
    """Five copies of each picture: every ball of k = 3 has radius 0, up to rounding."""
    rng = np.random.default_rng(3)
    real = np.repeat(rng.normal(size=(40, 64)) + offset, 5, axis=0).astype(np.float32)
    assert precision_recall(real, real[::2].copy(), k=1) == (1, 1)
    assert precision_recall(real, real[rng.permutation(200)]) == (1, 1)
    assert precision_recall(real, real + np.float32(0.01)) == (0, 0)


def test_a_tie_is_inside():
    """On a lattice most distances tie, and the common centre falls between its points."""
    rng = np.random.default_rng(4)
    real = rng.integers(-3, 4, size=(70, 3))
    fake = rng.integers(0, 6, size=(53, 3))
    expected = _brute_force(real, fake, 3)
    assert 0.1 < min(expected) < max(expected) < 0.95
    assert precision_recall(real, fake) == expected


def _density_coverage(real, fake, k):
    """Naeem et al. 2020, Section 3, from the definition, with open balls."""

    def distances(a, b):
        return np.linalg.norm(a[:, None].astype(np.float64) - b[None], axis=-1)

    inside = distances(real, fake) < np.sort(distances(real, real), axis=1)[:, k, None]
    return inside.sum() / (k * len(fake)), inside.any(axis=1).mean()


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("block", [7, 4096])
def test_density_and_coverage_are_the_definition(k, block):
    rng = np.random.default_rng(k)
    real = rng.normal(size=(150, 6)).astype(np.float32)
    fake = (0.9 * rng.normal(size=(101, 6)) + 0.5).astype(np.float32)
    expected = _density_coverage(real, fake, k)
    assert 0.1 < expected[1] < 0.95
    assert density_coverage(real, fake, k, block=block) == pytest.approx(expected, rel=1e-14)


def test_density_and_coverage_of_equal_distributions():
    """1 and, for as many reals as fakes, about 1 - 2^-k."""
    draws = [
        density_coverage(*np.random.default_rng(seed).normal(size=(2, 300, 4)), k=2)
        for seed in range(60)
    ]
    density, coverage = np.mean(draws, axis=0)
    deviations = np.std(draws, axis=0) / np.sqrt(len(draws))
    assert abs(density - 1) < 4 * deviations[0]
    assert abs(coverage - 0.75) < 4 * deviations[1] + 0.005  # the limit for many pictures


def test_outliers_move_recall_and_not_coverage():
    """Each far fake has a ball that reaches half of the reals."""
    rng = np.random.default_rng(5)
    real, fake = rng.normal(size=(200, 3)), 0.1 * rng.normal(size=(200, 3))
    far = np.vstack([fake, [[99.0, 0.0, 0.0], [-99.0, 0.0, 0.0]]])
    assert precision_recall(real, fake).recall < 0.2
    assert precision_recall(real, far).recall > 0.8
    assert density_coverage(real, far).coverage == density_coverage(real, fake).coverage


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_an_edge_does_not_belong_to_the_ball_of_density(offset):
    """A set in itself: the k-th neighbour of each point lies on an edge, up to rounding."""
    real = np.random.default_rng(6).normal(size=(300, 30)) + offset
    assert density_coverage(real, real.copy(), k=3, block=128) == (1, 1)
    copies = np.repeat(real[:40], 5, axis=0)
    assert density_coverage(copies, copies, k=3) == (0, 0)


def test_density_needs_no_neighbours_of_fakes():
    real = np.random.default_rng(7).normal(size=(50, 2))
    assert density_coverage(real, real[:1]).density > 0


def test_refuses_features_that_are_not_finite():
    features = np.zeros((9, 2))
    broken = np.where(np.arange(9)[:, None] == 4, np.nan, features)
    with pytest.raises(ValueError, match="1 of 9 rows of fake contain NaN or Inf: the generator"):
        precision_recall(features, broken)
    with pytest.raises(ValueError, match=r"k = 9 .* fewer than the examples"):
        density_coverage(features, features, k=9)


@pytest.mark.parametrize(
    ("real", "fake", "k", "message"),
    [
        ((9, 2), (9, 3), 3, r"shape \[N, D\], .* not real \[9, 2\], fake \[9, 3\]"),
        ((9,), (9, 3), 3, r"not real \[9\]"),
        ((9, 2), (3, 2), 3, r"k = 3 .* fewer than the examples \(9 reals, 3 fakes\)"),
        ((9, 2), (9, 2), 0, "k = 0 .* at least 1"),
    ],
)
def test_refuses(real, fake, k, message):
    with pytest.raises(ValueError, match=message):
        precision_recall(np.zeros(real), np.zeros(fake), k)
