"""Affine maps of the image plane, resampled with little aliasing: ADA's geometric transformations."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import resample
from jaxgan.augment import _check
from jaxgan.augment.wavelets import SYM6

# The centre of sym6: its group delay at frequency 0, sum t h[t] / sum h[t] = 5.0985 taps, as a binary fraction, so
# that positions under the identity are computed without rounding.
_CENTER = 5 + 25 / 256


def affine(images: jax.Array, matrix: jax.Array) -> jax.Array:
    """Transforms images by an affine map of the plane: the content of position q moves to A q + t.

    The image is upsampled by two with the sym6 wavelet's low-pass filter, sampled bilinearly at
    A^-1 (q - t) for the positions q of a result of twice the size, and downsampled with the same filter.
    Filtering is orthogonal, so the identity and shifts by whole pixels keep pixel values up to rounding.
    Images are mirrored at their outermost pixels, periodically.

    The paper pads by as much as the largest transformation of the batch requires, at most by one mirrored
    image on each side. Here all sizes are static: a mirrored image has the period 2 (N - 1) pixels, so one
    period is upsampled, and positions are computed modulo the period. Up to rounding this equals unlimited
    padding, for any map and independently of the other images of the batch.

    Args:
      images: [B, H, W, C].
      matrix: [B, 3, 3], or [3, 3] for all: ((A, t), (0, 0, 1)), for positions (x, y, 1) in pixels
        from the image's centre, x to the right and y down. A is invertible; the last row is
        ignored. No gradient flows to it.

    Returns:
      [B, H, W, C] in the type of `images`.

    Source: Karras et al., Training Generative Adversarial Networks with Limited Data (2020),
      Appendix B, Figure 15, "Pad image and adjust origin" to "Crop".

    >>> x = jnp.arange(4.0).reshape(1, 1, 4, 1)
    >>> one_to_the_right = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> print(affine(x, one_to_the_right)[0, 0, 3, 0].round(3))
    2.0
    """
    images = _check.images_of(images, "affine")
    x = _check.widened(images)
    matrix = _check.per_sample(matrix, images, "matrix", (3, 3)).astype(x.dtype)
    return _resampled(x, matrix).astype(images.dtype)


# Jitted for callers outside `jax.jit`.
@partial(jax.jit, inline=True)
def _resampled(x, matrix):
    sampled = _sample(_upsampled(x), x.shape[1:3], jax.lax.stop_gradient(matrix))
    # y[k] = sum_m z[m] h[m - 2k], which is a true convolution with the reversed filter.
    kernel = jnp.asarray(SYM6[::-1] / 2**0.5, x.dtype)
    return resample.upfirdn2d(sampled, kernel, down=2)


def _period(size: int) -> int:
    """The period in pixels of a mirrored image."""
    return max(2 * (size - 1), 1)


def _upsampled(x):
    """u[m] = sum_n x[n] h[m - 2n] for 0 <= m <= 2P, with mirrored x of period P: [B, 2P+1, 2Q+1, C]."""
    reach = (len(SYM6) - 1) // 2
    pads = [(reach, _period(n) + 1 - n) for n in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), mode="reflect")
    kernel = jnp.asarray(SYM6 * 2**0.5, x.dtype)
    return resample.upfirdn2d(x, kernel, up=2, padding=(1, -1, 1, -1))


def _sample(u, size, matrix):
    """z, sampled bilinearly: the inputs of the downsampling to `size`, [B, 2H+10, 2W+10, C]."""
    inverse, shift = _inverse(matrix)
    # u[m] and z[m] both lie (m - _CENTER) / 2 pixels from the first pixel's centre, so `origin` is the image's centre.
    origin = [n - 1 + _CENTER for n in size]
    rows, columns = (
        jnp.asarray(np.arange(2 * n + len(SYM6) - 2) - o, u.dtype)
        for n, o in zip(size, origin, strict=True)
    )
    at_row, at_column = (
        inverse[:, i, 0, None, None] * columns[None, None, :]
        + inverse[:, i, 1, None, None] * rows[None, :, None]
        - 2 * shift[:, i, None, None]
        + origin[1 - i]
        for i in (1, 0)
    )
    i, down = _split(at_row, 2 * _period(size[0]))
    j, right = _split(at_column, 2 * _period(size[1]))
    return jax.lax.platform_dependent(
        u, i, j, down, right, tpu=_between_planes, default=_between_pixels
    )


def _between_pixels(u, i, j, down, right):
    """Bilinear, between pixel (i, j) [B, h, w] and its neighbours, at (down, right) [B, h, w] from it: [B, h, w, C]."""
    corners = jax.vmap(_squares)(u, jnp.stack([i, j], axis=-1))  # [B, h, w, 2, 2, C]
    down, right = down[..., None, None], right[..., None]
    upper, lower = corners[..., 0, :, :], corners[..., 1, :, :]
    both = upper + down * (lower - upper)
    left, right_of_it = both[..., 0, :], both[..., 1, :]
    return left + right * (right_of_it - left)


def _between_planes(u, i, j, down, right):
    """`_between_pixels` for TPUs: channels first, and a gather for each corner.

    A TPU stores arrays in tiles of 8 x 128 of their last two axes. With the gather of 2 x 2 x C pixels, C is the last
    axis, and 3 channels take the memory of 128. For 8 images of 256x256 pixels the compiler estimates 8.3 GiB for
    `affine` with the gather of `_between_pixels`, and 0.4 GiB with one gather per corner.
    """
    (b, _, width, channels), shape = u.shape, i.shape[1:]
    planes = jnp.moveaxis(u, 3, 1).reshape(b, channels, -1)
    first = (i * width + j).reshape(b, -1)

    def corner(offset):
        return jax.vmap(lambda plane, at: plane.at[:, at].get(mode="promise_in_bounds"))(
            planes, first + offset
        )

    down, right = down.reshape(b, 1, -1), right.reshape(b, 1, -1)
    upper_left, upper_right, lower_left, lower_right = map(corner, (0, 1, width, width + 1))
    left = upper_left + down * (lower_left - upper_left)
    right_of_it = upper_right + down * (lower_right - upper_right)
    y = left + right * (right_of_it - left)
    return jnp.moveaxis(y.reshape(b, channels, *shape), 1, 3)


def _inverse(matrix):
    """A^-1 [B, 2, 2] and A^-1 t [B, 2]."""
    a, b, c, d = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1]
    adjugate = jnp.stack([jnp.stack([d, -b], axis=1), jnp.stack([-c, a], axis=1)], axis=1)
    inverse = adjugate / (a * d - b * c)[:, None, None]
    return inverse, jnp.sum(inverse * matrix[:, None, :2, 2], axis=2)


def _split(position, period):
    """(integer part modulo the period, fraction)."""
    whole = jnp.floor(position)
    return jnp.mod(whole.astype(jnp.int32), period), position - whole


def _squares(image, corners):
    """The 2x2 pixels whose top left pixel is each corner: [h, w, C], [..., 2] -> [..., 2, 2, C]."""
    dimensions = jax.lax.GatherDimensionNumbers(
        offset_dims=(2, 3, 4), collapsed_slice_dims=(), start_index_map=(0, 1)
    )
    window = (2, 2, image.shape[2])
    return jax.lax.gather(image, corners, dimensions, window, mode="promise_in_bounds")


def scaling(x: jax.Array, y: jax.Array) -> jax.Array:
    """Scaling by x horizontally and y vertically: [B], [B] -> [B, 3, 3]."""
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)
    return _matrix([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def rotation(angle: jax.Array) -> jax.Array:
    """Rotation by an angle in radians, counter-clockwise on the screen: [B] -> [B, 3, 3]."""
    c, s = jnp.cos(angle), jnp.sin(angle)
    zero, one = jnp.zeros_like(c), jnp.ones_like(c)
    # y points down.
    return _matrix([[c, s, zero], [-s, c, zero], [zero, zero, one]])


def translation(x: jax.Array, y: jax.Array) -> jax.Array:
    """Translation by x pixels to the right and y down: [B], [B] -> [B, 3, 3]."""
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)
    return _matrix([[one, zero, x], [zero, one, y], [zero, zero, one]])


def _matrix(rows):
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
