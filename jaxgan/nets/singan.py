"""SinGAN's networks, the pyramid that its generators climb, and what it does to pictures: masks, a palette.

Source: Shaham et al., SinGAN: Learning a Generative Model from a Single Natural Image (2019), Sections 2 to 4.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import draws, penalties, resample
from jaxgan.nets.init import normal_002
from jaxgan.nets.norm import BatchNorm

CONVOLUTIONS = 5
BORDER = CONVOLUTIONS  # pixels that as many unpadded 3x3 convolutions take off each side
RECEPTIVE_FIELD = 2 * CONVOLUTIONS + 1
COLOURS = 5  # of a palette

Networks = Mapping[
    str, Any
]  # {"generator0": {"params": ..., "batch_stats": ..., "scale": ...}, ...}
Shapes = tuple[tuple[int, int], ...]  # (height, width) at each scale
# (scale, its shape) -> [B, h + 10, w + 10, C], before it is multiplied by the scale's amplitude.
Noise = Callable[[int, tuple[int, int]], jax.Array]


class PatchNet(nn.Module):
    """Five 3x3 convolutions without padding: [B, H + 10, W + 10, C] -> float32 [B, H, W, outputs].

    Batch normalisation and a leaky ReLU of slope 0.2 follow all but the last; the convolutions in front of a norm
    have no bias. Each output sees a patch of 11x11 pixels, and the critic is this very network: without a border
    around its pictures, it gives one logit for every patch that lies wholly inside.
    """

    features: int
    outputs: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        def conv(x, features, use_bias, name):
            # Padded and cut: the gradient penalty of unpadded ones took seven times as long on a CPU.
            x = nn.Conv(
                features,
                (3, 3),
                padding=((1, 1), (1, 1)),
                use_bias=use_bias,
                kernel_init=normal_002,
                dtype=self.dtype,
                name=name,
            )(x)
            return x[:, 1:-1, 1:-1]

        x = x.astype(self.dtype or x.dtype)
        for i in range(CONVOLUTIONS - 1):
            x = conv(x, self.features, False, f"conv{i}")
            x = nn.leaky_relu(BatchNorm(dtype=self.dtype, name=f"norm{i}")(x, None, train), 0.2)
        return conv(x, self.outputs, True, "output").astype(jnp.float32)


class Generator(nn.Module):
    """The generator of one scale: what it adds to the picture from the scale below, [B, H, W, C].

        x + tanh(net(noise + border(x)))

    `noise`, [B, H + 10, W + 10, C], is already multiplied by the scale's amplitude; the border of the picture is zeros.

    Source: the paper, Eq. 3 and 4 and Figure 5.
    """

    features: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, image: jax.Array, noise: jax.Array, train: bool = True) -> jax.Array:
        net = PatchNet(self.features, image.shape[-1], self.dtype, name="net")
        return image + jnp.tanh(net(noise + border(image), train))


def patch_penalty(
    critic: Callable[[jax.Array], jax.Array], real: jax.Array, fake: jax.Array, key: jax.Array
) -> jax.Array:
    """Pulls the critic's gradient to norm 1 at every pixel: the mean over pixels of (||d sum C(y) / d y_ij|| - 1)^2.

    y lies between a real and a generated picture; the norm is over the channels of one pixel, and the sum over the
    whole map of logits, of which a pixel moves up to 121. (`penalties.gradient_penalty` takes the norm over a whole
    picture, of a critic that gives it one number.)

    Args:
      critic: pictures [B, H, W, C] -> logits [B, h, w, 1].
      real, fake: [B, H, W, C].
      key: for the weight between the two, one for each picture.

    Returns:
      A float32 scalar. The reference implementation's weight is 0.1.

    Source: tamarott/SinGAN; the paper only says WGAN-GP.
    """
    alpha = draws.uniform(key, (real.shape[0], 1, 1, 1))
    between = alpha * real + (1 - alpha) * fake
    gradient = jax.grad(lambda x: jnp.sum(critic(x)))(between)
    norms = penalties.safe_norm(gradient.reshape(-1, gradient.shape[-1]))
    return jnp.mean(jnp.square(norms - 1.0))


def border(x: jax.Array) -> jax.Array:
    """[B, H, W, C] with the zeros around it that the convolutions will take off."""
    return jnp.pad(x, ((0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0)))


class Pyramid(NamedTuple):
    """How large pictures are at each scale, from the coarsest on.

    Attributes:
      scales: their number, N + 1 in the paper.
      factor: of the sides from one scale to the one below it, less than 1.
    """

    scales: int
    factor: float

    @classmethod
    def of(cls, size: tuple[int, int], min_size: int, factor: float) -> Pyramid:
        """The pyramid whose coarsest scale has `min_size` pixels on the shorter side, with a factor next to the given.

        >>> Pyramid.of((188, 250), 25, 0.75).shapes((188, 250))[:3]
        ((25, 33), (33, 44), (44, 59))
        """
        ratio = min_size / min(size)
        if ratio >= 1:
            return cls(1, factor)
        wanted = math.log(ratio) / math.log(factor)
        numbers = {max(1, math.floor(wanted)), math.ceil(wanted)}
        steps = min(sorted(numbers), key=lambda steps: abs(ratio ** (1 / steps) - factor))
        return cls(steps + 1, ratio ** (1 / steps))

    def shapes(self, size: tuple[int, int]) -> Shapes:
        """(height, width) at each scale of a pyramid that ends at `size`; the last is `size`."""
        powers = [self.factor**n for n in reversed(range(self.scales))]
        height, width = size
        return tuple((max(1, round(height * p)), max(1, round(width * p))) for p in powers)


def resize(x: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Pictures [B, H, W, C] at another size, cut to [-1, 1] before and after: cubic, antialiased when they shrink."""
    x = jnp.clip(x, -1.0, 1.0)
    return (
        x if x.shape[1:3] == shape else jnp.clip(resample.resize_antialiased(x, shape), -1.0, 1.0)
    )


