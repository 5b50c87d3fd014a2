"""Runs steps one after the other, each in a child process and within its bound, whatever happens in it.

One process at a time, which compiles one program at a time: XLA for GPUs chooses kernels by measuring, and where
several programs are compiled at once, measurements wait until they time out after 0.1 s (openxla/xla, #42415).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from on_device_steps import results, worker
from on_device_steps.task import Task

FOLDER = Path(__file__).resolve().parents[1]  # of the benchmarks
STDERR = "stderr.txt"
STDERR_BYTES = 20_000  # kept of each process
PROBE_SECONDS = 120
SLOWER = 4  # how many times its bounds a step may take in a rehearsal, whose machine may be slow and busy

PROBE = """
import json, jax
device = jax.devices()[0]
print(json.dumps({"device": device.device_kind, "platform": device.platform}))
"""


@dataclasses.dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
      name: of the step.
      module: of `on_device_steps`, or any that can be imported; see there.
      seconds: that it may take at most.
      part_seconds: that one of its parts may take at most.
      options: for the module.
      least: seconds below which it is not started.
    """

    name: str
    module: str
    seconds: float
    part_seconds: float = math.inf
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    least: float = 10.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of one run of the command: see its flags."""

    out: Path
    cache: Path
    until: float  # seconds since the epoch
    facts: dict[str, Any]
    earlier: Path | None = None
    tiny: bool = False


def run(steps: tuple[Step, ...], settings: Settings) -> dict[str, str]:
    """{step: status}. Ends in time by itself; what it finds is in the results file after each part."""
    before = results.read(settings.out / results.FILE)
    if settings.earlier is not None:
        before += results.read(settings.earlier)
    known = results.done(before, settings.facts)
    statuses = {}
    slower = SLOWER if settings.tiny else 1
    for step in steps:
        parts, left = known.get(step.name, set()), settings.until - time.time()
        if None in parts:
            statuses[step.name] = _skip(step, settings, "done before")
        elif left < step.least:
            reason = f"{max(left, 0):.0f} s were left, and it needs at least {step.least:.0f}."
            statuses[step.name] = _skip(step, settings, reason)
        else:
            done = tuple(sorted(parts))
            statuses[step.name] = Run(step, settings, min(slower * step.seconds, left), done).play()
    return statuses


def _skip(step: Step, settings: Settings, reason: str) -> str:
    made = results.line(settings.facts, step.name, None, "skipped", 0.0, {"reason": reason})
    results.append(settings.out / results.FILE, made)
    print(f"{step.name}: skipped, {reason}", flush=True)
    return "skipped"


def environment(cache: Path) -> dict[str, str]:
    """Of every child: where to import from, a shared compilation cache, no GPU memory taken in advance."""
    paths = [str(FOLDER), str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "MPLBACKEND": "agg",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


def probe(cache: Path) -> dict[str, str]:
    """The device that JAX sees, found in a process of its own: here, it would be taken from the steps."""
    asked = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=environment(cache),
        capture_output=True,
        text=True,
        timeout=PROBE_SECONDS,
    )
    if asked.returncode:
        raise RuntimeError(asked.stderr[-2000:] or f"exit status {asked.returncode}")
    return json.loads(asked.stdout.splitlines()[-1])


class Run:
    """One call of one step."""

    def __init__(self, step: Step, settings: Settings, seconds: float, done: tuple[str, ...]):
        self.step, self.settings, self.seconds = step, settings, seconds
        self.folder = Path(tempfile.mkdtemp(prefix="on_device_"))
        self.before = len(results.read(settings.out / results.FILE))
        self.began = time.time()
        self.task = Task(
            step=step.name,
            module=step.module,
            out=settings.out,
            folder=self.folder,
            until=self.began + seconds,
            facts=settings.facts,
            tiny=settings.tiny,
            done=done,
            options=dict(step.options),
        )
        self.process: subprocess.Popen | None = None
        self.started = 0  # processes; the last one's number is one less
        self.cut = False
        self.died: dict[str, str] | None = None  # of a process that died before it took a part

    def play(self) -> str:
        print(f"{self.step.name}: at most {self.seconds:.0f} s", flush=True)
        try:
            self._start()
            while self.process is not None and self.task.left() > 0:
                time.sleep(0.05)
                self._poll()
            self.cut = self.process is not None
            if self.cut:
                self._stop(f"the step's {self.seconds:.0f} s were over")
        finally:
            if self.process is not None:
                self._kill()
        status = self._close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return status

    def _start(self) -> None:
        number = self.started
        self.started += 1
        path = self.folder / f"task-{number}.json"
        dataclasses.replace(self.task, process=number).save(path)
        script = str(FOLDER / "on_device.py")
        command = [sys.executable, script, "--step", self.step.name, "--task", str(path)]
        with self._stderr(number).open("wb") as stderr, unbroken():
            self.process = subprocess.Popen(
                command,
                env=environment(self.settings.cache),
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                # A group of its own, so that what it starts ends with it.
                start_new_session=True,
            )

    def _poll(self) -> None:
        """Takes note of a process that has ended, and ends one that is too long at a part."""
        code = self.process.poll()
        if code is None:
            taken = worker.claimed(self.folder)
            if any(time.time() - when > self.step.part_seconds for when in taken.values()):
                self._stop(f"the part's {self.step.part_seconds:g} s were over")
                self._start()
            return
        self._kill()  # what it has left running
        if code == 0:
            return
        died = {
            "type": "Died",
            "message": _signal_or_status(code),
            "traceback": self._last_words(),
        }
        if self._record("error", error=died):
            self._start()
        else:
            self.died = died

    def _stop(self, reason: str) -> None:
        self._kill()
        error = {"type": "Timeout", "message": reason, "traceback": self._last_words()}
        self._record("timeout", error=error)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # nothing of it is left
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None  # last, so that `play` still knows of it where a signal interrupts

    def _record(self, status: str, **told: Any) -> bool:
        """Writes the line of what the process was at, if it was at anything."""
        taken = worker.claimed(self.folder)
        for part, when in taken.items():
            seconds = time.time() - when
            made = results.line(self.settings.facts, self.step.name, part, status, seconds, **told)
            results.append(self.settings.out / results.FILE, made)
            worker.release(self.folder, part)
            print(f"{self.step.name}: {part}: {worker.summary(made)}", flush=True)
        return bool(taken)

    def _close(self) -> str:
        """Writes the line that closes the step."""
        self._keep_stderr()
        status, told = self._verdict()
        seconds = time.time() - self.began
        made = results.line(self.settings.facts, self.step.name, None, status, seconds, **told)
        results.append(self.settings.out / results.FILE, made)
        print(f"{self.step.name}: {worker.summary(made)}", flush=True)
        return status

    def _verdict(self) -> tuple[str, dict[str, Any]]:
        failed = _read_json(self.folder / worker.FAILED)
        if failed is not None:
            return failed.pop("status"), failed
        parts = _read_json(self.folder / worker.PARTS)
        if parts is None:
            if self.cut:
                return "timeout", {"result": {"reason": "no part was reached"}}
            return "error", {"error": self.died}
        found = {part: "ok" for part in self.task.done}
        for made in results.read(self.settings.out / results.FILE)[self.before :]:
            if made["step"] == self.step.name and made["part"] is not None:
                found[made["part"]] = made["status"]
        by_status = {
            status: [part for part in parts if found.get(part) == status]
            for status in results.STATUSES
        }
        left = [part for part in parts if part not in found]
        counts = {status: names for status, names in by_status.items() if names}
        counts["ok"] = len(by_status["ok"])
        worst = next((s for s in reversed(results.STATUSES) if by_status[s]), "ok")
        told = {"result": {**counts, **({"left": left} if left else {})}}
        if self.died is not None:
            return "error", {**told, "error": self.died}
        if left and worst != "error":
            worst = "timeout"
        return worst, told

    def _stderr(self, number: int) -> Path:
        return self.folder / f"stderr-{number}"

    def _last_words(self) -> str:
        return results.last_lines(self._stderr(self.started - 1).read_text(errors="replace"))

    def _keep_stderr(self) -> None:
        """Adds the end of what each process wrote to one file beside the results."""
        with (self.settings.out / STDERR).open("ab") as kept:
            for number in range(self.started):
                text = self._stderr(number).read_bytes()[-STDERR_BYTES:]
                if text:
                    kept.write(f"== {self.step.name}, process {number}\n".encode() + text + b"\n")


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Delays SIGTERM and SIGINT until the body has ended: in the middle of its start, a process has no owner."""
    arrived: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: arrived.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in arrived:
            signal.raise_signal(number)


def _signal_or_status(code: int) -> str:
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process ended with exit status {code}"


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None
