"""Sets of examples named on the command line."""

from __future__ import annotations

from pathlib import Path

FORMS = "a folder or zip of pictures, a .npz or .npy, tfds:NAME[:SPLIT], digits[:SPLIT] or mixture2d[:SPLIT]"


def open_examples(
    text: str,
    split: str = "train",
    size: tuple[int, int] | None = None,
    fit=None,
    classes: bool = True,
):
    """The set that `text` names.

    Args:
      text: one of `FORMS`.
      split: used if `text` names none.
      size, fit: `fit` resizes a picture to `size`, the input size of the features; without `fit`, all pictures of a
        folder must have one size.
      classes: whether labels are needed; if not, a set whose labels cannot be used is opened without them.

    Returns:
      A `jaxgan.data.Source`.
    """
    from jaxgan.data.encoded import BadLabels
    from jaxgan.options import OptionError

    try:
        return _open(text, split, size, fit)
    except BadLabels as error:
        if classes:
            raise ValueError(
                f"{error.problem}, by --scores without classes, such as --scores fd."
            ) from error
        return _open(text, split, size, fit, labels=False)
    except OptionError as error:
        # The option is a part of `text`, which no flag sets, except for the split. Broken pictures are not skipped.
        if error.option == "split" and ":" not in text.removeprefix("tfds:"):
            error.move("data")
            raise
        named = "" if error.option is None else f"{text}: "
        problem = error.problem.removesuffix(", or skip broken ones")
        raise ValueError(f"{named}{problem}.") from error


def _open(text: str, split: str, size: tuple[int, int] | None, fit, **options):
    from jaxgan import data
    from jaxgan.data import folder
    from jaxgan.data.encoded import FittedSource, SizesDiffer

    name, _, rest = text.partition(":")
    if name == "tfds":
        tfds_name, _, given = rest.partition(":")
        return data.open_source("tfds", tfds_name=tfds_name, split=given or split)
    if name in ("digits", "mixture2d"):
        return data.open_source(name, split=rest or split)
    if not Path(text).expanduser().exists():
        raise FileNotFoundError(f"there is no {text}; give {FORMS}")
    if Path(text).suffix in (".npz", ".npy"):
        return data.open_source("array", path=text, **options)
    found = folder.Options(path=text, split="all", strict=True, **options)
    try:
        return data.open_source(found)
    except SizesDiffer:
        if fit is None or size is None:
            raise ValueError(
                f"the pictures of {text} differ in size, and these features do not resize pictures; choose"
                " features that do, or resize the pictures to one size"
            ) from None
        return FittedSource(folder.files(found), fit, (*size, 3))
