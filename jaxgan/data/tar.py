"""Tar files of pictures, such as WebDataset's shards, read at random through an index of their members."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from jaxgan.data.encoded import BadData

SUFFIX = ".tar"


class Entry(NamedTuple):
    """A file in a tar: its bytes are `size` from `start` on."""

    tar: Path
    start: int
    size: int

    def read(self) -> BinaryIO:
        """Opens it; no more than this file is read."""
        with self.tar.open("rb", buffering=0) as file:
            file.seek(self.start)
            data = file.read(self.size)
        if len(data) != self.size:
            raise EOFError(f"{self.tar} ends before it")
        return io.BytesIO(data)

    def stamp(self) -> str:
        """A text that differs if the tar has changed."""
        status = self.tar.stat()
        return f"{status.st_size} {status.st_mtime_ns} {self.start}"


def entries(tars: Iterable[Path]) -> dict[str, Entry]:
    """The files in some tars by their names there, links and the like left out. Nothing is extracted.

    Each tar is read from its beginning to its end once, from header to header.

    Raises:
      BadData: a file is no tar, or is compressed or truncated; or two tars have files of the same name.
    """
    found: dict[str, Entry] = {}
    for tar in tars:
        for name, entry in _index(tar).items():
            if name in found:
                raise BadData(
                    f"{found[name].tar} and {tar} both hold {name}, and the names of pictures in the tars of a set must"
                    " differ; give one of them alone, or unpack each into a folder of its own"
                )
            found[name] = entry
    return found


def _index(tar: Path) -> dict[str, Entry]:
    try:
        with tarfile.open(tar, "r:") as opened:
            members = {
                member.name: Entry(tar, member.offset_data, member.size)
                for member in opened
                if member.isreg() and not member.issparse()
            }
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadData(
            f"{tar} is not a complete uncompressed tar ({error}); copy it again, or unpack it if it is compressed"
        ) from error
    last = max(members.values(), key=lambda entry: entry.start, default=None)
    if last is not None and last.start + last.size > tar.stat().st_size:
        raise BadData(f"{tar} ends in the middle of a file; copy it again")
    return members
