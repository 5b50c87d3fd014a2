"""Values computed by a critic, and upper bounds of their Lipschitz constants with respect to the input.

A value is either a leaf (the input, or the result of a nonlinear operation), with a known bound L, or linear in other
values. So each value is a sum of linear maps of leaves, v = sum_i A_i s_i + constant, which may consist of several
operations (a convolution, its padding, a pooling, a residual sum), and

    L(v) <= sum_i ||A_i|| L(s_i)

The bound can be improved if the terms have different directions. With ||d s_i|| = L(s_i) t_i, t_i <= 1, and any
weights w_i that sum to 1, ||sum_i A_i d s_i|| <= ||[A_1 L_1 / sqrt w_1, A_2 L_2 / sqrt w_2, ...]||. Weights
proportional to the terms are never worse than the sum. Weights proportional to their squares give the root of the sum
of squares for concatenated terms. All three bounds are computed, and the smallest is used.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.spectral.operator import NormBounds, operator_norm_bounds


@dataclasses.dataclass(eq=False)
class Value:
    """One value [1, ...] that depends on the input.

    Attributes:
      number: values are numbered in the order of computation.
      shape: its shape.
      floating: whether it is a floating-point value, and not a condition or index.
      bound: its Lipschitz bound, once known.
      apply: if it is linear in other values: their changes (None for no change) -> its change.
      operands: these other values.
      curves: {other value: values on `constants.GRID`} if this value is an elementwise function of the other.
      settle: computes the bound, if it is neither known nor linear.
      scope: name scope of the operation.
    """

    number: int
    shape: tuple[int, ...]
    floating: bool = True
    bound: float | None = None
    apply: Callable | None = None
    operands: tuple[Value, ...] = ()
    curves: dict[Value, jax.Array] = dataclasses.field(default_factory=dict)
    settle: Callable[[], float] | None = None
    scope: str = ""


class Bounds:
    """Computes bounds of values; counts the norms, and the upper bounds that hold only with a probability."""

    def __init__(self, key: jax.Array, n_steps: int, failure: float):
        self.key, self.n_steps, self.failure = key, n_steps, failure
        self.norms = self.used = 0

    def __call__(self, *values: Value) -> float:
        """The bound of one value, or of the concatenation of several."""
        if len(values) == 1 and values[0].bound is not None:
            return values[0].bound
        if len(values) == 1 and values[0].apply is None:
            settle = values[0].settle
            assert settle is not None, "a value has a bound, is linear, or can be settled"
            values[0].bound = settle()
            return values[0].bound
        leaves = leaves_of(values)
        bounds = [self(leaf) for leaf in leaves]
        terms = [
            self._upper(values, [leaf], [bound]) if bound else 0.0
            for leaf, bound in zip(leaves, bounds, strict=True)
        ]
        best = sum(terms)
        moving = [i for i, term in enumerate(terms) if term > 0]
        if len(moving) > 1:
            for power in (1, 2):
                shares = np.array([terms[i] ** power for i in moving])
                scales = [bounds[i] for i in moving] / np.sqrt(shares / shares.sum())
                best = min(best, self._upper(values, [leaves[i] for i in moving], scales))
        if len(values) == 1:
            values[0].bound = best
        return best

    def _upper(self, values, leaves, scales) -> float:
        self.used += 1
        return self.norm(values, leaves, scales).upper

    def norm(
        self, values: Sequence[Value], leaves: Sequence[Value], scales: Sequence[float] = ()
    ) -> NormBounds:
        """The norm of the linear map from the leaves, each multiplied by its scale, to the values."""
        change = linear_map(values, leaves)
        sizes = [math.prod(leaf.shape) for leaf in leaves]
        factors = jnp.asarray(scales if len(scales) else np.ones(len(leaves)), jnp.float32)

        def flat(x: jax.Array) -> jax.Array:
            parts = jnp.split(x, np.cumsum(sizes)[:-1])
            parts = [
                (scale * part).reshape(leaf.shape)
                for scale, part, leaf in zip(factors, parts, leaves, strict=True)
            ]
            return jnp.concatenate([y.reshape(-1) for y in change(parts)])

        self.norms += 1
        key = jax.random.fold_in(self.key, self.norms)
        return operator_norm_bounds(flat, (sum(sizes),), key, self.n_steps, self.failure)


def leaves_of(values: Sequence[Value], leaves: Sequence[Value] = ()) -> list[Value]:
    """The leaves of the values, in order: those given as leaves, and values that are not linear."""
    return [v for v in _ancestors(values, leaves) if v.apply is None or v in leaves]


def linear_map(values: Sequence[Value], leaves: Sequence[Value]) -> Callable:
    """The linear map from changes of `leaves` to changes of `values`, with all other leaves constant."""
    order = _ancestors(values, leaves)

    def change(tangents: Sequence[jax.Array]) -> list[jax.Array]:
        known: dict[Value, jax.Array | None] = dict(zip(leaves, tangents, strict=True))
        for value in order:
            if value not in known:
                apply = value.apply
                operands = [] if apply is None else [known[operand] for operand in value.operands]
                still = all(operand is None for operand in operands)
                known[value] = None if apply is None or still else apply(operands)
        found = [(value.shape, known[value]) for value in values]
        return [jnp.zeros(shape, jnp.float32) if x is None else x for shape, x in found]

    return change


def _ancestors(values: Sequence[Value], leaves: Sequence[Value]) -> list[Value]:
    found, waiting = set(), list(values)
    while waiting:
        value = waiting.pop()
        if value not in found:
            found.add(value)
            if value.apply is not None and value not in leaves:
                waiting.extend(value.operands)
    return sorted(found, key=lambda value: value.number)
