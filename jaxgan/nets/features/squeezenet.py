"""SqueezeNet v1.1: a small ImageNet network, and the smallest backbone of LPIPS.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5MB model size",
2016; v1.1 of the authors' repository, which pools earlier.

Two sets of weights are in use, with different poolings: torchvision's last window may extend beyond
the edge (ceil mode), Keras's network ignores an odd last row or column.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.features import FeatureNet, Tensors, Variables
from jaxgan.nets.features._tensors import check_pictures, fill, full_precision, standardise, take

# Channels of each fire module: of squeeze, and of each of the two expanding convolutions.
FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192),
         8: (64, 256), 9: (64, 256)}  # fmt: skip
_POOLED_BEFORE = (2, 4, 6)
_SIZE = (224, 224)


class SqueezeNet(nn.Module):
    """Normalised pictures [B, H, W, 3] to {"conv1": ..., "fire2": ..., ... "fire9": ...}, the maps after ReLU.

    Attributes:
      ceil: whether poolings include an odd last row and column, as torchvision's do.
    """

    ceil: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = nn.relu(nn.Conv(64, (3, 3), (2, 2), padding="VALID", name="conv1")(x))
        maps = {"conv1": x}
        for fire, (squeeze, expand) in FIRES.items():
            if fire in _POOLED_BEFORE:
                x = self._pool(x)
            x = maps[f"fire{fire}"] = Fire(squeeze, expand, name=f"fire{fire}")(x)
        return maps

    def _pool(self, x: jax.Array) -> jax.Array:
        beyond = [(0, (size - 3) % 2 if self.ceil else 0) for size in x.shape[1:3]]
        return nn.max_pool(x, (3, 3), (2, 2), beyond)


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 convolutions in parallel, concatenated."""

    squeeze: int
    expand: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(self.squeeze, (1, 1), name="squeeze1x1")(x))
        sides = [nn.Conv(self.expand, (k, k), name=f"expand{k}x{k}")(x) for k in (1, 3)]
        return nn.relu(jnp.concatenate(sides, axis=-1))


def _convert(tensors: Tensors) -> Variables:
    return fill(SqueezeNet(), [(1, *_SIZE, 3)], functools.partial(take, tensors))


@full_precision
def _apply(variables: Variables, images: jax.Array) -> dict[str, jax.Array]:
    check_pictures("squeezenet1_1_notop", images)
    bgr = standardise(images[..., ::-1], (103.939, 116.779, 123.68), (1, 1, 1))
    maps: Any = SqueezeNet().apply(variables, bgr)
    return {"features": maps["fire9"].mean((1, 2))}


NETWORKS = (
    FeatureNet(
        name="squeezenet1_1_notop",
        outputs={"features": 512},
        size=_SIZE,
        resize="clean",
        apply=_apply,
        convert=_convert,
    ),
)
