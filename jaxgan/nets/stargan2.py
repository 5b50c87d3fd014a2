"""The networks of StarGAN v2: generator, mapping network, style encoder and critic, the last three with a head for each
domain.

Source: Choi et al., StarGAN v2: Diverse Image Synthesis for Multiple Domains (2020), Appendix (network architecture).
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import resample
from jaxgan.nets.conv import Conv, DownConv, UpConv
from jaxgan.nets.labels import check_labels
from jaxgan.nets.norm import InstanceNorm, adaptive_norm

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
activation = functools.partial(nn.leaky_relu, negative_slope=0.2)

SMALLEST = 4  # side of the feature map from which style encoder and critic compute their heads


def widths(side: int, width: int, most: int, downs: int) -> tuple[int, ...]:
    """Channels from a picture's side downwards: `downs` + 1 numbers, each twice the one before it, at most `most`.

    >>> widths(256, 0, 512, 4)
    (64, 128, 256, 512, 512)

    Args:
      side: side of the pictures.
      width: the first number; 0 for 2^14 / side.
      most: the largest number.
      downs: number of halvings.
    """
    first = width or max(1, 2**14 // side)
    return tuple(min(first * 2**i, most) for i in range(downs + 1))


class AdaIn(nn.Module):
    """`adaptive_norm` with gains and biases that are linear in the style [B, S]."""

    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        dense = nn.Dense(2 * x.shape[-1], kernel_init=he_normal, dtype=self.dtype, name="style")
        return adaptive_norm(x, dense(style))


class Block(nn.Module):
    """A residual block: [B, H, W, C] -> [B, H, W, features], or half the size.

    (norm, leaky ReLU, 3x3 convolution C -> C, average pooling, norm, leaky ReLU, 3x3 convolution C -> features, plus
    the shortcut) / sqrt(2). The shortcut is a 1x1 convolution without bias if `features` is not C, then pooling.

    Attributes:
      features: channels of the result.
      down: whether it halves the size.
      normalise: instance normalisation with gain and bias; else none.
    """

    features: int
    down: bool = False
    normalise: bool = False
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        conv = functools.partial(
            DownConv if self.down else Conv, kernel_init=he_normal, dtype=self.dtype
        )
        h = activation(self._normed(x, "norm0"))
        h = conv(channels, name="conv0")(h)
        h = activation(self._normed(h, "norm1"))
        h = Conv(self.features, kernel_init=he_normal, dtype=self.dtype, name="conv1")(h)
        if channels != self.features:
            x = conv(self.features, (1, 1), use_bias=False, name="shortcut")(x)
        elif self.down:
            x = resample.avg_pool(x)
        return (h + x) * np.asarray(0.5**0.5, x.dtype)

    def _normed(self, x: jax.Array, name: str) -> jax.Array:
        return InstanceNorm(affine=True, name=name)(x) if self.normalise else x


class StyleBlock(nn.Module):
    """A residual block with a style [B, S]: [B, H, W, C] -> [B, H, W, features], or twice the size.

    (AdaIN, leaky ReLU, nearest upsampling, 3x3 convolution C -> features, AdaIN, leaky ReLU, 3x3 convolution, plus the
    shortcut) / sqrt(2). The shortcut is upsampling, and a 1x1 convolution without bias if `features` is not C.

    Attributes:
      features: channels of the result.
      up: whether it doubles the size.
      shortcut: False for no shortcut, and then no division.
    """

    features: int
    up: bool = False
    shortcut: bool = True
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        conv = functools.partial(
            UpConv if self.up else Conv, kernel_init=he_normal, dtype=self.dtype
        )
        h = activation(AdaIn(self.dtype, name="norm0")(x, style))
        h = conv(self.features, name="conv0")(h)
        h = activation(AdaIn(self.dtype, name="norm1")(h, style))
        h = Conv(self.features, kernel_init=he_normal, dtype=self.dtype, name="conv1")(h)
        if not self.shortcut:
            return h
        if x.shape[-1] != self.features:
            x = conv(self.features, (1, 1), use_bias=False, name="shortcut")(x)
        elif self.up:
            x = resample.upsample_nearest(x)
        return (h + x) * np.asarray(0.5**0.5, x.dtype)


def high_pass(x: jax.Array, strength: float) -> jax.Array:
    """The 8-neighbour Laplacian of each channel divided by `strength`, with zero padding: [B, H, W, C] -> the same.

    >>> flat = jnp.ones((1, 3, 3, 1))
    >>> high_pass(flat, 1.0)[0, 1, 1, 0].item()
    0.0
    """
    rows = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    rows = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    both = jnp.pad(rows, ((0, 0), (0, 0), (1, 1), (0, 0)))
    around = both[:, :, :-2] + both[:, :, 1:-1] + both[:, :, 2:]
    return (9 * x - around) * np.asarray(1 / strength, x.dtype)


class Generator(nn.Module):
    """Pictures [B, H, W, C] and a style [B, S] to pictures [B, H, W, C], which are not limited to [-1, 1].

    A 3x3 convolution, blocks that halve the size, two more, as many `StyleBlock`s in reverse, instance normalisation,
    leaky ReLU and a 1x1 convolution.

    Attributes:
      channels: C.
      widths: see `widths`; one halving for each number but the first.
      high_pass: 0, or for skip connections from encoder to decoder at a half, a quarter and an eighth of the size: the
        encoder's features through `high_pass(x, high_pass)`. `StyleBlock`s then have no shortcut.
    """

    channels: int
    widths: tuple[int, ...]
    high_pass: float = 0.0
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        *upper, last = self.widths
        side, skips = x.shape[1], {}
        shortcut = self.high_pass == 0
        style = style.astype(self.dtype or style.dtype)
        h = x.astype(self.dtype or x.dtype)
        h = Conv(self.widths[0], kernel_init=he_normal, dtype=self.dtype, name="from_picture")(h)
        for i, features in enumerate(self.widths[1:]):
            skips[h.shape[1]] = h
            h = Block(features, True, True, self.dtype, name=f"encode{i}")(h)
        for i in range(2):
            h = Block(last, False, True, self.dtype, name=f"middle{i}")(h)
        for i in range(2):
            h = StyleBlock(last, False, shortcut, self.dtype, name=f"style{i}")(h, style)
        for i, features in reversed([*enumerate(upper)]):
            h = StyleBlock(features, True, shortcut, self.dtype, name=f"decode{i}")(h, style)
            if self.high_pass and side // h.shape[1] in (2, 4, 8):
                h = h + high_pass(skips[h.shape[1]], self.high_pass)
        h = activation(InstanceNorm(affine=True, name="norm")(h))
        last_conv = Conv(
            self.channels, (1, 1), kernel_init=he_normal, dtype=self.dtype, name="to_picture"
        )
        return last_conv(h).astype(jnp.float32)


def of_domain(every: jax.Array, domain: jax.Array) -> jax.Array:
    """The head of each example's domain: [B, K, ...], int32 [B] -> [B, ...]; NaN for domains not from 0 to K - 1."""
    check_labels(domain, every.shape[0])
    index = domain.reshape(-1, *[1] * (every.ndim - 1))
    found = jnp.take_along_axis(every, index, axis=1, mode="fill", fill_value=jnp.nan)
    return jnp.where(index < 0, jnp.nan, found)[:, 0]


