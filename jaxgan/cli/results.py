"""The whole result of a command: as JSON in a pipe, by the name of its file on a terminal."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def write(result: dict[str, Any], file: str | os.PathLike | None) -> None:
    """Appends a result to a file, if there is one, as a line of JSON. See `show`."""
    if file is not None:
        with Path(file).open("a") as lines:
            lines.write(json.dumps(result) + "\n")
    show(result, file)


def show(result: dict[str, Any], file: str | os.PathLike | None) -> None:
    """Prints a result as the last line of the output, for programs; or says where it is, for people.

    Args:
      result: it.
      file: that holds it as its last line; None if none does.
    """
    if not sys.stdout.isatty():
        print(json.dumps(result))
    elif file is not None:
        print(f"the whole result, with its protocol, is the last line of {file}")
    else:
        print("to keep the whole result, with its protocol, give --out FILE.json")
