"""The grouped convolution, with a kernel's gradient that is fast on a CPU and shared by devices.

The gradient with respect to the kernel is a product of matrices for each tap. XLA's is slow on a CPU: for images
[64, 8, 8, 128] and a 3x3 kernel of 8 groups it took 670 ms on two cores with JAX 0.10, and takes 7 ms here.

The value and the gradient with respect to the images are XLA's convolutions. XLA does not split a grouped convolution
over devices, but sends the whole batch to each of them. Where the current mesh splits the batch, `jax.shard_map`
therefore gives each device the convolution of its rows.

As in `jaxgan.resample.fused`, the three partial derivatives of one trilinear form are the gradients of each other, so
derivatives of every order, including gradient penalties, use the fast forms. `jax.grad` of any order, `jax.vmap` and
`jax.checkpoint` are supported; `jax.jvp` and `jax.jacfwd` are not (a custom VJP has no forward mode).
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxgan.draws import axes_of_rows
from jaxgan.resample import fused


def grouped_conv(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """The convolution of stride 1 with zero "SAME" padding of separate groups of channels.

    The channels are cut into equal groups, and so are the outputs. The outputs of a group depend on the channels of the
    same group only.

    Args:
      x: images [B, H, W, C], floating point.
      kernel: [kh, kw, C / groups, O] of odd size, of any type; it is cast to the type of `x`. Its shape states the
        number of groups, which must divide O.
      bias: [O] or None.

    Returns:
      [B, H, W, O] in the type of `x`.

    Source: Xie et al., Aggregated Residual Transformations for Deep Neural Networks (2017), Figure 3 (c).

    >>> x, kernel = jnp.ones((1, 1, 1, 4)), jnp.arange(8.0).reshape(1, 1, 2, 4)
    >>> grouped_conv(x, kernel).ravel().tolist()
    [4.0, 6.0, 8.0, 10.0]
    """
    fused._image_shape(x, "grouped_conv")
    channels = x.shape[3]
    whole = kernel.ndim == 4 and kernel.shape[2] > 0 and channels % kernel.shape[2] == 0
    if not whole or kernel.shape[3] % (channels // kernel.shape[2]):
        raise ValueError(
            f"grouped_conv takes a kernel [kh, kw, {channels} / groups, O] for images of {channels} channels, with a"
            f" number of groups that divides {channels} and O; got one of shape {kernel.shape}."
        )
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(
            f"grouped_conv takes kernels of odd size; got {kernel.shape[0]}x{kernel.shape[1]}."
        )
    return fused._add_bias(_grouped(x, kernel.astype(x.dtype)), bias)


# The three partial derivatives of t(x, K, y) = sum(y * conv(x, K)). The gradients of each are the other two.


@jax.custom_vjp
def _grouped(x, kernel):
    """dt/dy: [B, H, W, C], [k, l, C / G, O] -> [B, H, W, O]. With the turned kernel it is dt/dx."""
    axes = axes_of_rows(x.shape[0])
    if not axes or x.shape[0] % math.prod(jax.sharding.get_abstract_mesh().shape[a] for a in axes):
        return _convolve(x, kernel)
    # XLA gathers the batch of a grouped convolution on every device. In this form each device has its own rows.
    rows, whole = PartitionSpec(axes), PartitionSpec()
    return jax.shard_map(_convolve, in_specs=(rows, whole), out_specs=rows, check_vma=False)(
        x, kernel
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _kernel_gradient(x, y, shape):
    """dt/dK: [B, H, W, C], [B, H, W, O] -> `shape`, that of the kernel.

    A product of matrices for each tap and group, the transposed shifted images times y.
    """
    h, w, inputs, outputs = shape
    groups = x.shape[3] // inputs
    height, width = x.shape[1:3]
    x, y = _groups_first(x, groups), _groups_first(y, groups)
    x = jnp.pad(x, ((0, 0), (0, 0), (h // 2, h // 2), (w // 2, w // 2), (0, 0)))
    pixels = ((1, 2, 3), (1, 2, 3))
    taps = [
        jax.lax.dot_general(x[:, :, m : m + height, n : n + width], y, (pixels, ((0,), (0,))))
        for m in range(h)
        for n in range(w)
    ]  # each [G, C / G, O / G]
    return jnp.stack(taps).transpose(0, 2, 1, 3).reshape(h, w, inputs, outputs)


def _grouped_bwd(residuals, y):
    x, kernel = residuals
    turned = _turn(kernel, x.shape[3] // kernel.shape[2])
    return _grouped(y, turned), _kernel_gradient(x, y, kernel.shape)


def _kernel_gradient_bwd(shape, residuals, kernel):
    x, y = residuals
    return _grouped(y, _turn(kernel, x.shape[3] // shape[2])), _grouped(x, kernel)


_grouped.defvjp(lambda x, kernel: (_grouped(x, kernel), (x, kernel)), _grouped_bwd)
_kernel_gradient.defvjp(
    lambda x, y, shape: (_kernel_gradient(x, y, shape), (x, y)), _kernel_gradient_bwd
)


def _convolve(x, kernel):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(n // 2, n // 2) for n in kernel.shape[:2]],
        dimension_numbers=fused._LAYOUT,
        feature_group_count=x.shape[3] // kernel.shape[2],
    )


def _turn(kernel, groups):
    """The kernel of the transpose, [k, l, C / G, O] -> [k, l, O / G, C]: rotated, channels exchanged in each group."""
    h, w, inputs, outputs = kernel.shape
    kernel = kernel[::-1, ::-1].reshape(h, w, inputs, groups, outputs // groups)
    return kernel.transpose(0, 1, 4, 3, 2).reshape(h, w, outputs // groups, groups * inputs)


def _groups_first(x, groups):
    """[B, H, W, C] -> [G, B, H, W, C / G]"""
    return x.reshape(*x.shape[:3], groups, -1).transpose(3, 0, 1, 2, 4)
