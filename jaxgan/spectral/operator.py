"""Norms of linear maps that are given as functions, such as convolutions of images of a given size.

The norm of a flattened kernel is not a bound of the norm of the convolution, which depends on stride,
padding and image size. Here the map and its transpose (`jax.linear_transpose`) are applied, and the best
vector of the Krylov space is used,

    sigma_k = max ||A x||  over  x in span{b, G b, ..., G^(k-1) b}, ||x|| = 1,    G = A^T A

with random b. It approaches ||A|| from below. An upper bound that holds with a known probability does not
need the spectrum. Let A have n singular values (zeros included, n at least
3) and b be uniform on the sphere. Unless |b_1|, its share of the leading singular vector, is below
1 / cosh((2k - 1) atanh sqrt(e)), sigma_k^2 is at least (1 - e) ||A||^2. To show this, choose the polynomial
p of the Ritz vector such that y p(c (1 - y^2)) is the Chebyshev polynomial T_(2k-1)(y), c = 1 - e. And
P(|b_1| < s) is at most s sqrt(2 n / pi). So

    ||A|| <= sigma_k cosh(arccosh(sqrt(2 n / pi) / f) / (2 k - 1))     with probability 1 - f,

which is Theorem 4.2 of Kuczynski and Wozniakowski (there, 1.648 sqrt(n) exp(-(2k - 1) sqrt(e))
bounds the probability) with a slightly smaller constant.

Source: Kuczynski and Wozniakowski, Estimating the Largest Eigenvalue by the Power and Lanczos
Algorithms with a Random Start (1992).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import scaled
from jaxgan.spectral.flattened import (
    _leading_eigenvector,
    _matmul,
    _normalise,
    _orthogonalise,
    flatten_kernel,
    krylov_iteration,
    sigma,
)

Padding = str | Sequence[tuple[int, int]]

# A map with at most this many inputs or outputs is computed as a matrix, whose norm is exact.
DENSE = 256
# Columns that are computed at once; each needs a feature map in memory.
_COLUMNS = 32


class NormBounds(NamedTuple):
    """Bounds of an operator norm; `upper` holds except with the requested probability of failure."""

    lower: float
    upper: float


def spectral_norm(
    kernel: jax.Array, kind: str, n_in: int = 1, key: jax.Array | None = None
) -> jax.Array:
    """The spectral norm of a kernel as a matrix, whatever its kind, by a converged Krylov iteration.

    It has no state and is for single evaluations; its relative error was below 1e-4 for all shapes tested. To
    normalise in training, keep a u (`init_u`, `power_iteration`, `sigma`).

    Args:
      kernel, kind, n_in: as for `flatten_kernel`.
      key: random key for the start; `jax.random.key(0)` if None.

    Returns:
      A float32 scalar, differentiable in the kernel; 0 for a kernel of zeros, NaN for one with NaN.

    Sources: as for `krylov_iteration` and `sigma`.

    >>> import jax.numpy as jnp
    >>> print(spectral_norm(jnp.ones((3, 3, 1, 4)), "conv").round(4))  # a matrix of ones, 9 x 4
    6.0
    """
    w = flatten_kernel(kernel, kind, n_in)
    scale = scaled.power_of_two(w)
    w = w / scale[None]
    u = jax.random.normal(jax.random.key(0) if key is None else key, w.shape[1:], jnp.float32)
    u = u / jnp.linalg.norm(u)
    for _ in range(3):  # each from the vector of the last one
        u = krylov_iteration(w, u, 32)
    return sigma(w, u) * scale[0]


def operator_norm(
    linear: Callable[[jax.Array], jax.Array],
    shape: Sequence[int],
    key: jax.Array | None = None,
    n_steps: int = 64,
) -> jax.Array:
    """The l2 norm of any linear map, estimated from below by applying the map and its transpose.

        max ||A x||  over  x in span{b, G b, ..., G^n b}, ||x|| = 1,    G = A^T A

    Args:
      linear: float32 [*shape] -> float32 of any shape. `jax.linear_transpose` must support it, so it
        cannot contain `jax.custom_vjp`; use `Precision.HIGHEST` in its products.
      shape: shape of its argument.
      key: random key for the start b; `jax.random.key(0)` if None.
      n_steps: number of products with G, 0 or more, static. 64 give norms of image convolutions to 1e-3.

    Returns:
      A float32 scalar, differentiable in the variables that `linear` closes over, with constant singular
      vectors.

    Sources: Golub and Van Loan, Matrix Computations, Section 10.1 (Lanczos, fully
      reorthogonalised); for a convolution's norm by iteration through it, Farnia, Zhang and Tse,
      Generalizable Adversarial Training via Spectral Normalization (2019), Section 4.

    >>> import jax.numpy as jnp
    >>> print(operator_norm(lambda x: 2.0 * x[::2] + x[1::2], (6,)).round(4))  # sqrt(4 + 1)
    2.2361
    """
    shape = _check_shape(shape)
    if n_steps < 0:
        raise ValueError(f"n_steps is {n_steps}; give 0 or more products.")
    size = math.prod(shape)
    forward, backward = _flat(linear, shape)
    b = jax.random.normal(jax.random.key(0) if key is None else key, (size,), jnp.float32)
    k = min(n_steps + 1, size)

    def stopped(x):  # times some positive number; no gradient flows through the loop
        y = jax.lax.stop_gradient(forward(x))
        return jax.lax.stop_gradient(backward(y / scaled.power_of_two(y)))

    basis = jnp.zeros((k, size), jnp.float32).at[0].set(b / jnp.linalg.norm(b))
    basis = jax.lax.fori_loop(
        1, k, lambda i, basis: _orthogonalise(basis, i, stopped(basis[i - 1])), basis
    )
    images = jax.lax.map(lambda x: jax.lax.stop_gradient(forward(x)), basis)
    images = images / scaled.power_of_two(images)[None]
    x = _matmul(_leading_eigenvector(_matmul(images, images.T)), basis)
    x = jax.lax.stop_gradient(_normalise(x, basis[0], 0.0))
    y = jax.lax.stop_gradient(forward(x))
    y = _normalise(y, jnp.zeros_like(y), 0.0)
    return jnp.sum(y * forward(x))


def operator_norm_bounds(
    linear: Callable[[jax.Array], jax.Array],
    shape: Sequence[int],
    key: jax.Array | None = None,
    n_steps: int = 100,
    failure: float = 1e-6,
) -> NormBounds:
    """Lower and upper bounds of the norm of a linear map; the upper one holds with a given probability.

    A map with at most 256 inputs or outputs is computed as a matrix, and both bounds are its norm by SVD (in
    float64, of float32 entries). Other maps have the bounds

        sigma_k <= ||A|| <= sigma_k cosh(arccosh(sqrt(2 n / pi) / f) / (2 k - 1)),

    see this module's docstring. n is the smaller of the numbers of inputs and outputs, and k = `n_steps`. For
    n = 4096 the bounds differ by 0.4 % after 100 steps and by 0.1 % after 200. They hold up to float32
    rounding, about 1e-6.

    Args:
      linear: float32 [*shape] -> float32 of any shape, as for `operator_norm`.
      shape: shape of its argument.
      key: random key for the start; `jax.random.key(0)` if None.
      n_steps: number of products with A^T A, 1 or more.
      failure: f, the probability over the start that the upper bound does not hold.

    Returns:
      NormBounds(lower, upper), Python numbers. The function cannot be traced: it runs one step at a time,
      since a convolution inside a loop is several times slower on a CPU.

    Source: Kuczynski and Wozniakowski (1992), Theorem 4.2.

    >>> import jax.numpy as jnp
    >>> lower, upper = operator_norm_bounds(lambda x: jnp.cumsum(x), (512,))
    >>> round(lower, 2), lower <= upper < 1.01 * lower  # 1 / (2 sin(pi / 2050))
    (326.27, True)
    """
    shape = _check_shape(shape)
    if n_steps < 1:
        raise ValueError(f"n_steps is {n_steps}; a bound needs at least one product.")
    if not 0 < failure < 1:
        raise ValueError(
            f"failure is {failure}, but a probability of failure lies between 0 and 1."
        )
    forward, backward = _flat(linear, shape)
    inputs = math.prod(shape)
    outputs = jax.eval_shape(forward, jax.ShapeDtypeStruct((inputs,), jnp.float32)).shape[0]
    if outputs < inputs:  # the transpose has the same norm
        forward, backward, inputs, outputs = backward, forward, outputs, inputs
    if inputs <= DENSE:
        norm = float(np.linalg.norm(_matrix(forward, inputs), 2))
        return NormBounds(norm, norm)

    k = min(n_steps, inputs)
    b = jax.random.normal(jax.random.key(0) if key is None else key, (inputs,), jnp.float32)
    lower = float(scaled.norm(forward(_leading_ritz_vector(forward, backward, b, k)), 0))
    if k == inputs:  # the whole space
        return NormBounds(lower, lower)
    ratio = math.acosh(max(1.0, math.sqrt(2 * inputs / math.pi) / failure)) / (2 * k - 1)
    return NormBounds(lower, lower * math.cosh(ratio))


def _leading_ritz_vector(forward, backward, b: jax.Array, k: int) -> jax.Array:
    """The unit vector x of span{b, G b, ..., G^(k-1) b} with the largest ||A x||, G = A^T A: [inputs]."""
    b = b / jnp.linalg.norm(b)
    scale = scaled.power_of_two(
        forward(b)
    )  # of the order of ||A||, whose square may not be in range

    def step(basis: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Adds the next row to the basis; also returns the entries of G for row i and the rows before it."""
        image = backward(forward(basis[i]) / scale)
        row = _matmul(basis, image)
        return _orthogonalise(basis, i + 1, image), row

    step = jax.jit(step, donate_argnums=0)
    # One more row than is used, because the last step writes to it.
    basis = jnp.zeros((k + 1, b.size), jnp.float32).at[0].set(b)
    rows = []
    for i in range(k):
        basis, row = step(basis, np.int32(i))
        rows.append(row)
    gram = np.stack(rows)[:, :k].astype(np.float64)
    # Only the lower triangle is complete: when row i was computed, later rows of the basis were zeros.
    weights = np.linalg.eigh(gram, "L")[1][:, -1]
    return _normalise(_matmul(jnp.asarray(weights, jnp.float32), basis[:k]), basis[0], 0.0)


