"""Progress messages of commands."""

from __future__ import annotations

import sys

_STEP = 16 * 2**20  # bytes between two lines


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
