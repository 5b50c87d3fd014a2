"""The networks of BigGAN and BigGAN-deep.

Paper: Brock et al. 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis", Appendices A and B.

Every normalisation of the generator is modulated by a condition (`jaxgan.nets.norm.ModulatedBatchNorm`) made of the
label's embedding, which all blocks share, and of the latent: in BigGAN each block gets a part of the latent of its own,
in BigGAN-deep all get the whole. The embedding is not spectrally normalised; the kernels are. Kernels start orthogonal.

The critic of BigGAN is `jaxgan.nets.resnet.ResNetCritic` with these initialisers. Convolutions that reach the output
only through batch normalisation have no bias, as in `jaxgan.nets.resnet`.
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
from jaxgan.nets.conv import Conv, UpConv
from jaxgan.nets.heads import Judgement, Labels, judge
from jaxgan.nets.labels import check_labels, lookup
from jaxgan.nets.norm import BatchNorm, ModulatedBatchNorm
from jaxgan.nets.remat import recomputed
from jaxgan.nets.resnet import GeneratorBlock, Inits

VARIANTS = ("biggan", "deep")

orthogonal = nn.initializers.orthogonal()
INITS = Inits(orthogonal, orthogonal)

BOTTOM = 4  # side of the generator's first feature maps


class Shape(NamedTuple):
    """The networks for pictures of one size.

    Attributes:
      generator: channels before the first block and after each block, as multiples of the width.
      critic: channels after each block, as multiples of the width.
      downs: number of blocks that halve the picture, the first ones.
      latent_dim: components of BigGAN's latent, which is divided into a part for the first layer and one per block.
      attention: sides of the feature maps in (generator, critic) that attention follows; 0 for none.
      width: the usual width of BigGAN.
    """

    generator: tuple[int, ...]
    critic: tuple[int, ...]
    downs: int
    latent_dim: int
    attention: tuple[int, int]
    width: int = 96


# 64, 128, 256: the paper's Tables 4 to 9 and google/compare_gan. 32: PyTorch-StudioGAN. 8 and 16 are additions for
# small pictures: the networks for 32 with fewer blocks.
SHAPES = {
    8: Shape((4, 4), (2, 2, 2), 1, 40, (0, 0)),
    16: Shape((4, 4, 4), (2, 2, 2, 2), 2, 60, (8, 8)),
    32: Shape((4, 4, 4, 4), (2, 2, 2, 2), 2, 80, (16, 16)),
    64: Shape((16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 4, 120, (0, 0)),
    128: Shape((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5, 120, (64, 64)),
    256: Shape((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6, 140, (128, 64)),
}


class DeepGeneratorBlock(nn.Module):
    """Bottleneck of a quarter of the input's channels: four times cBN-ReLU-conv, with kernels 1, 3, 3 and 1.

    If `up`, the picture is doubled before the first 3x3 convolution. The shortcut keeps the first `features` channels,
    without a convolution.
    """

    features: int
    up: bool
    norm: Callable[..., nn.Module]
    kernel_norm: Callable[[type], type]
    dtype: jax.typing.DTypeLike | None = None
    biases: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, train: bool) -> jax.Array:
        hidden, shortcut = max(1, x.shape[-1] // 4), x[..., : self.features]
        steps = (
            (Conv, hidden, 1),
            (UpConv if self.up else Conv, hidden, 3),
            (Conv, hidden, 3),
            (Conv, self.features, 1),
        )
        for i, (layer, features, size) in enumerate(steps):
            x = nn.relu(self.norm(name=f"norm{i}")(x, condition, train))
            conv = self.kernel_norm(layer)(
                features,
                (size, size),
                use_bias=self.biases,
                kernel_init=orthogonal,
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = conv(x)
        return x + (resample.upsample_nearest(shortcut) if self.up else shortcut)


class DeepCriticBlock(nn.Module):
    """Bottleneck of a quarter of the output's channels: four times ReLU-conv, with kernels 1, 3, 3 and 1.

    If `down`, the picture is pooled before the last convolution. The shortcut is the input, pooled too, beside a 1x1
    convolution that makes its further channels.
    """

    features: int
    down: bool
    kernel_norm: Callable[[type], type]
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(self.kernel_norm(Conv), kernel_init=orthogonal, dtype=self.dtype)
        hidden, y = max(1, self.features // 4), x
        for i, size in enumerate((1, 3, 3)):
            y = conv(hidden, (size, size), name=f"conv{i}")(nn.relu(y))
        y = nn.relu(y)
        if self.down:
            x, y = resample.avg_pool(x), resample.avg_pool(y)
        y = conv(self.features, (1, 1), name="conv3")(y)
        if more := self.features - x.shape[-1]:
            x = jnp.concatenate([x, conv(more, (1, 1), name="shortcut")(x)], axis=-1)
        return y + x


class Generator(nn.Module):
    """Latent [B, L] and label [B] to pictures [B, R, R, C] in [-1, 1].

    Attributes:
      variant: "biggan" or "deep".
      features: channels before the first block and after each one; a block here is two of BigGAN-deep's.
      channels: C.
      classes: number of labels; None for an unconditional generator, which only the latent modulates.
      embedding_dim: components of a label's embedding.
      kernel_norm: maps a layer class to the class that is used.
      attention: side of the feature maps that attention follows; 0 for none.
      group: examples with batch statistics of their own; 0 for the statistics of the batch.
      dtype: of the arithmetic.
      remat: recompute the activations of each stage in the backward pass (`jaxgan.nets.remat`).
      biases: whether the convolutions of the blocks have biases.
      epsilon: of batch normalisation; 0 for the usual one, 1e-4 in BigGAN-deep and 1e-5 in BigGAN.
    """

    variant: str
    features: tuple[int, ...]
    channels: int
    classes: int | None
    embedding_dim: int
    kernel_norm: Callable[[type], type]
    attention: int = 0
    group: int = 0
    dtype: jax.typing.DTypeLike | None = None
    remat: bool = False
    biases: bool = False
    epsilon: float = 0.0

    def setup(self):
        if self.classes is not None:
            self.shared = nn.Embed(self.classes, self.embedding_dim, embedding_init=orthogonal)
        self.synthesis = Synthesis(
            self.variant,
            self.features,
            self.channels,
            self.kernel_norm,
            self.attention,
            self.group,
            self.dtype,
            self.remat,
            self.biases,
            self.epsilon,
        )

    def __call__(
        self, latent: jax.Array, label: jax.Array | None = None, train: bool = True
    ) -> jax.Array:
        if self.classes is None:
            return self.synthesis(latent, None, train)
        check_labels(label, latent.shape[0])
        return self.synthesis(latent, self.embed(label), train)

    def embed(self, label: jax.Array | None) -> jax.Array:
        """The embeddings of labels, [B, embedding_dim]."""
        return lookup(self.shared, label)

    def paint(self, latent: jax.Array, embedding: jax.Array | None) -> jax.Array:
        """Pictures for latents and embeddings, in evaluation mode."""
        return self.synthesis(latent, embedding, False)


class Synthesis(nn.Module):
    """Latent [B, L] and the label's embedding [B, E] or None to pictures; fields as those of `Generator`."""

    variant: str
    features: tuple[int, ...]
    channels: int
    kernel_norm: Callable[[type], type]
    attention: int
    group: int
    dtype: jax.typing.DTypeLike | None = None
    remat: bool = False
    biases: bool = False
    epsilon: float = 0.0

    @nn.compact
    def __call__(self, latent: jax.Array, embedding: jax.Array | None, train: bool) -> jax.Array:
        kernel_norm, dtype = self.kernel_norm, self.dtype
        first, conditions = self._inputs(latent, embedding)
        top, *features = self.features
        x = kernel_norm(nn.Dense)(
            BOTTOM**2 * top, kernel_init=orthogonal, dtype=dtype, name="project"
        )(first)
        x = x.reshape(-1, BOTTOM, BOTTOM, top)
        stage = recomputed(Synthesis._stage, self.remat, static=3)
        for i, condition in enumerate(conditions):
            x = stage(self, i, features[i], train, x, condition)
            if x.shape[1] == self.attention:
                x = SelfAttention(kernel_norm, orthogonal, dtype, name="attention")(x)
        norm = BatchNorm(dtype=dtype, group=self.group, epsilon=self._epsilon, name="norm")
        x = kernel_norm(Conv)(
            self.channels, (3, 3), kernel_init=orthogonal, dtype=dtype, name="output"
        )(nn.relu(norm(x, None, train)))
        return jnp.tanh(x.astype(jnp.float32))

    @property
    def _epsilon(self) -> float:
        return self.epsilon or (1e-4 if self.variant == "deep" else 1e-5)

    def _inputs(
        self, latent: jax.Array, embedding: jax.Array | None
    ) -> tuple[jax.Array, list[jax.Array]]:
        """(input of the first layer, conditions of the stages)."""
        stages = len(self.features) - 1

        def joined(part: jax.Array) -> jax.Array:
            return part if embedding is None else jnp.concatenate([embedding, part], axis=-1)

        if self.variant == "deep":
            whole = joined(latent)
            return whole, [whole] * stages
        first, *parts = jnp.split(latent, stages + 1, axis=-1)
        return first, [joined(part) for part in parts]

    def _stage(
        self, i: int, features: int, train: bool, x: jax.Array, condition: jax.Array
    ) -> jax.Array:
        """Doubles the picture: one block, or two of BigGAN-deep, the second of which doubles it."""
        kernel_norm, dtype = self.kernel_norm, self.dtype
        norm: Any = partial(
            ModulatedBatchNorm,
            kernel_norm,
            orthogonal,
            epsilon=self._epsilon,
            dtype=dtype,
            group=self.group,
        )
        if self.variant == "biggan":
            block = GeneratorBlock(
                features,
                norm,
                kernel_norm,
                INITS,
                dtype=dtype,
                biases=self.biases,
                name=f"block{i}",
            )
            return block(x, condition, train)
        deep: Any = partial(
            DeepGeneratorBlock, norm=norm, kernel_norm=kernel_norm, dtype=dtype, biases=self.biases
        )
        flat = deep(x.shape[-1], False, name=f"block{2 * i}")
        up = deep(features, True, name=f"block{2 * i + 1}")
        return up(flat(x, condition, train), condition, train)