@dataclasses.dataclass(frozen=True)
class Ladder:
    """The generators of all scales as one function, from noise to pictures.

    Networks are given as {"generator0": {"params", "batch_stats", "scale"}, ...}. In "scale" each has the `amplitude`
    [] of its noise, what it takes when the picture is rebuilt from the fixed noise (`below`, [h, w, C]), and perhaps
    a `palette` [K, C] of the colours that it takes. Generator 0 also has that fixed `noise`, the `picture` (uint8
    [H, W, C]), and the `level`: the scale in training, above which there is nothing to see yet.

    Attributes:
      generators: of each scale.
      pyramid: its geometry.
      shape: of the picture, (H, W, C).
      noise_padding: the border around the noise is noise, not zeros.
    """

    generators: tuple[Generator, ...]
    pyramid: Pyramid
    shape: tuple[int, int, int]
    noise_padding: bool = False

    @functools.cached_property
    def shapes(self) -> Shapes:
        """Of the picture at each scale."""
        return self.pyramid.shapes(self.shape[:2])

    def init_scale(self, n: int, key: jax.Array) -> dict[str, jax.Array]:
        """The collection "scale" of generator n before it has seen the picture."""
        below = jnp.zeros((*self.shapes[n], self.shape[2]))
        scale = {"amplitude": jnp.float32(1.0), "below": below}
        if n == 0:
            scale["noise"] = self._normal(key, 0, self.shapes[0], 1)[0]
            scale["picture"] = jnp.zeros(self.shape, jnp.uint8)
            scale["level"] = jnp.int32(0)
        return scale

    def picture(self, networks: Networks) -> jax.Array:
        """The picture that is learnt, float32 [1, H, W, C] in [-1, 1]."""
        return networks["generator0"]["scale"]["picture"][None].astype(jnp.float32) / 127.5 - 1.0

    # Noise ------------------------------------------------------------------------------------------------

    def drawn(self, key: jax.Array, num: int, strength: float = 1.0) -> Noise:
        """Random noise times `strength` for `num` pictures."""
        return lambda n, shape: self._surrounded(strength * self._normal(key, n, shape, num))

    def fixed(self, networks: Networks) -> Noise:
        """z* at scale 0 and none above: the noise from which the picture is rebuilt (Section 2.2)."""
        return lambda n, shape: self._surrounded(self._fixed(networks, n, shape))

    def _fixed(self, networks: Networks, n: int, shape: tuple[int, int]) -> jax.Array:
        if n == 0:
            return networks["generator0"]["scale"]["noise"][None]
        return jnp.zeros((1, *self._noise_shape(n, shape)))

    def _normal(self, key: jax.Array, n: int, shape: tuple[int, int], num: int) -> jax.Array:
        return draws.normal(jax.random.fold_in(key, n), (num, *self._noise_shape(n, shape)))

    def _noise_shape(self, n: int, shape: tuple[int, int]) -> tuple[int, int, int]:
        more = 2 * BORDER if self.noise_padding else 0
        # At the coarsest scale all channels have the same noise.
        return shape[0] + more, shape[1] + more, self.shape[2] if n else 1

    def _surrounded(self, z: jax.Array) -> jax.Array:
        z = jnp.broadcast_to(z, (*z.shape[:3], self.shape[2]))
        return z if self.noise_padding else border(z)

    # Climbing ---------------------------------------------------------------------------------------------

    def take(self, networks: Networks, n: int, image: jax.Array, shape: tuple[int, int]):
        """A picture of another size as scale n takes it."""
        image = resize(image, shape)
        centres = networks[f"generator{n}"]["scale"].get("palette")
        return image if centres is None else quantise(image, centres)

    def inject(self, networks: Networks, n: int, image: jax.Array) -> jax.Array:
        """Any picture as scale n takes it, as blurred as what it is used to: it comes from the scale below."""
        return self.take(networks, n, resize(image, self.shapes[max(n - 1, 0)]), self.shapes[n])

    def rung(self, networks: Networks, n: int, image: jax.Array, z: jax.Array) -> jax.Array:
        """What the trained scale n makes of a picture that it takes, [B, h, w, C], and of its noise."""
        network = networks[f"generator{n}"]
        scaled = network["scale"]["amplitude"] * z
        return self.generators[n].apply(network, image, scaled, train=False)

    def climb(
        self,
        networks: Networks,
        noise: Noise,
        shapes: Shapes,
        *,
        start: int = 0,
        image: jax.Array | None = None,
        all_trained: bool = True,
    ) -> jax.Array:
        """The picture at the last of `shapes`, [B, H, W, C], which may lie a little outside [-1, 1].

        Args:
          networks: of the generators.
          noise: for every scale.
          shapes: of the scales up to the last one wanted.
          start: the scale at which to begin.
          image: what that takes, [B, h, w, C]; black if None.
          all_trained: otherwise scales above the level only enlarge.
        """
        level = networks["generator0"]["scale"]["level"]
        for n in range(start, len(shapes)):
            z = noise(n, shapes[n])
            if image is None:
                image = jnp.zeros((z.shape[0], *shapes[n], self.shape[2]))
            elif n > start:
                image = self.take(networks, n, image, shapes[n])
            climbed = functools.partial(self.rung, networks, n, image, z)
            image = (
                climbed() if all_trained else jax.lax.cond(n <= level, climbed, lambda x=image: x)
            )
        return image

    def rebuild(self, networks: Networks) -> jax.Array:
        """The picture from the fixed noise, [1, H, W, C] in [-1, 1]."""
        noise = self.fixed(networks)
        image = self.climb(networks, noise, self.shapes, all_trained=False)
        return jnp.clip(image, -1.0, 1.0)

    def samples(
        self,
        networks: Networks,
        key: jax.Array,
        num: int,
        *,
        shapes: Shapes | None = None,
        noise: float = 1.0,
        start: int = 0,
        image: jax.Array | None = None,
    ) -> jax.Array:
        """`num` pictures [num, H, W, C] in [-1, 1], made one after the other: in the memory of one.

        Args:
          networks: of the generators.
          key: for the noise.
          num: of pictures.
          shapes: of the scales; the picture's if None.
          noise: its strength, 1 as in training.
          start: the scale at which to begin.
          image: the picture that is injected there, [1, h, w, C] of any size; None begins with noise.
        """
        shapes = self.shapes if shapes is None else shapes
        if image is not None:
            image = self.inject(networks, start, image)

        def one(i):
            z = self.drawn(jax.random.fold_in(key, i), 1, noise)
            return self.climb(networks, z, shapes, start=start, image=image, all_trained=False)[0]

        return jnp.clip(jax.lax.map(one, jnp.arange(num)), -1.0, 1.0)

    def enlarge(
        self, networks: Networks, key: jax.Array, image: jax.Array, factor: float, noise: float
    ) -> tuple[jax.Array, int]:
        """(a picture [1, h, w, C] `factor` times as large, how often it was enlarged): super-resolution.

        By about the pyramid's factor at a time, after each of which the finest trained scale adds its detail. It
        compiles for each size: call it outside of `jax.jit`. Source: the paper, Section 4, "Super-Resolution".
        """
        level = int(networks["generator0"]["scale"]["level"])
        times = max(1, round(math.log(factor, 1 / self.pyramid.factor)))

        @jax.jit
        def refine(networks, key, image):
            z = self.drawn(key, 1, noise)(level, image.shape[1:3])
            return self.rung(networks, level, image, z)

        low = image.shape[1:3]
        for i in range(1, times + 1):
            size = tuple(round(side * factor ** (i / times)) for side in low)
            image = refine(networks, jax.random.fold_in(key, i), resize(image, size))
        return jnp.clip(image, -1.0, 1.0), times

    def begin_walk(self, networks: Networks, key: jax.Array) -> tuple[list, list]:
        """The noise of every scale at two times, at z* and a little off it: where an animation begins."""
        rest = [self._fixed(networks, n, shape) for n, shape in enumerate(self.shapes)]
        step = [self._normal(key, n, shape, 1) for n, shape in enumerate(self.shapes)]
        return [0.95 * z + 0.05 * u for z, u in zip(rest, step, strict=True)], rest

    def walk(
        self, networks: Networks, key: jax.Array, walk, start: int, alpha: float, beta: float
    ) -> tuple[jax.Array, tuple[list, list]]:
        """The next frame [1, H, W, C] of an animation, and the noise of this and the last time.

            z_(t+1) = alpha z* + (1 - alpha) (z_t + beta (z_t - z_(t-1)) + (1 - beta) u),    u ~ N(0, 1)

        Scales below `start` stand still. Source: the paper, Section 4, "Single Image Animation".
        """
        new = []
        for n, (now, last) in enumerate(zip(*walk, strict=True)):
            rest = self._fixed(networks, n, self.shapes[n])
            u = self._normal(key, n, self.shapes[n], 1)
            moved = alpha * rest + (1 - alpha) * (now + beta * (now - last) + (1 - beta) * u)
            new.append(rest if n < start else moved)
        image = self.climb(
            networks, lambda n, shape: self._surrounded(new[n]), self.shapes, all_trained=False
        )
        return jnp.clip(image, -1.0, 1.0), (new, walk[0])


