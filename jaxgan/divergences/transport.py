"""Exact optimal transport: in one dimension, along random projections, and by linear programming."""

from __future__ import annotations

import numbers
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import scaled
from jaxgan.divergences._check import (
    at_least,
    float32,
    points,
    safe_root,
    sample_weights,
)


def wasserstein_1d(
    x: jax.Array,
    y: jax.Array,
    x_weights: jax.Array | None = None,
    y_weights: jax.Array | None = None,
    p: float = 1,
) -> jax.Array:
    """Exact Wasserstein-p distance of two samples of numbers.

        (int_0^1 |F^-1(u) - G^-1(u)|^p du)^(1/p)

    F^-1 and G^-1 are the quantile functions. They are step functions, so the integral is a sum of at most
    N + M - 1 terms. It is differentiable in samples and weights; the gradient is 0 where the distance is 0.

    Args:
      x: [N].
      y: [M].
      x_weights: [N], divided by their sum; equal ones if None.
      y_weights: [M], likewise.
      p: 1 or more, a Python number.

    Returns:
      A float32 scalar, in the samples' unit.

    Source: Villani, Topics in Optimal Transportation (2003), Theorem 2.18 and Remark 2.19.

    >>> import jax, jax.numpy as jnp
    >>> x, y = jnp.array([0.0, 1.0]), jnp.array([3.0])
    >>> print(wasserstein_1d(x, y), jax.grad(wasserstein_1d)(x, y))
    2.5 [-0.5 -0.5]
    """
    x, y = float32(x), float32(y)
    for name, value in (("x", x), ("y", y)):
        if value.ndim != 1 or value.size == 0:
            raise ValueError(
                f"{name} has shape {value.shape}; give numbers [N] with N >= 1 (for samples in more "
                "dimensions see sliced_wasserstein)."
            )
    p = _order(p)
    weights = _weights(x.size, y.size, x_weights, y_weights)
    # The p-th powers of large or small distances may not be in range.
    scale = scaled.power_of_two(jnp.concatenate([x, y]))
    return scale[0] * safe_root(_cost_on_a_line(x / scale, y / scale, weights, p), p)


def sliced_wasserstein(
    x: jax.Array,
    y: jax.Array,
    key: jax.Array,
    n_projections: int = 128,
    p: float = 2,
    x_weights: jax.Array | None = None,
    y_weights: jax.Array | None = None,
) -> jax.Array:
    """Sliced Wasserstein-p distance: the mean of `wasserstein_1d` over random one-dimensional projections.

        (E_theta W_p(theta.x, theta.y)^p)^(1/p),    theta uniform on the unit sphere

    Args:
      x: [N, D].
      y: [M, D].
      key: PRNG key for the directions.
      n_projections: number of directions.
      p: 1 or more, a Python number.
      x_weights: [N], divided by their sum; equal ones if None.
      y_weights: [M], likewise.

    Returns:
      A float32 scalar, in the samples' unit. In D dimensions a shift by d gives about d / sqrt(D).

    Source: Bonneel et al., Sliced and Radon Wasserstein Barycenters of Measures (2015).

    >>> import jax, jax.numpy as jnp
    >>> x = jnp.array([[0.0], [1.0]])
    >>> print(sliced_wasserstein(x, x + 3.0, jax.random.key(0)))  # one direction only
    3.0
    """
    x, y = points(x, y)
    p = _order(p)
    if not isinstance(n_projections, numbers.Integral) or n_projections < 1:
        raise ValueError(f"n_projections is {n_projections}; give a whole number of 1 or more.")
    scale = scaled.power_of_two(jnp.concatenate([x, y]))[None]
    x, y = x / scale, y / scale  # as in `wasserstein_1d`
    directions = _directions(key, n_projections, x.shape[1])
    shadows_x, shadows_y = (
        jnp.matmul(directions, z.T, precision=jax.lax.Precision.HIGHEST) for z in (x, y)
    )
    weights = _weights(x.shape[0], y.shape[0], x_weights, y_weights)
    costs = jax.vmap(lambda a, b: _cost_on_a_line(a, b, weights, p))(shadows_x, shadows_y)
    return scale[0, 0] * safe_root(jnp.mean(costs), p)


