"""Perceptual path length (PPL): the rate at which pictures change along a path between two latents.

Karras et al., "A style-based generator architecture for generative adversarial networks", 2019, Section 4.1, Eq. 2
and 3. The number is called PPL only with LPIPS (VGG-16) as distance. The papers crop faces first; do so in
`synthesis`.

Pictures of 512 pixels or more are first reduced to 256 to 511 pixels by block means, as in the authors' code. That code
interpolates z on the sphere of radius 1. This module uses radius sqrt(latent_dim), near which normal latents
lie: this is equivalent for a mapping that normalises z, and correct for a generator that does not.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.metrics._check import at_least, finite

_SIDE = 256  # VGG was trained on pictures of about this size


class PathLength(NamedTuple):
    """mean, deviation: of the lengths within `trim`; lengths: of all paths, float64 [num_samples]."""

    mean: float
    deviation: float
    lengths: np.ndarray


def perceptual_path_length(
    synthesis: Callable[..., jax.Array],
    distance: Callable[[jax.Array, jax.Array], jax.Array],
    latent_dim: int,
    key: jax.Array,
    *,
    mapping: Callable[..., jax.Array] | None = None,
    space: str = "w",
    sampling: str = "full",
    labels: Callable[[jax.Array, int], jax.Array] | None = None,
    num_samples: int = 100_000,
    batch_size: int = 16,
    epsilon: float = 1e-4,
    trim: tuple[float, float] | None = (1, 99),
) -> PathLength:
    """Computes the mean of distance(picture at t, picture at t + epsilon) / epsilon² over random paths.

        w: synthesis(lerp(mapping(z0), mapping(z1), t))
        z: synthesis(mapping(slerp(z0, z1, t))),    z0, z1 normal

    Args:
      synthesis: latents [B, ...] -> pictures [B, H, W, C], in the format that `distance` takes. It must be smooth and
        deterministic: fixed noise, no dropout, frozen statistics of batch normalisation, no quantisation.
      distance: (one, other) [B, H, W, C] -> [B], quadratic in small differences, as LPIPS is.
      latent_dim: size of z.
      key: PRNG key for latents, positions t and labels.
      mapping: z [B, latent_dim] -> w [B, ...]; None for a generator without one (space "z").
      space: "w" or "z", the space of the interpolation.
      sampling: "full", t uniform on [0, 1], or "end", t = 0.
      labels: (key, B) -> labels [B, ...], the second argument of `synthesis` and of `mapping` if there is one.
      num_samples: number of paths.
      batch_size: number of paths per call of one compiled program.
      epsilon: the step in t.
      trim: the percentiles of the lengths outside which lengths are left out; None keeps all.

    >>> sides = jnp.array([[1.0, 0.0], [0.0, 2.0]])  # linear: the length is |sides (w1 - w0)|², 2 |sides|² on average
    >>> squares = lambda a, b: jnp.square(a - b).sum((1, 2, 3))
    >>> found = perceptual_path_length(
    ...     lambda w: (w @ sides)[:, None, None], squares, 2, jax.random.key(0), mapping=lambda z: z,
    ...     num_samples=4096, batch_size=1024, epsilon=1e-2, trim=None)
    >>> 9 < found.mean < 11
    True
    """
    _check_arguments(mapping, space, sampling, latent_dim, num_samples, batch_size, epsilon, trim)
    every = range(-(-num_samples // batch_size))

    @jax.jit
    def lengths_of(key):
        keys = jax.random.split(key, 3)
        z = jax.random.normal(keys[0], (2, batch_size, latent_dim), jnp.float32)
        extra = () if labels is None else (labels(keys[1], batch_size),)
        t = float(sampling == "full") * jax.random.uniform(keys[2], (batch_size,), jnp.float32)
        ends = _ends(z[0], z[1], t, epsilon, mapping, extra, space)
        # Two calls, not one with twice the batch, so that noise drawn in `synthesis` is the same at both ends.
        return distance(*(_reduced(synthesis(w, *extra)) for w in ends)) / epsilon**2

    batches = [np.asarray(lengths_of(jax.random.fold_in(key, i)), np.float64) for i in every]
    lengths = np.concatenate(batches)[:num_samples]
    finite("path lengths", lengths)
    return trimmed(lengths, trim)


def _check_arguments(
    mapping, space, sampling, latent_dim, num_samples, batch_size, epsilon, trim
) -> None:
    if space not in ("w", "z"):
        raise ValueError(f"space is {space!r}; it must be 'w' or 'z'")
    if sampling not in ("full", "end"):
        raise ValueError(f"sampling is {sampling!r}; it must be 'full' or 'end'")
    if space == "w" and mapping is None:
        raise ValueError("space 'w' needs a mapping; use space='z' for a generator without one")
    if trim is not None and not 0 <= trim[0] < trim[1] <= 100:
        raise ValueError(f"trim = {trim} must be two percentiles, the lower first")
    if not epsilon > 0:
        raise ValueError(f"epsilon = {epsilon} must be positive")
    at_least("latent_dim", latent_dim, 1)
    at_least("num_samples", num_samples, 1)
    at_least("batch_size", batch_size, 1)


def _ends(z0, z1, t, epsilon: float, mapping, extra: tuple, space: str) -> list[jax.Array]:
    """The latents w at t and at t + epsilon on the paths from z0 to z1; `extra` contains the mapping's labels."""
    w_of = (lambda z: z) if mapping is None else (lambda z: mapping(z, *extra))
    steps = (0.0, epsilon)
    if space == "w":
        w0, w1 = w_of(z0), w_of(z1)
        return [_lerp(w0, w1, t, step) for step in steps]
    return [w_of(_slerp(z0, z1, t, step)) for step in steps]


def trimmed(lengths: np.ndarray, trim: tuple[float, float] | None = (1, 99)) -> PathLength:
    """Mean and standard deviation of the lengths between the two percentiles, inclusive."""
    kept = lengths
    if trim is not None:
        low = np.percentile(lengths, trim[0], method="lower")
        high = np.percentile(lengths, trim[1], method="higher")
        kept = lengths[(low <= lengths) & (lengths <= high)]
    return PathLength(float(kept.mean()), float(kept.std()), lengths)


def _lerp(a, b, t, step: float):
    """a + (t + step) (b - a); the step is added last, to avoid rounding t + step in float32."""
    t = t.reshape(-1, *(1,) * (a.ndim - 1))
    return a + t * (b - a) + step * (b - a)


def _slerp(a, b, t, step: float):
    """The point at t + step on the great circle from a's direction to b's, at length sqrt(D)."""
    a, b = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    cosine = jnp.sum(a * b, axis=1, keepdims=True)
    side = b - cosine * a
    side /= jnp.linalg.norm(side, axis=1, keepdims=True)
    angle = (t[:, None] + step) * jnp.arccos(jnp.clip(cosine, -1, 1))
    return (a * jnp.cos(angle) + side * jnp.sin(angle)) * a.shape[1] ** 0.5


def _reduced(images):
    b, h, w, c = images.shape
    factor = h // _SIDE
    if factor < 2:
        return images
    if h % factor or w % factor:
        raise ValueError(
            f"pictures {h} x {w} cannot be reduced to about {_SIDE} by blocks of {factor}; resize in synthesis"
        )
    return images.reshape(b, h // factor, factor, w // factor, factor, c).mean((2, 4))
