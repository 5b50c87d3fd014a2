"""Augmentations that move or remove whole pixels, without interpolation."""

from __future__ import annotations

import numbers

import jax
import jax.numpy as jnp

from jaxgan.augment import _check

MODES = ("zeros", "reflect")


def flip(images: jax.Array, where: jax.Array) -> jax.Array:
    """Mirrors images left to right where `where` is True.

    Args:
      images: [B, H, W, C].
      where: boolean [B], or one for all.

    Returns:
      [B, H, W, C].

    >>> flip(jnp.arange(3.0).reshape(1, 1, 3, 1), jnp.array([True])).ravel().tolist()
    [2.0, 1.0, 0.0]
    """
    images = _check.images_of(images, "flip")
    where = _check.per_sample(where, images, "where").astype(bool)
    return jnp.where(_check.over_pixels(where), images[:, :, ::-1], images)


def rotate90(images: jax.Array, turns: jax.Array) -> jax.Array:
    """Rotates square images by quarter turns, counter-clockwise like `jnp.rot90`.

    Args:
      images: [B, N, N, C].
      turns: integers [B] of any sign, or one for all.

    Returns:
      [B, N, N, C].

    >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> rotate90(x, jnp.array([1]))[0, :, :, 0].tolist()
    [[1.0, 3.0], [0.0, 2.0]]
    """
    images = _check.images_of(images, "rotate90")
    if images.shape[1] != images.shape[2]:
        raise ValueError(
            f"rotate90 turns square images, but these are {images.shape[1]}x{images.shape[2]}; "
            "crop them, or leave quarter turns out (of ADA by AdaOptions(rotate90=0))."
        )
    turns = _whole(_check.per_sample(turns, images, "turns"), "turns")
    half = _check.over_pixels(turns & 2 != 0)
    quarter = _check.over_pixels(turns & 1 != 0)
    images = jnp.where(half, images[:, ::-1, ::-1], images)
    return jnp.where(quarter, jnp.rot90(images, axes=(1, 2)), images)


def translate(
    images: jax.Array, down: jax.Array, right: jax.Array, mode: str = "zeros"
) -> jax.Array:
    """Shifts images by whole pixels.

        y[i, j] = x[i - down, j - right]

    Args:
      images: [B, H, W, C].
      down: integers [B], or one for all.
      right: likewise.
      mode: padding: "zeros", or "reflect" for the image mirrored at its outermost pixels, periodically.

    Returns:
      [B, H, W, C].

    >>> x = jnp.arange(1.0, 4.0).reshape(1, 1, 3, 1)
    >>> translate(x, 0, 1).ravel().tolist(), translate(x, 0, 1, "reflect").ravel().tolist()
    ([0.0, 1.0, 2.0], [2.0, 1.0, 2.0])
    """
    images = _check.images_of(images, "translate")
    _check.known(mode, MODES, "way to fill the edge")
    for axis, name, shift in ((1, "down", down), (2, "right", right)):
        shift = _whole(_check.per_sample(shift, images, name), name)
        images = _shift(images, shift, axis, mode)
    return images


def _shift(images, shift, axis, mode):
    size = images.shape[axis]
    source = jnp.arange(size, dtype=jnp.int32)[None] - shift[:, None]
    index = reflected(source, size) if mode == "reflect" else jnp.clip(source, 0, size - 1)

    def move(image, index):
        where = (index,) if axis == 1 else (slice(None), index)
        return image.at[where].get(mode="promise_in_bounds")

    moved = jax.vmap(move)(images, index)
    if mode == "reflect":
        return moved
    inside = jnp.expand_dims(index == source, (3, 3 - axis))
    return jnp.where(inside, moved, jnp.zeros((), images.dtype))


def reflected(index, size: int):
    """Pixel of the image for pixel `index` of its periodic mirror image: ..., 2, 1, 0, 1, 2, ..., size-1, size-2, ...

    `index` is a JAX or NumPy array; the result has the same type.
    """
    last = size - 1
    return last - abs(index % max(2 * last, 1) - last)


