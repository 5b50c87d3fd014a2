"""Motions of images by any distance and angle, and a blur of any width, of [B, H, W, C].

Each motion also gives a mask of the pixels that do not depend on anything outside of the image.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.resample.fir import check_images, widened

LANCZOS = 3  # radius of `shift`'s filter in pixels
DISC = 8  # radius of `turn`'s filter in pixels
_TABLE = 512  # entries of its table for each pixel of distance
_NEGLIGIBLE = 1e-6


def gaussian_blur(x: jax.Array, half_width: float | jax.Array, reach: int) -> jax.Array:
    """Filters images with the taps 2^-(i / half_width)^2 / sum, |i| <= 3 half_width, along both axes.

    Images are padded with zeros. The standard deviation is half_width / sqrt(2 log 2) = 0.85 half_width.

    Args:
      x: images [B, H, W, C], floating point.
      half_width: distance in pixels at which a tap is half of the middle one, 0 for no blur; may be traced.
      reach: largest |i| of all values of `half_width`, static.

    Returns:
      [B, H, W, C] in the dtype of `x`.

    Source: Karras et al., Alias-Free Generative Adversarial Networks (2021), Appendix B, for a critic's pictures at the
      start of training.

    >>> gaussian_blur(jnp.eye(3).reshape(1, 3, 3, 1), 0.0, 3)[0, 1, :, 0].tolist()
    [0.0, 1.0, 0.0]
    """
    check_images("gaussian_blur", x)
    half_width = jnp.asarray(half_width, jnp.float32)

    def taps(i: np.ndarray) -> jax.Array:
        at = jnp.asarray(i, jnp.float32)
        tap = jnp.exp2(-jnp.square(at / jnp.maximum(half_width, 1e-6)))
        return jnp.where(jnp.abs(at) <= jnp.minimum(3 * half_width, reach), tap, 0.0)

    total = jnp.sum(taps(np.arange(-reach, reach + 1)))
    rows, columns = (taps(_differences(n)) / total for n in x.shape[1:3])
    return _along_both(rows[None], columns[None], x)


def shift(x: jax.Array, by: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Moves images by any distance: (images, mask bool [B, H, W, 1]).

        y(p) = sum_q L(p - by - q) x(q),    L(d) = sinc(d) sinc(d / 3) for |d| < 3, along both axes

    Args:
      x: images [B, H, W, C], floating point.
      by: float32 [B, 2], (x, y) in pixels, to the right and down. The motion by whole pixels is exact.

    >>> x = jnp.arange(3.0).reshape(1, 1, 3, 1)
    >>> y, mask = shift(x, jnp.array([[1.0, 0.0]]))
    >>> y.ravel().tolist(), mask.ravel().tolist()
    ([0.0, 0.0, 1.0], [False, True, True])
    """
    check_images("shift", x)
    by = by.astype(jnp.float32)
    columns, known_columns = _lanczos(x.shape[2], by[:, 0])
    rows, known_rows = _lanczos(x.shape[1], by[:, 1])
    mask = known_rows[:, :, None] & known_columns[:, None, :]
    return _along_both(rows, columns, x), mask[..., None]


