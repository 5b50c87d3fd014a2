"""Feature networks as extractors: pictures of any size in, features out, each step stated.

The networks are those of `jaxgan.nets.features`, their published weights come through
`jaxgan.weights`. What a score says of its features (name, resize, checksum) is read off the
extractor here.
"""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import weights
from jaxgan.metrics.features import WITHOUT_WEIGHTS, Extractor, extractor_for
from jaxgan.metrics.resize import MODES, resize
from jaxgan.nets.features import FeatureNet, by_name, networks

# Whose scores have names of their own (FID, IS), which hold for the published weights only.
DEFINED_BY_WEIGHTS = ("inception",)

# As `jaxgan.weights.load` calls it: (published file, bytes had, bytes in all or None).
Progress = Callable[[weights.Published, int, int | None], None]


class NetworkExtractor:
    """A feature network with its weights.

    Args:
      net: the network.
      variables: its weights, as `net.convert` makes them.
      checksum: SHA-256 of the file that they come from.
      mode: how pictures are resized, "tf1", "clean" or "torch"; the network's own if None.

    Called with uint8 pictures [B, H, W, 1 or 3] of any size, or with float32 ones [B, h, w, 3] of
    values 0 to 255 that already have the network's size (`resize_on_host` makes such). One program
    is compiled for each size of pictures.
    """

    dtype = np.dtype(np.uint8)  # of pictures, however they come
    batch_size = 64  # of Inception, half a GiB on the way

    def __init__(
        self, net: FeatureNet, variables: Mapping[str, Any], checksum: str, mode: str | None = None
    ):
        self.net, self.checksum = net, checksum
        self.name, self.outputs = net.name, dict(net.outputs)
        if mode is not None and mode not in MODES:
            raise ValueError(f"no resize is called {mode!r}; there are {', '.join(MODES)}")
        self.resize = "none" if net.size is None else (mode or net.resize)
        self.variables = jax.tree.map(jnp.asarray, variables)
        self._apply = jax.jit(self.apply)

    def apply(self, variables, batch: jax.Array) -> dict[str, jax.Array]:
        """The whole way from pictures to features, for programs that go on from here."""
        if batch.dtype == jnp.uint8:
            batch = batch.astype(jnp.float32)
            if self.net.size is not None and batch.shape[1:3] != self.net.size:
                batch = resize(batch, self.net.size, self.resize)
        if batch.shape[-1] == 1:
            batch = jnp.repeat(batch, 3, axis=-1)
        return self.net.apply(variables, batch)

    def __call__(self, batch) -> dict[str, jax.Array]:
        self._check(batch)
        return self._apply(self.variables, batch)

    def _check(self, batch) -> None:
        shape = tuple(batch.shape)
        ready = batch.dtype == np.float32 and (self.net.size is None or shape[1:3] == self.net.size)
        if len(shape) != 4 or shape[-1] not in (1, 3) or not (batch.dtype == np.uint8 or ready):
            raise ValueError(
                f"{self.name} takes uint8 pictures [B, H, W, 1 or 3], but was given a batch"
                f" {batch.dtype} {list(shape)}; quantise with to_uint8 first"
            )


def network_extractor(
    name: str,
    file: str | Path | None = None,
    mode: str | None = None,
    progress: Progress | None = None,
) -> NetworkExtractor:
    """The feature network called `name`, with its published weights.

    Args:
      name: one of `jaxgan.nets.features.networks()`.
      file: a file with the weights, for machines without a network and for networks that are
        published nowhere; fetched (once) from its published address if None. A published file is
        held against its checksum; an npz or safetensors file is your own, and only its hash is stated.
      mode: how pictures are resized; the network's own way if None.
      progress: of fetching, as `jaxgan.weights.load` calls it.
    """
    net = by_name(name)
    if file is None and not net.files:
        raise ValueError(
            f"the weights of {name} are published at no address that jaxgan knows; give their file"
            " (--weights FILE)"
        )
    kind = None if file is None else weights.kind_of_file(file)
    own = kind in weights.UNPUBLISHED
    if own and name in DEFINED_BY_WEIGHTS:
        raise ValueError(
            f"{file} is {kind}, in which nobody publishes {name}; the scores that bear its name"
            f" are defined by its published weights, so give one of those files: "
            f"{', '.join(weights.PUBLISHED[published].file for published in net.files)}"
        )
    if own or not net.files:
        assert file is not None, "without a file, what is read is published"
        tensors, checksum = weights.load_file(file)
    else:
        tensors, checksum = weights.load(net.files, file, progress=progress)
    return NetworkExtractor(net, net.convert(tensors), checksum, mode)


def open_extractor(
    name: str,
    shape: tuple[int, ...],
    file: str | Path | None = None,
    mode: str | None = None,
    progress: Progress | None = None,
) -> Extractor:
    """The features called `name` for examples of that shape: a network, or one that needs no weights.

    Raises:
      ValueError: there are no such features, or what is given with them does not apply.

    >>> open_extractor("random_conv", (32, 32, 3)).name
    'random_conv'
    """
    if name in networks():
        if len(shape) != 3:
            raise ValueError(f"{name} looks at pictures [H, W, C], not at points {list(shape)}")
        return network_extractor(name, file, mode, progress)
    if name not in WITHOUT_WEIGHTS:
        close = difflib.get_close_matches(name, [*networks(), *WITHOUT_WEIGHTS], 1)
        hint = f"did you mean {close[0]!r}?" if close else ""
        there = ", ".join([*WITHOUT_WEIGHTS, *sorted(networks())])
        raise ValueError(f"no features are called {name!r}; {hint or f'there are {there}'}")
    if file is not None:
        raise ValueError(f"{name} has no weights, so no file of weights can be given (--weights)")
    if mode is not None:
        raise ValueError(f"{name} takes pictures as they are: leave out the resize {mode!r}")
    return extractor_for(shape, name)
