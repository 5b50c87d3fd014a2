"""LPIPS: the perceptual distance of two pictures, computed from the feature maps of a classifier.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018, Eq. 1,
version 0.1 of its package: torchvision's VGG-16, AlexNet or SqueezeNet as the backbone, and heads (one
weight per channel) learned from human judgements. Its authors recommend "alex" for scores; perceptual
path length (StyleGAN) uses "vgg".
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nets.features import Tensors, Variables
from jaxgan.nets.features import vgg as vgg16
from jaxgan.nets.features._tensors import (
    check_pictures,
    from_torch,
    full_precision,
    standardise,
    take,
)
from jaxgan.nets.features.squeezenet import SqueezeNet

# For pictures in [-1, 1]: ImageNet's statistics to three digits, which are part of the definition.
_MEAN, _DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPS = 1e-10
_SIZE = (1, 64, 64, 3)  # any size that all poolings can halve


class AlexNet(nn.Module):
    """torchvision's AlexNet without its classifier: pictures to five maps, each after its ReLU.

    Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        maps = {}
        layers = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
        for i, (channels, kernel, stride, pad) in enumerate(layers, 1):
            if i in (2, 3):
                x = nn.max_pool(x, (3, 3), (2, 2))
            conv = nn.Conv(channels, (kernel,) * 2, (stride,) * 2, padding=pad, name=f"conv{i}")
            x = maps[f"relu{i}"] = nn.relu(conv(x))
        return maps


# The maps that are compared and their channels, in the order of the heads.
MAPS: Mapping[str, dict[str, int]] = {
    "vgg": {"relu1_2": 64, "relu2_2": 128, "relu3_3": 256, "relu4_3": 512, "relu5_3": 512},
    "alex": {"relu1": 64, "relu2": 192, "relu3": 384, "relu4": 256, "relu5": 256},
    "squeeze": {"conv1": 64, "fire3": 128, "fire5": 256, "fire6": 384, "fire7": 384,
                "fire8": 512, "fire9": 512},
}  # fmt: skip
BACKBONES = tuple(MAPS)
# The files of `jaxgan.weights` that `convert` takes: the backbone's and the heads'.
FILES = {
    "vgg": ("vgg16", "lpips_vgg"),
    "alex": ("alexnet", "lpips_alex"),
    "squeeze": ("squeezenet1_1", "lpips_squeeze"),
}


@full_precision
def lpips(variables: Variables, x: jax.Array, y: jax.Array, backbone: str = "alex") -> jax.Array:
    """The perceptual distance of each pair: sum_l mean_hw sum_c w_lc (f_lc(x) / |f_l(x)| - f_lc(y) / |f_l(y)|)^2.

    |f_l| is the norm over the channels of one pixel of the map. The distance of equal pictures is 0. The
    gradient is finite everywhere, also where all channels of a pixel are 0.

    Args:
      variables: result of `convert` for this backbone.
      x, y: float32 [B, H, W, 3] in [-1, 1], of equal shape, not too small for the poolings. The distance
        depends on the size: the human judgements used 64 pixels, path length uses 256.
      backbone: one of `BACKBONES`.

    Returns:
      float32 [B], never negative with the published heads.
    """
    maps = _maps(backbone)
    for name, images in (("x", x), ("y", y)):
        check_pictures(f"lpips's {name}", images)
    if x.shape != y.shape:
        raise ValueError(
            f"lpips compares pictures of equal shape, not {list(x.shape)} with {list(y.shape)}"
        )
    # Interleaved, x0, y0, x1, ...: after concatenation, the two pictures of a pair would be on different devices, and
    # feature maps would be moved between them.
    both = jnp.stack([x, y], axis=1).reshape(-1, *x.shape[1:])
    both = standardise(both, _MEAN, _DEVIATION)
    found: Any = _NETWORKS[backbone].apply({"params": variables["backbone"]}, both)
    if not all(found[name].size for name in maps):
        raise ValueError(
            f"pictures {list(x.shape)} are too small for the poolings of {backbone!r}; enlarge them "
            "to 32 pixels a side or more"
        )
    total = jnp.zeros(x.shape[0], jnp.float32)
    for name, head in zip(maps, variables["heads"], strict=True):
        pairs = unit_vectors(found[name])
        pairs = pairs.reshape(-1, 2, *pairs.shape[1:])
        a, b = pairs[:, 0], pairs[:, 1]
        weighted = jnp.square(a - b) * head.reshape(1, 1, 1, -1)
        total += weighted.sum(axis=3).mean(axis=(1, 2))
    return total


def convert(tensors: Tensors, heads: Tensors, backbone: str = "alex") -> Variables:
    """The variables of `lpips`, from two files.

    Args:
      tensors: torchvision's state dict of the backbone: VGG-16, AlexNet or SqueezeNet 1.1.
      heads: the package's file of the same backbone, "lin0.model.1.weight" [1, C, 1, 1] and so on.
      backbone: one of `BACKBONES`.
    """
    maps = _maps(backbone)
    network, names = _NETWORKS[backbone], _TORCH_NAMES[backbone]
    params = from_torch(network, [_SIZE], tensors, names.__getitem__)["params"]
    weights = tuple(
        take(heads, f"lin{i}.model.1.weight", (1, channels, 1, 1)).reshape(channels)
        for i, channels in enumerate(maps.values())
    )
    return {"backbone": params, "heads": weights}


def shapes(backbone: str = "alex") -> Variables:
    """The shapes of the result of `convert`, as `jax.ShapeDtypeStruct`s; needs no files."""
    maps, network = _maps(backbone), _NETWORKS[backbone]
    picture = jax.ShapeDtypeStruct(_SIZE, jnp.float32)
    params = jax.eval_shape(network.init, jax.random.key(0), picture)["params"]
    heads = (jax.ShapeDtypeStruct((channels,), jnp.float32) for channels in maps.values())
    return {"backbone": params, "heads": tuple(heads)}


def unit_vectors(maps: jax.Array) -> jax.Array:
    """f / (|f| + eps), with the norm over channels; the gradient is 0 where f is 0, not infinite."""
    square = jnp.sum(jnp.square(maps), axis=3, keepdims=True)
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    return maps / (norm + np.float32(_EPS))


def _maps(backbone: str) -> dict[str, int]:
    if backbone not in MAPS:
        raise ValueError(f"backbone is {backbone!r}; LPIPS has heads for {', '.join(BACKBONES)}")
    return MAPS[backbone]


def _squeeze_names():
    """Indices in torchvision's Sequential, which also counts poolings."""
    yield "conv1", "features.0."
    for fire, place in zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12), strict=True):
        yield f"fire{fire}/squeeze1x1", f"features.{place}.squeeze."
        yield f"fire{fire}/expand1x1", f"features.{place}.expand1x1."
        yield f"fire{fire}/expand3x3", f"features.{place}.expand3x3."


_NETWORKS = {
    "vgg": vgg16.VGG16(tuple(MAPS["vgg"])),
    "alex": AlexNet(),
    "squeeze": SqueezeNet(ceil=True),
}
_TORCH_NAMES = {
    "vgg": vgg16.torch_names(vgg16.DEPTHS),
    "alex": {f"conv{i}": f"features.{j}." for i, j in enumerate((0, 3, 6, 8, 10), 1)},
    "squeeze": dict(_squeeze_names()),
}