def conv_norm(
    kernel: jax.Array,
    shape: Sequence[int],
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    key: jax.Array | None = None,
    n_steps: int = 64,
) -> jax.Array:
    """The norm of a convolution as a linear map of images, which differs from that of the flattened kernel.

    The flattened kernel maps a single window, but windows overlap and are cropped at the border. For stride 1
    the norm is at most sqrt(number of taps) times that of the flattened kernel.

    Args:
      kernel: [*window, in / groups, out], of any floating type; the window may have any number of
        axes.
      shape: sizes of the images along the window axes, (H, W) for pictures.
      strides: one for each axis, or one for all.
      padding: "SAME" or "VALID" (zeros), "CIRCULAR" (as in Flax, with the size of "SAME"), or a
        pair (low, high) of zeros for each axis.
      dilation: dilation of the kernel, one for each axis, or one for all.
      groups: number of feature groups.
      key, n_steps: as for `operator_norm`.

    Returns:
      A float32 scalar, differentiable in the kernel.

    Sources: Sedghi, Gupta and Long, The Singular Values of Convolutional Layers (2019), Theorem 6,
      for circular padding and stride 1 (by Fourier transforms; here all cases use the iteration); Farnia et
      al. (2019), Section 4, for iterating through the convolution.

    >>> import jax.numpy as jnp
    >>> blur = jnp.full((3, 3, 1, 1), 1.0 / 9.0)
    >>> print(conv_norm(blur, (8, 8), padding="CIRCULAR").round(4))  # constants stay what they are
    1.0
    """
    window = _check_conv(kernel, shape, "conv_norm")
    if kernel.shape[-1] % groups:
        raise ValueError(
            f"groups is {groups}, which does not divide the {kernel.shape[-1]} outputs of a kernel of shape"
            f" {kernel.shape}."
        )
    strides, dilation = _each(strides, window, "strides"), _each(dilation, window, "dilation")
    linear = _conv(kernel.astype(jnp.float32), strides, padding, dilation, groups)
    return operator_norm(linear, (*shape, kernel.shape[-2] * groups), key, n_steps)