class DeepCritic(nn.Module):
    """Pictures [B, R, R, C] to logits [B], or to a `Judgement`: BigGAN-deep's critic.

    A convolution to `features[0]` channels, two blocks for each further entry of `features`, the first of which halves
    the picture in the first `downs` pairs; a ReLU; the sum over space; the outputs of `jaxgan.nets.heads`.
    """

    features: tuple[int, ...]
    downs: int
    labels: Labels | None
    kernel_norm: Callable[[type], type]
    attention: int = 0
    dtype: jax.typing.DTypeLike | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, train: bool = True
    ) -> jax.Array | Judgement:
        kernel_norm, dtype = self.kernel_norm, self.dtype
        first, *features = self.features
        x = kernel_norm(Conv)(first, (3, 3), kernel_init=orthogonal, dtype=dtype, name="input")(x)
        block = recomputed(DeepCriticBlock, self.remat, static=0)
        for i, width in enumerate(features):
            for j, down in enumerate((i < self.downs, False)):
                x = block(width, down, kernel_norm, dtype, name=f"block{2 * i + j}")(x)
            if i < self.downs and x.shape[1] == self.attention:
                x = SelfAttention(kernel_norm, orthogonal, dtype, name="attention")(x)
        h = jnp.sum(nn.relu(x), axis=(1, 2))
        return judge(h, label, self.labels, kernel_norm=kernel_norm, init=orthogonal, dtype=dtype)
