"""Summaries of streams of examples: moments, and arrays if a score needs them."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from jaxgan.metrics.features import Extractor
from jaxgan.metrics.moments import Moments
from jaxgan.metrics.paired import MEASURES

# The batch size for extractors without a `batch_size`.
BATCH_SIZE = 256

# The name of an output besides those of the extractor: the unchanged examples.
IMAGE = "image"


class Needs(NamedTuple):
    """The statistics to keep: outputs of an extractor, as moments or as arrays.

    Attributes:
      moments: outputs of which only count, mean and scatter are kept; D x D each.
      arrays: outputs that are kept for every example; N x D each. `IMAGE` means the examples themselves, a name of
        `paired.MEASURES` that measure of each transform and its real example.
    """

    moments: frozenset[str] = frozenset()
    arrays: frozenset[str] = frozenset()

    def union(self, other: Self) -> Self:
        return type(self)(self.moments | other.moments, self.arrays | other.arrays)


@dataclasses.dataclass(frozen=True)
class Summary:
    """The statistics of a stream of examples.

    Attributes:
      count: number of examples.
      dtype: dtype of the stored examples: uint8 for pictures.
      moments: moments by output.
      arrays: float32 [N, D] by output; the examples themselves under `IMAGE`.
      labels: int32 [N] if the examples had labels and any arrays are kept, else None.
    """

    count: int
    dtype: np.dtype
    moments: Mapping[str, Moments]
    arrays: Mapping[str, np.ndarray]
    labels: np.ndarray | None = None


class Features(NamedTuple):
    """The outputs of an extractor for one batch.

    Attributes:
      outputs: float32 [B, D] by name, on the device or on the host.
      mask: bool [B], False for padding.
      labels: int32 [B], or None.
      dtype: dtype of the examples.
      positions: int64 [B], the positions of the examples in the set, as devices and processes work on
        different parts of it; None if batches are in order.
    """

    outputs: Mapping[str, Any]
    mask: np.ndarray
    labels: np.ndarray | None
    dtype: np.dtype
    positions: np.ndarray | None = None


def summarise(
    batches: Iterable,
    extractor: Extractor,
    num: int | None,
    kind: str,
    needs: Needs,
    *,
    batch_size: int | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
    offset: int = 0,
) -> Summary:
    """Computes the requested statistics of the first `num` examples of a stream.

    Args:
      batches: iterable of batches of any sizes: dicts with "image" and optionally "label", or arrays;
        uint8 [B, H, W, C] for pictures, float32 [B, D] for points. No more batches are read than needed.
      extractor: the feature extractor.
      num: number of examples; fewer in the stream is an error. None uses all.
      kind: the name of the examples in errors ("real", "fake").
      needs: the statistics to keep. Without arrays, nothing of size N x D is stored.
      batch_size: batch size of the extractor's one compiled program, at most `num`; a last partial
        batch is padded and masked, never dropped. If None, the extractor's own `batch_size`.
      sharding: the sharding of batches; its first axis must divide `batch_size`.
      offset: the position of the first example of this process, if JAX runs in several processes and
        each has a part of the examples. Each process returns the summary of all.
    """

    rows: int = batch_size if batch_size else getattr(extractor, "batch_size", BATCH_SIZE)
    devices = 1 if sharding is None else sharding.num_devices
    if num is not None and num < rows:
        rows = -(-num // devices) * devices

    def features() -> Iterator[Features]:
        start = offset
        for images, labels, mask in _rebatch(batches, num, kind, rows):
            positions = np.arange(start, start + len(mask))
            outputs: Mapping[str, Any] = extractor(_place(images, sharding))
            if IMAGE in needs.arrays:
                outputs = {**outputs, IMAGE: images}
            dtype = getattr(extractor, "dtype", images.dtype)
            yield Features(outputs, mask, labels, dtype, positions)
            start += len(mask)

    return collect(features(), extractor, kind, needs)


def collect(features: Iterable[Features], extractor: Extractor, kind: str, needs: Needs) -> Summary:
    """As `summarise`, from outputs of the extractor.

    If JAX runs in several processes, all of them must call this function, each with its part of the
    examples (and their `positions`), and each returns the summary of all.
    """
    kept = _Kept(extractor, kind, needs)
    waiting = None  # the device computes one batch while the host sums the previous one
    for batch in features:
        if waiting is not None:
            kept.add(waiting)
        waiting = batch
    if waiting is not None:
        kept.add(waiting)
    return kept.summary()


class _Kept:
    """Accumulates a summary batch by batch."""

    def __init__(self, extractor: Extractor, kind: str, needs: Needs):
        self.extractor, self.kind, self.needs = extractor, kind, needs
        sizes = extractor.outputs
        self.count, self.dtype = 0, np.dtype(np.uint8)
        self.moments = {name: Moments.empty(sizes[name]) for name in needs.moments}
        self.arrays: dict[str, list[np.ndarray]] = {name: [] for name in needs.arrays}
        self.labels: list[np.ndarray] | None = []
        self.positions: list[np.ndarray] = []

    def add(self, batch: Features) -> None:
        rows = int(batch.mask.sum())
        for name in self.needs.moments | self.needs.arrays:
            values = self.check(name, batch.outputs, batch.mask)
            if name in self.moments:
                self.moments[name] = self.moments[name].merge(Moments.of(values))
            if name in self.arrays:
                self.arrays[name].append(values)
        if self.labels is not None and batch.labels is not None:
            self.labels.append(batch.labels[batch.mask].astype(np.int32))
        else:
            self.labels = None
        self.positions.append(
            np.arange(self.count, self.count + rows)
            if batch.positions is None
            else batch.positions[batch.mask]
        )
        self.count += rows
        self.dtype = batch.dtype

    def check(self, name: str, outputs: Mapping[str, Any], mask: np.ndarray) -> np.ndarray:
        """Returns the unpadded rows of an output; raises an error if shape or values are invalid."""
        if name == IMAGE:
            return np.asarray(outputs[name])[mask]
        size = 1 if name in MEASURES else self.extractor.outputs[name]
        if name not in outputs or outputs[name].shape != (len(mask), size):
            found = f"an array {list(outputs[name].shape)}" if name in outputs else "none"
            raise ValueError(
                f"features {self.extractor.name!r} must return {name!r} with {size} numbers per example, but"
                f" returned {found} for {len(mask)} examples"
            )
        values = np.asarray(outputs[name], np.float32)[mask]
        if not np.isfinite(values).all():
            raise ValueError(
                f"the features of the {self.kind} examples contain NaN or Inf; check for NaN in the"
                " examples themselves, or for weights of a different network"
            )
        return values

    def summary(self) -> Summary:
        """Merges the statistics of all processes, with examples in the order of their positions."""
        if not self.count and jax.process_count() == 1:
            raise ValueError(f"there are no {self.kind} examples")
        arrays = {name: np.concatenate(held) for name, held in self.arrays.items()}
        labels = np.concatenate(self.labels) if self.needs.arrays and self.labels else None
        moments = self.moments
        positions = np.concatenate(self.positions) if self.positions else np.zeros(0, np.int64)
        if jax.process_count() > 1:
            moments = {name: _merge_processes(m) for name, m in moments.items()}
            arrays = {name: _concatenate_processes(a) for name, a in arrays.items()}
            labels = None if labels is None else _concatenate_processes(labels)
            positions = _concatenate_processes(positions)
        if not (np.diff(positions) > 0).all():
            order = np.argsort(positions)
            arrays = {name: a[order] for name, a in arrays.items()}
            labels = None if labels is None else labels[order]
        return Summary(len(positions), self.dtype, moments, arrays, labels)


def _merge_processes(moments: Moments) -> Moments:
    """The moments of the examples of all processes; equal in every process."""
    total = Moments.empty(moments.mean.size)
    counts = _of_processes(np.array([moments.count]))
    means, scatters = _of_processes(moments.mean), _of_processes(moments.scatter)
    for (count,), mean, scatter in zip(counts, means, scatters, strict=True):
        total = total.merge(Moments(int(count), mean, scatter))
    return total


def _concatenate_processes(array: np.ndarray) -> np.ndarray:
    """The concatenated rows of all processes, whose numbers of rows may differ."""
    counts = _of_processes(np.array([len(array)]))[:, 0]
    padding = int(counts.max()) - len(array)
    padded = _of_processes(np.pad(array, [(0, padding)] + [(0, 0)] * (array.ndim - 1)))
    return np.concatenate([rows[:n] for rows, n in zip(padded, counts, strict=True)])


def everywhere(true: bool) -> bool:
    """Whether `true` holds in every process; every process must call this function."""
    return true if jax.process_count() == 1 else bool(_of_processes(np.array([true])).all())


def _of_processes(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, [process, ...], bit for bit."""
    from jax.experimental import multihost_utils

    # As bytes: without x64, JAX would convert float64 and int64 to 32 bits.
    array = np.ascontiguousarray(array)
    stacked = multihost_utils.process_allgather(array.view(np.uint8).reshape(-1))
    return np.asarray(stacked).reshape(-1).view(array.dtype).reshape(-1, *array.shape)


