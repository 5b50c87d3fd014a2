"""A folder or a zip file of pictures."""

import dataclasses
import functools
import io
import logging
import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np

from jaxgan.data.encoded import Encoded, open_encoded
from jaxgan.data.options import FileOptions, LabelOptions, Progress
from jaxgan.data.source import Source, label_column
from jaxgan.options import OptionError, option

log = logging.getLogger("jaxgan.data")

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga", ".avif"}
)
SPLITS = frozenset({"train", "val", "valid", "validation", "test"})

# The folders a picture lies in, and its file name.
Parts = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Options(FileOptions, LabelOptions):
    path: str = option("", "folder or zip file of pictures")
    split: str = option(
        "train", "top-level folder, if these are called train, val, test; all for all of them"
    )
    labels: bool = option(True, "use folders of pictures as classes, and give labels to the game")


class Member(NamedTuple):
    """A file of the set: `read` opens it, and the text of `stamp` differs if the file has changed."""

    read: Callable[[], BinaryIO]
    stamp: Callable[[], str]


def source(options: Options, progress: Progress) -> Source:
    """All pictures below `options.path`, in the order of their names.

    - If the folders at the top are all called train, val, valid, validation or test, they are
      splits: `options.split` chooses one, "all" takes all. Otherwise there is only "train", which
      is everything.
    - A top-level folder that holds all pictures is skipped.
    - If then every picture is in a folder, the top-level folders are the classes, in the order of
      their names.
    - Files without the suffix of a picture are ignored, and so are hidden files and `__MACOSX`.
    """
    return open_encoded(files(options), options, progress)


def files(options: Options) -> Encoded:
    """The pictures of `source`, before any is decoded."""
    where, entries = _entries(options)
    found = sorted(parts for parts in entries if _is_picture(parts))
    if not found:
        names = "jpg, png, webp, bmp, gif, tif, ..."
        raise ValueError(f"{where}: holds no pictures ({names}) among its {len(entries):,} files")
    chosen = _choose_split(where, found, options.split)
    labels, classes = _classes(list(chosen.values())) if options.labels else (None, ())
    if options.labels and labels is None:
        _warn_of_loose(where, list(chosen.values()))
    members = [entries[parts] for parts in chosen]
    return Encoded(
        where=where,
        names=["/".join(parts).encode(errors="replace").decode() for parts in chosen],
        read=lambda i: members[i].read(),
        stamp=lambda i: members[i].stamp(),
        columns={} if labels is None else {"label": label_column(labels, names=classes)},
    )


def _entries(options: Options) -> tuple[str, dict[Parts, Member]]:
    """(name of the set in messages, its files by path)."""
    if not options.path:
        raise OptionError(
            "path", "", "it must name a folder or zip file of pictures", {"path": "PATH"}
        )
    path = Path(options.path).expanduser()
    if path.is_dir():
        return f"folder {options.path}", _walk(path)
    if not path.exists():
        raise OptionError("path", options.path, "there is no such folder or zip file")
    if path.suffix in (".npy", ".npz"):
        raise OptionError(
            "path",
            options.path,
            "an array file is neither a folder nor a zip of pictures",
            {"data.name": "array"},
        )
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise OptionError(
            "path", options.path, f"the file is not a complete zip of pictures ({error})"
        ) from error
    return f"zip {options.path}", _unzip(archive)


def _unzip(archive: zipfile.ZipFile) -> dict[Parts, Member]:
    """Every file of `archive`."""
    lock = threading.Lock()  # ZipFile's count of open members is not thread-safe.

    def read(info: zipfile.ZipInfo) -> BinaryIO:
        with lock:
            return io.BytesIO(archive.read(info))

    return {
        PurePosixPath(info.filename.replace("\\", "/")).parts: Member(
            functools.partial(read, info), functools.partial(str, info.CRC)
        )
        for info in archive.infolist()
        if not info.is_dir()
    }


def _walk(root: Path) -> dict[Parts, Member]:
    """Every file below `root`; links are followed, but no folder is visited twice."""
    entries: dict[Parts, Member] = {}
    visited = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        inner.sort()
        real = os.path.realpath(folder)
        if real in visited:
            inner.clear()
            continue
        visited.add(real)
        parts = Path(folder).relative_to(root).parts
        for name in names:
            path = Path(folder, name)
            entries[*parts, name] = Member(
                functools.partial(_open, path), functools.partial(_stamp, path)
            )
    return entries


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _is_picture(parts: Parts) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(parts[-1]).suffix.lower() in SUFFIXES


def _choose_split(where: str, found: list[Parts], split: str) -> dict[Parts, Parts]:
    """The pictures of a split: path in the set -> path below the folder of the split."""
    if {parts[0] for parts in found} <= SPLITS and all(len(parts) > 1 for parts in found):
        chosen = {parts: parts[1:] for parts in found if split in ("all", parts[0])}
        known = sorted({parts[0] for parts in found})
        if not chosen:
            raise OptionError(
                "split",
                split,
                f"{where} has no such folder, only {', '.join(known)}",
                *({"split": name} for name in (*known, "all")),
            )
        return chosen
    if split not in ("train", "all"):
        raise OptionError(
            "split",
            split,
            f"{where} has no folder of that name at its top, so it is not divided into splits",
            {"split": "train"},
        )
    return {parts: parts for parts in found}


def _classes(paths: list[Parts]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(labels [N], names of the classes); None and () if there are fewer than two classes."""
    while all(len(parts) > 1 for parts in paths):
        classes = sorted({parts[0] for parts in paths})
        if len(classes) > 1:
            index = {name: i for i, name in enumerate(classes)}
            return np.array([index[parts[0]] for parts in paths], np.int32), tuple(classes)
        paths = [parts[1:] for parts in paths]
    return None, ()


def _warn_of_loose(where: str, paths: list[Parts]) -> None:
    """Logs a warning if pictures beside folders are the reason that these are no classes."""
    while all(len(parts) > 1 for parts in paths):
        paths = [parts[1:] for parts in paths]
    loose = [parts[0] for parts in paths if len(parts) == 1]
    folders = sorted({parts[0] for parts in paths if len(parts) > 1})
    if len(folders) > 1:
        log.warning(
            "%s: %s beside the folders %s, so these are no classes and the set has no labels; move it into one of them,"
            " or remove it",
            where,
            f"{loose[0]} lies"
            if len(loose) == 1
            else f"{loose[0]} and {len(loose) - 1:,} more lie",
            ", ".join(folders[:3]) + (", ..." if len(folders) > 3 else ""),
        )
