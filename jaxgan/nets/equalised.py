"""Equalised learning rates: kernels are stored with unit variance and scaled when they are used.

    y = gain * lr_multiplier / sqrt(fan_in) * (W * x) + lr_multiplier * b,    W ~ N(0, 1 / lr_multiplier^2)

Adam's steps have the same size for every entry of W. With the scale outside of W, all kernels therefore learn at the
same relative rate, whatever their fan-in.

Sources: Karras et al., Progressive Growing of GANs (2018), Section 4.1; for `lr_multiplier`, Karras et al., A
Style-Based Generator Architecture (2019), Appendix C.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import resample


def equalised_kernel(
    module: nn.Module, shape: tuple[int, ...], gain: float = 1.0, lr_multiplier: float = 1.0
) -> jax.Array:
    """The parameter "kernel" of `module`, [..., in, out], times gain * lr_multiplier / sqrt(fan_in); float32."""
    kernel = module.param("kernel", nn.initializers.normal(1.0 / lr_multiplier), shape, jnp.float32)
    return kernel * np.float32(gain * lr_multiplier / np.sqrt(np.prod(shape[:-1])))


def leaky_relu(x: jax.Array, gain: float = np.sqrt(2.0)) -> jax.Array:
    """Leaky ReLU of slope 0.2, times a gain that keeps the variance (StyleGAN2; ProGAN puts it in the kernel)."""
    return nn.leaky_relu(x, 0.2) * jnp.asarray(gain, x.dtype)


class EqualisedDense(nn.Module):
    """[..., in] -> [..., features]."""

    features: int
    use_bias: bool = True
    gain: float = 1.0
    lr_multiplier: float = 1.0
    bias_init: float = 0.0  # initial value of lr_multiplier * b
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = equalised_kernel(self, (x.shape[-1], self.features), self.gain, self.lr_multiplier)
        dtype = self.dtype or x.dtype
        y = x.astype(dtype) @ kernel.astype(dtype)
        if self.use_bias:
            init = nn.initializers.constant(self.bias_init / self.lr_multiplier)
            bias = self.param("bias", init, (self.features,), jnp.float32) * np.float32(
                self.lr_multiplier
            )
            y = y + jnp.expand_dims(bias.astype(dtype), tuple(range(y.ndim - 1)))
        return y


class EqualisedConv(nn.Module):
    """[B, H, W, in] -> [B, H, W, features], padded with zeros to the same size.

    `convolve`: (images, kernel, bias or None) -> images. `resample.upsample_conv`, for example, doubles the sides.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    use_bias: bool = True
    gain: float = 1.0
    convolve: Callable[..., jax.Array] = resample.conv
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = equalised_kernel(self, (*self.kernel_size, x.shape[-1], self.features), self.gain)
        bias = (
            self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            if self.use_bias
            else None
        )
        return self.convolve(x.astype(self.dtype or x.dtype), kernel, bias)
