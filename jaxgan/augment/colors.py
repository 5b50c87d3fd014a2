"""Affine maps of the colours, composed as one matrix: ADA's colour transformations."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgan.augment import _check


def transform_colors(images: jax.Array, matrix: jax.Array) -> jax.Array:
    """Maps every pixel's colour c by an affine map: the first three entries of M (c, 1).

    A grey image is treated as (x, x, x), and the result is the mean of the three channels.

    Args:
      images: [B, H, W, C], C = 1 or 3.
      matrix: M, [B, 4, 4], or [4, 4] for all; its last row is ignored.

    Returns:
      [B, H, W, C] in the type of `images`, not clipped.

    Source: Karras et al., Training Generative Adversarial Networks with Limited Data (2020),
      Appendix B, Figure 15, "Color transformations".

    >>> x = jnp.array([0.1, 0.2, 0.3]).reshape(1, 1, 1, 3)
    >>> print(transform_colors(x, jnp.diag(jnp.array([1.0, 1.0, 2.0, 1.0])))[0, 0, 0])
    [0.1 0.2 0.6]
    """
    images = _check.colors_of(images, "transform_colors")
    x = _check.widened(images)
    matrix = _check.per_sample(matrix, images, "matrix", (4, 4)).astype(x.dtype)
    linear, offset = matrix[:, :3, :3], matrix[:, :3, 3]
    if images.shape[3] == 1:
        linear, offset = jnp.mean(jnp.sum(linear, axis=2), axis=1), jnp.mean(offset, axis=1)
        y = _check.over_pixels(linear) * x + _check.over_pixels(offset)
    else:
        y = jnp.einsum("bij,bhwj->bhwi", linear, x, precision="highest")
        y = y + offset[:, None, None, :]
    return y.astype(images.dtype)


def color_matrix(
    brightness: jax.Array,
    contrast: jax.Array,
    luma_flip: jax.Array,
    hue: jax.Array,
    saturation: jax.Array,
) -> jax.Array:
    """ADA's five colour transformations as one matrix for `transform_colors`, brightness first.

    With v = (1, 1, 1)/sqrt(3), the luma axis, and R the rotation about v:

        c1 = c + brightness,  c2 = contrast c1,  c3 = c2 - 2 luma_flip v v^T c2,
        c4 = R(hue) c3,       c5 = v v^T c4 + saturation (I - v v^T) c4

    Args:
      brightness: [B], 0 for no change.
      contrast: [B], 1 for no change.
      luma_flip: [B], 0 for no change, 1 inverts the luma and keeps hue and saturation.
      hue: [B] in radians, 0 for no change.
      saturation: [B], 1 for no change, 0 for grey.

    Returns:
      [B, 4, 4], float32.

    Source: Karras et al., Training Generative Adversarial Networks with Limited Data (2020),
      Appendix B, Figure 15, "Color transformations".

    >>> one, zero = jnp.ones(1), jnp.zeros(1)
    >>> print(color_matrix(zero + 0.5, one, zero, zero, one)[0, 0])  # red + 1/2
    [1.  0.  0.  0.5]
    """
    names = ("brightness", "contrast", "luma_flip", "hue", "saturation")
    values = [
        jnp.asarray(x).astype(jnp.float32)
        for x in (brightness, contrast, luma_flip, hue, saturation)
    ]
    batch = values[0].shape
    for name, value in zip(names, values, strict=True):
        if value.ndim != 1 or value.shape != batch:
            raise ValueError(
                f"{name} has shape {value.shape} and brightness {batch}; give all five as [B]."
            )
    brightness, contrast, luma_flip, hue, saturation = (x[:, None, None] for x in values)

    eye = jnp.eye(3, dtype=jnp.float32)[None]
    luma = jnp.full((1, 3, 3), 1 / 3, jnp.float32)  # v v^T
    # The matrix of the cross product with v, for Rodrigues' rotation formula.
    cross = jnp.array([[[0, -1, 1], [1, 0, -1], [-1, 1, 0]]], jnp.float32) / 3**0.5
    chroma = eye - luma
    # All of them are combinations of luma, chroma and cross, which multiply like 1 and complex numbers: so the linear
    # part is gain_luma v v^T + saturation R(hue) (I - v v^T), times the contrast.
    rotated = jnp.cos(hue) * chroma + jnp.sin(hue) * cross
    linear = contrast * ((1 - 2 * luma_flip) * luma + saturation * rotated)
    # Brightness comes first and is grey, so the other transformations change it like the luma.
    offset = brightness * contrast * (1 - 2 * luma_flip) * jnp.ones((1, 3, 1), jnp.float32)
    last = jnp.broadcast_to(jnp.array([[[0, 0, 0, 1]]], jnp.float32), (*batch, 1, 4))
    return jnp.concatenate([jnp.concatenate([linear, offset], axis=2), last], axis=1)
