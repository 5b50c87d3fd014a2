"""A folder, a zip file or tar files of pictures."""

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

from jaxgan.data import tar
from jaxgan.data.classes import Parts, Splits, label_of
from jaxgan.data.encoded import Encoded, open_encoded
from jaxgan.data.options import FileOptions, LabelOptions, Progress
from jaxgan.data.shards import splits_in
from jaxgan.data.source import Source, composed, listed
from jaxgan.data.splits import level_of_splits, split_of
from jaxgan.options import OptionError, option
from jaxgan.weights.archive import most_unpacked

log = logging.getLogger("jaxgan.data")

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga", ".avif"}
)


@dataclasses.dataclass(frozen=True)
class Options(FileOptions, LabelOptions):
    path: str = option("", "folder, zip or tar file of pictures, or folder of tar files")
    split: str = option(
        "train", "top-level folder, if these are called train, val, test; all for all of them"
    )
    labels: bool = option(
        True,
        "give labels to the game: those of a dataset.json, or of .cls files beside the pictures, or else folders of"
        " pictures as classes",
    )


class Member(NamedTuple):
    """A file of the set: `read` opens it, the text of `stamp` differs if the file has changed, `size` is in bytes."""

    read: Callable[[], BinaryIO]
    stamp: Callable[[], str]
    size: Callable[[], int]


def source(options: Options, progress: Progress) -> Source:
    """All pictures below `options.path`, in the order of their names.

    - If the folders at the top, or those in the innermost folder that holds all pictures, are all called train (or
      training), val, valid, validation or test (or testing), in small or capital letters, they are splits:
      `options.split` chooses one, "all" takes all. Otherwise there is only "train", which is everything.
    - A dataset.json as NVIDIA's dataset tool writes it (for StyleGAN, EDM, R3GAN) states the labels, or that there are
      none: then folders are no classes. Without one, its shards (00000/img00000000.png) are no classes either.
    - Files a.cls beside a.jpg, as in WebDataset, state the labels: each holds a whole number as text.
    - Otherwise, a folder that holds all pictures of a split is skipped. If then every picture of the split is in a
      folder, these folders are the classes, in the order of their names.
    - Classes are those of all splits, so a label means the same class in each split.
    - Files without the suffix of a picture are ignored, and so are hidden files and `__MACOSX`, and files of a zip or
      tar whose path leads out of it.
    - A folder without pictures, but with tar files (WebDataset's shards), is the set of the files in all of these.
    """
    return open_encoded(files(options), options, progress)


def files(options: Options) -> Encoded:
    """The pictures of `source`, before any is decoded."""
    where, entries = _entries(options)
    entries = _composed(entries)
    found = sorted(parts for parts in entries if _is_picture(parts))
    if not found:
        names = "jpg, png, webp, bmp, gif, tif, ..."
        raise ValueError(
            f"{where}: holds no pictures ({names}) among its {len(entries):,} files; add some, or give another folder"
            " or zip"
        )
    splits = _splits(found)
    chosen = _choose(where, splits, options.split)
    pictures = [parts for name in chosen for parts in splits[name]]
    reads = {parts: entry.read for parts, entry in entries.items()}
    label = label_of(where, splits, chosen, reads) if options.labels else None
    if options.labels and label is None:
        _warn_of_loose(where, pictures)
    members = [entries[parts] for parts in pictures]
    return Encoded(
        where=where,
        names=["/".join(parts).encode(errors="replace").decode() for parts in pictures],
        read=lambda i: members[i].read(),
        stamp=lambda i: members[i].stamp(),
        size=lambda i: members[i].size(),
        columns={} if label is None else {"label": label},
    )


