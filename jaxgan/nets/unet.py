"""U-Net: an encoder and a decoder with a skip connection at every resolution."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.conv import DoublingConv, HalvingConv
from jaxgan.nets.init import normal_002
from jaxgan.nets.norm import BatchNorm, InstanceNorm

NORMS = ("batch", "instance")


class UNet(nn.Module):
    """Pictures [B, H, W, C] to pictures [B, H, W, features] in [-1, 1]; 2^downs divides H and W.

    The encoder has `downs` convolutions of 4x4 pixels and stride 2. The first has `width` channels; each further one
    has twice as many as the one before it, up to 8 `width`. The decoder has as many transposed convolutions. The input
    of each, except the first, is the concatenation of the output of the one before it and the encoder's features of the
    same resolution (`skips`). The encoder has leaky ReLUs of slope 0.2, the decoder ReLUs. Normalisation follows every
    convolution except the first, the last and the bottleneck's: for one picture, the bottleneck may be one pixel, which
    normalisation would set to zero. Only the last convolution has a bias.

    Dropout follows the normalisation of some layers of the decoder (`dropout_layers`, counted from the bottleneck). It
    is the only noise of the network and is active in evaluation too, so calls need the rng stream "dropout" unless
    `dropout` is 0.

    Source: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks (2017), Section 6.1.1.
    """

    features: int
    width: int = 64
    downs: int = 8
    norm: str = "batch"  # batch | instance
    dropout: float = 0.5
    skips: bool = True
    dtype: jax.typing.DTypeLike | None = None
    dropout_layers: tuple[int, ...] = (0, 1, 2)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        if self.norm not in NORMS:
            raise ValueError(f"a U-Net's norm is one of {', '.join(NORMS)}, not '{self.norm}'.")
        height, width = x.shape[1:3]
        if height % 2**self.downs or width % 2**self.downs:
            raise ValueError(
                f"a U-Net that halves {self.downs} times needs pictures whose sides are multiples of {2**self.downs}"
                f" pixels, not {height}x{width}."
            )
        shared: dict[str, Any] = {"kernel_init": normal_002, "dtype": self.dtype}
        channels = [self.width * min(2**i, 8) for i in range(self.downs)]

        def normed(x, name):
            if self.norm == "instance":
                return InstanceNorm(affine=True, name=f"{name}_norm")(x)
            return BatchNorm(dtype=self.dtype, name=f"{name}_norm")(x, None, train)

        x = x.astype(self.dtype or x.dtype)
        encoded = []
        for i in range(self.downs):
            conv = HalvingConv(channels[i], use_bias=False, name=f"down{i}", **shared)
            x = conv(nn.leaky_relu(x, 0.2) if i else x)
            if 0 < i < self.downs - 1:
                x = normed(x, f"down{i}")
            encoded.append(x)
        for i in reversed(range(1, self.downs)):
            up = DoublingConv(channels[i - 1], use_bias=False, name=f"up{i}", **shared)
            x = normed(up(nn.relu(x)), f"up{i}")
            if self.downs - 1 - i in self.dropout_layers:
                x = nn.Dropout(self.dropout, deterministic=False)(x)
            if self.skips:
                x = jnp.concatenate([encoded[i - 1], x], axis=-1)
        x = DoublingConv(self.features, name="up0", **shared)(nn.relu(x))
        return jnp.tanh(x.astype(jnp.float32))