def cutout(images: jax.Array, y: jax.Array, x: jax.Array, height: float, width: float) -> jax.Array:
    """Sets the pixels with centres in a rectangle to zero.

        |i + 1/2 - y| < height/2  and  |j + 1/2 - x| < width/2    (including the upper and left edge)

    Args:
      images: [B, H, W, C].
      y: [B] or one for all, the rectangle's centre in pixels from the upper edge.
      x: likewise from the left edge.
      height: of the rectangle, in pixels. It may reach beyond the image.
      width: likewise.

    Returns:
      [B, H, W, C].

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout
      (2017), Section 3.

    >>> cutout(jnp.ones((1, 1, 4, 1)), 0.5, 1.0, 1, 2).ravel().tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    images = _check.images_of(images, "cutout")
    inside = []
    for axis, name, center, size in ((1, "y", y, height), (2, "x", x, width)):
        if isinstance(size, numbers.Real) and size < 0:
            raise ValueError(
                f"cutout's {('height', 'width')[axis - 1]} is {size}; give 0 or more pixels."
            )
        half = jnp.asarray(size, jnp.float32) / 2
        center = _check.per_sample(jnp.asarray(center, jnp.float32), images, name)
        offset = jnp.arange(images.shape[axis], dtype=jnp.float32)[None] + 0.5 - center[:, None]
        inside.append((offset >= -half) & (offset < half))
    rows, columns = inside
    hole = rows[:, :, None, None] & columns[:, None, :, None]
    return jnp.where(hole, jnp.zeros((), images.dtype), images)


def random_flip(images: jax.Array, key: jax.Array, p: float = 0.5) -> jax.Array:
    """Mirrors each image left to right with probability `p`.

    Args:
      images: [B, H, W, C].
      key: random key.
      p: probability of a flip; may be traced. NaN gives NaN.

    Returns:
      [B, H, W, C].

    >>> x = jnp.arange(3.0).reshape(1, 1, 3, 1)
    >>> random_flip(x, jax.random.key(0), p=1.0).ravel().tolist()
    [2.0, 1.0, 0.0]
    """
    images = _check.images_of(images, "random_flip")
    _check.probability(p, "p")
    chance = jnp.asarray(p, jnp.float32)
    flipped = flip(images, jax.random.bernoulli(key, chance, images.shape[:1]))
    return jnp.where(jnp.isnan(chance), jnp.nan, flipped)


def random_crop(
    images: jax.Array, key: jax.Array, padding: int = 4, mode: str = "zeros"
) -> jax.Array:
    """Pads every side and crops a uniformly drawn window of the original size: a shift by at most `padding`.

    Args:
      images: [B, H, W, C].
      key: random key for the windows.
      padding: padding in pixels. 4 is usual for 32x32.
      mode: padding values, "zeros" or "reflect".

    Returns:
      [B, H, W, C].

    Source: He et al., Deep Residual Learning for Image Recognition (2016), Section 4.2.

    >>> random_crop(jnp.ones((2, 8, 8, 3)), jax.random.key(0)).shape
    (2, 8, 8, 3)
    """
    if not isinstance(padding, numbers.Integral) or padding < 0:
        raise ValueError(f"padding is {padding}; give a whole number of pixels, 0 or more.")
    return _random_shift(images, key, (padding, padding), mode, "random_crop")


def random_translate(
    images: jax.Array, key: jax.Array, ratio: float = 0.125, mode: str = "zeros"
) -> jax.Array:
    """Shifts images by whole pixels, uniformly up to `ratio` of the size in both directions.

    Args:
      images: [B, H, W, C].
      key: random key for the shifts.
      ratio: the largest shift relative to the height or width; rounded to whole pixels, halves up.
      mode: padding values, "zeros" or "reflect".

    Returns:
      [B, H, W, C].

    Source: Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training (2020), Section
      3, with the rounding of the authors' code.

    >>> x = random_translate(jnp.ones((1, 8, 8, 3)), jax.random.key(0), mode="reflect")
    >>> print(x.min())
    1.0
    """
    if isinstance(ratio, numbers.Real) and not 0 <= ratio <= 1:
        raise ValueError(f"ratio is {ratio}; give the part of the image to shift by, 0 to 1.")
    images = _check.images_of(images, "random_translate")
    most = tuple(int(n * ratio + 0.5) for n in images.shape[1:3])
    return _random_shift(images, key, most, mode, "random_translate")


def _random_shift(images, key, most, mode, name):
    images = _check.images_of(images, name)
    down, right = (
        jax.random.randint(k, images.shape[:1], -n, n + 1, jnp.int32)
        for k, n in zip(jax.random.split(key), most, strict=True)
    )
    return translate(images, down, right, mode)


def _whole(value, name):
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise ValueError(f"{name} has dtype {value.dtype}; give whole numbers (integers).")
    return value.astype(jnp.int32)
