"""The augmentation pipeline of adaptive discriminator augmentation (ADA), at a given probability."""

from __future__ import annotations

import itertools
import math
import numbers
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import draws
from jaxgan.augment import _check, bands, colors, geometry, pixels

_PARTS = {
    "blit": ("flip", "rotate90", "translate"),
    "geometry": ("scale", "rotate", "stretch", "shift"),
    "color": ("brightness", "contrast", "luma_flip", "hue", "saturation"),
    "filter": ("bands",),
    "noise": ("noise",),
    "cutout": ("cutout",),
}

# The parts of each possible value of `groups`: one part, or the cumulative groups of the paper.
GROUPS: dict[str, tuple[str, ...]] = {part: (part,) for part in _PARTS} | {
    "b": ("blit",),
    "bg": ("blit", "geometry"),
    "bgc": ("blit", "geometry", "color"),
    "bgcf": ("blit", "geometry", "color", "filter"),
    "bgcfn": ("blit", "geometry", "color", "filter", "noise"),
    "bgcfnc": ("blit", "geometry", "color", "filter", "noise", "cutout"),
}

# Expected power of the four bands of an image with a 1/f spectrum.
_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)


class AdaOptions(NamedTuple):
    """Multipliers of the transformations' probabilities; with 0 a transformation is not computed.

    Attributes:
      flip: horizontal flip, with probability 1/2.
      rotate90: rotation by 0 to 3 quarter turns. Square images only.
      translate: shift by whole pixels, U[-1/8, 1/8] of height and width.
      scale: scaling by a factor of 2^N(0, 0.2^2).
      rotate: rotation by U[-pi, pi], before `stretch` and again after it, each with probability
        1 - sqrt(1 - p), so that at least one happens with probability p.
      stretch: width times 2^N(0, 0.2^2), height divided by the same factor.
      shift: shift by N(0, 1/8^2) of height and width.
      brightness: all channels + N(0, 0.2^2).
      contrast: all channels times 2^N(0, 0.5^2).
      luma_flip: inversion of the luma at equal hue and saturation, with probability 1/2.
      hue: rotation by U[-pi, pi] about the grey axis.
      saturation: saturation times 2^N(0, 1).
      bands: each of four frequency bands times 2^N(0, 1), then all bands times the factor that keeps the
        expected power.
      noise: + |N(0, 0.1^2)| N(0, 1), with the first number drawn per image, the second per value.
      cutout: a rectangle of half the height and width, with uniform centre in the image, is set to zero.
    """

    flip: float = 1.0
    rotate90: float = 1.0
    translate: float = 1.0
    scale: float = 1.0
    rotate: float = 1.0
    stretch: float = 1.0
    shift: float = 1.0
    brightness: float = 1.0
    contrast: float = 1.0
    luma_flip: float = 1.0
    hue: float = 1.0
    saturation: float = 1.0
    bands: float = 1.0
    noise: float = 1.0
    cutout: float = 1.0


def ada(
    images: jax.Array,
    key: jax.Array,
    p: jax.Array,
    groups: str = "bgc",
    options: AdaOptions | None = None,
) -> jax.Array:
    """ADA's stochastic augmentation: each transformation, for each image, with probability `p`.

    Pixel blitting, geometry, colour, filtering, noise and cutout, in this order; `AdaOptions`
    lists the transformations and their strengths. Transformations that are not drawn do not change the
    image: at p = 0 the result equals the input, bit for bit. For p below about 0.8 the generator does not
    learn the augmentations (the paper's Section 2.2).

    Apply it in both losses, to real and generated images in the critic's and to generated images in the
    generator's, each with its own key. Compute gradient penalties with respect to the images before
    augmentation: `penalties.r1(lambda x: critic(ada(x, key, p)), real)`.

    Flips and quarter turns are pixel-exact. Whole-pixel shifts and geometry are combined to one map of the
    plane and resampled once (by `affine`, whose docstring has the differences from the paper). An image for
    which no geometry is drawn is not resampled.

    Args:
      images: [B, H, W, C] in [-1, 1], floating point. Colour transformations need 1 channel (on
        which hue and saturation have no effect) or 3.
      key: random key. Random numbers differ between images, and those of a transformation do not depend on
        which others are in use.
      p: the probability, in [0, 1]; a number, or a scalar array from `AdaState`. NaN gives NaN.
      groups: "b", "bg", "bgc" (the paper's choice), "bgcf", "bgcfn" or "bgcfnc": blitting,
        geometry, colour, filtering, noise, cutout; or a single group: "blit",
        "geometry", "color", "filter", "noise", "cutout".
      options: multipliers of `p`, one for each transformation.

    Returns:
      [B, H, W, C] in the type of `images`, not clipped.

    Source: Karras et al., Training Generative Adversarial Networks with Limited Data (2020),
      Appendix B, Figure 15.

    >>> x = jnp.linspace(-1.0, 1.0, 48).reshape(1, 4, 4, 3)
    >>> y = ada(x, jax.random.key(0), p=0.0)
    >>> print((x == y).all())
    True
    """
    images = _check.images_of(images, "ada")
    parts = GROUPS[_check.known(groups, GROUPS, "group of augmentations")]
    options = AdaOptions() if options is None else options
    for name, multiplier in options._asdict().items():
        if isinstance(multiplier, numbers.Real) and multiplier < 0:
            raise ValueError(f"AdaOptions.{name} is {multiplier}; a multiplier of p is 0 or more.")
    _check.probability(p, "p")
    p = jnp.asarray(p, jnp.float32)
    if p.ndim:
        raise ValueError(f"p has shape {p.shape}; give one probability for all images.")
    if "color" in parts:
        _check.colors_of(images, "ada with colours")
    used = tuple(
        name for part in parts for name in _PARTS[part] if _is_used(getattr(options, name))
    )
    return _augmented(_check.widened(images), key, p, options, used).astype(images.dtype)


