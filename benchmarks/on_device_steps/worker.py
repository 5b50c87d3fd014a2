"""The child process of a step: takes its parts one by one and writes a line after each.

To take a part, it creates a file of that part's name in the step's folder; when the part's line is written, another.
So the part of a process that died is known, and the next process leaves it out.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import time
import urllib.parse
from pathlib import Path

from on_device_steps import Skipped, results
from on_device_steps.task import Task

PARTS = "parts.json"  # the step's parts
FAILED = "failed.json"  # why it could not even list them
GRACE = 10  # seconds after the step's time
CLAIM, DONE = ".part", ".done"
OWN = ("jaxgan", "on_device_steps")  # what is missing of these is an error


def work(task: Task) -> int:
    """Runs what is left of the step's parts; returns the exit status of the process."""
    # Whoever started this process ends it in time; if that one was killed, this does.
    signal.alarm(max(1, math.ceil(task.left())) + GRACE)
    try:
        module = importlib.import_module(task.module)
        parts = list(module.parts(task))
    except Exception as exception:
        status, told = _outcome(exception)
        _write(task.folder / FAILED, json.dumps({"status": status, **told}))
        return 0
    _write(task.folder / PARTS, json.dumps(parts))
    for part in parts:
        if part not in task.done and task.left() > 0 and claim(task.folder, part):
            _measure(module, part, task)
    return 0


def _measure(module, part: str, task: Task) -> None:
    start = time.monotonic()
    try:
        status, told = "ok", {"result": module.run(part, task)}
    except Exception as exception:
        status, told = _outcome(exception)
    seconds = time.monotonic() - start
    made = results.line(task.facts, task.step, part, status, seconds, **told)
    results.append(task.out / results.FILE, made)
    release(task.folder, part)
    print(f"{task.step}: {part}: {summary(made)}", flush=True)


def summary(made: dict) -> str:
    """A line of results in a few words."""
    words = f"{made['status']}, {made['seconds']:.1f} s"
    if "error" in made:
        words += f", {made['error']['type']}: {made['error']['message'].splitlines()[0][:160]}"
    elif "result" in made:
        words += f", {json.dumps(made['result'])[:400]}"
    return words


def _outcome(exception: Exception) -> tuple[str, dict]:
    """(status, the rest of the line) of a part that raised."""
    if isinstance(exception, Skipped):
        return "skipped", {"result": {"reason": str(exception)}}
    if isinstance(exception, ModuleNotFoundError) and exception.name:
        package = exception.name.split(".")[0]
        if package not in OWN:
            reason = f"needs the package {package}, which is not installed here."
            return "skipped", {"result": {"reason": reason}}
    return "error", {"error": results.error_of(exception)}


def claim(folder: Path, part: str) -> bool:
    """Takes a part, unless a process before this one has."""
    try:
        _file(folder, part, CLAIM).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def release(folder: Path, part: str) -> None:
    """Marks a claimed part as one that has its line."""
    _file(folder, part, DONE).touch()


def claimed(folder: Path) -> dict[str, float]:
    """{part: when it was taken, in seconds since the epoch} of what was taken and has no line yet."""
    return {
        urllib.parse.unquote(path.name.removesuffix(CLAIM)): path.stat().st_mtime
        for path in folder.glob(f"*{CLAIM}")
        if not path.with_suffix(DONE).exists()
    }


def _file(folder: Path, part: str, ending: str) -> Path:
    return folder / (urllib.parse.quote(part, safe="") + ending)


def _write(path: Path, text: str) -> None:
    """All at once: whoever reads it finds the whole."""
    temporary = path.with_name(f"{path.name}-{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)
