"""SinGAN's networks, the pyramid of sizes that its generators climb, and its operations on masks and colours.

Source: Shaham et al., SinGAN: Learning a Generative Model from a Single Natural Image (2019), Sections 2 to 4.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import draws, penalties, resample
from jaxgan.nets.conv import Conv
from jaxgan.nets.init import normal_002
from jaxgan.nets.norm import BatchNorm
from jaxgan.network import Network
from jaxgan.schedules import Clock

CONVOLUTIONS = 5
BORDER = CONVOLUTIONS  # pixels that the unpadded 3x3 convolutions remove on each side
RECEPTIVE_FIELD = 2 * CONVOLUTIONS + 1
COLOURS = 5  # number of colours of a palette

Networks = Mapping[str, Network]  # with "generator0", "generator1", ...
Shapes = tuple[tuple[int, int], ...]  # (height, width) at each scale
# (scale, its shape) -> [B, h + 10, w + 10, C], not yet multiplied by the scale's amplitude.
Noise = Callable[[int, tuple[int, int]], jax.Array]


class PatchNet(nn.Module):
    """Five 3x3 convolutions without padding: [B, H + 10, W + 10, C] -> float32 [B, H, W, outputs].

    Batch normalisation and a leaky ReLU of slope 0.2 follow all but the last. The convolutions before a norm have no
    bias. Each output depends on a patch of 11x11 pixels. The critic is this network too: it is applied to pictures
    without a border, and returns one logit for each patch that lies inside them.
    """

    features: int
    outputs: int
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        def conv(x, features, use_bias, name):
            # Padded, then cropped: with unpadded convolutions the gradient penalty took seven times as long on a CPU.
            x = Conv(
                features,
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
    """The generator of one scale, which adds detail to the enlarged picture x of the scale below.

        x + tanh(net(noise + border(x)))    [B, H, W, C]

    `noise`, [B, H + 10, W + 10, C], is already multiplied by the scale's amplitude. The border of x is zero. The sum is
    float32 whatever the `dtype` of the network.

    Source: the paper, Eq. 3 and 4 and Figure 5.
    """

    features: int
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, image: jax.Array, noise: jax.Array, train: bool = True) -> jax.Array:
        net = PatchNet(self.features, image.shape[-1], self.dtype, name="net")
        return image + jnp.tanh(net(noise + border(image), train))


def patch_penalty(
    critic: Callable[[jax.Array], jax.Array], real: jax.Array, fake: jax.Array, key: jax.Array
) -> jax.Array:
    """A gradient penalty for each pixel: the mean over pixels of (||d sum C(y) / d y_ij|| - 1)^2.

    y is a random interpolation between a real and a generated picture. The norm is over the channels of one pixel. The
    sum is over all logits; up to 121 of them depend on a pixel. (`penalties.gradient_penalty` takes the norm over a
    whole picture, for a critic with one logit per picture.)

    Args:
      critic: pictures [B, H, W, C] -> logits [B, h, w, 1].
      real, fake: [B, H, W, C].
      key: for the weights of the interpolation, one for each picture.

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
    """[B, H, W, C] with zeros around it: the pixels that the convolutions remove."""
    return jnp.pad(x, ((0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0)))


class Pyramid(NamedTuple):
    """The sizes of pictures at each scale, from the coarsest on.

    Attributes:
      scales: their number, N + 1 in the paper.
      factor: the ratio of a side at one scale to the side at the next finer scale, less than 1.
    """

    scales: int
    factor: float

    @classmethod
    def of(cls, size: tuple[int, int], min_size: int, factor: float) -> Pyramid:
        """A pyramid with `min_size` pixels on the shorter side of its coarsest scale, its factor closest to `factor`.

        >>> Pyramid.of((188, 250), 25, 0.75).shapes((188, 250))[:3]
        ((25, 33), (33, 44), (44, 59))
        """
        ratio = min_size / min(size)
        if ratio >= 1:
            return cls(1, factor)
        exact_steps = math.log(ratio) / math.log(factor)
        numbers = {max(1, math.floor(exact_steps)), math.ceil(exact_steps)}
        steps = min(sorted(numbers), key=lambda steps: abs(ratio ** (1 / steps) - factor))
        return cls(steps + 1, ratio ** (1 / steps))

    def shapes(self, size: tuple[int, int]) -> Shapes:
        """(height, width) at each scale, the last of which is `size`."""
        powers = [self.factor**n for n in reversed(range(self.scales))]
        height, width = size
        return tuple((max(1, round(height * p)), max(1, round(width * p))) for p in powers)