def _rebatch(
    batches: Iterable, num: int | None, kind: str, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray]]:
    """Yields the first `num` examples as (images [batch_size, ...], labels or None, mask [batch_size])."""
    held = _Held(kind, batch_size)
    taken = 0
    for batch in batches:
        images, labels = _image_and_label(batch)
        room = len(images) if num is None else num - taken
        images, labels = images[:room], None if labels is None else labels[:room]
        taken += len(images)
        yield from held.push(images, labels)
        if taken == num:
            break
    if num is not None and taken < num:
        raise ValueError(
            f"num_{kind} asks for {num} {kind} examples, but there were only {taken}; give more "
            "or ask for fewer, and compare only scores of equal numbers of examples"
        )
    yield from held.rest()


def _image_and_label(batch) -> tuple[np.ndarray, np.ndarray | None]:
    if not isinstance(batch, Mapping):
        return np.asarray(batch), None
    if batch.get("label") is None:
        return np.asarray(batch["image"]), None
    label, limits = np.asarray(batch["label"]), np.iinfo(np.int32)
    if label.ndim != 1:
        raise ValueError(
            f"labels must be a number for each example, not of shape {list(label.shape)}; give"
            f" {'labels[:, 0]' if label.shape[1:] == (1,) else 'labels.argmax(axis=1) of one-hot labels'}"
        )
    whole = np.issubdtype(label.dtype, np.integer)
    if not whole or (label.size and not limits.min <= label.min() <= label.max() <= limits.max):
        raise ValueError(
            f"labels must be whole numbers that int32 can hold, not {label.dtype} from {label.min()} to {label.max()}; "
            "number the classes from 0"
        )
    return np.asarray(batch["image"]), label


