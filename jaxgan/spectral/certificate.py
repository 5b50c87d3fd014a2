"""Lower and upper bounds of the Lipschitz constant of a critic, with the norms of its layers.

For the upper bound the critic is traced to its primitive operations. All operations between two nonlinear
ones, including residual sums, paddings and poolings, form one linear map, whose norm is bounded as a whole
(`operator_norm_bounds`). A nonlinear operation multiplies the bound by its constant
(`activation_lipschitz`, `max_pool_lipschitz`). So the bound of a linear critic is exact, and that of a plain
chain is the product of its layers' operator norms. For a bfloat16 critic, the upper bound is that of the
function without rounding.

Supported are all linear operations; the activations of `jax.nn` in any form (an elementwise function is
recognised by its values on a grid), clipping, sin, cos, erf, arctan; maximum and minimum over axes and
windows, and sorting. A product of two values that depend on the input (attention) has no Lipschitz constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.spectral.flattened import flatten_kernel
from jaxgan.spectral.rules import Analysis, LayerNorm
from jaxgan.spectral.trace import trace

Critic = Callable[[jax.Array], jax.Array]
COLUMNS = ("layer", "kind", "kernel", "flattened norm", "operator norm")


class LipschitzCertificate(NamedTuple):
    """Bounds of ||C||, the Lipschitz constant of a critic.

    Attributes:
      upper: upper bound of ||C||, except with probability `failure`.
      lower: lower bound of ||C|| (for a bfloat16 critic, of its gradient with rounding).
      failure: upper bound of the probability, over the random starts, that `upper` is too small.
      layers: one entry for each linear layer with a kernel, and each pool and activation whose constant is not 1.
    """

    upper: float
    lower: float
    failure: float
    layers: tuple[LayerNorm, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """The rows of a table: layer, kind, kernel, flattened norm, operator norm."""

        def number(x):
            return "-" if x is None else f"{x:.4f}"

        return [
            (
                layer.name or "-",
                layer.kind,
                "x".join(map(str, layer.kernel_shape)) or "-",
                number(layer.flattened_norm),
                number(layer.operator_norm),
            )
            for layer in self.layers
        ]

    def __str__(self) -> str:
        rows = [COLUMNS, *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, f"{self.lower:.6g} <= Lipschitz constant <= {self.upper:.6g}"])


def lipschitz_certificate(
    critic: Critic,
    samples: jax.Array,
    key: jax.Array | None = None,
    *,
    kernels: Mapping[str, tuple] | None = None,
    constants: Mapping[str, float] | None = None,
    n_steps: int = 100,
    failure: float = 1e-6,
    ascent_steps: int = 30,
) -> LipschitzCertificate:
    """Bounds of a critic's Lipschitz constant in l2: an upper one for all inputs, a lower one by ascent.

        ||C|| = sup |C(x) - C(y)| / ||x - y||

    The upper bound combines the norms of the critic's linear maps and the constants of the nonlinear
    operations between them by the product and sum rules. The module's docstring lists the supported
    operations; a product of two values that depend on the input (attention) has no Lipschitz constant.

    Args:
      critic: [B, ...] -> [B] (or [B, 1]) with its parameters, labels and state bound. Each sample's output
        must depend on that sample alone.
      samples: [N, ...], floating point, inputs of the critic, if possible real samples. The lower bound
        starts its ascent at each of them.
      key: random key for all starts; `jax.random.key(0)` if None.
      kernels: {suffix of a layer's name: (kernel, kind) or (kernel, kind, n_in)}, arguments of
        `flatten_kernel` for the flattened norms in the report. For other layers it is the norm of the
        kernel in the operation; for a layer fused with a resampling this is the fused kernel.
      constants: {name of a jitted function: its l2 Lipschitz constant}, for operations that are not supported.
      n_steps: steps of each Krylov iteration; the width of the bounds decreases with their square.
      failure: probability that the upper bound of one norm does not hold; these probabilities add up.
      ascent_steps: `n_steps` of `lipschitz_lower_bound`.

    Sources: the product and sum rules: Szegedy et al., Intriguing Properties of Neural Networks
      (2014), Section 4.3, and Gouk et al., Regularisation of Neural Networks by Enforcing Lipschitz
      Continuity (2021), Section 3; for linear maps see `operator_norm_bounds`.

    >>> import jax, jax.numpy as jnp
    >>> w = jnp.array([[3.0], [4.0]])
    >>> found = lipschitz_certificate(lambda x: jax.nn.relu(x @ w)[:, 0], jnp.ones((2, 2)))
    >>> print(found)
    layer  kind   kernel  flattened norm  operator norm
    -      dense  2x1             5.0000         5.0000
    5 <= Lipschitz constant <= 5
    """
    samples = _check_samples(critic, samples, "lipschitz_certificate")
    key = jax.random.key(0) if key is None else key
    norm_key, couple_key, ascent_key = jax.random.split(key, 3)
    _check_uncoupled(critic, samples, couple_key)
    example = jax.ShapeDtypeStruct((1, *samples.shape[1:]), samples.dtype)
    program = trace(critic, example, tuple(constants or ()))
    analysis = Analysis(program, constants or {}, norm_key, n_steps, failure)
    upper, found = analysis.run()
    layers = tuple(_with_kernel(layer, kernels or {}) for layer in found)
    lower = lipschitz_lower_bound(critic, samples, ascent_key, ascent_steps)
    return LipschitzCertificate(upper, float(lower), analysis.failure, layers)


def lipschitz_lower_bound(
    critic: Critic, samples: jax.Array, key: jax.Array | None = None, n_steps: int = 30
) -> jax.Array:
    """The largest ||grad C(x)|| found by gradient ascent from each sample, a lower bound of the Lipschitz constant.

        x <- x + r d / ||d||,    d = grad C(x + r g) - grad C(x - r g),    g = grad C(x) / ||grad C(x)||

    d / 2 r approximates H g, the gradient of ||grad C||, by a finite difference over the radius r. For a
    piecewise linear critic, whose Hessian is zero, d depends on the kinks within r; if there are none, the
    step is along g. r is a twentieth of the root mean square norm of the samples. The starts are perturbed
    by a thousandth of r, because automatic differentiation at a kink may return a value that is not a slope.

    Args:
      critic: [B, ...] -> [B] or [B, 1]; each sample's output must depend on that sample alone.
      samples: [N, ...], floating point, the starts.
      key: random key for the perturbation; `jax.random.key(0)` if None.
      n_steps: number of steps of the ascent, 0 or more.

    Returns:
      A float32 scalar: the largest norm at any point visited. NaN if the critic gives NaN.

    Source: for the finite difference instead of the Hessian product, Pearlmutter, Fast Exact
      Multiplication by the Hessian (1994), Eq. 1.

    >>> import jax.numpy as jnp
    >>> print(lipschitz_lower_bound(lambda x: 3.0 * x[:, 0] + 4.0 * x[:, 1], jnp.ones((4, 2))))
    5.0
    """
    samples = _check_samples(critic, samples, "lipschitz_lower_bound").astype(jnp.float32)
    if n_steps < 0:
        raise ValueError(f"n_steps is {n_steps}; give 0 or more steps of ascent.")
    scale = jnp.sqrt(jnp.mean(jnp.square(samples)))
    scale = jnp.where(scale > 0, scale, 1.0)
    noise = jax.random.normal(jax.random.key(0) if key is None else key, samples.shape, jnp.float32)
    size = math.sqrt(math.prod(samples.shape[1:]))
    radius = 0.05 * size * scale

    gradient = jax.grad(lambda x: jnp.sum(critic(x).astype(jnp.float32)))

    @jax.jit
    def step(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        here = gradient(x)
        ahead, behind = gradient(x + radius * _unit(here)), gradient(x - radius * _unit(here))
        best = jnp.max(jnp.stack([_norms(here), _norms(ahead), _norms(behind)]))
        turn = _unit(ahead - behind)
        return x + radius * jnp.where(_norms(turn) > 0, turn, _unit(here)), best

    x = samples + 1e-3 * scale * noise
    best = jnp.float32(0.0)
    # Not a loop in XLA, in which the gradient of a convolution is many times slower on a CPU.
    for _ in range(n_steps + 1):
        x, found = step(x)
        best = jnp.maximum(best, found)
    return best


def _norms(x: jax.Array) -> jax.Array:
    """The l2 norm of each sample: [N, ...] -> [N, 1, ...]."""
    squares = jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)), keepdims=True)
    # The derivative of the square root at 0 is infinite; times 0 it would be NaN.
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)


def _unit(x: jax.Array) -> jax.Array:
    """Each sample divided by its norm; 0 stays 0."""
    norm = _norms(x)
    return x / jnp.where(norm > 0, norm, 1.0)


def _with_kernel(layer: LayerNorm, kernels: Mapping[str, tuple]) -> LayerNorm:
    ends = [name for name in kernels if layer.name == name or layer.name.endswith(f"/{name}")]
    if not ends or not layer.kernel_shape:
        return layer
    kernel, *how = kernels[max(ends, key=len)]
    norm = float(np.linalg.norm(np.float64(flatten_kernel(kernel, *how)), 2))
    return layer._replace(kernel_shape=tuple(kernel.shape), flattened_norm=norm)


def _check_samples(critic: Critic, samples: Any, name: str) -> jax.Array:
    samples = jnp.asarray(samples)
    if samples.ndim < 2 or not samples.shape[0]:
        raise ValueError(
            f"{name} takes samples [N, ...], at least one; got an array of shape {samples.shape}."
        )
    if not jnp.issubdtype(samples.dtype, jnp.floating):
        raise ValueError(
            f"{name} takes floating-point samples, the inputs of the critic; got {samples.dtype}. Scale pictures first."
        )
    output = jax.eval_shape(critic, samples)
    n = samples.shape[0]
    if getattr(output, "shape", None) not in ((n,), (n, 1)):
        raise ValueError(
            f"{name} takes a critic [B, ...] -> [B] or [B, 1], but for {n} samples it returns"
            f" {getattr(output, 'shape', type(output).__name__)}; reduce its output to one number for each sample."
        )
    return samples


def _check_uncoupled(critic: Critic, samples: jax.Array, key: jax.Array):
    """Raises if the output of one sample depends on another."""
    others = jax.random.normal(key, (2, 3, *samples.shape[1:]), jnp.float32).astype(samples.dtype)
    outputs = [critic(jnp.concatenate([samples[:1], other]))[0] for other in others]
    a, b = (np.float64(output).reshape(()) for output in outputs)
    if not np.isfinite([a, b]).all():
        raise ValueError(
            f"the critic's output for the first sample is {a:g}; it has no Lipschitz constant. Check its parameters."
        )
    if not abs(a - b) <= 1e-3 * (1e-3 + abs(a)):
        raise ValueError(
            f"the critic couples the samples of a batch: its output for one moved from {a:g} to {b:g} when another was"
            " exchanged, so it has no Lipschitz constant for one sample. Batch normalisation in training mode does"
            " that; apply the critic in evaluation."
        )
