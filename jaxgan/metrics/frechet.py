"""The Fréchet distance between two Gaussians, the formula of FID.

Dowson & Landau, "The Fréchet distance between multivariate normal distributions", 1982; for
images, Heusel et al., "GANs trained by a two time-scale update rule" (TTUR), 2017, Eq. 6. The
distance is called FID only with the features of the original Inception network.
"""

from collections.abc import Callable

import numpy as np
import scipy.linalg

from jaxgan.metrics.moments import Moments

_EPS = np.finfo(np.float64).eps
# Covariances summed in float32 may have negative eigenvalues of this size, relative to the greatest.
_INDEFINITE = 1e-5
# Relative error of the cross term that is accepted for speed.
_PRECISION = 1e-9


def frechet_distance(mu1, sigma1, mu2, sigma2) -> float:
    """|mu1 - mu2|² + tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½, a squared distance.

    With factors S1 = F F^T and S2 = G G^T, each with as many columns as its rank, the last trace is the
    sum of the singular values of F^T G. The computation is in float64, without complex numbers and
    without jitter, and is valid for singular covariances.

    Args:
      mu1, mu2: means, float [D].
      sigma1, sigma2: covariances, float [D, D], positive semidefinite.

    Returns:
      A float, never negative.

    >>> round(frechet_distance([0.0, 3.0], np.eye(2), [4.0, 0.0], 4 * np.eye(2)), 9)
    27.0
    """
    mu1, sigma1 = _gaussian(mu1, sigma1, "1")
    mu2, sigma2 = _gaussian(mu2, sigma2, "2")
    if mu1.shape != mu2.shape:
        raise ValueError(
            f"the two Gaussians must have equal dimensions, not {mu1.size} and {mu2.size}"
        )
    return _distance(
        mu1,
        _factor(sigma1, "sigma1"),
        sigma1.trace(),
        mu2,
        _factor(sigma2, "sigma2"),
        sigma2.trace(),
    )


def frechet_distance_to(real: Moments) -> Callable[[Moments], float]:
    """Returns a function that computes the Fréchet distance to one set, whose covariance is factored once.

    Fewer examples than features + 1 give a rank-deficient covariance, which is handled exactly;
    `frechet_notes` explains the bias of such a distance.

    Args:
      real: moments of 2 examples or more.

    Returns:
      A function of the moments of another set, equal to `frechet_distance` of both means and
      covariances.

    >>> real = Moments.of(np.array([[0.0, 0.0], [2.0, 2.0]]))
    >>> distance = frechet_distance_to(real)
    >>> round(distance(Moments.of(np.array([[3.0, 0.0], [5.0, 2.0]]))), 9)
    9.0
    """
    mean, sigma = _gaussian(real.mean, real.covariance(), "1")
    factor, trace = _factor(sigma, "sigma1"), sigma.trace()

    def distance(other: Moments) -> float:
        if other.mean.shape != mean.shape:
            raise ValueError(
                f"the two sets must have equally many features, not {mean.size} and {other.mean.size}"
            )
        mu, sigma = _gaussian(other.mean, other.covariance(), "2")
        return _distance(mean, factor, trace, mu, _factor(sigma, "sigma2"), sigma.trace())

    return distance


def frechet_notes(kind: str, moments: Moments) -> list[str]:
    """Notes on one set that affect the interpretation of its Fréchet distances, a sentence each.

    Args:
      kind: the name of the set in the notes ("real", "fake").
      moments: the moments of the set.

    >>> frechet_notes("real", Moments.of(np.array([[0.0, 1.0], [2.0, 1.0]])))
    ['2 real examples are fewer than the 3 that a Fréchet distance in 2 features needs: it is strongly biased',
     '1 of 2 real features are constant: all examples agree in them, or the features are dead']
    """
    dim, notes = moments.mean.size, []
    if moments.count < dim + 1:
        notes.append(
            f"{moments.count:,} {kind} examples are fewer than the {dim + 1:,} that a Fréchet distance in {dim:,}"
            " features needs: it is strongly biased"
        )
    # A constant that float64 cannot represent gives a mean with a rounding error, and a scatter of its square.
    rounding = moments.count * np.square(moments.count * _EPS * moments.mean)
    constant = int(np.sum(np.diagonal(moments.scatter) <= rounding))
    if constant:
        notes.append(
            f"{constant} of {dim} {kind} features are constant: all examples agree in them, "
            "or the features are dead"
        )
    return notes


def _distance(mu1, factor1, trace1, mu2, factor2, trace2) -> float:
    delta = mu1 - mu2
    cross = _nuclear_norm(factor1.T @ factor2)
    return max(0.0, float(delta @ delta + trace1 + trace2 - 2 * cross))


def _nuclear_norm(matrix: np.ndarray) -> float:
    """The sum of the singular values.

    They are computed as the roots of the eigenvalues of M M^T where that is accurate enough, in a third of the time.
    The error of an eigenvalue is about eps times the greatest eigenvalue, of either sign, and the error of its root
    is that divided by twice the root. Measured errors were at most a tenth of this estimate, for values that span
    three to eight powers of ten.
    """
    if 0 in matrix.shape:
        return 0.0
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    values = scipy.linalg.eigvalsh(wide @ wide.T, check_finite=False)
    if values[0] > 0:
        total = np.sqrt(values).sum()
        if 0.5 * _EPS * values[-1] * np.sqrt(np.sum(1 / values)) < _PRECISION * total:
            return float(total)
    return float(scipy.linalg.svdvals(matrix, check_finite=False).sum())


def _gaussian(mu, sigma, which: str) -> tuple[np.ndarray, np.ndarray]:
    mu, sigma = np.asarray(mu, np.float64), np.asarray(sigma, np.float64)
    if mu.ndim != 1 or not mu.size or sigma.shape != (mu.size, mu.size):
        raise ValueError(
            f"mu{which} and sigma{which} must have shapes [D] and [D, D], not {list(mu.shape)} and "
            f"{list(sigma.shape)}"
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise ValueError(f"mu{which} or sigma{which} contains NaN or Inf")
    if not np.allclose(sigma, sigma.T, rtol=1e-5, atol=1e-5 * np.abs(sigma).max()):
        raise ValueError(f"sigma{which} is not symmetric, so it is not a covariance")
    return mu, (sigma + sigma.T) / 2


def _factor(sigma: np.ndarray, name: str) -> np.ndarray:
    """F [D, rank] with F F^T = sigma."""
    try:
        factor = scipy.linalg.cholesky(sigma, lower=True, check_finite=False)
    except scipy.linalg.LinAlgError:  # singular, or not positive semidefinite
        pass
    else:
        rounding = sigma.shape[0] * _EPS * sigma.diagonal().max()
        if np.square(factor.diagonal()).min() > rounding:
            return factor
    values, vectors = scipy.linalg.eigh(sigma, driver="evd", check_finite=False)
    kept = _significant(values, name)
    return vectors[:, kept] * np.sqrt(values[kept])


def _significant(values: np.ndarray, name: str) -> np.ndarray:
    """A mask of the ascending eigenvalues that exceed rounding errors.

    The root of a rounding error of 1e-16 would add 1e-8 for each missing rank.
    """
    scale = np.abs(values).max(initial=0.0)
    if values.min(initial=0.0) < -_INDEFINITE * scale:
        raise ValueError(f"{name} has a negative eigenvalue, so it is not a covariance")
    return values > values.size * _EPS * scale
