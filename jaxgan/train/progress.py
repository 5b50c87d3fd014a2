"""The progress of a run, on a terminal or in a log."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINE_EVERY_SECONDS = 20.0  # without a terminal


def describe(row: dict[str, float], shown: tuple[str, ...] = ()) -> str:
    """A row of metrics as a short text: losses, the metrics that a game names as `shown`, and the rate.

    >>> describe({"critic/loss": 0.5, "critic/k": 0.1, "images_per_second": 90.0, "kimg": 2.0}, ("critic/k",))
    'critic 0.500 critic/k 0.100 | 90 img/s | 2.0 kimg'
    """
    numbers = {n.removesuffix("/loss"): x for n, x in row.items() if n.endswith("/loss")}
    numbers |= {name: row[name] for name in shown if name in row}
    listed = " ".join(f"{name} {value:.3f}" for name, value in numbers.items())
    return f"{listed} | {row['images_per_second']:,.0f} img/s | {row['kimg']:,.1f} kimg"


def duration(seconds: float) -> str:
    """A duration in words: by its size in days and hours, hours and minutes, minutes, or seconds.

    >>> [duration(seconds) for seconds in (0.4, 40, 90, 3600, 12_345, 100_000, 2_000_000)]
    ['0 s', '40 s', '2 min', '1 h', '3 h 26 min', '1 d 4 h', '23 d 4 h']
    """
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if round(seconds) < 60:
        parts = {"s": round(seconds)}
    elif minutes < 60:
        parts = {"min": minutes}
    elif minutes < 24 * 60:
        parts = {"h": minutes // 60, "min": minutes % 60}
    else:
        parts = {"d": hours // 24, "h": hours % 24}
    written = [f"{number:,} {unit}" for unit, number in parts.items() if number]
    return " ".join(written) or "0 s"


class Progress:
    """A bar with rate, losses and time left on a terminal, else a line every `LINE_EVERY_SECONDS`.

    The time left is estimated without the first round, which compiles.

    Args:
      steps: of the whole run.
      step: at which the run starts.
      shown: metrics to show beside the losses.
    """

    def __init__(self, steps: int, step: int, shown: tuple[str, ...] = ()):
        self.steps, self.shown, self.first, self.step = steps, shown, step, step
        self.began: float | None = None
        self.last_line = time.monotonic()
        console = Console(file=sys.stderr)
        self.bar = None
        if console.is_terminal:
            self.bar = RichProgress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=console,
            )
            self.task = self.bar.add_task("compiling", total=steps, completed=step)

    def __enter__(self):
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.stop()

    def advance(self, step: int) -> None:
        self.step = step
        if self.began is None:
            self.first, self.began = step, time.monotonic()
        if self.bar is not None:
            self.bar.update(self.task, completed=step)

    def show(self, step: int, row: dict[str, float]) -> None:
        """Shows a row of metrics."""
        if self.bar is not None:
            self.bar.update(self.task, description=describe(row, self.shown))
            return
        now = time.monotonic()
        if now - self.last_line >= LINE_EVERY_SECONDS or step >= self.steps:
            self.last_line = now
            print(
                f"step {step:,}/{self.steps:,} | {describe(row, self.shown)} | {self._left(step, now)}",
                file=sys.stderr,
                flush=True,
            )

    def _left(self, step: int, now: float) -> str:
        if self.began is None or step <= self.first:
            return "compiling"
        each = (now - self.began) / (step - self.first)
        return f"{duration(each * (self.steps - step))} left"
