"""PatchGAN: a critic with one logit per patch of the picture."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.init import normal_002
from jaxgan.nets.norm import BatchNorm, InstanceNorm

NORMS = ("batch", "instance", "none")


def receptive_field(layers: int) -> int:
    """Receptive field of one logit of `PatchCritic(layers=layers)`: the side of a square in pixels.

    >>> [receptive_field(layers) for layers in (0, 1, 3, 5)]
    [1, 16, 70, 286]
    """
    if layers == 0:
        return 1
    size = 4 + 3  # the last two convolutions, 4x4 pixels and stride 1
    for _ in range(layers):
        size = 2 * (size - 1) + 4
    return size


class PatchCritic(nn.Module):
    """Pictures [B, H, W, C] to logits [B, h, w].

    `layers` convolutions of 4x4 pixels and stride 2, then two of stride 1, the last of which returns the logits. The
    first has `features` channels; each further one has twice as many as the one before it, up to 8 `features`. A leaky
    ReLU of slope 0.2 follows every convolution but the last, and a normalisation precedes each ReLU but the first. With
    no layers, there are three 1x1 convolutions: the "PixelGAN". Convolutions before a normalisation have no bias.

    Source: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks (2017), Section 6.1.2.
    """

    features: int = 64
    layers: int = 3
    norm: str = "batch"  # batch | instance | none
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        if self.norm not in NORMS:
            raise ValueError(f"a PatchGAN's norm is one of {', '.join(NORMS)}, not '{self.norm}'.")

        def conv(x, features, name, stride=1, bias=True):
            size, pad = ((4, 4), (1, 1)) if self.layers else ((1, 1), (0, 0))
            return nn.Conv(
                features,
                size,
                strides=stride,
                padding=(pad, pad),
                use_bias=bias,
                kernel_init=normal_002,
                dtype=self.dtype,
                name=name,
            )(x)

        def normed(x, name):
            if self.norm == "batch":
                x = BatchNorm(dtype=self.dtype, name=name)(x, None, train)
            elif self.norm == "instance":
                x = InstanceNorm(name=name)(x)
            return nn.leaky_relu(x, 0.2)

        x = x.astype(self.dtype or x.dtype)
        stride = 2 if self.layers else 1
        x = nn.leaky_relu(conv(x, self.features, "conv0", stride), 0.2)
        hidden = max(
            self.layers, 1
        )  # number of convolutions with a normalisation; the last has stride 1
        for i in range(1, hidden + 1):
            stride = 2 if i < self.layers else 1
            features = self.features * min(2**i, 8)
            x = normed(conv(x, features, f"conv{i}", stride, bias=self.norm == "none"), f"norm{i}")
        return conv(x, 1, "output")[..., 0].astype(jnp.float32)
