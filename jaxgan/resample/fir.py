"""Finite impulse response filters for images, with a rate change in the same pass.

A filter is a sum of shifted images, one for each of its taps, and XLA makes one loop of it. On two
CPU cores that is 10 to 100 times faster than `jax.lax.conv_general_dilated` with one group for each
channel (images [16, 32, 32, 64], four taps each way: 0.3 ms against 26 to blur, 1.2 against 200 to
double, 0.2 against 4 to 6 to halve, on JAX 0.10 and 0.12), and of a doubled image only the taps
that meet a pixel and not a zero are computed. The gradient by the image is the same filter turned,
with `up` and `down` exchanged, and is written so: what automatic differentiation makes of the
shifts takes up to three times as long.

`jax.grad` of any order, `jax.vmap` and `jax.checkpoint` go through; `jax.jvp` and `jax.jacfwd` do
not (a custom VJP has no forward mode).
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp


def upfirdn2d(
    x: jax.Array,
    kernel: jax.Array,
    up: int | tuple[int, int] = 1,
    down: int | tuple[int, int] = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> jax.Array:
    """Up-samples, filters and down-samples images, each channel for itself.

    In this order: `up - 1` zeros are put behind every pixel, the last included; the edges are
    padded with zeros, or cropped where `padding` is negative; the true convolution with `kernel`
    (turned by 180 degrees, unlike the correlation that networks call a convolution) is taken where
    the kernel lies inside; every `down`-th row and column is kept, from the first. With one axis
    written, v being the padded image and K the size of the kernel,

        y[i] = sum_t kernel[K-1-t] v[down i + t]

    There is no gain: zeros make an image darker, so a kernel of sum 1 wants a factor of
    up_y up_x.

    Args:
      x: images [B, H, W, C], floating point.
      kernel: [kh, kw], or [k] for the outer product of it with itself, which is applied along one
        axis after the other. Of any type, and may be traced.
      up: by how much height and width grow, one number or (up_y, up_x).
      down: by how much they shrink, likewise.
      padding: (top, bottom, left, right) in pixels of the up-sampled image.

    Returns:
      [B, H', W', C], H' = floor((up_y H + top + bottom - kh) / down_y) + 1 and W' likewise, in the
      type of `x`. Sums are taken in float32, or the type of `x` if that is wider.

    Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020), Appendix B,
      for such filters in a GAN; the name is that of MATLAB's and SciPy's `upfirdn`.

    >>> x = jnp.arange(1.0, 4.0).reshape(1, 1, 3, 1)
    >>> upfirdn2d(x, jnp.array([[0.5, 1.0, 0.5]]), up=(1, 2), padding=(0, 0, 1, 0)).ravel().tolist()
    [1.0, 1.5, 2.0, 2.5, 3.0]
    """
    up, down = _pair(up, "up"), _pair(down, "down")
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    _check(x, kernel, padding)
    dtype = x.dtype if x.dtype.itemsize >= 4 else jnp.float32
    y, kernel = x.astype(dtype), kernel.astype(dtype)
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
        y = _fir(y, kernel, (up, down, pads))
    else:
        y = _fir(y, kernel[:, None], ((up[0], 1), (down[0], 1), (pads[0], (0, 0))))
        y = _fir(y, kernel[None, :], ((1, up[1]), (1, down[1]), ((0, 0), pads[1])))
    return y.astype(x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _fir(x, kernel, geometry):
    """`upfirdn2d` with a kernel [kh, kw] of the images' type; geometry is up, down and padding, in pairs."""
    return _shifted_sum(x, kernel, geometry)


def _fir_bwd(geometry, residuals, g):
    x, kernel = residuals
    by_kernel = jax.vjp(lambda kernel: _shifted_sum(x, kernel, geometry), kernel)[1]
    turned = _fir(g, kernel[::-1, ::-1], _transposed(geometry, x.shape, g.shape, kernel.shape))
    return turned, *by_kernel(g)


_fir.defvjp(lambda x, kernel, geometry: (_fir(x, kernel, geometry), (x, kernel)), _fir_bwd)


def _transposed(geometry, inputs, outputs, sizes):
    """The geometry of the filter that takes the gradient of the outputs to that of the inputs.

    Of y[i] = sum_t k[K-1-t] x[j] over up j = down i + t - before it is the sum over i with the same constraint: the
    turned kernel, with K - 1 - before zeros in front and what gives the inputs their size behind.
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
    # Computed before it is used, or XLA computes it (and a filter before this one) again for each tap: two filters after
    # another, as in a gradient, took two to five times as long.
    padded = jax.lax.optimization_barrier(jax.lax.pad(x, jnp.zeros((), x.dtype), edges))
    turned = kernel[::-1, ::-1]
    out = []
    for vertical in rows.phases:
        line = [
            sum(
                (
                    turned[s, t] * padded[:, rows.window(i), columns.window(j)]
                    for s, i in vertical
                    for t, j in horizontal
                ),
                start=jnp.zeros((x.shape[0], rows.each, columns.each, x.shape[3]), x.dtype),
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
    """Which taps meet which pixels along one axis.

    Output i needs tap t at pixel (down i + t - before) / up if that is whole. With g the common divisor of up and
    down, the outputs i = (up / g) q + r of one phase r need the same taps, at steps of down / g pixels.
    """

    def __init__(self, n: int, taps: int, up: int, down: int, padding: tuple[int, int]):
        common = math.gcd(up, down)
        before, after = padding
        phases = up // common
        self.step = down // common
        self.out = (n * up + before + after - taps) // down + 1
        self.each = -(-self.out // phases)  # outputs of one phase, the last perhaps too many
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
    if len(pair) != 2 or not all(isinstance(n, int) and n >= 1 for n in pair):
        raise ValueError(f"{name} is {value}; give a whole number from 1, or two as (y, x).")
    return pair


def _check(x, kernel, padding):
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"upfirdn2d takes floating-point images [B, H, W, C]; got {x.dtype} of shape {x.shape}."
        )
    if kernel.ndim not in (1, 2) or kernel.size == 0:
        raise ValueError(f"kernel has shape {kernel.shape}; give [kh, kw], or [k] for both axes.")
    if len(padding) != 4 or not all(isinstance(n, int) for n in padding):
        raise ValueError(
            f"padding is {padding}; give four whole numbers (top, bottom, left, right)."
        )
