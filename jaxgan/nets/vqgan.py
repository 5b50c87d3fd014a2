"""VQGAN's encoder and decoder: residual blocks with group normalisation and swish; attention at low resolutions.

Source: Esser et al., Taming Transformers for High-Resolution Image Synthesis (2021), Section 3.1 and appendix; the
blocks are those of Ho et al., Denoising Diffusion Probabilistic Models (2020), without timesteps and skips.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.conv import Conv, UpConv
from jaxgan.network import Network
from jaxgan.options import OptionError

Networks = Mapping[str, Network]  # with "encoder", "codebook" and "decoder"

# U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), PyTorch's default: outputs start with a third of the variance of the inputs.
_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def encode(networks: Networks, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pictures [B, H, W, C] to (latents z [B, h, w, D], codes int32 [B, h, w], code vectors e [B, h, w, D])."""
    z = networks["encoder"](x)
    return z, *networks["codebook"](z)


def decode(networks: Networks, indices: jax.Array) -> jax.Array:
    """Codes [B, h, w] to pictures [B, H, W, C] in [-1, 1]."""
    e = networks["codebook"](indices, method="lookup")
    return jnp.clip(networks["decoder"](e), -1.0, 1.0)


def reconstruct(networks: Networks, x: jax.Array) -> jax.Array:
    """Encodes and decodes pictures."""
    return decode(networks, encode(networks, x)[1])


class Encoder(nn.Module):
    """Pictures [B, H, W, C] in [-1, 1] to float32 latents [B, H / f, W / f, code_dim], f = 2^(levels - 1).

    Attributes:
      widths: channels of each level, from the highest resolution to the lowest.
      attention: for each level, whether attention follows its residual blocks.
      blocks: number of residual blocks per level.
      latent_channels: channels of the last 3x3 convolution.
      code_dim: channels of the 1x1 convolution after it.
      groups: groups of group normalisation; divides all widths.
    """

    widths: tuple[int, ...]
    attention: tuple[bool, ...]
    blocks: int
    latent_channels: int
    code_dim: int
    groups: int = 32
    dtype: jax.typing.DTypeLike | None = None

    @property
    def factor(self) -> int:
        """Side in pixels of the square that is encoded as one code."""
        return 2 ** (len(self.widths) - 1)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        options: dict[str, Any] = {"groups": self.groups, "dtype": self.dtype}
        x = _conv(self.widths[0], "conv_in", self.dtype)(x.astype(self.dtype or x.dtype))
        for level, width in enumerate(self.widths):
            for i in range(self.blocks):
                x = ResidualBlock(width, **options, name=f"level{level}_block{i}")(x)
                if self.attention[level]:
                    x = AttentionBlock(**options, name=f"level{level}_attention{i}")(x)
            if level < len(self.widths) - 1:
                x = Downsample(dtype=self.dtype, name=f"level{level}_downsample")(x)
        x = _middle(x, options)
        x = nn.swish(GroupNorm(**options, name="norm_out")(x))
        x = _conv(self.latent_channels, "conv_out", self.dtype)(x)
        return _conv(self.code_dim, "quant", self.dtype, 1)(x).astype(jnp.float32)


class Decoder(nn.Module):
    """Quantised latents [B, h, w, code_dim] to float32 pictures [B, f h, f w, channels]: `output(trunk(z))`.

    The two methods can be called separately, because the adaptive weight needs the last layer only. The attributes are
    those of the encoder; a level has one more residual block.
    """

    widths: tuple[int, ...]
    attention: tuple[bool, ...]
    blocks: int
    latent_channels: int
    channels: int
    groups: int = 32
    dtype: jax.typing.DTypeLike | None = None

    def setup(self):
        self.body = DecoderTrunk(
            self.widths,
            self.attention,
            self.blocks,
            self.latent_channels,
            self.groups,
            self.dtype,
        )
        self.conv_out = _conv(self.channels, None, self.dtype)

    def trunk(self, z: jax.Array) -> jax.Array:
        """The input of the last layer: [B, f h, f w, widths[0]]."""
        return self.body(z)

    def output(self, x: jax.Array) -> jax.Array:
        """The last layer."""
        return self.conv_out(x).astype(jnp.float32)

    def __call__(self, z: jax.Array) -> jax.Array:
        return self.output(self.trunk(z))


class DecoderTrunk(nn.Module):
    """The decoder without its last convolution."""

    widths: tuple[int, ...]
    attention: tuple[bool, ...]
    blocks: int
    latent_channels: int
    groups: int
    dtype: jax.typing.DTypeLike | None

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        options: dict[str, Any] = {"groups": self.groups, "dtype": self.dtype}
        z = z.astype(self.dtype or z.dtype)
        x = _conv(self.latent_channels, "post_quant", self.dtype, 1)(z)
        x = _middle(_conv(self.widths[-1], "conv_in", self.dtype)(x), options)
        for level in reversed(range(len(self.widths))):
            width = self.widths[level]
            for i in range(self.blocks + 1):
                x = ResidualBlock(width, **options, name=f"level{level}_block{i}")(x)
                if self.attention[level]:
                    x = AttentionBlock(**options, name=f"level{level}_attention{i}")(x)
            if level > 0:
                conv = UpConv(
                    width,
                    (3, 3),
                    kernel_init=_init,
                    dtype=self.dtype,
                    name=f"level{level}_upsample",
                )
                x = conv(x)
        return nn.swish(GroupNorm(**options, name="norm_out")(x))


