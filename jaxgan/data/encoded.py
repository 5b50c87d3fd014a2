"""Sets of picture files (JPEG, PNG, ...), in any kind of storage."""

import dataclasses
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np
from PIL import UnidentifiedImageError

from jaxgan.data import pictures
from jaxgan.data.options import FileOptions, Progress
from jaxgan.data.source import (
    ArraySource,
    Batch,
    Broken,
    Column,
    Source,
    digest,
    evenly,
    spec_of,
    summarise,
)
from jaxgan.options import OptionError
from jaxgan.spec import Field

log = logging.getLogger("jaxgan.data")

# A set whose decoded pictures take no more than this is decoded once, into memory.
CACHE_BYTES = 2**30

# What is read of picture files to identify a set: the beginnings of so many of them.
SAMPLED, SAMPLED_BYTES = 1000, 2**20

# Broken pictures named one by one in the log; after that only counted.
MAX_NAMED = 20


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Picture files before they are decoded.

    Attributes:
      where: name of the set in messages, such as "folder pics".
      names: of the pictures, in the order of the source.
      read: opens picture i; called from several threads at once.
      stamp: a text for picture i that differs if its file has changed; it does not read the file.
      size: of the file of picture i, in bytes.
      columns: {name: field of all pictures beside the pixels}, such as "label".
    """

    where: str
    names: Sequence[str]
    read: Callable[[int], BinaryIO]
    stamp: Callable[[int], str]
    size: Callable[[int], int]
    columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)

    def contents(self, indices: Iterable[int]) -> Iterator[np.ndarray | str]:
        """What identifies the pictures `indices`, wherever they are stored.

        It consists of the names below the folder that holds all of them, the sizes of the files, and the first
        `SAMPLED_BYTES` of at most `SAMPLED` files, which are spread evenly.
        """
        chosen = [int(i) for i in indices]
        inner = below_common([self.names[i] for i in chosen])
        yield "\n".join(f"{name} {self.size(i)}" for name, i in zip(inner, chosen, strict=True))

        def start(i: int) -> np.ndarray:
            with self.read(i) as file:
                return np.frombuffer(file.read(SAMPLED_BYTES), np.uint8)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(start, [chosen[k] for k in evenly(len(chosen), SAMPLED)])


def below_common(names: Sequence[str]) -> list[str]:
    """Paths below the innermost folder that holds all of them.

    >>> below_common(["pics/train/a/1.png", "pics/train/b/1.png"])
    ['a/1.png', 'b/1.png']
    """
    paths = [tuple(name.split("/")) for name in names]
    depth = len(common_folder(paths))
    return ["/".join(parts[depth:]) for parts in paths]


def common_folder(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The innermost folder that holds all of these files."""
    # The first and the last in the order of the alphabet have no more in common than all.
    first, last = min(paths)[:-1], max(paths)[:-1]
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return tuple(name for name, _ in same)


@dataclasses.dataclass(frozen=True)
class _Reading:
    """The result of reading a picture: its size and whether it is grey, or why it is broken."""

    size: tuple[int, int] = (0, 0)
    grey: bool = False
    reason: str = ""


def open_encoded(files: Encoded, options: FileOptions, progress: Progress) -> Source:
    """A source over `files`: in memory where the decoded set fits, else decoding at each access.

    A set in memory is decoded here, so every broken picture is found here. Of a larger set only the
    headers are read here; if a picture turns out to be broken later, the log names it and the next
    good one replaces it, so that all other positions stay the same (with `options.strict`, an error
    is raised).
    """
    size = (options.resolution,) * 2 if options.resolution else _first_size(files)
    shape = (*size, options.channels or 3)
    store = None
    if len(files.names) * int(np.prod(shape)) <= CACHE_BYTES:
        store = np.empty((len(files.names), *shape), np.uint8)

    def read(i: int) -> _Reading:
        try:
            with files.read(i) as file:
                if store is None:
                    height_width, grey = pictures.header(file)
                    return _Reading(size if options.resolution else height_width, grey)
                pixels = pictures.decode(file, options.resolution)
        except Exception as error:  # Decoders of dozens of formats raise anything.
            return _Reading(reason=reason_of(error))
        if pixels.shape[:2] == size:
            store[i] = pictures.to_channels(pixels, shape[2])
        return _Reading(pixels.shape[:2], pixels.shape[2] == 1)

    readings = _in_threads(read, len(files.names), progress)
    good, broken = _sort_out(files, readings, options.strict)
    _check_sizes(files, readings, good, size)
    channels = options.channels or (1 if all(readings[i].grey for i in good) else 3)
    if store is None:
        return DecodingSource(files, good, broken, (*size, channels), options)
    store = store if len(good) == len(store) else store[good]
    columns = {name: column.take(good) for name, column in files.columns.items()}
    return ArraySource(
        np.ascontiguousarray(store[..., :channels]),
        columns=columns,
        broken=broken,
        name=files.where,
        unit="pictures",
        contents=lambda: _contents(files, good, columns),
    )


