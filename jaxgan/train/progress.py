"""The progress of a run, for a person at a terminal or a log that is read later."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINE_EVERY_SECONDS = 20.0  # without a terminal


def describe(row: dict[str, float]) -> str:
    """Losses and rate of a row of metrics, in a few words."""
    losses = " ".join(
        f"{name.removesuffix('/loss')} {value:.3f}"
        for name, value in row.items()
        if name.endswith("/loss")
    )
    return f"{losses} | {row['images_per_second']:,.0f} img/s | {row['kimg']:,.1f} kimg"


class Progress:
    """A bar with rate, losses and time left where there is a terminal, else a line now and then."""

    def __init__(self, steps: int, step: int):
        self.steps, self.first, self.step = steps, step, step
        self.began = self.last_line = time.monotonic()
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
        if self.bar is not None:
            self.bar.update(self.task, completed=step)

    def show(self, step: int, row: dict[str, float]) -> None:
        """A row of metrics, as it is written."""
        if self.bar is not None:
            self.bar.update(self.task, description=describe(row))
            return
        now = time.monotonic()
        if now - self.last_line >= LINE_EVERY_SECONDS or step >= self.steps:
            self.last_line = now
            left = (now - self.began) / max(step - self.first, 1) * (self.steps - step)
            print(
                f"step {step:,}/{self.steps:,} | {describe(row)} | {left:,.0f} s left",
                file=sys.stderr,
                flush=True,
            )
