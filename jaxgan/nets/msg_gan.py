"""MSG-GAN's networks: a generator with a picture at every level, a critic that is given pictures of all levels.

Level k has `base` 2^k pixels. At each level below the highest, the critic combines the picture x with the activations y
of the level above, by one of three functions:

    simple     [x; y]
    lin_cat    [conv1x1(x); y], each with half of the level's channels
    cat_lin    conv1x1([x; y])

Layers are those of ProGAN (`jaxgan.nets.growing`) with three differences: colours and the logit have the gain of other
layers, sqrt(2); the first layer of the generator is scaled by its fan-in D, not by base^2 D; features of the first
level are normalised once.

The styled forms are StyleGAN's networks (`jaxgan.nets.stylegan`) with a picture at every level.

Sources: Karnewar and Wang, MSG-GAN: Multi-Scale Gradients for Generative Adversarial Networks (2020), Eq. 1 to 13;
akanimax/BMSG-GAN for gains and biases.
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets import stylegan
from jaxgan.nets.equalised import EqualisedConv, EqualisedDense
from jaxgan.nets.growing import HE, CriticBlock, GeneratorBlock, activate
from jaxgan.nets.minibatch_std import minibatch_std
from jaxgan.nets.norm import pixel_norm
from jaxgan.nets.remat import recomputed
from jaxgan.nets.styles import Mapping

COMBINE = ("simple", "lin_cat", "cat_lin")
MINIBATCH_STD = ("every", "last")


class Generator(nn.Module):
    """Latents [B, D] -> pictures [B, base 2^k, base 2^k, picture_channels] for k = 0, 1, ..., float32 of any range.

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
    def __call__(self, latent: jax.Array) -> list[jax.Array]:
        base, first = self.base, self.features[0]
        x = pixel_norm(latent).astype(self.dtype)  # onto the sphere of radius sqrt(D)
        x = EqualisedDense(
            base * base * first, use_bias=False, gain=HE, dtype=self.dtype, name="dense"
        )(x)
        bias = self.param("bias", nn.initializers.zeros, (first,), jnp.float32).astype(self.dtype)
        x = activate(x.reshape(-1, base, base, first) + bias[None, None, None])
        x = pixel_norm(activate(EqualisedConv(first, gain=HE, dtype=self.dtype, name="conv")(x)))
        pictures = [self.rgb(x, 0)]
        grow = recomputed(Generator.grow, self.remat)
        for k in range(1, len(self.features)):
            x, picture = grow(self, k, x)
            pictures.append(picture)
        return pictures

    def grow(self, k: int, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(features, picture) of level k from the features of the level below."""
        x = GeneratorBlock(self.features[k], self.dtype, name=f"block{k}")(x)
        return x, self.rgb(x, k)

    def rgb(self, x: jax.Array, k: int) -> jax.Array:
        options = {"gain": HE, "dtype": self.dtype, "name": f"to_rgb{k}"}
        return EqualisedConv(self.picture_channels, (1, 1), **options)(x).astype(jnp.float32)


class StyledScales(stylegan.Levels):
    """StyleGAN's synthesis with pictures of all levels: w [B, num_styles, D] -> a list, as `Generator` returns it."""

    @nn.compact
    def __call__(self, w: jax.Array, noise: str = "random") -> list[jax.Array]:
        grow = recomputed(StyledScales.grow, self.remat, static=2)
        x, pictures = self.constant(w.shape[0]), []
        for k in range(len(self.features)):
            x = grow(self, k, noise, x, w)
            pictures.append(self.rgb(x, k))
        return pictures


class StyledGenerator(nn.Module):
    """A mapping and a synthesis: latents z [B, L] to pictures of all levels.

    `style` maps z to w [B, D]. `scales` maps w [B, num_styles, D] to pictures of all levels, `paint` to those of the
    highest; all layers share a w [B, D].
    """

    mapping: Mapping
    synthesis: StyledScales

    def __call__(self, z: jax.Array, noise: str = "constant") -> list[jax.Array]:
        return self.scales(self.style(z), noise)

    def style(self, z: jax.Array, label: None = None) -> jax.Array:
        return self.mapping(z, label)

    def scales(self, w: jax.Array, noise: str = "constant") -> list[jax.Array]:
        if w.ndim == 2:
            w = jnp.broadcast_to(w[:, None], (len(w), self.synthesis.num_styles, w.shape[1]))
        return self.synthesis(w, noise)

    def paint(self, w: jax.Array, noise: str = "constant") -> jax.Array:
        return self.scales(w, noise)[-1]


class Critic(nn.Module):
    """Pictures of all levels, as the generator returns them -> logits [B], float32.

    Attributes:
      features: channels of each level.
      combine: one of `COMBINE`, see above.
      minibatch_std: append the minibatch standard deviation in "every" block, or in the "last" one.
      group_size: group size of the minibatch standard deviation, at most; 0 for the whole batch. Groups are consecutive
        examples, so that devices exchange no activations.
      styled: StyleGAN's blocks (`growing.CriticBlock` with blur), and a leaky ReLU after the first layer.
      dtype, remat: see the generator.
    """

    features: tuple[int, ...]
    combine: str = "simple"
    minibatch_std: str = "every"
    group_size: int = 4
    styled: bool = False
    dtype: jax.typing.DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, pictures: list[jax.Array]) -> jax.Array:
        top = len(self.features) - 1
        assert len(pictures) == top + 1, "one picture for each level"
        x: jax.Array | None = None
        halve = recomputed(Critic.halve, self.remat)
        for k in range(top, 0, -1):
            x = halve(self, k, pictures[k], x)
        # float32 from here on: differences between logits are small compared with the logits.
        x = self.combined(0, pictures[0], x).astype(jnp.float32)
        x = minibatch_std(x, self.group_size, consecutive=True)
        first = self.features[0]
        x = activate(EqualisedConv(first, gain=HE, name="conv")(x))
        x = activate(EqualisedDense(first, gain=HE, name="dense")(x.reshape(x.shape[0], -1)))
        return EqualisedDense(1, gain=HE, name="output")(x)[:, 0]

    def halve(self, k: int, picture: jax.Array, x: jax.Array | None) -> jax.Array:
        """The activations for level k - 1, from those for level k and its picture; None at the highest level."""
        x = self.combined(k, picture, x)
        if self.minibatch_std == "every":
            x = minibatch_std(x, self.group_size, consecutive=True)
        block = CriticBlock(
            self.below(k - 1), self.dtype, self.features[k], self.styled, name=f"block{k}"
        )
        return block(x)

    def combined(self, k: int, picture: jax.Array, x: jax.Array | None) -> jax.Array:
        """The picture of a level with the activations of the level above, if there are any."""
        picture = picture.astype(self.dtype)
        conv = partial(EqualisedConv, kernel_size=(1, 1), dtype=self.dtype, name=f"from_rgb{k}")
        if x is None:
            x = conv(self.features[k], gain=HE)(picture)
            return activate(x) if self.styled else x
        if self.combine == "lin_cat":
            picture = conv(max(1, self.features[k] // 2), gain=HE)(picture)
        x = jnp.concatenate([picture, x], axis=-1)
        return conv(self.features[k], use_bias=False)(x) if self.combine == "cat_lin" else x

    def below(self, k: int) -> int:
        """The channels of the activations that level k is given."""
        width = self.features[k]
        return max(1, width - width // 2) if self.combine == "lin_cat" else width
