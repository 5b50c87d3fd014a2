"""The networks of StarGAN: an encoder and decoder with a domain as further channels, and a critic of two heads.

Source: Choi et al., StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation
(2018), Appendix (network architecture).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.conv import Conv, DoublingConv, HalvingConv
from jaxgan.nets.norm import InstanceNorm

# U(-1, 1) / sqrt(fan_in), PyTorch's default, with which the authors train.
uniform_fan_in = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Generator(nn.Module):
    """Pictures [B, H, W, C] and a vector of the domain [B, K] to pictures [B, H, W, C] in [-1, 1].

    A convolution of 7x7 pixels with `width` channels, `downs` of 4x4 pixels and stride 2, each with twice as many
    channels as the one before it, `blocks` residual blocks of two 3x3 convolutions, as many transposed convolutions as
    there were strided ones, and a convolution of 7x7 pixels. Instance normalisation with gain and bias, then a ReLU,
    follow every convolution but the last; the second one of a block has no ReLU. No convolution has a bias. The vector
    is repeated over the pixels. Pictures are padded with zeros: by reflection, the padding of the vector's channels
    would not differ from their inside.

    Attributes:
      channels: C.
      width, downs, blocks: see above; 2^downs divides H and W.
    """

    channels: int
    width: int = 64
    downs: int = 2
    blocks: int = 6
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, domain: jax.Array) -> jax.Array:
        multiple = 2**self.downs
        if x.shape[1] % multiple or x.shape[2] % multiple:
            raise ValueError(
                f"a generator that halves {self.downs} times needs pictures whose sides are multiples of {multiple}"
                f" pixels, not {x.shape[1]}x{x.shape[2]}."
            )
        how: dict[str, Any] = {
            "use_bias": False,
            "kernel_init": uniform_fan_in,
            "dtype": self.dtype,
        }
        dtype = self.dtype or x.dtype
        planes = jnp.broadcast_to(domain[:, None, None], (*x.shape[:3], domain.shape[1]))
        h = jnp.concatenate([x.astype(dtype), planes.astype(dtype)], axis=-1)
        h = self._active(Conv(self.width, (7, 7), **how, name="first")(h), "first_norm")
        for i in range(self.downs):
            features = self.width * 2 ** (i + 1)
            down = HalvingConv(features, **how, name=f"down{i}")
            h = self._active(down(h), f"down{i}_norm")
        for i in range(self.blocks):
            inner = Conv(h.shape[-1], **how, name=f"block{i}_conv0")(h)
            inner = self._active(inner, f"block{i}_norm0")
            inner = Conv(h.shape[-1], **how, name=f"block{i}_conv1")(inner)
            h = h + InstanceNorm(affine=True, name=f"block{i}_norm1")(inner)
        for i in reversed(range(self.downs)):
            up = DoublingConv(self.width * 2**i, **how, name=f"up{i}")
            h = self._active(up(h), f"up{i}_norm")
        h = Conv(self.channels, (7, 7), **how, name="last")(h)
        return nn.tanh(h.astype(jnp.float32))

    def _active(self, h: jax.Array, name: str) -> jax.Array:
        return nn.relu(InstanceNorm(affine=True, name=name)(h))


class Judged(NamedTuple):
    """The critic's outputs: `logits` float32 [B, h, w], one for each patch, and `domain` float32 [B, K]."""

    logits: jax.Array
    domain: jax.Array


class Critic(nn.Module):
    """Pictures [B, H, W, C] to `Judged`.

    `layers` convolutions of 4x4 pixels and stride 2, each followed by a leaky ReLU of slope 0.01; the first has `width`
    channels, each further one twice as many as the one before it. A 3x3 convolution without bias returns the logits of
    the patches, and a linear layer of all remaining pixels, without bias, those of the domains.

    Attributes:
      domains: K.
      width, layers: see above; 2^layers divides H and W.
    """

    domains: int
    width: int = 64
    layers: int = 6
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> Judged:
        how: dict[str, Any] = {"kernel_init": uniform_fan_in, "dtype": self.dtype}
        h = x.astype(self.dtype or x.dtype)
        for i in range(self.layers):
            conv = HalvingConv(self.width * 2**i, **how, name=f"conv{i}")
            h = nn.leaky_relu(conv(h), 0.01)
        logits = Conv(1, **how, use_bias=False, name="logits")(h)
        flat = h.reshape(h.shape[0], -1)
        domain = nn.Dense(self.domains, **how, use_bias=False, name="domain")(flat)
        return Judged(logits[..., 0].astype(jnp.float32), domain.astype(jnp.float32))
