"""Convolutions whose kernel each image has scaled for itself: how StyleGAN2 lets a style act.

    K'[m, n, i, o] = s_i K[m, n, i, o],    K''[..., o] = K'[..., o] / sqrt(sum_mni K'[m, n, i, o]^2 + 1e-8)

Modulation multiplies the kernel's inputs by the image's style s; demodulation divides each output by the deviation
that it then has if the inputs are independent and of unit variance. It takes the place of instance normalisation,
without statistics of the image's own and so without the droplets that those caused.

A scale of the kernel's inputs or outputs is one of the image before or after the convolution, so the kernel stays
shared, and the batch goes through one plain convolution. A kernel for each image, as a grouped convolution, took XLA 5
times as long on a CPU, and 40 times for gradients of first and second order (`benchmarks/regulariser_cost.py --forms`).

Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020), Section 2.2, Eq. 1 to 3.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import draws, resample
from jaxgan.nets.equalised import EqualisedDense, equalised_kernel, leaky_relu

FIR = resample.binomial(4)  # the filter of every change of size (StyleGAN2, Appendix B)
NOISE = ("random", "constant")


def modulated_conv(
    x: jax.Array, kernel: jax.Array, style: jax.Array, demodulate: bool = True, up: bool = False
) -> jax.Array:
    """A convolution by each image's own K' (or K'' if `demodulate`), after enlarging by two if `up`.

    Args:
      x: images [B, H, W, I], floating point.
      kernel: [k, k, I, O] of odd size, float32.
      style: s, float32 [B, I].
      demodulate: see above; in float32 whatever the type of `x`.
      up: zeros between the pixels, the convolution, and `FIR`.

    Returns:
      [B, H, W, O], or [B, 2H, 2W, O], in the type of `x`.

    >>> x, kernel = jnp.ones((2, 1, 1, 4)), jnp.ones((1, 1, 4, 1))
    >>> style = jnp.array([[4.0, 4.0, 4.0, 4.0], [0.5, 0.0, 0.0, 0.0]])
    >>> print(modulated_conv(x, kernel, style).ravel())  # the size of the style is divided out
    [2. 1.]
    """
    y = x * style[:, None, None].astype(x.dtype)
    y = resample.upsample_conv_fir(y, kernel, FIR) if up else resample.conv(y, kernel)
    if not demodulate:
        return y
    square = jnp.sum(jnp.square(kernel), axis=(0, 1))
    variance = jnp.matmul(jnp.square(style), square, precision="highest")
    return y * jax.lax.rsqrt(variance + 1e-8)[:, None, None].astype(x.dtype)


class ModulatedConv(nn.Module):
    """`modulated_conv` by an equalised kernel and an affine map of w: [B, H, W, I], [B, D] -> [B, H', W', features]."""

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    demodulate: bool = True
    up: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        style = EqualisedDense(x.shape[-1], bias_init=1.0, name="style")(w.astype(jnp.float32))
        kernel = equalised_kernel(self, (*self.kernel_size, x.shape[-1], self.features))
        return modulated_conv(x, kernel, style, self.demodulate, self.up)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU: [B, H, W, I], [B, D] -> [B, H', W', features].

    The noise is one normal map for each image, the same for all channels, times a learned strength, which starts at 0.
    "random" draws it anew, from the stream "noise"; "constant" takes the map [H', W'] of the collection "noise" for
    all images.
    """

    features: int
    up: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, noise: str = "random") -> jax.Array:
        x = ModulatedConv(self.features, up=self.up, name="conv")(x, w)
        b, height, width, _ = x.shape
        constant = self.variable(
            "noise", "map", lambda: jax.random.normal(self.make_rng("params"), (height, width))
        )
        strength = self.param("noise_strength", nn.initializers.zeros, ())
        if noise == "random":
            added = draws.normal(self.make_rng("noise"), (b, height, width, 1))
        else:
            added = constant.value[None, :, :, None]
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = x + (strength * added).astype(x.dtype) + bias[None, None, None].astype(x.dtype)
        return leaky_relu(x)


class ToPicture(nn.Module):
    """Modulated 1x1 convolution, not demodulated, and a bias: [B, H, W, I], [B, D] -> float32 [B, H, W, channels]."""

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        y = ModulatedConv(self.channels, (1, 1), demodulate=False, name="conv")(x, w)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        return y.astype(jnp.float32) + bias[None, None, None]
