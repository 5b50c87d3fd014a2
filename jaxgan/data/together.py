"""Examples of several pictures or label maps each, which are read together: pairs, pictures with label maps."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import numpy as np

from jaxgan.data import encoded, pictures
from jaxgan.data.encoded import Encoded
from jaxgan.data.options import PictureOptions, Progress
from jaxgan.data.source import ArraySource, Batch, Column, Source, digest, summarise
from jaxgan.spec import Field, Spec

CHUNK = 64  # examples read between two reports of progress

# {field: picture, uint8 [H, W, 1 or 3], or label map, integers [H, W]} of one example
Parts = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Reader:
    """Examples before they are decoded.

    Attributes:
      where: name of the set in messages.
      unit: name of the examples in the summary, in the plural.
      names: of the examples, in the order of the source.
      read: the parts of example i, at the resolution of the options; called from several threads at once.
      stamp: a text for example i that differs if its files have changed; it does not decode them.
      contents: what identifies the files of all examples, as `Source.contents`; without `settings`.
      settings: a text that differs if the same files are read in another way.
      num_labels: the number of labels in "label_map", if the examples have one.
    """

    where: str
    unit: str
    names: Sequence[str]
    read: Callable[[int], Parts]
    stamp: Callable[[int], str]
    contents: Callable[[], Iterable[np.ndarray | str]]
    settings: str = ""
    num_labels: int | None = None

    def field(self, part: np.ndarray, channels: int) -> Field:
        """The field of a part, with pictures of so many channels."""
        if part.ndim == 2:
            return Field("label_map", part.shape, self.num_labels)
        return Field("image", (*part.shape[:2], channels))


def open_together(reader: Reader, options: PictureOptions, progress: Progress) -> Source:
    """A source over `reader`: in memory where the decoded set fits, else decoding at each access.

    A broken picture raises an error that names it; no example is skipped. In memory, a field whose pictures are all
    grey gets one channel. For a larger set this must be set by `options.channels`, since only its first example is
    decoded here.
    """
    count = len(reader.names)
    fields = {
        name: reader.field(part, options.channels or 3) for name, part in reader.read(0).items()
    }
    size = sum(int(np.prod(field.shape)) * field.dtype.itemsize for field in fields.values())
    if count * size > encoded.CACHE_BYTES:
        return DecodingTogether(reader, fields)
    stores = {name: np.empty((count, *f.shape), f.dtype) for name, f in fields.items()}

    def keep(i: int) -> set[str]:
        parts = reader.read(i)
        for name, part in shaped(reader, i, parts, fields).items():
            stores[name][i] = part
        return {name for name, part in parts.items() if part.ndim == 3 and part.shape[2] == 1}

    grey = set(fields)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, CHUNK):
            end = min(start + CHUNK, count)
            grey = grey.intersection(*pool.map(keep, range(start, end)))
            progress(end, count)
    for name in grey if not options.channels else ():
        stores[name] = np.ascontiguousarray(stores[name][..., :1])
        fields[name] = Field("image", stores[name].shape[1:])
    return in_memory(
        reader.where, reader.unit, fields, stores, lambda: [reader.settings, *reader.contents()]
    )


def in_memory(
    where: str,
    unit: str,
    fields: dict[str, Field],
    arrays: dict[str, np.ndarray],
    contents: Callable[[], Iterable[np.ndarray | str]] | None = None,
) -> ArraySource:
    """A source of arrays {field: [N, *shape]}; the examples themselves are "image". `contents` as of `ArraySource`."""
    columns = {name: Column(field, arrays[name]) for name, field in fields.items()}
    del columns["image"]
    return ArraySource(arrays["image"], columns=columns, name=where, unit=unit, contents=contents)


class DecodingTogether(Source):
    """A set of examples too large for memory, decoded at each access."""

    def __init__(self, reader: Reader, fields: dict[str, Field]):
        self._reader = reader
        self.spec = Spec({"image": fields["image"], **fields}, len(reader.names))
        self.summary = summarise(reader.where, self.spec, reader.unit)

    def fingerprint(self) -> str:
        stamps = (f"{name} {self._reader.stamp(i)}" for i, name in enumerate(self._reader.names))
        return digest([str(self.spec), self._reader.settings, *stamps])

    def contents(self) -> Iterable[np.ndarray | str]:
        return [self._reader.settings, *self._reader.contents()]

    def gather(self, indices: np.ndarray) -> Batch:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            rows = list(pool.map(self._read, map(int, indices)))
        return {name: np.stack([row[name] for row in rows]) for name in self.spec.fields}

    def _read(self, index: int) -> Parts:
        return shaped(self._reader, index, self._reader.read(index), dict(self.spec.fields))


def shaped(reader: Reader, i: int, parts: Parts, fields: dict[str, Field]) -> Parts:
    """The parts of example i with the shapes and types of the set's fields."""
    for name, part in parts.items():
        shape = fields[name].shape
        if part.shape[:2] != shape[:2]:
            raise encoded.SizesDiffer(
                f"{reader.where}: its pictures differ in size ({reader.names[0]} is {size_of(shape)}, {reader.names[i]}"
                f" is {size_of(part.shape)}), and no resolution is set",
                {"resolution": min(shape[:2])},
            )
    return {
        name: part.astype(fields[name].dtype)
        if part.ndim == 2
        else pictures.to_channels(part, fields[name].shape[2])
        for name, part in parts.items()
    }


