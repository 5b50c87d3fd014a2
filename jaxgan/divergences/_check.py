"""Checks of distributions, samples and weights, and their conversion to float32."""

from __future__ import annotations

import numbers

import jax
import jax.numpy as jnp
import numpy as np


def float32(x: jax.Array) -> jax.Array:
    return jnp.asarray(x).astype(jnp.float32)


def known(x: jax.Array) -> np.ndarray | None:
    """Returns the values on the host; None under jit or if this process cannot address all of them."""
    if isinstance(x, jax.core.Tracer) or not x.is_fully_addressable:
        return None
    # NumPy, as during tracing even a comparison of two constants gives a tracer.
    return np.asarray(x)


def nonnegative(name: str, values: jax.Array) -> jax.Array:
    """Returns the values in float32; a negative value raises an error or, under jit, makes all of them NaN."""
    values = float32(values)
    found = known(values)
    if found is not None and found.size and not found.min() >= 0:
        raise ValueError(
            f"{name} has the value {found.min()}; densities and weights are 0 or more."
        )
    return jnp.where(jnp.all(values >= 0), values, jnp.nan)


def distribution(name: str, weights: jax.Array) -> jax.Array:
    """Returns the weights [..., K], divided by their sum."""
    weights = float32(weights)
    if weights.ndim == 0 or weights.size == 0:
        raise ValueError(
            f"{name} has shape {weights.shape}, which is not that of a distribution; "
            "give weights [..., K] with K >= 1."
        )
    found = known(weights)
    weights = nonnegative(name, weights)
    if found is not None:
        totals = found.sum(axis=-1)
        wrong = totals[~((totals > 0) & (totals < np.inf))]
        if wrong.size:
            raise ValueError(
                f"{name} sums to {wrong[0]} along its last axis; a distribution needs a finite sum "
                "above 0."
            )
    return weights / jnp.sum(weights, axis=-1, keepdims=True)


def distributions(
    name_p: str, p: jax.Array, name_q: str, q: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """As `distribution`, for two distributions of equal shape."""
    same_shape(name_p, p, name_q, q)
    return distribution(name_p, p), distribution(name_q, q)


def same_shape(name_p: str, p: jax.Array, name_q: str, q: jax.Array) -> None:
    if jnp.shape(p) != jnp.shape(q):
        raise ValueError(
            f"{name_p} has shape {jnp.shape(p)} and {name_q} {jnp.shape(q)}; give both the "
            "probabilities of the same outcomes."
        )


def sample_weights(name: str, weights: jax.Array | None, count: int) -> jax.Array:
    """Returns the weights [N] of N samples as a distribution; equal weights for None."""
    if weights is None:
        return jnp.full((count,), 1 / count, jnp.float32)
    if jnp.shape(weights) != (count,):
        raise ValueError(
            f"{name} has shape {jnp.shape(weights)} for {count} samples; give [{count}], one weight each."
        )
    return distribution(name, weights)


def points(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Checks two samples [N, D] and [M, D], and converts them to float32."""
    x, y = float32(x), float32(y)
    for name, value in (("x", x), ("y", y)):
        if value.ndim != 2 or value.size == 0:
            raise ValueError(
                f"{name} has shape {value.shape}; give samples [N, D] with N, D >= 1, pictures as rows."
            )
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"x has {x.shape[1]} dimensions and y {y.shape[1]}; give samples of equal dimension."
        )
    return x, y


def at_least(name: str, value: float, least: float) -> None:
    """Raises an error if a known number is below `least` or not finite."""
    if isinstance(value, numbers.Real) and not least <= value < float("inf"):
        raise ValueError(f"{name} is {value}; give a finite number of {least} or more.")


def positive(name: str, value: float) -> None:
    """Raises an error if a known number is not above 0 or not finite."""
    if isinstance(value, numbers.Real) and not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value}; give a finite number above 0.")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}.")


def safe_root(x: jax.Array, order: float = 2) -> jax.Array:
    """x^(1/order) of x >= 0, with slope 0 (not infinity) at 0; negative rounding errors count as 0."""
    above = x > 0
    root = jnp.where(above, x, 1.0) ** (1 / order)
    return jnp.where(above | jnp.isnan(x), jnp.where(jnp.isnan(x), x, root), 0.0)
