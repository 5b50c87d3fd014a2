"""One file per GAN. A name is a module: `models.load("sngan")` is `jaxgan.models.sngan`; there is no list to edit.

Each module has `Options`, a frozen dataclass with every hyper-parameter, its paper's default and its meaning, and
`game(options, spec) -> jaxgan.game.Game`. A model that needs files of pretrained weights also has `prepare(options)`,
which reads them and raises `OptionError` if it cannot.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from jaxgan.options import Option


def names() -> tuple[str, ...]:
    """The names of all models."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def name_option() -> Option:
    """The option that selects the model."""
    return Option("sngan", "model to train", choices=names())


def load(name: str) -> ModuleType:
    """The module of the model called `name`."""
    name_option().check(name, "model.name")
    return importlib.import_module(f"{__name__}.{name}")
