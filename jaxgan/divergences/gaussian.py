"""The Fréchet distance of two Gaussians."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgan.divergences._check import float32

_HIGHEST = jax.lax.Precision.HIGHEST
_EPS = float(jnp.finfo(jnp.float32).eps)


def frechet_distance(
    mean1: jax.Array, cov1: jax.Array, mean2: jax.Array, cov2: jax.Array
) -> jax.Array:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians, for losses.

        |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^1/2 S2 S1^1/2)^1/2

    The last trace is computed as the sum of the singular values of S1^1/2 S2^1/2. The roots are those of S1
    and S2, not of their product, which would have rounding errors. There are no complex numbers, and nothing is
    added to the diagonals. The gradient of the trace is 1/2 T, where T is the optimal linear map between the
    Gaussians. It has a closed form and is finite for equal eigenvalues, unlike that of an eigendecomposition.
    Directions in which the product of the covariances vanishes have slope 0. Second derivatives are taken
    through the decompositions and need distinct eigenvalues.

    `jaxgan.metrics.frechet_distance` computes the same number for reported scores: in NumPy and float64,
    without a gradient, and with an error for matrices that are not covariances. In float32, the error is about
    1e-6 of the traces, which is large relative to a distance that is small compared with the traces.

    Args:
      mean1, mean2: [D].
      cov1, cov2: [D, D], symmetric and positive semidefinite; may be singular. Only the symmetric
        part is used, and negative eigenvalues count as 0.

    Returns:
      A float32 scalar, the squared distance.

    Source: Dowson and Landau, The Fréchet Distance between Multivariate Normal Distributions
      (1982).

    >>> import jax.numpy as jnp
    >>> print(frechet_distance(jnp.array([0.0, 3.0]), jnp.eye(2), jnp.array([4.0, 0.0]), 4 * jnp.eye(2)))
    27.0
    """
    mean1, cov1 = _gaussian(mean1, cov1, "1")
    mean2, cov2 = _gaussian(mean2, cov2, "2")
    if mean1.shape != mean2.shape:
        raise ValueError(
            f"mean1 has shape {mean1.shape} and mean2 {mean2.shape}; give Gaussians of equal dimension."
        )
    apart = jnp.sum(jnp.square(mean1 - mean2))
    distance = apart + jnp.trace(cov1) + jnp.trace(cov2) - 2.0 * _cross_trace(cov1, cov2)
    return jnp.where(distance < 0, 0.0, distance)


def _gaussian(mean: jax.Array, cov: jax.Array, which: str) -> tuple[jax.Array, jax.Array]:
    mean, cov = float32(mean), float32(cov)
    if mean.ndim != 1 or mean.size == 0 or cov.shape != (mean.size, mean.size):
        raise ValueError(
            f"mean{which} has shape {mean.shape} and cov{which} {cov.shape}; give [D] and [D, D]."
        )
    return mean, 0.5 * (cov + cov.T)


@jax.custom_jvp
def _cross_trace(cov1: jax.Array, cov2: jax.Array) -> jax.Array:
    """tr (S1^1/2 S2 S1^1/2)^1/2."""
    product = jnp.matmul(_root(cov1), _root(cov2), precision=_HIGHEST)
    return jnp.sum(jnp.linalg.svd(product, compute_uv=False))


@_cross_trace.defjvp
def _cross_trace_jvp(primals, tangents):
    # With S1^1/2 S2^1/2 = U s V^T the derivatives by S1 and S2 are 1/2 S2^1/2 V s^-1 V^T S2^1/2 and
    # 1/2 S1^1/2 U s^-1 U^T S1^1/2.
    root1, root2 = (_root(cov) for cov in primals)
    u, s, vt = jnp.linalg.svd(jnp.matmul(root1, root2, precision=_HIGHEST))
    kept = s > s.size * _EPS * jnp.max(s)
    scale = jnp.where(kept, jax.lax.rsqrt(jnp.where(kept, s, 1.0)), 0.0)
    half1 = jnp.matmul(root2, vt.T * scale[None, :], precision=_HIGHEST)
    half2 = jnp.matmul(root1, u * scale[None, :], precision=_HIGHEST)
    tangent = sum(
        0.5 * jnp.sum(half * jnp.matmul(dot, half, precision=_HIGHEST))
        for half, dot in zip((half1, half2), tangents, strict=True)
    )
    return jnp.sum(s), tangent


def _root(cov: jax.Array) -> jax.Array:
    """The symmetric root; eigenvalues that are negative or within rounding errors of 0 count as 0."""
    values, vectors = jnp.linalg.eigh(cov)
    kept = values > _EPS * jnp.max(jnp.abs(values))
    roots = jnp.where(kept, jnp.sqrt(jnp.where(kept, values, 1.0)), 0.0)
    return jnp.matmul(vectors * roots[None, :], vectors.T, precision=_HIGHEST)
