"""Modulated convolutions, whose kernel is scaled by the style of each image (StyleGAN2).

    K'[m, n, i, o] = s_i K[m, n, i, o],    K''[..., o] = K'[..., o] / sqrt(sum_mni K'[m, n, i, o]^2 + 1e-8)

Modulation multiplies the kernel's input channels by the image's style s. Demodulation divides each output by its
standard deviation, assuming inputs that are independent with unit variance. It replaces instance normalisation. It does
not use statistics of the image itself and so avoids the droplet artefacts that these caused.

Scaling the kernel's inputs or outputs is equivalent to scaling the image before or after the convolution. All images
therefore share one kernel, and the batch goes through one plain convolution. One kernel per image, as a grouped
convolution, took XLA 5 times as long on a CPU, and 40 times for gradients of first and second order
(`benchmarks/regulariser_cost.py --forms`).

Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020), Section 2.2, Eq. 1 to 3.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import draws, resample
from jaxgan.nets.equalised import EqualisedDense, equalised_kernel, leaky_relu

FIR = resample.binomial(4)  # filter of all up- and downsampling (StyleGAN2, Appendix B)
NOISE = ("random", "constant")


def modulated_conv(
    x: jax.Array, kernel: jax.Array, style: jax.Array, demodulate: bool = True, up: bool = False
) -> jax.Array:
    """The convolution with each image's own kernel K' (K'' if `demodulate`), upsampled by two if `up`.

    Args:
      x: images [B, H, W, I], floating point.
      kernel: [k, k, I, O] of odd size, float32.
      style: s, float32 [B, I].
      demodulate: use K''; computed in float32 whatever the dtype of `x`.
      up: insert zeros between the pixels, convolve, and filter with `FIR`.

    Returns:
      [B, H, W, O], or [B, 2H, 2W, O] if `up`, in the dtype of `x`.

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
    """`modulated_conv` with an equalised kernel, the style an affine map of w: x, w [B, D] -> [B, H', W', features]."""

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    demodulate: bool = True
    up: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        style = EqualisedDense(x.shape[-1], bias_init=1.0, name="style")(w.astype(jnp.float32))
        kernel = equalised_kernel(self, (*self.kernel_size, x.shape[-1], self.features))
        return modulated_conv(x, kernel, style, self.demodulate, self.up)


def noise_maps(module: nn.Module, x: jax.Array, noise: str) -> jax.Array:
    """One normal map per image, the same for all channels: float32 [B, H, W, 1] for x [B, H, W, C].

    With noise="random" it is drawn from the rng stream "noise" in each call. With "constant" all images use the map
    [H, W] of the module's collection "noise", and the result is [1, H, W, 1].
    """
    b, height, width, _ = x.shape
    constant = module.variable(
        "noise",
        "map",
        lambda: jax.random.normal(module.make_rng("params"), (height, width), jnp.float32),
    )
    if noise == "random":
        return draws.normal(module.make_rng("noise"), (b, height, width, 1))
    return constant.value[None, :, :, None]


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU: [B, H, W, I], [B, D] -> [B, H', W', features].

    The noise of `noise_maps` is multiplied by a learned strength that starts at 0.
    """

    features: int
    up: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, noise: str = "random") -> jax.Array:
        x = ModulatedConv(self.features, up=self.up, name="conv")(x, w)
        added = noise_maps(self, x, noise)
        strength = self.param("noise_strength", nn.initializers.zeros, (), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x = x + (strength * added).astype(x.dtype) + bias[None, None, None].astype(x.dtype)
        return leaky_relu(x)


class ToPicture(nn.Module):
    """Modulated 1x1 convolution, not demodulated, and a bias: [B, H, W, I], [B, D] -> float32 [B, H, W, channels]."""

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        y = ModulatedConv(self.channels, (1, 1), demodulate=False, name="conv")(x, w)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), jnp.float32)
        return y.astype(jnp.float32) + bias[None, None, None]
