"""Prepared sets: the examples of a split as ArrayRecord files of records of one size, beside a manifest.

    FOLDER/train/manifest.json
    FOLDER/train/00000-of-00016.array_record ...

A record is one element of `record_type`: the fields of an example one after the other, as they are in a batch. Pictures
are thus kept as raw levels. Measured on one CPU core, for pictures from the set on the disk to a batch (Pillow 13,
ArrayRecord 0.8.6): PNG takes 25 % less space at 32x32 (CIFAR-10) and 54 % less at 256x256 (enlarged photographs), and
at least 4 and 11 times as long to read; Zstandard in ArrayRecord, 5 % and 27 % less, and 1.3 and 1.8 times as long. Of
label maps (CamVid) Zstandard leaves a twentieth, but they are a quarter of an example with a picture.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

import jaxgan
from jaxgan.data.lock import hold
from jaxgan.data.options import Progress
from jaxgan.data.source import Broken, Source, digest
from jaxgan.spec import Spec

SCHEMA = 1
MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
# Shards are at least so large, and at most so many: a reader keeps each of them open.
LEAST_BYTES, MOST_SHARDS = 2**26, 256
CHUNK_BYTES = 2**22  # read from the source, and written, at once
SHOW_EVERY_SECONDS = 0.2


class BadManifest(ValueError):
    """The manifest of a prepared set cannot be used."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of consecutive examples.

    Attributes:
      file: its name.
      records: the number of examples in it.
      bytes: size of the file; 0 before it is written.
      sha256: of the records, one after the other, whatever the container around them; "" before it is written.
    """

    file: str
    records: int
    bytes: int = 0
    sha256: str = ""

    def is_in(self, folder: Path) -> bool:
        """Whether the file is there and has its size."""
        with contextlib.suppress(OSError):
            return bool(self.sha256) and (folder / self.file).stat().st_size == self.bytes
        return False


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The description of a prepared set.

    Attributes:
      spec: the fields of an example, with the names of classes and attributes, and the number of examples.
      source: summary of the data that it was prepared from.
      origin: their identity.
      broken: names of the pictures that the source left out, with the reasons.
      shards: the files, in the order of the examples.
    """

    spec: Spec
    source: str
    origin: str
    broken: Broken
    shards: tuple[Shard, ...]

    @property
    def identity(self) -> str:
        """A SHA-256 of all examples and their order."""
        return digest([str(record_type(self.spec).descr), *(shard.sha256 for shard in self.shards)])

    def to_json(self) -> str:
        """The text of the file."""
        record: dict[str, Any] = {"schema": SCHEMA, "jaxgan": jaxgan.__version__}
        record |= {"identity": self.identity, "source": self.source, "origin": self.origin}
        record |= {"broken": self.broken, "spec": self.spec.to_dict()}
        record["shards"] = [dataclasses.asdict(shard) for shard in self.shards]
        return json.dumps(record, indent=1) + "\n"


def record_type(spec: Spec) -> np.dtype:
    """The type of a record: the fields of an example, little-endian, without gaps.

    >>> from jaxgan.spec import Field
    >>> spec = Spec({"image": Field("image", (8, 8, 1)), "label": Field("label", number=10)}, 100)
    >>> record_type(spec).itemsize
    68
    """
    return np.dtype(
        [(name, field.dtype.newbyteorder("<"), field.shape) for name, field in spec.fields.items()]
    )


def folder_of(root: str | Path, split: str) -> Path:
    """The folder of a split; its name is the split's, with characters such as "[" escaped as in URLs."""
    return Path(root).expanduser() / quote(split, safe="")


