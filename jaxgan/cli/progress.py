"""Progress messages of commands."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

_STEP = 16 * 2**20  # bytes between two lines
_LINE_EVERY_SECONDS = 20.0  # where there is no terminal


def weights_progress(entry, had: int, total: int | None) -> None:
    """Prints on standard error how much of a file of weights has been downloaded."""
    done = had == total
    if done or had % _STEP < 2**20:
        of = "" if total is None else f" of {total / 2**20:,.0f}"
        end = "\n" if done or not sys.stderr.isatty() else "\r"
        print(
            f"jaxgan: fetching {entry.file}: {had / 2**20:,.0f}{of} MiB",
            file=sys.stderr,
            end=end,
            flush=True,
        )


@contextlib.contextmanager
def examples_progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """Context with a function that shows, on standard error, how many examples are done: `show(done, total)`.

    It is a bar on a terminal, else a line every `_LINE_EVERY_SECONDS`; nothing is shown if the function is not called.

    Args:
      doing: what is done with them, such as "writing".
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _Lines(doing).show
        return
    columns = (TextColumn(doing), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(doing, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


class _Lines:
    """Progress in lines."""

    def __init__(self, doing: str):
        self.doing, self.last = doing, time.monotonic()

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= _LINE_EVERY_SECONDS:
            self.last = now
            print(f"jaxgan: {self.doing} {done:,} of {total:,}", file=sys.stderr, flush=True)
