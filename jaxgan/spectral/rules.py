"""Rules for Lipschitz bounds of primitive operations: linear, elementwise and other operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.spectral.constants import GRID, max_pool_lipschitz, recognised
from jaxgan.spectral.graph import Bounds, Value, leaves_of
from jaxgan.spectral.trace import Layer, Operation, Program

# These return their operand, possibly in another dtype or with an annotation.
_SAME = {
    "convert_element_type", "reduce_precision", "copy", "copy_p", "stop_gradient", "name",
    "optimization_barrier", "sharding_constraint", "mesh_cast", "pvary",
}  # fmt: skip
# Linear in all floating-point operands together; integers and conditions must be constants.
_LINEAR = {
    "add", "add_any", "sub", "neg", "reshape", "transpose", "broadcast_in_dim", "squeeze",
    "expand_dims", "rev", "reduce_sum", "reduce_window_sum", "concatenate", "stack", "unstack",
    "pad", "slice", "split", "cumsum", "select_n", "gather", "dynamic_slice", "tile",
    "dynamic_update_slice", "scatter-add",
}  # fmt: skip
# Linear in one operand if the others are constants.
_PRODUCTS = {"mul", "dot_general", "conv_general_dilated"}
_KERNELS = {"dot_general", "conv_general_dilated"}
# Elementwise: the Lipschitz constant, or None if there is none but the operation may be part of an activation.
_ELEMENTWISE = {
    "tanh": 1.0, "logistic": 0.25, "abs": 1.0, "sin": 1.0, "cos": 1.0, "atan": 1.0, "asinh": 1.0,
    "erf": 2 / math.sqrt(math.pi), "erfc": 2 / math.sqrt(math.pi), "max": 1.0, "min": 1.0,
    "clamp": 1.0, "add": None, "add_any": None, "sub": None, "neg": None, "mul": None, "div": None,
    "exp": None, "exp2": None, "expm1": None, "log": None, "log1p": None, "pow": None, "sqrt": None,
    "rsqrt": None, "square": None, "integer_pow": None, "sign": None, "select_n": None, "ge": None,
    "gt": None, "le": None, "lt": None, "eq": None, "ne": None, "is_finite": None, "not": None,
    "and": None, "or": None, "convert_element_type": None, "sinh": None, "cosh": None, "acosh": None,
}  # fmt: skip
_WINDOWS = {"reduce_window_max", "reduce_window_min"}
_SHORT = {"reduce_max": 1.0, "reduce_min": 1.0, "sort": 1.0}
# The maximum number of linear scaling steps between an activation and its input.
_CURVES = 6


class LayerNorm(NamedTuple):
    """A layer of a certificate.

    `operator_norm` is an estimate from below with a relative error of about 1e-3; the certificate uses upper bounds.
    `flattened_norm` is None if no kernel is known.
    """

    name: str
    kind: str
    kernel_shape: tuple[int, ...]
    flattened_norm: float | None
    operator_norm: float


class Analysis:
    """Applies the rules to the operations of a program; computes the bound of its output and the rows of its layers."""

    def __init__(
        self,
        program: Program,
        constants: Mapping[str, float],
        key: jax.Array,
        n_steps: int,
        failure: float,
    ):
        self.program, self.given = program, constants
        self.bounds = Bounds(key, n_steps, failure)
        self.values: dict[int, Value] = {
            program.input: Value(0, program.shapes[program.input], bound=1.0)
        }
        self.layers: list[LayerNorm] = []

    @property
    def failure(self) -> float:
        """An upper bound of the probability that one of the bounds does not hold."""
        return min(1.0, self.bounds.used * self.bounds.failure)

    def run(self) -> tuple[float, list[LayerNorm]]:
        last = {op.layer: op for op in self.program.operations}
        for op in self.program.operations:
            self._follow(op)
            if op.layer < 0 and op.primitive.name in _KERNELS:
                self._report_product(op)
            elif op.layer >= 0 and last[op.layer] is op:
                self._report_layer(self.program.layers[op.layer], op.layer)
        output = self.values.get(self.program.output)
        return (0.0 if output is None else self.bounds(output)), self.layers

    # Operations -------------------------------------------------------------------------------------------

    def _follow(self, op: Operation):
        name = op.primitive.name
        varying = [self.values[i] for i in op.inputs if i in self.values]
        if op.function:
            self._close(op, varying)
            return
        if name in _SAME and _floating_result(op) and all(v.floating for v in varying):
            for i, o in zip(op.inputs, op.outputs, strict=True):
                self.values[o] = self.values[i] if i in self.values else self._still(op, o)
            return
        applies = self._linear(op, varying)
        curves = self._curves(op) if name in _ELEMENTWISE else {}
        for place, number in enumerate(op.outputs):
            value = self._value(number, op)
            # Some activations end in a sum: celu(x) = max(x, 0) + expm1(min(x, 0)).
            if applies is not None and not any(_bent(c) and recognised(c) for c in curves.values()):
                value.apply = _result(applies, place)
                value.operands = tuple(varying)
            else:
                value.settle = self._settling(op, varying, curves)
            value.curves = curves
            self.values[number] = value

    def _value(self, number: int, op: Operation, **known) -> Value:
        program = self.program
        return Value(
            number, program.shapes[number], program.floating[number], scope=op.scope, **known
        )

    def _still(self, op: Operation, number: int) -> Value:
        """A constant result of an operation that also has varying results."""
        return self._value(number, op, bound=0.0)

    def _close(self, op: Operation, varying: list[Value]):
        constant = self.given[op.function]
        for number in op.outputs:
            self.values[number] = self._value(
                number, op, settle=lambda: constant * self.bounds(*varying)
            )

    def _linear(self, op: Operation, varying: list[Value]) -> Callable | None:
        """The map from changes of the varying operands to changes of all results; None if it is not linear."""
        name = op.primitive.name
        where = [i in self.values for i in op.inputs]
        if not all(value.floating for value in varying):
            return None
        if name == "div":
            if where[1]:
                return None
        elif name in _PRODUCTS:
            if sum(where) > 1:
                return None
        elif name not in _LINEAR:
            return None
        fixed = []
        for i, varies in zip(op.inputs, where, strict=True):
            constant = None if varies else self.program.constants[i]
            if constant is not None and jnp.issubdtype(constant.dtype, jnp.floating):
                keep = name in _PRODUCTS or name == "div"
                constant = constant.astype(jnp.float32) if keep else jnp.zeros(constant.shape)
            fixed.append(constant)
        changed = {}
        if name in _KERNELS:
            changed = {
                "precision": jax.lax.Precision.HIGHEST,
                "preferred_element_type": np.dtype(np.float32),
            }
            if name == "dot_general":
                changed["precision"] = (jax.lax.Precision.HIGHEST,) * 2

        def apply(changes: list[jax.Array | None]) -> list[jax.Array]:
            left = iter(zip(varying, changes, strict=True))
            operands = []
            for constant in fixed:
                if constant is None:
                    value, change = next(left)
                    operands.append(
                        jnp.zeros(value.shape, jnp.float32) if change is None else change
                    )
                else:
                    operands.append(constant)
            return op.run(*operands, **changed)

        return apply

    # Elementwise ------------------------------------------------------------------------------------------

    def _curves(self, op: Operation) -> dict[Value, jax.Array]:
        """The result as an elementwise function of each value of which all varying operands are functions."""
        shape = self.program.shapes[op.outputs[0]]
        operands = []
        for i in op.inputs:
            if i in self.values:
                value = self.values[i]
                if value.shape != shape:
                    return {}
                own = {value: jnp.asarray(GRID)} if value.floating else {}
                operands.append({**own, **value.curves})
            else:
                constant = np.asarray(self.program.constants[i])
                if constant.size == 0 or (constant != constant.flat[0]).any():
                    return {}
                operands.append(constant.flat[0])
        varying = [o for o in operands if isinstance(o, dict)]
        bases = [b for b in varying[0] if all(b in other for other in varying)]
        bases = sorted(bases, key=lambda b: -b.number)[:_CURVES]
        curves = {}
        for base in bases:
            columns = [
                o[base] if isinstance(o, dict) else jnp.full(GRID.shape, _wide(o)) for o in operands
            ]
            (curve,) = op.run(*columns)
            floating = jnp.issubdtype(curve.dtype, jnp.floating)
            curves[base] = curve.astype(jnp.float32) if floating else curve
        return curves

    def _settling(self, op: Operation, varying: list[Value], curves) -> Callable[[], float]:
        name = op.primitive.name

        def settle() -> float:
            for base, curve in curves.items():
                constant = recognised(curve)
                if constant is not None:
                    self._report_nonlinear(op, "activation", constant)
                    return constant * self.bounds(base)
            constant = self._constant(op, name, varying)
            if constant is not None:
                return constant * self.bounds(*varying)
            raise ValueError(self._complaint(op, varying))

        return settle

    def _constant(self, op: Operation, name: str, varying: list[Value]) -> float | None:
        if not all(value.floating for value in varying):
            return None
        if name == "sort" and len(op.inputs) > 1:
            return None
        shape = self.program.shapes[op.outputs[0]]
        if name in _ELEMENTWISE and any(value.shape != shape for value in varying):
            return None  # one entry would affect several
        if name in _WINDOWS:
            constant = _shared_windows(op.params, varying[0].shape)
            if constant is not None:
                self._report_nonlinear(op, "max_pool" if "max" in name else "min_pool", constant)
            return constant
        if name == "clamp" and (op.inputs[0] in self.values or op.inputs[2] in self.values):
            return None
        constant = _SHORT.get(name, _ELEMENTWISE.get(name))
        if constant not in (None, 1.0):
            self._report_nonlinear(op, name, constant)
        return constant

    def _complaint(self, op: Operation, varying: list[Value]) -> str:
        name = op.primitive.name
        where = f" in {op.scope}" if op.scope else ""
        several = " of two values that depend on the input" if len(varying) > 1 else ""
        return (
            f"lipschitz_certificate has no Lipschitz constant for the operation '{name}'{several}{where}; if the"
            " function that contains it has one, put that function under jax.jit and give its name:"
            " constants={'name': 1.0}."
        )

    # Layers -----------------------------------------------------------------------------------------------

    def _report_nonlinear(self, op: Operation, kind: str, constant: float):
        if kind.endswith("pool") or constant != 1.0:
            self.layers.append(LayerNorm(op.scope, kind, (), None, constant))

    def _report_product(self, op: Operation):
        fixed = [place for place, i in enumerate(op.inputs) if i not in self.values]
        if not fixed:
            return
        (place,) = fixed
        kernel = self.program.constants[op.inputs[place]]
        if kernel.ndim < 2:
            return
        flat, kind = _flattened_norm(op, place, kernel)
        value, operand = self.values[op.outputs[0]], self.values[op.inputs[1 - place]]
        norm = self.bounds.norm([value], [operand]).lower
        self.layers.append(LayerNorm(op.scope, kind, tuple(kernel.shape), flat, norm))

    def _report_layer(self, layer: Layer, number: int):
        operands = [self.values[i] for i in layer.inputs if i in self.values]
        results = [self.values[i] for i in layer.outputs if i in self.values]
        fixed = [i for i in layer.inputs if i not in self.values]
        kernels = [self.program.constants[i] for i in fixed]
        kernels = [k for k in kernels if k.ndim >= 2 and jnp.issubdtype(k.dtype, jnp.floating)]
        if not kernels or not results or set(leaves_of(results, operands)) - set(operands):
            return
        kernel = max(kernels, key=lambda k: k.size)
        inside = [op for op in self.program.operations if op.layer == number]
        products = [op for op in inside if op.primitive.name in _KERNELS]
        flat, kind = None, "conv" if kernel.ndim > 2 else "dense"
        if len(products) == 1:
            (place,) = [p for p, i in enumerate(products[0].inputs) if i not in self.values]
            if products[0].inputs[place] in fixed:
                flat, kind = _flattened_norm(products[0], place, kernel)
        norm = self.bounds.norm(results, operands).lower
        self.layers.append(LayerNorm(layer.scope, kind, tuple(kernel.shape), flat, norm))


def _result(applies: Callable, place: int) -> Callable:
    return lambda changes: applies(changes)[place]


def _bent(curve: jax.Array) -> bool:
    """Whether a function on `GRID` is finite and not of the form a x + b."""
    x, y = np.asarray(GRID, np.float64), np.asarray(curve, np.float64)
    if not np.isfinite(y).all():
        return False
    chord = y[0] + (y[-1] - y[0]) * (x - x[0]) / (x[-1] - x[0])
    return not np.allclose(y, chord, rtol=1e-5, atol=1e-5)


def _floating_result(op: Operation) -> bool:
    dtype = op.params.get("new_dtype", jnp.float32)
    return jnp.issubdtype(dtype, jnp.floating)


def _wide(constant):
    """A constant in float32 if it is a floating-point one."""
    return np.float32(constant) if jnp.issubdtype(constant.dtype, jnp.floating) else constant


def _flattened_norm(op: Operation, place: int, kernel: jax.Array) -> tuple[float | None, str]:
    """(flattened norm of the kernel, or None if the operation is not one matrix; its kind)."""
    if op.primitive.name == "dot_general":
        contracting, batch = op.params["dimension_numbers"]
        if batch[place]:
            return None, "dense"
        axes = list(contracting[place])
        rest = [axis for axis in range(kernel.ndim) if axis not in axes]
        inputs, kind = math.prod(kernel.shape[axis] for axis in axes), "dense"
    else:
        params = op.params
        if place != 1 or params["feature_group_count"] > 1 or params["batch_group_count"] > 1:
            return None, "conv"
        out, into, *window = params["dimension_numbers"].rhs_spec
        axes, rest = [*window, into], [out]
        inputs = kernel.size // kernel.shape[out]
        kind = "conv_transpose" if any(d > 1 for d in params["lhs_dilation"]) else "conv"
    numbers = np.asarray(kernel.astype(jnp.float32), np.float64)
    matrix = numbers.transpose(axes + rest).reshape(inputs, -1)
    return float(np.linalg.norm(matrix, 2)), kind


def _shared_windows(params: dict, shape: tuple[int, ...]) -> float | None:
    """The constant of a maximum over windows; None if the input is dilated."""
    if any(d != 1 for d in params["base_dilation"]):
        return None
    return max_pool_lipschitz(
        shape,
        params["window_dimensions"],
        params["window_strides"],
        params["padding"],
        params["window_dilation"],
    )
