"""Finite impulse response filters for images, with a rate change in the same pass.

A filter is computed as a sum of shifted images, one for each tap, which XLA fuses into one loop. For an
enlarged image, taps at zeros are not computed. The gradient with respect to the image is the same
operation with the rotated filter and `up` and `down` exchanged. It has a custom VJP, because automatic
differentiation of the shifts takes up to three times as long.

The usual form, `jax.lax.conv_general_dilated` with one group for each channel, is slow on XLA's CPU
backend. Times in ms of value and of gradient for images [16, 32, 32, 64] and four taps per axis, on two
cores with JAX 0.10 and 0.12: blurring, 0.5 and 0.6 here against 16 to 26 and 32 to 52; doubling, 1 and
1.2 against 190 to 200 and 210 to 250; halving, 0.3 and 0.5 against 4 to 6 and 47 to 51.

`jax.grad` of any order, `jax.vmap` and `jax.checkpoint` are supported; `jax.jvp` and `jax.jacfwd` are
not (a custom VJP has no forward mode).
"""

from __future__ import annotations

import math
import numbers
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def upfirdn2d(
    x: jax.Array,
    kernel: jax.Array | np.ndarray,
    up: int | tuple[int, int] = 1,
    down: int | tuple[int, int] = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> jax.Array:
    """Up-samples, filters and down-samples images, each channel separately.

    First, `up - 1` zeros are inserted after every pixel, including the last. The edges are padded with zeros,
    or cropped where `padding` is negative. Then the true convolution with `kernel` (rotated by 180 degrees,
    unlike the correlation in neural networks) is computed where the kernel lies inside. Every `down`-th row
    and column is kept, from the first. For one axis, with the padded image v and a kernel of size K,

        y[i] = sum_t kernel[K-1-t] v[down i + t]

    There is no gain. The inserted zeros make an image darker, so multiply a kernel of sum 1 by up_y up_x.

    Args:
      x: images [B, H, W, C], floating point.
      kernel: [kh, kw], or [k] for its outer product with itself, which is applied along one axis after the
        other. It may have any dtype and may be traced.
      up: factor by which height and width are enlarged, one number or (up_y, up_x).
      down: factor by which they are reduced, likewise.
      padding: (top, bottom, left, right) in pixels of the up-sampled image.

    Returns:
      [B, H', W', C], H' = floor((up_y H + top + bottom - kh) / down_y) + 1 and W' likewise, in the
      dtype of `x`. Sums are computed in float32, or in the dtype of `x` if that is wider.

    Source: Vaidyanathan, Multirate Systems and Filter Banks (1993), Chapter 4, for the three
      steps; the name is that of MATLAB's and SciPy's `upfirdn`.

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(1.0, 4.0).reshape(1, 1, 3, 1)
    >>> upfirdn2d(x, jnp.array([[0.5, 1.0, 0.5]]), up=(1, 2), padding=(0, 0, 1, 0)).ravel().tolist()
    [1.0, 1.5, 2.0, 2.5, 3.0]
    """
    up, down = _pair(up, "up"), _pair(down, "down")
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    _check(x, kernel, padding)
    wide = jax.eval_shape(widened, x).dtype
    kernel = kernel.astype(wide)
    top, bottom, left, right = padding
    pads = ((top, bottom), (left, right))
    sizes = kernel.shape if kernel.ndim == 2 else kernel.shape * 2
    for name, n, u, pad, k in zip(("height", "width"), x.shape[1:3], up, pads, sizes, strict=True):
        if n * u + sum(pad) < k:
            raise ValueError(
                f"The {name} is {n * u + sum(pad)} after up-sampling and padding, less than the kernel's {k}; "
                "give larger images, more padding or a shorter kernel."
            )
    if kernel.ndim == 2:
        return _fir(x, kernel, (up, down, pads), x.dtype)
    y = _fir(x, kernel[:, None], ((up[0], 1), (down[0], 1), (pads[0], (0, 0))), wide)
    return _fir(y, kernel[None, :], ((1, up[1]), (1, down[1]), ((0, 0), pads[1])), x.dtype)


def upsample_fir(x: jax.Array, kernel: jax.Array | np.ndarray, factor: int = 2) -> jax.Array:
    """Enlarges images by a whole factor: zeros between the pixels, then `factor^2 kernel`.

    The kernel is centred, and the images are padded with zeros. The operation is factor^2 times the transpose
    of `downsample_fir` with the rotated kernel.

    Args:
      x: images [B, H, W, C], floating point.
      kernel: [kh, kw], or [k] for both axes, with at least `factor` taps; its sum must be 1 to keep the
        brightness, as in `binomial` and `kaiser_lowpass`.
      factor: static, at least 1.

    Returns:
      [B, factor H, factor W, C] in the type of `x`.

    Sources: Zhang, Making Convolutional Networks Shift-Invariant Again (2019), for the filter before
      dropping pixels; Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020),
      and its reference code, for both in a GAN.

    >>> import jax.numpy as jnp
    >>> upsample_fir(jnp.arange(3.0).reshape(1, 1, 3, 1), jnp.ones(2) / 2)[0, 0, :, 0].tolist()
    [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    """
    kernel, sizes = centred("upsample_fir", x, kernel, factor)
    rows, columns = (up_padding(k, factor) for k in sizes)
    gain = (
        int(factor) if kernel.ndim == 1 else int(factor) ** 2
    )  # a NumPy number would widen the kernel
    return upfirdn2d(x, gain * kernel, up=factor, padding=(*rows, *columns))


def downsample_fir(x: jax.Array, kernel: jax.Array | np.ndarray, factor: int = 2) -> jax.Array:
    """Shrinks images by a whole factor: `kernel`, then every `factor`-th pixel of both axes.

    The kernel is centred, and the images are padded with zeros.

    Args:
      x: images [B, H, W, C], floating point; `factor` divides H and W.
      kernel: [kh, kw], or [k] for both axes, with at least `factor` taps.
      factor: static, at least 1.

    Returns:
      [B, H / factor, W / factor, C] in the type of `x`.

    Sources: as for `upsample_fir`.

    >>> import jax.numpy as jnp
    >>> downsample_fir(jnp.arange(4.0).reshape(1, 2, 2, 1), jnp.ones(2) / 2).item()
    1.5
    """
    kernel, sizes = centred("downsample_fir", x, kernel, factor)
    for name, n in zip(("height", "width"), x.shape[1:3], strict=True):
        if n % factor:
            raise ValueError(
                f"downsample_fir divides height and width by {factor}; got a {name} of {n}. Pad or "
                "resize the images first."
            )
    rows, columns = (down_padding(k, factor) for k in sizes)
    return upfirdn2d(x, kernel, down=factor, padding=(*rows, *columns))


def blur(x: jax.Array, kernel: jax.Array | np.ndarray) -> jax.Array:
    """Filters images and keeps their size: [B, H, W, C] -> [B, H, W, C] in the type of `x`.

    The kernel, [kh, kw] or [k] for both axes, is centred (a kernel of even size moves the image down and
    right by half a pixel), and the images are padded with zeros.

    >>> import jax.numpy as jnp
    >>> blur(jnp.eye(3).reshape(1, 3, 3, 1), jnp.array([[0.0, 0.5, 0.5]]))[0, :, :, 0].tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 0.5]]
    """
    kernel, sizes = centred("blur", x, kernel, 1)
    rows, columns = ((k // 2, (k - 1) // 2) for k in sizes)
    return upfirdn2d(x, kernel, padding=(*rows, *columns))


def down_padding(size: int, factor: int) -> tuple[int, int]:
    """(before, after): padding for a centred kernel of that size when downsampling."""
    return (size - factor + 1) // 2, (size - factor) // 2


def up_padding(size: int, factor: int) -> tuple[int, int]:
    """(before, after): padding of the transpose of the downsampling with `down_padding`."""
    after = down_padding(size, factor)[0]
    return size - 1 - after, after


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _fir(x, kernel, geometry, dtype):
    """`upfirdn2d` with a kernel [kh, kw], summed in its dtype; `geometry` has pairs for up, down and padding."""
    return _shifted_sum(x, kernel, geometry).astype(dtype)


def _fir_bwd(geometry, dtype, residuals, g):
    x, kernel = residuals
    by_kernel = jax.vjp(lambda kernel: _shifted_sum(x, kernel, geometry).astype(dtype), kernel)[1]
    back = _transposed(geometry, x.shape, g.shape, kernel.shape)
    return _fir(g, kernel[::-1, ::-1], back, x.dtype), *by_kernel(g)


_fir.defvjp(lambda x, kernel, *static: (_fir(x, kernel, *static), (x, kernel)), _fir_bwd)


def _transposed(geometry, inputs, outputs, sizes):
    """The geometry of the filter that maps the gradient of the outputs to that of the inputs.

    For y[i] = sum_t k[K-1-t] x[j] over up j = down i + t - before, the gradient is the sum over i with the same
    constraint: the filter with the rotated kernel, K - 1 - before zeros before, and as many zeros after as the size of
    the inputs requires.
    """
    up, down, pads = geometry
    back = []
    for axis in range(2):
        n, m, u, d = inputs[axis + 1], outputs[axis + 1], up[axis], down[axis]
        before = sizes[axis] - 1 - pads[axis][0]
        back.append((before, sizes[axis] + u * (n - 1) - d * m - before))
    return down, up, tuple(back)


@partial(jax.jit, static_argnums=2, inline=True)
def _shifted_sum(x, kernel, geometry):
    """The filter as a sum of shifted images, one sum for each phase of the outputs."""
    rows, columns = (
        _Axis(n, k, u, d, pad)
        for n, k, u, d, pad in zip(x.shape[1:3], kernel.shape, *geometry, strict=True)
    )
    edges = [(0, 0, 0), (*rows.edges, 0), (*columns.edges, 0), (0, 0, 0)]
    # A barrier on CPUs: otherwise XLA recomputes the padded image, and a filter before this one, for each tap, and two
    # consecutive filters, as in a gradient, take two to five times as long. No barrier on TPUs: for v5e and bfloat16
    # images [16, 256, 256, 64] the compiler estimates 0.6 to 0.9 of the time and a quarter to three quarters of the
    # memory without it.
    padded = jax.lax.platform_dependent(
        jax.lax.pad(x, jnp.zeros((), x.dtype), edges),
        tpu=lambda padded: padded,
        default=jax.lax.optimization_barrier,
    )
    turned = kernel[::-1, ::-1]

    def shifted(i, j):
        return padded[:, rows.window(i), columns.window(j)].astype(kernel.dtype)

    out = []
    for vertical in rows.phases:
        line = [
            sum(
                (turned[s, t] * shifted(i, j) for s, i in vertical for t, j in horizontal),
                start=jnp.zeros((x.shape[0], rows.each, columns.each, x.shape[3]), kernel.dtype),
            )
            for horizontal in columns.phases
        ]
        out.append(jnp.stack(line, axis=3))
    y = jnp.stack(out, axis=2)
    y = y.reshape(
        x.shape[0], rows.each * len(rows.phases), columns.each * len(columns.phases), x.shape[3]
    )
    return y[:, : rows.out, : columns.out]


class _Axis:
    """The taps and pixels of each output along one axis.

    Output i uses tap t at pixel (down i + t - before) / up if that is an integer. With g the greatest common divisor of
    up and down, all outputs i = (up / g) q + r of a phase r use the same taps, at steps of down / g pixels.
    """

    def __init__(self, n: int, taps: int, up: int, down: int, padding: tuple[int, int]):
        common = math.gcd(up, down)
        before, after = padding
        phases = up // common
        self.step = down // common
        self.out = (n * up + before + after - taps) // down + 1
        self.each = -(-self.out // phases)  # outputs per phase; the last may be surplus
        starts = [
            [(t, *divmod(down * r + t - before, up)) for t in range(taps)] for r in range(phases)
        ]
        # (tap, first pixel) of each phase, pixels counted from the padded edge.
        found = [[(t, first) for t, first, rest in phase if rest == 0] for phase in starts]
        firsts = [first for phase in found for _, first in phase] or [0]
        low, high = max(0, -min(firsts)), max(firsts) + self.step * (self.each - 1) + 1
        self.edges = (low, max(0, high - n))
        self.phases = [[(t, first + low) for t, first in phase] for phase in found]

    def window(self, first: int) -> slice:
        return slice(first, first + self.step * (self.each - 1) + 1, self.step)


def _pair(value, name: str) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(n, numbers.Integral) and int(n) >= 1 for n in pair):
        raise ValueError(f"{name} is {value}; give a whole number from 1, or two as (y, x).")
    return int(pair[0]), int(pair[1])


def centred(name: str, x, kernel, factor: int) -> tuple[jax.Array, tuple[int, int]]:
    """The kernel as an array, and its height and width."""
    if not isinstance(factor, numbers.Integral) or factor < 1:
        raise ValueError(f"factor is {factor}; give a whole number from 1.")
    kernel = jnp.asarray(kernel)
    check_images(name, x)
    _check_kernel(kernel)
    sizes = kernel.shape if kernel.ndim == 2 else kernel.shape * 2
    if min(sizes) < factor:
        raise ValueError(
            f"{name} by {factor} takes a kernel of at least {factor} taps, or it skips pixels; got one of shape "
            f"{kernel.shape}."
        )
    return kernel, sizes


def widened(x: jax.Array) -> jax.Array:
    """In float32, or in its own dtype if that is wider."""
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def check_images(name: str, x) -> None:
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"{name} takes floating-point images [B, H, W, C]; got {x.dtype} of shape {x.shape}."
        )


def _check_kernel(kernel) -> None:
    if kernel.ndim not in (1, 2) or kernel.size == 0:
        raise ValueError(f"kernel has shape {kernel.shape}; give [kh, kw], or [k] for both axes.")


def _check(x, kernel, padding):
    check_images("upfirdn2d", x)
    _check_kernel(kernel)
    if len(padding) != 4 or not all(isinstance(n, numbers.Integral) for n in padding):
        raise ValueError(
            f"padding is {padding}; give four whole numbers (top, bottom, left, right)."
        )
