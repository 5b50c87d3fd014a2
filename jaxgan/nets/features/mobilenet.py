"""MobileNetV2 (1.0, 224) for 1,001 ImageNet classes; class 0 is the background.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, Table 2, with
TensorFlow's weights of quantisation-aware training: kernels are integers times a scale, and batch
normalisation is folded into kernels and biases.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nets.features import FeatureNet, Tensors, Variables
from jaxgan.nets.features._tensors import check_pictures, fill, full_precision, standardise, take

# Table 2: expansion t, channels c, repetitions n, stride s of the first repetition.
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
    """1x1 to `expansion` times the channels, depthwise 3x3, 1x1 to `channels`; a residual sum if shapes agree."""

    expansion: int
    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y, width = x, self.expansion * x.shape[-1]
        if self.expansion > 1:
            y = nn.relu6(nn.Conv(width, (1, 1), name="expand")(y))
        y = Depthwise(self.stride, name="depthwise")(y)
        y = nn.Conv(self.channels, (1, 1), name="project")(nn.relu6(y))
        return x + y if x.shape == y.shape else y


class Depthwise(nn.Module):
    """Depthwise 3x3 `nn.Conv`, computed as the sum of nine products.

    XLA's convolution with one group per channel is 30 to 80 times slower on a CPU (2.5 times with
    stride 2).
    """

    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, stride = x.shape[-1], self.stride
        shape = (3, 3, 1, channels)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        height, width = (-(-n // stride) for n in x.shape[1:3])
        around = jax.lax.padtype_to_pads(x.shape[1:3], (3, 3), (stride, stride), "SAME")
        x = jnp.pad(x, ((0, 0), *around, (0, 0)))
        ends = (height - 1) * stride + 1, (width - 1) * stride + 1
        total = bias.reshape(1, 1, 1, channels)
        for i in range(3):
            for j in range(3):
                shifted = x[:, i : i + ends[0] : stride, j : j + ends[1] : stride]
                total = total + shifted * kernel[i, j].reshape(1, 1, 1, channels)
        return total


def _convert(tensors: Tensors) -> Variables:
    def tensor(path: str, shape: tuple[int, ...]) -> np.ndarray:
        if path.endswith("kernel"):
            return take(tensors, f"{path}_q", shape) * take(tensors, f"{path}_scale", ())
        return take(tensors, path, shape)

    return fill(MobileNetV2(), [(1, *_SIZE, 3)], tensor)


@full_precision
def _apply(variables: Variables, images: jax.Array) -> dict[str, jax.Array]:
    check_pictures("mobilenet_v2", images)
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
