"""A prepared set: examples of any other source, written once by `jaxgan prepare --out`, which are read fastest."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from jaxgan.data import encoded, pictures, shards
from jaxgan.data.encoded import BadData
from jaxgan.data.options import LabelOptions, PictureOptions, Progress
from jaxgan.data.source import ArraySource, Batch, Source, digest, summarise
from jaxgan.data.together import in_memory
from jaxgan.options import MOST_SIDE, OptionError, option
from jaxgan.spec import Field, Spec

UNIT = "examples"
CHUNK = 256  # examples read between two reports of progress
# Records are copied to the fields of a batch in groups of so many bytes: a large one alone, while the cache has it.
CACHED_BYTES = 2**18


@dataclasses.dataclass(frozen=True)
class Options(PictureOptions, LabelOptions):
    path: str = option("", "folder that `jaxgan prepare --out` has written")
    split: str = option("train", "part of the set, as it was named when it was prepared")
    resolution: int = option(
        0,
        "side in pixels to which prepared pictures are cropped and reduced; 0 keeps their size",
        least=0,
        most=MOST_SIDE,
    )


def source(options: Options, progress: Progress) -> Source:
    """The split `options.split` of the prepared set in `options.path`, with all fields that it was prepared with.

    It is in memory if its examples take at most `jaxgan.data.encoded.CACHE_BYTES`, else read at each access. Pictures
    and label maps can be reduced further, and converted to other channels, as in the other sources. Files that are
    missing or truncated raise a `BadData` here, and damaged ones when they are read.
    """
    folder = _folder(options)
    manifest = _manifest(options, folder)
    if not manifest.spec.pictures:
        _check_points(options)
    read = RecordsSource(f"records {options.path}", folder, manifest, options)
    examples = shards.record_type(read.spec).itemsize
    if len(read) * examples > encoded.CACHE_BYTES:
        return read
    return _in_memory(read, progress)


def _folder(options: Options) -> Path:
    """The folder of the split."""
    if not options.path:
        raise OptionError(
            "path", "", "it must name a folder of `jaxgan prepare --out`", {"path": "PATH"}
        )
    root, folder = Path(options.path).expanduser(), shards.folder_of(options.path, options.split)
    if (folder / shards.MANIFEST).is_file():
        return folder
    if (folder / shards.UNFINISHED).is_file():
        raise BadData(
            f"records {options.path}: the split {options.split} is not complete; run the same `jaxgan prepare` again,"
            " which goes on"
        )
    splits = shards.splits_in(options.path)
    if splits:
        raise OptionError(
            "split",
            options.split,
            f"records {options.path} has only {', '.join(splits)}",
            *({"split": name} for name in splits),
        )
    if (root / shards.MANIFEST).is_file():
        above = {"path": str(root.parent), "split": root.name}
        raise OptionError("path", options.path, "that is the folder of one split", above)
    what = "that folder holds no prepared set" if root.is_dir() else "there is no such folder"
    raise OptionError(
        "path",
        options.path,
        f"{what}; write one by `jaxgan prepare --out`",
        *([{"data.name": "folder"}] if root.is_dir() else [{"path": "PATH"}]),
        lead=", or open it as pictures" if root.is_dir() else "",
    )


def _manifest(options: Options, folder: Path) -> shards.Manifest:
    """The manifest of a split, all of whose files are there."""
    try:
        manifest = shards.read_manifest(folder / shards.MANIFEST)
    except shards.BadManifest as error:
        raise BadData(str(error)) from error
    for shard in manifest.shards:
        path = folder / shard.file
        if not shard.is_in(folder):
            what = (
                f"has {path.stat().st_size:,} of {shard.bytes:,} bytes"
                if path.exists()
                else "is missing"
            )
            raise BadData(
                f"records {options.path}: {path} {what}; copy it again, or run the same `jaxgan prepare` again, which"
                " writes only what is missing"
            )
    return manifest


def _check_points(options: Options) -> None:
    """Raises if points are to be converted as pictures."""
    for name in ("resolution", "channels"):
        if getattr(options, name):
            problem = f"the examples of records {options.path} are points, not pictures"
            raise OptionError(name, getattr(options, name), problem, {name: 0})


class RecordsSource(Source):
    """A split of a prepared set, read at each access."""

    def __init__(self, where: str, folder: Path, manifest: shards.Manifest, options: Options):
        self.where, self._folder, self._manifest = where, folder, manifest
        self._resolution = options.resolution
        self._ends = np.cumsum([shard.records for shard in manifest.shards])
        self._open()
        self._type = shards.record_type(manifest.spec)
        fields = {
            name: _adapted(where, field, options) for name, field in manifest.spec.fields.items()
        }
        if not options.labels:
            fields.pop("label", None)
        self.spec = Spec(fields, manifest.spec.size)
        self.summary = summarise(where, self.spec, UNIT)

    def fingerprint(self) -> str:
        return digest([str(self.spec), self._manifest.identity])

    def contents(self) -> list[str]:
        return [self._manifest.identity]

    def gather(self, indices: np.ndarray) -> Batch:
        fields, step = self.spec.fields, max(1, CACHED_BYTES // self._type.itemsize)
        batch = {n: np.empty((len(indices), *f.shape), f.dtype) for n, f in fields.items()}
        for start in range(0, len(indices), step):
            rows = slice(start, start + step)
            table = np.frombuffer(b"".join(self._read(indices[rows])), self._type)
            for name, field in fields.items():
                batch[name][rows] = self._adapt(table[name], field)
        return batch

    def _read(self, indices: np.ndarray) -> Iterator[bytes]:
        """The records of the examples at `indices`."""
        numbers = np.searchsorted(self._ends, indices, "right")
        starts = np.concatenate([[0], self._ends])[numbers]
        for number, row in zip(numbers.tolist(), (indices - starts).tolist(), strict=True):
            try:
                # As a range of one: in 5 microseconds, where `read([row])`, which ArrayRecordDataSource uses, takes 45
                # and its `__getitems__` 50, since both start threads.
                (record,) = self._reader(number).read(row, row + 1)
            except (RuntimeError, IndexError, ValueError) as error:
                raise self._damaged(number, str(error)) from error
            if len(record) != self._type.itemsize:
                raise self._damaged(number, f"a record has {len(record)} bytes")
            yield record

    def _open(self) -> None:
        """Prepares the readers; each opens its file when it is first needed."""
        self._readers: list[ArrayRecordReader | None] = [None] * len(self._manifest.shards)
        self._lock = threading.Lock()

    def _reader(self, number: int) -> ArrayRecordReader:
        """The reader of a shard, for all threads."""
        reader = self._readers[number]
        if reader is not None:
            return reader
        with self._lock:
            if self._readers[number] is None:
                self._readers[number] = ArrayRecordReader(
                    str(self._folder / self._manifest.shards[number].file),
                    "readahead_buffer_size:0,max_parallelism:0",  # for random access
                    file_reader_buffer_size=2**15,
                )
            return self._readers[number]

    def _damaged(self, number: int, reason: str) -> BadData:
        path = self._folder / self._manifest.shards[number].file
        return BadData(
            f"{self.where}: {path} is damaged ({reason}); copy it again, or remove it and run the same `jaxgan"
            " prepare` again, which writes only what is missing"
        )

    # For worker processes: files are not sent, but opened anew.
    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_readers", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._open()

    def _adapt(self, values: np.ndarray, field: Field) -> np.ndarray:
        """The values of a field as the spec states them."""
        if field.kind == "image" and values.shape[1:] != field.shape:
            fitted = pictures.fit_array(values, self._resolution)
            return pictures.to_channels(fitted, field.shape[2])
        if field.kind == "label_map" and values.shape[1:] != field.shape:
            return pictures.fit_maps(values, self._resolution)
        return values


def _adapted(where: str, field: Field, options: Options) -> Field:
    """A field of the set with the resolution and the channels of the options."""
    if not field.spatial:
        return field
    height, width, *channels = field.shape
    side = options.resolution
    if side > min(height, width):
        raise OptionError(
            "resolution",
            side,
            f"{where} was prepared with {height}x{width} pixels, which can only be reduced; for more, prepare it again"
            " from the original pictures",
            {"resolution": 0},
        )
    if side:
        height = width = side
    if channels and options.channels:
        channels = [options.channels]
    return dataclasses.replace(field, shape=(height, width, *channels))


def _in_memory(read: RecordsSource, progress: Progress) -> ArraySource:
    """The same examples in memory."""
    arrays = {
        name: np.empty((len(read), *field.shape), field.dtype)
        for name, field in read.spec.fields.items()
    }

    def keep(start: int) -> None:
        rows = np.arange(start, min(start + CHUNK, len(read)))
        for name, values in read.gather(rows).items():
            arrays[name][start : start + len(rows)] = values

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, _ in enumerate(pool.map(keep, range(0, len(read), CHUNK)), 1):
            progress(min(number * CHUNK, len(read)), len(read))
    return in_memory(read.where, UNIT, dict(read.spec.fields), arrays, read.contents)
