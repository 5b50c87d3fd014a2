"""The strided convolutional networks of DCGAN, LSGAN, WGAN and the CNN of the SN-GAN paper."""

from __future__ import annotations

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.conv import Conv, DoublingConv, HalvingConv
from jaxgan.nets.init import normal_002
from jaxgan.nets.labels import check_labels, lookup
from jaxgan.nets.norm import BatchNorm
from jaxgan.options import OptionError


def doublings(resolution: int, bottom: int, model: str) -> int:
    """Number of doublings from `bottom` to `resolution`; raises if there is none."""
    steps = math.log2(resolution / bottom)
    if steps < 1 or steps != int(steps):
        below = bottom * 2 ** max(1, math.floor(steps))
        raise OptionError(
            None,
            None,
            f"{model} makes square pictures of {bottom} times a power of two pixels, not {resolution}",
            {"data.resolution": below},
        )
    return int(steps)


class ConvGenerator(nn.Module):
    """Latent [B, L] to pictures [B, R, R, C] in [-1, 1].

    A linear map to bottom x bottom x (width 2^n), n stride-2 4x4 transposed convolutions that halve the channels, each
    with batch normalisation and ReLU, and a 3x3 convolution to the picture (SN-GAN, Table 3).
    """

    resolution: int
    channels: int
    width: int = 64
    bottom: int = 4
    num_classes: int | None = None
    kernel_init: Callable = normal_002
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None = None, train: bool = True):
        n = doublings(self.resolution, self.bottom, type(self).__name__)
        top = self.width * 2**n
        x = nn.Dense(
            self.bottom**2 * top, kernel_init=self.kernel_init, dtype=self.dtype, name="project"
        )(latent)
        x = x.reshape(-1, self.bottom, self.bottom, top)
        for i in range(n):
            # No bias: the batch normalisation that follows subtracts it, so its gradient would be rounding error.
            x = DoublingConv(
                top // 2 ** (i + 1),
                use_bias=False,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"up{i}",
            )(x)
            x = nn.relu(
                BatchNorm(self.num_classes, dtype=self.dtype, name=f"norm{i}")(x, label, train)
            )
        x = Conv(self.channels, kernel_init=self.kernel_init, dtype=self.dtype, name="output")(x)
        return jnp.tanh(x.astype(jnp.float32))


class ConvCritic(nn.Module):
    """Pictures [B, R, R, C] to logits [B].

    n pairs of a 3x3 convolution and a 4x4 convolution of stride 2, with channels that double from `width`; then a 3x3
    convolution and a linear layer (SN-GAN, Table 3). With batch normalisation, it follows every convolution.
    `kernel_norm` maps a layer class to the class that is used. With labels, the features are summed over space before
    the linear layer, and their inner product with a class embedding is added (Miyato and Koyama 2018, Eq. 3).
    """

    bottom: int = 4
    width: int = 64
    num_classes: int | None = None
    batch_norm: bool = False
    leak: float = 0.0
    kernel_norm: Callable[[type], type] = lambda layer: layer
    kernel_init: Callable = normal_002
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None = None, train: bool = True):
        n = doublings(x.shape[1], self.bottom, type(self).__name__)

        def conv(x, layer, features, name):
            x = self.kernel_norm(layer)(
                features,
                use_bias=not self.batch_norm,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=name,
            )(x)
            if self.batch_norm:
                x = BatchNorm(dtype=self.dtype, name=f"{name}_norm")(x, None, train)
            return nn.leaky_relu(x, self.leak)

        for i in range(n):
            x = conv(x, Conv, self.width * 2**i, f"same{i}")
            x = conv(x, HalvingConv, self.width * 2**i, f"down{i}")
        x = conv(x, Conv, self.width * 2**n, f"same{n}")
        dense = self.kernel_norm(nn.Dense)(
            1, kernel_init=self.kernel_init, dtype=self.dtype, name="output"
        )
        if self.num_classes is None:
            return dense(x.reshape(x.shape[0], -1))[:, 0].astype(jnp.float32)
        check_labels(label, x.shape[0])
        x = jnp.sum(x, axis=(1, 2))
        table = self.kernel_norm(nn.Embed)(
            self.num_classes,
            x.shape[-1],
            embedding_init=self.kernel_init,
            dtype=self.dtype,
            name="projection",
        )
        logits = dense(x)[:, 0] + jnp.sum(lookup(table, label) * x, axis=-1)
        return logits.astype(jnp.float32)
