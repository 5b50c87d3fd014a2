"""One file per GAN. A name is a module: `models.load("sngan")` is `jaxgan.models.sngan`; there is no list to edit.

Each module has `Options`, a frozen dataclass with every hyper-parameter and its paper's default, and
`game(options, spec) -> jaxgan.game.Game`. One whose new networks start from files of weights also has
`prepare(options)`, which reads them, or raises what is to be told.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType


def names() -> tuple[str, ...]:
    """The models there are."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(name: str) -> ModuleType:
    """The module of the model called `name`."""
    if name not in names():
        close = difflib.get_close_matches(name, names(), 1)
        hint = f"did you mean '{close[0]}'?" if close else f"the models are {', '.join(names())}."
        raise ValueError(f"there is no model '{name}' (config.model.name); {hint}")
    return importlib.import_module(f"{__name__}.{name}")
