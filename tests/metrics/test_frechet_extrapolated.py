import numpy as np
import pytest

from jaxgan.metrics.frechet import frechet_distance_to
from jaxgan.metrics.frechet_extrapolated import extrapolated_frechet
from jaxgan.metrics.moments import Moments

DIM = 6
TRUTH = DIM * 0.25**2  # of unit Gaussians a quarter apart in each direction


@pytest.fixture(scope="module")
def exact():
    """The moments of a unit Gaussian itself, so that only the fakes bring a bias."""
    return Moments(10**9, np.zeros(DIM), (10**9 - 1) * np.eye(DIM))


def test_takes_out_the_bias_and_the_plain_distance_does_not(exact):
    rng = np.random.default_rng(0)
    limits, plain = [], []
    for seed in range(80):
        fake = rng.normal(size=(150, DIM)) + 0.25
        limits.append(extrapolated_frechet(exact, fake, draws=3, seed=seed).limit)
        plain.append(frechet_distance_to(exact)(Moments.of(fake)))
    error = np.std(plain) / np.sqrt(80)
    assert abs(np.mean(limits) - TRUTH) < 3 * error
    assert np.mean(plain) - TRUTH > 6 * error


def test_the_points_and_the_line(exact):
    fake = np.random.default_rng(1).normal(size=(500, DIM)) + 0.5
    found = extrapolated_frechet(exact, fake, points=5, smallest=100, draws=50)
    assert found.sizes.tolist() == [100, 200, 300, 400, 500]
    assert found.distances[-1] == pytest.approx(frechet_distance_to(exact)(Moments.of(fake)))
    line = found.limit + found.slope / found.sizes
    assert np.sum(found.distances - line) == pytest.approx(0, abs=1e-10)  # least squares
    assert np.sum((found.distances - line) / found.sizes) == pytest.approx(0, abs=1e-10)
    residual = np.sqrt(np.sum((found.distances - line) ** 2) / 3)
    assert found.residual == pytest.approx(residual)
    assert found.residual < 0.1 * (found.distances[0] - found.limit)
    assert found.slope > 0


def test_features_and_their_moments_are_the_same_reals_and_the_seed_fixes_the_draw(exact):
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(2, 90, 3))
    first = extrapolated_frechet(real, fake, seed=4)
    assert first.limit == extrapolated_frechet(Moments.of(real), fake, seed=4).limit
    assert first.limit != extrapolated_frechet(real, fake, seed=5).limit


@pytest.mark.parametrize(
    ("shape", "how", "message"),
    [
        ((13, 6), {}, "13 fakes are too few for a line from smallest = 7 on; give at least 14$"),
        ((50, 6), {"smallest": 1}, "smallest = 1 must be at least 2"),
        ((50, 6), {"points": 2}, "points = 2 must be at least 3"),
        ((50, 6), {"draws": 0}, "draws = 0 must be at least 1"),
        ((50,), {}, r"features must have shape \[N, D\], .* not fake \[50\]"),
        ((50, 5), {}, "equally many features, not 6 and 5"),
    ],
)
def test_refuses(exact, shape, how, message):
    with pytest.raises(ValueError, match=message):
        extrapolated_frechet(exact, np.zeros(shape), **how)
