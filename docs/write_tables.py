"""Writes what the README and the pages take from the code, where a reader of the repository shall see it.

    python docs/write_tables.py            # rewrites the tables and diagrams
    python docs/write_tables.py --check    # exit status 1 and the files, if some differ from that

They are the table of systems of both READMEs, the index of the pure functions and the diagrams of the models.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(DOCS / "_ext"))
sys.path.insert(0, str(ROOT))

import function_index
import model_pages
import system_table

# {file: (name of the marks, the text between them)}
BLOCKS = {
    "README.md": ("systems", system_table.block),
    "README.zh-CN.md": ("systems", system_table.chinese_block),
    "docs/functions.md": ("functions", function_index.block),
}


def made() -> dict[Path, str]:
    """{file: what it should contain}."""
    found = {ROOT / name: between(ROOT / name, *block) for name, block in BLOCKS.items()}
    for name, picture in model_pages.diagrams().items():
        found[DOCS / model_pages.DIAGRAMS / name] = picture
    return found


def between(file: Path, name: str, block) -> str:
    """The text of a file with a new block between its marks."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = file.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{file} has no marks {begin} and {end}.")
    return f"{before}{begin}\n{block()}\n{end}{after}"


def stale() -> list[Path]:
    """The files that differ from what they should contain, and diagrams without a model."""
    should = made()
    differing = [f for f, text in should.items() if not f.exists() or f.read_text() != text]
    return differing + [f for f in (DOCS / model_pages.DIAGRAMS).iterdir() if f not in should]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        files = stale()
        print(
            *(
                f"{file.relative_to(ROOT)} is not what docs/write_tables.py writes"
                for file in files
            ),
            sep="\n",
        )
        return int(bool(files))
    (DOCS / model_pages.DIAGRAMS).mkdir(exist_ok=True)
    for file, text in made().items():
        file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
