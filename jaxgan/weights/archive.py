"""Zip and gzipped tar archives in memory, unpacked within bounds.

What an archive says about its own sizes is believed only as far as its own size allows.
"""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from typing import BinaryIO, cast


def most_unpacked(size: int) -> int:
    """How many bytes a file of `size` bytes may stand for, unpacked.

    Weights hardly compress: 64-fold and 16 MiB besides leave room for small files that hold mostly
    zeros, and none for one that would fill the memory.
    """
    return 64 * size + 2**24


class Zip:
    """The members of a zip archive."""

    def __init__(self, data: bytes):
        self._data = memoryview(data)
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except zipfile.BadZipFile as error:
            raise ValueError("its zip archive is truncated or damaged") from error
        members = self._archive.infolist()
        self._members = {member.filename: member for member in members}
        if len(self._members) < len(members):
            raise ValueError("its zip archive has two members of one name")
        self.most = most_unpacked(len(data))
        total = sum(member.file_size for member in members)
        if total > self.most:
            raise ValueError(f"its {len(data):,} bytes would unpack to {total:,}")

    def names(self) -> list[str]:
        """The names of its members, in their order."""
        return list(self._members)

    def read(self, name: str) -> memoryview:
        """One member, whole and with the checksum that the archive has of it."""
        if name not in self._members:
            raise ValueError(f"its zip archive has no {name}")
        member = self._members[name]
        try:
            if member.compress_type == zipfile.ZIP_STORED:
                return self._stored(member)
            with self._archive.open(member) as file:
                # The length is given, so that no more than it is ever inflated.
                content = file.read(member.file_size)
        except Exception as error:  # zipfile raises what its parts raise
            raise ValueError(f"its zip archive is damaged in {name}") from error
        if len(content) < member.file_size:
            raise ValueError(f"its zip archive is damaged in {name}")
        return memoryview(content)

    def _stored(self, member: zipfile.ZipInfo) -> memoryview:
        """A member that is not compressed, where it lies: zipfile's copy takes three times as long."""
        header = member.header_offset
        lengths = struct.unpack_from("<HH", self._data, header + 26)  # of its name and extra field
        start = header + 30 + sum(lengths)
        content = self._data[start : start + member.file_size]
        if len(content) < member.file_size or zlib.crc32(content) != member.CRC:
            raise zipfile.BadZipFile
        return content


def member_of_tar(data: bytes, member: str) -> bytes:
    """The file called `member` in a gzipped tar archive, wherever it lies in it."""
    bounded = _Bounded(gzip.GzipFile(fileobj=io.BytesIO(data)), most_unpacked(len(data)))
    try:
        # From a stream, tarfile calls nothing but `read`.
        with tarfile.open(fileobj=cast(BinaryIO, bounded), mode="r|") as archive:
            for entry in archive:
                # A sparse file may claim any size and needs no bytes for it.
                if entry.isreg() and not entry.issparse() and entry.name.split("/")[-1] == member:
                    file = archive.extractfile(entry)
                    assert file is not None, "a regular file has content"
                    found = file.read()
                    if len(found) < entry.size:
                        raise ValueError(f"its tar archive ends inside {member}")
                    return found
    except _TooMuch as error:
        raise ValueError(
            f"its {len(data):,} bytes would unpack to over {bounded.most:,}"
        ) from error
    except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
        raise ValueError("its gzipped tar archive is truncated or damaged") from error
    raise ValueError(f"its tar archive has no {member}")


class _TooMuch(Exception):
    """More was unpacked than allowed."""


class _Bounded:
    """A stream that gives at most so many bytes."""

    def __init__(self, stream, most: int):
        self.stream, self.most, self.left = stream, most, most

    def read(self, size: int) -> bytes:
        chunk = self.stream.read(size)
        self.left -= len(chunk)
        if self.left < 0:
            raise _TooMuch
        return chunk
