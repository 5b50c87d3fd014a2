"""A source: a finite, indexed set of examples, without training order or randomness."""

import abc
import functools
import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxgan.spec import Field, Spec

# {field: array [B, *shape]}, of the shapes and types that the source's spec states
Batch = dict[str, np.ndarray]

# Names of pictures that could not be read, each with the reason.
Broken = tuple[tuple[str, str], ...]

# The number of classes, one more than the greatest label, must be an int32 too.
MOST_LABEL = 2**31 - 2

# Arrays of more bytes are identified by a sample of their rows.
WHOLE_BYTES, SAMPLED_ROWS = 2**28, 10_000


class Source(abc.ABC):
    """A set of examples that can be read at any index, from several threads at once.

    Attributes:
      spec: the fields of an example, and the number of examples.
      summary: one line for the terminal.
      broken: names of the pictures that could not be read and were left out, with the reasons.
      in_memory: whether `gather` only copies, so that more threads would not help.
    """

    spec: Spec
    summary: str
    broken: Broken = ()
    in_memory: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, where they have names."""
        label = self.spec.fields.get("label")
        return () if label is None else label.names

    @abc.abstractmethod
    def gather(self, indices: np.ndarray) -> Batch:
        """The examples at `indices` [B], as new arrays that the caller may write to."""

    def column(self, name: str) -> np.ndarray | None:
        """The values of a field of all examples; None if they are not known without reading the examples."""
        del name
        return None

    def __len__(self) -> int:
        return self.spec.size

    def __getitem__(self, index: int) -> Batch:
        """One example: {field: array of the field's shape}."""
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of a source of {len(self)}")
        return {name: value[0] for name, value in self.gather(np.array([index])).items()}

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Every example once, in order; the last batch may be smaller."""
        for start in range(0, len(self), batch_size):
            yield self.gather(np.arange(start, min(start + batch_size, len(self))))

    def fingerprint(self) -> str:
        """A SHA-256 that differs whenever an example may differ, for caches on one machine.

        It also differs if the data are moved or written anew. This method hashes every example; a source with a faster
        way overrides it.
        """
        return digest(value for batch in self.batches(1024) for value in batch.values())

    @functools.cached_property
    def identity(self) -> str:
        """A SHA-256 of the examples and their order that does not depend on where they are stored.

        It tells whether two sets are the same. It is of the number, shapes and counts of the fields, and of `contents`,
        which of a large set reads only a sample. Thus two sets that differ in a few pictures of equal names and sizes
        may have the same identity.
        """
        fields = (
            f"{name} {field.kind} {field.shape} {field.number}"
            for name, field in self.spec.fields.items()
        )
        return digest([str(len(self)), *fields, *self.contents()])

    def contents(self) -> Iterable[np.ndarray | str]:
        """What `identity` is computed of. Here: every example; a source with a faster way overrides it."""
        return (value for batch in self.batches(1024) for value in batch.values())

    def spread(
        self, count: int, batch_size: int = 256, part: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """`count` different examples, spread evenly over the set and in its order.

        Many sets are sorted by class, so the first thousand examples may be of one class. Others cycle through their
        classes, so a fixed stride may reach only some of them: 40 reaches five of 25. Therefore one example is drawn
        from each of `count` equal parts of the set, always the same one. `part` (i, n) is the i-th of n parts of the
        result, for one of n processes.
        """
        indices = np.array_split(self.spread_indices(count), part[1])[part[0]]
        for start in range(0, len(indices), batch_size):
            yield self.gather(indices[start : start + batch_size])

    def spread_indices(self, count: int) -> np.ndarray:
        """The indices of `spread(count)`, int64 [count]."""
        if not 0 < count <= len(self):
            raise ValueError(
                f"{count:,} images requested from a set of {len(self):,} ({self.summary}); ask for 1 to {len(self):,}"
            )
        edges = np.arange(count + 1) * len(self) // count
        return np.random.default_rng(0).integers(edges[:-1], edges[1:])

    def images(self, count: int | None = None) -> np.ndarray:
        """The images of `spread(count)` (all by default) in one array."""
        batches = self.spread(len(self) if count is None else count)
        return np.concatenate([batch["image"] for batch in batches])


class Column(NamedTuple):
    """A field of all examples of a set: `values` is [N, *field.shape]."""

    field: Field
    values: np.ndarray

    def take(self, indices: np.ndarray) -> "Column":
        """The column of some of the examples."""
        return Column(self.field, self.values[indices])


def label_column(
    labels: np.ndarray,
    num_classes: int | None = None,
    names: tuple[str, ...] = (),
    count: int | None = None,
) -> Column:
    """Labels as a column of `count` examples; without `num_classes` there are as many classes as names, or up to the
    largest label.

    Raises:
      ValueError: the labels are not whole numbers [count] from 0 that an int32 can hold, or one is of no class.
    """
    labels = np.asarray(labels)
    count = len(labels) if count is None else count
    if wrong := wrong_labels(labels, count):
        raise ValueError(
            f"labels must be {count:,} whole numbers from 0, one for each example, not {wrong}"
        )
    most = int(labels.max())
    number = num_classes or len(names) or most + 1
    if most >= number:
        raise ValueError(
            f"labels go up to {most:,}, but there are {number:,} classes; number them from 0 to {number - 1:,}, or"
            " state all classes"
        )
    names = tuple(map(composed, names))
    return Column(Field("label", number=number, names=names), labels.astype(np.int32))


def wrong_labels(labels: np.ndarray, count: int) -> str:
    """What is wrong with labels, and a way to mend them; empty if nothing is."""
    found = f"{labels.dtype} of shape {list(labels.shape)}"
    if labels.shape == (count, 1):
        return f"{found}: give labels[:, 0]"
    if labels.ndim == 2 and len(labels) == count and _one_hot(labels):
        return f"{found}, which are one-hot: give labels.argmax(axis=1)"
    if labels.shape != (count,):
        return f"{found}: give one for each"
    if np.issubdtype(labels.dtype, np.floating):
        whole = np.isfinite(labels).all() and (labels == np.rint(labels)).all()
        return f"{found}: give {'labels.astype(int)' if whole else 'whole numbers'}"
    if not np.issubdtype(labels.dtype, np.integer):
        return f"{found}: give numpy.unique(labels, return_inverse=True)[1]"
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        return f"numbers from {low}: number the classes from 0, and remove pictures without a class"
    if high > MOST_LABEL:
        return f"numbers up to {high}: give numpy.unique(labels, return_inverse=True)[1]"
    return ""


def _one_hot(labels: np.ndarray) -> bool:
    if not np.issubdtype(labels.dtype, np.number) and labels.dtype != np.bool_:
        return False
    return bool(((labels != 0).sum(axis=1) == 1).all())


def _check_column(name: str, column: Column, count: int) -> None:
    """Raises unless the values of a column have the type of its field, and a row for each example."""
    field, values = column
    shape = (count, *field.shape)
    if values.shape != shape or values.dtype != field.dtype:
        raise ValueError(
            f"the column '{name}' is {values.dtype} of shape {list(values.shape)}; give it as {field.dtype} of shape"
            f" {list(shape)}"
        )


class ArraySource(Source):
    """Examples in memory."""

    in_memory = True

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        num_classes: int | None = None,
        classes: tuple[str, ...] = (),
        columns: Mapping[str, Column] | None = None,
        broken: Broken = (),
        name: str = "array",
        unit: str = "images",
        contents: Callable[[], Iterable[np.ndarray | str]] | None = None,
    ):
        """Keeps `images` [N, ...], `labels` [N] and the values of `columns` as they are.

        Args:
          images: uint8 [N, H, W, C] or float32 [N, D].
          labels: whole numbers in [0, num_classes), or None.
          num_classes: one more than the largest label, unless given.
          classes: their names.
          columns: {name: further field of the examples}.
          broken: pictures that were left out.
          name: name of the set in the summary.
          unit: name of the examples in the summary, in the plural.
          contents: the method `contents`, if the examples were read from files; None for the arrays themselves.

        Raises:
          ValueError: `labels` are no labels (see `label_column`), or the values of a column do not fit its field.
        """
        self._contents = contents
        self._images = np.asarray(images)  # Not a memmap, whose rows would be memmaps too.
        self._columns = dict(columns or {})
        if labels is not None:
            label = label_column(labels, num_classes, classes, len(images))
            self._columns = {"label": label, **self._columns}
        for column_name, column in self._columns.items():
            _check_column(column_name, column, len(images))
        example = Field("image" if images.ndim == 4 else "points", images.shape[1:])
        self.spec = spec_of(example, self._columns, len(images))
        self.broken = broken
        self.summary = summarise(name, self.spec, unit, broken)

    def gather(self, indices: np.ndarray) -> Batch:
        columns = {name: column.values[indices] for name, column in self._columns.items()}
        return {"image": self._images[indices], **columns}

    def column(self, name: str) -> np.ndarray | None:
        return self._columns[name].values if name in self._columns else None

    def contents(self) -> Iterable[np.ndarray | str]:
        if self._contents is not None:
            return self._contents()
        arrays = (self._images, *(column.values for column in self._columns.values()))
        return (sampled(array) for array in arrays)


def evenly(count: int, most: int) -> np.ndarray:
    """The numbers below `count`, or `most` of them at equal distances: int64.

    >>> evenly(3, 10).tolist(), evenly(10, 4).tolist()
    ([0, 1, 2], [0, 2, 5, 7])
    """
    number = min(count, most)
    return np.arange(number) * count // max(number, 1)


def sampled(array: np.ndarray) -> np.ndarray:
    """The array, or of more than `WHOLE_BYTES` rows that are spread evenly."""
    return array if array.nbytes <= WHOLE_BYTES else array[evenly(len(array), SAMPLED_ROWS)]


def composed(name: str) -> str:
    """The name with one character for each accented letter (Unicode's NFC), in which names are compared.

    Names from macOS often have two, the letter and its accent, which look the same.

    >>> len("e\u0301"), len(composed("e\u0301"))
    (2, 1)
    """
    return unicodedata.normalize("NFC", name)


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names for a sentence.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def spec_of(example: Field, columns: Mapping[str, Column], size: int) -> Spec:
    """The spec of `size` examples with these further fields."""
    return Spec({"image": example, **{name: c.field for name, c in columns.items()}}, size)


def digest(parts: Iterable[np.ndarray | str]) -> str:
    """SHA-256 of arrays (with shape and dtype) and texts, one after the other."""
    sha256 = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            sha256.update(f"{len(part)}:{part}".encode())
        else:
            sha256.update(f"{part.dtype} {part.shape}".encode())
            sha256.update(np.ascontiguousarray(part).data)
    return sha256.hexdigest()


def summarise(name: str, spec: Spec, unit: str, broken: Broken = ()) -> str:
    """The summary of a source, one line for the terminal.

    >>> spec = Spec({"image": Field("image", (64, 64, 3)), "label": Field("label", number=5)}, 1203)
    >>> summarise("folder pics", spec, "pictures", (("a.png", "empty"),))
    'folder pics: 1,203 pictures, 1 broken one skipped (a.png), 64x64x3, 5 classes'
    """
    parts = [f"{name}: {spec.size:,} {unit}"]
    if broken:
        names = ", ".join(name for name, _ in broken[:3])
        more = ", ..." if len(broken) > 3 else ""
        ones = "one" if len(broken) == 1 else "ones"
        parts.append(f"{len(broken):,} broken {ones} skipped ({names}{more})")
    parts.append("x".join(map(str, spec.shape)) if len(spec.shape) > 1 else f"{spec.shape[0]}-D")
    if spec.num_classes is not None:
        parts.append(f"{spec.num_classes} classes")
    if "label_map" in spec.fields:
        parts.append(f"{spec.fields['label_map'].number} labels")
    if "attributes" in spec.fields:
        field = spec.fields["attributes"]
        named = f" ({', '.join(field.names)})" if 0 < len(field.names) <= 5 else ""
        parts.append(f"{field.number} attributes{named}")
    if "condition" in spec.fields:
        parts[-1] += f" from {'x'.join(map(str, spec.fields['condition'].shape))}"
    return ", ".join(parts)