def same_name(
    where: str, names: Sequence[str], keys: dict[str, dict[int, str]]
) -> tuple[list[str], list[tuple[int, int]]]:
    """The files of two folders that belong together: (keys, indices of the two files of each), in the first's order.

    Args:
      where: name of the set in messages.
      names: of all files.
      keys: {folder: {index of a file in it: the name that it shares with its partner}}, of two folders.
    """
    found: dict[str, dict[str, int]] = {side: {} for side in keys}
    for side, files in keys.items():
        for i, key in files.items():
            twin = found[side].setdefault(key, i)
            if twin != i:
                raise ValueError(
                    f"{where}: {names[twin]} and {names[i]} have the same name, so the partner of either is not known;"
                    " rename or remove one"
                )
    one, other = found
    alone = [
        names[i]
        for side, partner in ((one, other), (other, one))
        for key, i in found[side].items()
        if key not in found[partner]
    ]
    if alone:
        more = f" and {len(alone) - 3:,} more" if len(alone) > 3 else ""
        raise ValueError(
            f"{where}: {', '.join(alone[:3])}{more} {'has' if len(alone) == 1 else 'have'} no partner; each picture in"
            f" {one} needs one of the same name in {other}, and each in {other} one in {one}"
        )
    shared = list(found[one])
    return shared, [(found[one][key], found[other][key]) for key in shared]


def below(name: str, folders: Sequence[str]) -> tuple[str, str] | None:
    """(one of the folders, the name that a file shares with its partner: without that folder and without suffix).

    >>> below("train/A/cat/1.png", ("A", "B")), below("train/1.png", ("A", "B"))
    (('A', 'train/cat/1'), None)
    """
    path = PurePosixPath(name)
    for i, part in enumerate(path.parts[:-1]):
        if part in folders:
            rest = PurePosixPath(*path.parts[:i], *path.parts[i + 1 :])
            return part, str(rest.with_suffix(""))
    return None


def decoded(files: Encoded, i: int, what: str = "picture") -> np.ndarray:
    """Picture i in its own size: uint8 [H, W, 1 or 3]."""
    try:
        with files.read(i) as file:
            return pictures.decode(file)
    except Exception as error:  # Decoders of dozens of formats raise anything.
        raise encoded.BadData(
            f"{files.where}: picture {files.names[i]} is broken ({encoded.reason_of(error)}): repair it, or remove"
            f" the {what}"
        ) from error


def fitted(picture: np.ndarray, options: PictureOptions) -> np.ndarray:
    """A picture at the resolution and with the channels of the options."""
    return pictures.to_channels(
        pictures.fit_array(picture[None], options.resolution)[0], options.channels
    )


def size_of(shape: Sequence[int]) -> str:
    """Height and width in words: "6x8"."""
    return f"{shape[0]}x{shape[1]}"
