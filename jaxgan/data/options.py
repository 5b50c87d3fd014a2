"""The options of data sources, and `open_source`, which opens a source.

A source is a module of `jaxgan.data` with a frozen dataclass `Options` and a function `source(options, progress)`.
There is no list to edit.
"""

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxgan.data.source import Source
from jaxgan.options import MOST_SIDE, Option, check, option, override


def _sources() -> tuple[str, ...]:
    """The modules of this folder that define a function `source`; found in their text, which imports none of them."""
    here = Path(__file__).parent
    names = (module.name for module in pkgutil.iter_modules([str(here)]))
    defines = re.compile(r"^def source\(", re.MULTILINE)
    return tuple(sorted(n for n in names if defines.search((here / f"{n}.py").read_text("utf-8"))))


# A name is a module: `data.name = "folder"` is `jaxgan.data.folder`, whose `source` opens it.
SOURCES = _sources()
NAME = Option("digits", "source of the examples", choices=SOURCES)

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Options of every source."""

    split: str = option("train", "part of the set")


@dataclasses.dataclass(frozen=True)
class LabelOptions(DataOptions):
    """Options of sources that have labels."""

    labels: bool = option(True, "give labels to the game, if there are any")


@dataclasses.dataclass(frozen=True)
class SizeOptions(DataOptions):
    """Options of sources of pictures, whatever their channels."""

    resolution: int = option(
        0,
        "side in pixels; pictures are cropped to the central square and resized; 0 keeps their size",
        least=0,
        most=MOST_SIDE,
    )
    flip: bool = option(False, "mirror pictures with probability 1/2, drawn anew each time")
    jitter: int = option(
        0,
        "pixels by which pictures are enlarged before a random crop to their size, drawn anew each time",
        least=0,
    )


@dataclasses.dataclass(frozen=True)
class PictureOptions(SizeOptions):
    """Options of sources of grey or coloured pictures."""

    channels: int = option(
        0, "1 for grey, 3 for RGB; 0 keeps what the pictures have", choices=(0, 1, 3)
    )


@dataclasses.dataclass(frozen=True)
class FileOptions(PictureOptions):
    """Options of sources of picture files, which may be broken."""

    strict: bool = option(False, "raise an error for a broken picture, instead of skipping it")


def options_of(name: str) -> type[DataOptions]:
    """The `Options` of the source called `name`."""
    return _module(name).Options


def open_source(
    data: str | DataOptions, progress: Progress = lambda done, total: None, **changes: Any
) -> Source:
    """Opens a set of examples.

    Args:
      data: the name of a source, one of `SOURCES`, or an instance of its `Options`.
      progress: called as `progress(done, total)` while a large set of pictures is read.
      **changes: options that differ from those of `data`.

    Returns:
      The source; its `summary` is a line for the terminal.

    >>> spec = open_source("digits").spec
    >>> spec.shape, spec.num_classes, spec.size
    ((8, 8, 1), 10, 1442)
    >>> open_source("digits", resolution=16, split="test").spec.shape
    (16, 16, 1)
    """
    options = override(options_of(data)() if isinstance(data, str) else data, changes)
    check(options)
    return importlib.import_module(type(options).__module__).source(options, progress)


def _module(name: str) -> ModuleType:
    NAME.check(name, "data.name")
    return importlib.import_module(f"jaxgan.data.{name}")
