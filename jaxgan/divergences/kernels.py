"""Distances of samples computed from all pairs: energy distance and maximum mean discrepancy."""

from __future__ import annotations

import numbers

import jax
import jax.numpy as jnp

from jaxgan import scaled
from jaxgan.divergences._check import at_least, one_of, points, positive, safe_root

KERNELS = ("gaussian", "cubic")


def pairwise_cost(x: jax.Array, y: jax.Array, p: float = 2) -> jax.Array:
    """Euclidean distances to the power p: |x_i - y_j|^p.

    Computed from the differences, so accurate for close points too; the expansion |x|^2 + |y|^2 - 2 x.y is not.

    Args:
      x: [N, D].
      y: [M, D].
      p: 1 or more; the gradient at distance 0 is defined as 0.

    Returns:
      float32 [N, M].

    >>> import jax.numpy as jnp
    >>> print(pairwise_cost(jnp.zeros((1, 2)), jnp.array([[3.0, 4.0], [0.0, 1.0]])))
    [[25.  1.]]
    """
    x, y = points(x, y)
    at_least("p", p, 1)
    p = float(p) if isinstance(p, numbers.Real) else p
    if isinstance(p, float) and p == 2:
        return _squared_distances(x, y)
    distances = _distances(x, y)
    return distances if isinstance(p, float) and p == 1 else safe_root(distances, 1 / p)


# Under jit, XLA fuses the operations, so the differences [N, M, D] are never stored.
@jax.jit
def _squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(x[:, None, :] - y[None, :, :]), axis=-1)


@jax.jit
def _distances(x: jax.Array, y: jax.Array) -> jax.Array:
    return scaled.norm(x[:, None, :] - y[None, :, :], 2)


def energy_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """Energy distance of two samples: sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|).

    The means are over all pairs, including those of a sample with itself, so it is the distance of the two
    empirical distributions and never negative. In one dimension it equals SciPy's. The gradient is 0
    where the distance is 0.

    Args:
      x: [N, D].
      y: [M, D].

    Returns:
      A float32 scalar.

    Source: Székely and Rizzo, Energy Statistics: A Class of Statistics Based on Distances (2013);
      the root of theirs.

    >>> import jax.numpy as jnp
    >>> print(energy_distance(jnp.zeros((3, 1)), 2 * jnp.ones((5, 1))))  # sqrt(2 * 2)
    2.0
    """
    x, y = points(x, y)
    between, within_x, within_y = (
        _mean(pairwise_cost(a, b, 1)) for a, b in ((x, y), (x, x), (y, y))
    )
    return safe_root(2.0 * between - within_x - within_y)


def mmd(
    x: jax.Array,
    y: jax.Array,
    kernel: str = "gaussian",
    bandwidth: float = 1.0,
    unbiased: bool = False,
) -> jax.Array:
    """Squared maximum mean discrepancy: E k(X, X') + E k(Y, Y') - 2 E k(X, Y).

        gaussian: k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2))
        cubic:    k(x, y) = (x.y / D + 1)^3

    Args:
      x: [N, D].
      y: [M, D].
      kernel: "gaussian", which distinguishes any two distributions, or "cubic" (that of KID), which compares
        their first three moments.
      bandwidth: of the Gaussian kernel; the cubic one ignores it.
      unbiased: whether to leave out the pairs of a sample with itself. Then the estimate is unbiased
        and may be negative; N and M must be at least 2. Otherwise the result is the squared distance of
        the empirical distributions, 0 or more.

    Returns:
      A float32 scalar.

    Sources: Gretton et al., A Kernel Two-Sample Test (2012), Eq. 3 (unbiased) and Eq. 5 (biased, its
      square); Bińkowski et al., Demystifying MMD GANs (2018), Section 4, for the cubic kernel.

    >>> import jax.numpy as jnp
    >>> x, y = jnp.array([[0.0], [2.0]]), jnp.array([[1.0], [1.0]])
    >>> print(mmd(x, y, "cubic"))  # (1 + 125 + 2) / 4 + 8 - 2 * (1 + 27) / 2
    12.0
    >>> print(mmd(x, y, "cubic", unbiased=True))
    -19.0
    """
    x, y = points(x, y)
    one_of("kernel", kernel, KERNELS)
    positive("bandwidth", bandwidth)
    if unbiased and min(x.shape[0], y.shape[0]) < 2:
        raise ValueError(
            f"x and y hold {x.shape[0]} and {y.shape[0]} samples; the unbiased estimate compares each "
            "with another one; give 2 or more of each."
        )

    width = jnp.asarray(bandwidth, jnp.float32)

    def gram(a, b):
        if kernel == "gaussian":
            return jnp.exp(-0.5 * pairwise_cost(a / width, b / width))
        dots = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
        return (dots / a.shape[1] + 1.0) ** 3

    within = _mean_of_others if unbiased else _mean
    return within(gram(x, x)) + within(gram(y, y)) - 2.0 * _mean(gram(x, y))


def _mean(gram: jax.Array) -> jax.Array:
    """The mean of row means: rounding errors grow with sqrt(N), not N, before large means are subtracted."""
    return jnp.mean(jnp.mean(gram, axis=1))


def _mean_of_others(gram: jax.Array) -> jax.Array:
    """The mean without the diagonal."""
    n = gram.shape[0]
    others = jnp.where(jnp.eye(n, dtype=bool), 0.0, gram)
    return jnp.mean(jnp.sum(others, axis=1) / (n - 1))
