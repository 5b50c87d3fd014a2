"""DiffAugment: simple augmentations that are applied to all inputs of the critic."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgan.augment import _check, pixels

POLICIES = ("color", "translation", "cutout")


def diff_augment(
    images: jax.Array, key: jax.Array, policy: str = "color,translation,cutout"
) -> jax.Array:
    """DiffAugment: differentiable augmentation of real and generated images.

    It applies the parts of the policy in order, with separate random numbers for each image:

    - "color": brightness, x + b with b ~ U[-1/2, 1/2]; saturation, each pixel's distance from the
      mean of its channels times U[0, 2]; contrast, each value's distance from the image's mean
      times U[1/2, 3/2];
    - "translation": a shift by whole pixels, uniform up to 1/8 of the size, rounded; the border is filled with zeros;
    - "cutout": a rectangle of half the height and width is zero; its centre is uniform over the
      image's pixel corners (over pixels, if that half is odd), so part of it may lie outside.

    Results are not clipped to [-1, 1]. Apply it in both losses, with different keys: to real and generated
    images in the critic's, to generated images in the generator's.

    Args:
      images: [B, H, W, C] in [-1, 1], floating point. "color" needs 1 channel (where saturation
        has no effect) or 3.
      key: random key; the random numbers of a part do not depend on its position in the policy.
      policy: names of the parts, separated by commas; "" for no augmentation.

    Returns:
      [B, H, W, C] in the type of `images`.

    Source: Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training (2020), Section
      3; the roundings are those of the authors' code.

    >>> x = jnp.zeros((2, 8, 8, 3))
    >>> diff_augment(x, jax.random.key(0), "color,translation").shape
    (2, 8, 8, 3)
    """
    images = _check.images_of(images, "diff_augment")
    names = [name.strip() for name in policy.split(",")] if policy else []
    for name in names:
        _check.known(name, POLICIES, "policy of diff_augment")
    dtype, images = images.dtype, _check.widened(images)
    for name in names:
        part = jax.random.fold_in(key, POLICIES.index(name))
        if name == "color":
            images = adjust_colors(images, *_draw_colors(part, images.shape[0]))
        elif name == "translation":
            images = pixels.random_translate(images, part, ratio=0.125)
        else:
            images = pixels.cutout(images, *_draw_cutout(part, images.shape))
    return images.astype(dtype)


def adjust_colors(
    images: jax.Array, brightness: jax.Array, saturation: jax.Array, contrast: jax.Array
) -> jax.Array:
    """The colour augmentation of DiffAugment: brightness, then saturation, then contrast.

        x1 = x + brightness
        x2 = mean_c(x1) + saturation (x1 - mean_c(x1))
        y = mean_hwc(x2) + contrast (x2 - mean_hwc(x2))

    Args:
      images: [B, H, W, C], C = 1 or 3.
      brightness: [B], or one for all; 0 for no change.
      saturation: likewise; 1 for no change, 0 makes the image grey.
      contrast: likewise; 1 for no change, 0 makes the image constant.

    Returns:
      [B, H, W, C] in the type of `images`, not clipped.

    Source: Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training (2020), Section
      3, with the formulas of the authors' code.

    >>> x = jnp.array([0.1, 0.2, 0.6]).reshape(1, 1, 1, 3)
    >>> print(adjust_colors(x, 0.0, 0.0, 1.0).ravel())
    [0.3 0.3 0.3]
    """
    images = _check.colors_of(images, "adjust_colors")
    dtype, x = images.dtype, _check.widened(images)
    brightness, saturation, contrast = (
        _check.over_pixels(_check.per_sample(value, images, name)).astype(x.dtype)
        for name, value in (
            ("brightness", brightness),
            ("saturation", saturation),
            ("contrast", contrast),
        )
    )
    x = x + brightness
    grey = jnp.mean(x, axis=3, keepdims=True)
    x = grey + saturation * (x - grey)
    mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    return (mean + contrast * (x - mean)).astype(dtype)


def _draw_colors(key, batch):
    keys = jax.random.split(key, 3)
    ranges = ((-0.5, 0.5), (0.0, 2.0), (0.5, 1.5))
    return [
        jax.random.uniform(k, (batch,), jnp.float32, low, high)
        for k, (low, high) in zip(keys, ranges, strict=True)
    ]


def _draw_cutout(key, shape):
    """The rectangle's centre and size in pixels."""
    batch, *sizes = shape[:3]
    centers, lengths = [], []
    for k, n in zip(jax.random.split(key), sizes, strict=True):
        length = int(n / 2 + 0.5)
        odd = length % 2
        corner = jax.random.randint(k, (batch,), 0, n + 1 - odd, jnp.int32)
        centers.append(corner.astype(jnp.float32) + odd / 2)
        lengths.append(length)
    return *centers, *lengths
