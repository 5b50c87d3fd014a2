"""Normalisations: x' = gain * (x - mean) / sqrt(var + epsilon) + bias, for x [B, H, W, C].

    layer                statistics over     gain and bias                             shape of the gain
    BatchNorm            B, H, W             learned; one for each class               [C]; [B, 1, 1, C]
    ModulatedBatchNorm   B, H, W             linear functions of a vector              [B, 1, 1, C]
    InstanceNorm         H, W                none, or learned                          [C]
    LayerNorm            H, W, C             none, or learned                          [C]
    GroupNorm            H, W, C / groups    none, or learned                          [C]
    adaptive_norm        H, W                linear functions of a vector              [B, 1, 1, C]
    SpatialNorm          any of these        convolutions of a label map               [B, H, W, C]

Only batch statistics depend on the batch and need running averages at test time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.conv import Conv
from jaxgan.nets.labels import check_labels, lookup
from jaxgan.network import BATCH_STATS


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last; one gain and bias per class if `num_classes` is given.

    y = gain[label] * (x - mean) / sqrt(var + epsilon) + bias[label], NaN for labels that are not from 0 to classes - 1

    Under `jax.jit` with a sharded batch the statistics are those of the global batch. They are computed in float32
    whatever `dtype` is. The running statistics are in the collection "batch_stats"; each training call updates them
    with `momentum` (Flax's convention: 0.9 here is 0.1 in PyTorch). The running variance is the biased one. With
    `group`, each `group` consecutive examples have their own statistics in training, see `GroupStatistics`.

    Sources: Ioffe and Szegedy 2015; conditional: Dumoulin et al. 2017, "A Learned Representation For Artistic
    Style", Eq. 5.
    """

    num_classes: int | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: jax.typing.DTypeLike | None = None
    group: int = 0

    @nn.compact
    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, train: bool = True
    ) -> jax.Array:
        classes = self.num_classes
        x = _normalise(self, x, train, affine=classes is None)
        if classes is None:
            return x

        check_labels(label, x.shape[0])

        def per_class(name, init):
            table = nn.Embed(classes, x.shape[-1], embedding_init=init, dtype=x.dtype, name=name)
            return _over_pixels(lookup(table, label), x)

        return x * per_class("gain", nn.initializers.ones) + per_class(
            "bias", nn.initializers.zeros
        )


class ModulatedBatchNorm(nn.Module):
    """Batch normalisation with a gain and a bias for each example, linear functions of a vector c [B, D].

    y = (1 + W_g c) * (x - mean) / sqrt(var + epsilon) + W_b c

    W_g and W_b are layers without bias, of the class `kernel_norm(nn.Dense)`. Statistics: see `BatchNorm`.

    Source: Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis (2019), Appendix B.1.
    """

    kernel_norm: Callable[[type], type]
    kernel_init: nn.initializers.Initializer
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: jax.typing.DTypeLike | None = None
    group: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, train: bool = True) -> jax.Array:
        x = _normalise(self, x, train, affine=False)
        layer = self.kernel_norm(nn.Dense)

        def linear(name: str) -> jax.Array:
            made = layer(
                x.shape[-1],
                use_bias=False,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=name,
            )
            return _over_pixels(made(condition), x)

        return x * (1 + linear("gain")) + linear("bias")