def _contents(
    files: Encoded, indices: Iterable[int], columns: Mapping[str, Column]
) -> Iterator[np.ndarray | str]:
    """`Source.contents` of these pictures, with the values of columns."""
    yield from files.contents(indices)
    yield from (column.values for column in columns.values())


class BadData(OptionError):
    """An error in the files themselves, found at opening or later; a fix may change an option."""

    def __init__(self, problem: str, *fixes: Mapping[str, Any], lead: str = ""):
        super().__init__(None, None, problem, *fixes, lead=lead)


class BadLabels(BadData):
    """The labels of a set cannot be used; the set can be opened without them."""

    def __init__(self, problem: str):
        super().__init__(problem, {"labels": False}, lead=", or leave them out")


class SizesDiffer(BadData):
    """The pictures of a set differ in size, and no resolution is set."""


class FittedSource(Source):
    """Pictures of any size, decoded at each access and fitted by a given function.

    Args:
      files: the pictures. A broken one raises an error that names it; none is skipped.
      fit: uint8 [H, W, C] -> an array of shape `shape`.
      shape: of what `fit` returns; its channels, 1 or 3, are those of the pictures too.
    """

    def __init__(
        self, files: Encoded, fit: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]
    ):
        self._files, self._fit = files, fit
        self.spec = spec_of(Field("image", shape), files.columns, len(files.names))
        self.summary = summarise(files.where, self.spec, "pictures")

    def fingerprint(self) -> str:
        stamps = (f"{name} {self._files.stamp(i)}" for i, name in enumerate(self._files.names))
        columns = (column.values for column in self._files.columns.values())
        return digest([str(self.spec.shape), *stamps, *columns])

    def contents(self) -> Iterable[np.ndarray | str]:
        return _contents(self._files, range(len(self)), self._files.columns)

    def gather(self, indices: np.ndarray) -> Batch:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            images = list(pool.map(self._read, map(int, indices)))
        columns = {name: column.values[indices] for name, column in self._files.columns.items()}
        return {"image": np.stack(images), **columns}

    def _read(self, index: int) -> np.ndarray:
        try:
            with self._files.read(index) as file:
                picture = pictures.to_channels(pictures.decode(file), self.spec.shape[-1])
        except Exception as error:  # Decoders of dozens of formats raise anything.
            name = self._files.names[index]
            raise ValueError(
                f"{self._files.where}: picture {name} is broken ({reason_of(error)}): repair or remove it"
            ) from error
        return self._fit(picture)


class DecodingSource(Source):
    """A set of pictures too large for memory, decoded at each access."""

    def __init__(
        self,
        files: Encoded,
        good: np.ndarray,
        broken: Broken,
        shape: tuple[int, int, int],
        options: FileOptions,
    ):
        self._files, self._good, self._options = files, good, options
        self._columns = {name: column.take(good) for name, column in files.columns.items()}
        self._warned: set[int] = set()
        self.spec = spec_of(Field("image", shape), self._columns, len(good))
        self.broken = broken
        self.summary = summarise(files.where, self.spec, "pictures", broken)

    def fingerprint(self) -> str:
        shape = str((self.spec.shape, self._options.resolution))
        stamps = (f"{self._files.names[i]} {self._files.stamp(i)}" for i in self._good)
        return digest([shape, *stamps, *(column.values for column in self._columns.values())])

    def column(self, name: str) -> np.ndarray | None:
        return self._columns[name].values if name in self._columns else None

    def contents(self) -> Iterable[np.ndarray | str]:
        return _contents(self._files, self._good, self._columns)

    def gather(self, indices: np.ndarray) -> Batch:
        images = np.empty((len(indices), *self.spec.shape), np.uint8)
        indices = np.array([self._decode(int(i), images[row]) for row, i in enumerate(indices)])
        columns = {name: column.values[indices] for name, column in self._columns.items()}
        return {"image": images, **columns}

    def _decode(self, index: int, target: np.ndarray) -> int:
        """Writes picture `index`, or the next good one, to `target`; returns its index."""
        for candidate in (*range(index, len(self)), *range(index)):
            try:
                with self._files.read(int(self._good[candidate])) as file:
                    pixels = pictures.decode(file, self._options.resolution)
                target[:] = pictures.to_channels(pixels, target.shape[-1])
                return candidate
            except Exception as error:  # As above.
                self._report(candidate, error)
        raise BadData(
            f"{self._files.where}: none of its pictures can be decoded any more; if they were removed, copy the set"
            " again"
        )

    def _report(self, index: int, error: Exception) -> None:
        name = self._files.names[int(self._good[index])]
        if self._options.strict:
            raise _broken(self._files.where, name, reason_of(error)) from error
        if index not in self._warned:
            self._warned.add(index)
            text = "%s: picture %s is broken (%s); the next good one replaces it"
            log.warning(text, self._files.where, name, reason_of(error))


