"""StyleGAN2's networks: synthesis with skip connections, residual critic. The mapping is in `jaxgan.nets.styles`.

The convolutions of the synthesis and the critic, with noise and activations, are computed in `dtype`. Always in float32
are the mapping, the styles and demodulation, the sum of the pictures over the resolutions, and the critic from the
minibatch standard deviation on.

Sources: Karras et al., A Style-Based Generator Architecture for GANs (2019), Figure 1 and Appendix C, for noise and
constant input; Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020), Section 2 and
Figure 7, for modulation, skips and residuals; Karras et al., Training GANs with Limited Data (2020), Appendix D, for
conditioning on a class.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import resample
from jaxgan.nets.equalised import EqualisedConv, EqualisedDense, leaky_relu
from jaxgan.nets.labels import check_labels
from jaxgan.nets.minibatch_std import minibatch_std
from jaxgan.nets.modulated import FIR, StyledConv, ToPicture
from jaxgan.nets.remat import recomputed
from jaxgan.nets.styles import Mapping

CRITICS = ("residual", "plain")


def num_styles(resolution: int) -> int:
    """Number of styles w of a synthesis of that resolution: one per convolution and one for the last picture layer.

    >>> num_styles(1024)
    18
    """
    return 2 * resolution.bit_length() - 4


def channels(resolution: int, base: int, maximum: int) -> int:
    """Channels of the layers at one resolution.

    >>> [channels(r, base=32768, maximum=512) for r in (4, 64, 128, 1024)]
    [512, 512, 256, 32]
    """
    return max(1, min(base // resolution, maximum))


class Synthesis(nn.Module):
    """Styles w [B, num_styles, D] to pictures, float32 [B, resolution, resolution, picture_channels].

    A learned constant of 4x4 pixels goes through two styled convolutions at each resolution (one at the first). At each
    resolution, the picture of the resolution before is enlarged, and the output of a picture layer is added to it.
    `noise`: see `StyledConv`. `remat`: recompute each resolution in the backward pass (`jaxgan.nets.remat`).
    """

    resolution: int
    picture_channels: int
    channel_base: int
    channel_max: int
    dtype: jax.typing.DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, w: jax.Array, noise: str = "random") -> jax.Array:
        width = channels(4, self.channel_base, self.channel_max)
        x = self.param("constant", nn.initializers.normal(1.0), (4, 4, width), jnp.float32)
        x = jnp.broadcast_to(x.astype(self.dtype), (w.shape[0], *x.shape))
        grow = recomputed(Synthesis.grow, self.remat, static=2)
        picture: jax.Array | None = None
        size = 4
        while size <= self.resolution:
            x, picture = grow(self, size, noise, x, picture, w)
            size *= 2
        assert picture is not None, "the resolution is at least 4"
        return picture

    def grow(self, size: int, noise: str, x: jax.Array, picture: jax.Array | None, w: jax.Array):
        """(features, picture) at `size` pixels from those at half that size; at the first size from the constant."""
        width = channels(size, self.channel_base, self.channel_max)
        style = num_styles(size) - 2
        if size > 4:
            x = StyledConv(width, up=True, name=f"up{size}")(x, w[:, style - 1], noise)
        x = StyledConv(width, name=f"conv{size}")(x, w[:, style], noise)
        # The picture layer shares the style of the next convolution.
        added = ToPicture(self.picture_channels, name=f"picture{size}")(x, w[:, style + 1])
        if picture is None:
            return x, added
        return x, resample.upsample_fir(picture, FIR) + added


class Generator(nn.Module):
    """A mapping and a synthesis: latents z [B, L], and labels int32 [B], or None, to pictures.

    `style` maps z to w [B, D]. `paint` maps w [B, num_styles, D] to pictures; all layers share a w [B, D].
    `noise`: see `StyledConv`.
    """

    mapping: Mapping
    synthesis: Synthesis

    def __call__(self, z: jax.Array, label: jax.Array | None, noise: str = "constant") -> jax.Array:
        return self.paint(self.style(z, label), noise)

    def style(self, z: jax.Array, label: jax.Array | None) -> jax.Array:
        return self.mapping(z, label)

    def paint(self, w: jax.Array, noise: str = "constant") -> jax.Array:
        if w.ndim == 2:
            layers = num_styles(self.synthesis.resolution)
            w = jnp.broadcast_to(w[:, None], (w.shape[0], layers, w.shape[1]))
        return self.synthesis(w, noise)


def _down(x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
    return resample.conv_downsample_fir(x, kernel, FIR, bias)


class Critic(nn.Module):
    """Pictures [B, R, R, C] and labels int32 [B], or None, to logits, float32 [B].

    Each resolution has two 3x3 convolutions, the second of which halves the size, and, if `residual`, a 1x1 convolution
    as a shortcut. With classes, the last layer returns a vector. The logit is the inner product of this vector with a
    mapping of the label, divided by the square root of their dimension (the projection of Miyato and Koyama).
    `remat`: see `Synthesis`.
    """

    channel_base: int
    channel_max: int
    residual: bool = True
    group_size: int = 4
    num_classes: int | None = None
    mapping_layers: int = 8
    dtype: jax.typing.DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None) -> jax.Array:
        x, size = x.astype(self.dtype), x.shape[1]
        halve = recomputed(Critic.halve, self.remat, static=2)
        first = True
        while size > 4:
            x, first, size = halve(self, size, first, x), False, size // 2
        x = minibatch_std(x.astype(jnp.float32), self.group_size)
        width = self.width(4)
        x = leaky_relu(EqualisedConv(width, name="conv4")(x))
        x = leaky_relu(EqualisedDense(width, name="dense")(x.reshape(x.shape[0], -1)))
        if self.num_classes is None:
            return EqualisedDense(1, name="output")(x)[:, 0]
        x = EqualisedDense(width, name="output")(x)
        check_labels(label, x.shape[0])
        mapping = Mapping(width, self.mapping_layers, num_classes=self.num_classes, name="mapping")
        return jnp.sum(x * mapping(None, label), axis=-1) / np.float32(np.sqrt(width))

    def width(self, size: int) -> int:
        return channels(size, self.channel_base, self.channel_max)

    def halve(self, size: int, first: bool, x: jax.Array) -> jax.Array:
        """Features at half of `size` pixels, from features at `size`, or from the picture if `first`."""
        if first:
            x = leaky_relu(EqualisedConv(self.width(size), (1, 1), name="input")(x))
        y = leaky_relu(EqualisedConv(self.width(size), name=f"conv{size}")(x))
        y = leaky_relu(EqualisedConv(self.width(size // 2), convolve=_down, name=f"down{size}")(y))
        if not self.residual:
            return y
        skip = EqualisedConv(
            self.width(size // 2), (1, 1), False, convolve=_down, name=f"skip{size}"
        )(x)
        return (y + skip) * jnp.asarray(np.sqrt(0.5), y.dtype)
