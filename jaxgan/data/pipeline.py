"""From a source to batches: infinite, shuffled, and a pure function of the position."""

import functools
import os
import sys
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from jaxgan.data import pictures
from jaxgan.data.source import Batch, Source
from jaxgan.data.workers import Workers
from jaxgan.options import OptionError

# Batches that are prefetched, beyond one per thread.
AHEAD = 2
MOST_THREADS = 16

# The fields of a plan, see `Pipeline.plan`.
INDEX, MIRRORED = "index", "mirrored"

# The spawn key (STAGES, k) is that of stage k, apart from the keys (0,) to (2,) of the streams of stage 0.
STAGES = 3


class Pipeline:
    """Batches of a source, in an order that depends only on the seed.

    Training draws images 0, 1, 2, ... without end. Image p belongs to epoch p // N and is the entry
    p % N of that epoch's permutation. Whether it is mirrored and where it is cropped are random
    functions of (seed, p).
    Fields of pixels (pictures, conditions, label maps) are mirrored and cropped together; nothing else is changed.
    Batch k of size B holds the images from k B to (k + 1) B - 1: it may span two epochs, no image
    is dropped, and a run that starts at any batch gets exactly the batches of an uninterrupted run.

    >>> from jaxgan.data import ArraySource
    >>> pipeline = Pipeline(ArraySource(np.arange(5, dtype=np.float32)[:, None]), seed=0)
    >>> sorted(pipeline.batch(0, 5)["image"][:, 0].tolist())
    [0.0, 1.0, 2.0, 3.0, 4.0]
    >>> with_prefetch = pipeline.iterate(start=7, batch_size=2)
    >>> bool((next(with_prefetch)["image"] == pipeline.batch(7, 2)["image"]).all())
    True
    >>> with_prefetch.close()
    """

    def __init__(
        self,
        source: Source,
        seed: int,
        *,
        flip: bool = False,
        jitter: int = 0,
        resolution: int | None = None,
        shard: tuple[int, int] = (0, 1),
        stage: int = 0,
    ):
        """Checks the options, but reads no examples.

        Args:
          source: of the examples.
          seed: of order, mirroring and cropping, any whole number from 0.
          flip: mirror each image left to right with probability 1/2.
          jitter: enlarge each image by this many pixels in height, and in proportion in width, then
            crop it back to its size at a random position; 0 to leave it as it is. Label maps take
            the nearest pixel's index.
          resolution: reduce pictures to this many pixels a side by averaging, and label maps by
            taking one pixel of each block, for a stage of progressive growing; the source's side
            must be a multiple of it. None keeps the size.
          stage: index of the stage of training; each has an order of its own. The streams of (seed, stage) are
            independent: stage 1 of seed 0 is not stage 0 of seed 1.
          shard: (index, count) of this process among those that train together; each makes its own
            consecutive rows of the same global batch.
        """
        if (flip or jitter) and not source.spec.pictures:
            option, value, what = ("flip", flip, "mirrors") if flip else ("jitter", jitter, "crops")
            raise OptionError(
                option,
                value,
                f"it {what} pictures, and the data have none: {source.summary}",
                {option: type(value)(0)},
            )
        if jitter < 0:
            raise OptionError("jitter", jitter, "it must be at least 0", {"jitter": 0})
        self._factor = 1 if resolution is None else _factor(source, resolution)
        self.spec = source.spec.at(resolution)
        self.source, self.flip, self.jitter, self.shard = source, flip, jitter, shard
        # Independent streams from one seed.
        sequence = np.random.SeedSequence(seed, spawn_key=(STAGES, stage) if stage else ())
        order, mirror, crop = sequence.spawn(3)
        self._order = order.generate_state(2, np.uint64)
        self._remember()
        self._mirror = mirror.generate_state(2, np.uint64)
        self._crop = crop.generate_state(2, np.uint64)

    def _remember(self) -> None:
        """Keeps the orders of the last two epochs."""
        order = functools.partial(_permutation, self._order, len(self.source))
        self._permutation = functools.lru_cache(maxsize=2)(order)

    # For worker processes, to which a cache cannot be sent.
    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_permutation"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._remember()

    def batch(self, draw: int, batch_size: int) -> Batch:
        """This process's rows of batch number `draw`, [batch_size / processes, ...]."""
        first, rows = self._part(draw, batch_size)
        batch = self.source.gather(self._indices(first, rows))
        for name in self.spatial:
            pixels = batch[name]
            if self.jitter:
                self._enlarge_and_crop(pixels, first)
            pixels = self._reduced(pixels)
            # Last, so that a picture and its mirror image are the same picture in every respect.
            if self.flip:
                mirrored = self._flips(first, rows)
                pixels[mirrored] = pixels[mirrored, :, ::-1]
            batch[name] = pixels
        return batch

    def plan(self, draw: int, batch_size: int) -> Batch:
        """How `batch` is made of `examples`: {INDEX: of each row, int32 [B], MIRRORED: whether it is, bool [B]}.

        Without crops only, which change what an example is.
        """
        assert not self.jitter, "a crop is not a row of the examples"
        first, rows = self._part(draw, batch_size)
        mirrored = self._flips(first, rows) if self.flip else np.zeros(rows, bool)
        return {INDEX: self._indices(first, rows).astype(np.int32), MIRRORED: mirrored}

    def examples(self, batch_size: int = 1024) -> Iterator[Batch]:
        """All examples of the source in its order, reduced to the resolution of this pipeline."""
        for batch in self.source.batches(batch_size):
            yield {k: self._reduced(v) if k in self.spatial else v for k, v in batch.items()}

    @property
    def spatial(self) -> tuple[str, ...]:
        """The fields of pixels."""
        return tuple(name for name, field in self.source.spec.fields.items() if field.spatial)

    def _part(self, draw: int, batch_size: int) -> tuple[int, int]:
        """(number of the first image, number of images) of this process's rows of a batch."""
        rows = self._rows(batch_size)
        return draw * batch_size + self.shard[0] * rows, rows

    def _enlarge_and_crop(self, images: np.ndarray, first: int) -> None:
        """Enlarges the pictures or label maps from number `first` on, and crops them back, in place."""
        height, width = self.source.spec.shape[:2]
        enlarged = height + self.jitter, round(width * (height + self.jitter) / height)
        corners = self._corners(first, len(images), (enlarged[0] - height, enlarged[1] - width))
        for image, corner in zip(images, corners, strict=True):
            image[:] = pictures.jittered(image, enlarged, tuple(corner), (height, width))

    def _reduced(self, images: np.ndarray) -> np.ndarray:
        """Pictures or label maps at the resolution of this pipeline."""
        if self._factor == 1:
            return images
        return (_average if images.ndim == 4 else _pick)(images, self._factor)

    def iterate(
        self, start: int, batch_size: int, plans: bool = False, workers: int = 0
    ) -> grain.DatasetIterator[Batch] | Workers:
        """Yields `batch(start)`, `batch(start + 1)`, ... without end, or their plans, prefetched.

        `close()` it after use. An error in a thread or worker is raised by `next`.

        Args:
          start: number of the first batch.
          batch_size: of all processes that train together.
          plans: yield the plans.
          workers: worker processes that make the batches, each with one thread, which are the same as those of threads
            of this process; 0 for threads. A source in memory has none: each worker would have a copy of it.
        """
        self._rows(batch_size)
        make = functools.partial(self.plan if plans else self.batch, batch_size=batch_size)
        batches = grain.MapDataset.range(start, sys.maxsize).map(make)
        light = self.source.in_memory or plans
        if workers and not light:
            return Workers(batches, workers)
        threads = 1 if light else min(MOST_THREADS, usable_cores())
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + AHEAD)
        iterator = iter(batches.to_iter_dataset(options))
        iterator.start_prefetch()
        return iterator

    def _rows(self, batch_size: int) -> int:
        """Rows of a batch that this process makes."""
        if batch_size < 1 or batch_size % self.shard[1]:
            raise ValueError(
                f"a batch of {batch_size} cannot be shared equally by {self.shard[1]} processes: "
                "make the batch size a multiple of their number"
            )
        return batch_size // self.shard[1]

    def _indices(self, first: int, count: int) -> np.ndarray:
        """The indices in the source of images `first`, `first` + 1, ...: int64 [count]."""
        indices, done = np.empty(count, np.int64), 0
        while done < count:
            epoch, entry = divmod(first + done, len(self.source))
            part = self._permutation(epoch)[entry : entry + count - done]
            indices[done : done + len(part)] = part
            done += len(part)
        return indices

    def _flips(self, first: int, count: int) -> np.ndarray:
        """One random bit for each image from `first` on: bool [count]."""
        return (_words(self._mirror, first, count)[:, 0] >> np.uint64(63)).astype(bool)

    def _corners(self, first: int, count: int, largest: tuple[int, int]) -> np.ndarray:
        """For each image from `first` on, a row and a column from 0 to `largest`: int64 [count, 2]."""
        uniform = (_words(self._crop, first, count)[:, :2] >> np.uint64(11)) * 2.0**-53
        return (uniform * (np.array(largest) + 1)).astype(np.int64)


