"""The computations and plots of the pages in docs/questions.

A module for each page. In it, a function without an underscore computes numbers: it returns a dictionary of numbers
and nested lists of them, in seconds and with fixed seeds. `draw_NAME(figure, numbers)` makes the plot of function NAME.
`docs/write_answers.py` writes both.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

Numbers = dict


class Answer(NamedTuple):
    """A computation and its plot."""

    compute: Callable[[], Numbers]
    draw: Callable  # (figure, numbers)


def answers() -> dict[str, Answer]:
    """All answers by name; the name is that of the function and of the files."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            drawn = getattr(module, f"draw_{name}", None)
            if drawn is not None and function.__module__ == module.__name__:
                found[name] = Answer(function, drawn)
    return found
