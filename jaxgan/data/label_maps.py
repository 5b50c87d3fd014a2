"""Pictures with label maps: for each pixel of a picture, the index of its label."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from jaxgan.data import array, digits, encoded, folder, pictures
from jaxgan.data.encoded import Encoded
from jaxgan.data.options import PictureOptions, Progress
from jaxgan.data.source import MOST_LABEL, Source, digest, sampled
from jaxgan.data.splits import level_of_splits, split_of
from jaxgan.data.together import (
    Parts,
    Reader,
    decoded,
    fitted,
    in_memory,
    open_together,
    same_name,
    size_of,
)
from jaxgan.options import OptionError, check, option
from jaxgan.spec import Field

UNIT = "pictures with label maps"
# Formats that do not keep the value of a pixel.
LOSSY = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".jp2", ".avif"})
# Pillow's modes with one whole number for each pixel; of a palette ("P") that is the index.
INDEXED = frozenset({"1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N"})
INK = 127  # digits: pixels above this are ink


@dataclasses.dataclass(frozen=True)
class Options(PictureOptions):
    path: str = option(
        "",
        "folder or zip file of pictures and label maps, or a .npz file of arrays; empty for digits and their ink",
    )
    split: str = option(
        "train",
        "folder inside or outside of those of pictures and maps, if these are called train, val, test; all for all",
    )
    num_labels: int = option(
        0,
        "number of labels; the indices in the maps are from 0 to one less",
        least=0,
        most=MOST_LABEL,
    )
    ignore: int = option(
        -1,
        "index in the maps of pixels without a label, which become one further label, the last; -1 if there are none",
        least=-1,
    )
    image_folder: str = option("images", "name of the folder of pictures")
    map_folder: str = option("labels", "name of the folder of label maps")
    image_ending: str = option(
        "", "end of the names of pictures before the suffix; those with another end are left out"
    )
    map_ending: str = option(
        "", "end of the names of label maps before the suffix; those with another end are left out"
    )


def source(options: Options, progress: Progress) -> Source:
    """The pictures of `options.path` ("image") with their label maps ("label_map", [H, W]).

    - A folder or zip with the folders `options.image_folder` and `options.map_folder`: a picture and a map of the same
      name belong together, whatever their suffixes. Folders called train, val or test, outside or inside of these two,
      are splits. Maps are PNGs (or other files without loss) with one whole number for each pixel: grey levels, or the
      indices of a palette.
    - .npz: the maps are `label_maps`, or `labels`, [N, H, W]; the pictures are `images` (or `x`), or the encoded
      pictures of `data` and `offsets`, as in the data source "array".
    - No path: handwritten digits, 32x32. Paper has label 0, the ink of a digit d has label 1 + d.

    A pixel of index `options.ignore` gets the index `num_labels`: the field then has num_labels + 1 labels. Any other
    index from `num_labels` on is an error. Maps are resized by the nearest pixel, so they hold no new indices. A broken
    picture or map raises an error that names it; none is skipped.
    """
    if not options.path:
        return _digits(options, progress)
    if Path(options.path).suffix in (".npy", ".npz"):
        return _from_arrays(options, progress)
    files = folder.files(folder.Options(path=options.path, split="all", labels=False))
    names, indices = _chosen(files, options)

    def map_of(i: int) -> np.ndarray:
        return _map(files, indices[i][1])

    _check_number(files.where, options, len(names), map_of)

    def read(i: int) -> Parts:
        one, other = (files.names[k] for k in indices[i])
        picture, found = decoded(files, indices[i][0], "picture with its map"), map_of(i)
        if picture.shape[:2] != found.shape:
            raise encoded.BadData(
                f"{files.where}: {one} is {size_of(picture.shape)}, but {other} is {size_of(found.shape)}; bring a"
                " picture and its map to one size"
            )
        return _parts(picture, labelled(found, options, f"{files.where}: {other}"), options)

    stamp = lambda i: " ".join(files.stamp(k) for k in indices[i])  # noqa: E731
    contents = lambda: files.contents(k for pair in indices for k in pair)  # noqa: E731
    reader = _reader(files.where, names, read, stamp, contents, options)
    return open_together(reader, options, progress)


def labelled(found: np.ndarray, options: Options, where: str) -> np.ndarray:
    """The labels of a map [H, W] of indices: those of `options.ignore` become `options.num_labels`.

    Args:
      found: indices as in the file.
      options: `num_labels` and `ignore` are used.
      where: name of the map in messages.

    Raises:
      BadData: an index is no label.
    """
    _check_sign(where, int(found.min()), options, options.num_labels)
    ignored = found == options.ignore
    wrong = ~ignored & (found >= options.num_labels)
    if wrong.any():
        index = int(found[wrong].max())
        raise encoded.BadData(
            f"{where} has the index {index}, but there are {options.num_labels} labels, from 0 to"
            f" {options.num_labels - 1}",
            {"num_labels": index + 1},
            *([{"ignore": index}] if options.ignore < 0 else []),
        )
    return np.where(ignored, options.num_labels, found)


def _check_sign(where: str, least: int, options: Options, spare: int) -> None:
    """Raises if the least index is negative; `spare` is an index that no label has."""
    if least >= 0:
        return
    spare = spare if options.ignore < 0 else options.ignore
    changes = {"num_labels": options.num_labels or spare, "ignore": spare}
    fix = {name: value for name, value in changes.items() if value != getattr(options, name)}
    raise encoded.BadData(
        f"{where} has the index {least}, but indices are from 0; write {spare} for pixels without a label",
        *([fix] if fix else []),
        lead=", and say so",
    )


def number_of_labels(options: Options) -> int:
    """The number of labels of the field: with an index to ignore, one more than `options.num_labels`."""
    return options.num_labels + (options.ignore >= 0)


def _parts(picture: np.ndarray, found: np.ndarray, options: Options) -> Parts:
    resized = pictures.fit_maps(found[None], options.resolution)[0]
    return {"image": fitted(picture, options), "label_map": resized}


def _reader(
    where: str,
    names: Sequence[str],
    read: Callable[[int], Parts],
    stamp: Callable[[int], str],
    contents: Callable[[], Iterable[np.ndarray | str]],
    options: Options,
) -> Reader:
    settings = f"{options.num_labels} labels, {options.ignore} ignored"
    return Reader(where, UNIT, names, read, stamp, contents, settings, number_of_labels(options))


def _digits(options: Options, progress: Progress) -> Source:
    plain = digits.Options(
        split=options.split, resolution=options.resolution or 32, channels=options.channels
    )
    check(plain)
    drawn = digits.source(plain, progress)
    every = drawn.gather(np.arange(len(drawn)))
    ink = every["image"][..., 0] > INK
    maps = np.where(ink, 1 + every["label"][:, None, None], 0).astype(np.uint8)
    names = ("paper", *(f"ink of {digit}" for digit in range(10)))
    fields = {
        "image": drawn.spec["image"],
        "label_map": Field("label_map", maps.shape[1:], len(names), names),
    }
    arrays = {"image": every["image"], "label_map": maps}
    return in_memory(f"digits and their ink ({options.split})", UNIT, fields, arrays)


def _chosen(files: Encoded, options: Options) -> tuple[list[str], list[tuple[int, int]]]:
    """(names, indices of the picture and the map of each) of the examples of the split."""
    endings = {
        options.image_folder: options.image_ending,
        options.map_folder: options.map_ending,
    }
    keys: dict[str, dict[int, str]] = {name: {} for name in endings}
    left_out: dict[str, str] = {}
    for i, name in enumerate(files.names):
        parts = PurePosixPath(name).parts
        inside = next((part for part in parts[:-1] if part in endings), None)
        stem = PurePosixPath(name).stem
        if inside is None:
            continue
        if not stem.endswith(endings[inside]):
            left_out.setdefault(inside, name)
            continue
        place = parts.index(inside)
        rest = PurePosixPath(*parts[:place], *parts[place + 1 : -1])
        keys[inside][i] = str(rest / stem.removesuffix(endings[inside]))
    if options.image_folder != options.map_folder:
        _check_endings(files.where, options, keys, left_out)
    if options.image_folder == options.map_folder or not all(keys.values()):
        raise _no_folders(files, options, keys)
    for i in keys[options.map_folder]:
        if PurePosixPath(files.names[i]).suffix.lower() in LOSSY:
            raise encoded.BadData(
                f"{files.where}: {files.names[i]} is a label map in a format that changes its indices; save label maps"
                " as PNG"
            )
    _keep_split(files.where, keys, options.split)
    return same_name(files.where, files.names, keys)


def _check_endings(
    where: str, options: Options, keys: dict[str, dict[int, str]], left_out: dict[str, str]
) -> None:
    """Raises if a folder has pictures, but none with the ending; `left_out` names one of another ending in each."""
    for kind in ("image", "map"):
        folder_name = getattr(options, f"{kind}_folder")
        if not keys[folder_name] and folder_name in left_out:
            raise OptionError(
                f"{kind}_ending",
                getattr(options, f"{kind}_ending"),
                f"{where} has no such name in its folder {folder_name}, where the first is {left_out[folder_name]};"
                " give the end that the names have before the suffix, or leave it out",
            )


def _no_folders(
    files: Encoded, options: Options, keys: dict[str, dict[int, str]]
) -> encoded.BadData:
    """The error that the folders of pictures and of maps are not both there."""
    parts = {part for name in files.names for part in PurePosixPath(name).parts[:-1]}
    others = sorted(parts - keys.keys())
    there = f"; it has the folders {', '.join(others[:6])}" if others else ""
    same = options.image_folder == options.map_folder
    missing = [
        name for name in ("image_folder", "map_folder") if same or not keys[getattr(options, name)]
    ]
    likely = [name for name in others if not split_of(name)]
    name = likely[0] if len(likely) == len(missing) == 1 else "FOLDER"
    fix = dict.fromkeys(missing, name)
    return encoded.BadData(
        f"{files.where}: needs pictures in a folder {options.image_folder} and label maps of the same names in a folder"
        f" {options.map_folder}{there}",
        fix,
    )


def _keep_split(where: str, keys: dict[str, dict[int, str]], split: str) -> None:
    """Removes from `keys` the files of other splits, and from the names of the others the folder of the split."""
    every = [PurePosixPath(key).parts for found in keys.values() for key in found.values()]
    level = level_of_splits(every)
    if level is None:
        if split != "all" and split_of(split) != "train":
            raise OptionError(
                "split",
                split,
                f"{where} has no folder of that name, so it is not divided into splits",
                {"split": "train"},
            )
        return
    known = sorted({split_of(parts[level]) for parts in every})
    if split != "all" and split_of(split) not in known:
        raise OptionError(
            "split",
            split,
            f"{where} has no such folder, only {', '.join(known)}",
            *({"split": name} for name in (*known, "all")),
        )
    if split == "all":
        return
    for side, found in keys.items():
        paths = {i: PurePosixPath(key).parts for i, key in found.items()}
        keys[side] = {
            i: "/".join((*parts[:level], *parts[level + 1 :]))
            for i, parts in paths.items()
            if split_of(parts[level]) == split_of(split)
        }


def _map(files: Encoded, i: int) -> np.ndarray:
    """The indices of a map in its own size, integers [H, W]."""
    try:
        with files.read(i) as file:
            mode, found = decode(file)
    except Exception as error:  # Decoders of dozens of formats raise anything.
        raise encoded.BadData(
            f"{files.where}: the label map {files.names[i]} is broken ({encoded.reason_of(error)}): repair it, or"
            " remove it with its picture"
        ) from error
    if mode not in INDEXED:
        raise encoded.BadData(
            f"{files.where}: {files.names[i]} is a picture of colours (mode {mode}), but a label map has one index for"
            " each pixel; save it as a PNG of grey levels, or with a palette"
        )
    return found.astype(np.int32)


def decode(file: IO[bytes]) -> tuple[str, np.ndarray]:
    """(Pillow's mode, pixels in their own size) of a label map; they are indices if the mode is in `INDEXED`."""
    with pictures.opened(file) as image:
        image.load()
        return image.mode, np.asarray(image)


def _check_number(
    where: str, options: Options, count: int, map_of: Callable[[int], np.ndarray]
) -> None:
    """Raises if the number of labels is not stated; the error states the indices of all maps."""
    if options.num_labels:
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = set().union(*pool.map(lambda i: set(np.unique(map_of(i)).tolist()), range(count)))
    _check_sign(f"one of the maps of {where}", min(found), options, max(found) + 1)
    raise OptionError(
        "num_labels",
        0,
        f"it must be the number of labels; the maps of {where} have indices from {min(found)} to {max(found)}",
        *_numbers(found, options.ignore),
    )


def _numbers(found: Iterable[int], ignore: int) -> list[dict[str, int]]:
    """Options with which maps of these indices can be read."""
    *rest, last = sorted(set(found) - {ignore}) or [0]
    fixes = [{"num_labels": last + 1}]
    if ignore < 0 and last == 255 and rest:  # what most sets write where there is no label
        fixes.insert(0, {"num_labels": rest[-1] + 1, "ignore": last})
    return fixes


def _from_arrays(options: Options, progress: Progress) -> Source:
    """Pictures and maps of an array file."""
    shared = {name: getattr(options, name) for name in ("path", "split", "resolution", "channels")}
    arrays = array.Options(**shared)
    check(arrays)
    where, members = array.load(arrays)
    images, maps = _members(where, members)
    _check_number(where, options, len(maps), lambda i: maps[i])
    if images is None:
        files = array.packed(where, members, None)
        picture_of = lambda i: decoded(files, i, "picture with its map")  # noqa: E731
        stamp = lambda i: f"{files.stamp(i)} {digest([maps[i]])}"  # noqa: E731
        contents = lambda: [*files.contents(range(len(maps))), sampled(maps)]  # noqa: E731
    else:
        plain = array.Options(path=options.path, channels=options.channels)
        drawn = array.array_source(images, None, plain, where=where).images()
        picture_of = lambda i: drawn[i]  # noqa: E731
        stamp = lambda i: digest([drawn[i], maps[i]])  # noqa: E731
        contents = lambda: [sampled(drawn), sampled(maps)]  # noqa: E731

    def read(i: int) -> Parts:
        picture = picture_of(i)
        if picture.shape[:2] != maps.shape[1:]:
            raise encoded.BadData(
                f"{where}: picture number {i} is {size_of(picture.shape)}, but its label map is"
                f" {size_of(maps.shape[1:])}; bring both to one size"
            )
        return _parts(picture, labelled(maps[i], options, f"{where}: map number {i}"), options)

    names = [f"number {i}" for i in range(len(maps))]
    reader = _reader(where, names, read, stamp, contents, options)
    return open_together(reader, options, progress)


def _members(where: str, members: dict[str, np.ndarray]) -> tuple[np.ndarray | None, np.ndarray]:
    """(pictures, or None if they are encoded; label maps [N, H, W]) of an array file."""
    packed = {"data", "offsets"} <= members.keys()
    found = next((members[key] for key in array.IMAGE_KEYS if key in members), None)
    images = None if packed else found
    maps = members.get("label_maps", members.get("labels"))
    if maps is None or (images is None and not packed):
        raise ValueError(
            f"{where}: holds {', '.join(members)}; label maps need `label_maps` (or `labels`) [N, H, W] beside"
            " `images` [N, H, W, C] (or `data` and `offsets`)"
        )
    if maps.ndim != 3 or not np.issubdtype(maps.dtype, np.integer):
        way = ": label_maps[..., 0]" if maps.ndim == 4 and maps.shape[-1] == 1 else ""
        raise ValueError(
            f"{where}: its label maps are {maps.dtype} of shape {list(maps.shape)}; they must be whole numbers"
            f" [N, H, W]{way}"
        )
    if maps.max(initial=0) >= MOST_LABEL:
        raise ValueError(
            f"{where}: its label maps hold numbers up to {maps.max()}; number the labels from 0 without gaps:"
            " numpy.unique(label_maps, return_inverse=True)[1].reshape(label_maps.shape)"
        )
    count = len(members["offsets"]) - 1 if images is None else len(images)
    if len(maps) != count:
        raise ValueError(
            f"{where}: holds {len(maps):,} label maps for {count:,} pictures; give one for each"
        )
    return images, maps
