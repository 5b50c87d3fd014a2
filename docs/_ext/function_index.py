"""The index of the pure functions: a row for each function or namespace, from its docstring."""

from __future__ import annotations

import importlib
import inspect
import re

import table  # tests/table: which modules are pure, and what is public in them

HEADS = "| Function | What it is | Source |\n| --- | --- | --- |"


def rows(name: str) -> list[str]:
    """The name, first sentence and source of each public function or namespace of a pure module."""
    module = importlib.import_module(f"jaxgan.{name}")
    found = []
    for path in dict.fromkeys(".".join(f.split(".")[:2]) for f in table.public_functions(module)):
        docstring = inspect.getdoc(getattr(module, path.split(".")[1])) or ""
        first = " ".join(docstring.split("\n\n")[0].split())
        first = re.split(r"(?<!Eq)\. (?=[A-Z`])", first)[0].rstrip(".:")
        source = re.search(r"^Sources?:(.*?)(?:\n\n|\Z)", docstring, re.MULTILINE | re.DOTALL)
        source_text = " ".join(source[1].split()).rstrip(".") if source else ""
        cells = (f"`{path}`", first, source_text)
        found.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return found


def block() -> str:
    """A table for each pure module."""
    parts = [f"## jaxgan.{name}\n\n" + "\n".join([HEADS, *rows(name)]) for name in table.PURE]
    return "\n\n".join(parts)