class _Held:
    """A buffer of examples that do not fill a batch yet."""

    def __init__(self, kind: str, batch_size: int):
        self.kind, self.batch_size = kind, batch_size
        self.images: list[np.ndarray] = []
        self.labels: list[np.ndarray] | None = []
        self.count = 0

    def push(self, images: np.ndarray, labels: np.ndarray | None):
        """Adds examples to the buffer and yields the batches that are full."""
        first = self.images[0] if self.images else images
        if images.shape[1:] != first.shape[1:] or images.dtype != first.dtype:
            raise ValueError(
                f"the {self.kind} batches differ: {first.dtype} {list(first.shape[1:])} and then "
                f"{images.dtype} {list(images.shape[1:])}"
            )
        self.images.append(images)
        self.labels = None if self.labels is None or labels is None else [*self.labels, labels]
        self.count += len(images)
        if self.count < self.batch_size:
            return
        images = np.concatenate(self.images)
        labels = None if self.labels is None else np.concatenate(self.labels)
        whole = self.count - self.count % self.batch_size
        for start in range(0, whole, self.batch_size):
            part = slice(start, start + self.batch_size)
            yield (
                images[part],
                None if labels is None else labels[part],
                np.ones(self.batch_size, bool),
            )
        self.images, self.count = [images[whole:]], self.count - whole
        self.labels = None if labels is None else [labels[whole:]]

    def rest(self):
        """Yields the remaining examples as a batch that is padded with zeros."""
        if not self.count:
            return
        padding = self.batch_size - self.count
        images = np.concatenate(self.images)
        labels = None if self.labels is None else np.concatenate(self.labels)
        yield (
            np.pad(images, [(0, padding)] + [(0, 0)] * (images.ndim - 1)),
            None if labels is None else np.pad(labels, (0, padding)),
            np.arange(self.batch_size) < self.count,
        )


def _place(batch: np.ndarray, sharding: jax.sharding.NamedSharding | None):
    if sharding is None:
        return batch
    try:
        sharding.shard_shape(batch.shape)
    except ValueError as error:
        raise ValueError(
            f"batch_size = {len(batch)} cannot be sharded over the devices as {sharding.spec} on "
            f"{dict(sharding.mesh.shape)}"
        ) from error
    return jax.device_put(batch, sharding)
