"""ResNets trained on CIFAR-10, as feature networks.

He et al., "Deep Residual Learning for Image Recognition", 2016, Section 4.2, shortcut option A, in
the form of akamaster/pytorch_resnet_cifar10, whose weights these networks use.
"""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nets.features import FeatureNet, Tensors, Variables
from jaxgan.nets.features._tensors import check_pictures, from_torch, full_precision, standardise
from jaxgan.nets.features.vgg import DEVIATION, MEAN

_SIZE = (32, 32)
_PAD = ((1, 1), (1, 1))  # "SAME" would pad a stride of 2 on one side only
_norm = functools.partial(nn.BatchNorm, use_running_average=True, epsilon=1e-5)


class CifarResNet(nn.Module):
    """Normalised pictures [B, 32, 32, 3] to (features [B, 64], logits [B, 10]); it has 6 `blocks` + 2 layers."""

    blocks: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = nn.relu(_norm(name="bn1")(nn.Conv(16, (3, 3), use_bias=False, name="conv1")(x)))
        for stage, channels in ((1, 16), (2, 32), (3, 64)):
            for i in range(self.blocks):
                stride = 2 if stage > 1 and i == 0 else 1
                x = BasicBlock(channels, stride, name=f"layer{stage}_{i}")(x)
        features = x.mean((1, 2))
        return features, nn.Dense(10, name="linear")(features)


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus the input (if shapes differ, subsampled, with channels of zeros added), then ReLU."""

    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = functools.partial(nn.Conv, self.channels, (3, 3), padding=_PAD, use_bias=False)
        y = conv(strides=(self.stride, self.stride), name="conv1")(x)
        y = _norm(name="bn2")(conv(name="conv2")(nn.relu(_norm(name="bn1")(y))))
        around = (self.channels - x.shape[-1]) // 2
        x = x[:, :: self.stride, :: self.stride]
        return nn.relu(y + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (around, around))))


def _resnet(depth: int) -> FeatureNet:
    module = CifarResNet((depth - 2) // 6)
    name = f"cifar10_resnet{depth}"

    @full_precision
    def apply(variables: Variables, images: jax.Array) -> dict[str, jax.Array]:
        check_pictures(name, images, _SIZE)
        x = standardise(images, np.multiply(255, MEAN), np.multiply(255, DEVIATION))
        features, logits = module.apply(variables, x)
        return {"features": features, "logits": logits}

    def convert(tensors: Tensors) -> Variables:
        # The published dict holds the accuracy and a state dict, whose names have the prefix of a parallel wrapper.
        plain = {re.sub(r"^(state_dict\.)?(module\.)?", "", k): v for k, v in tensors.items()}
        if f"layer1.{module.blocks}.conv1.weight" in plain:
            raise ValueError(f"the weights are of a deeper network than {name}")
        return from_torch(module, [(1, *_SIZE, 3)], plain, _torch_name)

    return FeatureNet(
        name=name,
        outputs={"features": 64, "logits": 10},
        size=_SIZE,
        resize="clean",
        apply=apply,
        convert=convert,
        files=(name,),
    )


def _torch_name(layer: str) -> str:
    """ "layer1.0.conv1." of "layer1_0/conv1"."""
    return re.sub("[_/]", ".", layer) + "."


NETWORKS = (_resnet(20), _resnet(56))
