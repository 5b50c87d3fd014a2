"""An array file: pictures in a .npy or .npz, or a .npz that packs JPEG or PNG files."""

import dataclasses
import io
import logging
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxgan.data import pictures
from jaxgan.data.encoded import CACHE_BYTES, BadLabels, Encoded, open_encoded
from jaxgan.data.options import FileOptions, LabelOptions, Progress
from jaxgan.data.source import ArraySource, Source, digest, label_column, wrong_labels
from jaxgan.options import OptionError, option

log = logging.getLogger("jaxgan.data")

IMAGE_KEYS = ("images", "x")
LABEL_KEYS, NAMES_KEY = ("labels", "y"), "label_names"

# Numbers this far outside of [0, 1] are rounding errors: half a grey level, so clipping them changes no byte.
ROUNDING = 0.5 / 255
# Pictures in [-1, 1] without a number below this are unusual: numbers in [0, 1] with an overshoot look like that.
DARK = -0.5


@dataclasses.dataclass(frozen=True)
class Options(FileOptions, LabelOptions):
    path: str = option("", ".npy or .npz file of pictures")
    split: str = option(
        "train",
        "an array file has no splits: both values take all of it",
        choices=("train", "all"),
    )


def source(options: Options, progress: Progress) -> Source:
    """The pictures of `options.path`.

    - .npy: pictures as `array_source` takes them.
    - .npz: the pictures are `images`, or `x`, or its first array; the labels are `labels` or `y`,
      if there, and `label_names` [K] the names of the classes.
    - .npz with `data` and `offsets`: encoded pictures end to end in `data` (uint8), picture i being
      `data[offsets[i]:offsets[i + 1]]`, with `labels` [N] if there.
    """
    where, members = load(options)
    labels = next((members[key] for key in LABEL_KEYS if key in members), None)
    labels = labels if options.labels else None
    names = () if labels is None else _names(where, members, labels)
    if {"data", "offsets"} <= members.keys():
        return open_encoded(packed(where, members, labels, names), options, progress)
    first = next((key for key in IMAGE_KEYS if key in members), next(iter(members)))
    return array_source(members[first], labels, options, where=where, classes=names)


def array_source(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    options: Options = Options(),
    *,
    where: str = "array",
    classes: tuple[str, ...] = (),
) -> ArraySource:
    """A source from arrays in memory, converted to uint8 [N, H, W, 1 or 3].

    Args:
      images: [N, H, W] or [N, H, W, C] with C = 1 (grey), 3 (RGB), 2 or 4 (with alpha,
        composited on white). The range of whole numbers is 0 to 255; that of floating-point numbers
        is [0, 1], or, if any is negative, [-1, 1]. Up to half a grey level outside of the range is a
        rounding error, which is clipped.
      labels: whole numbers [N] from 0, or None.
      options: `resolution` and `channels` are used.
      where: name of the set in messages.
      classes: names of the classes, if they have names.

    >>> spec = array_source(np.zeros((4, 8, 8)), np.array([0, 1, 2, 0])).spec
    >>> spec.shape, spec.num_classes, spec.size
    ((8, 8, 1), 3, 4)
    """
    images = _to_uint8(_to_nhwc(images, where), where)
    if labels is not None:
        labels = _check_labels(labels, len(images), where)
    images = pictures.to_channels(images, options.channels)
    fitted = pictures.fit_array(images, options.resolution)
    return ArraySource(fitted, labels, classes=classes, name=where)


def load(options: Options) -> tuple[str, dict[str, np.ndarray]]:
    """(name of the file `options.path` in messages, its arrays by name)."""
    if not options.path:
        raise OptionError(
            "path", "", "it must name a .npy or .npz file of pictures", {"path": "PATH"}
        )
    path, where = Path(options.path).expanduser(), f"array {options.path}"
    if path.is_dir():
        raise OptionError(
            "path",
            options.path,
            "a folder is neither a .npy nor a .npz file",
            {"data.name": "folder"},
        )
    if not path.exists():
        raise OptionError("path", options.path, "there is no such file", {"path": "PATH"})
    try:
        if path.suffix == ".npy" and path.stat().st_size > CACHE_BYTES:
            # Memory-mapped: the operating system caches the parts that are read.
            return where, {"images": np.load(path, mmap_mode="r", allow_pickle=False)}
        with path.open("rb") as file:
            _check_memory(file)
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return where, {"images": loaded}
            members = {key: loaded[key] for key in loaded.files}
    except TooLarge as error:
        raise ValueError(f"{where}: {error}") from None
    # A damaged header may ask for any size, and so end in a MemoryError.
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{where}: is not a complete .npy or .npz file of plain numbers ({error}); write it again with numpy.save"
            " or numpy.savez"
        ) from error
    if not members:
        raise ValueError(f"{where}: holds no arrays; add the pictures as `images`")
    return where, members


class TooLarge(ValueError):
    """The arrays of a file do not fit into memory."""


