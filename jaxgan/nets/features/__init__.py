"""Feature networks of scores and perceptual losses.

A network here is a `FeatureNet`: its input size and resize mode, its Linen forward pass, and the conversion of the
tensors of its published file to variables. `jaxgan.weights` fetches the file; `jaxgan.metrics` resizes and batches the
pictures. Each module of this package lists its networks in `NETWORKS`; `by_name` returns the network of a name.
"""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

Tensors = Mapping[str, np.ndarray]  # by their names in the published file
Variables = Mapping[str, Any]  # the argument of `flax.linen.Module.apply`


@dataclasses.dataclass(frozen=True)
class FeatureNet:
    """One published feature network.

    Attributes:
      name: also part of the names of its scores (`fd_cifar10_resnet56`).
      outputs: outputs of `apply` and their size per picture: "features" always, "logits" for a
        classifier, others if a score needs them.
      size: (height, width) that pictures are resized to; None for no resizing.
      resize: the resize mode of the published scores, "tf1", "clean" or "torch".
      apply: (variables, float32 pictures [B, H, W, 3] of values 0 to 255) -> {output: float32 [B, size]}.
        It includes the normalisation of pictures, and uses full float32 precision on every device.
      convert: (tensors of the published file) -> variables; raises if a tensor is missing or has another shape.
      files: the files of `jaxgan.weights` that it can be loaded from; the first is the default.
    """

    name: str
    outputs: Mapping[str, int]
    size: tuple[int, int] | None
    resize: str
    apply: Callable[[Variables, jax.Array], dict[str, jax.Array]]
    convert: Callable[[Tensors], Variables]
    files: tuple[str, ...] = ()


@functools.cache
def networks() -> dict[str, FeatureNet]:
    """Every feature network by its name."""
    modules = (
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    )
    return {net.name: net for module in modules for net in getattr(module, "NETWORKS", ())}


def by_name(name: str) -> FeatureNet:
    """The feature network called `name`."""
    if name not in networks():
        raise ValueError(
            f"no feature network is called {name!r}; there are {', '.join(sorted(networks()))}"
        )
    return networks()[name]
