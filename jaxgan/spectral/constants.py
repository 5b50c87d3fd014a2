"""Exact l2 Lipschitz constants of activations and pools."""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.spectral.operator import _each

# sup |phi'|. Where it is not 1: gelu Phi(x) + x phi(x) at x = sqrt 2, which is (1 + erf 1) / 2 + 1 / (e sqrt pi);
# its tanh form, silu, swish and mish at the one maximum of their derivative (1.4185, 2.3994 and 1.4906), to all digits
# given; selu scale alpha, left of 0; hard_silu (2 x + 3) / 6 at 3.
_SLOPES = {
    "relu": 1.0,
    "relu6": 1.0,
    "hard_tanh": 1.0,
    "tanh": 1.0,
    "soft_sign": 1.0,
    "softplus": 1.0,
    "log_sigmoid": 1.0,
    "squareplus": 1.0,
    "sigmoid": 0.25,
    "hard_sigmoid": 1.0 / 6.0,
    "gelu": 1.1289041452,
    "gelu_tanh": 1.1289930687,
    "silu": 1.0998393202,
    "swish": 1.0998393202,
    "hard_silu": 1.5,
    "hard_swish": 1.5,
    "mish": 1.0884981613,
    "selu": 1.7580993409,
}
# Activations with a parameter: name -> (default, function from the parameter to the constant).
_WITH_PARAMETER = {
    "leaky_relu": (0.01, lambda slope: max(1.0, abs(slope))),
    "elu": (1.0, lambda alpha: max(1.0, abs(alpha))),
    "celu": (1.0, lambda alpha: 1.0),
}
ACTIVATIONS = (*_SLOPES, *_WITH_PARAMETER)


def activation_lipschitz(name: str, parameter: float | None = None) -> float:
    """The Lipschitz constant of an activation, sup |phi'(x)|; also that of the layer, since it is elementwise.

    Args:
      name: name of a function in `jax.nn`; "gelu" is the exact function and "gelu_tanh" its approximation.
      parameter: `negative_slope` of "leaky_relu", `alpha` of "elu" and (positive) of "celu";
        `jax.nn`'s default if None. The others have none.

    Sources: by differentiation. silu: Ramachandran, Zoph and Le, Searching for Activation Functions
      (2017), Section 5 (Swish) has the derivative; gelu: Hendrycks and Gimpel, Gaussian Error Linear
      Units (2016), Section 2, the function; the maxima are computed.

    >>> activation_lipschitz("sigmoid"), activation_lipschitz("leaky_relu", 0.2)
    (0.25, 1.0)
    """
    if name not in ACTIVATIONS:
        close = difflib.get_close_matches(str(name), ACTIVATIONS, n=1)
        hint = (
            f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(ACTIVATIONS)}."
        )
        raise ValueError(f"there is no activation '{name}' with a known Lipschitz constant; {hint}")
    if name in _SLOPES:
        if parameter is not None:
            raise ValueError(f"parameter is {parameter}, but '{name}' has none; leave it out.")
        return _SLOPES[name]
    default, constant = _WITH_PARAMETER[name]
    if name == "celu" and parameter is not None and parameter <= 0:
        raise ValueError(f"parameter is {parameter}; celu's alpha is positive.")
    return constant(default if parameter is None else parameter)


def max_pool_lipschitz(
    shape: Sequence[int],
    window: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    dilation: int | Sequence[int] = 1,
) -> float:
    """The Lipschitz constant of max pooling: the square root of the largest number of windows that share a pixel.

        sum_o (max_{i in w(o)} |d_i|)^2 <= sum_i m_i d_i^2

    m_i is the number of windows that contain pixel i. The bound is attained: if the pixel with the largest m_i
    is the maximum of all its windows, all their outputs change with it. The constant is 1 without overlap,
    and 2 for 3x3 windows with stride 2.

    Args:
      shape: of the images without channels, (H, W).
      window: its size, one for each axis, or one for all.
      strides: the same; the window's if None. (Flax's `nn.max_pool` has 1 by default.)
      padding: "SAME", "VALID", or a pair (low, high) for each axis; padding is never the maximum.
      dilation: dilation of the window, one for each axis, or one for all.

    Source: the inequality above.

    >>> max_pool_lipschitz((8, 8), 3, 2), max_pool_lipschitz((8, 8), 2)
    (2.0, 1.0)
    """
    counts = [
        np.sum(m, axis=0).max() for m in _incidence(shape, window, strides, padding, dilation)
    ]
    return math.sqrt(math.prod(float(count) for count in counts))


