"""PatchGAN: a critic with one logit per patch of the picture, alone or at several scales."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nets.conv import Conv, HalvingConv
from jaxgan.nets.heads import Judgement
from jaxgan.nets.init import normal_002
from jaxgan.nets.norm import BatchNorm, InstanceNorm
from jaxgan.nets.spectral import spectral_norm

BORDER = ((0, 0), (1, 1), (1, 1), (0, 0))  # one pixel around images
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
            fields: dict[str, Any] = {
                "use_bias": bias,
                "kernel_init": normal_002,
                "dtype": self.dtype,
                "name": name,
            }
            if stride == 2:
                return HalvingConv(features, **fields)(x)
            if not self.layers:
                return Conv(features, (1, 1), **fields)(x)
            return nn.Conv(features, (4, 4), padding=((1, 1), (1, 1)), **fields)(x)

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


def halved(x: jax.Array) -> jax.Array:
    """[B, H, W, C] to [B, ceil(H / 2), ceil(W / 2), C]: the means of the pixels in windows of 3x3 with stride 2.

    The windows are centred on every other pixel; at the border they have fewer pixels.

    >>> print(halved(jnp.arange(5.0).reshape(1, 1, 5, 1)).ravel())
    [0.5 2.  3.5]
    """
    total = nn.pooling.pool(x, 0.0, jax.lax.add, (3, 3), (2, 2), ((1, 1), (1, 1)))
    counts = []
    for side in x.shape[1:3]:
        centres = np.arange(0, side, 2)
        counts.append(3 - (centres == 0) - (centres == side - 1))
    share = 1.0 / (counts[0][:, None] * counts[1])
    return total * jnp.asarray(share[None, ..., None], x.dtype)


class ScalesCritic(nn.Module):
    """Pictures [B, H, W, C] to logits [B, h, w] and features at several scales: lists in a `Judgement`.

    Each scale has its own network; from one to the next, pictures are halved by the mean of the pixels of 3x3 windows.
    A network has `layers` convolutions of 4x4 pixels, of stride 2 but for the last, and one more, which returns the
    logits. They are padded by 2 pixels. The first has `features` channels, each further one has twice as many as the
    one before it, up to 8 `features`. A leaky ReLU of slope 0.2 follows every convolution but the last. Those between
    the first and the last are spectrally normalised, and instance normalisation precedes their ReLUs. The features are
    the outputs of the ReLUs, one list for each scale.

    Sources: Wang et al., High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (2018),
    Section 3.2; Park et al., Semantic Image Synthesis with Spatially-Adaptive Normalization (2019), Appendix A.
    """

    features: int = 64
    layers: int = 4
    scales: int = 2
    kernel_init: nn.initializers.Initializer = normal_002
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> Judgement:
        logits, features = [], []
        x = x.astype(self.dtype or x.dtype)
        for scale in range(self.scales):
            if scale:
                x = halved(x)
            found, layers = self._scale(x, f"scale{scale}_")
            logits.append(found)
            features.append(layers)
        return Judgement(logits, {}, features)

    def _scale(self, x: jax.Array, prefix: str) -> tuple[jax.Array, list[jax.Array]]:
        def conv(x, features, stride, name, norm=lambda layer: layer, bias=True):
            fields: dict[str, Any] = {
                "use_bias": bias,
                "kernel_init": self.kernel_init,
                "dtype": self.dtype,
                "name": f"{prefix}{name}",
            }
            if stride == 2:  # the layer adds one pixel of the border itself
                return norm(HalvingConv)(features, **fields)(jnp.pad(x, BORDER))
            return norm(nn.Conv)(features, (4, 4), padding=((2, 2), (2, 2)), **fields)(x)

        found = []
        for i in range(self.layers):
            features, stride = self.features * min(2**i, 8), 1 if i == self.layers - 1 else 2
            if i == 0:
                x = conv(x, features, 2, "conv0")
            else:
                x = conv(x, features, stride, f"conv{i}", spectral_norm, bias=False)
                x = InstanceNorm(name=f"{prefix}norm{i}")(x)
            x = nn.leaky_relu(x, 0.2)
            found.append(x)
        return conv(x, 1, 1, "output")[..., 0].astype(jnp.float32), found
