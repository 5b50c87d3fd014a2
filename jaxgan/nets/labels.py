"""Labels as inputs of networks: their check, rows of an embedding, and one-hot vectors.

Labels out of range give NaN: `flax.linen.Embed` returns the last rows for negative ones, and `jax.nn.one_hot` zeros for
any, so training would continue without an error, on wrong classes.
"""

from __future__ import annotations

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp


def check_labels(label: jax.Array | None, rows: int) -> None:
    """Raises unless labels are integers [rows]. Labels [B, 1] would broadcast to logits [B, B], and [1] to any B."""
    chex.assert_shape(
        _given(label),
        (rows,),
        custom_message="labels are integers [B], one for each row",
        include_default_message=False,
        exception_type=ValueError,
    )


def lookup(table: nn.Embed, label: jax.Array | None) -> jax.Array:
    """The rows of an embedding, [...] -> [..., features]; NaN for labels that are not from 0 to num - 1."""
    label = _given(label)
    return jnp.where(_known(label, table.num_embeddings)[..., None], table(label), jnp.nan)


def one_hot(label: jax.Array | None, classes: int) -> jax.Array:
    """[...] -> float32 [..., classes], 1 at the label and 0 elsewhere; NaN for labels not from 0 to classes - 1.

    >>> print(one_hot(jnp.array([1, -1]), 3))
    [[ 0.  1.  0.]
     [nan nan nan]]
    """
    label = _given(label)
    vectors = jax.nn.one_hot(label, classes, dtype=jnp.float32)
    return jnp.where(_known(label, classes)[..., None], vectors, jnp.nan)


def _known(label: jax.Array, classes: int) -> jax.Array:
    return (label >= 0) & (label < classes)


def _given(label: jax.Array | None) -> jax.Array:
    if label is None:
        raise ValueError("a conditional network needs labels, integers [B], one for each row.")
    return label
