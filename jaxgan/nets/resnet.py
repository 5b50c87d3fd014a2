"""The residual backbone of WGAN-GP and SN-GAN: nearest upsampling in the generator, average pooling in the critic.

Two exact rewrites save about a third of the arithmetic. A 3x3 convolution next to a pooling or an upsampling is one
fused operation (`jaxgan.nets.conv`). A 1x1 convolution commutes with both, so shortcuts convolve the smaller images.
The generator can also upsample bilinearly, where only the second rewrite applies.

Convolutions that reach the output only through batch normalisation have no bias. The normalisation would subtract it,
so its gradient would be rounding error, which Adam would turn into a random walk. Other implementations have these
biases (`biases`), and some give the shortcuts of the critic the input after its ReLU (`rectified`): weights that were
trained there need both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import resample
from jaxgan.nets.attention import SelfAttention
from jaxgan.nets.conv import BilinearUpConv, Conv, DownConv, UpConv, upsample_bilinear
from jaxgan.nets.heads import Judgement, Labels, judge
from jaxgan.nets.init import glorot, glorot_relu
from jaxgan.nets.norm import BatchNorm
from jaxgan.nets.remat import recomputed


class Upsampling(NamedTuple):
    """How a generator doubles the sides of images.

    Attributes:
      alone: [B, H, W, C] -> [B, 2H, 2W, C].
      conv: the layer that does so and then convolves.
    """

    alone: Callable[[jax.Array], jax.Array]
    conv: type[nn.Conv]


UPSAMPLINGS = {
    "nearest": Upsampling(resample.upsample_nearest, UpConv),
    "bilinear": Upsampling(upsample_bilinear, BilinearUpConv),
}


def plain(layer: type) -> type:
    """The `kernel_norm` that changes nothing."""
    return layer


class Inits(NamedTuple):
    """The initialisers of a network's kernels.

    Attributes:
      relu: of 3x3 convolutions before a ReLU.
      linear: of other layers.
    """

    relu: nn.initializers.Initializer = glorot_relu
    linear: nn.initializers.Initializer = glorot


class GeneratorBlock(nn.Module):
    """BN-ReLU-upsample-conv3-BN-ReLU-conv3, plus a 1x1 convolution of the upsampled input.

    `norm` makes the normalisations, which are called with (x, condition, train). `upsampling`: see `UPSAMPLINGS`.
    `biases`: whether the convolutions have any.
    """

    features: int
    norm: Callable[..., nn.Module] = BatchNorm
    kernel_norm: Callable[[type], type] = plain
    inits: Inits = Inits()
    upsampling: str = "nearest"
    dtype: jax.typing.DTypeLike | None = None
    biases: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None, train: bool) -> jax.Array:
        def norm(x, name):
            return nn.relu(self.norm(name=name)(x, condition, train))

        conv: dict[str, Any] = {
            "use_bias": self.biases,
            "kernel_init": self.inits.relu,
            "dtype": self.dtype,
        }
        kernel_norm, upsampling = self.kernel_norm, UPSAMPLINGS[self.upsampling]
        y = kernel_norm(upsampling.conv)(self.features, (3, 3), **conv, name="conv0")(
            norm(x, "norm0")
        )
        y = kernel_norm(Conv)(self.features, (3, 3), **conv, name="conv1")(norm(y, "norm1"))
        shortcut = kernel_norm(Conv)(
            self.features,
            (1, 1),
            use_bias=self.biases,
            kernel_init=self.inits.linear,
            dtype=self.dtype,
            name="shortcut",
        )(x)
        return y + upsampling.alone(shortcut)


class CriticBlock(nn.Module):
    """ReLU-conv3-ReLU-conv3 and, if `down`, average pooling; plus the shortcut.

    The shortcut is pooled too; it has a 1x1 convolution if `down` or if the number of channels changes. With `first`,
    for the block that takes the pictures, there is no initial ReLU. The first convolution has as many channels as the
    input, or `features` if `wide` or `first`. With `rectified`, the shortcut of another than the first block takes the
    input after its ReLU too.
    """

    features: int
    down: bool = False
    first: bool = False
    wide: bool = False
    kernel_norm: Callable[[type], type] = plain
    inits: Inits = Inits()
    dtype: jax.typing.DTypeLike | None = None
    rectified: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, down_conv = self.kernel_norm(Conv), self.kernel_norm(DownConv)
        hidden = self.features if self.first or self.wide else x.shape[-1]
        options = {"kernel_init": self.inits.relu, "dtype": self.dtype}
        y = x if self.first else nn.relu(x)
        x = y if self.rectified else x
        y = nn.relu(conv(hidden, (3, 3), **options, name="conv0")(y))
        y = (down_conv if self.down else conv)(self.features, (3, 3), **options, name="conv1")(y)
        if self.down:
            x = resample.avg_pool(x)
        if self.down or x.shape[-1] != self.features:
            x = conv(
                self.features,
                (1, 1),
                kernel_init=self.inits.linear,
                dtype=self.dtype,
                name="shortcut",
            )(x)
        return y + x


class ResNetGenerator(nn.Module):
    """Latent [B, L] to pictures [B, R, R, C] in [-1, 1]; R = bottom * 2^len(features).

    A linear map to bottom x bottom x top features, one upsampling block per entry of `features`, BN-ReLU-conv3-tanh.
    With `attention`, the block whose output has this side is followed by an attention block. `shortcut_init` is for the
    shortcuts and the last convolution. `upsampling`: see `UPSAMPLINGS`. `biases`: see `GeneratorBlock`.
    """

    bottom: int
    top: int
    features: tuple[int, ...]
    channels: int
    num_classes: int | None = None
    kernel_norm: Callable[[type], type] = plain
    attention: int | None = None
    shortcut_init: nn.initializers.Initializer = glorot
    upsampling: str = "nearest"
    dtype: jax.typing.DTypeLike | None = None
    biases: bool = False

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None = None, train: bool = True):
        kernel_norm, dtype = self.kernel_norm, self.dtype
        inits = Inits(linear=self.shortcut_init)
        x = kernel_norm(nn.Dense)(
            self.bottom**2 * self.top, kernel_init=glorot, dtype=dtype, name="project"
        )(latent)
        x = x.reshape(-1, self.bottom, self.bottom, self.top)
        norm = partial(BatchNorm, self.num_classes, dtype=dtype)
        for i, features in enumerate(self.features):
            block = GeneratorBlock(
                features,
                norm,
                kernel_norm,
                inits,
                self.upsampling,
                dtype,
                self.biases,
                name=f"block{i}",
            )
            x = block(x, label, train)
            if x.shape[1] == self.attention:
                x = SelfAttention(kernel_norm, dtype=dtype, name="attention")(x)
        x = nn.relu(BatchNorm(dtype=dtype, name="norm")(x, None, train))
        x = kernel_norm(Conv)(
            self.channels, (3, 3), kernel_init=self.shortcut_init, dtype=dtype, name="output"
        )(x)
        return jnp.tanh(x.astype(jnp.float32))


class ResNetCritic(nn.Module):
    """Pictures [B, R, R, C] to logits [B], or to a `Judgement` if the conditioning has further heads.

    One block per entry of `features`, the first `downs` of which halve the picture; a ReLU; the sum of features over
    space (the mean if `mean_pool`); the outputs of `jaxgan.nets.heads`. With `attention`, the first block whose output
    has this side is followed by an attention block. `wide`, `rectified`: see `CriticBlock`. `shortcut_init` is for the
    shortcuts, if it is not `inits.linear`. `remat`: recompute the activations of each block in the backward pass
    (`jaxgan.nets.remat`).
    """

    features: tuple[int, ...]
    downs: int
    labels: Labels | None = None
    wide: bool = False
    mean_pool: bool = False
    output_bias: bool = True
    kernel_norm: Callable[[type], type] = plain
    attention: int | None = None
    inits: Inits = Inits()
    shortcut_init: nn.initializers.Initializer | None = None
    dtype: jax.typing.DTypeLike | None = None
    remat: bool = False
    rectified: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, train: bool = True
    ) -> jax.Array | Judgement:
        inits = self.inits._replace(linear=self.shortcut_init or self.inits.linear)
        attended, block_class = False, recomputed(CriticBlock, self.remat, static=0)
        for i, features in enumerate(self.features):
            block = block_class(
                features,
                i < self.downs,
                i == 0,
                self.wide,
                self.kernel_norm,
                inits,
                self.dtype,
                self.rectified,
                name=f"block{i}",
            )
            x = block(x)
            if x.shape[1] == self.attention and not attended:
                attended = True
                x = SelfAttention(
                    self.kernel_norm, self.inits.linear, self.dtype, name="attention"
                )(x)
        x = nn.relu(x)
        x = jnp.mean(x, axis=(1, 2)) if self.mean_pool else jnp.sum(x, axis=(1, 2))
        return judge(
            x,
            label,
            self.labels,
            kernel_norm=self.kernel_norm,
            init=self.inits.linear,
            output_bias=self.output_bias,
            dtype=self.dtype,
        )
