"""One file per GAN. A name is a module: `models.load("sngan")` is `jaxgan.models.sngan`; there is no list to edit.

Each module has `Options`, a frozen dataclass with every hyper-parameter, its paper's default and its meaning, and
`game(options, spec) -> jaxgan.game.Game`. One whose new networks start from files of weights also has
`prepare(options)`, which reads them, or raises what is to be told.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from jaxgan.options import Option


def names() -> tuple[str, ...]:
    """The models there are."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def name_option() -> Option:
    """The option of which model is trained."""
    return Option("sngan", "the GAN that is trained", choices=names())


def load(name: str) -> ModuleType:
    """The module of the model called `name`."""
    name_option().check(name, "model.name")
    return importlib.import_module(f"{__name__}.{name}")
