"""A causal transformer over codes (the architecture of GPT-2) and sampling from it.

    Transformer            tokens to logits of the next code: all at once, or one by one with a cache of keys and values
    filter_logits          temperature, top-k, top-p
    sample                 whole sequences, one token at a time with the cache
    sample_sliding         grids larger than the transformer's context, by a sliding window

A sequence is one prefix token (a class, or the start token) and then the codes of a picture row by row. Tokens 0 to
K - 1 are the codes; the tokens after them are the prefixes, which are never predicted.

Sources: Radford et al., Language Models are Unsupervised Multitask Learners (2019), Section 2.3; Esser et al., Taming
Transformers (2021), Section 3.2.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.init import normal_002
from jaxgan.nets.labels import lookup
from jaxgan.network import Network
from jaxgan.options import Option

# The options of `filter_logits`. The defaults draw from all codes with their probabilities.
SAMPLING = {
    "temperature": Option(
        1.0, "divisor of the logits; below 1 favours the most probable codes", above=0
    ),
    "top_k": Option(0, "number of most probable codes to draw from; 0 for all", least=0),
    "top_p": Option(
        1.0,
        "draw from the most probable codes, with this total probability; 1 for all",
        above=0,
        most=1,
    ),
}

Cache = tuple[
    tuple[jax.Array, jax.Array], ...
]  # keys and values [B, length, heads, D] of each layer


class Transformer(nn.Module):
    """Tokens [B, T] to float32 logits [B, T, codes] of the next code: output t depends on tokens 0 to t only.

    A token that does not exist gives NaN.

    Attributes:
      codes: number of codes, K.
      prefixes: number of prefix tokens.
      context: the longest sequence T.
      layers, heads, width: number of blocks, number of their heads, and number of their features.
      dropout: dropout rate of embeddings, attention weights and residual branches.
    """

    codes: int
    prefixes: int = 1
    context: int = 256
    layers: int = 24
    heads: int = 16
    width: int = 1024
    dropout: float = 0.0
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        train: bool = False,
        cache: Cache | None = None,
        position: jax.Array | int = 0,
    ):
        """Returns the logits; if a cache is given, (logits, the cache extended by these tokens).

        `position` is the position of the first token. `train` enables dropout, which uses the rng stream "dropout".
        """
        if tokens.shape[1] > self.context:
            raise ValueError(
                f"a sequence of {tokens.shape[1]} tokens is longer than the transformer's context of {self.context}."
            )
        embed = nn.Embed(
            self.codes + self.prefixes, self.width, embedding_init=normal_002, name="tokens"
        )
        places = self.param(
            "positions", nn.initializers.zeros, (self.context, self.width), jnp.float32
        )
        place = jax.lax.dynamic_slice_in_dim(places, position, tokens.shape[1])
        x = (lookup(embed, tokens) + place[None]).astype(self.dtype or jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        new = []
        for i in range(self.layers):
            block = Block(self.heads, self.dropout, self.dtype, name=f"block{i}")
            x, kept = block(x, train, None if cache is None else cache[i], position)
            new.append(kept)
        x = _norm(x, "norm", self.dtype)
        logits = _dense(self.codes, "head", self.dtype, bias=False)(x).astype(jnp.float32)
        return logits if cache is None else (logits, tuple(new))

    def start(self, prefix: jax.Array) -> jax.Array:
        """The tokens of prefixes; -1, which does not exist, for those that are not from 0 to `prefixes` - 1."""
        known = (prefix >= 0) & (prefix < self.prefixes)
        return jnp.where(known, self.codes + prefix, -1)

    def empty_cache(self, batch: int, length: int) -> Cache:
        """A cache for `batch` sequences of at most `length` tokens."""
        shape = (batch, length, self.heads, self.width // self.heads)
        zeros = jnp.zeros(shape, self.dtype or jnp.float32)
        return tuple((zeros, zeros) for _ in range(self.layers))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) with four times the width and GELU."""

    heads: int
    dropout: float
    dtype: jax.typing.DTypeLike | None

    @nn.compact
    def __call__(self, x, train, cache, position):
        width = x.shape[-1]
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        attention = CausalAttention(self.heads, self.dropout, self.dtype, name="attention")
        y, cache = attention(_norm(x, "norm0", self.dtype), train, cache, position)
        x = x + dropout(y)
        y = _dense(4 * width, "hidden", self.dtype)(_norm(x, "norm1", self.dtype))
        y = _dense(width, "output", self.dtype)(nn.gelu(y, approximate=False))
        return x + dropout(y), cache


