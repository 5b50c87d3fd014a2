import numpy as np
import pytest

from jaxgan.metrics.frechet import frechet_distance, frechet_distance_to, frechet_notes
from jaxgan.metrics.moments import Moments


def _deviations(rng, dim, count):
    """Rows A [count, dim] of fading directions, for the covariance A^T A; of low rank where few."""
    scales = 3 * np.arange(1, dim + 1) ** -0.7
    basis = np.linalg.qr(rng.normal(size=(dim, dim))).Q
    return rng.normal(size=(count, dim)) * scales @ basis / np.sqrt(count)


def _covariance(rng, dim):
    deviations = _deviations(rng, dim, 4 * dim)
    return deviations.T @ deviations


@pytest.mark.parametrize(("dim", "count"), [(1, 10), (64, 300), (200, 50)])
def test_equal_gaussians_are_at_distance_0(dim, count):
    rng = np.random.default_rng(0)
    mu, deviations = rng.normal(size=dim), _deviations(rng, dim, count)
    sigma = deviations.T @ deviations
    assert frechet_distance(mu, sigma, mu, sigma) == pytest.approx(0, abs=1e-9)


def test_a_shift_is_its_squared_length():
    rng = np.random.default_rng(1)
    sigma, mu, shift = _covariance(rng, 40), rng.normal(size=40), rng.normal(size=40)
    assert frechet_distance(mu, sigma, mu + shift, sigma) == pytest.approx(shift @ shift, rel=1e-10)


def test_commuting_covariances_have_a_closed_form():
    """tr (sqrt(S1) - sqrt(S2))² where both share their eigenvectors."""
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.normal(size=(30, 30))).Q
    a, b = rng.uniform(0, 4, 30), rng.uniform(0, 4, 30)
    distance = frechet_distance(
        np.zeros(30), basis * a @ basis.T, np.zeros(30), basis * b @ basis.T
    )
    assert distance == pytest.approx(np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), rel=1e-10)


@pytest.mark.parametrize("counts", [(600, 600), (600, 40), (40, 600), (40, 30)])
def test_agrees_with_singular_values_at_any_rank(counts):
    """With S1 = A^T A, S2 = B^T B the cross term is the sum of the singular values of A B^T."""
    rng = np.random.default_rng(3)
    one, two = (_deviations(rng, 150, count) for count in counts)
    mu1, mu2 = rng.normal(size=(2, 150)) / 10
    nuclear = np.linalg.svd(one @ two.T, compute_uv=False).sum()
    expected = np.sum((mu1 - mu2) ** 2) + np.sum(one**2) + np.sum(two**2) - 2 * nuclear
    assert expected > 1
    distance = frechet_distance(mu1, one.T @ one, mu2, two.T @ two)
    assert distance == pytest.approx(expected, rel=1e-10)


def test_small_eigenvalues_count():
    """Each loses half its digits where the eigenvalues of S1 S2 are rooted; here there are 200 of them."""
    rng = np.random.default_rng(6)
    basis = np.linalg.qr(rng.normal(size=(200, 200))).Q
    a, b = 10.0 ** rng.uniform(-9, 0, (2, 200))
    a[0] = b[0] = 1
    distance = frechet_distance(
        np.zeros(200), basis * a @ basis.T, np.zeros(200), basis * b @ basis.T
    )
    assert distance == pytest.approx(np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), abs=1e-9)


@pytest.mark.parametrize("counts", [(700, 500), (90, 60)])
def test_of_moments_as_of_gaussians(counts):
    """Also with fewer examples than features, where the reference is singular values of the examples."""
    rng = np.random.default_rng(7)
    sets = [rng.normal(size=(n, 120)) * 5 / np.arange(1, 121) + i for i, n in enumerate(counts)]
    one, other = (Moments.of(x) for x in sets)
    distance = frechet_distance_to(one)
    gaussians = (one.mean, one.covariance(), other.mean, other.covariance())
    assert distance(other) == pytest.approx(frechet_distance(*gaussians), rel=1e-12)
    roots = [(x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in sets]
    nuclear = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    expected = np.sum((one.mean - other.mean) ** 2) - 2 * nuclear
    expected += sum(np.sum(root**2) for root in roots)
    assert distance(other) == pytest.approx(expected, rel=1e-9)
    assert distance(one) == pytest.approx(0, abs=1e-9)


def test_moments_must_fit():
    one = Moments.of(np.random.default_rng(0).normal(size=(9, 3)))
    with pytest.raises(ValueError, match="equally many features, not 3 and 2"):
        frechet_distance_to(one)(Moments.of(np.zeros((9, 2))))
    with pytest.raises(ValueError, match="at least 2 examples, not 1"):
        frechet_distance_to(Moments.of(np.zeros((1, 2))))


def test_notes():
    rng = np.random.default_rng(8)
    features = rng.normal(size=(50, 4))
    assert frechet_notes("real", Moments.of(features)) == []
    (few,) = frechet_notes("fake", Moments.of(features[:4]))
    assert few.startswith(
        "4 fake examples are fewer than the 5 that a Fréchet distance in 4 features"
    )
    features[:, 1:3] = 0.1, 1e6 / 3  # not exact in float64, nor are their means
    (constant,) = frechet_notes("real", Moments.of(features))
    assert constant.startswith("2 of 4 real features are constant")


def test_is_symmetric_and_turns_with_the_space():
    rng = np.random.default_rng(4)
    one, two = _covariance(rng, 25), _covariance(rng, 25)
    mu1, mu2 = rng.normal(size=(2, 25))
    turn = np.linalg.qr(rng.normal(size=(25, 25))).Q
    distance = frechet_distance(mu1, one, mu2, two)
    assert frechet_distance(mu2, two, mu1, one) == pytest.approx(distance, rel=1e-10)
    turned = frechet_distance(turn @ mu1, turn @ one @ turn.T, turn @ mu2, turn @ two @ turn.T)
    assert turned == pytest.approx(distance, rel=1e-10)


def test_a_point_against_a_gaussian():
    rng = np.random.default_rng(5)
    sigma, point = _covariance(rng, 12), np.zeros((12, 12))
    mu = rng.normal(size=12)
    expected = mu @ mu + np.trace(sigma)
    assert frechet_distance(mu, sigma, np.zeros(12), point) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(np.zeros(12), point, mu, sigma) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(mu, point, mu, point) == 0


_EYE, _ZERO = np.eye(2), np.zeros(2)


@pytest.mark.parametrize(
    ("gaussians", "message"),
    [
        ((_ZERO, np.eye(3), _ZERO, _EYE), r"mu1 and sigma1 must have shapes .* not \[2\] and \[3"),
        ((_ZERO, _EYE, np.zeros(3), np.eye(3)), "equal dimensions, not 2 and 3"),
        ((_ZERO, _EYE, _ZERO + np.nan, _EYE), "mu2 or sigma2 contains NaN or Inf"),
        ((_ZERO, [[1, 0.5], [0, 1]], _ZERO, _EYE), "sigma1 is not symmetric"),
        ((_ZERO, np.diag([1, -0.1]), _ZERO, _EYE), "sigma1 has a negative eigenvalue"),
        ((_ZERO, _EYE, _ZERO, np.diag([1, -0.1])), "sigma2 has a negative eigenvalue"),
    ],
)
def test_refuses(gaussians, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(*gaussians)
