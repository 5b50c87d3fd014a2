"""Options as text for a terminal: flag, type, allowed values, default and meaning of each."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable

from jaxgan.options import Flag, Row, text

WIDEST = 100  # columns; longer lines are hard to read


def lines(rows: Iterable[Row], flag: Flag, indent: str = "  ") -> list[str]:
    """At least three lines for each option, wrapped to the width of the terminal (80 columns if there is none)."""
    width, found = min(WIDEST, shutil.get_terminal_size((80, 24)).columns), []
    for row in rows:
        # A list of choices already shows the type.
        allowed = row.allowed if row.allowed.startswith("one of") else row.kind
        if row.allowed and allowed == row.kind:
            allowed += f", {row.allowed}"
        found.append(f"{indent}{flag(row.name)}")
        for paragraph in (f"{allowed}; default {_default(row)}", row.meaning):
            found += textwrap.wrap(
                paragraph,
                width,
                initial_indent=f"{indent}    ",
                subsequent_indent=f"{indent}    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    return found


def _default(row: Row) -> str:
    value, own = (text(v) or "empty" for v in (row.value, row.default))
    return value if row.value == row.default else f"{value} in this config, {own} otherwise"
