"""The Fréchet distance between two Gaussians, the arithmetic under FID.

Dowson & Landau, "The Fréchet distance between multivariate normal distributions", 1982; for
images, Heusel et al., "GANs trained by a two time-scale update rule" (TTUR), 2017, Eq. 6. The
distance is called FID only in the features of the original Inception network.
"""

import numpy as np
import scipy.linalg

_EPS = np.finfo(np.float64).eps
# Covariances summed in float32 may dip this far below zero, relative to their greatest eigenvalue.
_INDEFINITE = 1e-5


def frechet_distance(mu1, sigma1, mu2, sigma2) -> float:
    """|mu1 - mu2|² + tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½, a squared distance.

    The last trace is the sum of the square roots of the eigenvalues of F^T S2 F, where S1 = F F^T
    and F has as many columns as S1 has rank. Both decompositions are symmetric and in float64: no
    complex parts, no jitter, and singular covariances are as good as others.

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
            f"the two Gaussians must have as many dimensions, not {mu1.size} and {mu2.size}"
        )
    values, vectors = scipy.linalg.eigh(sigma1, driver="evd", check_finite=False)
    kept = _significant(values, "sigma1")
    factor = vectors[:, kept] * np.sqrt(values[kept])
    product = factor.T @ sigma2 @ factor
    values = scipy.linalg.eigvalsh((product + product.T) / 2, check_finite=False)
    cross = np.sqrt(values[_significant(values, "sigma2")]).sum()
    delta = mu1 - mu2
    return max(0.0, float(delta @ delta + np.trace(sigma1) + np.trace(sigma2) - 2 * cross))


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
        raise ValueError(f"sigma{which} is not symmetric, so it is no covariance")
    return mu, (sigma + sigma.T) / 2


def _significant(values: np.ndarray, name: str) -> np.ndarray:
    """Which of the ascending eigenvalues rise above rounding.

    The root of a rounding error of 1e-16 would count as 1e-8, once for each missing rank.
    """
    scale = np.abs(values).max(initial=0.0)
    if values.min(initial=0.0) < -_INDEFINITE * scale:
        raise ValueError(f"{name} has a negative eigenvalue, so it is no covariance")
    return values > values.size * _EPS * scale
