"""Labels as inputs of networks: rows of an embedding, and one-hot vectors. Labels out of range give NaN.

`flax.linen.Embed` returns the last rows for negative labels, and `jax.nn.one_hot` returns zeros for any label out of
range. Training would continue without an error, on wrong classes.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


def lookup(table: nn.Embed, label: jax.Array | None) -> jax.Array:
    """The rows of an embedding, [...] -> [..., features]; NaN for labels that are not from 0 to num - 1."""
    label = _given(label, table.num_embeddings)
    return jnp.where(_known(label, table.num_embeddings)[..., None], table(label), jnp.nan)


def one_hot(label: jax.Array | None, classes: int) -> jax.Array:
    """[...] -> float32 [..., classes], 1 at the label and 0 elsewhere; NaN for labels not from 0 to classes - 1.

    >>> print(one_hot(jnp.array([1, -1]), 3))
    [[ 0.  1.  0.]
     [nan nan nan]]
    """
    label = _given(label, classes)
    vectors = jax.nn.one_hot(label, classes, dtype=jnp.float32)
    return jnp.where(_known(label, classes)[..., None], vectors, jnp.nan)


def _known(label: jax.Array, classes: int) -> jax.Array:
    return (label >= 0) & (label < classes)


def _given(label: jax.Array | None, classes: int) -> jax.Array:
    if label is None:
        raise ValueError(
            f"label is None, but the network is conditional on {classes} classes; give labels, int32 [B]."
        )
    return label
