"""R3GAN's networks: residual blocks of grouped convolutions, without normalisation.

Both networks have one stage for each size of feature maps, from 4 x 4 pixels to that of the pictures. The only biases
are those of the activations in the blocks. Kernels are initialised as in Fixup (Zhang et al. 2019): the last of each
block is zero, so that a block is the identity at first, and the others are smaller the more blocks there are.

The stage of 4 x 4 pixels is computed in float32, the others, at most the four of the largest sizes, in `dtype`.

Source: Huang et al., The GAN is Dead; Long Live the GAN! A Modern GAN Baseline (2024), Section 4 and its appendix.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import resample
from jaxgan.nets.conv import Conv, GroupedConv
from jaxgan.nets.labels import check_labels, one_hot
from jaxgan.nets.remat import recomputed

FIR = np.array([1.0, 3.0, 3.0, 1.0], np.float32) / 8
BASE = 4  # pixels of the first feature maps
LOW_PRECISION_STAGES = 4
# The gain of a leaky ReLU of slope 0.2: sqrt(2 / (1 + 0.2^2)).
GAIN = np.sqrt(2 / 1.04)


def normal(gain: float = 1.0) -> nn.initializers.Initializer:
    """N(0, gain^2 / fan_in)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


class Block(nn.Module):
    """x + conv1(a(grouped conv3(a(conv1(x))))), with more channels inside: [B, H, W, C] -> [B, H, W, C].

    a(y) = leaky ReLU (y + b), with a bias b for each channel.

    Attributes:
      groups: groups of channels of the 3x3 convolution.
      expansion: channels inside the block, as a multiple of C.
      blocks: number of blocks L of the whole network, for the initial scale of the kernels, L^(-1/4).
      dtype: of the arithmetic.
    """

    groups: int
    expansion: int
    blocks: int
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width, inner = x.shape[-1], self.expansion * x.shape[-1]
        init = normal(GAIN * self.blocks**-0.25)
        y = _conv1(inner, self.dtype, "conv0", init)(x)
        y = GroupedConv(
            inner,
            feature_group_count=self.groups,
            use_bias=False,
            kernel_init=init,
            dtype=self.dtype,
            name="conv1",
        )(self.activation(y, "bias0"))
        zeros = nn.initializers.zeros
        return x + _conv1(width, self.dtype, "conv2", zeros)(self.activation(y, "bias1"))

    def activation(self, y: jax.Array, name: str) -> jax.Array:
        bias = self.param(name, nn.initializers.zeros, y.shape[-1:], jnp.float32)
        return nn.leaky_relu(y + bias.astype(y.dtype)[None, None, None], 0.2)


class Backbone(nn.Module):
    """What both networks share.

    Attributes:
      widths: channels of each stage, from 4 x 4 pixels upwards.
      groups: groups of the 3x3 convolutions of each stage.
      blocks: residual blocks of each stage.
      expansion: see `Block`.
      num_classes: classes of the labels; None for an unconditional network.
      dtype: of the arithmetic in the stages of large feature maps.
      remat: recompute each stage in the backward pass (`jaxgan.nets.remat`).
    """

    widths: tuple[int, ...]
    groups: tuple[int, ...]
    blocks: tuple[int, ...]
    expansion: int = 2
    num_classes: int | None = None
    dtype: jax.typing.DTypeLike = jnp.float32
    remat: bool = False

    def stage_dtype(self, stage: int) -> jax.typing.DTypeLike:
        """
        >>> network = Backbone((8,) * 7, (1,) * 7, (1,) * 7, dtype=jnp.bfloat16)
        >>> [jnp.dtype(network.stage_dtype(i)).name for i in (0, 2, 3, 6)]
        ['float32', 'float32', 'bfloat16', 'bfloat16']
        """
        lowest = max(1, len(self.widths) - LOW_PRECISION_STAGES)
        return self.dtype if stage >= lowest else jnp.float32

    def residual(self, stage: int, x: jax.Array) -> jax.Array:
        """The blocks of a stage."""
        for i in range(self.blocks[stage]):
            x = Block(
                self.groups[stage],
                self.expansion,
                sum(self.blocks),
                self.stage_dtype(stage),
                name=f"stage{stage}_block{i}",
            )(x)
        return x


