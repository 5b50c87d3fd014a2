"""Pairs of pictures A and B: a model learns to make B from A, or A from B."""

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jaxgan.data import array, digits, encoded, folder, pictures
from jaxgan.data.encoded import Encoded
from jaxgan.data.options import PictureOptions, Progress
from jaxgan.data.source import Batch, Source, digest, summarise
from jaxgan.options import check, option
from jaxgan.spec import DataSpec

DIRECTIONS = ("AtoB", "BtoA")
SIDES = ("A", "B")
CHUNK = 64  # pairs read between two reports of progress

Pair = tuple[np.ndarray, np.ndarray]  # A and B, uint8 [H, W, 1 or 3]


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
        return ArrayPairs(name, outlines(drawn.images()), drawn.images(), options)
    if Path(options.path).suffix in (".npy", ".npz"):
        return _from_arrays(options, progress)
    files = folder.files(folder.Options(**_shared(options), labels=False))
    sides = [_side(name) for name in files.names]
    _check_folders(files)
    separate = any(side is not None for side in sides)
    reader = _two_folders(files, sides, options) if separate else _side_by_side(files, options)
    return _open(reader, options, progress)


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


def colours() -> np.ndarray:
    """The colour of each class, uint8 [256, 3], as in the label maps of PASCAL VOC.

    Bits 0, 3, 6 of a class are the high bits of its red, bits 1, 4, 7 of its green and bits 2, 5 of its blue, so that
    classes with small numbers have very different colours.

    >>> colours()[[0, 1, 2, 15]].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128]]
    """
    classes, channel, bit = np.ogrid[:256, :3, :8]
    return ((classes >> (3 * bit + channel) & 1) << (7 - bit)).sum(axis=-1).astype(np.uint8)


class ArrayPairs(Source):
    """Pairs in memory: `a` and `b`, uint8 [N, H, W, C] each."""

    in_memory = True

    def __init__(self, name: str, a: np.ndarray, b: np.ndarray, options: Options):
        self._conditions, self._images = (a, b) if options.direction == "AtoB" else (b, a)
        self.spec = DataSpec(self._images.shape[1:], None, len(a), self._conditions.shape[1:])
        self.summary = _summary(name, self.spec)

    def gather(self, indices: np.ndarray) -> Batch:
        return {"image": self._images[indices], "condition": self._conditions[indices]}


@dataclasses.dataclass(frozen=True)
class Reader:
    """Pairs before they are decoded.

    Attributes:
      where: name of the set in messages.
      names: of the pairs, in the order of the source.
      read: A and B of pair i, at the resolution of the options; called from several threads at once.
      stamp: a text for pair i that differs if its files have changed; it does not decode them.
    """

    where: str
    names: Sequence[str]
    read: Callable[[int], Pair]
    stamp: Callable[[int], str]


class DecodingPairs(Source):
    """A set of pairs too large for memory, decoded at each access; `a` and `b` are the shapes of the two sides."""

    def __init__(self, reader: Reader, a: tuple[int, ...], b: tuple[int, ...], options: Options):
        self._reader, self._shapes, self._forward = reader, (a, b), options.direction == "AtoB"
        condition, image = (a, b) if self._forward else (b, a)
        self.spec = DataSpec(image, None, len(reader.names), condition)
        self.summary = _summary(reader.where, self.spec)

    def fingerprint(self) -> str:
        stamps = (f"{name} {self._reader.stamp(i)}" for i, name in enumerate(self._reader.names))
        return digest([str(self.spec), str(self._forward), *stamps])

    def gather(self, indices: np.ndarray) -> Batch:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pairs = list(pool.map(self._read, map(int, indices)))
        a, b = (np.stack(side) for side in zip(*pairs, strict=True))
        return {"image": b, "condition": a} if self._forward else {"image": a, "condition": b}

    def _read(self, index: int) -> Pair:
        return _shaped(self._reader, index, self._shapes)[0]


def _summary(name: str, spec: DataSpec) -> str:
    assert spec.condition is not None, "pairs have one"
    return f"{summarise(name, spec, 'pairs')} from {'x'.join(map(str, spec.condition))}"