def memory() -> int:
    """Bytes of this machine's memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows; a system without these names
        return 0


def _check_memory(file: BinaryIO) -> None:
    """Raises `TooLarge` if a .npz states arrays larger than the memory; a small one can be of 1,000 times its size."""
    if zipfile.is_zipfile(file):
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            total = sum(member.file_size for member in archive.infolist())
        if 0 < memory() < total:
            raise TooLarge(
                f"its arrays take {total:,} bytes unpacked, and this machine has {memory():,} bytes of memory; save"
                " them as a .npy, which is read in parts, or save fewer"
            )
    file.seek(0)


def packed(
    where: str,
    members: dict[str, np.ndarray],
    labels: np.ndarray | None,
    classes: tuple[str, ...] = (),
) -> Encoded:
    """Encoded pictures end to end in one array."""
    data, offsets = members["data"], members["offsets"]
    whole = data.dtype == np.uint8 and data.ndim == 1 and offsets.ndim == 1 and len(offsets) > 1
    if not (
        whole
        and np.issubdtype(offsets.dtype, np.integer)
        and offsets[0] >= 0
        and offsets[-1] <= len(data)
        and (np.diff(offsets) >= 0).all()
    ):
        raise ValueError(
            f"{where}: `offsets` must be N + 1 rising positions in `data`, "
            "the uint8 bytes of N pictures"
        )
    count = len(offsets) - 1
    if labels is not None:
        labels = _check_labels(labels, count, where)
    return Encoded(
        where=where,
        names=[f"number {i}" for i in range(count)],
        read=lambda i: io.BytesIO(data[offsets[i] : offsets[i + 1]].tobytes()),
        stamp=lambda i: digest([data[offsets[i] : offsets[i + 1]]]),
        size=lambda i: int(offsets[i + 1] - offsets[i]),
        columns={} if labels is None else {"label": label_column(labels, names=classes)},
    )


def _names(where: str, members: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, ...]:
    """The names of the classes; () if the file states none."""
    names = members.get(NAMES_KEY)
    if names is None or not np.issubdtype(labels.dtype, np.integer):
        return ()
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) <= labels.max(initial=0):
        raise BadLabels(
            f"{where}: `{NAMES_KEY}` must be the name of each class, from 0 to {labels.max(initial=0)}, not"
            f" {names.dtype} of shape {list(names.shape)}: correct the names of the labels"
        )
    return tuple(map(str, names))


def _to_nhwc(images: np.ndarray, where: str) -> np.ndarray:
    shape = list(images.shape)
    if images.ndim == 3 and shape[-1] not in (3, 4):
        images = images[..., None]
    elif images.ndim == 4 and shape[1] in (1, 3) and shape[-1] not in (1, 2, 3, 4):
        raise ValueError(
            f"{where}: shape {shape} has its channels first; make it [N, H, W, C] with "
            "numpy.transpose(images, (0, 2, 3, 1))"
        )
    if images.ndim != 4 or images.shape[-1] not in (1, 2, 3, 4) or 0 in shape:
        raise ValueError(
            f"{where}: shape {shape} is not a set of pictures, which is [N, H, W] or [N, H, W, C] "
            "with 1 (grey), 3 (RGB), or 2 or 4 channels (with alpha)"
        )
    return images


def _to_uint8(images: np.ndarray, where: str) -> np.ndarray:
    if np.issubdtype(images.dtype, np.floating):
        return _from_floats(images, where)
    if not np.issubdtype(images.dtype, np.integer):
        way = ": images.astype(numpy.float32)" if images.dtype == np.bool_ else ""
        raise ValueError(
            f"{where}: pictures of type {images.dtype}; give uint8, or floats in [0, 1]{way}"
        )
    if images.dtype != np.uint8:
        low, high = images.min(), images.max()
        if low < 0 or high > 255:
            raise ValueError(
                f"{where}: whole numbers from {low} to {high}; "
                "pictures have 0 to 255, or floats in [0, 1]"
            )
        images = images.astype(np.uint8)
    # Picture by picture: of a memory-mapped file, the first one usually ends the search.
    if all(picture.max() <= 1 for picture in images) and images.any():
        log.warning(
            "%s: its pictures hold only 0 and 1, but white is 255; if 1 means white, multiply them by 255",
            where,
        )
    return images


def _from_floats(images: np.ndarray, where: str) -> np.ndarray:
    low, high = images.min(), images.max()
    if np.isnan(low):
        bad = np.array([np.isnan(picture).any() for picture in images])
        raise ValueError(
            f"{where}: {bad.sum():,} of its {len(images):,} pictures contain NaN, the first is number {bad.argmax()};"
            " remove these, and their labels"
        )
    signed = low < -ROUNDING
    slack = 2 * ROUNDING if signed else ROUNDING
    if low < -1 - slack or high > 1 + slack:
        way = ""
        if low >= -2 and high <= 2:
            way = f"; clip these: numpy.clip(images, {-1 if signed else 0}, 1)"
        elif low >= -ROUNDING and high <= 255:
            way = "; divide these by 255"
        raise ValueError(
            f"{where}: floating-point numbers from {low:g} to {high:g}; "
            f"pictures have [0, 1] or [-1, 1], or uint8 from 0 to 255{way}"
        )
    if signed and low > DARK:
        log.warning(
            "%s: its pictures are taken to be in [-1, 1], since the lowest of their numbers is %.3g; if black is 0,"
            " clip them: numpy.clip(images, 0, 1)",
            where,
            low,
        )
    images = images.astype(np.float32)
    grey = (images + 1) * np.float32(127.5) if signed else images * np.float32(255)
    return np.rint(grey).clip(0, 255).astype(np.uint8)


def _check_labels(labels: np.ndarray, count: int, where: str) -> np.ndarray:
    labels = np.asarray(labels)
    if wrong := wrong_labels(labels, count):
        raise BadLabels(
            f"{where}: labels must be {count:,} whole numbers from 0, one for each picture, not {wrong}"
        )
    low, high = int(labels.min()), int(labels.max())
    if low > 0 or high >= max(count, low + 1):
        log.warning(
            "%s: its labels go from %s to %s, so there are %s classes, but %s; number the classes from 0 without gaps",
            where,
            f"{low:,}",
            f"{high:,}",
            f"{high + 1:,}",
            "no picture is of class 0" if low > 0 else f"only {count:,} pictures",
        )
    return labels
