"""StyleGAN's generator: a synthesis with adaptive instance normalisation (AdaIN) that grows.

Level k of the synthesis has `base` 2^k pixels. A learned constant is the input of level 0. Each level has two styled
layers, the first after a convolution that doubles the size (at level 0 after the constant), the second after a plain
one. A styled layer is

    y = lrelu(x + strength_c noise + bias_c),    AdaIN(y, w) = (1 + s_c(w)) (y_c - mean(y_c)) / std(y_c) + t_c(w)

with one noise map per image and layer, mean and std over the pixels of a channel c of an image, and s, t affine maps of
the style w. Growth and blending are those of `jaxgan.nets.growing`, which also has the critic, with blur.

The synthesis is computed in `dtype`; statistics, styles, noise and pictures are float32.

Source: Karras et al., A Style-Based Generator Architecture for Generative Adversarial Networks (2019), Figure 1,
Section 2, Eq. 1, Appendix C.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import resample
from jaxgan.nets.equalised import EqualisedConv, EqualisedDense
from jaxgan.nets.growing import BLUR, HE, activate, blend
from jaxgan.nets.modulated import noise_maps
from jaxgan.nets.norm import adaptive_norm
from jaxgan.nets.remat import recomputed
from jaxgan.nets.styles import Mapping


class StyledLayer(nn.Module):
    """Noise, bias, leaky ReLU and AdaIN: x [B, H, W, C] and w [B, D] -> [B, H, W, C] in the type of x.

    The strength of the noise, one number per channel, starts at 0. `noise`: see `modulated.noise_maps`.
    """

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, noise: str = "random") -> jax.Array:
        channels = x.shape[-1]
        zeros = nn.initializers.zeros
        strength = self.param("noise_strength", zeros, (channels,), jnp.float32)
        bias = self.param("bias", zeros, (channels,), jnp.float32)
        added = strength[None, None, None] * noise_maps(self, x, noise) + bias[None, None, None]
        style = EqualisedDense(2 * channels, name="style")(w.astype(jnp.float32))
        return adaptive_norm(activate(x + added.astype(x.dtype)), style, epsilon=1e-8)


class SynthesisBlock(nn.Module):
    """The layers of one level: [B, H, W, in] and w [B, 2, D] -> [B, 2H, 2W, features].

    At the first level x is the constant, [B, H, W, features], and the result has its size.
    """

    features: int
    first: bool
    dtype: jax.typing.DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, noise: str) -> jax.Array:
        conv = partial(EqualisedConv, self.features, use_bias=False, gain=HE, dtype=self.dtype)
        if not self.first:
            x = resample.blur(conv(convolve=resample.upsample_conv, name="conv0")(x), BLUR)
        x = StyledLayer(name="layer0")(x, w[:, 0], noise)
        return StyledLayer(name="layer1")(conv(name="conv1")(x), w[:, 1], noise)


class Levels(nn.Module):
    """The layers of a synthesis, level by level.

    Attributes:
      base: side of level 0 in pixels.
      features: channels of each level.
      picture_channels: channels of the pictures.
      dtype: computation dtype.
      remat: recompute the activations of each level in the backward pass (`jaxgan.nets.remat`).
    """

    base: int
    features: tuple[int, ...]
    picture_channels: int
    dtype: jax.typing.DTypeLike = jnp.float32
    remat: bool = False

    @property
    def num_styles(self) -> int:
        """Number of styled layers of all levels."""
        return 2 * len(self.features)

    def constant(self, num: int) -> jax.Array:
        """The input of level 0, the same for all images."""
        shape = (self.base, self.base, self.features[0])
        x = self.param("constant", nn.initializers.ones, shape, jnp.float32).astype(self.dtype)
        return jnp.broadcast_to(x, (num, *shape))

    def grow(self, k: int, noise: str, x: jax.Array, w: jax.Array) -> jax.Array:
        """The features of level k from those of the level below, or from the constant."""
        block = SynthesisBlock(self.features[k], k == 0, self.dtype, name=f"block{k}")
        return block(x, w[:, 2 * k : 2 * k + 2], noise)

    def rgb(self, x: jax.Array, k: int) -> jax.Array:
        layer = EqualisedConv(self.picture_channels, (1, 1), dtype=self.dtype, name=f"to_rgb{k}")
        return layer(x).astype(jnp.float32)


class Synthesis(Levels):
    """Styles w [B, num_styles, D] -> pictures [B, base 2^level, base 2^level, channels], float32 of any range."""

    @nn.compact
    def __call__(
        self, w: jax.Array, noise: str, level: int, alpha: jax.Array | float | None = None
    ) -> jax.Array:
        """Pictures of a level, blended with the level below by `alpha` in [0, 1]; not if it is None or level is 0.

        Styles of higher levels are not used. `noise`: see `modulated.noise_maps`.
        """
        grow = recomputed(Synthesis.grow, self.remat, static=2)
        x = below = self.constant(w.shape[0])
        for k in range(level + 1):
            if self.is_initializing() and k:
                self.rgb(x, k - 1)
            below, x = x, grow(self, k, noise, x, w)
        picture = self.rgb(x, level)
        if level == 0 or alpha is None:
            return picture
        return blend(resample.upsample_nearest(self.rgb(below, level - 1)), picture, alpha)


class Generator(nn.Module):
    """A mapping and a synthesis: latents z [B, L], and labels int32 [B], or None, to pictures.

    `style` maps z to w [B, D]. `paint` maps w [B, num_styles, D] to pictures; all layers share a w [B, D].

    Attributes:
      mapping, synthesis: the networks.
      level: that of the pictures if none is given; None for the highest.
      alpha: the weight of that level, see `Synthesis`; None if it is trained.
    """

    mapping: Mapping
    synthesis: Synthesis
    level: int | None = None
    alpha: float | None = None

    def __call__(self, z: jax.Array, label: jax.Array | None, noise: str = "constant") -> jax.Array:
        return self.paint(self.style(z, label), noise)

    def style(self, z: jax.Array, label: jax.Array | None) -> jax.Array:
        return self.mapping(z, label)

    def paint(
        self,
        w: jax.Array,
        noise: str = "constant",
        level: int | None = None,
        alpha: jax.Array | None = None,
    ) -> jax.Array:
        """Pictures of a level in its own size; of `self.level` enlarged to that of the highest level."""
        if w.ndim == 2:
            w = jnp.broadcast_to(w[:, None], (len(w), self.synthesis.num_styles, w.shape[1]))
        if level is not None:
            return self.synthesis(w, noise, level, alpha)
        top = len(self.synthesis.features) - 1
        level = top if self.level is None else self.level
        picture = self.synthesis(w, noise, level, self.alpha)
        times = 1 << (top - level)
        return jnp.repeat(jnp.repeat(picture, times, axis=1), times, axis=2)
