"""A generator and a critic for pictures of several sizes, each size twice the one before.

Level k uses blocks 0 to k, for pictures of `base` 2^k pixels. The level is static, so a program contains only the
layers that it uses; the parameters of all levels exist from the start. With `alpha`, the newest level is blended with
the one below:

    generator   (1 - alpha) up(rgb_{k-1}(x_{k-1})) + alpha rgb_k(x_k)
    critic      (1 - alpha) from_rgb_{k-1}(down(picture)) + alpha down(block_k(from_rgb_k(picture)))

up repeats each pixel 2 x 2 times, down averages 2 x 2 pixels. Sources: Karras et al., Progressive Growing of GANs
(2018), Figure 2 (growth), Section 4.1 (equalised learning rates), Section 4.2 (pixel norm), Section 3 (minibatch
standard deviation), Table 2 (layers).
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import resample
from jaxgan.nets.equalised import EqualisedConv, EqualisedDense, leaky_relu
from jaxgan.nets.minibatch_std import minibatch_std
from jaxgan.nets.norm import pixel_norm
from jaxgan.nets.remat import recomputed

HE = np.sqrt(2.0)  # gain of a kernel that is followed by a (leaky) ReLU
BLUR = resample.binomial(3)  # StyleGAN's filter, [1, 2, 1] / 4
activate = partial(leaky_relu, gain=1.0)


def widths(levels: int, base: int, most: int) -> tuple[int, ...]:
    """Channels of each level: base / 4, base / 8, ..., but at most `most`.

    >>> widths(9, 16_384, 512)
    (512, 512, 512, 512, 256, 128, 64, 32, 16)
    """
    return tuple(max(1, min(most, base // (4 << k))) for k in range(levels))


def blend(old: jax.Array, new: jax.Array, alpha: jax.Array | float) -> jax.Array:
    """(1 - alpha) old + alpha new, in the dtype of `new`; exactly `old` at alpha = 0 and `new` at alpha = 1."""
    # In float32: bfloat16 numbers near 1 are 1/256 apart.
    mixed = (1.0 - alpha) * old.astype(jnp.float32) + alpha * new.astype(jnp.float32)
    return mixed.astype(new.dtype)


class GeneratorBlock(nn.Module):
    """The layers of one level of the generator: [B, H, W, in] -> [B, 2H, 2W, features]."""

    features: int
    dtype: jax.typing.DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(EqualisedConv, self.features, gain=HE, dtype=self.dtype)
        x = pixel_norm(activate(conv(convolve=resample.upsample_conv, name="conv0")(x)))
        return pixel_norm(activate(conv(name="conv1")(x)))


class CriticBlock(nn.Module):
    """The layers of one level of the critic: [B, 2H, 2W, in] -> [B, H, W, features].

    Attributes:
      features: channels of the result.
      dtype: computation dtype.
      inner: channels between the two convolutions; None for as many as the input has.
      blur: as in StyleGAN, filter by `BLUR` before the second convolution, and average 2 x 2 pixels before its leaky
        ReLU and not after it.
    """

    features: int
    dtype: jax.typing.DTypeLike
    inner: int | None = None
    blur: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(EqualisedConv, gain=HE, dtype=self.dtype)
        x = activate(conv(self.inner or x.shape[-1], name="conv0")(x))
        if not self.blur:
            return resample.avg_pool(activate(conv(self.features, name="conv1")(x)))
        pooled = conv(self.features, convolve=resample.conv_avg_pool, name="conv1")
        return activate(pooled(resample.blur(x, BLUR)))


class GrowingGenerator(nn.Module):
    """Latents [B, D] -> pictures [B, base 2^level, base 2^level, picture_channels], float32 of any range.

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

    @nn.compact
    def __call__(self, latent: jax.Array, level: int, alpha: jax.Array | None = None) -> jax.Array:
        """Pictures of a level, blended with the level below by `alpha` in [0, 1]; not if it is None or level is 0."""
        base, first = self.base, self.features[0]
        # Latents are scaled to length sqrt(D). The first layer is a base x base convolution of one pixel, whose He
        # constant has the fan-in base^2 D.
        x = pixel_norm(latent).astype(self.dtype)
        x = EqualisedDense(
            base * base * first, use_bias=False, gain=HE / base, dtype=self.dtype, name="dense"
        )(x)
        bias = self.param("bias", nn.initializers.zeros, (first,), jnp.float32).astype(self.dtype)
        x = x.reshape(-1, base, base, first) + bias[None, None, None]
        x = pixel_norm(activate(x))
        x = EqualisedConv(first, gain=HE, dtype=self.dtype, name="conv")(x)
        x = below = pixel_norm(activate(x))
        grow = recomputed(GrowingGenerator.grow, self.remat, static=2)
        for k in range(1, level + 1):
            if self.is_initializing():
                self.rgb(x, k - 1)
            below, x = x, grow(self, k, k == level, x)
        picture = x if level else self.rgb(x, 0)
        if level == 0 or alpha is None:
            return picture
        return blend(resample.upsample_nearest(self.rgb(below, level - 1)), picture, alpha)

    def grow(self, k: int, last: bool, x: jax.Array) -> jax.Array:
        """The features of level k from those of the level below; its picture if `last`."""
        x = GeneratorBlock(self.features[k], self.dtype, name=f"block{k}")(x)
        return self.rgb(x, k) if last else x

    def rgb(self, x: jax.Array, k: int) -> jax.Array:
        layer = EqualisedConv(self.picture_channels, (1, 1), dtype=self.dtype, name=f"to_rgb{k}")
        return layer(x).astype(jnp.float32)


