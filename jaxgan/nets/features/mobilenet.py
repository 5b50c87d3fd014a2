"""MobileNetV2 (1.0, 224) of 1,001 ImageNet classes, 0 being the background.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, Table 2, as TensorFlow
trained it with quantisation in mind: kernels are integers times a scale, batch normalisation is
folded into kernels and biases.
"""

import flax.linen as nn
import jax
import numpy as np

from jaxgan.nets.features import FeatureNet, Tensors, Variables
from jaxgan.nets.features._tensors import fill, full_precision, pictures, standardise, take

# Table 2: expansion t, channels c, repetitions n, stride s of the first.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
          (6, 320, 1, 1))  # fmt: skip
_SIZE = (224, 224)


class MobileNetV2(nn.Module):
    """Pictures [B, H, W, 3] in [-1, 1), of any size, to (features [B, 1280], logits [B, 1001])."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = nn.relu6(nn.Conv(32, (3, 3), (2, 2), name="Conv")(x))
        names = (f"expanded_conv_{i}" if i else "expanded_conv" for i in range(17))
        for expansion, channels, repetitions, stride in STAGES:
            for i in range(repetitions):
                x = InvertedResidual(expansion, channels, 1 if i else stride, name=next(names))(x)
        x = nn.relu6(nn.Conv(1280, (1, 1), name="Conv_1")(x))
        features = x.mean((1, 2), keepdims=True)
        logits = nn.Conv(1001, (1, 1), name="Logits")(features)
        return features[:, 0, 0], logits[:, 0, 0]


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the channels, 3x3 within each, 1x1 to `channels`; added where shapes agree."""

    expansion: int
    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y, width = x, self.expansion * x.shape[-1]
        if self.expansion > 1:
            y = nn.relu6(nn.Conv(width, (1, 1), name="expand")(y))
        y = nn.Conv(
            width, (3, 3), (self.stride, self.stride), feature_group_count=width, name="depthwise"
        )(y)
        y = nn.Conv(self.channels, (1, 1), name="project")(nn.relu6(y))
        return x + y if x.shape == y.shape else y


def _convert(tensors: Tensors) -> Variables:
    def tensor(path: str, shape: tuple[int, ...]) -> np.ndarray:
        if path.endswith("kernel"):
            return take(tensors, f"{path}_q", shape) * take(tensors, f"{path}_scale", ())
        return take(tensors, path, shape)

    return fill(MobileNetV2(), [(1, *_SIZE, 3)], tensor)


@full_precision
def _apply(variables: Variables, images: jax.Array) -> dict[str, jax.Array]:
    pictures("mobilenet_v2", images)
    x = standardise(images, (128, 128, 128), (128, 128, 128))
    features, logits = MobileNetV2().apply(variables, x)
    return {"features": features, "logits": logits}


NETWORKS = (
    FeatureNet(
        name="mobilenet_v2",
        outputs={"features": 1280, "logits": 1001},
        size=_SIZE,
        resize="clean",
        apply=_apply,
        convert=_convert,
    ),
)
