"""Exponential moving averages of parameters, with the half-life in images.

Counted in images and not in steps, an average does not change its meaning with the batch size.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def ema_decay(
    images: float | jax.Array,
    half_life_kimg: float | jax.Array,
    seen_kimg: float | jax.Array | None = None,
    ramp_up: float | None = None,
) -> jax.Array:
    """The decay of one update after which `half_life_kimg` thousand images leave half of an old
    value.

        decay = 2^(-images / (1000 h)),    h = min(half_life_kimg, ramp_up seen_kimg)

    With a ramp-up, early averages forget faster, so that they do not drag the initialisation along;
    the very first decay is 0.

    Args:
      images: real images consumed since the last update, usually the batch size.
      half_life_kimg: in thousands of images; 0 averages nothing (decay 0).
      seen_kimg: thousands of images consumed so far. Needed with `ramp_up`, ignored without.
      ramp_up: the half-life is at most this share of `seen_kimg` (StyleGAN2-ADA's is 0.05); None
        for no ramp.

    Returns:
      The decay, a float32 scalar in [0, 1]. Every number may be traced, `ramp_up` being None or not
      is static.

    Sources: Karras et al., Progressive Growing of GANs (2018), Appendix A.1, for the average; the
      reference code of Karras et al., Training Generative Adversarial Networks with Limited Data
      (2020), for half-life and ramp-up.

    >>> print(ema_decay(500, half_life_kimg=0.5))
    0.5
    >>> print(ema_decay(500, half_life_kimg=10.0, seen_kimg=10.0, ramp_up=0.05))
    0.5
    """
    for name, value in (("half_life_kimg", half_life_kimg), ("ramp_up", ramp_up)):
        if isinstance(value, int | float) and value < 0:
            raise ValueError(f"{name} is {value}; give 0 or more.")
    half_life = jnp.asarray(half_life_kimg, jnp.float32)
    if ramp_up is not None:
        if seen_kimg is None:
            raise ValueError(
                "ramp_up needs seen_kimg, the thousands of images seen so far; give both, or leave "
                "ramp_up out."
            )
        ramp = jnp.asarray(seen_kimg, jnp.float32) * jnp.asarray(ramp_up, jnp.float32)
        half_life = jnp.minimum(half_life, ramp)
    # The floor only keeps 0 / 0 away: 1e-8 kimg is a hundred-thousandth of an image.
    half_life_images = 1000.0 * jnp.maximum(half_life, 1e-8)
    return jnp.exp2(-jnp.asarray(images, jnp.float32) / half_life_images)


def ema_update(average: Any, new: Any, decay: float | jax.Array) -> Any:
    """decay * average + (1 - decay) * new, leaf by leaf.

    Floating-point leaves are averaged in float32 and returned in the dtype of the average's leaf;
    other leaves (counters, keys) are taken from `new`. A decay of 0 gives `new` and one of 1
    `average`, exactly. Do not average spectral `u` vectors: the mean of two singular vectors is
    none.

    >>> import jax.numpy as jnp
    >>> print(ema_update({"w": jnp.array([1.0])}, {"w": jnp.array([3.0])}, 0.75)["w"])
    [1.5]
    """
    decay = jnp.asarray(decay, jnp.float32)

    def update(old: jax.Array, latest: jax.Array) -> jax.Array:
        if not jnp.issubdtype(latest.dtype, jnp.floating):
            return latest
        mixed = decay * old.astype(jnp.float32) + (1.0 - decay) * latest.astype(jnp.float32)
        return mixed.astype(old.dtype)

    return jax.tree.map(update, average, new)
