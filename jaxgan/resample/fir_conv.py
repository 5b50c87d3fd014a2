"""A convolution with filtered up- or downsampling (StyleGAN2), in which the convolution has the lower resolution.

The insertion of zeros, the filter and the convolution are linear, and on an infinite plane filter and convolution
commute. So upsampling is a transposed convolution of the small image, then the filter; downsampling is the filter, then
a convolution of stride 2. Both need a quarter of the multiplications of the convolution. (Filter and kernel combined, a
6 x 6 kernel for 4 taps and k = 3, would need all of them.)

The convolution is a derivative of a trilinear form, as in `jaxgan.resample.fused`, but with a kernel of odd size and
without cropping at the edges:

    t(x, K, y) = sum_{b,i,j,m,n,c,o} x[b, 2i+m, 2j+n, c] K[m, n, c, o] y[b, i, j, o].

The gradients of each derivative are the other two, and all three are fast. The convolutions of automatic
differentiation are slower. On two CPU cores, for images [16, 16, 16, 128] to 32 x 32 or back and k = 3 (JAX
0.10 and 0.12), the gradients of the transposed convolution took 30 to 50 times as long as here, and those of
a squared gradient 11 to 18 times as long for both convolutions. The plain compositions,
`conv(upsample_fir(x))` and `downsample_fir(conv(x))`, took 2 to 6 times as long, for values and gradients of
both orders; one 6 x 6 convolution was as slow as these.

`jax.grad` of any order, `jax.vmap` and `jax.checkpoint` are supported; `jax.jvp` and `jax.jacfwd` are
not (a custom VJP has no forward mode).
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from jaxgan.resample import fused
from jaxgan.resample.fir import (
    centred,
    down_padding,
    downsample_fir,
    up_padding,
    upfirdn2d,
    upsample_fir,
)


def upsample_conv_fir(
    x: jax.Array, kernel: jax.Array, fir: jax.Array | np.ndarray, bias: jax.Array | None = None
) -> jax.Array:
    """`upsample_fir` by two, then a convolution, computed in the cheaper order.

    The image is extended by zeros, and the filter's output beyond the edges is convolved too. So the result
    equals `conv(upsample_fir(x, fir), kernel) + bias` except for the outermost (k - 1) / 2 pixels, where that
    composition crops the filter's output first. StyleGAN2 does not crop it either.

    Args:
      x: images [B, H, W, C], floating point.
      kernel: [kh, kw, C, O] of odd size, of any type; it is cast to the type of `x`.
      fir: the filter, [fh, fw], or [f] for both axes; at least two taps, with sum 1 to keep the
        brightness.
      bias: [O] or None.

    Returns:
      [B, 2H, 2W, O] in the type of `x`.

    Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020), and its
      reference code for order and padding.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5)) / 18
    >>> upsample_conv_fir(x, kernel, jnp.array([1.0, 3.0, 3.0, 1.0]) / 8)[0, 4, 4].round(5).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    fir, sizes = centred("upsample_conv_fir", x, fir, 2)
    fused._check_kernel(x, kernel, "upsample_conv_fir")
    kernel = kernel.astype(x.dtype)
    if kernel.shape[:2] == (1, 1):
        return fused._add_bias(upsample_fir(fused.conv(x, kernel), fir), bias)
    # The result extends from (k - 1) / 2 pixels before the image to as many after its last pixel, still without the
    # zero after it.
    y = _spaced(x, fused._turn(kernel))
    (top, bottom), (left, right) = (up_padding(f, 2) for f in sizes)
    h, w = kernel.shape[0] // 2, kernel.shape[1] // 2
    padding = (top - h, bottom - h + 1, left - w, right - w + 1)
    gain = 2 if fir.ndim == 1 else 4
    return fused._add_bias(upfirdn2d(y, gain * fir, padding=padding), bias)