def _first_size(files: Encoded) -> tuple[int, int]:
    """(height, width) of the first picture that can be decoded."""
    for i in range(len(files.names)):
        try:
            with files.read(i) as file:
                return pictures.decode(file).shape[:2]
        except Exception:  # Reported later, when all are read.
            continue
    return (1, 1)


def _in_threads(read: Callable[[int], _Reading], count: int, progress: Progress) -> list[_Reading]:
    """[read(0), ..., read(count - 1)], computed by all cores (Pillow decodes without the GIL)."""
    chunk = max(1, min(64, count // 64))
    readings: list[_Reading] = []
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        starts = range(0, count, chunk)
        work = [
            pool.submit(
                lambda start: [read(i) for i in range(start, min(start + chunk, count))], start
            )
            for start in starts
        ]
        for future in work:
            readings += future.result()
            progress(len(readings), count)
    finally:
        # Stops at once on Ctrl-C, without reading the rest of a large set.
        pool.shutdown(cancel_futures=True)
    return readings


def _sort_out(files: Encoded, readings: list[_Reading], strict: bool) -> tuple[np.ndarray, Broken]:
    """(indices of the good pictures, names and reasons of the broken ones); raises if these are not allowed."""
    bad = [i for i, one in enumerate(readings) if one.reason]
    if bad and (strict or len(bad) == len(readings)):
        name, reason = files.names[bad[0]], readings[bad[0]].reason
        if len(bad) == len(readings):
            raise ValueError(
                f"{files.where}: all of its {len(bad):,} pictures are broken, the first is {name} ({reason}); repair"
                " them, or copy the set again"
            )
        raise _broken(files.where, name, reason, len(bad) - 1)
    broken = tuple((files.names[i], readings[i].reason) for i in bad)
    for name, reason in broken[:MAX_NAMED]:
        log.warning("%s: skipped broken picture %s (%s)", files.where, name, reason)
    if len(broken) > MAX_NAMED:
        log.warning("%s: skipped %d more broken pictures", files.where, len(broken) - MAX_NAMED)
    return np.array([i for i, one in enumerate(readings) if not one.reason], np.int64), broken


def _check_sizes(
    files: Encoded, readings: list[_Reading], good: np.ndarray, size: tuple[int, int]
) -> None:
    for i in good:
        if readings[i].size != size:
            first = next(files.names[k] for k in good if readings[k].size == size)
            (height, width), (other_height, other_width) = size, readings[i].size
            raise SizesDiffer(
                f"{files.where}: its pictures differ in size ({first} is {height}x{width}, "
                f"{files.names[i]} is {other_height}x{other_width}), and no resolution is set",
                {"resolution": min(size)},
            )


def _broken(where: str, name: str, reason: str, others: int = 0) -> BadData:
    more = f" and {others:,} more" if others else ""
    return BadData(
        f"{where}: picture {name} is broken ({reason}){more}; repair or remove it",
        {"strict": False},
        lead=", or skip broken ones",
    )


def reason_of(error: Exception) -> str:
    """Why a picture is broken, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that Pillow can read"
    if isinstance(error, MemoryError):
        return "it does not fit into memory; save it smaller"
    text = str(error).strip().rstrip(".")
    return text[:1].lower() + text[1:] or type(error).__name__
