"""Perceptual losses by name: distances between pictures in the features of a frozen classifier, with its weights.

    lpips_vgg, lpips_alex, lpips_squeeze   LPIPS, with its learned heads
    vgg16                                  mean squared difference of four of VGG-16's maps
    vgg19                                  weighted mean absolute differences of five of VGG-19's maps
    squeezenet1_1_notop, mobilenet_v2,     LPIPS without heads: squared difference of the maps' unit vectors; the last
    cifar10_resnet20, cifar10_resnet56     map of each size

A loss is the module of a player without an optimiser. Its weights are part of the state, like those of any network, so
compiled programs take them as arguments and not as constants.

Sources: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (2018), Eq. 1; Johnson et
al., Perceptual Losses for Real-Time Style Transfer and Super-Resolution (2016), Eq. 2; for VGG-19: Wang et al.,
High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (2018), with the weights of its code,
which, unlike this module, does not normalise the pictures.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import losses, weights
from jaxgan.nets.features import by_name as feature_net
from jaxgan.nets.features import lpips, vgg
from jaxgan.nets.features.cifar_resnet import CifarResNet
from jaxgan.nets.features.mobilenet import MobileNetV2
from jaxgan.nets.features.squeezenet import SqueezeNet
from jaxgan.options import OptionError

PyTree = Any

_VGG_MAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
_VGG19_WEIGHTS = {
    "relu1_1": 1 / 32,
    "relu2_1": 1 / 16,
    "relu3_1": 1 / 8,
    "relu4_1": 1 / 4,
    "relu5_1": 1.0,
}
# Networks of `jaxgan.nets.features` that take pictures of any size (the last two were trained on 32 pixels).
_MODULES = {
    "squeezenet1_1_notop": SqueezeNet(),
    "mobilenet_v2": MobileNetV2(),
    "cifar10_resnet20": CifarResNet(3),
    "cifar10_resnet56": CifarResNet(9),
}
NAMES = (*(f"lpips_{backbone}" for backbone in lpips.BACKBONES), "vgg16", "vgg19", *_MODULES)


# Compared by identity: a module is hashed as part of a `Network`, and `shapes` is not hashable.
@dataclasses.dataclass(frozen=True, eq=False)
class Perceptual:
    """A perceptual loss, usable as a player's module: `network(x, y)` is the distance.

    Attributes:
      distance: (weights, x, y) -> a float32 scalar, the mean over the pairs of pictures [B, H, W, 1 or 3] in [-1, 1].
      shapes: shapes of the weights, a tree of `jax.ShapeDtypeStruct`s.
      load: () -> the weights, read from their file, a tree of NumPy arrays of those shapes.
    """

    distance: Callable[[PyTree, jax.Array, jax.Array], jax.Array]
    shapes: PyTree
    load: Callable[[], PyTree]

    def init(self, rngs: Any) -> dict[str, PyTree]:
        """{"params": weights}. They are read when the program that contains this call runs, not when it is traced.

        A run that is restored from a checkpoint therefore does not need the file.
        """
        del rngs
        return {"params": jax.pure_callback(self.load, self.shapes)}

    def apply(
        self, variables: dict[str, PyTree], x: jax.Array, y: jax.Array, mutable: Any = ()
    ) -> tuple[jax.Array, dict]:
        """(the distance, no new state), as a Linen module returns with `mutable`."""
        del mutable
        return self.distance(variables["params"], x, y), {}


def by_name(name: str, file: str = "") -> Perceptual:
    """The perceptual loss called `name`.

    Args:
      name: one of `NAMES`.
      file: the file of its weights; for LPIPS two files, the backbone's and the heads', separated by a comma. If "",
        they are fetched from their publisher.

    Raises:
      ValueError: `name` is unknown, or its weights cannot be fetched and need a file.
    """
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(NAMES)}."
        raise ValueError(f"there is no perceptual network '{name}'; {hint}")
    files = tuple(file.split(",")) if file else ()
    expected = 2 if name.startswith("lpips_") else 1
    if len(files) not in (0, expected):
        what = "two files, backbone,heads" if expected == 2 else "one file"
        raise ValueError(f"the weights of {name} are {what}, but {len(files)} are given: '{file}'.")
    if name.startswith("lpips_"):
        return _lpips(name.removeprefix("lpips_"), files or (None, None))
    only = files[0] if files else None
    if name in ("vgg16", "vgg19"):
        return (_vgg16 if name == "vgg16" else _vgg19)(only)
    return _maps(name, only)


def check_pictures(loss: Perceptual, name: str, shape: tuple[int, ...]) -> None:
    """Raises an OptionError unless the perceptual loss `name` takes pictures of this shape, [H, W, C]."""
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    try:
        jax.eval_shape(loss.distance, loss.shapes, images, images)
    except ValueError as error:
        raise OptionError(
            "perceptual",
            name,
            f"the network does not take the pictures of the data ({str(error).rstrip('.')})",
            {"perceptual": "none"},
        ) from error


def _lpips(backbone: str, files: tuple[str | None, ...]) -> Perceptual:
    def distance(params, x, y):
        return jnp.mean(lpips.lpips(params, _colour(x), _colour(y), backbone))

    def load():
        named = zip(lpips.FILES[backbone], files, strict=True)
        tensors, heads = (_tensors((name,), file) for name, file in named)
        return lpips.convert(tensors, heads, backbone)

    return Perceptual(distance, lpips.shapes(backbone), load)


def _vgg16(file: str | None) -> Perceptual:
    module = vgg.VGG16(_VGG_MAPS)

    def distance(params, x, y):
        features = vgg.perceptual_features(params, _VGG_MAPS)
        return losses.perceptual(features, _colour(x), _colour(y))

    def load():
        return vgg.convert(module, _tensors(("vgg16",), file))

    return Perceptual(distance, _shapes(module), load)


def _vgg19(file: str | None) -> Perceptual:
    module = vgg.VGG19(tuple(_VGG19_WEIGHTS))

    def distance(params, x, y):
        features = vgg.perceptual_features(params, module.outputs, vgg.VGG19)
        pairs = zip(
            _VGG19_WEIGHTS.values(), features(_colour(x)), features(_colour(y)), strict=True
        )
        return jnp.asarray(sum(w * jnp.mean(jnp.abs(a - b)) for w, a, b in pairs))

    def load():
        return vgg.convert(module, _tensors(("vgg19",), file))

    return Perceptual(distance, _shapes(module), load)


def _maps(name: str, file: str | None) -> Perceptual:
    net = feature_net(name)
    if file is None and not net.files:
        raise ValueError(
            f"the weights of {name} are published at no address that is known here; give their file."
        )

    def distance(params, x, y):
        maps_of = partial(_last_maps, partial(net.apply, params))
        ours, theirs = (maps_of((_colour(images) + 1.0) * 127.5) for images in (x, y))
        total = jnp.float32(0.0)
        for a, b in zip(ours, theirs, strict=True):
            difference = lpips.unit_vectors(a) - lpips.unit_vectors(b)
            total += jnp.mean(jnp.sum(jnp.square(difference), axis=3))
        return total

    return Perceptual(
        distance, _shapes(_MODULES[name]), lambda: net.convert(_tensors(net.files, file))
    )


def _last_maps(apply: Callable, images: jax.Array) -> list[jax.Array]:
    """The last map [B, h, w, C] of each size h, w that a module returns while `apply` runs."""
    found = {}

    def record(call, args, kwargs, context):
        out = call(*args, **kwargs)
        is_map = isinstance(out, jax.Array) and out.ndim == 4 and max(out.shape[1:3]) > 1
        if context.method_name == "__call__" and is_map:
            found[out.shape[1:3]] = out
        return out

    with nn.intercept_methods(record):
        apply(images)
    return list(found.values())


def _shapes(module: nn.Module) -> PyTree:
    picture = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), picture)


def _tensors(names: tuple[str, ...], file: str | None):
    """The tensors of `file`, or of one of these published files if it is None."""
    try:
        if file is not None and (not names or weights.kind_of_file(file) in weights.UNPUBLISHED):
            return weights.load_file(file)[0]
        return weights.load(names, file)[0]
    except (OSError, ValueError) as error:
        raise OptionError(
            "perceptual_file",
            file or "",
            f"the weights of the perceptual network cannot be read ({str(error).rstrip('.')})",
            {"perceptual_file": "FILE"},
            {"perceptual": "none"},
        ) from error


def _colour(images: jax.Array) -> jax.Array:
    return jnp.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
