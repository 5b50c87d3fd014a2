"""The user's cache of published weight files, which are downloaded once and verified at each use.

A file must match its published checksum. The full SHA-256 of the first download is stored beside the
file, as `<file>.json`, and must match from then on. A file enters the cache only after all checks and
after it could be read. It is written atomically, under a temporary name that is then renamed.
"""

import contextlib
import hashlib
import http.client
import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxgan import __version__
from jaxgan.weights.published import Published, by_name
from jaxgan.weights.read import TORCH, bytes_of_file, kind_of, read

Tensors = dict[str, np.ndarray]
Progress = Callable[[Published, int, int | None], None]

_ATTEMPTS = 3
_PAUSE = 1.0  # seconds before the second attempt, twice that before the third
_CHUNK = 2**20
_LARGEST = 2**33  # bytes; a response without a stated length might never end


def cache_folder() -> Path:
    """Returns the folder of downloaded files: $JAXGAN_CACHE, else `jaxgan` in the system's cache folder.

    The latter is $XDG_CACHE_HOME or ~/.cache, ~/Library/Caches on macOS, and %LOCALAPPDATA% on Windows.
    """
    if chosen := os.environ.get("JAXGAN_CACHE"):
        return Path(chosen).expanduser()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():  # the XDG specification ignores relative paths
        return xdg / "jaxgan"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "jaxgan"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "jaxgan" / "Cache"
    return Path.home() / ".cache" / "jaxgan"