class ResidualBlock(nn.Module):
    """x + conv3(swish(norm(conv3(swish(norm(x)))))); the shortcut is a 1x1 convolution if the widths differ."""

    features: int
    groups: int
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for i in range(2):
            y = nn.swish(GroupNorm(self.groups, self.dtype, name=f"norm{i}")(y))
            y = _conv(self.features, f"conv{i}", self.dtype)(y)
        if x.shape[-1] != self.features:
            x = _conv(self.features, "shortcut", self.dtype, 1)(x)
        return x + y


class AttentionBlock(nn.Module):
    """x + project(attention of all positions of norm(x)), one head."""

    groups: int
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        y = GroupNorm(self.groups, self.dtype, name="norm")(x)
        q, k, v = (
            _conv(c, name, self.dtype, 1)(y).reshape(b, h * w, c)
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum("bqc,bkc->bqk", q, k, preferred_element_type=jnp.float32) * c**-0.5
        attended = jnp.einsum("bqk,bkc->bqc", jax.nn.softmax(scores).astype(v.dtype), v)
        return x + _conv(c, "project", self.dtype, 1)(attended.reshape(b, h, w, c))


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2, padded with zeros at the bottom and on the right only."""

    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Conv(
            x.shape[-1],
            (3, 3),
            strides=2,
            padding=((0, 1), (0, 1)),
            kernel_init=_init,
            dtype=self.dtype,
            name="conv",
        )(x)


class GroupNorm(nn.Module):
    """Normalisation over the pixels and the channels of each group, epsilon 1e-6, statistics in float32.

    Source: Wu and He, Group Normalization (2018), Section 3.
    """

    groups: int
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        gain = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)

        def mean(x):
            # First over the pixels: on a CPU this is several times as fast as one mean over pixels and channels.
            groups = jnp.mean(x, axis=(1, 2)).reshape(-1, self.groups, channels // self.groups)
            groups = jnp.broadcast_to(jnp.mean(groups, axis=2, keepdims=True), groups.shape)
            return groups.reshape(-1, 1, 1, channels)

        wide = x.astype(jnp.float32)
        wide = wide - mean(wide)
        scale = jax.lax.rsqrt(mean(jnp.square(wide)) + 1e-6) * gain[None, None, None]
        return (wide * scale + bias[None, None, None]).astype(self.dtype or x.dtype)


def levels(
    channels: int,
    multiples: tuple[int, ...],
    attention_resolutions: tuple[int, ...],
    groups: int,
    shape: tuple[int, ...],
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """(widths, attention) of the levels for pictures of that shape, from the model's options.

    >>> levels(32, (1, 2), (8,), 8, (16, 16, 3))
    ((32, 64), (False, True))
    """
    if len(shape) != 3:
        raise ValueError(
            f"the autoencoder takes pictures [H, W, C], but one example of the data has shape {shape}."
        )
    factor = 2 ** (len(multiples) - 1)
    if any(side % factor for side in shape[:2]):
        fits = max(1, round(shape[0] / factor)) * factor
        fewer = max(n for n in range(len(multiples)) if not any(side % 2**n for side in shape[:2]))
        raise OptionError(
            "channel_multiples",
            multiples,
            f"this halves pictures {len(multiples) - 1} times, so their sides must be multiples of {factor}, not"
            f" {shape[0]}x{shape[1]}",
            {"data.resolution": fits},
            {"channel_multiples": multiples[: fewer + 1]},
        )
    widths = tuple(channels * multiple for multiple in multiples)
    if any(width % groups for width in widths):
        raise OptionError(
            "groups",
            groups,
            f"it does not divide the channels {widths} of the levels",
            {"groups": math.gcd(groups, *widths)},
        )
    return widths, tuple(
        shape[0] // 2**level in attention_resolutions for level in range(len(widths))
    )


def psnr(x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean over the pictures of 10 log10(4 / mean (x - y)^2), for x in [-1, 1]; y is clipped to [-1, 1]."""
    error = jnp.mean(jnp.square(x - jnp.clip(y, -1.0, 1.0)), axis=(1, 2, 3))
    return jnp.mean(10.0 * jnp.log10(4.0 / jnp.maximum(error, 1e-10)))


def _middle(x: jax.Array, options: dict) -> jax.Array:
    """Residual block, attention, residual block, at the lowest resolution."""
    width = x.shape[-1]
    x = ResidualBlock(width, **options, name="middle_block0")(x)
    x = AttentionBlock(**options, name="middle_attention")(x)
    return ResidualBlock(width, **options, name="middle_block1")(x)


def _conv(
    features: int, name: str | None, dtype: jax.typing.DTypeLike | None, size: int = 3
) -> nn.Module:
    return Conv(features, (size, size), kernel_init=_init, dtype=dtype, name=name)
