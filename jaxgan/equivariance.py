"""How far a generator's pictures are from moving with its input: the errors from which EQ-T and EQ-R are computed.

An output of a game gives rows [squared error, number of values], each the sum over the pixels at which a picture of a
moved input can be compared with the moved picture; `jaxgan.metrics.scores` turns their totals into decibels.

    eq_t        translations by whole pixels, uniform up to an eighth of the side along each axis
    eq_t_frac   translations by any distance, likewise; the picture is moved by a Lanczos filter
    eq_r        rotations by any angle; both pictures are limited to the same disc of frequencies

Source: Karras et al., Alias-Free Generative Adversarial Networks (2021), Section 2 and Appendix E. Its EQ-R limits
pictures to the intersection of two squares of frequencies, a part of which is outside of the disc.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgan import draws, resample
from jaxgan.nets.stylegan3 import rotation, translation

KINDS = ("eq_t", "eq_t_frac", "eq_r")
SHAPE = (2,)
FARTHEST = 0.125  # of the side


def errors(
    paint: Callable[[jax.Array], jax.Array], key: jax.Array, num: int, kind: str
) -> jax.Array:
    """Rows [squared error, number of values], float32 [num, 2].

    Args:
      paint: transform [num, 2, 3] -> pictures [num, H, W, C], whose content moves, see `nets.stylegan3.FourierInput`.
      key: for the motions.
      num: number of pictures.
      kind: one of `KINDS`.
    """
    still = paint(translation(jnp.zeros((num, 2), jnp.float32)))
    side = still.shape[1]
    if kind == "eq_r":
        angle = draws.uniform(key, (num,), 0.0, 2 * jnp.pi)
        expected, known = resample.turn(still, angle)
        found, inside = resample.turn(paint(rotation(angle)), jnp.zeros_like(angle))
        mask = known & inside
    else:
        by = draws.uniform(key, (num, 2), -FARTHEST, FARTHEST) * side
        by = jnp.round(by) if kind == "eq_t" else by
        expected, mask = resample.shift(still, by)
        found = paint(translation(by / side))
    mask = jnp.broadcast_to(mask, still.shape)
    error = jnp.where(mask, jnp.square(found - expected), 0.0)
    totals = [jnp.sum(x, axis=(1, 2, 3), dtype=jnp.float32) for x in (error, mask)]
    return jnp.stack(totals, axis=1)
