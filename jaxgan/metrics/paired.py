"""PSNR, SSIM, L1 and LPIPS of pairs of pictures, such as a real picture and its transform.

Each measure takes two batches of uint8 pictures [B, H, W, C] of one shape and returns one number per pair. The scores
of protocols (`jaxgan.metrics.scores`) are the means over pairs.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import weights
from jaxgan.metrics.ms_ssim import ssim
from jaxgan.nets.features import lpips


def psnr(one, other) -> jax.Array:
    """Computes the peak signal-to-noise ratio of each pair in decibels, 10 log10(255² / MSE).

    Args:
      one, other: uint8 [B, H, W, C].

    Returns:
      float32 [B], infinite for equal pictures. The mean squared error is taken over each picture separately.

    >>> x = jnp.zeros((2, 4, 4, 1), jnp.uint8)
    >>> [round(float(ratio), 2) for ratio in psnr(x, x.at[0].set(255).at[1].set(1))]
    [0.0, 48.13]
    """
    one, other = _bytes(one, other)
    error = jnp.square(one - other).mean((1, 2, 3))
    return 20 * jnp.log10(jnp.float32(255)) - 10 * jnp.log10(error)


def finite_psnr(one, other) -> jax.Array:
    """As `psnr`, but at most the ratio for an error of 1 in one byte, so that means over pairs are finite."""
    bytes_of_each = jnp.float32(one.shape[1] * one.shape[2] * one.shape[3])
    most = 20 * jnp.log10(jnp.float32(255)) + 10 * jnp.log10(bytes_of_each)
    return jnp.minimum(psnr(one, other), most)


def l1(one, other) -> jax.Array:
    """Computes the mean absolute difference of each pair, divided by 255: float32 [B], from 0 to 1.

    >>> x = jnp.zeros((1, 2, 2, 1), jnp.uint8)
    >>> print(l1(x, x.at[0, 0].set(255)))
    [0.5]
    """
    one, other = _bytes(one, other)
    return jnp.abs(one - other).mean((1, 2, 3)) / 255


def _bytes(one, other):
    if one.shape != other.shape or len(one.shape) != 4 or not one.dtype == other.dtype == jnp.uint8:
        raise ValueError(
            f"pairs are two batches of uint8 pictures [B, H, W, C] of one shape, not {one.dtype} {list(one.shape)} and"
            f" {other.dtype} {list(other.shape)}"
        )
    return one.astype(jnp.float32), other.astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Measure:
    """A measure of pairs of pictures.

    Attributes:
      of: (variables, one, other) uint8 [B, H, W, C] -> float32 [B].
      load: () -> variables, for a measure with a network; downloads published weights once.
    """

    of: Callable[[Any, jax.Array, jax.Array], jax.Array]
    load: Callable[[], Any] = tuple


def _lpips(backbone: str) -> Measure:
    def of(variables, one, other):
        one, other = (x / jnp.float32(127.5) - 1 for x in _bytes(one, other))
        if one.shape[-1] == 1:
            one, other = (jnp.repeat(x, 3, axis=-1) for x in (one, other))
        return lpips.lpips(variables, one, other, backbone)

    def load():
        tensors, heads = (weights.load(name)[0] for name in lpips.FILES[backbone])
        return lpips.convert(tensors, heads, backbone)

    return Measure(of, load)


# SSIM shrinks its windows to small pictures, as it is undefined for 8 x 8 digits otherwise.
MEASURES: Mapping[str, Measure] = {
    "psnr": Measure(lambda _, one, other: finite_psnr(one, other)),
    "ssim": Measure(lambda _, one, other: ssim(one, other, shrink_window=True)),
    "l1": Measure(lambda _, one, other: l1(one, other)),
    **{f"lpips_{backbone}": _lpips(backbone) for backbone in ("alex", "vgg")},
}


@functools.cache
def load(name: str) -> Any:
    """Returns the variables of a measure, loaded once per process."""
    return MEASURES[name].load()
