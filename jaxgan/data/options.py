"""What a config says about its data, and the one function that opens it."""

import dataclasses
import difflib
import importlib
from collections.abc import Callable, Iterable

from jaxgan.data.source import Source

# A name is a module: `data.name = "folder"` is `jaxgan.data.folder`, whose `source` opens it.
SOURCES = ("digits", "stacked_digits", "mixture2d", "folder", "array", "pairs", "picture", "tfds")

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Everything a run says about its data; the defaults are those of every config."""

    name: str = "digits"  # one of SOURCES
    path: str = ""  # a folder or zip (folder, pairs), a .npy or .npz file (array, pairs), a picture (picture)
    split: str = "train"  # part of the set; tfds takes its whole syntax, such as train[:90%]
    resolution: int = 0  # pictures are centre-cropped and resized to this side; 0 = as they are
    channels: int = 0  # 1 = grey, 3 = RGB, 0 = as they are
    labels: bool = True  # give labels to the game, where there are any
    flip: bool = False  # mirror half of the pictures, drawn anew each time
    jitter: int = (
        0  # enlarge pictures by so many pixels and crop them back at random, drawn anew each time
    )
    strict: bool = False  # refuse a set with a broken picture, instead of skipping it
    direction: str = "AtoB"  # pairs: which picture is to become which, AtoB or BtoA
    modes: int = 25  # mixture2d: number of Gaussians
    layout: str = "grid"  # mixture2d: grid or ring
    std: float = 0.0  # mixture2d: of each Gaussian; 0 = 0.05 for the grid, 0.01 for the ring
    tfds_name: str = ""  # tfds: the set, such as cifar10 or imagenet_resized/64x64
    max_side: int = 250  # picture: the longer side is reduced to so many pixels; 0 = as it is
    data_dir: str = ""  # tfds: where sets are prepared; empty = the default of TFDS


def open_source(options: DataOptions, progress: Progress = lambda done, total: None) -> Source:
    """Opens the data that `options` describe.

    Args:
      options: the `data` part of a config.
      progress: called as `progress(done, total)` while a large set of pictures is read.

    Returns:
      The source; its `summary` is a line for the terminal.

    >>> source = open_source(DataOptions(name="digits"))
    >>> source.spec
    DataSpec(shape=(8, 8, 1), num_classes=10, size=1442, condition=None)
    """
    if options.name not in SOURCES:
        raise ValueError(unknown("data source", options.name, SOURCES, "--config.data.name"))
    if options.channels not in (0, 1, 3):
        raise ValueError(
            f"--config.data.channels={options.channels}: pictures have 1 channel (grey) "
            "or 3 (RGB); 0 keeps what the set has"
        )
    if options.resolution < 0:
        raise ValueError(
            f"--config.data.resolution={options.resolution}: give the side in pixels, "
            "or 0 to keep what the set has"
        )
    return importlib.import_module(f"jaxgan.data.{options.name}").source(options, progress)


def unknown(what: str, name: str, known: Iterable[str], flag: str) -> str:
    """A sentence for a name that does not exist, with the nearest one that does.

    >>> unknown("layout", "gird", ["grid", "ring"], "--layout")
    "unknown layout 'gird' (--layout): did you mean 'grid'? Known: grid, ring"
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" did you mean '{close[0]}'?" if close else ""
    return f"unknown {what} '{name}' ({flag}):{hint} Known: {', '.join(known)}"


def check_split(options: DataOptions, known: Iterable[str]) -> None:
    """Raises unless `options.split` is one of `known`."""
    if options.split not in known:
        what = f"split of {options.name}"
        raise ValueError(unknown(what, options.split, known, "--config.data.split"))