def splits_in(root: str | Path) -> tuple[str, ...]:
    """The splits that are prepared in a folder."""
    found = Path(root).expanduser().glob(f"*/{MANIFEST}")
    return tuple(sorted(unquote(path.parent.name) for path in found))


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file.

    Raises:
      BadManifest: it was written by a newer version, or is damaged.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
        schema = record["schema"]
        if isinstance(schema, int) and schema > SCHEMA:
            raise BadManifest(
                f"{path} has the schema {schema} of jaxgan {record.get('jaxgan', 'of a later version')}, and this"
                f" version reads schemas up to {SCHEMA}; update jaxgan, or prepare the set again in another folder"
            )
        manifest = Manifest(
            Spec.from_dict(record["spec"]),
            record["source"],
            record["origin"],
            tuple((name, reason) for name, reason in record["broken"]),
            tuple(Shard(**shard) for shard in record["shards"]),
        )
        if sum(shard.records for shard in manifest.shards) != manifest.spec.size:
            raise ValueError("its shards do not have as many examples as it says")
        if record["identity"] != manifest.identity:
            raise ValueError("its identity is not that of its shards")
    except BadManifest:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise BadManifest(
            f"{path} is damaged ({reason}); copy it again, or remove {path.parent} and prepare the set again"
        ) from error
    return manifest


def write(
    source: Source,
    root: str | Path,
    split: str = "train",
    progress: Progress = lambda done, total: None,
) -> Manifest:
    """Writes all examples of a source as the split `split` of a prepared set, in threads.

    Each shard is written under another name, which is changed when it is complete. A call that was stopped, in
    whatever way, is continued by the same call, and the files are then the same, byte for byte.

    Args:
      source: read once, in order.
      root: folder of the set, created if missing.
      split: its name.
      progress: called as `progress(examples done, examples in all)`.

    Returns:
      The manifest; if the set is complete already, nothing is written.

    Raises:
      ValueError: the folder holds that split of other data.
      InUse: another process writes into it.
      OSError: it cannot be written to, for example since no space is left.
    """
    folder = folder_of(root, split)
    with _sentences(folder), hold(folder, "writes into it", "choose another folder"):
        manifest = _resumed(folder, _plan(source))
        if all(shard.is_in(folder) for shard in manifest.shards):
            _finish(folder, manifest)
            return manifest
        _check_space(folder, manifest)
        shards = list(manifest.shards)
        # Closed in any case, so that no thread writes when the lock is released.
        with contextlib.closing(_written(source, folder, manifest, progress)) as written:
            for index, shard in written:
                shards[index] = shard
                manifest = dataclasses.replace(manifest, shards=tuple(shards))
                _replace(folder / UNFINISHED, manifest.to_json())
        _finish(folder, manifest)
    return manifest


