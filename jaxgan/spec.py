"""The description of the data that a model trains on: named fields, each of a kind.

    Spec({"image": Field("image", (32, 32, 3)), "label": Field("label", number=10)}, size=50_000)

A batch is a dictionary of arrays by field name. The kind of a field fixes its shape in a batch of B examples, its type,
and what the networks are given:

    kind        in a batch                      as networks are given it
    image       uint8 [B, H, W, C]              float32 [B, H, W, C] in [-1, 1]
    points      float32 [B, D]                  the same
    label       int32 [B], from 0               the same
    label_map   uint8 or int32 [B, H, W]        the same: an index for each pixel, from 0
    attributes  int32 [B, K], 0 or 1            the same

The examples themselves are the field "image", of kind image or points. The other usual names are "label", "label_map",
"attributes", and "condition", the picture (of kind image) with which each example is paired.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.options import OptionError

Batch = Mapping[str, Any]

EXAMPLE = "image"  # the name of the field that holds the examples themselves

# The number of sides in a field's shape, and the kind in words.
_KINDS = {
    "image": (3, "a picture"),
    "points": (1, "a point"),
    "label": (0, "a label"),
    "label_map": (2, "a label map"),
    "attributes": (1, "attributes"),
}
_SPATIAL = ("image", "label_map")
_COUNTED = ("label", "label_map", "attributes")

# Options that select data with a field of that name or kind; these sources work without any file.
_WAYS: dict[str, dict[str, Any]] = {
    "condition": {"data.name": "pairs"},
    "image": {"data.name": "digits"},
    "points": {"data.name": "mixture2d"},
    "label": {"data.name": "digits", "data.labels": True},
    "label_map": {"data.name": "label_maps"},
    "attributes": {"data.name": "attributes"},
}


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of an example.

    Attributes:
      kind: image, points, label, label_map or attributes.
      shape: of one example: (H, W, C) of an image, (D,) of points, () of a label, (H, W) of a label map, (K,) of
        attributes, for which it may be left out.
      number: how many labels there are (of a label, and in a label map), or how many attributes; None for other kinds.
      names: of the labels or attributes, in the order of their numbers; () if they have no names.

    Raises:
      ValueError: the kind is unknown, or shape, number or names do not fit it.

    >>> Field("attributes", number=2, names=("Smiling", "Young")).shape
    (2,)
    """

    kind: str
    shape: tuple[int, ...] = ()
    number: int | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self):
        if self.kind not in _KINDS:
            raise ValueError(
                f"there is no kind of field {self.kind!r}; use one of {', '.join(_KINDS)}."
            )
        if self.kind == "attributes" and not self.shape and self.number is not None:
            object.__setattr__(self, "shape", (self.number,))
        sides = _KINDS[self.kind][0]
        if len(self.shape) != sides or min(self.shape, default=1) < 1:
            raise ValueError(
                f"the shape of a field of kind {self.kind} has {sides} positive numbers, not {self.shape}."
            )
        counted = self.kind in _COUNTED
        if counted != (self.number is not None) or (self.number is not None and self.number < 1):
            must = "needs a number of at least 1" if counted else "has no number"
            raise ValueError(f"a field of kind {self.kind} {must}, but number is {self.number}.")
        if self.kind == "attributes" and self.shape != (self.number,):
            raise ValueError(f"{self.number} attributes have the shape ({self.number},).")
        if self.names and len(self.names) != self.number:
            raise ValueError(
                f"there are {len(self.names)} names for a field of number {self.number}; give one name for each,"
                " or none."
            )

    @property
    def spatial(self) -> bool:
        """Whether it has rows and columns of pixels: such fields are mirrored and cropped together."""
        return self.kind in _SPATIAL

    @property
    def dtype(self) -> np.dtype:
        """The type of its arrays in a batch."""
        if self.kind == "label_map":
            assert self.number is not None
            return np.dtype(np.uint8 if self.number <= 256 else np.int32)
        return np.dtype({"image": np.uint8, "points": np.float32}.get(self.kind, np.int32))

    def decode(self, x: jax.Array) -> jax.Array:
        """A batch of the field [B, *shape] as networks are given it; see the table of the module.

        Only the bytes of an image are converted. The bytes of a label map are indices, and stay as they are.
        """
        if self.kind == "image" and x.dtype == jnp.uint8:
            return x.astype(jnp.float32) / 127.5 - 1.0
        return x

    def at(self, scale: float) -> Field:
        """The field with `scale` times as many rows and columns of pixels; fields without pixels are unchanged."""
        if not self.spatial:
            return self
        height, width = (round(side * scale) for side in self.shape[:2])
        return dataclasses.replace(self, shape=(height, width, *self.shape[2:]))

    def __str__(self) -> str:
        """The field in a few words.

        >>> print(Field("label_map", (8, 16), 12))
        a label map of 8x16 with 12 labels
        """
        size = "x".join(map(str, self.shape))
        return {
            "image": f"a picture of {size}",
            "points": f"a point of {size} numbers",
            "label": f"a label of {self.number}",
            "label_map": f"a label map of {size} with {self.number} labels",
            "attributes": f"{self.number} attributes",
        }[self.kind]