def average_pool_lipschitz(
    shape: Sequence[int],
    window: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    count_include_pad: bool = True,
) -> float:
    """The Lipschitz constant of average pooling, its operator norm: 1 / sqrt(window size) without overlap.

    It is the product over the axes of the norms of the one-dimensional averages, computed by SVD.

    Args:
      shape: of the images without channels, (H, W).
      window: its size, one for each axis, or one for all.
      strides: the same; the window's if None. (Flax's `nn.avg_pool` has 1 by default.)
      padding: "SAME", "VALID", or a pair (low, high) of zeros for each axis.
      count_include_pad: divide by the window's size at the border too; otherwise by the number of
        pixels in it.

    Source: singular values of a Kronecker product: Golub and Van Loan, Matrix Computations, Section
      12.3.1.

    >>> round(average_pool_lipschitz((8, 8), 2), 6)
    0.5
    """
    norm = 1.0
    sizes = _each(window, len(shape), "window")
    for m, size in zip(_incidence(shape, window, strides, padding, 1), sizes, strict=True):
        count = size if count_include_pad else np.maximum(m.sum(axis=1, keepdims=True), 1)
        norm *= float(np.linalg.norm(m / count, 2))
    return norm


def _incidence(shape, window, strides, padding, dilation) -> list[np.ndarray]:
    """For each axis, whether window o [outputs] covers pixel i [inputs], as 0 or 1."""
    axes = len(shape)
    window = _each(window, axes, "window")
    strides = window if strides is None else _each(strides, axes, "strides")
    dilation = _each(dilation, axes, "dilation")
    spans = [(w - 1) * d + 1 for w, d in zip(window, dilation, strict=True)]
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(
                f"padding is '{padding}'; give 'SAME', 'VALID' or a pair (low, high) for each axis."
            )
        padding = jax.lax.padtype_to_pads(shape, spans, strides, padding)
    found = []
    for n, w, span, s, d, (low, high) in zip(
        shape, window, spans, strides, dilation, padding, strict=True
    ):
        outputs = (n + low + high - span) // s + 1
        if outputs < 1:
            raise ValueError(
                f"a window of {span} pixels does not fit into {n} with padding {low} and {high}; take a smaller one."
            )
        first = np.arange(outputs)[:, None] * s - low
        pixel = first[:, :, None] + d * np.arange(w)[None, None, :]
        found.append((pixel == np.arange(n)[None, :, None]).any(axis=2).astype(np.float64))
    return found


# Points that distinguish scalar functions: near zero, the kinks, the tails, and large values.
_FAR = 2.0 ** np.arange(5, 21)
GRID = np.unique(
    np.concatenate([np.linspace(-24, 24, 1537), np.linspace(-4, 4, 1025), _FAR, -_FAR])
).astype(np.float32)


def recognised(values: np.ndarray | jax.Array) -> float | None:
    """The Lipschitz constant of the activation with these values on `GRID`; None if there is none here."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        return None
    slope, alpha = (-float(values[np.searchsorted(GRID, x)]) for x in (-1.0, -24.0))
    candidates: list[tuple[str, float | None]] = [(name, None) for name in _SLOPES]
    candidates += [("leaky_relu", slope), ("elu", alpha)]
    if alpha > 0:
        candidates.append(("celu", alpha))
    for name, parameter in candidates:
        if np.allclose(values, _on_grid(name, parameter), rtol=1e-4, atol=1e-5):
            return activation_lipschitz(name, parameter)
    return None


@functools.lru_cache(maxsize=256)
def _on_grid(name: str, parameter: float | None) -> np.ndarray:
    x = jnp.asarray(GRID)
    if name == "gelu_tanh":
        return np.asarray(jax.nn.gelu(x, approximate=True))
    if name == "gelu":
        return np.asarray(jax.nn.gelu(x, approximate=False))
    function = getattr(jax.nn, name)
    return np.asarray(function(x) if parameter is None else function(x, parameter))
