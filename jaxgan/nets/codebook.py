"""A codebook: K vectors, the nearest of which replaces each latent; learned by gradients or by moving averages.

The parameter is "embedding" [K, D]. The collection "codes" holds the state that gradients do not change:

    offset  [K, D]  if learned by gradients: code = embedding + offset
    count   [K]     if moving averages: number of latents that chose the code
    sum     [K, D]  if moving averages: sum of the latents that chose the code; code = sum / count, smoothed
    unused  [K]     batches since the code was last chosen
    idle    [K]     batches since the code was last chosen or replaced

The offset lets `advance` replace a code without changing the embedding, so that Adam's averages stay valid. (An unused
code has no gradient, so gradients cannot replace it.)

Sources: van den Oord et al., Neural Discrete Representation Learning (2017), Eq. 1 to 3 and Appendix A.1 (moving
averages, where N and m are `count` and `sum`); Esser et al., Taming Transformers (2021), Eq. 2 to 4.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.network import Network
from jaxgan.options import OptionError

# A code is in use if it was chosen in one of the last `USAGE_BATCHES` batches.
USAGE_BATCHES = 100

# Laplace smoothing of the counts, which prevents 0 / 0.
_EPSILON = 1e-5


class Codebook(nn.Module):
    """Latents [..., D] to (indices of the nearest codes int32 [...], those codes float32 [..., D]).

    Codes start in U(-1 / K, 1 / K)^D.

    Attributes:
      num: K.
      dim: D.
      averaged: codes are moving averages of latents, see `advance`; otherwise they are learned by gradients.
    """

    num: int
    dim: int
    averaged: bool = False

    def setup(self):
        limit, shape = 1.0 / self.num, (self.num, self.dim)
        uniform = partial(
            jax.random.uniform, shape=shape, dtype=jnp.float32, minval=-limit, maxval=limit
        )
        self.embedding = self.param("embedding", uniform)
        for name, value in _fresh(self.embedding, self.averaged).items():
            self.variable("codes", name, lambda value=value: value)

    def vectors(self) -> jax.Array:
        """The codes [K, D], differentiable in the embedding unless they are averages."""
        if self.averaged:
            return _averages(*(self.get_variable("codes", name) for name in ("count", "sum")))
        return self.embedding + self.get_variable("codes", "offset")

    def lookup(self, indices: jax.Array) -> jax.Array:
        """The codes [..., D] of indices [...]; NaN for indices that are not from 0 to K - 1."""
        known = (indices >= 0) & (indices < self.num)
        return jnp.where(known[..., None], self.vectors()[indices], jnp.nan)

    def __call__(self, latents: jax.Array) -> tuple[jax.Array, jax.Array]:
        vectors = self.vectors()
        indices = nearest(vectors, latents)
        return indices, vectors[indices]


def check(start: str, num: int, latents: int, first_latents: int) -> None:
    """Raises `OptionError` for a codebook that cannot be learnt.

    Args:
      start: the option `codebook_init`.
      num: the option `codes`.
      latents: number of latents of the whole data set.
      first_latents: number of latents of the first batch.
    """
    if num > latents:
        problem = f"all pictures together have only {latents:,} latents, so some codes would never be used"
        raise OptionError("codes", num, problem, {"codes": max(1, latents // 10)})
    if start == "data" and num > first_latents:
        raise OptionError(
            "codebook_init",
            start,
            f"the first batch has {first_latents} latents, too few for {num} codes",
            {"codebook_init": "uniform"},
            {"codes": first_latents},
        )


def init_from(key: jax.Array, latents: jax.Array, like: Network) -> Network:
    """`like` with codes drawn from latents [..., D], without replacement if there are at least K of them."""
    latents, num = _flat(latents), like.module.num
    rows = jax.random.choice(key, latents.shape[0], (num,), replace=num > latents.shape[0])
    embedding = latents[rows]
    codes = _fresh(embedding, like.module.averaged)
    return like.replace(params={"embedding": embedding}, codes=codes)


def nearest(codes: jax.Array, latents: jax.Array) -> jax.Array:
    """argmin_k |z - e_k|, the first if several are equal: codes [K, D], latents [..., D] -> int32 [...], in float32."""
    codes, latents = (jax.lax.stop_gradient(x.astype(jnp.float32)) for x in (codes, latents))
    products = jnp.einsum("...d,kd->...k", latents, codes, precision=jax.lax.Precision.HIGHEST)
    half_squares = 0.5 * jnp.sum(jnp.square(codes), axis=1)
    half_squares = jnp.expand_dims(half_squares, tuple(range(products.ndim - 1)))
    return jnp.argmin(half_squares - products, axis=-1).astype(jnp.int32)


def straight_through(latents: jax.Array, quantised: jax.Array) -> jax.Array:
    """Returns `quantised`; the gradient passes unchanged to `latents` only (straight-through estimator)."""
    return jax.lax.stop_gradient(quantised) + (latents - jax.lax.stop_gradient(latents))


def advance(
    network: Network,
    latents: jax.Array,
    indices: jax.Array,
    key: jax.Array,
    decay: float = 0.99,
    revive_after: int = 0,
    micro_batches: int = 1,
) -> dict[str, jax.Array]:
    """The collection "codes" after a batch of training.

        N_k <- decay N_k + (1 - decay) n_k,    m_k <- decay m_k + (1 - decay) sum_{i: k_i = k} z_i,    e_k = m_k / N_k

    with N smoothed by (N_k + eps) / (sum N + K eps) sum N. These updates apply to moving averages only. A code that was
    not chosen in the previous `revive_after` batches is replaced by a random latent of this batch.

    The choices of this batch do not affect which codes are replaced. With gradient accumulation, each micro-batch calls
    this function with the same network, so all of them replace the same codes. The engine then averages the results
    (integers: takes the minimum). The averaged `count` and `sum` are those of the whole batch, and a replaced code is
    the mean of one latent per micro-batch.

    Args:
      network: a network whose module is a `Codebook`.
      latents: z, float32 [..., D].
      indices: the index of each latent's code, int32 [...].
      key: random key for the replacements.
      decay: decay of the moving averages.
      revive_after: number of batches; 0 never replaces a code.
      micro_batches: number of micro-batches that make up the batch.
    """
    state, num = dict(network["codes"]), network.module.num
    latents, indices = jax.lax.stop_gradient(_flat(latents)), indices.reshape(-1)
    dead, chosen = state["idle"] >= revive_after, counts(indices, num)
    for since in ("unused", "idle"):
        state[since] = jnp.where(chosen > 0, 0, state[since] + 1)
    if network.module.averaged:
        sums = jnp.zeros_like(state["sum"]).at[indices].add(latents)
        for name, seen in (("count", chosen), ("sum", sums)):
            state[name] = decay * state[name] + (1 - decay) * micro_batches * seen
    if revive_after:
        replacement = latents[jax.random.randint(key, (num,), 0, latents.shape[0])]
        embedding = jax.lax.stop_gradient(network.params["embedding"])
        new = {"idle": 0, "count": 1.0, "sum": replacement, "offset": replacement - embedding}
        for name, value in new.items():
            if name in state:
                where = dead[:, None] if state[name].ndim == 2 else dead
                state[name] = jnp.where(where, value, state[name])
    return state


def counts(indices: jax.Array, num: int) -> jax.Array:
    """How often each of `num` codes was chosen, float32 [num]."""
    return jnp.zeros((num,), jnp.float32).at[indices.reshape(-1)].add(1.0)


def usage(codes: dict[str, jax.Array]) -> jax.Array:
    """Share of the codes that were chosen in the last `USAGE_BATCHES` batches; a replacement does not count."""
    return jnp.mean(codes["unused"] < USAGE_BATCHES, dtype=jnp.float32)


def perplexity(chosen: jax.Array) -> jax.Array:
    """exp(-sum_k p_k log p_k) of counts [K]: the number of equally frequent codes with the same entropy.

    >>> print(perplexity(jnp.array([2.0, 2.0, 0.0, 0.0])))
    2.0
    """
    share = chosen / jnp.sum(chosen)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(share)))


def _fresh(embedding: jax.Array, averaged: bool) -> dict[str, jax.Array]:
    """The collection "codes" at the start, when the codes are the embedding."""
    num = embedding.shape[:1]
    codes = {
        "unused": jnp.full(num, USAGE_BATCHES, jnp.int32),
        "idle": jnp.zeros(num, jnp.int32),
    }
    if averaged:
        return {**codes, "count": jnp.ones(num, jnp.float32), "sum": jnp.copy(embedding)}
    return {**codes, "offset": jnp.zeros_like(embedding)}


def _averages(count: jax.Array, total: jax.Array) -> jax.Array:
    all_of_them = jnp.sum(count)
    smoothed = (count + _EPSILON) / (all_of_them + count.shape[0] * _EPSILON) * all_of_them
    return total / smoothed[:, None]


def _flat(latents: jax.Array) -> jax.Array:
    return latents.astype(jnp.float32).reshape(-1, latents.shape[-1])
