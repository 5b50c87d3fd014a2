"""A lock on a folder: one process at a time writes into it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


class InUse(OSError):
    """Another process works in this folder."""


@contextlib.contextmanager
def hold(folder: str | Path, doing: str, way: str, name: str = LOCK) -> Iterator[None]:
    """While entered, no other process can enter for the same folder, which is created if missing.

    The system releases the lock when the process ends, however it ends, so none is left behind. On Windows, and on a
    file system without locks, nothing is locked.

    Args:
      folder: to lock.
      doing: what the process does in it, for the message to others: "trains in it".
      way: what others can do instead of waiting: "choose another workdir".
      name: of the file of the lock.

    Raises:
      InUse: another process holds the lock.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a+") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise InUse(
                    f"{folder} is in use: {file.read().strip() or 'another process'} {doing}; wait until it ends, or"
                    f" {way}."
                ) from None
            except OSError:  # this file system has no locks
                pass
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
