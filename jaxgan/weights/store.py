"""The user's cache of published weight files: fetched once, checked every time.

A file must have its publisher's checksum. The full SHA-256 of its first download is remembered
beside it, `<file>.json`, and held from then on. Only a file that passed every check and could be
read enters the cache, and whole: it is written under another name and renamed.
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
from jaxgan.weights.read import bytes_of_file, kind_of, read

Tensors = dict[str, np.ndarray]
Progress = Callable[[Published, int, int | None], None]

_ATTEMPTS = 3
_PAUSE = 1.0  # seconds before the second attempt, twice that before the third
_CHUNK = 2**20
_LARGEST = 2**33  # bytes; what has no length could go on for ever


def cache_folder() -> Path:
    """Where fetched files are kept: $JAXGAN_CACHE, else `jaxgan` in the system's cache folder.

    That is $XDG_CACHE_HOME or ~/.cache, ~/Library/Caches on macOS, and %LOCALAPPDATA% on Windows.
    """
    if chosen := os.environ.get("JAXGAN_CACHE"):
        return Path(chosen).expanduser()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():  # the XDG specification has relative ones ignored
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
    """The tensors of a published file, and the file's SHA-256.

    Args:
      names: of `PUBLISHED`; of several, any one will do: the first that the cache has, else the
        first is fetched.
      path: the file itself, for machines without a network; it passes the same checks.
      progress: called with the file's entry, the bytes had so far and, if the server tells, all of
        them.
      timeout: seconds that the server may stay silent.

    Returns:
      ({tensor name: read-only array}, 64 hexadecimal digits); a tensor is named as in its file.

    Raises:
      ValueError: the file is not the published one, or cannot be read.
      OSError: it could not be fetched or kept; the text says where it can be put by hand.
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
    complaints = []
    for entry in entries:
        try:
            return _checked(entry, _remembered(entry), data, str(path))
        except ValueError as error:
            complaints.append(str(error))
    raise ValueError("; ".join(dict.fromkeys(complaints)))


def _cached(entry: Published) -> tuple[Tensors, str]:
    place, remembered = _place(entry), _remembered(entry)
    data = bytes_of_file(place)
    try:
        tensors, sha256 = _checked(entry, remembered, data, str(place))
    except ValueError as error:
        raise ValueError(f"{error}. Delete {place} to have it fetched anew") from error
    if remembered is None:  # It was put there by hand.
        with contextlib.suppress(OSError):  # A folder that cannot be written remembers nothing.
            _remember(entry, sha256, len(data))
    return tensors, sha256


def _fetched(entry: Published, progress: Progress | None, timeout: float) -> tuple[Tensors, str]:
    place = _place(entry)
    with contextlib.ExitStack() as stack:
        with _writing(entry):  # before the download, which would be for nothing
            place.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(_replacing(place))
        data = _download(entry, progress, timeout)
        # Not before: another process may have fetched it in the meantime.
        remembered = _remembered(entry)
        tensors, sha256 = _checked(entry, remembered, data, f"what {entry.url} sent")
        with _writing(entry):
            file.write(data)
            file.flush()
            # The hash first: a file is never there without what it is held against.
            _remember(entry, sha256, len(data))
    return tensors, sha256


@contextlib.contextmanager
def _writing(entry: Published) -> Iterator[None]:
    """Says what to do if the cache cannot be written."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"the cache folder {_place(entry).parent} cannot be written ({error.strerror}): set "
            f"JAXGAN_CACHE to one that can, or give {entry.file} with --weights FILE"
        ) from error


@contextlib.contextmanager
def _replacing(place: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `place` at the end, whole, or vanishes if an error comes first."""
    handle, part = tempfile.mkstemp(".part", f"{place.name}.", place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(part, 0o644)  # not for its maker's eyes only, as mkstemp has it
        os.replace(part, place)
    finally:
        Path(part).unlink(missing_ok=True)


def _checked(
    entry: Published, remembered: str | None, data: bytes, where: str
) -> tuple[Tensors, str]:
    """The tensors and the SHA-256 of bytes that are what `entry` says and what is remembered."""
    try:
        kind = kind_of(data)
    except ValueError as error:
        raise ValueError(f"{where} is not {entry.file}: {error}") from error
    if kind != entry.kind:
        raise ValueError(f"{where} is not {entry.file}: it is {kind}, not {entry.kind}")
    sha256 = hashlib.sha256(data).hexdigest()
    if not sha256.startswith(entry.checksum):
        raise ValueError(
            f"{where} is not {entry.file} as {entry.source} publishes it, but truncated or "
            f"changed: its SHA-256 is {sha256}, {_published(entry)}"
        )
    if remembered not in (None, sha256):
        raise ValueError(
            f"{where} is not the {entry.file} that was first fetched here: its SHA-256 is "
            f"{sha256}, not {remembered} as {_record(entry)} remembers (delete that record to accept "
            "another file)"
        )
    return read(data, where, entry.member), sha256


def _published(entry: Published) -> str:
    if not entry.checksum:
        return "its publisher gives no checksum"
    verb = "is" if len(entry.checksum) == 64 else "begins with"
    return f"the published one {verb} {entry.checksum}"


def _remembered(entry: Published) -> str | None:
    """The SHA-256 of the first download, if there was one."""
    record = _record(entry)
    try:
        return str(json.loads(record.read_text())["sha256"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{record} does not name a SHA-256; delete it") from error


def _remember(entry: Published, sha256: str, size: int) -> None:
    text = json.dumps({"sha256": sha256, "bytes": size, "url": entry.url}, indent=2)
    with _replacing(_record(entry)) as file:
        file.write(text.encode() + b"\n")


def _download(entry: Published, progress: Progress | None, timeout: float) -> bytes:
    """The bytes at the entry's address, after at most two more attempts if a connection fails."""
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE * attempt)
        try:
            return _body(entry, progress, timeout)
        except urllib.error.HTTPError as error:
            error.close()
            failure = f"the server answers {error.code} {error.reason}"
            if error.code < 500:
                break
        except (OSError, http.client.HTTPException) as error:
            failure = str(getattr(error, "reason", "") or error or type(error).__name__)
    raise ConnectionError(
        f"{entry.file} cannot be fetched from {entry.url} ({failure}). Fetch it where there is a "
        f"network ({_published(entry)}), then put it at {_place(entry)} or give it with "
        "--weights FILE"
    )


def _body(entry: Published, progress: Progress | None, timeout: float) -> bytes:
    agent = {"User-Agent": f"jaxgan/{__version__}"}  # Some servers turn urllib's own name away.
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