def _open(reader: Reader, options: Options, progress: Progress) -> Source:
    """A source over `reader`: in memory where the decoded set fits, else decoding at each access.

    In memory, a side whose pictures are all grey gets one channel. For a larger set this must be set
    by `options.channels`, since only its first pair is decoded here.
    """
    first, count = reader.read(0), len(reader.names)
    a, b = shapes = tuple((*picture.shape[:2], options.channels or 3) for picture in first)
    if sum(count * int(np.prod(shape)) for shape in shapes) > encoded.CACHE_BYTES:
        return DecodingPairs(reader, a, b, options)
    stores = tuple(np.empty((count, *shape), np.uint8) for shape in shapes)

    def keep(i: int) -> tuple[bool, bool]:
        pair, grey = _shaped(reader, i, shapes)
        for store, picture in zip(stores, pair, strict=True):
            store[i] = picture
        return grey

    grey: list[tuple[bool, bool]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, CHUNK):
            grey += pool.map(keep, range(start, min(start + CHUNK, count)))
            progress(len(grey), count)
    one, other = (
        np.ascontiguousarray(store[..., :1]) if not options.channels and all(greys) else store
        for store, greys in zip(stores, zip(*grey, strict=True), strict=True)
    )
    return ArrayPairs(reader.where, one, other, options)


def _shaped(
    reader: Reader, i: int, shapes: tuple[tuple[int, ...], ...]
) -> tuple[Pair, tuple[bool, bool]]:
    """Pair i in the shapes of the set, and which of its pictures were grey."""
    pair = reader.read(i)
    for picture, shape in zip(pair, shapes, strict=True):
        if picture.shape[:2] != shape[:2]:
            raise encoded.SizesDiffer(
                f"{reader.where}: its pictures differ in size ({reader.names[0]} is {_size(shape)}, {reader.names[i]}"
                f" is {_size(picture.shape)}), and no resolution is set",
                {"resolution": min(shape[:2])},
            )
    a, b = (pictures.to_channels(p, s[2]) for p, s in zip(pair, shapes, strict=True))
    a_grey, b_grey = (picture.shape[2] == 1 for picture in pair)
    return (a, b), (a_grey, b_grey)


