"""Feature networks as extractors, from pictures of any size to features.

The networks are those of `jaxgan.nets.features`; `jaxgan.weights` loads their published weights.
Protocols take the description of the features (name, resize, checksum) from the extractor.
"""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import weights
from jaxgan.metrics.features import WITHOUT_WEIGHTS, Extractor, extractor_for, how_to_quantise
from jaxgan.metrics.protocols import LPIPS
from jaxgan.metrics.resize import MODES, resize
from jaxgan.metrics.segmenter import NAME as SEGMENTER
from jaxgan.metrics.segmenter import open_segmenter
from jaxgan.nets.features import FeatureNet, by_name, lpips, networks
from jaxgan.options import OptionError

# Networks whose scores have published names (FID, IS), which are valid only with the published weights.
DEFINED_BY_WEIGHTS = ("inception",)

# The callback of `jaxgan.weights.load`: (published file, bytes received, total bytes or None).
Progress = Callable[[weights.Published, int, int | None], None]


class NetworkExtractor:
    """A feature network with its weights.

    Args:
      net: the network.
      variables: its weights, as returned by `net.convert`.
      checksum: SHA-256 of the weight file.
      mode: the resize mode, "tf1", "clean" or "torch"; the network's own if None.

    Call it with uint8 pictures [B, H, W, 1 or 3] of any size, or with float32 pictures [B, h, w, 3] of
    values 0 to 255 that already have the network's size (as from `resize_on_host`). One program
    is compiled for each size of pictures.
    """

    dtype = np.dtype(np.uint8)  # of the original pictures, also if resized ones are float32
    batch_size = 64  # takes half a GiB of activations in Inception

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
        """Computes features from pictures, including the resize; traceable, for use in larger programs."""
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
            pictures = len(shape) == 4 and shape[-1] in (1, 3)
            raise ValueError(
                f"{self.name} takes uint8 pictures [B, H, W, 1 or 3], but was given a batch"
                f" {batch.dtype} {list(shape)};"
                f" {how_to_quantise(batch.dtype) if pictures else 'give grey or RGB pictures'}"
            )


class LpipsDistance:
    """LPIPS of VGG-16 as an extractor: it has a distance of two pictures, and no features.

    Attributes:
      name, outputs, checksum: see `NetworkExtractor`; the checksums of both files.
    """

    name = LPIPS
    resize = "none"

    def __init__(self, progress: Progress | None = None):
        try:
            loaded = [weights.load(file, progress=progress) for file in lpips.FILES["vgg"]]
        except OSError as error:
            lead = ", or measure lengths in other features, which are not called PPL"
            raise OptionError(
                None, None, str(error), {"features": "random_conv"}, lead=lead
            ) from error
        (tensors, heads), checksums = zip(*loaded, strict=True)
        self.variables = jax.tree.map(jnp.asarray, lpips.convert(tensors, heads, "vgg"))
        self.outputs = {"distance": 1}
        self.checksum = " ".join(checksums)

    def __call__(self, batch) -> dict[str, jax.Array]:
        raise ValueError(f"{self.name} compares two pictures, and has no features of one.")

    def distance(self, one: jax.Array, other: jax.Array) -> jax.Array:
        """LPIPS of pictures in [-1, 1], [B, H, W, 1 or 3] -> [B]."""
        if one.shape[-1] == 1:
            one, other = (jnp.repeat(x, 3, axis=-1) for x in (one, other))
        return lpips.lpips(self.variables, one, other, "vgg")


def network_extractor(
    name: str,
    file: str | Path | None = None,
    mode: str | None = None,
    progress: Progress | None = None,
) -> NetworkExtractor:
    """Returns the feature network called `name`, with its published weights.

    Args:
      name: one of `jaxgan.nets.features.networks()`.
      file: a file with the weights, for machines without internet access and for networks without
        published weights; if None, the published file is downloaded once. A published file is verified
        by its checksum; an npz or safetensors file is a custom one, of which only the hash is stated.
      mode: the resize mode; the network's own if None.
      progress: the progress callback of the download, as in `jaxgan.weights.load`.
    """
    net = by_name(name)
    if file is None and not net.files:
        raise OptionError(
            None,
            None,
            f"jaxgan has no download address for the weights of {name}; give their file",
            {"train.weights": "FILE"},
        )
    kind = None if file is None else weights.kind_of_file(file)
    own = kind in weights.UNPUBLISHED
    if own and name in DEFINED_BY_WEIGHTS:
        raise ValueError(
            f"{file} is {kind}, which is not a published file of {name}; its scores"
            f" are defined by the published weights, so give one of these files: "
            f"{', '.join(weights.PUBLISHED[published].file for published in net.files)}"
        )
    if own or not net.files:
        assert file is not None, "without a file, the published one is loaded"
        tensors, checksum = weights.load_file(file)
    else:
        tensors, checksum = _load(net, file, progress)
    return NetworkExtractor(net, net.convert(tensors), checksum, mode)


def _load(net: FeatureNet, file: str | Path | None, progress: Progress | None):
    """(tensors, checksum) of a published file: `file`, or the one in the cache, which is downloaded if missing."""
    try:
        return weights.load(net.files, file, progress=progress)
    except OSError as error:
        if file is not None:
            raise
        lead = ", or give this file itself"
        raise OptionError(None, None, str(error), {"train.weights": "FILE"}, lead=lead) from error


def open_extractor(
    name: str,
    shape: tuple[int, ...],
    file: str | Path | None = None,
    mode: str | None = None,
    progress: Progress | None = None,
) -> Extractor:
    """Returns the extractor called `name` for examples of the given shape, with or without weights.

    Raises:
      ValueError: no features have this name, or `file`, `mode` or `shape` does not apply to them.

    >>> open_extractor("random_conv", (32, 32, 3)).name
    'random_conv'
    """
    if name == LPIPS:
        if file is not None:
            raise ValueError(f"{name} takes two published files; leave out the weight file")
        return LpipsDistance(progress)
    if name == SEGMENTER:
        if mode is not None:
            raise ValueError(f"{name} does not resize pictures; leave out the resize {mode!r}")
        return open_segmenter(shape, file)
    if name in networks():
        if len(shape) != 3:
            raise OptionError(
                None,
                None,
                f"{name} takes pictures [H, W, C], not points {list(shape)}; points are their own features, as in the"
                " protocol 'quick'",
                {"features": "points"},
            )
        return network_extractor(name, file, mode, progress)
    if name not in WITHOUT_WEIGHTS:
        known = [*WITHOUT_WEIGHTS, SEGMENTER, *sorted(networks())]
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else ""
        there = ", ".join(known)
        raise ValueError(f"no features are called {name!r}; {hint or f'there are {there}'}")
    if file is not None:
        raise ValueError(f"{name} has no weights; leave out the weight file")
    if mode is not None:
        raise ValueError(f"{name} does not resize pictures; leave out the resize {mode!r}")
    return extractor_for(shape, name)
