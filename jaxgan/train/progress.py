"""The progress of a run, on a terminal or in a log."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

LINE_EVERY_SECONDS = 20.0  # without a terminal
REDRAW_EVERY_SECONDS = 1.0  # in a notebook
WORTH_TELLING = 0.05  # share of the time in which training waits for data
NARROWEST_BAR = 5  # characters


def describe(row: dict[str, float], shown: tuple[str, ...] = ()) -> str:
    """A row of metrics as a short text: losses, the metrics that a game names as `shown`, the rate, and the share of
    the time in which training waits for data, if it matters.

    >>> describe({"critic/loss": 0.5, "critic/k": 0.1, "images_per_second": 90.0, "kimg": 2.0}, ("critic/k",))
    'critic 0.500 critic/k 0.100 | 90 img/s | 2.0 kimg'
    >>> describe({"critic/loss": 0.5, "images_per_second": 90.0, "kimg": 2.0, "data_wait": 0.35})
    'critic 0.500 | 90 img/s | waits for data 35% | 2.0 kimg'
    """
    numbers = {n.removesuffix("/loss"): x for n, x in row.items() if n.endswith("/loss")}
    numbers |= {name: row[name] for name in shown if name in row}
    listed = " ".join(f"{name} {value:.3f}" for name, value in numbers.items())
    waits = row.get("data_wait", 0.0)
    waiting = f" | waits for data {waits:.0%}" if waits >= WORTH_TELLING else ""
    return f"{listed} | {row['images_per_second']:,.0f} img/s{waiting} | {row['kimg']:,.1f} kimg"


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
    """A bar with rate, losses and time left on a terminal and in a notebook, else a line every `LINE_EVERY_SECONDS`.

    In a notebook, the bar is one output of the cell, which is replaced at most every `REDRAW_EVERY_SECONDS`: Rich's own
    live display needs ipywidgets there, and is not saved with the notebook. The time left is estimated without the
    first round, which compiles.

    Args:
      steps: of the whole run.
      step: at which the run starts.
      shown: metrics to show beside the losses.
      quiet: show nothing: another process of the run does.
    """

    def __init__(self, steps: int, step: int, shown: tuple[str, ...] = (), quiet: bool = False):
        self.steps, self.shown, self.first, self.step = steps, shown, step, step
        self.quiet = quiet
        self.began: float | None = None
        self.last_line = self.last_drawn = time.monotonic()
        console = Console(file=sys.stderr)
        # Rich counts a file as a terminal where FORCE_COLOR is set, as in the commands of a notebook.
        on_terminal = console.is_interactive and console.file.isatty()
        self.in_notebook = console.is_jupyter and not quiet
        with_bar = self.in_notebook or (on_terminal and not quiet)
        self.bar = _bar(console, steps) if with_bar else None
        self.output: Any = None  # the output of the notebook's cell
        if self.bar is not None:
            words = "compiling" if step < steps else ""
            self.task = self.bar.add_task(words, total=steps, completed=step)

    def __enter__(self):
        if self.in_notebook:
            from IPython.display import display

            self.output = display(self.bar, display_id=True)
        elif self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *error):
        if self.output is not None:
            self.output.update(self.bar)
        elif self.bar is not None:
            self.bar.stop()

    def advance(self, step: int) -> None:
        self.step = step
        if self.began is None:
            self.first, self.began = step, time.monotonic()
            if self.bar is not None:
                self.bar.update(self.task, description="")
        if self.bar is not None:
            self.bar.update(self.task, completed=step)
            self._redraw()

    def show(self, step: int, row: dict[str, float]) -> None:
        """Shows a row of metrics."""
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.update(self.task, description=describe(row, self.shown))
            self._redraw()
            return
        now = time.monotonic()
        if now - self.last_line >= LINE_EVERY_SECONDS or step >= self.steps:
            self.last_line = now
            print(
                f"step {step:,}/{self.steps:,} | {describe(row, self.shown)} | {self._left(step, now)}",
                file=sys.stderr,
                flush=True,
            )

    def _redraw(self) -> None:
        now = time.monotonic()
        if self.output is not None and now - self.last_drawn >= REDRAW_EVERY_SECONDS:
            self.last_drawn = now
            self.output.update(self.bar)

    def _left(self, step: int, now: float) -> str:
        if self.began is None or step <= self.first:
            return "compiling"
        each = (now - self.began) / (step - self.first)
        return f"{duration(each * (self.steps - step))} left"


def _bar(console: Console, steps: int) -> RichProgress:
    """The bar; if the console is narrow, the metrics at its end are cut off, not the step or the time left."""
    whole = 2 * len(str(steps)) + len("step /  0:00:00 ")
    rest = max(console.width - whole - NARROWEST_BAR, 1)
    return RichProgress(
        TextColumn("step"),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        BarColumn(),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn(
            "{task.description}",
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=rest),
        ),
        console=console,
    )
