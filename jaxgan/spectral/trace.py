"""A critic as one flat list of primitive operations: traced, with inlined calls and computed constants.

All values that do not depend on the input (normalised kernels, biases, running statistics) are computed by one compiled
function; the certificate analyses the remaining operations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp

# Calls that are inlined. For a custom derivative, the primal function is inlined.
_CALLS = {
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint",
    "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr",
}  # fmt: skip
_BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")


@dataclasses.dataclass(frozen=True)
class Operation:
    """One primitive operation; operands and results are numbers of values."""

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scope: str  # name scope: Flax's "ResNetCritic/block0/conv0", or ""
    function: str = ""  # name of a jitted function that is not inlined
    layer: int = -1  # number of the layer that contains it

    def run(self, *operands, **changed) -> list[jax.Array]:
        """Its results, with some parameters changed."""
        params = {**self.params, **changed}
        if self.function:
            from jax.extend import core  # takes a fortieth of the time of `import jax`

            return core.jaxpr_as_fun(params["jaxpr"])(*operands)
        results = self.primitive.bind(*operands, **params)
        return list(results) if self.primitive.multiple_results else [results]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A call with custom derivatives (a convolution of `jaxgan.resample`), reported as one linear layer."""

    scope: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Program:
    """The operations that depend on the input, in order, and the constants that they use."""

    operations: list[Operation]
    layers: list[Layer]
    constants: dict[int, jax.Array]
    input: int
    output: int
    shapes: dict[int, tuple[int, ...]]
    floating: dict[int, bool]


def trace(critic: Callable, example: jax.ShapeDtypeStruct, closed: Collection[str]) -> Program:
    """The critic as a `Program`; jitted functions with names in `closed` are not inlined."""
    jaxpr = jax.make_jaxpr(critic)(example)
    tracer = _Tracer(closed)
    (first,) = [tracer.new(v.aval) for v in jaxpr.jaxpr.invars]
    consts = [tracer.constant(c) for c in jaxpr.consts]
    (output,) = tracer.inline(jaxpr.jaxpr, consts, [first], "", -1)

    depends = {first}
    for op in tracer.operations:
        if depends.intersection(op.inputs):
            depends.update(op.outputs)
    varying = [op for op in tracer.operations if depends.intersection(op.inputs)]
    fixed = [op for op in tracer.operations if not depends.intersection(op.inputs)]
    needed = {i for op in varying for i in op.inputs if i not in depends}
    needed |= {i for layer in tracer.layers for i in layer.inputs if i not in depends}

    @jax.jit
    def fold(known: dict[int, jax.Array]) -> dict[int, jax.Array]:
        for op in fixed:
            results = op.run(*[known[i] for i in op.inputs])
            known = known | dict(zip(op.outputs, results, strict=True))
        return {i: known[i] for i in needed}

    constants = fold(tracer.constants)
    return Program(varying, tracer.layers, constants, first, output, tracer.shapes, tracer.floating)


class _Tracer:
    def __init__(self, closed: Collection[str]):
        self.closed = closed
        self.operations: list[Operation] = []
        self.layers: list[Layer] = []
        self.constants: dict[int, jax.Array] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.floating: dict[int, bool] = {}

    def new(self, aval) -> int:
        number = len(self.shapes)
        self.shapes[number] = tuple(getattr(aval, "shape", ()))
        self.floating[number] = jnp.issubdtype(getattr(aval, "dtype", bool), jnp.floating)
        return number

    def constant(self, value, dtype=None) -> int:
        value = jnp.asarray(value, dtype)
        number = self.new(value)
        self.constants[number] = value
        return number

    def inline(self, jaxpr, consts, inputs, scope: str, layer: int) -> list[int]:
        """Appends the operations of a jaxpr and returns the numbers of its results."""
        known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

        def read(var) -> int:
            if hasattr(var, "val"):  # a literal
                return self.constant(var.val, var.aval.dtype)
            return known[var]

        for eqn in jaxpr.eqns:
            operands = [read(var) for var in eqn.invars]
            results = self._equation(eqn, operands, _join(scope, eqn), layer)
            known.update(zip(eqn.outvars, results, strict=True))
        return [read(var) for var in jaxpr.outvars]

    def _equation(self, eqn, operands: list[int], scope: str, layer: int) -> list[int]:
        name = eqn.primitive.name
        function = str(eqn.params.get("name", "")) if name in ("jit", "pjit") else ""
        if name == "platform_index":  # the platform of this process
            return [self.constant(eqn.primitive.bind(**eqn.params))]
        if name == "cond" and operands[0] in self.constants:
            body = eqn.params["branches"][int(self.constants[operands[0]])]
            return self._open(body, operands[1:], scope, layer)
        if name in _CALLS and function not in self.closed:
            body = next(eqn.params[key] for key in _BODIES if key in eqn.params)
            if not name.startswith("custom_vjp_call") or layer >= 0:
                return self._open(body, operands, scope, layer)
            number = len(self.layers)
            # Inner calls are part of it; its results follow.
            self.layers.append(Layer(scope, tuple(operands), ()))
            results = self._open(body, operands, scope, number)
            self.layers[number] = Layer(scope, tuple(operands), tuple(results))
            return results
        outputs = [self.new(var.aval) for var in eqn.outvars]
        self.operations.append(
            Operation(
                eqn.primitive,
                eqn.params,
                tuple(operands),
                tuple(outputs),
                scope,
                function if function in self.closed else "",
                layer,
            )
        )
        return outputs

    def _open(self, body, operands, scope: str, layer: int) -> list[int]:
        consts = [self.constant(c) for c in getattr(body, "consts", ())]
        return self.inline(getattr(body, "jaxpr", body), consts, operands, scope, layer)


def _join(scope: str, eqn) -> str:
    inner = str(eqn.source_info.name_stack)
    return "/".join(part for part in (scope, inner) if part)
