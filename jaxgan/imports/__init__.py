"""Published GAN weights, as the variables of this library's networks.

    found = imports.load("mimicry_sngan").read([tensors of a file])

A kind of file is a module of this folder, with

    ABOUT     a line: program, networks, licence
    files(names) -> bool                whether a file with tensors (or settings) of these names looks like one of it
    read([Tensors, ...]) -> Imported    the run that the files describe

There is no list to edit. A kind infers the options of the model from the shapes of the tensors, and takes every tensor
of the file or raises an error that names the one that it cannot place.

The modules know names, axes and the arithmetic of their formats, and no model. `jaxgan.train.imported` puts the arrays
into the state of the game that the options describe, which checks their shapes.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxgan.imports.tensors import Leaf, Tensors
from jaxgan.spec import Spec

__all__ = ["KINDS", "Imported", "Leaf", "Tensors", "about", "load", "resembling"]


def _kinds() -> tuple[str, ...]:
    """The modules of this folder that define a function `read`; found in their text, which imports none of them."""
    here = Path(__file__).parent
    names = (module.name for module in pkgutil.iter_modules([str(here)]))
    defines = re.compile(r"^def read\(", re.MULTILINE)
    return tuple(sorted(n for n in names if defines.search((here / f"{n}.py").read_text("utf-8"))))


KINDS = _kinds()


@dataclasses.dataclass(frozen=True)
class Imported:
    """A run that published files describe.

    Attributes:
      model: the module of the model.
      options: those of the model that differ from its defaults.
      spec: what the networks were trained on; its size is unknown, and 1.
      players: {player: {"params/block0/conv0/kernel": the array, ...}}, the variables of each player in the files by
        collection and path. A player that the files lack is not in it.
      averages: the same for averaged players whose average differs from `players`.
      notes: sentences about what differs from the published program.
    """

    model: str
    options: Mapping[str, Any]
    spec: Spec
    players: Mapping[str, Mapping[str, Leaf]]
    averages: Mapping[str, Mapping[str, Leaf]] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()


def load(kind: str) -> ModuleType:
    """The module of a kind of file.

    >>> load("mimicry_sngam")
    Traceback (most recent call last):
    ValueError: there is no kind of file 'mimicry_sngam'; did you mean 'mimicry_sngan'?
    """
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(KINDS)}."
        raise ValueError(f"there is no kind of file '{kind}'; {hint}")
    return importlib.import_module(f"jaxgan.imports.{kind}")


def about() -> dict[str, str]:
    """{kind: its line}."""
    return {kind: load(kind).ABOUT for kind in KINDS}


def resembling(names: Collection[str]) -> list[str]:
    """The kinds that a file with tensors of these names looks like."""
    return [kind for kind in KINDS if load(kind).files(names)]
