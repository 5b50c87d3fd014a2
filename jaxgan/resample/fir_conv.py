"""A convolution beside a filtered change of size, as StyleGAN2 has them: the convolution at the small size.

Enlarging by zeros, a filter and a convolution are linear and, on a plane, may be exchanged: so the k x k convolution is
taken as a transposed one of the small image and the filter afterwards, and for shrinking the filter first and then a
convolution of stride 2. Each needs a quarter of the convolution's multiplications. (Filter and kernel in one, a 6 x 6
kernel for 4 taps and k = 3, would need all of them again.)

The convolution is one of a trilinear form's derivatives, as in `jaxgan.resample.fused`, but of odd
size and with nothing cut off at the edges:

    t(x, K, y) = sum_{b,i,j,m,n,c,o} x[b, 2i+m, 2j+n, c] K[m, n, c, o] y[b, i, j, o].

Each one's gradients are the other two, and all three are fast. What automatic differentiation makes
of the same convolutions is not: on two CPU cores, images [16, 16, 16, 128] to 32 x 32 or back and
k = 3, JAX 0.10 and 0.12, the gradients of the transposed one by images and kernel took 30 to 50
times as long as here, and those of a squared gradient 11 to 18 times, of both. The plain
compositions, `conv(upsample_fir(x))` and `downsample_fir(conv(x))`, took 2 to 6 times as long, in
value and gradients of both orders, and one 6 x 6 convolution as long as those.

`jax.grad` of any order, `jax.vmap` and `jax.checkpoint` go through; `jax.jvp` and `jax.jacfwd` do
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
    """`upsample_fir` by two and a convolution after it, in the cheaper order.

    The image lies in a plane of zeros, and what the filter writes beyond its edges is convolved
    too. So it equals `conv(upsample_fir(x, fir), kernel) + bias` but for the outermost (k - 1) / 2
    pixels, where that composition has cut it off; StyleGAN2 does not cut it either.

    Args:
      x: images [B, H, W, C], floating point.
      kernel: [kh, kw, C, O] of odd size, of any type; it is cast to the type of `x`.
      fir: the filter, [fh, fw], or [f] for both axes; at least two taps, of sum 1 to keep the
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
    # On the plane, from (k - 1) / 2 pixels before the image to as many behind its last pixel, which has no zero yet.
    y = _spaced(x, fused._turn(kernel))
    (top, bottom), (left, right) = (up_padding(f, 2) for f in sizes)
    h, w = kernel.shape[0] // 2, kernel.shape[1] // 2
    padding = (top - h, bottom - h + 1, left - w, right - w + 1)
    gain = 2 if fir.ndim == 1 else 4
    return fused._add_bias(upfirdn2d(y, gain * fir, padding=padding), bias)


def conv_downsample_fir(
    x: jax.Array, kernel: jax.Array, fir: jax.Array | np.ndarray, bias: jax.Array | None = None
) -> jax.Array:
    """A convolution and `downsample_fir` by two after it, in the cheaper order.

    The image lies in a plane of zeros, and what the convolution writes beyond its edges is filtered
    too. So it equals `downsample_fir(conv(x, kernel), fir) + bias` but for the outermost pixels,
    where that composition has cut it off; StyleGAN2 does not cut it either.

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
    del size  # the cotangent has it
    x, y = residuals
    return _spaced(y, kernel), _strided(x, kernel)


_strided.defvjp(lambda x, kernel: (_strided(x, kernel), (x, kernel)), _strided_bwd)
_spaced.defvjp(lambda y, kernel: (_spaced(y, kernel), (y, kernel)), _spaced_bwd)
_kernel_gradient.defvjp(
    lambda x, y, size: (_kernel_gradient(x, y, size), (x, y)), _kernel_gradient_bwd
)


def _strided_conv(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=fused._LAYOUT)
