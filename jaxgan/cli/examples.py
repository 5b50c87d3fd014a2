"""Sets of examples named on the command line."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

FORMS = (
    "a folder or zip of pictures, a prepared set, a .npz or .npy, tfds:NAME[:SPLIT], digits[:SPLIT] or"
    " mixture2d[:SPLIT]"
)


def open_examples(
    text: str,
    split: str = "train",
    size: tuple[int, int] | None = None,
    fit=None,
    classes: bool = True,
    **changes: Any,
):
    """The set that `text` names.

    Args:
      text: one of `FORMS`.
      split: used if `text` names none.
      size, fit: `fit` resizes a picture to `size`, the input size of the features; without `fit`, all pictures of a
        folder must have one size.
      classes: whether labels are needed; if not, a set whose labels cannot be used is opened without them.
      **changes: options of the source of pictures (resolution, channels).

    Returns:
      A `jaxgan.data.Source`.
    """
    from jaxgan import options
    from jaxgan.data.encoded import BadLabels

    try:
        with options.section("data"):
            return _open(text, split, size, fit, changes)
    except BadLabels as error:
        if classes:
            raise ValueError(
                f"{error.problem}, or choose scores without classes, such as --scores fd."
            ) from error
        return open_examples(text, split, size, fit, classes, **{**changes, "labels": False})
    except options.OptionError as error:
        raise _of_the_set(error, text) from None


def _of_the_set(error, text: str) -> ValueError:
    """An error about an option that has no flag for sets, or that `text` itself holds, as one about the set."""
    from jaxgan.options import UnknownOption

    kind, _, rest = text.partition(":")
    own_split = rest.partition(":")[2] if kind == "tfds" else rest
    if isinstance(error, UnknownOption):
        name = error.option.rpartition(".")[2]
        return ValueError(f"{text}: has no {name}; leave this option out")
    if error.option == "data.path":
        return error.changed(problem=f"{error.problem}; give {FORMS}", fixes=()).about(text)
    if error.option == "data.split" and own_split:
        return error.changed(fixes=()).about(f"{text}: split '{error.value}'")
    if error.option == "data.tfds_name":
        return error.about(text).in_words("tfds:{}")
    return error


def _open(text: str, split: str, size: tuple[int, int] | None, fit, changes: dict[str, Any]):
    from jaxgan import data
    from jaxgan.data import folder
    from jaxgan.data.encoded import BadData, FittedSource, SizesDiffer
    from jaxgan.data.shards import splits_in
    from jaxgan.train.workdir import RECORD

    name, _, rest = text.partition(":")
    if name == "tfds":
        tfds_name, _, given = rest.partition(":")
        return data.open_source("tfds", tfds_name=tfds_name, split=given or split, **changes)
    if name in ("digits", "mixture2d"):
        return data.open_source(name, split=rest or split, **changes)
    if not Path(text).expanduser().exists():
        raise FileNotFoundError(f"there is no {text}; give {FORMS}")
    if (Path(text) / RECORD).is_file():
        quoted = shlex.quote(text)
        raise ValueError(
            f"{text} is a run, not a set of pictures; evaluate it by --workdir {quoted}, or draw its samples first:"
            f" jaxgan sample --workdir {quoted} --out samples"
        )
    if Path(text).suffix in (".npz", ".npy"):
        return data.open_source("array", path=text, **changes)
    if splits_in(text):
        return data.open_source("records", path=text, split=split, **changes)
    found = dataclasses.replace(folder.Options(path=text, split="all", strict=True), **changes)
    try:
        return data.open_source(found)
    except SizesDiffer as error:
        if fit is None or size is None:
            raise BadData(
                f"the pictures of {text} differ in size, and these features do not resize pictures; choose"
                " features that do",
                *error.fixes,
                lead=", or one size",
            ) from None
        return FittedSource(folder.files(found), fit, (*size, found.channels or 3))
