"""The lines of a results file: one JSON object for each part of a step, and one that closes the step."""

from __future__ import annotations

import json
import math
import os
import re
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

STATUSES = ("ok", "skipped", "timeout", "error")  # from good to bad
FILE = "results.jsonl"
ROOT = Path(__file__).resolve().parents[2]  # of the checkout
LAST_LINES = 12  # of a traceback or of what a process wrote before it died


def line(
    facts: dict[str, Any],
    step: str,
    part: str | None,
    status: str,
    seconds: float,
    result: Any = None,
    error: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A line of results; `part` is None in the line that closes a step."""
    made = {
        "step": step,
        "part": part,
        "status": status,
        "seconds": round(seconds, 3),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **facts,
    }
    if result is not None:
        made["result"] = _plain(result)
    if error is not None:
        made["error"] = error
    return made


def append(path: Path, made: dict[str, Any]) -> None:
    """Adds a line by one write and waits until it is on the disk; several processes may do so."""
    text = json.dumps(made, allow_nan=False) + "\n"
    if _is_cut_off(path):
        text = "\n" + text
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file, none if there is no file; a line that was cut off is left out."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def done(lines: Iterable[dict[str, Any]], facts: dict[str, Any]) -> dict[str, set[str | None]]:
    """{step: its parts that ended well on this device at this size}; None among them: the step did."""
    found: dict[str, set[str | None]] = {}
    for made in lines:
        same = all(made.get(name) == facts.get(name) for name in ("device", "size"))
        if same and made["status"] == "ok":
            found.setdefault(made["step"], set()).add(made["part"])
    return found


def error_of(exception: BaseException) -> dict[str, str]:
    """Type, message and the last lines of the traceback."""
    return {
        "type": type(exception).__name__,
        "message": without_folders(str(exception)[:1000]),
        "traceback": last_lines("".join(traceback.format_exception(exception))),
    }


def last_lines(text: str) -> str:
    """The end of a text, each line cut to a length that can be read."""
    lines = without_folders(text).splitlines()[-LAST_LINES:]
    return "\n".join(line[:300] for line in lines)


def without_folders(text: str) -> str:
    """The text without the folders of this machine in front of the checkout's and the packages' files."""
    return re.sub(r"[^\s\"']*/site-packages/", "", text.replace(f"{ROOT}/", ""))


def _plain(value: Any) -> Any:
    """`value` as JSON has it: numbers of any library as Python's, those that are not finite as text."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value


def _is_cut_off(path: Path) -> bool:
    """Whether the file ends inside a line, as a killed process leaves it."""
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