def usable_cores() -> int:
    """The cores that this process may use, which are fewer than the machine's where it is pinned to some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _words(key: np.ndarray, first: int, count: int) -> np.ndarray:
    """Four random words for each image from `first` on: uint64 [count, 4]."""
    # Philox yields four words for each (key, counter): one count per image.
    return np.random.Philox(key=key, counter=first).random_raw(4 * count).reshape(count, 4)


def _permutation(key: np.ndarray, size: int, epoch: int) -> np.ndarray:
    """The order of an epoch: sorts random words, at 0.1 microseconds an image.

    Grain's own shuffle walks through 65,536 indices or more, whatever the size: it takes 3
    microseconds for an image of a large set, 16 for one of the digits, 3,000 for one of five.
    """
    # Epochs are 2^64 counts apart in the stream, so they never overlap.
    words = np.random.Philox(key=key, counter=epoch << 64).random_raw(size)
    return np.argsort(words, kind="stable")


def _factor(source: Source, resolution: int) -> int:
    shape = source.spec.shape
    square = source.spec.pictures and shape[0] == shape[1]
    if not square or shape[0] % resolution or _uneven(source, shape[0] // resolution):
        raise OptionError(
            None,
            None,
            f"a stage trains at {resolution} pixels, and the size of the data must be a multiple: {source.summary}",
            {"resolution": resolution * max(1, round(shape[0] / resolution))},
        )
    return shape[0] // resolution


def _uneven(source: Source, factor: int) -> bool:
    """Whether a side of a field of pixels is not a multiple of the factor."""
    spatial = [field for field in source.spec.fields.values() if field.spatial]
    return any(side % factor for field in spatial for side in field.shape[:2])


def _pick(maps: np.ndarray, factor: int) -> np.ndarray:
    """The index at the centre of every factor x factor block: [B, H, W] to [B, H/f, W/f]."""
    return maps[:, factor // 2 :: factor, factor // 2 :: factor]


def _average(images: np.ndarray, factor: int) -> np.ndarray:
    """The mean of every factor x factor block, rounded: uint8 [B, H, W, C] to [B, H/f, W/f, C]."""
    b, h, w, c = images.shape
    blocks = images.reshape(b, h // factor, factor, w // factor, factor, c)
    return np.round(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