@dataclasses.dataclass(frozen=True)
class Spec:
    """The specification of a data source.

    Attributes:
      fields: {name: Field}. "image" holds the examples themselves, pictures or points.
      size: the number of examples.

    Raises:
      ValueError: there is no field "image", or it holds neither pictures nor points.
    """

    fields: Mapping[str, Field]
    size: int

    def __post_init__(self):
        object.__setattr__(self, "fields", dict(self.fields))
        if EXAMPLE not in self.fields or self.fields[EXAMPLE].kind not in ("image", "points"):
            raise ValueError(
                f"the examples of a spec are its field '{EXAMPLE}', of kind image or points; it has {self._has()}."
            )

    def __hash__(self) -> int:
        return hash((frozenset(self.fields.items()), self.size))

    def __getitem__(self, name: str) -> Field:
        """The field of that name.

        Raises:
          OptionError: the data has no such field.
        """
        if name not in self.fields:
            raise OptionError(
                None,
                None,
                f"the data has no field '{name}', only {self._has()}",
                *([_WAYS[name]] if name in _WAYS else []),
            )
        return self.fields[name]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an example: (H, W, C) for pictures, (D,) for points."""
        return self.fields[EXAMPLE].shape

    @property
    def pictures(self) -> bool:
        """Whether the examples are pictures."""
        return self.fields[EXAMPLE].kind == "image"

    @property
    def num_classes(self) -> int | None:
        """The number of classes of the field "label"; None without labels."""
        return self.fields["label"].number if "label" in self.fields else None

    def require(self, model: str, **kinds: str) -> None:
        """Raises unless the data has these fields, each of the given kind. Models call it before they build networks.

        Args:
          model: its name, for the message.
          **kinds: {name of the field: kind}.

        Raises:
          OptionError: a field is missing or of another kind; its fix selects data that has the field.

        >>> Spec({"image": Field("image", (8, 8, 1))}, 100).require("pix2pix", condition="image")
        Traceback (most recent call last):
        jaxgan.options.OptionError: pix2pix needs a picture 'condition' in each example, but the data has only 'image'
        (a picture of 8x8x1): set data.name=pairs.
        """
        missing = [
            (name, kind)
            for name, kind in kinds.items()
            if name not in self.fields or self.fields[name].kind != kind
        ]
        if missing:
            # Sources of further fields have pictures too, which models name first.
            (name, kind), (last, of_last) = missing[0], missing[-1]
            raise OptionError(
                None,
                None,
                f"{model} needs {_KINDS[kind][1]} '{name}' in each example, but the data has only {self._has()}",
                _WAYS["condition" if last == "condition" else of_last],
            )

    def _has(self) -> str:
        """The fields in words."""
        each = [f"'{name}' ({field})" for name, field in self.fields.items()]
        return " and ".join(filter(None, (", ".join(each[:-1]), *each[-1:]))) or "no fields"

    def decode(self, batch: Batch) -> dict[str, jax.Array]:
        """The batch as networks are given it: pictures as float32 in [-1, 1], by the kind of each field.

        Label maps and attributes are unchanged, and so is a field that the spec does not name.

        >>> spec = Spec({"image": Field("image", (1, 1, 1)), "label_map": Field("label_map", (1, 1), 9)}, 10)
        >>> bytes = jnp.array([[[255]]], jnp.uint8)
        >>> decoded = spec.decode({"image": bytes[..., None], "label_map": bytes})
        >>> decoded["image"].item(), decoded["label_map"].item()
        (1.0, 255)
        """
        return {
            name: self.fields[name].decode(x) if name in self.fields else x
            for name, x in batch.items()
        }

    def with_fields(self, fields: Mapping[str, Field]) -> Spec:
        """The spec with further fields.

        >>> spec = Spec({"image": Field("image", (8, 8, 1))}, 100)
        >>> [*spec.with_fields({"target": Field("label", number=3)}).fields]
        ['image', 'target']
        """
        return Spec({**self.fields, **fields}, self.size)

    def at(self, resolution: int | None) -> Spec:
        """The spec of the same data with pictures of `resolution` rows, as a stage trains on; None changes nothing.

        All fields of pixels are reduced by the same factor.
        """
        if resolution is None or not self.pictures or resolution == self.shape[0]:
            return self
        scale = resolution / self.shape[0]
        return Spec({name: field.at(scale) for name, field in self.fields.items()}, self.size)

    def to_dict(self) -> dict[str, Any]:
        """Nested dicts, which JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Spec:
        """Inverse of `to_dict`, also after JSON has turned tuples into lists."""
        fields = {
            name: Field(**{**field, "shape": tuple(field["shape"]), "names": tuple(field["names"])})
            for name, field in record["fields"].items()
        }
        return cls(fields, record["size"])

    def random(self, num: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """A batch of `num` random examples, for what needs shapes and types only: compiling, timing, tests."""
        return {name: _random(field, num, rng) for name, field in self.fields.items()}


def _random(field: Field, num: int, rng: np.random.Generator) -> np.ndarray:
    shape = (num, *field.shape)
    if field.kind == "points":
        return rng.normal(size=shape).astype(np.float32)
    values = {"image": 256, "attributes": 2}.get(field.kind, field.number)
    return rng.integers(0, values, shape, field.dtype)
