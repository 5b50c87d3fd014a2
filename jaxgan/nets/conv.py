"""Convolutions, alone or fused with a resampling: Flax's parameters with fewer multiplications.

    Conv(64)(x)          is  nn.Conv(64, (3, 3))(x)
    DownConv(64)(x)      is  avg_pool(nn.Conv(64, (3, 3))(x))
    UpConv(64)(x)        is  nn.Conv(64, (3, 3))(upsample_nearest(x))
    BilinearUpConv(64)(x)  is  nn.Conv(64, (3, 3))(upsample_bilinear(x))
    HalvingConv(64)(x)   is  nn.Conv(64, (4, 4), (2, 2))(x)
    DoublingConv(64)(x)  is  nn.ConvTranspose(64, (4, 4), (2, 2))(x)
    GroupedConv(64, feature_group_count=8)(x)  is  nn.Conv(64, (3, 3), feature_group_count=8)(x)

The values and gradients are equal up to float rounding; `jaxgan.resample` documents the identities. With bilinear
interpolation nothing is saved. The parameters
are those of `nn.Conv` or `nn.ConvTranspose` (`kernel` [kh, kw, in, out] and `bias`, with the same names and initial
values), so weights are interchangeable between the two. Class transforms for Flax's layers, such as
`jaxgan.nets.spectral.spectral_norm`, work too: they normalise the 3x3 kernel, not the fused one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
from flax.linen.dtypes import canonicalize_dtype

from jaxgan import resample

# The fields of Flax's layers that these classes support; the other fields must keep their defaults.
_FIELDS = {
    "features", "kernel_size", "use_bias", "dtype", "param_dtype", "kernel_init", "bias_init",
    "parent", "name",
}  # fmt: skip


def upsample_bilinear(x: jax.Array) -> jax.Array:
    """Doubles the sides of images by bilinear interpolation; edges are continued: [B, H, W, C] -> [B, 2H, 2W, C]."""
    return resample.resize_antialiased(x, (2 * x.shape[1], 2 * x.shape[2]), "linear")


class Conv(nn.Conv):
    """`nn.Conv` with a faster gradient on a CPU: [B, H, W, C] -> [B, H, W, features].

    Fields as `nn.Conv`'s: `features`, `kernel_size` (odd), `use_bias`, `dtype`,
    `param_dtype`, `kernel_init`, `bias_init`.

    >>> import jax.numpy as jnp
    >>> Conv(5).init_with_output(jax.random.key(0), jnp.ones((1, 8, 4, 3)))[0].shape
    (1, 8, 4, 5)
    """

    kernel_size: Sequence[int] = (3, 3)

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        return resample.conv(*_arguments(self, inputs))


class DownConv(nn.Conv):
    """`nn.Conv`, then 2x2 average pooling: [B, H, W, C] -> [B, H/2, W/2, features].

    Fields as `nn.Conv`'s: `features`, `kernel_size` (odd), `use_bias`, `dtype`,
    `param_dtype`, `kernel_init`, `bias_init`.

    >>> import jax.numpy as jnp
    >>> DownConv(5).init_with_output(jax.random.key(0), jnp.ones((1, 8, 4, 3)))[0].shape
    (1, 4, 2, 5)
    """

    kernel_size: Sequence[int] = (3, 3)

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        return resample.conv_avg_pool(*_arguments(self, inputs))


class UpConv(nn.Conv):
    """2x nearest upsampling, then `nn.Conv`: [B, H, W, C] -> [B, 2H, 2W, features].

    Fields as `nn.Conv`'s: `features`, `kernel_size` (odd), `use_bias`, `dtype`,
    `param_dtype`, `kernel_init`, `bias_init`.

    >>> import jax.numpy as jnp
    >>> UpConv(5).init_with_output(jax.random.key(0), jnp.ones((1, 8, 4, 3)))[0].shape
    (1, 16, 8, 5)
    """

    kernel_size: Sequence[int] = (3, 3)

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        return resample.upsample_conv(*_arguments(self, inputs))


class BilinearUpConv(nn.Conv):
    """2x bilinear upsampling, then `nn.Conv`: [B, H, W, C] -> [B, 2H, 2W, features].

    Fields as `nn.Conv`'s: `features`, `kernel_size` (odd), `use_bias`, `dtype`,
    `param_dtype`, `kernel_init`, `bias_init`.

    >>> import jax.numpy as jnp
    >>> BilinearUpConv(5).init_with_output(jax.random.key(0), jnp.ones((1, 8, 4, 3)))[0].shape
    (1, 16, 8, 5)
    """

    kernel_size: Sequence[int] = (3, 3)

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        images, kernel, bias = _arguments(self, inputs)
        return resample.conv(upsample_bilinear(images), kernel, bias)


class GroupedConv(nn.Conv):
    """`nn.Conv` of separate groups of channels, with a faster gradient on a CPU: [B, H, W, C] -> [B, H, W, features].

    Fields as `nn.Conv`'s: `features`, `kernel_size` (odd), `feature_group_count`, `use_bias`, `dtype`, `param_dtype`,
    `kernel_init`, `bias_init`.

    >>> import jax.numpy as jnp
    >>> layer = GroupedConv(8, feature_group_count=2)
    >>> layer.init(jax.random.key(0), jnp.ones((1, 8, 4, 6)))["params"]["kernel"].shape
    (3, 3, 3, 8)
    """

    kernel_size: Sequence[int] = (3, 3)

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        groups = self.feature_group_count
        if inputs.shape[-1] % groups or self.features % groups:
            raise ValueError(
                f"GroupedConv cuts {inputs.shape[-1]} channels into {self.features} features of equal groups, so both"
                f" must be multiples of feature_group_count; got {groups}."
            )
        return resample.grouped_conv(*_arguments(self, inputs, groups))


class HalvingConv(nn.Conv):
    """`nn.Conv` of stride 2, padded by k/2 - 1 pixels: [B, H, W, C] -> [B, floor(H/2), floor(W/2), features].

    Fields as `nn.Conv`'s: `features`, `kernel_size` (even), `use_bias`, `dtype`,
    `param_dtype`, `kernel_init`, `bias_init`.

    >>> import jax.numpy as jnp
    >>> HalvingConv(5).init_with_output(jax.random.key(0), jnp.ones((1, 8, 4, 3)))[0].shape
    (1, 4, 2, 5)
    """

    kernel_size: Sequence[int] = (4, 4)

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        return resample.conv_halving(*_arguments(self, inputs))


class DoublingConv(nn.ConvTranspose):
    """`nn.ConvTranspose` of stride 2: [B, H, W, C] -> [B, 2H, 2W, features].

    Fields as `nn.ConvTranspose`'s: `features`, `kernel_size` (even), `use_bias`, `dtype`,
    `param_dtype`, `kernel_init`, `bias_init`.

    >>> import jax.numpy as jnp
    >>> DoublingConv(5).init_with_output(jax.random.key(0), jnp.ones((1, 8, 4, 3)))[0].shape
    (1, 16, 8, 5)
    """

    kernel_size: Sequence[int] = (4, 4)

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        return resample.conv_transpose(*_arguments(self, inputs))


def _arguments(
    layer: nn.Conv | nn.ConvTranspose, x: jax.Array, groups: int = 0
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """The images in the computation dtype, and the layer's parameters in their own dtype.

    `groups` is the number of groups of channels, and 0 for a layer that does not support groups.
    """
    name = type(layer).__name__
    base = nn.ConvTranspose if isinstance(layer, nn.ConvTranspose) else nn.Conv
    known = _FIELDS | {"feature_group_count"} if groups else _FIELDS
    for field in dataclasses.fields(base):
        if field.name not in known and getattr(layer, field.name) != field.default:
            raise ValueError(
                f"{name} supports plain convolutions only, so it has no {field.name}; got "
                f"{field.name}={getattr(layer, field.name)}. Use nn.{base.__name__} for others."
            )
    if not isinstance(layer.kernel_size, Sequence) or len(layer.kernel_size) != 2:
        raise ValueError(
            f"{name} works on images, so its kernel_size is a pair such as (3, 3); got "
            f"{layer.kernel_size}."
        )
    kernel = layer.param(
        "kernel",
        layer.kernel_init,
        (*layer.kernel_size, x.shape[-1] // (groups or 1), layer.features),
        layer.param_dtype,
    )
    bias = None
    if layer.use_bias:
        bias = layer.param("bias", layer.bias_init, (layer.features,), layer.param_dtype)
    return x.astype(canonicalize_dtype(x, kernel, bias, dtype=layer.dtype)), kernel, bias