class GroupStatistics(nn.Module):
    """(x - mean) / sqrt(var + epsilon), each `group` consecutive examples with their own mean and variance.

    A group has the largest number up to `group` that divides the batch, as in `minibatch_std`. With `affine` the result
    is multiplied by a gain for each channel, and a bias is added. Computes in training what devices with `group`
    examples each compute if they do not exchange statistics. The running statistics are updated with the averages over
    the groups.
    """

    group: int
    momentum: float
    epsilon: float
    affine: bool = False
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        shape, dtype = (x.shape[-1],), self.dtype or x.dtype
        running_mean = self.variable(BATCH_STATS, "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable(BATCH_STATS, "var", jnp.ones, shape, jnp.float32)
        x = x.astype(jnp.float32)
        gain, bias = jnp.ones(shape), jnp.zeros(shape)
        if self.affine:
            gain = self.param("scale", nn.initializers.ones, shape, jnp.float32)
            bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)

        def scaled(x: jax.Array, mean: jax.Array, var: jax.Array) -> jax.Array:
            one = tuple(range(x.ndim - 1))
            mean, var, by, plus = (
                v if v.ndim == x.ndim else jnp.expand_dims(v, one) for v in (mean, var, gain, bias)
            )
            return (x - mean) * (jax.lax.rsqrt(var + self.epsilon) * by) + plus

        if not train:
            return scaled(x, running_mean.value, running_var.value).astype(dtype)
        group = min(self.group, x.shape[0])
        while x.shape[0] % group:
            group -= 1
        groups = x.reshape(-1, group, *x.shape[1:])
        axes = tuple(range(1, groups.ndim - 1))
        mean = jnp.mean(groups, axis=axes, keepdims=True)
        var = jnp.mean(jnp.square(groups - mean), axis=axes, keepdims=True)
        if not self.is_initializing():
            for running, found in ((running_mean, mean), (running_var, var)):
                average = jnp.mean(found.reshape(-1, *shape), axis=0)
                running.value = self.momentum * running.value + (1 - self.momentum) * average
        return scaled(groups, mean, var).reshape(x.shape).astype(dtype)


def _normalise(
    owner: BatchNorm | ModulatedBatchNorm | PlainNorm, x: jax.Array, train: bool, affine: bool
) -> jax.Array:
    """The normalised x, with a gain and bias per channel if `affine`; in the layer "statistics" of `owner`."""
    if owner.group:
        grouped = GroupStatistics(
            owner.group, owner.momentum, owner.epsilon, affine, owner.dtype, name="statistics"
        )
        return grouped(x, train)
    norm = nn.BatchNorm(
        use_running_average=not train,
        momentum=owner.momentum,
        epsilon=owner.epsilon,
        dtype=owner.dtype,
        use_bias=affine,
        use_scale=affine,
        name="statistics",
    )
    # Flax promotes bfloat16 to float32 for the statistics, which strict dtype promotion does not allow.
    with jax.numpy_dtype_promotion("standard"):
        return norm(x)


def _over_pixels(rows: jax.Array, x: jax.Array) -> jax.Array:
    """[B, C] with axes inserted so that it broadcasts over the pixels of x."""
    return jnp.expand_dims(rows, tuple(range(1, x.ndim - 1)))


