"""Checks of the arguments of augmentations, and broadcasting of one number per image."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Collection

import jax
import jax.numpy as jnp


def images_of(images: jax.Array, name: str) -> jax.Array:
    """The images as an array, if they are floating point and [B, H, W, C]."""
    images = jnp.asarray(images)
    if images.ndim != 4 or images.size == 0:
        raise ValueError(
            f"{name} takes images [B, H, W, C], none of them 0; got an array of shape {images.shape}."
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"{name} takes floating-point images in [-1, 1], but they have dtype {images.dtype}; "
            "convert to floating point first, x / 127.5 - 1 for bytes."
        )
    return images


def colors_of(images: jax.Array, name: str) -> jax.Array:
    """Like `images_of`; also raises unless the images are grey or RGB."""
    images = images_of(images, name)
    if images.shape[3] not in (1, 3):
        raise ValueError(
            f"{name} takes grey (1 channel) or RGB images (3); got {images.shape[3]} channels. "
            "Leave the colour augmentation out, or give it the colour channels alone."
        )
    return images


def widened(images: jax.Array) -> jax.Array:
    """The images in the computation dtype: float32, or wider if the images are."""
    return images if images.dtype.itemsize > 4 else images.astype(jnp.float32)


def per_sample(value: jax.Array, images: jax.Array, name: str, shape: tuple = ()) -> jax.Array:
    """The value as an array [B, *shape]; a scalar, or an array of `shape`, is used for all images."""
    value = jnp.asarray(value)
    batch = images.shape[0]
    if value.shape == shape:
        return jnp.broadcast_to(value[None], (batch, *shape))
    if value.shape != (batch, *shape):
        raise ValueError(
            f"{name} has shape {value.shape}; give {(batch, *shape)}, one for each image, "
            f"or {shape} for all."
        )
    return value


def over_pixels(value: jax.Array) -> jax.Array:
    """[B] -> [B, 1, 1, 1]."""
    return value[:, None, None, None]


def known(name: str, names: Collection[str], what: str) -> str:
    """The name, if it is one of `names`."""
    if name not in names:
        close = difflib.get_close_matches(str(name), names, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(names)}."
        raise ValueError(f"there is no {what} named '{name}'; {hint}")
    return name


def probability(p, name: str) -> None:
    """Raises for a number outside [0, 1]; traced values are not checked."""
    if isinstance(p, numbers.Real) and not 0 <= float(p) <= 1:
        raise ValueError(f"{name} is {p}, but a probability lies between 0 and 1.")