def _lanczos(n: int, by: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(weights [B, n, n], whether all taps of a pixel are inside [B, n])."""
    first = jnp.arange(n, dtype=jnp.float32)[None] - by[:, None]  # position in the image
    nearest = jnp.round(first)
    whole = jnp.abs(first - nearest) < _NEGLIGIBLE
    first = jnp.where(whole, nearest, first)
    away = first[:, :, None] - jnp.arange(n, dtype=jnp.float32)[None, None]
    weight = jnp.sinc(away) * jnp.sinc(away / LANCZOS)
    weight = jnp.where(jnp.abs(away) < LANCZOS, weight, 0.0)
    reach = jnp.where(whole, 0.0, LANCZOS - 1.0)
    inside = (jnp.floor(first) - reach >= 0) & (jnp.ceil(first) + reach <= n - 1)
    # At a whole distance the sinc is only nearly 0.
    exact = (jnp.abs(away) < 0.5).astype(weight.dtype)
    return jnp.where(whole[:, :, None], exact, weight), inside


def turn(x: jax.Array, angle: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Turns images about their centre and limits them to a disc of frequencies: (images, mask bool [B, H, W, 1]).

        y(p) = sum_q h(|R p - q|) x(q),    R the rotation by -angle

    The filter h is the jinc of the cutoff 0.4 cycles per pixel, times a Kaiser window of |d| < 8 pixels. It has the
    same frequency response in all directions, so an image that another network has turned is compared with `turn` of
    the one that it did not turn after `turn` by an angle of 0.

    Args:
      x: images [B, H, W, C], floating point.
      angle: float32 [B], clockwise in radians.

    >>> x = jnp.zeros((1, 33, 33, 1)).at[0, 10, 16].set(1.0)
    >>> y, _ = turn(x, jnp.array([jnp.pi / 2]))
    >>> divmod(int(jnp.argmax(y)), 33)
    (16, 22)
    """
    check_images("turn", x)
    b, h, w, c = x.shape
    wide = widened(x)
    down, right = (jnp.arange(n, dtype=jnp.float32) - (n - 1) / 2 for n in (h, w))
    cosine, sine = (f(angle.astype(jnp.float32))[:, None, None] for f in (jnp.cos, jnp.sin))
    at_x = cosine * right[None, None] + sine * down[None, :, None] + (w - 1) / 2
    at_y = cosine * down[None, :, None] - sine * right[None, None] + (h - 1) / 2
    mask = (at_x >= DISC) & (at_x <= w - 1 - DISC) & (at_y >= DISC) & (at_y <= h - 1 - DISC)
    table = jnp.asarray(_disc_table(), jnp.float32)
    base_x, base_y = jnp.floor(at_x), jnp.floor(at_y)

    def add(i, carry):
        total, weights = carry
        qx = base_x + (i % (2 * DISC) - DISC + 1).astype(jnp.float32)
        qy = base_y + (i // (2 * DISC) - DISC + 1).astype(jnp.float32)
        weight = _from_table(table, jnp.hypot(at_x - qx, at_y - qy))
        weight = jnp.where((qx >= 0) & (qx < w) & (qy >= 0) & (qy < h), weight, 0.0)
        index = jnp.clip(qy, 0, h - 1).astype(jnp.int32) * w + jnp.clip(qx, 0, w - 1).astype(
            jnp.int32
        )
        taken = jnp.take_along_axis(wide.reshape(b, h * w, c), index.reshape(b, h * w, 1), axis=1)
        total = total + weight[..., None].astype(wide.dtype) * taken.reshape(x.shape)
        return total, weights + weight

    start = jnp.zeros_like(wide), jnp.zeros(at_x.shape, jnp.float32)
    total, weights = jax.lax.fori_loop(0, 4 * DISC**2, add, start)
    # The sum of the taps varies a little with the position between pixels.
    scale = jnp.where(mask, weights, 1.0)[..., None].astype(wide.dtype)
    return (total / scale).astype(x.dtype), mask[..., None]


DISC_CUTOFF = 0.4  # cycles per pixel


@functools.cache
def _disc_table() -> np.ndarray:
    """h at the distances 0, 1 / _TABLE, ..., DISC pixels."""
    distance = np.arange(DISC * _TABLE + 1) / _TABLE
    angles = np.arange(256) * (2 * np.pi / 256)
    z = 2 * np.pi * DISC_CUTOFF * distance[:, None]
    jinc = np.mean(np.sin(angles) ** 2 * np.cos(z * np.cos(angles)), axis=1)  # J1(z) / z
    window = np.i0(6.0 * np.sqrt(np.maximum(0, 1 - (distance / DISC) ** 2))) / np.i0(6.0)
    found = 2 * np.pi * DISC_CUTOFF**2 * jinc * window
    found[-1] = 0.0
    return found


def _from_table(table: jax.Array, distance: jax.Array) -> jax.Array:
    """Linear interpolation; 0 beyond the table."""
    place = jnp.minimum(distance * _TABLE, DISC * _TABLE - 0.001)
    low = place.astype(jnp.int32)
    share = place - low.astype(jnp.float32)
    value = (1 - share) * table[low] + share * table[low + 1]
    return jnp.where(distance < DISC, value, 0.0)


def _differences(n: int) -> np.ndarray:
    return np.arange(n)[:, None] - np.arange(n)[None]


def _along_both(rows: jax.Array, columns: jax.Array, x: jax.Array) -> jax.Array:
    """Matrices [B or 1, H, H] and [B or 1, W, W] applied to the axes of images, in full precision."""
    wide = widened(x)
    rows, columns = rows.astype(wide.dtype), columns.astype(wide.dtype)
    if rows.shape[0] != x.shape[0]:
        y = jnp.einsum("ij,bjwc->biwc", rows[0], wide, precision="highest")
        return jnp.einsum("ij,bhjc->bhic", columns[0], y, precision="highest").astype(x.dtype)
    y = jnp.einsum("bij,bjwc->biwc", rows, wide, precision="highest")
    return jnp.einsum("bij,bhjc->bhic", columns, y, precision="highest").astype(x.dtype)