class GrowingCritic(nn.Module):
    """Pictures [B, base 2^level, base 2^level, C] -> outputs [B, outputs], float32; attributes: see the generator."""

    base: int
    features: tuple[int, ...]
    outputs: int = 1
    # Group size of the minibatch standard deviation; the whole batch if this does not divide it.
    group_size: int = 4
    dtype: jax.typing.DTypeLike = jnp.float32
    remat: bool = False
    blur: bool = False  # see `CriticBlock`

    @nn.compact
    def __call__(self, picture: jax.Array, level: int, alpha: jax.Array | None = None) -> jax.Array:
        """Outputs for pictures of a level; `alpha` is as for the generator."""
        first, picture = self.features[0], picture.astype(self.dtype)
        halve = recomputed(GrowingCritic.halve, self.remat, static=2)
        x = picture if level else self.from_rgb(picture, 0)
        for k in range(level, 0, -1):
            x = halve(self, k, k == level, x)
            if k == level and alpha is not None:
                x = blend(self.from_rgb(resample.avg_pool(picture), level - 1), x, alpha)
            elif self.is_initializing():
                self.from_rgb(picture, k - 1)
        # float32 from here on: differences between logits are small compared with the logits.
        size = self.group_size if x.shape[0] % self.group_size == 0 else 0
        x = minibatch_std(x.astype(jnp.float32), size)
        x = activate(EqualisedConv(first, gain=HE, name="conv")(x))
        x = x.reshape(x.shape[0], -1)
        x = activate(EqualisedDense(first, gain=HE, name="dense")(x))
        return EqualisedDense(self.outputs, name="output")(x)

    def halve(self, k: int, first: bool, x: jax.Array) -> jax.Array:
        """The features of the level below k from those of level k; from the picture if `first`."""
        x = self.from_rgb(x, k) if first else x
        block = CriticBlock(self.features[k - 1], self.dtype, blur=self.blur, name=f"block{k}")
        return block(x)

    def from_rgb(self, picture: jax.Array, k: int) -> jax.Array:
        options = {"gain": HE, "dtype": self.dtype, "name": f"from_rgb{k}"}
        return activate(EqualisedConv(self.features[k], (1, 1), **options)(picture))
