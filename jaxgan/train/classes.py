"""Pairing of the classes of two sets, whose numbers may differ."""

from __future__ import annotations

from collections.abc import Iterable

from jaxgan.data import Source
from jaxgan.data.renumbered import Renumbered
from jaxgan.data.source import listed
from jaxgan.metrics.scores import SCORES
from jaxgan.spec import Field

# Scores that need examples of every class in both sets.
OF_EACH_CLASS = ("classwise",)


def compares_classes(scores: Iterable[str]) -> bool:
    """Whether one of these scores compares the classes of generated examples with those of real ones."""
    return any(SCORES[name].labels and SCORES[name].real for name in scores if name in SCORES)


def pair_classes(
    source: Source, label: Field | None, other: str, scores: Iterable[str] = ()
) -> Source:
    """The source with its classes numbered as `label`: by their names, if both have names, else as they are.

    Args:
      source: a set of examples.
      label: the label of the examples that the set is compared with; None if they have none.
      other: name of these examples in messages.
      scores: names of the scores that compare them.

    Raises:
      ValueError: a class of the source is not among those of `label`, or, for scores of each class, the reverse.
    """
    own = source.spec.fields.get("label")
    if own is None or label is None or own.names == label.names != ():
        return source
    if not own.names or not label.names:
        assert own.number is not None, "labels have one"
        assert label.number is not None, "likewise"
        if own.number > label.number:
            raise ValueError(
                f"{source.summary} cannot be paired with {other}, which has {label.number}: one of them has no names of"
                " classes, and by their numbers some are missing there; give sets with the same classes, or leave out"
                " scores of classes, as with --scores fd."
            )
        return source
    here = [name for name in own.names if name not in label.names]
    there = [name for name in label.names if name not in own.names]
    if here or (there and set(scores) & set(OF_EACH_CLASS)):
        only = [
            f"only {where} has {listed(names)}"
            for where, names in ((source.summary, here), (other, there))
            if names
        ]
        raise ValueError(
            f"the classes of the two sets differ ({'; '.join(only)}), so they cannot be paired; give sets with the same"
            " classes, or leave out scores of classes, as with --scores fd."
        )
    return Renumbered(source, label)