class Generator(Backbone):
    """Latents z [B, L], and labels int32 [B], or None, to pictures, float32 [B, R, R, channels], R = 2^(stages + 1).

    The basis, a learned tensor of 4 x 4 pixels, is multiplied channel by channel by a linear map of z and of an
    embedding of the label. The output is linear, without a tanh.

    Attributes:
      channels: of the pictures.
      label_dim: components of the embedding of a label.
    """

    channels: int = 3
    label_dim: int = 64

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        z = z.astype(jnp.float32)
        if self.num_classes is not None:
            check_labels(label, z.shape[0])
            embedded = _linear(self.label_dim, "embed")(one_hot(label, self.num_classes))
            z = jnp.concatenate([z, embedded], axis=1)
        scale = _linear(self.widths[0], "linear")(z)
        shape = (BASE, BASE, self.widths[0])
        basis = self.param("basis", nn.initializers.normal(1.0), shape, jnp.float32)
        x = basis[None] * scale[:, None, None]
        grow = recomputed(Generator.grow, self.remat)
        for stage in range(len(self.widths)):
            x = grow(self, stage, x)
        x = _conv1(self.channels, self.stage_dtype(len(self.widths) - 1), "output")(x)
        return x.astype(jnp.float32)

    def grow(self, stage: int, x: jax.Array) -> jax.Array:
        """The output of a stage from that of the stage before."""
        if stage > 0:
            dtype = self.stage_dtype(stage)
            x = _change_width(x.astype(dtype), self.widths[stage], dtype, f"stage{stage}_width")
            x = resample.upsample_fir(x, FIR)
        return self.residual(stage, x)


class Critic(Backbone):
    """Pictures [B, R, R, channels], and labels int32 [B], or None, to logits, float32 [B]; R = 2^(stages + 1).

    The mirror image of the generator: its last stage ends in a filter of 4 x 4 pixels for each channel and a linear
    map. With classes, the map has a vector as output, and the logit is the inner product of this vector with an
    embedding of the label.
    """

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None = None) -> jax.Array:
        last = len(self.widths) - 1
        x = _conv1(self.widths[last], self.stage_dtype(last), "input")(x)
        shrink = recomputed(Critic.shrink, self.remat)
        for stage in range(last, -1, -1):
            x = shrink(self, stage, x)
        width = self.widths[0]
        # A depth-wise convolution without padding has one output pixel here.
        basis = self.param("basis", normal(), (BASE, BASE, 1, width), jnp.float32)
        x = jnp.sum(x * basis[None, :, :, 0], axis=(1, 2))
        if self.num_classes is None:
            return _linear(1, "linear")(x)[:, 0]
        check_labels(label, x.shape[0])
        x = _linear(width, "linear")(x)
        embed = _linear(width, "embed", width**-0.5)
        return jnp.sum(x * embed(one_hot(label, self.num_classes)), axis=1)

    def shrink(self, stage: int, x: jax.Array) -> jax.Array:
        """The output of a stage from that of the stage above it; half the size but for the last one, in float32."""
        dtype = self.stage_dtype(stage)
        x = self.residual(stage, x.astype(dtype))
        if stage == 0:
            return x
        x = resample.downsample_fir(x, FIR)
        return _change_width(x, self.widths[stage - 1], dtype, f"stage{stage}_width")


def _change_width(x: jax.Array, width: int, dtype, name: str) -> jax.Array:
    """A 1x1 convolution to `width` channels, if `x` has another number."""
    return x if x.shape[-1] == width else _conv1(width, dtype, name)(x)


def _conv1(
    features: int, dtype, name: str, init: nn.initializers.Initializer | None = None
) -> Conv:
    return Conv(
        features, (1, 1), use_bias=False, kernel_init=init or normal(), dtype=dtype, name=name
    )


def _linear(features: int, name: str, gain: float = 1.0) -> nn.Dense:
    return nn.Dense(features, use_bias=False, kernel_init=normal(gain), name=name)