def _directions(key: jax.Array, count: int, dimensions: int) -> jax.Array:
    """Unit vectors [count, dimensions], uniform on the sphere."""
    normal = jax.random.normal(key, (count, dimensions), jnp.float32)
    return normal / jnp.linalg.norm(normal, axis=1, keepdims=True)


def _order(p: float) -> float:
    if not isinstance(p, numbers.Real):
        raise ValueError(f"p is a {type(p).__name__}; give a Python number, not a traced value.")
    at_least("p", p, 1)
    return int(p) if isinstance(p, numbers.Integral) else float(p)


def _weights(
    n: int, m: int, x_weights: jax.Array | None, y_weights: jax.Array | None
) -> tuple[jax.Array, jax.Array] | None:
    """Returns the weights of both samples as distributions; None if all are equal."""
    if x_weights is None and y_weights is None:
        return None
    return sample_weights("x_weights", x_weights, n), sample_weights("y_weights", y_weights, m)


def _cost_on_a_line(
    x: jax.Array, y: jax.Array, weights: tuple[jax.Array, jax.Array] | None, p: float
) -> jax.Array:
    """W_p^p of numbers [N] and [M]: in one dimension the monotone plan is optimal."""
    i: jax.Array | np.ndarray
    j: jax.Array | np.ndarray
    mass: jax.Array | np.ndarray
    if weights is None:
        x, y = jnp.sort(x), jnp.sort(y)
        i, j, mass = _equal_weights(x.size, y.size)
    else:
        order_x, order_y = jnp.argsort(x), jnp.argsort(y)
        x, y = x[order_x], y[order_y]
        i, j, mass = _merge(weights[0][order_x], weights[1][order_y])
    distance = jnp.abs(x[i] - y[j])
    if p == 1:
        return jnp.sum(mass * distance)
    return jnp.sum(mass * (jnp.square(distance) if p == 2 else distance**p))


def _equal_weights(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranks i, j and masses of the monotone coupling of n and m equal weights, from exact integer arithmetic."""
    ends = np.union1d(
        m * np.arange(1, n + 1, dtype=np.int64), n * np.arange(1, m + 1, dtype=np.int64)
    )
    i, j = (ends - 1) // m, (ends - 1) // n
    mass = np.diff(ends, prepend=0) / (n * m)
    return i.astype(np.int32), j.astype(np.int32), mass.astype(np.float32)


def _merge(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Ranks i, j and masses of the monotone coupling of weights a [N] and b [M] of ascending samples."""
    ends = jnp.concatenate([jnp.cumsum(a), jnp.cumsum(b)])
    order = jnp.argsort(ends)
    mass = jnp.diff(ends[order], prepend=jnp.zeros(1, jnp.float32))
    of_a = (order < a.size).astype(jnp.int32)
    passed = jnp.cumsum(of_a) - of_a
    i = jnp.minimum(passed, a.size - 1)
    j = jnp.minimum(jnp.arange(order.size, dtype=jnp.int32) - passed, b.size - 1)
    return i, j, mass


class Transport(NamedTuple):
    """An optimal plan with the dual potentials that certify it.

    Attributes:
      cost: sum_ij plan_ij cost_ij, a float32 scalar.
      plan: [N, M], 0 or more; its row sums are a and its column sums b.
      f: [N], and
      g: [M], the dual potentials: f_i + g_j <= cost_ij, with equality where plan_ij > 0, so that
        cost = sum_i f_i a_i + sum_j g_j b_j.
    """

    cost: jax.Array
    plan: jax.Array
    f: jax.Array
    g: jax.Array


def optimal_transport(a: jax.Array | None, b: jax.Array | None, cost: jax.Array) -> Transport:
    """Exact optimal transport between weights a and b: the linear programme of Kantorovich.

        min_P sum_ij P_ij cost_ij    with row sums a, column sums b, P >= 0

    SciPy solves it on the host in float64: as an assignment problem if all weights are equal and N = M
    (for thousands of samples), else by HiGHS's simplex method (for N M up to some ten thousand). It can
    be called under jit and vmap, which solves one problem after the other.

    `cost` of the result is differentiable. Its gradient with respect to the costs is the plan. With respect to the
    weights it is f and g minus their means under a and b, as the weights are normalised. If the optimum is
    not unique, this is one of the subgradients; for equal weights f and g are not unique. The plan and the potentials
    are constants under differentiation, and second derivatives are 0.

    Args:
      a: weights [N], divided by their sum; equal ones if None.
      b: weights [M], likewise.
      cost: [N, M], finite; NaN or infinity gives NaN.

    Returns:
      A `Transport` of float32 arrays.

    Source: Peyré and Cuturi, Computational Optimal Transport (2019), Chapter 3, Proposition 2.4 for
      the potentials, Section 9.1 for the gradients.

    >>> import jax.numpy as jnp
    >>> result = optimal_transport(None, None, jnp.array([[0.0, 2.0], [2.0, 1.0]]))
    >>> print(result.cost, result.plan[0])
    0.5 [0.5 0. ]
    """
    cost = float32(cost)
    if cost.ndim != 2 or cost.size == 0:
        raise ValueError(f"cost has shape {cost.shape}; give [N, M] with N, M >= 1.")
    n, m = cost.shape
    a, b = sample_weights("a", a, n), sample_weights("b", b, m)
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((n, m), (n,), (m,))]
    constant = [jax.lax.stop_gradient(x) for x in (a, b, cost)]
    plan, f, g = jax.pure_callback(_solve, shapes, *constant, vmap_method="sequential")
    # The last two sums are exactly 0; by the envelope theorem they give the derivatives by the weights.
    value = jnp.sum(plan * cost) + jnp.sum(f * (a - constant[0])) + jnp.sum(g * (b - constant[1]))
    return Transport(value, plan, f, g)


