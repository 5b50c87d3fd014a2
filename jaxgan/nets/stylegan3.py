"""StyleGAN3's generator: layers between band-limited signals, so that pictures move with the network's input.

Features are samples of continuous signals on a grid that extends beyond the picture by a margin, in which the edges'
influence stays. A layer has a sampling rate s, a cutoff frequency fc below s / 2, and a half-width fh of the transition
band of its filters. Nonlinearities are applied at twice the larger rate of the two signals, between low-pass filters.

Convolutions, filters and activations are computed in `dtype` at the four largest sampling rates. The mapping, the
styles and demodulation, the input, the magnitudes and the picture are always in float32.

Source: Karras et al., Alias-Free Generative Adversarial Networks (2021), Sections 2 and 3, Appendix C and F. The critic
is StyleGAN2's (`jaxgan.nets.stylegan2`), the mapping is in `jaxgan.nets.styles`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import resample
from jaxgan.nets.equalised import EqualisedDense, leaky_relu
from jaxgan.nets.modulated import modulated_conv
from jaxgan.nets.remat import recomputed
from jaxgan.nets.styles import Mapping
from jaxgan.tools.latents import every_layer

TAPS = 6  # of a filter, for each factor of its rate change
PICTURE_SCALE = 0.25  # factor of the last layer's output
LOW_PRECISION_RATES = 4  # so many of the largest sampling rates are computed in `dtype`
FIRST_CUTOFF, FIRST_STOP = 2.0, 2**2.1
LAST_STOP = 2**0.3  # as a multiple of half of the resolution


class Signal(NamedTuple):
    """The samples that a layer gives.

    Attributes:
      rate: s, samples per side of the picture.
      cutoff: fc, in cycles per side of the picture.
      half_width: fh, half of the transition band, likewise.
      size: samples per side of the grid, with margins.
      channels: number of channels.
    """

    rate: int
    cutoff: float
    half_width: float
    size: int
    channels: int


def schedule(
    resolution: int,
    layers: int,
    critical: int,
    margin: int,
    channel_base: int,
    channel_max: int,
    picture_channels: int,
) -> tuple[Signal, ...]:
    """The signals of layers 0 to N = `layers`, the last of which gives the picture of side r = `resolution`.

        fc[i] = 2 (r / 4)^e,    ft[i] = 2^2.1 (r / 2 2^0.3 / 2^2.1)^e,    e = min(i / (N - critical), 1)
        s[i] = 2^ceil(log2 min(2 ft[i], r)),    fh[i] = max(ft[i], s[i] / 2) - fc[i]

    A layer has round(min(channel_base / (2 fc), channel_max)) channels, and a grid of s + 2 margin samples per side;
    the last two have r.

    Source: Alias-Free GANs, Section 3.2 and Appendix C.1.

    >>> [s.rate for s in schedule(256, 14, 2, 10, 16384, 512, 3)]
    [16, 16, 16, 32, 32, 64, 64, 128, 128, 128, 256, 256, 256, 256, 256]
    """
    found = []
    for i in range(layers + 1):
        e = min(i / (layers - critical), 1.0)
        cutoff = FIRST_CUTOFF * (resolution / 2 / FIRST_CUTOFF) ** e
        stop = FIRST_STOP * (resolution / 2 * LAST_STOP / FIRST_STOP) ** e
        rate = 2 ** math.ceil(math.log2(min(2 * stop, resolution)))
        size = rate + 2 * margin if i < layers - 1 else resolution
        channels = round(min(channel_base / 2 / cutoff, channel_max))
        channels = picture_channels if i == layers else max(1, channels)
        found.append(Signal(rate, cutoff, max(stop, rate / 2) - cutoff, size, channels))
    return tuple(found)


# Transformations ------------------------------------------------------------------------------------------


def translation(shift: jax.Array) -> jax.Array:
    """The `transform` of `Generator.paint` that moves pictures by `shift` [B, 2] = (x, y): [B, 2, 3].

    In sides of the picture, to the right and down.
    """
    eye = jnp.broadcast_to(jnp.eye(2, dtype=jnp.float32), (shift.shape[0], 2, 2))
    return jnp.concatenate([eye, -shift.astype(jnp.float32)[:, :, None]], axis=2)


def rotation(angle: jax.Array) -> jax.Array:
    """The `transform` of `Generator.paint` that turns pictures by `angle` [B], clockwise in radians: [B, 2, 3]."""
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    zero = jnp.zeros_like(cosine)
    rows = [jnp.stack([cosine, sine, zero], axis=1), jnp.stack([-sine, cosine, zero], axis=1)]
    return jnp.stack(rows, axis=1)


# Layers ---------------------------------------------------------------------------------------------------


class FourierInput(nn.Module):
    """sin(2 pi (f . p + phase)) at the points p of a grid, mixed by a matrix: w [B, D] -> [B, size, size, channels].

    The frequencies f are uniform in the disc |f| <= cutoff, the phases in [-1/2, 1/2); both are constants, in the
    collection "fourier". The signal is rotated and translated by (r_c, r_s, t_x, t_y), an affine map of w divided by
    |(r_c, r_s)|, which starts as the identity, and by a given `transform` [B, 2, 3] = (A, a), after which the value at
    p is that at A p + a before. Points are (x, y) from the centre, in sides of the picture. Frequencies above the
    cutoff, such as a transform can cause, fade out linearly up to half the sampling rate.

    Source: Alias-Free GANs, Section 3.1 and Appendix F.
    """

    signal: Signal

    @nn.compact
    def __call__(self, w: jax.Array, transform: jax.Array | None) -> jax.Array:
        rate, cutoff, _, _, channels = self.signal
        frequencies = self.variable("fourier", "frequencies", self._frequencies).value
        phases = self.variable(
            "fourier",
            "phases",
            lambda: jax.random.uniform(
                self.make_rng("params"), (channels,), jnp.float32, -0.5, 0.5
            ),
        ).value
        frequencies, phases = _moved(frequencies, phases, self._of_style(w))
        if transform is not None:
            linear, offset = transform[:, :, :2], transform[:, :, 2]
            phases = phases + _product("bcf,bf->bc", frequencies, offset)
            frequencies = _product("bcf,bfg->bcg", frequencies, linear)
        above = jnp.linalg.norm(frequencies, axis=2) - cutoff
        amplitude = jnp.clip(1.0 - above / (rate / 2 - cutoff), 0.0, 1.0)
        size = self.signal.size
        at = jnp.asarray((np.arange(size) + 0.5 - size / 2) / rate, jnp.float32)
        across, down = (frequencies[:, None, :, i] * at[None, :, None] for i in range(2))
        turns = across[:, None] + down[:, :, None] + phases[:, None, None]
        x = jnp.sin(2 * np.pi * turns) * amplitude[:, None, None]
        mixed = self.param("kernel", nn.initializers.normal(1.0), (channels, channels), jnp.float32)
        mixed = mixed * np.float32(1 / np.sqrt(channels))
        return jnp.matmul(x, mixed, precision="highest")

    def _frequencies(self) -> jax.Array:
        shape, key = (self.signal.channels,), self.make_rng("params")
        radius_key, angle_key = jax.random.split(key)
        radius = self.signal.cutoff * jnp.sqrt(jax.random.uniform(radius_key, shape, jnp.float32))
        angle = 2 * np.pi * jax.random.uniform(angle_key, shape, jnp.float32)
        return jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle)], axis=1)

    def _of_style(self, w: jax.Array) -> jax.Array:
        """(r_c, r_s, t_x, t_y) [B, 4], of which (r_c, r_s) has length 1."""
        kernel = self.param("transform_kernel", nn.initializers.zeros, (w.shape[1], 4), jnp.float32)
        bias = self.param("transform_bias", lambda _: jnp.array([1.0, 0, 0, 0], jnp.float32))
        moved = w @ (kernel * np.float32(1 / np.sqrt(w.shape[1]))) + bias[None]
        return moved / jnp.linalg.norm(moved[:, :2], axis=1, keepdims=True)


def _moved(frequencies, phases, moved):
    """Frequencies [B, C, 2] and phases [B, C] of the signal at R (p - t), for (r_c, r_s, t_x, t_y) [B, 4]."""
    (c, s), shift = (moved[:, i, None] for i in range(2)), moved[:, 2:]
    fx, fy = frequencies[None, :, 0], frequencies[None, :, 1]
    turned = jnp.stack([fx * c + fy * s, fy * c - fx * s], axis=2)
    return turned, phases[None] - _product("bcf,bf->bc", turned, shift)


def _product(what: str, *arrays: jax.Array) -> jax.Array:
    """An einsum in full float32: a rounded frequency would move the signal."""
    return jnp.einsum(what, *arrays, precision="highest")


class Filters(NamedTuple):
    """The nonlinearity between two signals: factors and filters of the rate changes.

    Attributes:
      up, down: factors.
      up_kernel: [TAPS up], or None for no filter.
      down_kernel: [TAPS down], or [TAPS down, TAPS down] if it is radial, or None for no filter.
    """

    up: int
    down: int
    up_kernel: np.ndarray | None
    down_kernel: np.ndarray | None


def filters(source: Signal, target: Signal, radial: bool, picture: bool) -> Filters:
    """The filters of a layer from `source` to `target`, at twice the larger rate; none in a layer of `picture`s.

    `radial`: a rotationally symmetric downsampling filter.
    """
    rate = max(source.rate, target.rate) * (1 if picture else 2)
    up, down = rate // source.rate, rate // target.rate
    if picture:
        return Filters(up, down, None, None)
    return Filters(
        up,
        down,
        resample.kaiser_lowpass(TAPS * up, source.cutoff, 2 * source.half_width, rate),
        resample.kaiser_lowpass(TAPS * down, target.cutoff, 2 * target.half_width, rate, radial),
    )


def filtered_leaky_relu(x: jax.Array, found: Filters, size: int) -> jax.Array:
    """Leaky ReLU of the continuous signal: upsampling, leaky ReLU, downsampling, crop to `size`.

    The padding keeps the centre of the grid in place. Upsampling multiplies by up^2, since the inserted zeros divide
    the mean by it.

    Args:
      x: [B, H, H, C]; its grid may be larger than necessary, by the margins of a convolution.
      found: see `filters`; with filters.
      size: H' of the result.

    Returns:
      [B, H', H', C] in the dtype of `x`.

    Source: Alias-Free GANs, Section 3.2 and Appendix D.
    """
    assert found.up_kernel is not None, "a layer of pictures has no nonlinearity"
    assert found.down_kernel is not None, "a layer of pictures has no nonlinearity"
    total = (size - 1) * found.down + 1 - x.shape[1] * found.up
    total += len(found.up_kernel) + len(found.down_kernel) - 2
    low = (total + found.up) // 2
    pads = (low, total - low)
    x = resample.upfirdn2d(x, found.up * found.up_kernel, up=found.up, padding=(*pads, *pads))
    return resample.upfirdn2d(leaky_relu(x), found.down_kernel, down=found.down)


class Layer(nn.Module):
    """Modulated convolution, bias and filtered leaky ReLU: x, w [B, D] -> ([B, size, size, channels], mean square).

    The input is divided by the root of an average of its mean square, the variable "mean_square" of the collection
    "magnitude". With a `decay` the average is first updated by this batch, and its new value returned. The kernel is
    divided by its root mean square for each output, the styles by theirs over the batch, which keeps demodulation
    accurate.

    A layer of `picture`s has a plain modulated 1x1 convolution and no nonlinearity.
    """

    source: Signal
    target: Signal
    kernel_size: int
    radial: bool = False
    picture: bool = False
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, w: jax.Array, decay: float | None
    ) -> tuple[jax.Array, jax.Array]:
        x, k = x.astype(self.dtype), self.kernel_size
        square = self.variable("magnitude", "mean_square", jnp.ones, (), jnp.float32).value
        if decay is not None:
            new = jnp.mean(jnp.square(x.astype(jnp.float32)))
            square = decay * square + (1.0 - decay) * jax.lax.stop_gradient(new)
        x = x * jax.lax.rsqrt(square).astype(x.dtype)
        style = EqualisedDense(x.shape[-1], bias_init=1.0, name="style")(w)
        shape = (k, k, x.shape[-1], self.target.channels)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:], jnp.float32)[None, None, None]
        if self.picture:
            style = style * np.float32(1 / np.sqrt(np.prod(shape[:-1])))
            y = modulated_conv(x, kernel, style, demodulate=False)
            return y.astype(jnp.float32) + bias, square
        kernel = kernel * jax.lax.rsqrt(jnp.mean(jnp.square(kernel), axis=(0, 1, 2), keepdims=True))
        style = style * jax.lax.rsqrt(jnp.mean(jnp.square(style)))
        pad = (
            k - 1
        ) // 2  # and as much inside of the convolution: every output that the input reaches
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        y = modulated_conv(x, kernel, style) + bias.astype(x.dtype)
        found = filters(self.source, self.target, self.radial, False)
        return filtered_leaky_relu(y, found, self.target.size), square


class Synthesis(nn.Module):
    """Styles w [B, N + 2, D] to (pictures, float32 [B, r, r, C], magnitudes).

    The first style is that of the input, the others those of the layers. `magnitudes` is the collection "magnitude" of
    the layers, updated by this batch if there is a `decay`, see `Layer`.

    Attributes:
      signals: see `schedule`.
      critical: number of last layers, before the one of pictures, whose signal is sampled critically; their filters are
        separable.
      kernel_size: of the convolutions, 3 or 1.
      radial: use rotationally symmetric downsampling filters in the other layers.
      dtype, remat: see the module's docstring, and `jaxgan.nets.remat`.
    """

    signals: tuple[Signal, ...]
    critical: int
    kernel_size: int = 3
    radial: bool = False
    dtype: jax.typing.DTypeLike = jnp.float32
    remat: bool = False

    @property
    def num_styles(self) -> int:
        return len(self.signals) + 1

    @nn.compact
    def __call__(
        self, w: jax.Array, transform: jax.Array | None = None, decay: float | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        x = FourierInput(self.signals[0], name="input")(w[:, 0], transform)
        layer = recomputed(Synthesis.layer, self.remat, static=2)
        magnitudes = {}
        for i in range(len(self.signals)):
            x, square = layer(self, i, decay, x, w[:, i + 1])
            magnitudes[f"layer{i}"] = {"mean_square": square}
        return x.astype(jnp.float32) * PICTURE_SCALE, magnitudes

    def layer(self, i: int, decay: float | None, x: jax.Array, w: jax.Array):
        source, target, last = self.signals[max(0, i - 1)], self.signals[i], len(self.signals) - 1
        low = target.rate << LOW_PRECISION_RATES > self.signals[-1].rate
        return Layer(
            source,
            target,
            1 if i == last else self.kernel_size,
            self.radial and i < last - self.critical,
            picture=i == last,
            dtype=self.dtype if low else jnp.float32,
            name=f"layer{i}",
        )(x, w, decay)


class Generator(nn.Module):
    """A mapping and a synthesis: latents z [B, L], and labels int32 [B], or None, to pictures.

    `style` maps z to w [B, D]. `paint` maps w [B, num_styles, D] to pictures; all layers share a w [B, D]. `transform`:
    see `FourierInput`, `translation` and `rotation`. `measured` is `paint` with updated magnitudes: (pictures, the
    collection "magnitude").
    """

    mapping: Mapping
    synthesis: Synthesis

    def __call__(self, z: jax.Array, label: jax.Array | None) -> jax.Array:
        return self.paint(self.style(z, label))

    def style(self, z: jax.Array, label: jax.Array | None) -> jax.Array:
        return self.mapping(z, label)

    def paint(self, w: jax.Array, transform: jax.Array | None = None) -> jax.Array:
        if w.ndim == 2:
            w = every_layer(w, self.synthesis.num_styles)
        return self.synthesis(w, transform)[0]

    def measured(self, w: jax.Array, decay: float) -> tuple[jax.Array, dict[str, Any]]:
        pictures, magnitudes = self.synthesis(w, None, decay)
        return pictures, {"synthesis": magnitudes}
