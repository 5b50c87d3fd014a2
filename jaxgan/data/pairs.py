"""Pairs of pictures A and B: a model learns to make B from A, or A from B."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jaxgan.data import array, digits, encoded, folder
from jaxgan.data.encoded import Encoded
from jaxgan.data.options import PictureOptions, Progress
from jaxgan.data.pictures import colours, fit_maps
from jaxgan.data.source import Source, digest, sampled
from jaxgan.data.splits import split_of
from jaxgan.data.together import (
    Parts,
    Reader,
    below,
    decoded,
    fitted,
    in_memory,
    open_together,
    same_name,
    size_of,
)
from jaxgan.options import OptionError, check, option
from jaxgan.spec import Field

DIRECTIONS = ("AtoB", "BtoA")
SIDES = ("A", "B")
UNIT = "pairs"
AUTHORS = "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets"


@dataclasses.dataclass(frozen=True)
class Options(PictureOptions):
    path: str = option(
        "",
        "folder or zip file of pairs, or a .npz file of arrays; empty for outlines of digits",
    )
    split: str = option(
        "train", "top-level folder, if these are called train, val, test; all for all of them"
    )
    direction: str = option(
        "AtoB", "which picture of a pair is translated into which", choices=DIRECTIONS
    )


def source(options: Options, progress: Progress) -> Source:
    """The pairs of `options.path`: "condition" is A and "image" B, or with `options.direction` BtoA the reverse.

    - A folder or zip with folders A and B (in each of the folders train, val, test, if there are such): a picture in A
      and one in B of the same name are a pair, whatever their suffixes.
    - Any other folder or zip: each picture holds A in its left half and B in its right half.
    - .npz: A is `conditions`, or `labels` [N, H, W] as class maps, in which each class has a colour; B is `images` (or
      `x`), or the encoded pictures of `data` and `offsets`, as in the data source "array".
    - No path: A is the outline of a handwritten digit and B the digit, 32x32; see `outlines`.

    A broken picture raises an error that names it; no pair is skipped.
    """
    if not options.path:
        enlarged = digits.Options(
            split=options.split, resolution=options.resolution or 32, channels=options.channels
        )
        check(enlarged)
        drawn = digits.source(enlarged, progress)
        name = f"outlines of digits ({options.split})"
        return _in_memory(name, outlines(drawn.images()), drawn.images(), options)
    if not Path(options.path).expanduser().exists():
        raise OptionError(
            "path",
            options.path,
            f"there is no such folder, zip or .npz of pairs; the pix2pix authors' sets, such as facades.tar.gz, are at"
            f" {AUTHORS}, and the config pix2pix_digits needs no files",
            {"path": "PATH"},
        )
    if Path(options.path).suffix in (".npy", ".npz"):
        return _from_arrays(options, progress)
    files = folder.files(folder.Options(**_shared(options), labels=False))
    sides = [below(name, SIDES) for name in files.names]
    _check_folders(files)
    separate = any(side is not None for side in sides)
    reader = _two_folders(files, sides, options) if separate else _side_by_side(files, options)
    return open_together(reader, options, progress)


def _parts(a: np.ndarray, b: np.ndarray, options: Options) -> Parts:
    """A pair, or the arrays of all pairs, by the names of the fields."""
    condition, image = (a, b) if options.direction == "AtoB" else (b, a)
    return {"image": image, "condition": condition}


def _in_memory(name: str, a: np.ndarray, b: np.ndarray, options: Options) -> Source:
    """A source over pairs in memory: `a` and `b`, uint8 [N, H, W, C] each."""
    arrays = _parts(a, b, options)
    fields = {name: Field("image", array.shape[1:]) for name, array in arrays.items()}
    return in_memory(name, UNIT, fields, arrays)


def _shared(options: Options) -> dict[str, Any]:
    """The options that other sources of pictures have as well."""
    names = ("path", "split", "resolution", "channels")
    return {name: getattr(options, name) for name in names}


def outlines(images: np.ndarray) -> np.ndarray:
    """The outlines of the ink of pictures, white on black: uint8 [N, H, W, 1], as the pictures.

    Ink pixels are those above 127. The outline is the ink pixels with a neighbour above, below, left or right that is
    not ink.

    >>> picture = np.zeros((1, 5, 5, 1), np.uint8)
    >>> picture[0, 1:4, 1:4] = 200
    >>> outlines(picture)[0, 2, :, 0].tolist()
    [0, 255, 0, 255, 0]
    """
    ink = images > 127
    wide = np.pad(ink, ((0, 0), (1, 1), (1, 1), (0, 0)))
    inner = wide[:, :-2, 1:-1] & wide[:, 2:, 1:-1] & wide[:, 1:-1, :-2] & wide[:, 1:-1, 2:]
    return np.where(ink & ~inner, np.uint8(255), np.uint8(0))


def _side_by_side(files: Encoded, options: Options) -> Reader:
    """Pairs in one picture each, A to the left."""

    def read(i: int) -> Parts:
        both = decoded(files, i, "pair")
        width = both.shape[1]
        if width % 2:
            raise encoded.BadData(
                f"{files.where}: picture {files.names[i]} is {width} pixels wide, but a pair side by side, A left and B"
                " right, has an even width; put the pictures into folders A and B if that is meant"
            )
        left, right = both[:, : width // 2], both[:, width // 2 :]
        return _parts(fitted(left, options), fitted(right, options), options)

    contents = lambda: files.contents(range(len(files.names)))  # noqa: E731
    return Reader(files.where, UNIT, files.names, read, files.stamp, contents, options.direction)


def _check_folders(files: Encoded) -> None:
    """Raises if folders seem to be the two sides but have other names: else each picture would be split in two."""
    for name in files.names:
        for part in PurePosixPath(name).parts[:-1]:
            if part not in SIDES and re.fullmatch(r"(train|val|test)?_?[ab]", part, re.IGNORECASE):
                raise ValueError(
                    f"{files.where}: has a folder {part}, but the sides of pairs are called A and B (or train/A,"
                    " train/B and so on); rename it"
                )


def _two_folders(
    files: Encoded, sides: Sequence[tuple[str, str] | None], options: Options
) -> Reader:
    """Pairs of a picture in A and one of the same name in B."""
    keys: dict[str, dict[int, str]] = {side: {} for side in SIDES}
    for i, split in enumerate(sides):
        if split is None:
            continue
        side, key = split
        parts = PurePosixPath(files.names[i]).parts
        inside = parts[parts.index(side) + 1 : -1]
        if inside and split_of(inside[0]):
            raise ValueError(
                f"{files.where}: has its splits inside of {side} ({files.names[i]}); put them outside, as in"
                " train/A, train/B, test/A, test/B"
            )
        keys[side][i] = key
    names, indices = same_name(files.where, files.names, keys)

    def read(i: int) -> Parts:
        a, b = (decoded(files, k, "pair") for k in indices[i])
        if a.shape[:2] != b.shape[:2]:
            one, other = (files.names[k] for k in indices[i])
            raise encoded.BadData(
                f"{files.where}: {one} is {size_of(a.shape)}, but {other} is {size_of(b.shape)}; bring both"
                " pictures of a pair to one size"
            )
        return _parts(fitted(a, options), fitted(b, options), options)

    stamp = lambda i: " ".join(files.stamp(k) for k in indices[i])  # noqa: E731
    contents = lambda: files.contents(k for pair in indices for k in pair)  # noqa: E731
    return Reader(files.where, UNIT, names, read, stamp, contents, options.direction)


def _from_arrays(options: Options, progress: Progress) -> Source:
    """Pairs of an array file: A in `conditions` or as maps in `labels`, B as in the data source "array"."""
    arrays = array.Options(**_shared(options))
    check(arrays)
    where, members = array.load(arrays)
    packed = {"data", "offsets"} <= members.keys()
    found = next((members[key] for key in array.IMAGE_KEYS if key in members), None)
    images = None if packed else found
    conditions, maps = members.get("conditions"), members.get("labels")
    if (images is None and not packed) or (conditions is None and maps is None):
        raise ValueError(
            f"{where}: holds {', '.join(members)}; pairs need `conditions` [N, H, W, C] (or class maps, `labels`"
            " [N, H, W]) beside `images` [N, H, W, C] (or `data` and `offsets`)"
        )
    if conditions is not None and conditions.ndim not in (3, 4):
        raise ValueError(
            f"{where}: its conditions have shape {list(conditions.shape)}; give pictures [N, H, W, C]"
        )
    if conditions is None:
        assert maps is not None
        conditions = _check_maps(where, maps)
    count = len(members["offsets"]) - 1 if images is None else len(images)
    if len(conditions) != count:
        raise ValueError(
            f"{where}: holds {len(conditions):,} conditions for {count:,} pictures; give one for each"
        )
    size = conditions.shape[1:3]
    if images is not None and images.shape[1:3] != size:
        raise ValueError(
            f"{where}: its conditions are {size_of(size)}, but its pictures {size_of(images.shape[1:])}; bring both to"
            " one size"
        )
    if conditions is maps:
        a = colours()[fit_maps(conditions, options.resolution)]
    else:
        a = array.array_source(conditions, None, arrays, where=where).images()
    if images is not None:
        b = array.array_source(images, None, arrays, where=where).images()
        return _in_memory(where, a, b, options)
    files = array.packed(where, members, None)

    def read(i: int) -> Parts:
        picture = decoded(files, i, "pair")
        if picture.shape[:2] != size:
            raise ValueError(
                f"{where}: picture {files.names[i]} is {size_of(picture.shape)}, but its condition is {size_of(size)};"
                " bring both to one size"
            )
        return _parts(a[i], fitted(picture, options), options)

    stamp = lambda i: f"{files.stamp(i)} {digest([conditions[i]])}"  # noqa: E731
    contents = lambda: [*files.contents(range(count)), sampled(conditions)]  # noqa: E731
    reader = Reader(where, UNIT, files.names, read, stamp, contents, options.direction)
    return open_together(reader, options, progress)


def _check_maps(where: str, maps: np.ndarray) -> np.ndarray:
    whole = np.issubdtype(maps.dtype, np.integer)
    if maps.ndim != 3 or not whole or maps.min() < 0 or maps.max() > 255:
        found = f"{maps.dtype} of shape {list(maps.shape)}"
        if maps.ndim == 3 and whole:
            found = f"numbers from {maps.min()} to {maps.max()}"
        way = ": labels[..., 0]" if maps.ndim == 4 and maps.shape[-1] == 1 else ""
        raise ValueError(
            f"{where}: `labels` are {found}; as conditions they must be class maps"
            f" [N, H, W] of whole numbers from 0 to 255{way}"
        )
    return maps
