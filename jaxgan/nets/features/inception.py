"""The Inception network of 2015-12-05, on which the Inception score, FID and sFID are defined.

It is the network of Szegedy et al., "Rethinking the Inception architecture for computer vision"
(2015), in the form of TensorFlow's graph `classify_image_graph_def.pb`. The Inception score (Salimans et
al., "Improved techniques for training GANs", 2016) uses its logits; FID (Heusel et al., "GANs trained
by a two time-scale update rule converge to a local Nash equilibrium", 2017) its last pooling,
"pool_3"; sFID (Nash et al., "Generating images with sparse representations", 2021) the first seven
channels of "mixed_6/conv", the choice of openai/guided-diffusion's evaluator.

torchvision's `inception_v3` is another network: other weights, 1000 classes and, in its layers,

- average poolings that count the padding; here the sum is divided by the number of pixels inside;
- an average pooling in the last block; here it is the maximum;
- pixels normalised by ImageNet's means and deviations; here by (x - 128) / 128. (The package
  pytorch-fid, which has the weights of this network, uses x / 127.5 - 1.)

Epsilon is 0.001 in both. The graph adds a bias to its 1008 logits. The Inception score omits it, as in
its authors' code, and so does this module.

Layers have the names of the PyTorch ports, toshas/torch-fidelity and mseitzer/pytorch-fid, whose weights were
converted from the graph, those of the logits included. jaxgan reads the ports' files, not the graph: they have
every weight that the outputs depend on, and a published checksum, which the graph lacks. On one
CPU core this is 1.6 to 1.8 times as fast as the port (`benchmarks/features_speed.py`). The optimisations
change rounding only:

- batch normalisations are folded into the kernels before them;
- 1x1 convolutions are matrix products, a quarter faster than XLA's convolutions on a CPU;
- unpadded convolutions are computed as padded ones and cropped, two to four times as fast on a CPU;
- poolings are sums and maxima of shifted maps, five to ten times as fast on a CPU;
- averaging commutes with the 1x1 convolution after it, and so is applied to its few outputs (the bias
  does not change, since padding does not count).
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgan.nets.features import FeatureNet, Tensors, Variables
from jaxgan.nets.features._tensors import take

SIZE = (299, 299)
_EPSILON = 0.001
_SPATIAL_CHANNELS = 7


class Inception(nn.Module):
    """The network from resized pictures to its three outputs.

    Takes float32 pictures [B, 299, 299, 3] of values 0 to 255. Returns float32 "features" [B, 2048],
    "logits" [B, 1008] without bias, and "spatial" [B, 2023], which is a map [17, 17, 7] flattened.
    """

    @nn.compact
    def __call__(self, pictures: jax.Array) -> dict[str, jax.Array]:
        x = _max_pool(_stem(pictures), 2, "VALID")
        x = Block35(32, name="Mixed_5b")(x)
        x = Block35(64, name="Mixed_5c")(x)
        x = Block35(64, name="Mixed_5d")(x)
        x = Reduce35(name="Mixed_6a")(x)
        x = Block17(128, name="Mixed_6b")(x)
        x = Block17(160, name="Mixed_6c")(x)
        x = Block17(160, name="Mixed_6d")(x)
        spatial = x[
            ..., :_SPATIAL_CHANNELS
        ]  # "mixed_6/conv" of the graph is the first part of the block's output
        x = Block17(192, name="Mixed_6e")(x)
        x = Reduce17(name="Mixed_7a")(x)
        x = Block8(maximum=False, name="Mixed_7b")(x)
        x = Block8(maximum=True, name="Mixed_7c")(x)
        features = x.mean((1, 2))
        return {
            "features": features,
            "logits": nn.Dense(1008, use_bias=False, precision="highest", name="fc")(features),
            "spatial": spatial.reshape(len(spatial), -1),
        }


class Stem(nn.Module):
    """The first layers of `Inception`, under the same names, for pictures of any size.

    Takes float32 pictures [B, H, W, 3] of values 0 to 255; returns the input of the second pooling, [B, h, w, 192],
    about a quarter as high and wide, which are the features of SIFID (Shaham et al., "SinGAN", 2019, Section 3).
    """

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        return _stem(pictures)


def _stem(pictures: jax.Array) -> jax.Array:
    x = (pictures - 128) / 128
    x = Conv(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)
    x = Conv(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3")(x)
    x = Conv(64, (3, 3), name="Conv2d_2b_3x3")(x)
    x = _max_pool(x, 2, "VALID")
    x = Conv(80, (1, 1), name="Conv2d_3b_1x1")(x)
    return Conv(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3")(x)


class Block35(nn.Module):
    """The block of maps 35x35: towers 1x1, 5x5, 3x3 twice, and pooled."""

    pooled: int

    @nn.compact
    def __call__(self, x):
        one = Conv(64, (1, 1), name="branch1x1")(x)
        five = Conv(48, (1, 1), name="branch5x5_1")(x)
        five = Conv(64, (5, 5), name="branch5x5_2")(five)
        double = Conv(64, (1, 1), name="branch3x3dbl_1")(x)
        double = Conv(96, (3, 3), name="branch3x3dbl_2")(double)
        double = Conv(96, (3, 3), name="branch3x3dbl_3")(double)
        return jnp.concatenate([one, five, double, _average_then_conv(x, self.pooled)], -1)


class Reduce35(nn.Module):
    """The block from 35x35 to 17x17: towers 3x3, 3x3 twice, and pooled."""

    @nn.compact
    def __call__(self, x):
        three = Conv(384, (3, 3), 2, "VALID", name="branch3x3")(x)
        double = Conv(64, (1, 1), name="branch3x3dbl_1")(x)
        double = Conv(96, (3, 3), name="branch3x3dbl_2")(double)
        double = Conv(96, (3, 3), 2, "VALID", name="branch3x3dbl_3")(double)
        return jnp.concatenate([three, double, _max_pool(x, 2, "VALID")], -1)


class Block17(nn.Module):
    """The block of maps 17x17: towers 1x1, 7x7 in two factors, 7x7 twice in four, and pooled."""

    width: int

    @nn.compact
    def __call__(self, x):
        n = self.width
        one = Conv(192, (1, 1), name="branch1x1")(x)
        seven = Conv(n, (1, 1), name="branch7x7_1")(x)
        seven = Conv(n, (1, 7), name="branch7x7_2")(seven)
        seven = Conv(192, (7, 1), name="branch7x7_3")(seven)
        double = Conv(n, (1, 1), name="branch7x7dbl_1")(x)
        double = Conv(n, (7, 1), name="branch7x7dbl_2")(double)
        double = Conv(n, (1, 7), name="branch7x7dbl_3")(double)
        double = Conv(n, (7, 1), name="branch7x7dbl_4")(double)
        double = Conv(192, (1, 7), name="branch7x7dbl_5")(double)
        return jnp.concatenate([one, seven, double, _average_then_conv(x, 192)], -1)


class Reduce17(nn.Module):
    """The block from 17x17 to 8x8: towers 3x3, 7x7 in two factors then 3x3, and pooled."""

    @nn.compact
    def __call__(self, x):
        three = Conv(192, (1, 1), name="branch3x3_1")(x)
        three = Conv(320, (3, 3), 2, "VALID", name="branch3x3_2")(three)
        seven = Conv(192, (1, 1), name="branch7x7x3_1")(x)
        seven = Conv(192, (1, 7), name="branch7x7x3_2")(seven)
        seven = Conv(192, (7, 1), name="branch7x7x3_3")(seven)
        seven = Conv(192, (3, 3), 2, "VALID", name="branch7x7x3_4")(seven)
        return jnp.concatenate([three, seven, _max_pool(x, 2, "VALID")], -1)


class Block8(nn.Module):
    """The block of maps 8x8: towers 1x1, 3x3 that forks, 3x3 twice that forks, and pooled."""

    maximum: bool

    @nn.compact
    def __call__(self, x):
        one = Conv(320, (1, 1), name="branch1x1")(x)
        three = Conv(384, (1, 1), name="branch3x3_1")(x)
        double = Conv(448, (1, 1), name="branch3x3dbl_1")(x)
        double = Conv(384, (3, 3), name="branch3x3dbl_2")(double)
        if self.maximum:
            pooled = Conv(192, (1, 1), name="branch_pool")(_max_pool(x, 1, "SAME"))
        else:
            pooled = _average_then_conv(x, 192)
        towers = [
            one,
            Conv(384, (1, 3), name="branch3x3_2a")(three),
            Conv(384, (3, 1), name="branch3x3_2b")(three),
            Conv(384, (1, 3), name="branch3x3dbl_3a")(double),
            Conv(384, (3, 1), name="branch3x3dbl_3b")(double),
            pooled,
        ]
        return jnp.concatenate(towers, -1)


class Conv(nn.Module):
    """A convolution into which its batch normalisation is folded, with a bias and ReLU."""

    features: int
    kernel_size: tuple[int, int]
    stride: int = 1
    padding: str = "SAME"
    activate: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        x = _convolve(x, kernel, self.stride, self.padding) + bias[None, None, None]
        return nn.relu(x) if self.activate else x


def _average_then_conv(x: jax.Array, features: int) -> jax.Array:
    """The pooled tower of a block; averages its few outputs instead of its many inputs."""
    return nn.relu(_average(Conv(features, (1, 1), activate=False, name="branch_pool")(x)))


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
    """The convolution at full float32 precision, so that features do not depend on the device."""
    if kernel.shape[:2] == (1, 1):
        return jnp.dot(x, kernel[0, 0], precision="highest")
    # On a CPU core, four pictures take 27 ms unpadded and 7 padded in Conv2d_2a_3x3, 55 and 23 in Conv2d_4a_3x3. So
    # one row and one column are added at the end, and the outputs that depend on them are cropped.
    unpadded = padding == "VALID"
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((0, 1), (0, 1)) if unpadded else padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    if unpadded:
        height, width = (
            (n - k) // stride + 1 for n, k in zip(x.shape[1:3], kernel.shape, strict=False)
        )
        y = y[:, :height, :width]
    return y


def _max_pool(x: jax.Array, stride: int, padding: str) -> jax.Array:
    """The maximum of 3x3 pixels."""
    if padding == "SAME":
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    for axis in (1, 2):
        x = functools.reduce(jnp.maximum, _thirds(x, axis, stride))
    return x


def _average(x: jax.Array) -> jax.Array:
    """The mean over 3x3 pixels, without those outside the image."""
    _, h, w, _ = x.shape
    counts = np.outer(*(np.convolve(np.ones(n), np.ones(3), "same") for n in (h, w)))
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for axis in (1, 2):
        x = jnp.asarray(sum(_thirds(x, axis, 1)))
    return x * (1 / counts).astype(np.float32)[None, :, :, None]


def _thirds(x: jax.Array, axis: int, stride: int) -> list[jax.Array]:
    """The first, second and third pixels of all windows of three along an axis."""
    stop = x.shape[axis] - 2
    return [jax.lax.slice_in_dim(x, i, stop + i, stride, axis) for i in range(3)]


def apply(variables: Variables, pictures: jax.Array) -> dict[str, jax.Array]:
    """The outputs for float32 pictures [B, 299, 299, 3] of values 0 to 255; see `Inception`."""
    if pictures.shape[1:] != (*SIZE, 3) or pictures.dtype != jnp.float32:
        raise ValueError(
            f"inception takes float32 pictures [B, 299, 299, 3] of values 0 to 255, not "
            f"{pictures.dtype} {list(pictures.shape)}; resize them with jaxgan.metrics.resize first"
        )
    outputs: Any = Inception().apply(variables, pictures)
    return outputs


def convert(tensors: Tensors) -> Variables:
    """The tensors of the PyTorch port's file as variables of `Inception`.

    The batch normalisations gamma (x - mean) / sqrt(variance + 0.001) + beta are folded into the
    kernels in float64. Tensors that the features do not need are ignored: the logits' bias and the
    counts of batches.

    Args:
      tensors: by their published names: "Conv2d_1a_3x3.conv.weight" [32, 3, 3, 3], ... "fc.weight"
        [1008, 2048].
    """
    pictures = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.float32)
    params = jax.eval_shape(Inception().init, jax.random.key(0), pictures)["params"]
    converted = {}
    for path, parameter in flatten_dict(params).items():
        layer, kind = path[:-1], path[-1]
        if kind == "kernel" and layer != ("fc",):
            kernel, gamma, beta, mean, variance = _layer(tensors, ".".join(layer), parameter.shape)
            scale = gamma / np.sqrt(variance + _EPSILON)
            converted[*layer, "kernel"] = (kernel * scale).astype(np.float32)
            converted[*layer, "bias"] = (beta - mean * scale).astype(np.float32)
    inputs, classes = params["fc"]["kernel"].shape
    converted["fc", "kernel"] = take(tensors, "fc.weight", (classes, inputs)).T
    return {"params": unflatten_dict(converted)}


def _layer(tensors: Tensors, layer: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    height, width, inputs, outputs = shape
    kernel = take(tensors, f"{layer}.conv.weight", (outputs, inputs, height, width))
    statistics = ("weight", "bias", "running_mean", "running_var")
    vectors = [take(tensors, f"{layer}.bn.{part}", shape[-1:]) for part in statistics]
    return [tensor.astype(np.float64) for tensor in (kernel.transpose(2, 3, 1, 0), *vectors)]


NETWORKS = (
    FeatureNet(
        name="inception",
        outputs={"features": 2048, "logits": 1008, "spatial": 17 * 17 * _SPATIAL_CHANNELS},
        size=SIZE,
        resize="tf1",
        apply=apply,
        convert=convert,
        files=(
            "inception_2015_12_05_pytorch_fid",
            "inception_2015_12_05_torch_fidelity",
        ),
    ),
)
