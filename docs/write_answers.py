"""Computes the answers of docs/questions and draws their plots.

    python docs/write_answers.py              # all
    python docs/write_answers.py clipping     # one

Numbers are in docs/questions/numbers/NAME.json, the plot of them in docs/questions/NAME.png, which names the numbers
that it shows. A test computes the numbers again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))
sys.path.insert(0, str(DOCS.parent))

from answers import Answer, answers

PAGES = DOCS / "questions"


def plain(value):
    """Arrays as lists, numbers with five digits."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    found = np.asarray(value)
    if found.ndim:
        return [plain(part) for part in found]
    return found.item() if found.dtype.kind in "iub" else float(f"{found.item():.5g}")


def numbers_file(name: str) -> Path:
    return PAGES / "numbers" / f"{name}.json"


def digest(name: str) -> str:
    """The checksum of an answer's numbers."""
    return hashlib.sha256(numbers_file(name).read_bytes()).hexdigest()


def drawn_from(name: str) -> str:
    """The checksum of the numbers that the plot of an answer shows."""
    with Image.open(PAGES / f"{name}.png") as picture:
        return picture.text.get("numbers", "")


def write(name: str, answer: Answer) -> None:
    file = numbers_file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plain(answer.compute()), separators=(",", ":")) + "\n")
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    answer.draw(figure, json.loads(file.read_text()))
    # Without Matplotlib's version in it, which would change the file.
    metadata = {"numbers": digest(name), "Software": None}
    figure.savefig(PAGES / f"{name}.png", dpi=90, metadata=metadata)


def main() -> int:
    chosen = sys.argv[1:] or answers()
    for name in chosen:
        write(name, answers()[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