def _entries(options: Options) -> tuple[str, dict[Parts, Member]]:
    """(name of the set in messages, its files by path)."""
    if not options.path:
        raise OptionError(
            "path", "", "it must name a folder or zip file of pictures", {"path": "PATH"}
        )
    path = Path(options.path).expanduser()
    if splits_in(path):
        raise OptionError(
            "path",
            options.path,
            "that folder holds a set that `jaxgan prepare` has written",
            {"data.name": "records"},
        )
    if path.is_dir():
        return f"folder {options.path}", _folder(path)
    if not path.exists():
        raise OptionError(
            "path", options.path, "there is no such folder or zip file", {"path": "PATH"}
        )
    if path.suffix == tar.SUFFIX:
        return f"tar {options.path}", _untar([path])
    if path.suffix in (".npy", ".npz"):
        raise OptionError(
            "path",
            options.path,
            "an array file is neither a folder nor a zip of pictures",
            {"data.name": "array"},
        )
    try:
        archive = _Zip(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise OptionError(
            "path",
            options.path,
            f"the file is not a complete zip of pictures ({error})",
            {"path": "PATH"},
        ) from error
    return f"zip {options.path}", _unzip(archive)


def _composed(entries: dict[Parts, Member]) -> dict[Parts, Member]:
    """The files by their paths as `composed`; of two that are then the same, one keeps its path."""
    paths = {parts: tuple(map(composed, parts)) for parts in entries}
    kept = {parts: entries[parts] for parts, path in paths.items() if parts == path}
    for parts, path in paths.items():
        if parts != path:
            kept[parts if path in kept else path] = entries[parts]
    return kept


class _Zip:
    """A zip file, which several threads may read, and which is opened anew in another process.

    A member whose size is out of proportion to what the archive holds of it is not unpacked.
    """

    def __init__(self, path: Path):
        self.path, self.archive = path, zipfile.ZipFile(path)
        self._lock = threading.Lock()  # ZipFile's count of open members is not thread-safe.

    def __reduce__(self):
        return _Zip, (self.path,)

    def read(self, info: zipfile.ZipInfo) -> BinaryIO:
        if info.file_size > most_unpacked(info.compress_size):
            raise ValueError(
                f"its {info.compress_size:,} bytes in the zip would unpack to {info.file_size:,}; save it compressed"
            )
        with self._lock, self.archive.open(info) as file:
            # The explicit length limits how much is inflated.
            return io.BytesIO(file.read(info.file_size))


def _unzip(zipped: _Zip) -> dict[Parts, Member]:
    """Every file of a zip."""
    return _inside(
        {
            info.filename.replace("\\", "/"): Member(
                functools.partial(zipped.read, info),
                functools.partial(str, info.CRC),
                functools.partial(int, info.file_size),
            )
            for info in zipped.archive.infolist()
            if not info.is_dir()
        }
    )


def _folder(root: Path) -> dict[Parts, Member]:
    """Every file below `root`, or, if these are tar files and no pictures, every file in the tars."""
    entries = _walk(root)
    tars = sorted(parts for parts in entries if PurePosixPath(parts[-1]).suffix == tar.SUFFIX)
    if tars and not any(map(_is_picture, entries)):
        return _untar([root.joinpath(*parts) for parts in tars])
    return entries


def _untar(tars: list[Path]) -> dict[Parts, Member]:
    """Every file in some tars."""
    return _inside(
        {
            name: Member(entry.read, entry.stamp, functools.partial(int, entry.size))
            for name, entry in tar.entries(tars).items()
        }
    )


def _inside(members: dict[str, Member]) -> dict[Parts, Member]:
    """The files of an archive by path, without those whose path leads out of it.

    Nothing is extracted, so such a path does no harm here; but an archive that has one was made to do some.
    """
    entries = {PurePosixPath(name).parts: member for name, member in members.items()}
    outside = [parts for parts in entries if ".." in parts or parts[:1] == ("/",)]
    if outside:
        text = "ignored files whose path leads out of their archive: %s"
        log.warning(text, listed(["/".join(parts) for parts in outside]))
    return {parts: member for parts, member in entries.items() if parts not in set(outside)}


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
                functools.partial(_open, path),
                functools.partial(_stamp, path),
                functools.partial(_size, path),
            )
    return entries


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _size(path: Path) -> int:
    return path.stat().st_size


def _is_picture(parts: Parts) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(parts[-1]).suffix.lower() in SUFFIXES


def _splits(found: list[Parts]) -> Splits:
    """The pictures of each split; one split of the name "" if they are not divided into splits."""
    level = level_of_splits(found)
    if level is None:
        return {"": found}
    splits: dict[str, list[Parts]] = {}
    for parts in found:
        splits.setdefault(split_of(parts[level]), []).append(parts)
    return dict(sorted(splits.items()))


def _choose(where: str, splits: Splits, split: str) -> list[str]:
    """The names of the splits that the option selects."""
    known = list(splits)
    if known == [""]:
        if split != "all" and split_of(split) != "train":
            raise OptionError(
                "split",
                split,
                f"{where} has no folder of that name at its top, so it is not divided into splits",
                {"split": "train"},
            )
        return known
    chosen = known if split == "all" else [split_of(split)]
    if not set(chosen) <= set(known):
        raise OptionError(
            "split",
            split,
            f"{where} has no such folder, only {', '.join(known)}",
            *({"split": name} for name in (*known, "all")),
        )
    return chosen


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