def resize(x: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Pictures [B, H, W, C] at another size, clipped to [-1, 1] before and after: cubic, antialiased."""
    x = jnp.clip(x, -1.0, 1.0)
    return (
        x if x.shape[1:3] == shape else jnp.clip(resample.resize_antialiased(x, shape), -1.0, 1.0)
    )


@dataclasses.dataclass(frozen=True)
class Ladder:
    """The generators of all scales as one function, from noise to pictures.

    Scales are numbered from the coarsest, 0. Methods take the networks as {player: Network}, with the players
    "generator0", "generator1", ... The collection "scale" of each generator holds

      amplitude  []         the factor of its noise
      below      [h, w, C]  its input when the picture is reconstructed from the fixed noise
      palette    [K, C]     the colours to which its input is quantised; at `paint_scale` only

    and that of generator 0 also the fixed `noise` (z* in the paper) and the `picture` [H, W, C], in [-1, 1].

    Several methods take the `level` (see `level_at`): the scales above it are not trained yet, and only enlarge.

    Attributes:
      pyramid: the sizes.
      shape: shape of the picture, (H, W, C).
      noise_padding: whether the border around the noise is noise and not zeros.
      paint_scale: the scale with a palette; 0 for none.
    """

    pyramid: Pyramid
    shape: tuple[int, int, int]
    noise_padding: bool = False
    paint_scale: int = 0

    @property
    def top(self) -> int:
        """The finest scale."""
        return self.pyramid.scales - 1

    @functools.cached_property
    def shapes(self) -> Shapes:
        """(height, width) of the picture at each scale."""
        return self.pyramid.shapes(self.shape[:2])

    def init_scale(self, n: int, key: jax.Array) -> dict[str, dict[str, jax.Array]]:
        """{"scale": the collection of generator n before its stage}."""
        channels = self.shape[2]
        scale = {
            "amplitude": jnp.float32(1.0),
            "below": jnp.zeros((*self.shapes[n], channels), jnp.float32),
        }
        if n == 0:
            scale["noise"] = self._normal(key, 0, self.shapes[0], 1)[0]
            scale["picture"] = jnp.zeros(self.shape, jnp.float32)
        elif n == self.paint_scale:
            scale["palette"] = jnp.zeros((COLOURS, channels), jnp.float32)
        return {"scale": scale}

    def picture(self, networks: Networks) -> jax.Array:
        """The training picture, [1, H, W, C] in [-1, 1]."""
        return networks["generator0"]["scale"]["picture"][None]

    # Noise ------------------------------------------------------------------------------------------------

    def random_noise(self, key: jax.Array, num: int, strength: float = 1.0) -> Noise:
        """Random noise for `num` pictures, times `strength`."""
        return lambda n, shape: self._surround(strength * self._normal(key, n, shape, num))

    def fixed_noise(self, networks: Networks) -> Noise:
        """z* at scale 0 and zeros above: the noise from which the picture is reconstructed (Section 2.2)."""
        return lambda n, shape: self._surround(self._fixed(networks, n, shape))

    def _fixed(self, networks: Networks, n: int, shape: tuple[int, int]) -> jax.Array:
        if n == 0:
            return networks["generator0"]["scale"]["noise"][None]
        return jnp.zeros((1, *self._noise_shape(n, shape)), jnp.float32)

    def _normal(self, key: jax.Array, n: int, shape: tuple[int, int], num: int) -> jax.Array:
        return draws.normal(jax.random.fold_in(key, n), (num, *self._noise_shape(n, shape)))

    def _noise_shape(self, n: int, shape: tuple[int, int]) -> tuple[int, int, int]:
        more = 2 * BORDER if self.noise_padding else 0
        # At the coarsest scale all channels have the same noise.
        return shape[0] + more, shape[1] + more, self.shape[2] if n else 1

    def _surround(self, z: jax.Array) -> jax.Array:
        z = jnp.broadcast_to(z, (*z.shape[:3], self.shape[2]))
        return z if self.noise_padding else border(z)

    # Pictures ---------------------------------------------------------------------------------------------

    def as_input(self, networks: Networks, n: int, image: jax.Array, shape: tuple[int, int]):
        """A picture of any size as an input of scale n: resized, and quantised if the scale has a palette."""
        image = resize(image, shape)
        centres = networks[f"generator{n}"]["scale"].get("palette")
        return image if centres is None else quantise(image, centres)

    def inject(self, networks: Networks, n: int, image: jax.Array, shapes: Shapes) -> jax.Array:
        """A sharp picture as an input of scale n: shrunk to scale n - 1 and enlarged, for the blur of training."""
        low = resize(image, shapes[n - 1])
        return self.as_input(networks, n, low, shapes[n])

    def refine(self, networks: Networks, n: int, image: jax.Array, z: jax.Array) -> jax.Array:
        """The output of the trained generator n for its input [B, h, w, C] and its noise."""
        generator = networks[f"generator{n}"]
        return generator(image, generator["scale"]["amplitude"] * z, train=False)

    def climb(
        self,
        networks: Networks,
        noise: Noise,
        shapes: Shapes,
        *,
        level: jax.Array | None = None,
        start: int = 0,
        image: jax.Array | None = None,
    ) -> jax.Array:
        """The picture at the last of `shapes`, [B, H, W, C], whose values may lie a little outside [-1, 1].

        Args:
          networks: see the class.
          noise: the noise of every scale.
          shapes: (height, width) at each scale, up to the last one to compute.
          level: see the class; None if all these scales are trained.
          start: the first scale to apply.
          image: its input, [B, h, w, C]; black if None.
        """
        for n in range(start, len(shapes)):
            z = noise(n, shapes[n])
            if image is None:
                image = jnp.zeros((z.shape[0], *shapes[n], self.shape[2]), jnp.float32)
            elif n > start:
                image = self.as_input(networks, n, image, shapes[n])
            refined = functools.partial(self.refine, networks, n, image, z)
            image = (
                refined() if level is None else jax.lax.cond(n <= level, refined, lambda x=image: x)
            )
        assert image is not None, "there is a scale to apply, or an image"
        return image

    def reconstruct(self, networks: Networks, level: jax.Array) -> jax.Array:
        """The picture from the fixed noise, [1, H, W, C] in [-1, 1]."""
        image = self.climb(networks, self.fixed_noise(networks), self.shapes, level=level)
        return jnp.clip(image, -1.0, 1.0)

    def samples(
        self,
        networks: Networks,
        level: jax.Array,
        key: jax.Array,
        num: int,
        *,
        shapes: Shapes | None = None,
        noise: float = 1.0,
        start: int = 0,
        image: jax.Array | None = None,
    ) -> jax.Array:
        """`num` pictures [num, H, W, C] in [-1, 1], computed one after the other to save memory.

        Args:
          networks, level: see the class.
          key: random key of the noise.
          num: number of pictures.
          shapes: (height, width) at each scale; those of the training picture if None.
          noise: strength of the noise; 1 is that of training.
          start: the first scale to apply.
          image: picture that is injected at scale `start` if that is not 0, [1, h, w, C] of any size; the training
            picture if None.
        """
        shapes = self.shapes if shapes is None else shapes
        if start:
            image = self.picture(networks) if image is None else image
            image = self.inject(networks, start, image, shapes)

        def one(i):
            z = self.random_noise(jax.random.fold_in(key, i), 1, noise)
            return self.climb(networks, z, shapes, level=level, start=start, image=image)[0]

        return jnp.clip(jax.lax.map(one, jnp.arange(num)), -1.0, 1.0)

    def enlarge(
        self,
        networks: Networks,
        level: jax.Array,
        key: jax.Array,
        image: jax.Array,
        factor: float,
        noise: float,
    ) -> tuple[jax.Array, int]:
        """Super-resolution: (a picture [1, h, w, C] `factor` times as large, the number of enlargements).

        Each enlargement is by about the pyramid's factor; the finest trained scale then adds detail. Each size is
        compiled separately: call it outside `jax.jit`. Source: the paper, Section 4, "Super-Resolution".
        """
        finest = int(level)
        times = max(1, round(math.log(factor, 1 / self.pyramid.factor)))

        @jax.jit
        def refine(networks, key, image):
            z = self.random_noise(key, 1, noise)(finest, image.shape[1:3])
            return self.refine(networks, finest, image, z)

        low = image.shape[1:3]
        for i in range(1, times + 1):
            size = tuple(round(side * factor ** (i / times)) for side in low)
            image = refine(networks, jax.random.fold_in(key, i), resize(image, size))
        return jnp.clip(image, -1.0, 1.0), times

    def begin_walk(self, networks: Networks, key: jax.Array) -> tuple[list, list]:
        """The start of an animation: the noise of every scale at two times, first z*, then close to z*.

        Returns:
          (noise at the later time, noise at the earlier time).
        """
        rest = [self._fixed(networks, n, shape) for n, shape in enumerate(self.shapes)]
        step = [self._normal(key, n, shape, 1) for n, shape in enumerate(self.shapes)]
        return [0.95 * z + 0.05 * u for z, u in zip(rest, step, strict=True)], rest

    def walk(
        self,
        networks: Networks,
        level: jax.Array,
        key: jax.Array,
        walk: tuple[list, list],
        start: int,
        alpha: float,
        beta: float,
    ) -> tuple[jax.Array, tuple[list, list]]:
        """The next frame [1, H, W, C] of an animation, and the noise at its time and at the time before.

            z_(t+1) = alpha z* + (1 - alpha) (z_t + beta (z_t - z_(t-1)) + (1 - beta) u),    u ~ N(0, 1)

        The noise of scales below `start` stays z*. Source: the paper, Section 4, "Single Image Animation".
        """
        new = []
        for n, (now, last) in enumerate(zip(*walk, strict=True)):
            rest = self._fixed(networks, n, self.shapes[n])
            u = self._normal(key, n, self.shapes[n], 1)
            moved = alpha * rest + (1 - alpha) * (now + beta * (now - last) + (1 - beta) * u)
            new.append(rest if n < start else moved)
        image = self.climb(
            networks, lambda n, shape: self._surround(new[n]), self.shapes, level=level
        )
        return jnp.clip(image, -1.0, 1.0), (new, walk[0])


def level_at(clock: Clock) -> jax.Array:
    """The finest scale that has begun to train, int32. Scale n trains in stage n, from its first round on."""
    return jnp.where(clock.stage_step > 0, clock.stage, jnp.maximum(clock.stage - 1, 0))


def soften(mask: jax.Array, radius: int, deviation: float) -> jax.Array:
    """A mask [H, W] dilated by a disc of that radius and blurred by a Gaussian, both in pixels; values in [0, 1].

    Positive values of the given mask are inside. Source: the reference implementation's `dilate_mask`.
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

    # Normalised by the weight of the pixels inside the picture, so that its edges do not count as outside the mask.
    return blurred(grown) / blurred(jnp.ones_like(grown))


def palette(image: jax.Array, colours: int = COLOURS, rounds: int = 20) -> jax.Array:
    """The main colours [colours, C] of a picture [H, W, C], by k-means.

    The first centre is the mean; each further one is the colour furthest from those before it. Nothing is random.
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
    """The nearest of the colours [K, C] for each pixel of [..., C]."""
    return centres[jnp.argmin(_distances(x, centres), axis=-1)]


def _distances(x: jax.Array, centres: jax.Array) -> jax.Array:
    """Squared distances of colours [..., C] to each of [K, C]: [..., K]."""
    shape = (1,) * (x.ndim - 1) + centres.shape
    return jnp.sum(jnp.square(x[..., None, :] - centres.reshape(shape)), axis=-1)
