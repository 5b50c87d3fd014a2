"""Reduction of logits to a scalar: checks, float32, masks, and the mean over entries, then over scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Logits = jax.Array | Sequence[jax.Array]
Mask = jax.Array | Sequence[jax.Array] | None
Term = Callable[[jax.Array], jax.Array]


def mean(term: Term, name: str, logits: Logits, where: Mask) -> jax.Array:
    """Mean of `term(logits)` over the entries where `where` is True, then over the scales."""
    scales = as_scales(name, logits)
    kept = masks(where, scales, name)
    return over_scales([masked_mean(x, mask, term) for x, mask in zip(scales, kept, strict=True)])


def pair_mean(
    real_term: Term, fake_term: Term, real_logits: Logits, fake_logits: Logits, where: Mask
) -> jax.Array:
    """Sum of the `mean` of both terms, after checking that the shapes are compatible."""
    real, fake = as_pair(real_logits, fake_logits)
    return mean(real_term, "real_logits", real, where) + mean(fake_term, "fake_logits", fake, where)


def over_scales(values: list[jax.Array]) -> jax.Array:
    return sum(values[1:], start=values[0]) / len(values)


def as_pair(real_logits: Logits, fake_logits: Logits) -> tuple[list[jax.Array], list[jax.Array]]:
    """Both as lists of scales; raises unless their shapes differ in the batch size only."""
    real, fake = as_scales("real_logits", real_logits), as_scales("fake_logits", fake_logits)
    if len(real) != len(fake):
        raise ValueError(
            f"real_logits have {len(real)} scales and fake_logits {len(fake)}; "
            "both must come from the same critic."
        )
    for r, f in zip(real, fake, strict=True):
        if r.shape[1:] != f.shape[1:]:
            raise ValueError(
                f"real_logits have shape {r.shape} and fake_logits {f.shape}; only the batch sizes "
                "may differ, so squeeze or reshape one to match the other."
            )
    return real, fake


def as_scales(name: str, logits: Logits) -> list[jax.Array]:
    """The logits as a list with one float32 array per scale."""
    given: list[Any] = list(logits) if isinstance(logits, list | tuple) else [logits]
    if not given:
        raise ValueError(f"{name} is an empty list; give at least one array of logits.")
    scales = [jnp.asarray(x).astype(jnp.float32) for x in given]
    for x in scales:
        if x.ndim == 0 or x.size == 0:
            raise ValueError(
                f"{name} has shape {x.shape}, which holds no batch; "
                "give logits of shape [B], [B, 1] or [B, h, w, 1] with B >= 1."
            )
    return scales


def masks(where: Mask, scales: list[jax.Array], name: str) -> list[jax.Array | None]:
    """One mask per scale, with as many axes as its logits."""
    given: list[Any] = list(where) if isinstance(where, list | tuple) else [where] * len(scales)
    if len(given) != len(scales):
        raise ValueError(
            f"where has {len(given)} masks for {len(scales)} scales of {name}; "
            "give one per scale, or a single [B] mask for all."
        )
    return [_mask(mask, x, name) for mask, x in zip(given, scales, strict=True)]


def _mask(mask: jax.Array | None, x: jax.Array, name: str) -> jax.Array | None:
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    if mask.dtype != jnp.bool_:
        raise ValueError(
            f"where has dtype {mask.dtype}; give a boolean mask (True keeps an entry), not weights."
        )
    if mask.shape == x.shape[:1]:
        return mask.reshape(mask.shape + (1,) * (x.ndim - 1))
    if mask.shape == x.shape:
        return mask
    raise ValueError(
        f"where has shape {mask.shape} and {name} {x.shape}; "
        f"give a mask of shape {x.shape[:1]}, one entry per sample, or of the logits' own shape."
    )


def masked_mean(x: jax.Array, mask: jax.Array | None, term: Term = lambda x: x) -> jax.Array:
    if mask is None:
        return jnp.mean(term(x))
    # Masked before the term too: otherwise the gradient of a masked NaN would be 0 * NaN.
    mask = jnp.broadcast_to(mask, x.shape)
    return jnp.mean(term(jnp.where(mask, x, 0.0)), where=mask)