def _side_by_side(files: Encoded, options: Options) -> Reader:
    """Pairs in one picture each, A to the left."""

    def read(i: int) -> Pair:
        both = _decode(files, i)
        width = both.shape[1]
        if width % 2:
            raise encoded.BadData(
                f"{files.where}: picture {files.names[i]} is {width} pixels wide, but a pair side by side, A left and B"
                " right, has an even width; put the pictures into folders A and B if that is meant"
            )
        return _fit(both[:, : width // 2], options), _fit(both[:, width // 2 :], options)

    return Reader(files.where, files.names, read, files.stamp)


def _check_folders(files: Encoded) -> None:
    """Raises if folders seem to be the two sides but have other names: else each picture would be split in two."""
    for name in files.names:
        for part in PurePosixPath(name).parts[:-1]:
            if part not in SIDES and re.fullmatch(r"(train|val|test)?_?[ab]", part, re.IGNORECASE):
                raise ValueError(
                    f"{files.where}: has a folder {part}, but the sides of pairs are called A and B (or train/A,"
                    " train/B and so on); rename it"
                )


def _side(name: str) -> tuple[str, str] | None:
    """(A or B, the name that a picture shares with its partner: without the folder A or B and without the suffix).

    >>> _side("train/A/cat/1.png"), _side("train/1.png")
    (('A', 'train/cat/1'), None)
    """
    path = PurePosixPath(name)
    for i, part in enumerate(path.parts[:-1]):
        if part in SIDES:
            rest = PurePosixPath(*path.parts[:i], *path.parts[i + 1 :])
            return part, str(rest.with_suffix(""))
    return None


def _two_folders(
    files: Encoded, sides: Sequence[tuple[str, str] | None], options: Options
) -> Reader:
    """Pairs of a picture in A and one of the same name in B."""
    found: dict[str, dict[str, int]] = {side: {} for side in SIDES}
    for i, (name, split) in enumerate(zip(files.names, sides, strict=True)):
        if split is None:
            continue
        side, key = split
        if PurePosixPath(key).parts[0] in folder.SPLITS and name.startswith(f"{side}/"):
            raise ValueError(
                f"{files.where}: has its splits inside of {side} ({name}); put them outside, as in"
                " train/A, train/B, test/A, test/B"
            )
        twin = found[side].setdefault(key, i)
        if twin != i:
            raise ValueError(
                f"{files.where}: {files.names[twin]} and {name} have the same name, so the partner of either is not"
                " known; rename or remove one"
            )
    alone = [
        files.names[i]
        for side, other in zip(SIDES, reversed(SIDES), strict=True)
        for key, i in found[side].items()
        if key not in found[other]
    ]
    if alone:
        more = f" and {len(alone) - 3:,} more" if len(alone) > 3 else ""
        raise ValueError(
            f"{files.where}: {', '.join(alone[:3])}{more} have no partner; each picture in A needs one of the same"
            " name in B, and each in B one in A"
        )
    keys = list(found["A"])
    indices = [(found["A"][key], found["B"][key]) for key in keys]

    def read(i: int) -> Pair:
        a, b = (_decode(files, k) for k in indices[i])
        if a.shape[:2] != b.shape[:2]:
            names = [files.names[k] for k in indices[i]]
            raise encoded.BadData(
                f"{files.where}: {names[0]} is {_size(a.shape)}, but {names[1]} is {_size(b.shape)}; bring both"
                " pictures of a pair to one size"
            )
        return _fit(a, options), _fit(b, options)

    return Reader(files.where, keys, read, lambda i: " ".join(files.stamp(k) for k in indices[i]))


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
            f"{where}: its conditions are {_size(size)}, but its pictures {_size(images.shape[1:])}; bring both to"
            " one size"
        )
    if conditions is maps:
        a = colours()[_nearest(conditions, options.resolution)]
    else:
        a = array.array_source(conditions, None, arrays, where=where).images()
    if images is not None:
        b = array.array_source(images, None, arrays, where=where).images()
        return ArrayPairs(where, a, b, options)
    files = array.packed(where, members, None)

    def read(i: int) -> Pair:
        picture = _decode(files, i)
        if picture.shape[:2] != size:
            raise ValueError(
                f"{where}: picture {files.names[i]} is {_size(picture.shape)}, but its condition is {_size(size)};"
                " bring both to one size"
            )
        return a[i], _fit(picture, options)

    stamp = lambda i: f"{files.stamp(i)} {digest([conditions[i]])}"  # noqa: E731
    return _open(Reader(where, files.names, read, stamp), options, progress)


def _check_maps(where: str, maps: np.ndarray) -> np.ndarray:
    whole = np.issubdtype(maps.dtype, np.integer)
    if maps.ndim != 3 or not whole or maps.min() < 0 or maps.max() > 255:
        raise ValueError(
            f"{where}: `labels` are {maps.dtype} of shape {list(maps.shape)}; as conditions they must be class maps"
            " [N, H, W] of whole numbers from 0 to 255"
        )
    return maps


def _nearest(maps: np.ndarray, resolution: int) -> np.ndarray:
    """The central squares of maps [N, H, W], resized to `resolution` by nearest neighbour, which keeps classes."""
    if not resolution:
        return maps
    height, width = maps.shape[1:]
    side = min(height, width)
    pick = (2 * np.arange(resolution) + 1) * side // (2 * resolution)
    return maps[:, (height - side) // 2 + pick][:, :, (width - side) // 2 + pick]


def _decode(files: Encoded, i: int) -> np.ndarray:
    try:
        with files.read(i) as file:
            return pictures.decode(file)
    except Exception as error:  # Decoders of dozens of formats raise anything.
        raise encoded.BadData(
            f"{files.where}: picture {files.names[i]} is broken ({encoded.reason_of(error)}): repair it, or remove the"
            " pair"
        ) from error


def _fit(picture: np.ndarray, options: Options) -> np.ndarray:
    return pictures.to_channels(
        pictures.fit_array(picture[None], options.resolution)[0], options.channels
    )


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]}"
