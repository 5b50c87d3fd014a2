"""Entropic optimal transport in the log domain, with derivatives at its fixed point."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.divergences._check import at_least, float32, points, positive, sample_weights
from jaxgan.divergences.kernels import pairwise_cost

_HIGHEST = jax.lax.Precision.HIGHEST


class EntropicTransport(NamedTuple):
    """The result of Sinkhorn's iteration.

    Attributes:
      value: the regularised optimum sum_ij P_ij cost_ij + epsilon KL(P || a b^T), a float32 scalar.
      cost: the first term alone, the cost of the plan, which is slightly above that of the exact optimum.
      plan: P, [N, M].
      f: [N], and
      g: [M], the dual potentials: P_ij = a_i b_j exp((f_i + g_j - cost_ij) / epsilon).
      error: sum_i |sum_j P_ij - a_i|, the error of the plan's row sums (its column sums are exact).
      iterations: number of iterations, int32. If it equals `max_iterations`, check `error` for convergence.
    """

    value: jax.Array
    cost: jax.Array
    plan: jax.Array
    f: jax.Array
    g: jax.Array
    error: jax.Array
    iterations: jax.Array


def sinkhorn(
    a: jax.Array | None,
    b: jax.Array | None,
    cost: jax.Array,
    epsilon: float,
    tolerance: float = 1e-6,
    max_iterations: int = 2_000,
) -> EntropicTransport:
    """Entropy-regularised optimal transport by Sinkhorn's iteration.

        min_P sum_ij P_ij cost_ij + epsilon KL(P || a b^T)    with row sums a, column sums b

        g_j <- -epsilon log sum_i a_i exp((f_i - cost_ij) / epsilon)
        f_i <- -epsilon log sum_j b_j exp((g_j - cost_ij) / epsilon)

    The iteration uses potentials instead of scalings, so that it does not overflow for any epsilon. The smaller
    epsilon is relative to the costs, the more iterations are needed, and the larger is the smallest tolerance that
    float32 can reach (rounding leaves an error of about 1e-7 max(cost) / epsilon).

    Value, cost, plan and potentials are differentiable in a, b, cost and epsilon. Derivatives are taken
    at the fixed point by the implicit function theorem, not through the iterations, so memory does not grow with
    the number of iterations. They are valid only if the iteration has converged. Derivatives
    need the solution of one linear system with N unknowns. Under jit, those of the value do not, as they are
    f, g and the plan themselves.

    Args:
      a: weights [N], divided by their sum; equal ones if None.
      b: weights [M], likewise.
      cost: [N, M].
      epsilon: above 0, in the unit of the costs.
      tolerance: the iteration stops when `error`, the error of the row sums, is at most this.
      max_iterations: maximum number of iterations.

    Returns:
      An `EntropicTransport` of float32 arrays.

    Sources: Cuturi, Sinkhorn Distances: Lightspeed Computation of Optimal Transport (2013); Peyré
      and Cuturi, Computational Optimal Transport (2019), Section 4.4, for the log domain.

    >>> import jax.numpy as jnp
    >>> result = sinkhorn(None, None, jnp.array([[0.0, 2.0], [2.0, 1.0]]), epsilon=0.1)
    >>> print(f"{result.cost:.4f}")
    0.5000
    """
    cost = float32(cost)
    if cost.ndim != 2 or cost.size == 0:
        raise ValueError(f"cost has shape {cost.shape}; give [N, M] with N, M >= 1.")
    positive("epsilon", epsilon)
    positive("tolerance", tolerance)
    at_least("max_iterations", max_iterations, 1)
    a, b = sample_weights("a", a, cost.shape[0]), sample_weights("b", b, cost.shape[1])
    problem = (a, b, cost, jnp.asarray(epsilon, jnp.float32))
    limits = jnp.asarray(tolerance, jnp.float32), jnp.asarray(max_iterations, jnp.int32)
    start, error, iterations = _iterate(*(jax.lax.stop_gradient(x) for x in problem), *limits)
    f = _at_fixed_point(start, *problem)
    g, plan = _completed(f, *problem)
    value = _dual_value(start, *problem)
    return EntropicTransport(value, jnp.sum(plan * cost), plan, f, g, error, iterations)


def sinkhorn_divergence(
    x: jax.Array,
    y: jax.Array,
    epsilon: float,
    x_weights: jax.Array | None = None,
    y_weights: jax.Array | None = None,
    p: float = 2,
    tolerance: float = 1e-6,
    max_iterations: int = 2_000,
) -> jax.Array:
    """Debiased entropic transport of two samples: OT(x, y) - 1/2 OT(x, x) - 1/2 OT(y, y).

    OT is the `value` of `sinkhorn` with costs |x_i - y_j|^p. OT(x, y) itself has its minimum at a y that is
    contracted towards its mean. The divergence is 0 at y = x and positive elsewhere. For epsilon to 0 it tends to
    W_p^p and, for p = 1 and epsilon to infinity, to half the square of `energy_distance`.

    Args:
      x: [N, D].
      y: [M, D].
      epsilon: above 0, in the unit of the costs.
      x_weights: [N], divided by their sum; equal ones if None.
      y_weights: [M], likewise.
      p: power of the Euclidean distance, 1 or 2.
      tolerance, max_iterations: as in `sinkhorn`.

    Returns:
      A float32 scalar, in the unit of the costs.

    Sources: Genevay et al., Learning Generative Models with Sinkhorn Divergences (2018); Feydy et
      al., Interpolating between Optimal Transport and MMD using Sinkhorn Divergences (2019), Eq. 3.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([[0.0], [1.0]])
    >>> print(f"{sinkhorn_divergence(x, x + 2.0, epsilon=0.5):.4f}")  # the square of the shift
    4.0000
    """
    x, y = points(x, y)
    if p not in (1, 2):
        raise ValueError(f"p is {p}; it must be 1 or 2, for which the divergence is positive.")
    a = sample_weights("x_weights", x_weights, x.shape[0])
    b = sample_weights("y_weights", y_weights, y.shape[0])

    def value(x, y, a, b):
        cost = pairwise_cost(x, y, p)
        return sinkhorn(a, b, cost, epsilon, tolerance, max_iterations).value

    return value(x, y, a, b) - 0.5 * value(x, x, a, a) - 0.5 * value(y, y, b, b)


def _columns(f: jax.Array, a: jax.Array, cost: jax.Array, epsilon: jax.Array) -> jax.Array:
    """The g for which the column sums are exact, given f."""
    return -epsilon * jax.nn.logsumexp((f[:, None] - cost) / epsilon, axis=0, b=a[:, None])


def _rows(g: jax.Array, b: jax.Array, cost: jax.Array, epsilon: jax.Array) -> jax.Array:
    """The f for which the row sums are exact, given g."""
    return -epsilon * jax.nn.logsumexp((g[None, :] - cost) / epsilon, axis=1, b=b[None, :])


# Compiled once for each shape, even if the caller is not compiled.
@jax.jit
def _iterate(a, b, cost, epsilon, tolerance, max_iterations):
    """Iterates from f = 0 and returns (f, its error, number of iterations)."""

    def step(f):
        following = _rows(_columns(f, a, cost, epsilon), b, cost, epsilon)
        # With the g of this f, row i sums to a_i exp((f_i - following_i) / epsilon).
        return following, jnp.sum(a * jnp.abs(jnp.expm1((f - following) / epsilon)))

    def unfinished(state):
        _, _, error, iterations = state
        return (error > tolerance) & (iterations < max_iterations)

    def once(state):
        _, f, _, iterations = state
        return f, *step(f), iterations + 1

    f = jnp.zeros_like(a)
    f, _, error, iterations = jax.lax.while_loop(unfinished, once, (f, *step(f), jnp.int32(0)))
    return f, error, iterations


def _completed(f, a, b, cost, epsilon):
    """(g, plan), given f."""
    g = _columns(f, a, cost, epsilon)
    return g, a[:, None] * b[None, :] * jnp.exp((f[:, None] + g[None, :] - cost) / epsilon)


@jax.custom_jvp
def _dual_value(f, a, b, cost, epsilon):
    """f.a + g.b - epsilon (sum P - 1), stationary in f and g, so their rounding errors hardly affect it."""
    g, plan = _completed(f, a, b, cost, epsilon)
    return jnp.sum(f * a) + jnp.sum(g * b) - epsilon * (jnp.sum(plan) - 1.0)


@_dual_value.defjvp
def _dual_value_jvp(primals, tangents):
    # First derivatives keep f constant, by the envelope theorem. For second derivatives, f is differentiated too.
    _, a, b, cost, epsilon = primals
    _, da, db, dcost, depsilon = tangents
    f = _at_fixed_point(*primals)
    g, plan = _completed(f, a, b, cost, epsilon)
    divergence = jnp.sum(plan * (f[:, None] + g[None, :] - cost)) / epsilon  # KL(P || a b^T)
    moved = jnp.sum(f * da) + jnp.sum(g * db) + jnp.sum(plan * dcost) + divergence * depsilon
    return _dual_value(*primals), moved


@jax.custom_jvp
def _at_fixed_point(f, a, b, cost, epsilon):
    """Returns f, with its derivatives as a function of a, b, cost and epsilon."""
    return f


@_at_fixed_point.defjvp
def _at_fixed_point_jvp(primals, tangents):
    # f = T(f; a, b, cost, epsilon), so (1 - T') df = dT. T' = A B, where A and B are the softmaxes that are, up to
    # sign, the derivatives of `_rows` and `_columns`. f + c is a solution for every constant c, so the condition
    # sum_i a_i df_i = 0 is added. If the plan decomposes into blocks, each has its own free constant. These do not
    # affect the result but make the matrix singular, so its diagonal is slightly above 1.
    f, a, b, cost, epsilon = primals
    f = _at_fixed_point(f, a, b, cost, epsilon)
    g, dg = jax.jvp(lambda *x: _columns(f, *x), (a, cost, epsilon), (tangents[1], *tangents[3:]))
    _, moved = jax.jvp(_rows, (g, b, cost, epsilon), (dg, *tangents[2:]))
    joint = jnp.exp((f[:, None] + g[None, :] - cost) / epsilon)
    to_columns = joint.T * a[None, :]
    to_rows = joint * b[None, :]
    to_rows = to_rows / jnp.sum(to_rows, axis=1, keepdims=True)
    matrix = (
        (1.0 + 2.0 * float(jnp.finfo(jnp.float32).eps)) * jnp.eye(f.size, dtype=jnp.float32)
        - jnp.matmul(to_rows, to_columns, precision=_HIGHEST)
        + a[None, :]
    )
    moved = moved - jnp.sum(a * moved)
    return f, jnp.linalg.solve(matrix, moved)