def load(
    names: str | Sequence[str],
    path: str | Path | None = None,
    *,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> tuple[Tensors, str]:
    """Loads the tensors of a published file, and computes the SHA-256 of the file.

    Args:
      names: one or more names in `PUBLISHED`. Of several alternatives, the first in the cache is
        loaded; if none is, the first is downloaded.
      path: a local copy of the file, for machines without internet access; the same checks apply.
      progress: called with the file's entry, the bytes received so far, and the total bytes (None if
        the server does not state them).
      timeout: seconds to wait for a response of the server.

    Returns:
      ({tensor name: read-only array}, 64 hexadecimal digits), with the tensor names of the file.

    Raises:
      ValueError: the file is not the published one, or cannot be read.
      OSError: it could not be downloaded or stored; the message states where to put it by hand.
    """
    entries = [by_name(name) for name in ([names] if isinstance(names, str) else names)]
    if not entries:
        raise ValueError("load takes the names of published files; load_file reads any other file")
    if path is not None:
        return _given(entries, path)
    for entry in entries:
        if _place(entry).exists():
            return _cached(entry)
    return _fetched(entries[0], progress, timeout)


def _place(entry: Published) -> Path:
    return cache_folder() / "weights" / entry.file


def _record(entry: Published) -> Path:
    place = _place(entry)
    return place.with_name(f"{place.name}.json")


def _given(entries: list[Published], path: str | Path) -> tuple[Tensors, str]:
    data = bytes_of_file(path)
    problems = []
    for entry in entries:
        try:
            return _checked(entry, _recorded(entry), data, str(path))
        except ValueError as error:
            problems.append(str(error))
    found = "; ".join(dict.fromkeys(problems))
    raise ValueError(f"{found}; get {entries[0].file} from {entries[0].url}")


def _cached(entry: Published) -> tuple[Tensors, str]:
    place, recorded = _place(entry), _recorded(entry)
    data = bytes_of_file(place)
    try:
        tensors, sha256 = _checked(entry, recorded, data, str(place))
    except ValueError as error:
        raise ValueError(f"{error}. Delete {place} to download it again") from error
    if recorded is None:  # The file was put there by hand.
        with contextlib.suppress(OSError):  # The folder may be read-only.
            _write_record(entry, sha256, len(data))
    return tensors, sha256


def _fetched(entry: Published, progress: Progress | None, timeout: float) -> tuple[Tensors, str]:
    place = _place(entry)
    with contextlib.ExitStack() as stack:
        with _writing(entry):  # before the download, to fail early if the cache cannot be written
            place.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(_replacing(place))
        data = _download(entry, progress, timeout)
        # After the download, as another process may have downloaded the file in the meantime.
        recorded = _recorded(entry)
        tensors, sha256 = _checked(entry, recorded, data, f"the file from {entry.url}")
        with _writing(entry):
            file.write(data)
            file.flush()
            # The hash is written first, so that no file is in the cache without one.
            _write_record(entry, sha256, len(data))
    return tensors, sha256


@contextlib.contextmanager
def _writing(entry: Published) -> Iterator[None]:
    """Adds advice to the error if the cache cannot be written."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"the cache folder {_place(entry).parent} for {entry.file} cannot be written ({error.strerror}): set "
            "JAXGAN_CACHE to one that can"
        ) from error


@contextlib.contextmanager
def _replacing(place: Path) -> Iterator[BinaryIO]:
    """Yields a temporary file that replaces `place` at the end, or is deleted if an error occurs."""
    handle, part = tempfile.mkstemp(".part", f"{place.name}.", place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(part, 0o644)  # mkstemp makes files that only their owner can read
        os.replace(part, place)
    finally:
        Path(part).unlink(missing_ok=True)


def _checked(
    entry: Published, recorded: str | None, data: bytes, where: str
) -> tuple[Tensors, str]:
    """Returns tensors and SHA-256 of the bytes, after checking them against `entry` and the recorded SHA-256."""
    try:
        kind = kind_of(data)
    except ValueError as error:
        raise ValueError(f"{where} is not {entry.file}: {error}") from error
    if kind != TORCH:
        raise ValueError(f"{where} is {kind}, not {TORCH}")
    sha256 = hashlib.sha256(data).hexdigest()
    if not sha256.startswith(entry.checksum):
        raise ValueError(
            f"{where} is not the published {entry.file} of {entry.source}; it is truncated or "
            f"changed: its SHA-256 is {sha256}, {_published(entry)}"
        )
    if recorded not in (None, sha256):
        raise ValueError(
            f"{where} differs from the {entry.file} of the first download: its SHA-256 is "
            f"{sha256}, not {recorded} as recorded in {_record(entry)} (delete that record to accept "
            "another file)"
        )
    return read(data, where), sha256


def _published(entry: Published) -> str:
    if not entry.checksum:
        return "no checksum is published"
    verb = "is" if len(entry.checksum) == 64 else "begins with"
    return f"the published one {verb} {entry.checksum}"


def _recorded(entry: Published) -> str | None:
    """Returns the SHA-256 of the first download, or None."""
    record = _record(entry)
    try:
        return str(json.loads(record.read_text())["sha256"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{record} does not contain a SHA-256; delete it") from error


def _write_record(entry: Published, sha256: str, size: int) -> None:
    text = json.dumps({"sha256": sha256, "bytes": size, "url": entry.url}, indent=2)
    with _replacing(_record(entry)) as file:
        file.write(text.encode() + b"\n")


def _download(entry: Published, progress: Progress | None, timeout: float) -> bytes:
    """Downloads the bytes at the entry's address; retries up to two times if a connection fails."""
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE * attempt)
        try:
            return _body(entry, progress, timeout)
        except urllib.error.HTTPError as error:
            error.close()
            failure = f"the server returned {error.code} {error.reason}"
            if error.code < 500:
                break
        except (OSError, http.client.HTTPException) as error:
            failure = str(getattr(error, "reason", "") or error or type(error).__name__)
    raise ConnectionError(
        f"{entry.file} cannot be downloaded from {entry.url} ({failure}). Download it on a machine with internet "
        f"access ({_published(entry)}), then put it at {_place(entry)}"
    )


def _body(entry: Published, progress: Progress | None, timeout: float) -> bytes:
    agent = {"User-Agent": f"jaxgan/{__version__}"}  # Some servers reject urllib's default.
    request = urllib.request.Request(entry.url, headers=agent)
    body = BytesIO()
    with urllib.request.urlopen(request, timeout=timeout) as response:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdecimal() else None
        while chunk := response.read(_CHUNK):
            body.write(chunk)
            if body.tell() > _LARGEST:
                raise ValueError(f"{entry.url} sends more than {_LARGEST:,} bytes")
            if progress is not None:
                progress(entry, body.tell(), total)
    if total is not None and body.tell() < total:
        raise OSError(f"the connection ended after {body.tell():,} of {total:,} bytes")
    return body.getvalue()
