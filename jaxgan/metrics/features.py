"""Feature extractors that need no download.

An extractor is any object with a `name`, `outputs` (the size of each) and a
`__call__(batch) -> {output: float32 [B, size]}`: Inception, DINOv2 or a user's own classifier have
the same interface (`jaxgan.metrics.networks`). Scores are named after it (`fd_random_conv`). If it
also has a `checksum` of its weights or a `resize` rule, the protocol states them. The extractors
of this module have no semantic features: their distances rank runs on one data set, but are never
comparable with a published FID.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

# The extractors of this module.
WITHOUT_WEIGHTS = ("pixels", "points", "random_conv")

_PIXELS_SIDE, _PIXELS_DIM = 16, 768
_SEED = 2019
_CHANNELS = 32
_SMALLEST = 4  # minimum side of a picture, and of the coarsest map of the pyramid


class Extractor(Protocol):
    """The interface of a feature extractor.

    If an extractor also has `variables` (a pytree of arrays) and a traceable method
    `apply(variables, batch)` that computes the same function, it can be compiled into one program
    with the generator.

    Attributes:
      name: part of the name of every score.
      outputs: the size of each output: always "features"; "logits" for a classifier; others if a
        score needs them.
    """

    @property
    def name(self) -> str: ...

    @property
    def outputs(self) -> Mapping[str, int]: ...

    def __call__(self, batch) -> Mapping[str, jax.Array]:
        """uint8 pictures [B, H, W, C] or float points [B, D] to {output: float32 [B, size]}."""
        ...


@dataclasses.dataclass(frozen=True)
class ArrayExtractor:
    """A jitted function of one batch, for examples of one shape and dtype, with one output."""

    name: str
    dim: int
    shape: tuple[int, ...]
    dtype: np.dtype
    checksum: str  # sha256 of the weights, or "no weights"
    function: Callable[[jax.Array], jax.Array]

    variables = ()

    @property
    def outputs(self) -> dict[str, int]:
        return {"features": self.dim}

    def __call__(self, batch) -> dict[str, jax.Array]:
        if batch.shape[1:] != self.shape or batch.dtype != self.dtype:
            raise ValueError(
                f"{self.name} was made for {self.dtype} examples {list(self.shape)}, but was given "
                f"a batch {batch.dtype} {list(batch.shape)}; {self._way(batch)}"
            )
        return self.apply((), batch)

    def _way(self, batch) -> str:
        """What to do with a batch of another shape or type."""
        if batch.shape[1:] != self.shape:
            return "give examples of one shape"
        if self.dtype != np.uint8:
            return f"convert them by batch.astype(numpy.{self.dtype})"
        return how_to_quantise(batch.dtype)

    def apply(self, variables: tuple[()], batch) -> dict[str, jax.Array]:
        return {"features": self.function(batch)}


def how_to_quantise(dtype: np.dtype) -> str:
    """What to do with pictures of a type other than uint8."""
    if jnp.issubdtype(dtype, np.floating):
        return "quantise with to_uint8 first, which takes pictures in [-1, 1]"
    return "convert whole numbers from 0 to 255 by images.astype(numpy.uint8)"


def extractor_for(shape: tuple[int, ...], name: str | None = None) -> ArrayExtractor:
    """Returns the extractor called `name` for examples of the given shape.

    The default is `random_conv` for pictures (H, W, C) and `points` for points (D,).

    >>> extractor_for((32, 32, 3)).name, extractor_for((2,)).name
    ('random_conv', 'points')
    """
    makers = {maker.__name__: maker for maker in (pixels, points, random_conv)}
    name = name or default_features(shape)
    if name not in makers:
        raise ValueError(f"no features are called {name!r}; there are {', '.join(makers)}")
    return makers[name](tuple(shape))


def default_features(shape: tuple[int, ...]) -> str:
    """Returns the name of the default features that need no download, for examples of the given shape."""
    return "points" if len(shape) == 1 else "random_conv"


def points(shape: tuple[int, ...]) -> ArrayExtractor:
    """The examples themselves, for point sets such as mixture2d: float32 [B, D] -> [B, D]."""
    if len(shape) != 1:
        raise ValueError(f"points takes examples of shape [D], not {list(shape)}")
    return ArrayExtractor(
        "points", shape[0], tuple(shape), np.dtype(np.float32), "no weights", jax.jit(lambda x: x)
    )


def pixels(shape: tuple[int, ...]) -> ArrayExtractor:
    """Pictures averaged to at most 16 x 16: uint8 [B, H, W, C] -> [B, at most 768], in [-1, 1].

    Each value is the mean over an equal part of the picture, even if the grid does not divide the
    sides. The features represent layout and colour, but no detail finer than the grid.
    """
    height, width, channels = _picture(shape, "pixels")
    side = min(_PIXELS_SIDE, max(1, math.isqrt(_PIXELS_DIM // channels)))
    rows, columns = _averaging(height, min(side, height)), _averaging(width, min(side, width))

    def apply(images):
        x = images.astype(jnp.float32) / 127.5 - 1
        x = jnp.einsum("ih,bhwc,jw->bijc", rows, x, columns, precision="highest")
        return x.reshape(len(x), -1)

    dim = len(rows) * len(columns) * channels
    return ArrayExtractor(
        "pixels", dim, tuple(shape), np.dtype(np.uint8), "no weights", jax.jit(apply)
    )


def _averaging(size: int, parts: int) -> np.ndarray:
    """The matrix [parts, size] that takes means over `parts` equal intervals of [0, size]."""
    edges = np.arange(parts + 1) * size / parts
    lows, highs = edges[:-1, None], edges[1:, None]
    cells = np.arange(size)
    overlap = np.clip(np.minimum(highs, cells + 1) - np.maximum(lows, cells), 0, None)
    return (overlap * parts / size).astype(np.float32)


def random_conv(shape: tuple[int, ...]) -> ArrayExtractor:
    """Statistics of an untrained convolution pyramid: uint8 [B, H, W, C] -> [B, a few hundred].

    Each level applies two 3x3 convolutions of 32 channels, each with leaky ReLU (slope 0.2), then 2x2
    average pooling, until the smaller side would fall below 4. The features are the mean and the standard
    deviation over space of every channel of the picture and of every level, and the means of the coarsest
    level in the four quadrants, which represent layout. The kernels are the same bytes on every
    machine. They sum to zero, so that edges are not dominated by brightness.

    Untrained convolutions represent textures (Ustyuzhaninov et al., "What does it take to generate
    natural textures?", 2017) and give useful scores outside natural images (Naeem et al.,
    "Reliable fidelity and diversity metrics for generative models", 2020).
    """
    height, width, channels = _picture(shape, "random_conv")
    levels = 1
    while min(height, width) >> levels >= _SMALLEST:
        levels += 1
    kernels = _kernels(channels, levels)

    def apply(images):
        features = _mean_and_deviation(images.astype(jnp.float32) / 127.5 - 1)
        for x in random_conv_maps(images, levels):
            features += _mean_and_deviation(x)
        h, w = x.shape[1] // 2, x.shape[2] // 2
        for quadrant in (x[:, :h, :w], x[:, :h, w:], x[:, h:, :w], x[:, h:, w:]):
            features.append(quadrant.mean((1, 2)))
        return jnp.concatenate(features, axis=1)

    dim = 2 * channels + 2 * levels * _CHANNELS + 4 * _CHANNELS
    checksum = hashlib.sha256(b"".join(k.astype("<f4").tobytes() for k in kernels)).hexdigest()
    return ArrayExtractor(
        "random_conv", dim, tuple(shape), np.dtype(np.uint8), checksum, jax.jit(apply)
    )


def random_conv_maps(images, levels: int) -> list[jax.Array]:
    """The feature maps of `random_conv`: uint8 [B, H, W, C] -> [B, h, w, 32] for each level, finest first."""
    x, maps = images.astype(jnp.float32) / 127.5 - 1, []
    kernels = _kernels(images.shape[-1], levels)
    for level in range(levels):
        if level:
            x = _halve(x)
        for kernel in kernels[2 * level : 2 * level + 2]:
            x = _leaky_convolution(x, kernel)
        maps.append(x)
    return maps


def _picture(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape[:2]) < _SMALLEST:
        raise ValueError(
            f"{name} takes pictures [H, W, C] with sides of at least {_SMALLEST}, not {list(shape)}"
        )
    height, width, channels = shape
    return height, width, channels


@functools.cache
def _kernels(channels: int, levels: int) -> tuple[np.ndarray, ...]:
    """Two kernels per level, float32 HWIO, uniform with He's variance 2 / fan-in.

    They are computed from PCG64's raw integers by operations that IEEE 754 rounds exactly. NumPy
    guarantees the stream of a bit generator across versions, but not that of its normal variates,
    which also depend on the machine's logarithm.
    """
    kernels = []
    for layer in range(2 * levels):
        inputs = _CHANNELS if layer else channels
        fan_in = 9 * inputs
        raw = np.random.PCG64([_SEED, layer]).random_raw(fan_in * _CHANNELS)
        integers = (raw >> np.uint64(40)).astype(np.int64) - 2**23  # uniform on [-2^23, 2^23)
        integers = integers.reshape(fan_in, _CHANNELS)
        weights = integers - integers.sum(axis=0) / fan_in
        weights *= math.sqrt(6 / fan_in) / 2**23
        kernels.append(weights.astype(np.float32).reshape(3, 3, inputs, _CHANNELS))
    return tuple(kernels)


def _leaky_convolution(x, kernel):
    # Full float32: with a TPU's bfloat16 or a GPU's TF32 the features would depend on the device.
    # Zero padding: padding with the edge values separates pictures no better and took four times
    # as long on a CPU.
    x = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )
    return jax.nn.leaky_relu(x, 0.2)


def _halve(x):
    """2x2 average pooling; drops an odd last row or column."""
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def _mean_and_deviation(x) -> list[jax.Array]:
    return [x.mean((1, 2)), x.std((1, 2))]