def pixel_norm(x: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """x / sqrt(mean over the channels of x^2 + epsilon), in float32: feature vectors of unit mean square.

    Source: Karras et al., Progressive Growing of GANs (2018), Section 4.2.
    """
    square = jnp.mean(jnp.square(x.astype(jnp.float32)), axis=-1, keepdims=True)
    return (x * jax.lax.rsqrt(square + epsilon).astype(x.dtype)).astype(x.dtype)


def _standardised(x: jax.Array, axes: tuple[int, ...], epsilon: float) -> jax.Array:
    """(x - mean) / sqrt(var + epsilon) with statistics over `axes`, in float32."""
    x = x.astype(jnp.float32)
    mean = jnp.mean(x, axis=axes, keepdims=True)
    var = jnp.mean(jnp.square(x - mean), axis=axes, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + epsilon)


def _affine(layer: nn.Module, x: jax.Array) -> jax.Array:
    """x times a learned gain for each channel, plus a learned bias; parameters of `layer`."""
    gain = layer.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
    bias = layer.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
    return x * gain[None, None, None] + bias[None, None, None]


class InstanceNorm(nn.Module):
    """Normalisation of each channel of each image over its pixels, [B, H, W, C]; no running statistics.

    y = gain * (x - mean) / sqrt(var + epsilon) + bias; gain and bias only if `affine`. Statistics are in float32.

    Source: Ulyanov et al. 2016, "Instance Normalization: The Missing Ingredient for Fast Stylization".
    """

    affine: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = _standardised(x, (1, 2), self.epsilon)
        return (_affine(self, y) if self.affine else y).astype(x.dtype)


class GroupNorm(nn.Module):
    """Normalisation of each image over its pixels and the channels of a group, [B, H, W, C]; otherwise as
    `InstanceNorm`.

    There are `groups` groups, or the largest smaller number that divides C.

    Source: Wu and He 2018, "Group Normalization", Eq. 7.
    """

    groups: int = 32
    affine: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        groups = next(n for n in range(self.groups, 0, -1) if x.shape[-1] % n == 0)
        y = x.reshape(*x.shape[:3], groups, x.shape[3] // groups)
        y = _standardised(y, (1, 2, 4), self.epsilon).reshape(x.shape)
        return (_affine(self, y) if self.affine else y).astype(x.dtype)


class LayerNorm(GroupNorm):
    """Normalisation of each image over its pixels and channels, [B, H, W, C]: `GroupNorm` with one group.

    Source: Ba et al. 2016, "Layer Normalization".
    """

    groups: int = 1


class PlainNorm(nn.Module):
    """The normalisation called `kind`, one of `PLAIN`; gain and bias only if `affine`.

    `train` and the running statistics matter for "batch" only; see `BatchNorm`.
    """

    kind: str
    affine: bool = False
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: jax.typing.DTypeLike | None = None
    group = 0  # batch statistics are those of the whole batch

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        if self.kind == "batch":
            return _normalise(self, x, train, self.affine)
        if self.kind not in PLAIN:
            raise ValueError(f"there is no norm '{self.kind}'; it is one of {', '.join(PLAIN)}.")
        layer = {"instance": InstanceNorm, "layer": LayerNorm, "group": GroupNorm}[self.kind]
        return layer(affine=self.affine, epsilon=self.epsilon, name="statistics")(x)


PLAIN = ("batch", "instance", "layer", "group")


def adaptive_norm(x: jax.Array, style: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Adaptive instance normalisation, AdaIN: [B, H, W, C] in the dtype of x.

    y = (1 + g) * (x - mean) / sqrt(var + epsilon) + b

    Args:
      x: [B, H, W, C].
      style: the gains g and biases b of all channels, [B, 2 C], computed from a vector by a layer of the caller.
      epsilon: added to the variance.

    Sources: Huang and Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization",
    Eq. 8; with styles from a network: Karras et al. 2019, "A Style-Based Generator Architecture for GANs", Eq. 1.
    """
    gain, bias = jnp.split(style.astype(jnp.float32)[:, None, None], 2, axis=-1)
    return (_standardised(x, (1, 2), epsilon) * (1.0 + gain) + bias).astype(x.dtype)


class SpatialNorm(nn.Module):
    """Spatially adaptive normalisation, SPADE, of x [B, H, W, C] by a label map m, one-hot [B, n H, n W, L].

    y = (1 + g(m)) * (x - mean) / sqrt(var + epsilon) + b(m)

    Every n-th row and column of m is used. A 3x3 convolution with `hidden` features and a ReLU is followed by two 3x3
    convolutions, g and b. `kind` is the normalisation without parameters, one of `PLAIN`.

    Source: Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization", Eq. 1 and Figure 3.
    """

    hidden: int = 128
    kind: str = "batch"
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, label_map: jax.Array, train: bool = True) -> jax.Array:
        shared: dict[str, Any] = {"kernel_init": self.kernel_init, "dtype": self.dtype}
        y = PlainNorm(self.kind, dtype=self.dtype, name="norm")(x, train)
        hidden = nn.relu(Conv(self.hidden, name="hidden", **shared)(nearest(label_map, x.shape)))
        gain = Conv(x.shape[-1], name="gain", **shared)(hidden)
        return y * (1 + gain) + Conv(x.shape[-1], name="bias", **shared)(hidden)


def nearest(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Every n-th row and m-th column of x [B, n H, m W, C], for a shape [B, H, W, ...]."""
    rows, columns = (side // small for side, small in zip(x.shape[1:3], shape[1:3], strict=True))
    return x[:, ::rows, ::columns]