# Jitted for callers outside `jax.jit`, for which it would be hundreds of small operations.
@partial(jax.jit, static_argnames="used", inline=True)
def _augmented(x, key, p, options, used):
    drawn = _Draws(key, x.shape[0], p, options, used)
    for transform in (_blit_and_geometry, _color, _filter, _add_noise, _cut):
        x = transform(x, drawn)
    # A comparison with NaN is false, so nothing would be augmented.
    return jnp.where(jnp.isnan(p), jnp.nan, x)


class _Columns(NamedTuple):
    """How many random numbers of each kind a transformation needs for an image."""

    chance: int = 1  # whether it is applied
    uniform: int = 0
    normal: int = 0


_COLUMNS = {
    "flip": _Columns(uniform=1),
    "rotate90": _Columns(uniform=1),
    "translate": _Columns(uniform=2),
    "scale": _Columns(normal=1),
    "rotate": _Columns(chance=2, uniform=2),
    "stretch": _Columns(normal=1),
    "shift": _Columns(normal=2),
    "brightness": _Columns(normal=1),
    "contrast": _Columns(normal=1),
    "luma_flip": _Columns(uniform=1),
    "hue": _Columns(uniform=1),
    "saturation": _Columns(normal=1),
    "bands": _Columns(chance=bands.BANDS, normal=bands.BANDS),
    "noise": _Columns(normal=1),
    "cutout": _Columns(uniform=2),
}


class _Draws:
    """The random decisions and strengths of the transformations of each image.

    The numbers of all transformations, used or not, are drawn as one array of each kind. With a key for each of them,
    the generator of random numbers was two thirds of the compiled program.
    """

    def __init__(self, key, batch, p, options, used):
        self.batch, self.used = batch, used
        multipliers = {name: jnp.asarray(getattr(options, name), jnp.float32) for name in used}
        self.p = {
            name: jnp.minimum(p * multiplier, 1.0) for name, multiplier in multipliers.items()
        }
        chance, uniform, normal, self.noise_key = jax.random.split(key, 4)
        self._chances = self._drawn("chance", chance, draws.uniform)
        self._uniforms = self._drawn("uniform", uniform, draws.uniform)
        self._normals = self._drawn("normal", normal, draws.normal)

    def _drawn(self, kind, key, draw):
        """{transformation: its numbers of one kind, [B], or [B, n] where there are several}."""
        number = {name: getattr(columns, kind) for name, columns in _COLUMNS.items()}
        values = draw(key, (self.batch, sum(number.values())))
        end = dict(zip(number, itertools.accumulate(number.values()), strict=True))
        return {
            name: values[:, end[name] - 1] if n == 1 else values[:, end[name] - n : end[name]]
            for name, n in number.items()
        }

    def applied(self, name, probability=lambda p: p):
        """Whether a transformation is applied, boolean [B] or [B, n]; None if it never is."""
        if name not in self.used:
            return None
        return self._chances[name] < probability(self.p[name])

    def normal(self, name):
        """Standard normal numbers, [B] or [B, n]."""
        return self._normals[name]

    def uniform(self, name, low=0.0, high=1.0):
        """Uniform numbers from `low` to `high`, [B] or [B, n]."""
        return low + (high - low) * self._uniforms[name]

    def either(self, name):
        """True with probability 1/2, [B]."""
        return self._uniforms[name] < 0.5


def _is_used(multiplier):
    return not (isinstance(multiplier, numbers.Real) and multiplier == 0)


def _if(applied, value, otherwise):
    """`value` for the images to which the transformation is applied."""
    return jnp.where(applied, value, jnp.full((), otherwise, value.dtype))