def conv_downsample_fir(
    x: jax.Array, kernel: jax.Array, fir: jax.Array | np.ndarray, bias: jax.Array | None = None
) -> jax.Array:
    """A convolution, then `downsample_fir` by two, computed in the cheaper order.

    The image is extended by zeros, and the convolution's output beyond the edges is filtered too. So the
    result equals `downsample_fir(conv(x, kernel), fir) + bias` except for the outermost pixels, where that
    composition crops the convolution's output first. StyleGAN2 does not crop it either.

    Args:
      x: images [B, H, W, C], floating point; H and W even.
      kernel: [kh, kw, C, O] of odd size, of any type; it is cast to the type of `x`.
      fir: the filter, [fh, fw], or [f] for both axes; at least two taps.
      bias: [O] or None.

    Returns:
      [B, H/2, W/2, O] in the type of `x`.

    Source: as for `upsample_conv_fir`.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((1, 8, 8, 2)), jnp.ones((3, 3, 2, 5)) / 18
    >>> conv_downsample_fir(x, kernel, jnp.array([1.0, 3.0, 3.0, 1.0]) / 8)[0, 2, 2].round(5).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    fir, sizes = centred("conv_downsample_fir", x, fir, 2)
    fused._check_kernel(x, kernel, "conv_downsample_fir")
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(
            "conv_downsample_fir halves height and width, so both must be even; got "
            f"{x.shape[1]}x{x.shape[2]}. Pad or resize the images first."
        )
    kernel = kernel.astype(x.dtype)
    if kernel.shape[:2] == (1, 1):
        return fused._add_bias(fused.conv(downsample_fir(x, fir), kernel), bias)
    (top, bottom), (left, right) = (down_padding(f, 2) for f in sizes)
    h, w = kernel.shape[0] // 2, kernel.shape[1] // 2
    padding = (top + h, bottom + h, left + w, right + w)
    return fused._add_bias(_strided(upfirdn2d(x, fir, padding=padding), kernel), bias)


# The three partial derivatives of t(x, K, y). The gradients of each are the other two.


@jax.custom_vjp
def _strided(x, kernel):
    """dt/dy, the strided convolution: [B, 2(h-1)+k, 2(w-1)+l, C], [k, l, C, O] -> [B, h, w, O]."""
    return _strided_conv(x, kernel)


@jax.custom_vjp
def _spaced(y, kernel):
    """dt/dx, its transpose: [B, h, w, O], [k, l, C, O] -> [B, 2(h-1)+k, 2(w-1)+l, C]."""
    (b, h, w, _), (m, n, c, _) = y.shape, kernel.shape
    x = jax.ShapeDtypeStruct((b, 2 * (h - 1) + m, 2 * (w - 1) + n, c), y.dtype)
    return jax.linear_transpose(lambda x: _strided_conv(x, kernel), x)(y)[0]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _kernel_gradient(x, y, size):
    """dt/dK: [B, 2(h-1)+k, 2(w-1)+l, C], [B, h, w, O] -> [*size, C, O], size = (k, l)."""
    kernel = jax.ShapeDtypeStruct((*size, x.shape[-1], y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _strided_conv(x, kernel), kernel)(y)[0]


def _strided_bwd(residuals, y):
    x, kernel = residuals
    return _spaced(y, kernel), _kernel_gradient(x, y, kernel.shape[:2])


def _spaced_bwd(residuals, x):
    y, kernel = residuals
    return _strided(x, kernel), _kernel_gradient(x, y, kernel.shape[:2])


def _kernel_gradient_bwd(size, residuals, kernel):
    del size  # equal to the size of the cotangent
    x, y = residuals
    return _spaced(y, kernel), _strided(x, kernel)


_strided.defvjp(lambda x, kernel: (_strided(x, kernel), (x, kernel)), _strided_bwd)
_spaced.defvjp(lambda y, kernel: (_spaced(y, kernel), (y, kernel)), _spaced_bwd)
_kernel_gradient.defvjp(
    lambda x, y, size: (_kernel_gradient(x, y, size), (x, y)), _kernel_gradient_bwd
)


def _strided_conv(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=fused._LAYOUT)