class CausalAttention(nn.Module):
    """Causal self-attention of [B, T, width]; with a cache, also to the `position` tokens before it."""

    heads: int
    dropout: float
    dtype: jax.typing.DTypeLike | None

    @nn.compact
    def __call__(self, x, train, cache, position):
        b, t, width = x.shape
        query, key, value = (
            _dense(width, name, self.dtype)(x).reshape(b, t, self.heads, width // self.heads)
            for name in ("query", "key", "value")
        )
        if cache is not None:
            key, value = (
                jax.lax.dynamic_update_slice_in_dim(old, new, position, axis=1)
                for old, new in zip(cache, (key, value), strict=True)
            )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
        scores = scores * (width // self.heads) ** -0.5
        visible = (
            jnp.arange(key.shape[1])[None]
            <= (position if cache is not None else 0) + jnp.arange(t)[:, None]
        )
        weights = jax.nn.softmax(jnp.where(visible[None, None], scores, -jnp.inf)).astype(
            value.dtype
        )
        weights = nn.Dropout(self.dropout, deterministic=not train)(weights)
        x = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(b, t, width)
        return _dense(width, "project", self.dtype)(x), (key, value)


def filter_logits(
    logits: jax.Array, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> jax.Array:
    """Logits [..., K] / temperature, with -inf outside the `top_k` largest and, among these, the nucleus of `top_p`.

    The nucleus is the smallest set of most probable codes whose probabilities sum to `top_p` or more. Codes with the
    same probability as the last code of either set are kept too.

    Args:
      logits: float32 [..., K].
      temperature: above 0; may be traced.
      top_k: number of codes; 0 for all.
      top_p: probability in (0, 1], 1 for all codes; may be traced.

    Values are not checked here; `SAMPLING` has their ranges.

    Sources: Fan et al., Hierarchical Neural Story Generation (2018) (top-k); Holtzman et al., The Curious
      Case of Neural Text Degeneration (2020), Section 3.1 (nucleus).

    >>> filter_logits(jnp.log(jnp.array([0.5, 0.3, 0.2])), top_p=0.6).tolist()[2]
    -inf
    """
    logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        smallest = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < smallest, -jnp.inf, logits)
    # A branch at run time, because `top_p` may be traced: at 1 nothing has to be sorted.
    return jax.lax.cond(top_p < 1, _nucleus, lambda logits, top_p: logits, logits, top_p)


def _nucleus(logits: jax.Array, top_p: jax.Array) -> jax.Array:
    ordered = jnp.sort(logits, axis=-1, descending=True)
    share = jax.nn.softmax(ordered)
    before = jnp.cumsum(share, axis=-1) - share  # total probability of the more probable codes
    smallest = jnp.min(jnp.where(before < top_p, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < smallest, -jnp.inf, logits)


def sample(
    network: Network,
    prefix: jax.Array,
    length: int,
    key: jax.Array,
    given: jax.Array | None = None,
    **options,
) -> jax.Array:
    """Codes int32 [B, length] that follow the prefix tokens [B], drawn one at a time with the cache.

    The codes are -1 if the logits are NaN, as they are for a prefix out of range; the codebook looks -1 up as NaN.

    Args:
      network: a network whose module is a `Transformer`.
      prefix: int32 [B], from 0 to the module's `prefixes` - 1.
      length: number of codes, at most the context.
      key: random key; code t is drawn with fold_in(key, t).
      given: int32 [B, n], the first n codes, which are not drawn; None for none.
      **options: arguments of `filter_logits`.
    """
    known = 0 if given is None else given.shape[1]
    given = jnp.zeros((prefix.shape[0], 0), jnp.int32) if given is None else given
    given = jnp.pad(given, ((0, 0), (0, length - known)))

    def step(carry, t):
        token, cache = carry
        logits, cache = network(token[:, None], cache=cache, position=t)
        logits = filter_logits(logits[:, 0], **options)
        drawn = _draw(jax.random.fold_in(key, t), logits)
        token = jnp.where(t < known, given[:, t], drawn)
        return (token, cache), token

    cache = network.module.empty_cache(prefix.shape[0], length)
    start = network.module.start(prefix)
    _, codes = jax.lax.scan(step, (start, cache), jnp.arange(length))
    return codes.T


def sample_sliding(
    network: Network,
    prefix: jax.Array,
    grid: tuple[int, int],
    window: tuple[int, int],
    key: jax.Array,
    **options,
) -> jax.Array:
    """Codes int32 [B, *grid] for a grid of any size; each is drawn given the codes before it in a sliding window.

    The window has the size of the grids that the transformer was trained on. It is centred on the code to draw, except
    at the borders of the grid. The codes above the drawn code and to its left are known, so the codes before it in the
    window are complete, as in training. Keys and values are not cached, because the positions of the codes in the
    window change with every step.

    Source: Esser et al., Taming Transformers (2021), Section 3.2, "sliding attention window".
    """
    (rows, columns), (high, wide) = grid, window
    if rows < high or columns < wide:
        raise ValueError(
            f"a grid of {rows}x{columns} codes is smaller than the window of {high}x{wide}."
        )

    def step(n, codes):
        i, j = n // columns, n % columns
        top = jnp.clip(i - high // 2, 0, rows - high)
        left = jnp.clip(j - wide // 2, 0, columns - wide)
        window = jax.lax.dynamic_slice(codes, (0, top, left), (codes.shape[0], high, wide))
        given = window.reshape(-1, high * wide)[:, :-1]
        logits = network(jnp.concatenate([start, given], axis=1))
        place = (i - top) * wide + j - left
        logits = jax.lax.dynamic_index_in_dim(logits, place, axis=1, keepdims=False)
        drawn = _draw(jax.random.fold_in(key, n), filter_logits(logits, **options))
        return codes.at[:, i, j].set(drawn)

    start = network.module.start(prefix)[:, None]
    codes = jnp.zeros((prefix.shape[0], rows, columns), jnp.int32)
    return jax.lax.fori_loop(0, rows * columns, step, codes)


def _draw(key: jax.Array, logits: jax.Array) -> jax.Array:
    """Codes int32 [B] drawn from logits [B, K]; -1 if the logits are NaN, which `categorical` would take for code 0."""
    drawn = jax.random.categorical(key, logits).astype(jnp.int32)
    return jnp.where(jnp.isnan(logits).any(axis=-1), -1, drawn)


def _norm(x: jax.Array, name: str, dtype: jax.typing.DTypeLike | None) -> jax.Array:
    # Flax promotes bfloat16 to float32 for the statistics, which strict dtype promotion does not allow.
    with jax.numpy_dtype_promotion("standard"):
        return nn.LayerNorm(epsilon=1e-5, dtype=dtype, name=name)(x)


def _dense(
    features: int, name: str, dtype: jax.typing.DTypeLike | None, bias: bool = True
) -> nn.Dense:
    return nn.Dense(features, use_bias=bias, kernel_init=normal_002, dtype=dtype, name=name)