def soften(mask: jax.Array, radius: int, deviation: float) -> jax.Array:
    """A mask [H, W] grown by a disc of that radius and blurred by a Gaussian, both in pixels, to [0, 1].

    What is above 0 counts as inside. Source: the reference implementation's `dilate_mask`.
    """

    def filtered(x, kernel):
        return resample.conv(x[None, :, :, None], kernel[:, :, None, None])[0, :, :, 0]

    across = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    disc = (across[:, None] ** 2 + across[None] ** 2 <= radius**2).astype(jnp.float32)
    grown = (filtered((mask > 0).astype(jnp.float32), disc) > 0.5).astype(jnp.float32)
    if deviation <= 0:
        return grown
    reach = round(4 * deviation)
    across = jnp.arange(-reach, reach + 1, dtype=jnp.float32)
    bell = jnp.exp(-0.5 * jnp.square(across / deviation))

    def blurred(x):
        return filtered(filtered(x, bell[:, None]), bell[None])

    # Over what the bell sees of the picture: an edge is no outside.
    return blurred(grown) / blurred(jnp.ones_like(grown))


def palette(image: jax.Array, colours: int = COLOURS, rounds: int = 20) -> jax.Array:
    """The colours [colours, C] that stand for those of a picture [H, W, C]: k-means.

    It starts at the mean and, one after the other, at the colours furthest from those chosen, so that it draws nothing.
    """
    pixels = image.reshape(-1, image.shape[-1])
    centres = jnp.mean(pixels, axis=0, keepdims=True)
    while len(centres) < colours:
        furthest = jnp.argmax(jnp.min(_distances(pixels, centres), axis=1))
        centres = jnp.concatenate([centres, pixels[furthest][None]])

    def move(_, centres):
        member = jax.nn.one_hot(jnp.argmin(_distances(pixels, centres), axis=1), colours)
        counts = jnp.sum(member, axis=0)[:, None]
        sums = jnp.matmul(member.T, pixels, precision="highest")
        return jnp.where(counts > 0, sums / jnp.maximum(counts, 1.0), centres)

    return jax.lax.fori_loop(0, rounds, move, centres)


def quantise(x: jax.Array, centres: jax.Array) -> jax.Array:
    """Every pixel of [..., C] in the nearest of the colours [K, C]."""
    return centres[jnp.argmin(_distances(x, centres), axis=-1)]


def _distances(x: jax.Array, centres: jax.Array) -> jax.Array:
    """Squared distances of colours [..., C] to each of [K, C]: [..., K]."""
    shape = (1,) * (x.ndim - 1) + centres.shape
    return jnp.sum(jnp.square(x[..., None, :] - centres.reshape(shape)), axis=-1)
