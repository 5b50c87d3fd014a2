"""Feature networks: what scores look through, and perceptual losses too.

A network here is a `FeatureNet`: how pictures are made ready for it, its Linen forward pass, and
how the tensors of its published file become its variables. Where the file comes from is the
business of `jaxgan.weights`, resizing and batching that of `jaxgan.metrics`. A module of this
package lists its networks in `NETWORKS`; a name is looked up through `by_name`.
"""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

Tensors = Mapping[str, np.ndarray]  # as the published file names them
Variables = Mapping[str, Any]  # as `flax.linen.Module.apply` takes them


@dataclasses.dataclass(frozen=True)
class FeatureNet:
    """One published feature network.

    Attributes:
      name: also part of every score's name (`fd_cifar10_resnet56`).
      outputs: what `apply` returns, each with its size per picture: "features" always, "logits" for
        a classifier, others where a score asks for them.
      size: (height, width) that pictures are resized to; None where they are taken as they are.
      resize: the mode the network's users agreed on, "tf1", "clean" or "torch".
      apply: (variables, float32 pictures [B, H, W, 3] of values 0 to 255) -> {output: float32 [B, size]}.
        Normalising belongs to it. At full float32 precision on every device.
      convert: (tensors of the published file) -> variables; names what is missing or misshapen.
      files: the files of `jaxgan.weights` that it can be loaded from, the first by default.
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
