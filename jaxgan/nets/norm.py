"""Batch normalisation, plain and conditional on a class."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.labels import check_labels, lookup


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last; one gain and bias per class if `num_classes` is given.

    y = gain[label] * (x - mean) / sqrt(var + epsilon) + bias[label], NaN for labels that are not from 0 to classes - 1

    Under `jax.jit` with a sharded batch the statistics are those of the global batch. They are computed in float32
    whatever `dtype` is. The running statistics are in the collection "batch_stats"; each training call updates them
    with `momentum` (Flax's convention: 0.9 here is 0.1 in PyTorch). The running variance is the biased one.

    Sources: Ioffe and Szegedy 2015; conditional: Dumoulin et al. 2017, "A Learned Representation For Artistic
    Style", Eq. 5.
    """

    num_classes: int | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, train: bool = True
    ) -> jax.Array:
        classes = self.num_classes
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            dtype=self.dtype,
            use_bias=classes is None,
            use_scale=classes is None,
            name="statistics",
        )
        # Flax promotes bfloat16 to float32 for the statistics, which strict dtype promotion does not allow.
        with jax.numpy_dtype_promotion("standard"):
            x = norm(x)
        if classes is None:
            return x

        check_labels(label, x.shape[0])

        def per_class(name, init):
            table = nn.Embed(classes, x.shape[-1], embedding_init=init, dtype=x.dtype, name=name)
            return jnp.expand_dims(lookup(table, label), tuple(range(1, x.ndim - 1)))

        return x * per_class("gain", nn.initializers.ones) + per_class(
            "bias", nn.initializers.zeros
        )


def pixel_norm(x: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """x / sqrt(mean over the channels of x^2 + epsilon), in float32: feature vectors of unit mean square.

    Source: Karras et al., Progressive Growing of GANs (2018), Section 4.2.
    """
    square = jnp.mean(jnp.square(x.astype(jnp.float32)), axis=-1, keepdims=True)
    return (x * jax.lax.rsqrt(square + epsilon).astype(x.dtype)).astype(x.dtype)


class InstanceNorm(nn.Module):
    """Normalisation of each channel of each image over its pixels, [B, H, W, C]; no running statistics.

    y = gain * (x - mean) / sqrt(var + epsilon) + bias; gain and bias only if `affine`. Statistics are in float32.

    Source: Ulyanov et al. 2016, "Instance Normalization: The Missing Ingredient for Fast Stylization".
    """

    affine: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        wide = x.astype(jnp.float32)
        mean = jnp.mean(wide, axis=(1, 2), keepdims=True)
        var = jnp.var(wide, axis=(1, 2), keepdims=True)
        wide = (wide - mean) * jax.lax.rsqrt(var + self.epsilon)
        if self.affine:
            gain = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
            bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
            wide = wide * gain[None, None, None] + bias[None, None, None]
        return wide.astype(x.dtype)
