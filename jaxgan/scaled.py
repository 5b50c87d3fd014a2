"""Euclidean norms whose squares neither overflow nor underflow.

The square of 1e20 overflows float32, and that of 1e-23 is 0. Here the largest entry is first scaled to a number from 1
to 2. The factor is a power of two, so the scaling is exact: where the squares are in range, the results are the same,
bit for bit, as without it. The factor is constant under differentiation; the derivatives are right, since c |x / c|
does not depend on c.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_EXPONENT, _LEAST = 0x7F800000, 2.0**-126  # the bits of a float32 exponent, the least normal number


def power_of_two(x: jax.Array, axis: int | tuple[int, ...] | None = None) -> jax.Array:
    """The power of two up to the largest |x| along `axis`, which is kept with length 1; 1 if it is NaN or infinite.

    It is at least 2^-126, so that its reciprocal is finite. No gradient flows through it.

    >>> print(power_of_two(jnp.array([3.0, -5.0, 0.5])))
    [4.]
    """
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(x)), axis=axis, keepdims=True)
    largest = largest.reshape(1) if axis is None else largest
    bits = jax.lax.bitcast_convert_type(largest, jnp.int32) & _EXPONENT
    power = jax.lax.bitcast_convert_type(bits, jnp.float32)
    return jnp.where(jnp.isfinite(largest), jnp.maximum(power, _LEAST), 1.0)


def norm(x: jax.Array, axis: int | tuple[int, ...]) -> jax.Array:
    """The Euclidean norm of float32 x along `axis`, with gradient 0 at 0; NaN if an entry is NaN.

    >>> print(norm(jnp.array([[3e20, 4e20], [3e-30, 4e-30], [0.0, 0.0]]), 1))
    [5.e+20 5.e-30 0.e+00]
    """
    scale = power_of_two(x, axis)
    square = jnp.sum(jnp.square(x / scale), axis=axis)
    zero = square == 0.0
    # The inner `where` removes the infinite derivative of the square root at 0, the outer one restores the value.
    root = jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))
    return jnp.squeeze(scale, axis) * root