def _blit_and_geometry(x, drawn):
    height, width = x.shape[1:3]
    if (applied := drawn.applied("flip")) is not None:
        x = pixels.flip(x, applied & drawn.either("flip"))
    if (applied := drawn.applied("rotate90")) is not None:
        turns = jnp.floor(drawn.uniform("rotate90", 0.0, 4.0)).astype(jnp.int32)
        x = pixels.rotate90(x, _if(applied, turns, 0))

    size = jnp.array([[width, height]], jnp.float32)
    shifted, whole = x, jnp.zeros((x.shape[0], 2), jnp.float32)
    if (applied := drawn.applied("translate")) is not None:
        shift = jnp.round(drawn.uniform("translate", -0.125, 0.125) * size)
        whole = _if(applied[:, None], shift, 0.0)
        right, down = whole.astype(jnp.int32).T
        shifted = pixels.translate(x, down, right, "reflect")
    moved, matrix = _geometry(drawn, geometry.translation(*whole.T), size)
    if moved is None:
        return shifted
    return jnp.where(_check.over_pixels(moved), geometry.affine(x, matrix), shifted)


def _geometry(drawn, matrix, size):
    """(whether geometry is applied to each image, [B] or None; its map [B, 3, 3] after `matrix`)."""
    moved = []

    def then(applied, transformation):
        nonlocal matrix
        moved.append(applied)
        # Selected below where it is not applied, since a product with the identity would round.
        after = jnp.einsum("bij,bjk->bik", transformation, matrix, precision="highest")
        matrix = jnp.where(applied[:, None, None], after, matrix)

    def each_half(p):
        return 1 - jnp.sqrt(1 - p)

    turned = drawn.applied("rotate", each_half)
    angle: Any = None
    if turned is not None:
        angle = drawn.uniform("rotate", -math.pi, math.pi)
    if (applied := drawn.applied("scale")) is not None:
        factor = jnp.exp2(0.2 * drawn.normal("scale"))
        then(applied, geometry.scaling(factor, factor))
    if turned is not None:
        then(turned[:, 0], geometry.rotation(angle[:, 0]))
    if (applied := drawn.applied("stretch")) is not None:
        factor = jnp.exp2(0.2 * drawn.normal("stretch"))
        then(applied, geometry.scaling(factor, 1 / factor))
    if turned is not None:
        then(turned[:, 1], geometry.rotation(angle[:, 1]))
    if (applied := drawn.applied("shift")) is not None:
        then(applied, geometry.translation(*(0.125 * drawn.normal("shift") * size).T))
    return (jnp.stack(moved).any(axis=0) if moved else None), matrix


def _color(x, drawn):
    if not any(name in drawn.used for name in _PARTS["color"]):
        return x
    strengths = {
        "brightness": (lambda: 0.2 * drawn.normal("brightness"), 0.0),
        "contrast": (lambda: jnp.exp2(0.5 * drawn.normal("contrast")), 1.0),
        "luma_flip": (lambda: drawn.either("luma_flip").astype(jnp.float32), 0.0),
        "hue": (lambda: drawn.uniform("hue", -math.pi, math.pi), 0.0),
        "saturation": (lambda: jnp.exp2(drawn.normal("saturation")), 1.0),
    }
    changed, values = jnp.zeros(drawn.batch, bool), []
    for name, (draw, neutral) in strengths.items():
        applied = drawn.applied(name)
        if applied is None:
            values.append(jnp.full(drawn.batch, neutral, jnp.float32))
        else:
            values.append(_if(applied, draw(), neutral))
            changed = changed | applied
    y = colors.transform_colors(x, colors.color_matrix(*values))
    return jnp.where(_check.over_pixels(changed), y, x)


def _filter(x, drawn):
    applied = drawn.applied("bands")
    if applied is None:
        return x
    strengths = jnp.exp2(drawn.normal("bands"))
    gains = band_gains(_if(applied, strengths, 1.0), applied)
    y = bands.amplify_bands(x, gains)
    return jnp.where(_check.over_pixels(applied.any(axis=1)), y, x)


def band_gains(strengths: jax.Array, applied: jax.Array) -> jax.Array:
    """Gains of the bands: each band is amplified in turn, then all are rescaled to the expected power; [B, 4] each."""
    power = jnp.array([_POWER], strengths.dtype)
    gains = jnp.ones_like(strengths)
    for i in range(bands.BANDS):
        alone = jnp.ones_like(strengths).at[:, i].set(strengths[:, i])
        alone = alone / jnp.sqrt(jnp.sum(power * jnp.square(alone), axis=1, keepdims=True))
        gains = gains * jnp.where(applied[:, i : i + 1], alone, 1.0)
    return gains


def _add_noise(x, drawn):
    applied = drawn.applied("noise")
    if applied is None:
        return x
    scale = _check.over_pixels(_if(applied, jnp.abs(0.1 * drawn.normal("noise")), 0.0))
    noise = scale * draws.normal(drawn.noise_key, x.shape)
    return x + noise.astype(x.dtype)


def _cut(x, drawn):
    applied = drawn.applied("cutout")
    if applied is None:
        return x
    height, width = x.shape[1:3]
    y, across = drawn.uniform("cutout").T
    cut = pixels.cutout(x, y * height, across * width, height / 2, width / 2)
    return jnp.where(_check.over_pixels(applied), cut, x)
