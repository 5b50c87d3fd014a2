"""Penalties and constraints on weights."""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import spectral


def clip_weights(params: Any, limit: float) -> Any:
    """Clips every leaf of the tree to [-limit, limit].

    To clip only some parameters, pass only those. The paper clips to 0.01 after each step of the critic.

    Source: Arjovsky et al., Wasserstein GAN (2017), Algorithm 1, line 7.

    >>> import jax.numpy as jnp
    >>> print(clip_weights({"kernel": jnp.array([-3.0, 0.5])}, 1.0)["kernel"])
    [-1.   0.5]
    """
    if isinstance(limit, numbers.Real) and not limit > 0:
        raise ValueError(f"limit is {limit}; weights are clipped to a limit above 0.")

    def clip(w: jax.Array) -> jax.Array:
        bound = jnp.asarray(limit, w.dtype)
        return jnp.clip(w, -bound, bound)

    return jax.tree.map(clip, params)


def orthogonal(params: Any, diagonal: bool = False) -> jax.Array:
    """Sum over the kernels of the squared inner products of different filters.

        ||W^T W o (1 - I)||_F^2,    W [in, out] the kernel flattened, a filter in each column

    This is BigGAN's regulariser, which helps with truncated latents: it makes filters orthogonal and does
    not constrain their norms. With `diagonal` it is the older ||W^T W - I||_F^2, which also makes the
    norms 1.

    Args:
      params: a tree of parameters. Leaves of two or more axes are kernels whose last axis is the
        output; biases and scales are ignored. Do not pass embeddings, and first swap the last two axes of
        kernels of `ConvTranspose(transpose_kernel=True)`.

    Returns:
      The unscaled penalty, a float32 scalar. The weights are 1e-4 in BigGAN.

    Sources: Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis (2019),
      Eq. 3 (and 2); Brock et al., Neural Photo Editing with Introspective Adversarial Networks
      (2017), for the older.

    >>> import jax.numpy as jnp
    >>> params = {"kernel": jnp.array([[2.0, 1.0], [0.0, 1.0]]), "bias": jnp.ones(2)}
    >>> print(orthogonal(params))  # the inner product 2, squared, twice
    8.0
    """
    total = jnp.float32(0.0)
    for kernel in _kernels(params):
        w = spectral.flatten_kernel(kernel, "conv" if kernel.ndim > 2 else "dense")
        gram = jnp.matmul(w.T, w, precision=jax.lax.Precision.HIGHEST)
        identity = jnp.eye(gram.shape[0], dtype=jnp.float32)
        rest = gram - identity if diagonal else gram * (1.0 - identity)
        total += jnp.sum(jnp.square(rest))
    return total


def spectral_regularisation(matrices: Any, vectors: Any) -> jax.Array:
    """Half the sum of squared spectral norms: 1/2 sum_l sigma(W_l)^2, a penalty instead of spectral
    normalisation.

    Args:
      matrices: a tree of flattened kernels [in, out] (`spectral.flatten_kernel`).
      vectors: a tree of the same structure with their unit vectors u [out], which the caller updates
        (`spectral.init_u`, then `spectral.power_iteration` once per step).

    Returns:
      The unscaled penalty, a float32 scalar. The paper's weight is 0.01.

    Source: Yoshida and Miyato, Spectral Norm Regularization for Improving the Generalizability of
      Deep Learning (2017), Section 3.2 and Algorithm 1.

    >>> import jax, jax.numpy as jnp
    >>> w = jnp.diag(jnp.array([1.0, 3.0]))
    >>> print(spectral_regularisation({"a": w}, {"a": spectral.init_u(jax.random.key(0), w)}))
    4.5
    """
    structure: Any
    found: Any
    leaves, structure = jax.tree.flatten(matrices)
    if not leaves:
        raise ValueError("matrices holds no array; give at least one flattened kernel.")
    if (found := jax.tree.structure(vectors)) != structure:
        raise ValueError(
            f"vectors has the structure {found} and matrices {structure}; give one u per matrix."
        )
    total = jnp.float32(0.0)
    for w, u in zip(leaves, jax.tree.leaves(vectors), strict=True):
        if w.ndim != 2 or u.shape != w.shape[1:]:
            raise ValueError(
                f"a matrix has shape {w.shape} and its vector {u.shape}; "
                "give [in, out] (spectral.flatten_kernel) and [out]."
            )
        total += jnp.square(spectral.sigma(w, u))
    return 0.5 * total


def _kernels(params: Any) -> list[jax.Array]:
    kernels = [leaf for leaf in jax.tree.leaves(params) if jnp.ndim(leaf) > 1]
    if not kernels:
        raise ValueError("params has no kernel (array of two or more axes); give at least one.")
    return kernels
