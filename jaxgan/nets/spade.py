"""GauGAN's networks: a generator whose normalisation depends on a label map, and an encoder of the style.

Source: Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization", Section 3 and Appendix A.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import resample
from jaxgan.nets.conv import Conv
from jaxgan.nets.norm import (
    PLAIN,
    InstanceNorm,
    PlainNorm,
    SpatialNorm,
    adaptive_norm,
    nearest,
)
from jaxgan.nets.spectral import spectral_norm

# Glorot's normal initialisation with gain 0.02: the gains and biases of `SpatialNorm` start near 0.
glorot_002 = nn.initializers.variance_scaling(0.02**2, "fan_avg", "normal")

NORMS = ("spade", "adain", *PLAIN)
_MOST_DOUBLINGS = 7


def block_widths(width: int, doublings: int) -> list[tuple[int, ...]]:
    """The features of the blocks at each resolution, from the first to that of the picture.

    There are seven blocks for the paper's 5 doublings (two of them at the second resolution) and for 6, one more for 7.

    >>> block_widths(64, 5)
    [(1024,), (1024, 1024), (512,), (256,), (128,), (64,)]
    >>> block_widths(64, 6)
    [(1024,), (1024,), (1024,), (512,), (256,), (128,), (64,)]
    >>> block_widths(64, 3)
    [(1024,), (1024, 1024), (512,), (256,)]
    """
    first: list[tuple[int, ...]] = [(16 * width,), (16 * width,), (16 * width,)]
    if doublings <= 5:
        first = [(16 * width,), (16 * width, 16 * width)]
    further = [max(1, 16 * width // 2**i) for i in range(1, _MOST_DOUBLINGS - 1)]
    return [*first, *((n,) for n in further)][: doublings + 1]


class Block(nn.Module):
    """A residual block, [B, H, W, I] to [B, H, W, features], with the normalisations of `Generator`.

    Normalisation, leaky ReLU of slope 0.2 and 3x3 convolution, twice; if the number of channels changes, the shortcut
    is a normalisation and a 1x1 convolution without bias. The convolutions are spectrally normalised.
    """

    features: int
    norm: str
    plain: str
    hidden: int
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: jax.Array, label_map: jax.Array, style: jax.Array, train: bool
    ) -> jax.Array:
        shared: dict[str, Any] = {"kernel_init": glorot_002, "dtype": self.dtype}
        layer, given = spectral_norm(Conv), (label_map, style, train)
        middle = min(x.shape[-1], self.features)
        y = nn.leaky_relu(self.normed(x, "norm0", *given), 0.2)
        y = layer(middle, name="conv0", **shared)(y)
        y = nn.leaky_relu(self.normed(y, "norm1", *given), 0.2)
        y = layer(self.features, name="conv1", **shared)(y)
        if x.shape[-1] == self.features:
            return x + y
        x = self.normed(x, "norm_shortcut", *given)
        return y + layer(self.features, (1, 1), use_bias=False, name="shortcut", **shared)(x)

    def normed(
        self, x: jax.Array, name: str, label_map: jax.Array, style: jax.Array, train: bool
    ) -> jax.Array:
        if self.norm == "spade":
            norm = SpatialNorm(self.hidden, self.plain, glorot_002, self.dtype, name=name)
            return norm(x, label_map, train)
        if self.norm == "adain":
            dense = nn.Dense(2 * x.shape[-1], kernel_init=glorot_002, name=name)
            return adaptive_norm(x, dense(style))
        return PlainNorm(self.norm, affine=True, dtype=self.dtype, name=name)(x, train)


class Generator(nn.Module):
    """Latents z [B, L], or None, and label maps, one-hot [B, H, W, K], to pictures [B, H, W, channels] in [-1, 1].

    The first features are a linear function of z, or without z a convolution of the label map. Blocks with nearest
    neighbour upsampling between resolutions follow, see `block_widths`. The label map enters by their normalisations:

        norm       gain and bias of the normalised features
        spade      convolutions of the label map, see `SpatialNorm`; `plain` is its normalisation without parameters
        adain      linear functions of z and the share of each label, after instance normalisation
        batch, instance, layer, group   constants for each channel: the label map is an input only

    Except with "spade", the first features are computed from the label map (and z), as it is not known otherwise.
    `train`: see `jaxgan.nets.norm.BatchNorm`.
    """

    channels: int
    width: int = 64
    doublings: int = 5
    norm: str = "spade"
    plain: str = "batch"
    hidden: int = 128
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, z: jax.Array | None, label_map: jax.Array, train: bool = True) -> jax.Array:
        shares = jnp.mean(label_map, axis=(1, 2))
        style = shares if z is None else jnp.concatenate([z, shares], axis=-1)
        label_map = label_map.astype(self.dtype or label_map.dtype)
        x = self.first(z, label_map)
        for level, widths in enumerate(block_widths(self.width, self.doublings)):
            if level:
                x = resample.upsample_nearest(x)
            for i, width in enumerate(widths):
                block = Block(
                    width, self.norm, self.plain, self.hidden, self.dtype, name=f"block{level}_{i}"
                )
                x = block(x, label_map, style, train)
        x = Conv(self.channels, kernel_init=glorot_002, dtype=self.dtype, name="output")(
            nn.leaky_relu(x, 0.2)
        )
        return jnp.tanh(x.astype(jnp.float32))

    def first(self, z: jax.Array | None, label_map: jax.Array) -> jax.Array:
        """The features [B, H', W', 16 width] at the first resolution."""
        shared: dict[str, Any] = {"kernel_init": glorot_002, "dtype": self.dtype}
        rows, columns = (side >> self.doublings for side in label_map.shape[1:3])
        features = 16 * self.width
        x: jax.Array | None = None
        if z is not None:
            x = nn.Dense(rows * columns * features, name="latent", **shared)(z)
            x = x.reshape(-1, rows, columns, features)
        if x is None or self.norm != "spade":
            small = nearest(label_map, (len(label_map), rows, columns))
            y = Conv(features, name="label_map", **shared)(small)
            x = y if x is None else x + y
        return x


class Encoder(nn.Module):
    """Pictures [B, H, W, C] to mean and log variance, float32 [B, latent_dim] each, of the latent of their style.

    `layers` 3x3 convolutions of stride 2, spectrally normalised and followed by instance normalisation and a leaky ReLU
    of slope 0.2, the first of `width` channels, each further one of twice as many, up to 8 `width`; then linear layers.
    """

    latent_dim: int
    layers: int = 6
    width: int = 64
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = x.astype(self.dtype or x.dtype)
        for i in range(self.layers):
            conv = spectral_norm(nn.Conv)(
                self.width * min(2**i, 8),
                (3, 3),
                strides=2,
                padding=((1, 1), (1, 1)),
                use_bias=False,
                kernel_init=glorot_002,
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = nn.leaky_relu(InstanceNorm(name=f"norm{i}")(conv(x)), 0.2)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        dense = partial(nn.Dense, self.latent_dim, kernel_init=glorot_002)
        return dense(name="mean")(x), dense(name="log_variance")(x)