class Heads(nn.Module):
    """A linear layer for each domain: [B, I] or [B, K, I] -> [B, K, features]."""

    domains: int
    features: int

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal", batch_axis=(0,))
        shape = (self.domains, h.shape[-1], self.features)
        kernel = self.param("kernel", init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape[::2], jnp.float32)
        equation = "bi,kio->bko" if h.ndim == 2 else "bki,kio->bko"
        return jnp.einsum(equation, h, kernel.astype(h.dtype)) + bias.astype(h.dtype)[None]


class Mapping(nn.Module):
    """Latents [B, L] and a domain int32 [B] to styles float32 [B, S], by layers that domains share, and layers of each.

    Four layers of `width` with ReLU are shared; each domain has three more and a linear layer to S components.
    """

    domains: int
    style_dim: int = 64
    width: int = 512

    @nn.compact
    def __call__(self, latent: jax.Array, domain: jax.Array) -> jax.Array:
        h = latent
        for i in range(4):
            h = nn.relu(nn.Dense(self.width, kernel_init=he_normal, name=f"shared{i}")(h))
        for i in range(3):
            h = nn.relu(Heads(self.domains, self.width, name=f"own{i}")(h))
        return of_domain(Heads(self.domains, self.style_dim, name="output")(h), domain)


class PictureHeads(nn.Module):
    """Pictures [B, H, H, C] and a domain int32 [B] to the outputs of the domain's head, float32 [B, features].

    A 3x3 convolution, blocks without normalisation that halve the size down to 4x4, leaky ReLU, a convolution of these
    16 pixels, leaky ReLU, and a linear layer for each domain. It is the style encoder, and with one output the critic.

    Attributes:
      domains: K.
      features: numbers for each domain.
      widths: see `widths`; as many halvings as lead to 4x4.
    """

    domains: int
    features: int
    widths: tuple[int, ...]
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, domain: jax.Array) -> jax.Array:
        downs = len(self.widths) - 1
        if x.shape[1:3] != (SMALLEST << downs,) * 2:
            raise ValueError(
                f"a network that halves {downs} times to {SMALLEST}x{SMALLEST} needs pictures of"
                f" {SMALLEST << downs}x{SMALLEST << downs}, not {x.shape[1]}x{x.shape[2]}."
            )
        h = x.astype(self.dtype or x.dtype)
        h = Conv(self.widths[0], kernel_init=he_normal, dtype=self.dtype, name="from_picture")(h)
        for i, features in enumerate(self.widths[1:]):
            h = Block(features, True, False, self.dtype, name=f"block{i}")(h)
        h = activation(h).reshape(h.shape[0], -1)
        dense = nn.Dense(self.widths[-1], kernel_init=he_normal, dtype=self.dtype, name="whole")
        h = activation(dense(h)).astype(jnp.float32)
        return of_domain(Heads(self.domains, self.features, name="heads")(h), domain)
