"""In-memory zip archives, with a limit on the unpacked size.

The limit is proportional to the size of the archive, whatever sizes the archive itself states.
"""

import io
import struct
import zipfile
import zlib


def most_unpacked(size: int) -> int:
    """The maximum unpacked size, in bytes, of a file of `size` bytes.

    Weights hardly compress. A factor of 64 plus 16 MiB accepts small files of mostly zeros, and
    rejects files that would fill the memory.
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
            raise ValueError("its zip archive has two members of the same name")
        self.most = most_unpacked(len(data))
        total = sum(member.file_size for member in members)
        if total > self.most:
            raise ValueError(f"its {len(data):,} bytes would unpack to {total:,}")

    def names(self) -> list[str]:
        """The names of the members, in the order of the archive."""
        return list(self._members)

    def read(self, name: str) -> memoryview:
        """Returns the content of a member, after checking its length and checksum."""
        if name not in self._members:
            raise ValueError(f"its zip archive has no {name}")
        member = self._members[name]
        try:
            if member.compress_type == zipfile.ZIP_STORED:
                return self._stored(member)
            with self._archive.open(member) as file:
                # The explicit length limits how much is inflated.
                content = file.read(member.file_size)
        except Exception as error:  # zipfile also raises the errors of its decompressors
            raise ValueError(f"its zip archive is damaged in {name}") from error
        if len(content) < member.file_size:
            raise ValueError(f"its zip archive is damaged in {name}")
        return memoryview(content)

    def _stored(self, member: zipfile.ZipInfo) -> memoryview:
        """Returns a view of an uncompressed member: reading it by zipfile takes three times as long."""
        header = member.header_offset
        lengths = struct.unpack_from("<HH", self._data, header + 26)  # of its name and extra field
        start = header + 30 + sum(lengths)
        content = self._data[start : start + member.file_size]
        if len(content) < member.file_size or zlib.crc32(content) != member.CRC:
            raise zipfile.BadZipFile
        return content