def conv_transpose_norm(
    kernel: jax.Array,
    shape: Sequence[int],
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    key: jax.Array | None = None,
    n_steps: int = 64,
) -> jax.Array:
    """The norm of a transposed convolution as a linear map of images, as defined by `jax.lax.conv_transpose` and Flax.

    Args:
      kernel: [*window, in, out], of any floating type. For the layout of Flax's
        `transpose_kernel=True`, swap the last two axes. (Flax also rotates the kernel; this does not change
        the norm, except that for zero padding of unequal sides the two sides are exchanged.)
      shape: shape of the input images, without channels; the outputs are `strides` times as large.
      strides: one for each axis, or one for all.
      padding: "SAME", "VALID", "CIRCULAR", or a pair for each axis, as for `jax.lax.conv_transpose` and
        Flax.
      dilation: dilation of the kernel, one for each axis, or one for all.
      key, n_steps: as for `operator_norm`.

    Returns:
      A float32 scalar, differentiable in the kernel.

    Sources: as for `conv_norm`; a map and its transpose have the same norm.

    >>> import jax.numpy as jnp
    >>> repeat = jnp.ones((2, 2, 1, 1))  # every pixel, four times
    >>> print(conv_transpose_norm(repeat, (5, 5), strides=2).round(4))
    2.0
    """
    window = _check_conv(kernel, shape, "conv_transpose_norm")
    strides, dilation = _each(strides, window, "strides"), _each(dilation, window, "dilation")
    kernel = kernel.astype(jnp.float32)
    if padding == "CIRCULAR":
        # It is the transpose of the circular convolution from the larger images to the smaller.
        larger = [n * s for n, s in zip(shape, strides, strict=True)]
        circular = _conv(kernel.swapaxes(-1, -2), strides, padding, dilation, 1)
        return operator_norm(circular, (*larger, kernel.shape[-1]), key, n_steps)

    def linear(x: jax.Array) -> jax.Array:
        return jax.lax.conv_transpose(
            x[None],
            kernel,
            strides,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=_channels_last(kernel.ndim),
            precision=jax.lax.Precision.HIGHEST,
        )[0]

    return operator_norm(linear, (*shape, kernel.shape[-2]), key, n_steps)


