"""VGG-16, for precision and recall and for perceptual losses, and VGG-19, for perceptual losses.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
configurations D and E, with torchvision's weights. Layers have the paper's and Caffe's names: conv1_1 to
conv5_3, fc6 to fc8.

Improved precision and recall (Kynkäänniemi et al., 2019) use the activations of the second fully
connected layer, relu7. The scores depend on the weights, the resize mode and the normalisation. These
are torch-fidelity's here; scores with the TensorFlow weights of the paper's own code differ.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxgan.nets.features import FeatureNet, Tensors, Variables
from jaxgan.nets.features._tensors import (
    check_pictures,
    from_torch,
    full_precision,
    standardise,
    take,
)

# Convolutions between poolings.
DEPTHS = (2, 2, 3, 3, 3)
DEPTHS_19 = (2, 2, 4, 4, 4)


def maps(depths: Sequence[int]) -> tuple[str, ...]:
    """The names of the maps, in the order of the layers.

    >>> maps((1, 2))
    ('conv1_1', 'relu1_1', 'conv2_1', 'relu2_1', 'conv2_2', 'relu2_2')
    """
    return tuple(
        f"{kind}{stage}_{layer}"
        for stage, depth in enumerate(depths, 1)
        for layer in range(1, depth + 1)
        for kind in ("conv", "relu")
    )


MAPS = maps(DEPTHS)
VECTORS = ("fc6", "relu6", "fc7", "relu7", "fc8")
# Statistics of ImageNet, for pictures in [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIZE = (224, 224)


class VGG16(nn.Module):
    """Normalised pictures [B, H, W, 3] to {output: array}; layers after the last output are not computed.

    The variables of the whole network can be used with any `outputs`.

    Attributes:
      outputs: names from `maps(depths)`, [B, H / 2^s, W / 2^s, C], for pictures of any size; and from `VECTORS`,
        [B, size], which need pictures of 224 x 224.
      widths, hidden, classes: channels of the stages; features of fc6 and fc7; features of fc8.
      depths: convolutions of the stages.
    """

    outputs: Sequence[str]
    widths: Sequence[int] = (64, 128, 256, 512, 512)
    hidden: int = 4096
    classes: int = 1000
    depths: Sequence[int] = DEPTHS

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        known = (*maps(self.depths), *VECTORS)
        unknown = sorted(set(self.outputs) - set(known))
        if unknown or not self.outputs:
            raise ValueError(
                f"{type(self).__name__} has no outputs {unknown}; ask for some of {', '.join(known)}"
            )
        found = {}
        for name, y in self._layers(x):
            found[name] = y
            if set(self.outputs) <= found.keys():
                break
        return {name: found[name] for name in self.outputs}

    def _layers(self, x: jax.Array):
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), 1):
            for layer in range(1, depth + 1):
                x = nn.Conv(width, (3, 3), name=f"conv{stage}_{layer}")(x)
                yield f"conv{stage}_{layer}", x
                x = nn.relu(x)
                yield f"relu{stage}_{layer}", x
            x = nn.max_pool(x, (2, 2), (2, 2))
        if x.shape[1:3] != (7, 7):
            raise ValueError(
                f"{', '.join(VECTORS)} need pictures of {_SIZE}: their last map is "
                f"{x.shape[1:3]}, not (7, 7)"
            )
        x = x.reshape(x.shape[0], -1)
        for layer, size in ((6, self.hidden), (7, self.hidden)):
            x = nn.Dense(size, name=f"fc{layer}")(x)
            yield f"fc{layer}", x
            x = nn.relu(x)
            yield f"relu{layer}", x
        yield "fc8", nn.Dense(self.classes, name="fc8")(x)


class VGG19(VGG16):
    """As `VGG16`, with four convolutions in each of the last three stages."""

    depths: Sequence[int] = DEPTHS_19


def convert(module: VGG16, tensors: Tensors) -> Variables:
    """torchvision's state dict as the variables that `module` needs for its outputs."""
    flat, width = "classifier.0.weight", module.widths[-1]
    if set(module.outputs) & set(VECTORS):
        # PyTorch flattens [C, H, W], this network [H, W, C].
        kernel = take(tensors, flat, (module.hidden, width * 49))
        kernel = kernel.reshape(module.hidden, width, 7, 7).transpose(0, 2, 3, 1)
        tensors = {**tensors, flat: kernel.reshape(module.hidden, -1)}
    return from_torch(module, [(1, *_SIZE, 3)], tensors, torch_names(module.depths).__getitem__)


def perceptual_features(
    variables: Variables,
    outputs: Sequence[str] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
    network: type[VGG16] = VGG16,
) -> Callable[[jax.Array], list[jax.Array]]:
    """The feature function of `losses.perceptual`: pictures [B, H, W, 3] in [-1, 1] to a list of maps.

    The precision of products is `jax.default_matmul_precision`, as in the rest of training.

    Args:
      variables: result of `convert` for a module with at least these outputs. Pass them to a jitted
        step as arguments; as constants they would be compiled into it.
      outputs: names of maps. The default is the style layers of Johnson et al., 2016.
      network: `VGG16` or `VGG19`.

    Returns:
      A differentiable function, which returns the maps in the order of `outputs`.
    """
    module = network(outputs)

    def features(images: jax.Array) -> list[jax.Array]:
        check_pictures(network.__name__, images)
        found: Any = module.apply(variables, _normalise((images + 1) * 127.5))
        return [found[name] for name in outputs]

    return features


def _normalise(images: jax.Array) -> jax.Array:
    """Normalises pictures of values 0 to 255."""
    return standardise(images, np.multiply(255, MEAN), np.multiply(255, DEVIATION))


@full_precision
def _apply(variables: Variables, images: jax.Array) -> dict[str, jax.Array]:
    check_pictures("vgg16", images, _SIZE)
    found: Any = _NETWORK.apply(variables, _normalise(images))
    return {"features": found["relu7"], "logits": found["fc8"]}


def torch_names(depths: Sequence[int]) -> dict[str, str]:
    """{layer: prefix of torchvision's names}; in its Sequential ReLUs follow convolutions, a pooling each stage."""
    names, index = {}, 0
    for stage, depth in enumerate(depths, 1):
        for layer in range(1, depth + 1):
            names[f"conv{stage}_{layer}"] = f"features.{index}."
            index += 2
        index += 1
    return names | {"fc6": "classifier.0.", "fc7": "classifier.3.", "fc8": "classifier.6."}


_NETWORK = VGG16(("relu7", "fc8"))
NETWORKS = (
    FeatureNet(
        name="vgg16",
        outputs={"features": 4096, "logits": 1000},
        size=_SIZE,
        resize="tf1",
        apply=_apply,
        convert=functools.partial(convert, _NETWORK),
        files=("vgg16",),
    ),
)
