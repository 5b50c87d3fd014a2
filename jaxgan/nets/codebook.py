"""A codebook: K vectors, the nearest of which stands for each latent; learned by gradients or by moving averages.

A codebook is a network like others, {"params": {"embedding"}, "codes": {...}}, so that an engine can keep, move and
save it:

    embedding  [K, D]  what gradients move
    offset     [K, D]  what anything else adds: code = embedding + offset
    unused     [K]     batches since the code was last chosen
    idle       [K]     batches since it was last chosen or set anew
    count      [K]     with moving averages only: how often it was chosen
    sum        [K, D]  with moving averages only: the latents it was chosen for, summed

The offset is what lets a code be set to a value without touching the parameters, which belong to the optimiser: a
dead code's gradient is zero, and so, when it is set anew, are Adam's averages of it.

Sources: van den Oord et al., Neural Discrete Representation Learning (2017), Eq. 1 to 3 and Appendix A.1 (moving
averages, after whose symbols N and m are `count` and `sum`); Esser et al., Taming Transformers (2021), Eq. 2 to 4.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.options import OptionError

Network = dict[str, Any]

# A code is in use if it was chosen in one of the last so many batches.
USAGE_BATCHES = 100

# Laplace smoothing of the counts: no code is a quotient of zeros.
_EPSILON = 1e-5


def check(start: str, num: int, latents: int, first_latents: int) -> None:
    """Raises for a codebook that cannot be learnt.

    Args:
      start: the option `codebook_init`, what the codes are at first.
      num: the option `codes`.
      latents: in all of the data.
      first_latents: in the first batch.
    """
    if num > latents:
        problem = f"the pictures have only {latents:,} latents together, so that codes would stay without use"
        raise OptionError("codes", num, problem, {"codes": max(1, latents // 10)})
    if start == "data" and num > first_latents:
        raise OptionError(
            "codebook_init",
            start,
            f"the first batch has {first_latents} latents, too few for {num} codes",
            {"codebook_init": "uniform"},
            {"codes": first_latents},
        )


def init(key: jax.Array, num: int, dim: int, averaged: bool = False) -> Network:
    """`num` codes from U(-1 / num, 1 / num)^dim; with moving averages of them if `averaged`."""
    embedding = jax.random.uniform(key, (num, dim), minval=-1.0 / num, maxval=1.0 / num)
    return _fresh(embedding, averaged)


def init_from(key: jax.Array, latents: jax.Array, like: Network) -> Network:
    """`like`, its codes being latents [..., D] drawn without repetition (with, where there are too few)."""
    latents = _flat(latents)
    num = like["params"]["embedding"].shape[0]
    rows = jax.random.choice(key, latents.shape[0], (num,), replace=num > latents.shape[0])
    return _fresh(latents[rows], "count" in like["codes"])


def vectors(network: Network) -> jax.Array:
    """The codes [K, D], differentiable in the embedding."""
    return network["params"]["embedding"] + network["codes"]["offset"]


def nearest(codes: jax.Array, latents: jax.Array) -> jax.Array:
    """argmin_k |z - e_k|, the first of equals: codes [K, D], latents [..., D] to int32 [...]. At full precision."""
    codes, latents = (jax.lax.stop_gradient(x.astype(jnp.float32)) for x in (codes, latents))
    products = jnp.einsum("...d,kd->...k", latents, codes, precision=jax.lax.Precision.HIGHEST)
    half_squares = 0.5 * jnp.sum(jnp.square(codes), axis=1)
    half_squares = jnp.expand_dims(half_squares, tuple(range(products.ndim - 1)))
    return jnp.argmin(half_squares - products, axis=-1).astype(jnp.int32)


def straight_through(latents: jax.Array, quantised: jax.Array) -> jax.Array:
    """`quantised`, exactly, whose gradient goes to `latents` as it is and nowhere else."""
    return jax.lax.stop_gradient(quantised) + (latents - jax.lax.stop_gradient(latents))


def advance(
    network: Network,
    latents: jax.Array,
    indices: jax.Array,
    key: jax.Array,
    decay: float = 0.99,
    revive_after: int = 0,
) -> Network:
    """The collection "codes" after a batch of training.

        N_k <- decay N_k + (1 - decay) n_k,    m_k <- decay m_k + (1 - decay) sum_{i: k_i = k} z_i,    e_k = m_k / N_k

    with N smoothed by (N_k + eps) / (sum N + K eps) sum N; only with moving averages. Then each code that has not been
    chosen for `revive_after` batches becomes one of the batch's latents, drawn at random.

    Args:
      network: the codebook.
      latents: z, float32 [..., D].
      indices: of their codes, int32 [...].
      key: for what is drawn.
      decay: of the moving averages.
      revive_after: batches; 0 revives none.
    """
    state = dict(network["codes"])
    embedding = jax.lax.stop_gradient(network["params"]["embedding"])
    latents, indices = jax.lax.stop_gradient(_flat(latents)), indices.reshape(-1)
    chosen = counts(indices, embedding.shape[0])
    for clock in ("unused", "idle"):
        state[clock] = jnp.where(chosen > 0, 0, state[clock] + 1)
    if "count" in state:
        sums = jnp.zeros_like(embedding).at[indices].add(latents)
        state["count"] = decay * state["count"] + (1 - decay) * chosen
        state["sum"] = decay * state["sum"] + (1 - decay) * sums
        state["offset"] = _averages(state["count"], state["sum"]) - embedding
    if revive_after:
        dead = state["idle"] >= revive_after
        replacement = latents[jax.random.randint(key, dead.shape, 0, latents.shape[0])]
        state["idle"] = jnp.where(dead, 0, state["idle"])
        state["offset"] = jnp.where(dead[:, None], replacement - embedding, state["offset"])
        if "count" in state:
            state["count"] = jnp.where(dead, 1.0, state["count"])
            state["sum"] = jnp.where(dead[:, None], replacement, state["sum"])
    return state


def counts(indices: jax.Array, num: int) -> jax.Array:
    """How often each of `num` codes was chosen, float32 [num]."""
    return jnp.zeros((num,), jnp.float32).at[indices.reshape(-1)].add(1.0)


def usage(codes: dict[str, jax.Array]) -> jax.Array:
    """Share of the codes chosen in one of the last `USAGE_BATCHES` batches; being set anew is not being used."""
    return jnp.mean(codes["unused"] < USAGE_BATCHES, dtype=jnp.float32)


def perplexity(chosen: jax.Array) -> jax.Array:
    """exp(-sum_k p_k log p_k) of counts [K]: as many codes, were all chosen alike, would say as much.

    >>> print(perplexity(jnp.array([2.0, 2.0, 0.0, 0.0])))
    2.0
    """
    share = chosen / jnp.sum(chosen)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(share)))


def _fresh(embedding: jax.Array, averaged: bool) -> Network:
    num = embedding.shape[:1]
    codes = {
        "offset": jnp.zeros_like(embedding),
        "unused": jnp.full(num, USAGE_BATCHES, jnp.int32),
        "idle": jnp.zeros(num, jnp.int32),
    }
    if averaged:
        codes["count"] = jnp.ones(num, embedding.dtype)
        codes["sum"] = jnp.copy(embedding)
    return {"params": {"embedding": embedding}, "codes": codes}


def _averages(count: jax.Array, total: jax.Array) -> jax.Array:
    all_of_them = jnp.sum(count)
    smoothed = (count + _EPSILON) / (all_of_them + count.shape[0] * _EPSILON) * all_of_them
    return total / smoothed[:, None]


def _flat(latents: jax.Array) -> jax.Array:
    return latents.astype(jnp.float32).reshape(-1, latents.shape[-1])