def _plan(source: Source) -> Manifest:
    """The manifest of a set before any shard is written."""
    size, each = len(source), record_type(source.spec).itemsize
    count = min(-(-size * each // LEAST_BYTES), MOST_SHARDS, size)
    edges = [i * size // count for i in range(count + 1)]
    shards = tuple(
        Shard(f"{i:05d}-of-{count:05d}.array_record", edges[i + 1] - edges[i]) for i in range(count)
    )
    return Manifest(source.spec, source.summary, source.identity, source.broken, shards)


def _resumed(folder: Path, plan: Manifest) -> Manifest:
    """The plan with the shards that are in the folder already."""
    there = next((folder / n for n in (MANIFEST, UNFINISHED) if (folder / n).exists()), None)
    if there is None:
        return plan
    found = read_manifest(there)
    same = [(shard.file, shard.records) for shard in found.shards] == [
        (shard.file, shard.records) for shard in plan.shards
    ]
    if found.spec != plan.spec or found.origin != plan.origin or not same:
        raise ValueError(
            f"{folder} holds {'' if there.name == MANIFEST else 'an unfinished part of '}other data ({found.source})"
            f" than these ({plan.source}); choose another folder, or remove {folder} first"
        )
    shards = tuple(
        old if old.is_in(folder) else new
        for old, new in zip(found.shards, plan.shards, strict=True)
    )
    return dataclasses.replace(plan, shards=shards)


def _check_space(folder: Path, manifest: Manifest) -> None:
    """Raises if the disk has no space for what is to be written."""
    each = record_type(manifest.spec).itemsize
    need = sum(shard.records * each for shard in manifest.shards if not shard.sha256)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise OSError(
            f"{folder} needs {need / 2**30:,.1f} GiB more, but its disk has only {free / 2**30:,.1f} GiB left; free"
            " some, and run the same command again, or choose another folder"
        )


def _written(
    source: Source, folder: Path, manifest: Manifest, progress: Progress
) -> Generator[tuple[int, Shard]]:
    """Writes the shards that are missing, and yields each as (its number, the shard) when it is complete."""
    shards, stop = manifest.shards, threading.Event()
    starts = np.cumsum([0, *(shard.records for shard in shards)])
    done = [shard.records if shard.sha256 else 0 for shard in shards]

    def write_one(index: int) -> tuple[int, Shard]:
        def tell(records: int) -> None:
            done[index] = records
            if stop.is_set():
                raise InterruptedError("another shard could not be written")

        return index, _write_shard(source, folder, shards[index], int(starts[index]), tell)

    pool = ThreadPoolExecutor(os.cpu_count())
    pending = {pool.submit(write_one, i) for i, shard in enumerate(shards) if not shard.sha256}
    try:
        while pending:
            ready, pending = wait(pending, SHOW_EVERY_SECONDS, FIRST_COMPLETED)
            progress(sum(done), len(source))
            yield from (future.result() for future in ready)
    finally:
        # After an error, or Ctrl-C: the threads stop at their next examples.
        stop.set()
        pool.shutdown(cancel_futures=True)


def _write_shard(
    source: Source, folder: Path, shard: Shard, start: int, tell: Callable[[int], None]
) -> Shard:
    """Writes the examples from number `start` on; calls `tell` with the number of those written."""
    path, sha256 = folder / f".{shard.file}", hashlib.sha256()
    kind = record_type(source.spec)
    chunk = max(1, min(1024, CHUNK_BYTES // kind.itemsize))
    try:
        with contextlib.closing(_open(path)) as writer:
            for first in range(0, shard.records, chunk):
                rows = np.arange(first, min(first + chunk, shard.records))
                table = np.empty(len(rows), kind)
                for name, values in source.gather(start + rows).items():
                    table[name] = values
                sha256.update(table.data)
                for record in table:
                    writer.write(record.tobytes())
                tell(first + len(rows))
        _check(path, shard.records)
        with path.open("rb+") as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, RuntimeError):
            raise _os_error(error) from error
        raise
    size = path.stat().st_size
    os.replace(path, folder / shard.file)
    return dataclasses.replace(shard, bytes=size, sha256=sha256.hexdigest())


def _open(path: Path) -> ArrayRecordWriter:
    path.open("wb").close()  # raises where ArrayRecord would only refuse to write
    return ArrayRecordWriter(str(path), "group_size:1,uncompressed")


def _check(path: Path, records: int) -> None:
    """Raises unless a file can be opened, and has so many records."""
    reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
    found = reader.num_records() if reader.ok() else 0
    reader.close()
    if found != records:
        raise OSError(errno.EIO, f"{path.name} has {found:,} of {records:,} records")


def _os_error(error: RuntimeError) -> OSError:
    """An error of ArrayRecord's writer, as the system's."""
    text = str(error)
    full = os.strerror(errno.ENOSPC)
    return OSError(errno.ENOSPC, full) if full in text else OSError(errno.EIO, text)


@contextlib.contextmanager
def _sentences(folder: Path) -> Iterator[None]:
    """Errors of the system as sentences that say how to go on."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:  # a sentence already
            raise
        left = " left" if error.errno == errno.ENOSPC else ""
        what = "there is no space" if left else error.strerror
        raise OSError(
            f"cannot write to {folder} ({what}{left}); complete shards are kept: mend that, and run the same command"
            " again, which goes on, or choose another folder"
        ) from error


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)


def _finish(folder: Path, manifest: Manifest) -> None:
    _replace(folder / MANIFEST, manifest.to_json())
    (folder / UNFINISHED).unlink(missing_ok=True)