def _conv(kernel, strides, padding, dilation, groups) -> Callable[[jax.Array], jax.Array]:
    """The convolution of one image [*shape, in] -> [*shape, out]."""

    def linear(x: jax.Array) -> jax.Array:
        zeros = padding
        if padding == "CIRCULAR":
            spans = [(n - 1) * d for n, d in zip(kernel.shape, dilation, strict=False)]
            x = jnp.pad(x, [(n // 2, n - n // 2) for n in spans] + [(0, 0)], mode="wrap")
            zeros = "VALID"
        return jax.lax.conv_general_dilated(
            x[None],
            kernel,
            strides,
            zeros,
            rhs_dilation=dilation,
            dimension_numbers=_channels_last(kernel.ndim),
            feature_group_count=groups,
            precision=jax.lax.Precision.HIGHEST,
        )[0]

    return linear


def _channels_last(ndim: int) -> jax.lax.ConvDimensionNumbers:
    images = (0, ndim - 1, *range(1, ndim - 1))
    return jax.lax.ConvDimensionNumbers(images, (ndim - 1, ndim - 2, *range(ndim - 2)), images)


def _flat(linear, shape):
    """`linear` and its transpose, as functions of vectors."""
    example = jax.ShapeDtypeStruct(shape, jnp.float32)
    transpose = jax.linear_transpose(linear, example)
    output = jax.eval_shape(linear, example)

    def forward(x: jax.Array) -> jax.Array:
        return linear(x.reshape(shape)).reshape(-1)

    def backward(y: jax.Array) -> jax.Array:
        return transpose(y.reshape(output.shape))[0].reshape(-1)

    return forward, backward


def _matrix(forward, inputs: int) -> np.ndarray:
    """The matrix [inputs, outputs] in float64, computed from several columns of the identity at a time."""
    columns = jax.jit(jax.vmap(forward))
    identity = np.eye(-(-inputs // _COLUMNS) * _COLUMNS, inputs, dtype=np.float32)
    parts = [columns(part) for part in np.split(identity, len(identity) // _COLUMNS)]
    return np.concatenate(parts)[:inputs].astype(np.float64)


def _check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(shape)
    if math.prod(shape) < 1:
        raise ValueError(f"shape is {shape}; a linear map needs at least one input.")
    return shape


def _check_conv(kernel: jax.Array, shape: Sequence[int], name: str) -> int:
    """The number of window axes."""
    window = kernel.ndim - 2
    if window < 1:
        raise ValueError(
            f"{name} takes a kernel [*window, in, out], [3, 3, in, out] for instance; got one of shape {kernel.shape}."
        )
    if len(shape) != window:
        raise ValueError(
            f"shape is {tuple(shape)}, but a kernel of shape {kernel.shape} needs images of {window} axes without"
            " channels; give their sizes, (H, W) for pictures."
        )
    return window


def _each(value: int | Sequence[int], window: int, name: str) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * window
    if len(values) != window or any(not isinstance(v, numbers.Integral) or v < 1 for v in values):
        raise ValueError(
            f"{name} is {value}, but the window has {window} axes; give a whole number from 1 up, or one for each axis."
        )
    return tuple(int(v) for v in values)
