"""TensorBoard's event files of a run: each step is in them once, also after a kill or when the clock was set back.

TensorBoard's own writer keeps up to two minutes of records in memory, by the wall clock, and names its file by it. Here
each row is written at once, and the file of a process comes after those before it in the order of names, in which
TensorBoard reads them. One record: length (uint64), its checksum (uint32), an `Event`, its checksum (uint32).
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

# TensorBoard opens files through TensorFlow where that is installed, and importing it takes seconds. This module's
# presence makes it use its own file functions.
sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))

PREFIX = "events.out.tfevents."


class Events:
    """Writes scalars to an event file of its own in `workdir`; of the files there, records after `step` are removed."""

    def __init__(self, workdir: Path, step: int):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        stamp = int(time.time())
        for path in files(workdir):
            _forget(path, step)
            stamp = max(stamp, _stamp(path) + 1)
        name = f"{PREFIX}{stamp:010d}.{socket.gethostname()}.{os.getpid()}"
        self._file = (workdir / name).open("wb")
        self._records = RecordWriter(self._file)
        self._records.write(
            Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString()
        )
        self._file.flush()

    def write(self, step: int, row: Mapping[str, float]) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.util.tensor_util import make_tensor_proto

        about = summary_pb2.SummaryMetadata(
            plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="scalars"),
            data_class=summary_pb2.DataClass.DATA_CLASS_SCALAR,
        )
        for name, value in row.items():
            event = event_pb2.Event(wall_time=time.time(), step=step)
            tensor = make_tensor_proto(np.float32(value))
            event.summary.value.add(tag=name, tensor=tensor, metadata=about)
            self._records.write(event.SerializeToString())
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def files(workdir: Path) -> list[Path]:
    """The event files of a run, in TensorBoard's order."""
    return sorted(workdir.glob(f"{PREFIX}*"))


def records(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """(whole record, its `Event`) of a file, up to an incomplete one at its end."""
    data, at = path.read_bytes(), 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        end = at + 12 + length + 4
        if end > len(data):
            return
        yield data[at:end], data[at + 12 : end - 4]
        at = end


def _forget(path: Path, step: int) -> None:
    """Removes the records after `step` and an incomplete one; the file itself, if no scalars are left."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    kept, scalars = [], False
    for record, content in records(path):
        try:
            event = Event.FromString(content)
        except DecodeError:  # what follows damaged bytes has no known place
            break
        if event.step <= step:
            kept.append(record)
            scalars = scalars or event.HasField("summary")
    if not scalars:
        path.unlink()
    elif sum(map(len, kept)) < path.stat().st_size:
        # Replaced and not shortened: a TensorBoard that has it open goes on reading what it has opened. Its temporary
        # name is not one of an event file.
        temporary = path.with_name(f".{path.name}")
        temporary.write_bytes(b"".join(kept))
        os.replace(temporary, path)


def _stamp(path: Path) -> int:
    """The seconds in the name of an event file, by which TensorBoard orders them."""
    found = re.match(r"\d+", path.name.removeprefix(PREFIX))
    return int(found[0]) if found else 0
