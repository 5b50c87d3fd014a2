"""The largest singular values of a flattened kernel, updated in each step by orthogonal iteration."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxgan.spectral.flattened import INIT_STEPS, _constant, _matmul


def init_basis(
    key: jax.Array, w: jax.Array, k: int, n_steps: int = INIT_STEPS, eps: float = 1e-12
) -> jax.Array:
    """`k` orthonormal float32 columns [out, k] for w [in, out]: random, then `n_steps` of orthogonal iteration.

    Args:
      key: random key for the start.
      w: the flattened kernel, [in, out].
      k: number of singular values, from 1 to min(in, out).
      n_steps: as for `orthogonal_iteration`.
      eps: norms up to this count as zero.

    >>> import jax, jax.numpy as jnp
    >>> w = jnp.diag(jnp.array([1.0, 3.0, 2.0]))
    >>> print(jnp.abs(init_basis(jax.random.key(0), w, 2)).round(3) + 0.0)
    [[0. 0.]
     [1. 0.]
     [0. 1.]]
    """
    if not 0 < k <= min(w.shape):
        raise ValueError(
            f"k is {k}, but a matrix of shape {w.shape} has {min(w.shape)} singular values; give 1 to {min(w.shape)}."
        )
    start = jax.random.normal(key, (w.shape[1], k), jnp.float32)
    return orthogonal_iteration(w, _orthonormal(start), n_steps, eps)


def orthogonal_iteration(
    w: jax.Array, u: jax.Array, n_steps: int = 1, eps: float = 1e-12
) -> jax.Array:
    """`n_steps` times: V = orth(W U), U = orth(W^T V), then a rotation of the columns to singular vectors.

    orth is the orthonormal factor of a QR decomposition. The rotation (Rayleigh-Ritz) does not change the
    span; after it, column i approximates the i-th right singular vector. With one column this is
    `power_iteration`. No gradient flows through it. If W U is zero, U is not changed.

    Args:
      w: the flattened kernel, [in, out].
      u: orthonormal columns, [out, k], from `init_basis`; k at most min(in, out).
      n_steps: 0 or more, static. With 0, U is returned unchanged.
      eps: norms up to this count as zero.

    Returns:
      The new U, float32 orthonormal columns [out, k], in order of decreasing singular value.

    Source: Golub and Van Loan, Matrix Computations, Section 8.2.4 (orthogonal iteration, on W^T W)
      and 8.3 (Ritz acceleration).

    >>> import jax.numpy as jnp
    >>> w = jnp.diag(jnp.array([1.0, 3.0, 2.0]))
    >>> u = jnp.linalg.qr(jnp.array([[1.0, 1.0], [1.0, 0.0], [1.0, -1.0]]))[0]
    >>> [round(float(s), 3) for s in singular_values(w, orthogonal_iteration(w, u, 20))]
    [3.0, 2.0]
    """
    _check_basis(w, u)
    w, u = _constant(w, u)
    return u if n_steps == 0 else _orthogonal(w, u, n_steps, eps)


def singular_values(w: jax.Array, u: jax.Array, eps: float = 1e-12) -> jax.Array:
    """Estimates of the largest singular values of W from the columns of U: those of W U, in decreasing order.

        s_i = p_i^T W u_i,    d s_i / d W = p_i u_i^T,    p_i and u_i held constant

    where W U = P S Q^T and u_i are the columns of U Q. Each is at most the i-th singular value of W.

    Args:
      w: the flattened kernel, [in, out].
      u: orthonormal columns, [out, k], from `init_basis` or `orthogonal_iteration`.
      eps: values up to this count as zero, and have gradient 0.

    Returns:
      float32 [k]. If two are equal, the gradient is that of one choice of orthonormal singular vectors.

    Source: SN-GAN (2018), Eq. 11 and 12, for each value.

    >>> import jax, jax.numpy as jnp
    >>> w = jnp.diag(jnp.array([1.0, 3.0, 2.0]))
    >>> print(singular_values(w, init_basis(jax.random.key(0), w, 2)))
    [3. 2.]
    """
    _check_basis(w, u)
    w = w.astype(jnp.float32)
    u = jax.lax.stop_gradient(u.astype(jnp.float32))
    left, turn = _left_and_turn(_matmul(jax.lax.stop_gradient(w), u))
    values = jnp.sum(left * _matmul(w, _matmul(u, turn)), axis=0)
    return jnp.where(jax.lax.stop_gradient(values) > jnp.asarray(eps, jnp.float32), values, 0.0)


@partial(jax.jit, static_argnames="n_steps", inline=True)
def _orthogonal(w: jax.Array, u: jax.Array, n_steps: int, eps: float) -> jax.Array:
    def step(_, u: jax.Array) -> jax.Array:
        image = _matmul(w, u)
        new = _orthonormal(_matmul(w.T, _orthonormal(image)))
        return jnp.where(jnp.linalg.norm(image) > jnp.asarray(eps, jnp.float32), new, u)

    u = step(0, u) if n_steps == 1 else jax.lax.fori_loop(0, n_steps, step, u)
    image = _matmul(w, u)
    _, turn = _left_and_turn(image)
    return jnp.where(
        jnp.linalg.norm(image) > jnp.asarray(eps, jnp.float32), _aligned(_matmul(u, turn), u), u
    )


def _left_and_turn(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """P and Q of W U = P S Q^T, in order of decreasing singular value."""
    q, r = jnp.linalg.qr(image)
    left, _, right = jnp.linalg.svd(r)
    return jax.lax.stop_gradient((_matmul(q, left), right.T))


def _orthonormal(x: jax.Array) -> jax.Array:
    """The factor Q of x = Q R whose R has no negative diagonal entry: for one column, x / ||x||."""
    q, r = jnp.linalg.qr(x)
    return q * jnp.where(jnp.diagonal(r) < 0, -1.0, 1.0)[None, :]


def _aligned(new: jax.Array, old: jax.Array) -> jax.Array:
    """The columns with the signs of the old ones, since the sign of a singular vector is arbitrary."""
    return new * jnp.where(jnp.sum(new * old, axis=0) < 0, -1.0, 1.0)[None, :]


def _check_basis(w: jax.Array, u: jax.Array):
    if w.ndim != 2 or u.ndim != 2 or u.shape[0] != w.shape[1] or not 0 < u.shape[1] <= min(w.shape):
        raise ValueError(
            f"u has shape {u.shape}, but a flattened kernel of shape {w.shape} needs {w.shape[1:]} by 1 to"
            f" {min(w.shape)} columns; take it from init_basis."
        )