def _solve(a, b, cost) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns plan and potentials, float32, for arrays on the host."""
    a, b, cost = (np.asarray(x, np.float64) for x in (a, b, cost))
    if not all(np.isfinite(x).all() for x in (a, b, cost)):
        plan, f, g = (np.full(x.shape, np.nan, np.float32) for x in (cost, a, b))
        return plan, f, g
    a, b = a / a.sum(), b / b.sum()
    # The solver's tolerances are absolute.
    scale = np.abs(cost).max() or 1.0
    equal = len(a) == len(b) and np.ptp(a) == 0 and np.ptp(b) == 0
    plan, f, g = (_assign if equal else _programme)(a, b, cost / scale)
    return plan.astype(np.float32), (scale * f).astype(np.float32), (scale * g).astype(np.float32)


def _programme(a, b, cost):
    import scipy.optimize
    import scipy.sparse

    n, m = cost.shape
    rows = scipy.sparse.kron(scipy.sparse.eye(n), np.ones((1, m)))
    columns = scipy.sparse.kron(np.ones((1, n)), scipy.sparse.eye(m))
    found = scipy.optimize.linprog(
        cost.ravel(),
        A_eq=scipy.sparse.vstack([rows, columns], format="csc"),
        b_eq=np.concatenate([a, b]),
        method="highs-ds",
    )
    if found.status != 0:
        raise RuntimeError(f"HiGHS found no optimal transport plan: {found.message}")
    return found.x.reshape(n, m), found.eqlin.marginals[:n], found.eqlin.marginals[n:]


def _assign(a, b, cost):
    import scipy.optimize

    rows, columns = scipy.optimize.linear_sum_assignment(cost)
    plan = np.zeros_like(cost)
    plan[rows, columns] = a
    # The solver returns no potentials. Let c(i) be the column of row i and matched_i the cost of that pair. The
    # conditions g_j <= g_c(i) + cost_ij - matched_i for all i, j are a shortest-path problem, which the
    # Bellman-Ford algorithm solves in at most n rounds.
    matched = cost[rows, columns]
    g = np.zeros(len(b))
    for _ in range(len(b)):
        closer = np.minimum(g, (g[columns, None] + cost - matched[:, None]).min(axis=0))
        if np.allclose(closer, g, rtol=0, atol=1e-14):
            break
        g = closer
    return plan, matched - g[columns], g
