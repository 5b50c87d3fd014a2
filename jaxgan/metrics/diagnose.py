"""All diagnoses that can be computed from features and labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgan.metrics.classes import assign_classes, check_labels, class_shares
from jaxgan.metrics.collapse import collapse
from jaxgan.metrics.diagnosis import ALPHA, Diagnosis
from jaxgan.metrics.memorisation import memorisation


def diagnose(
    train,
    fake,
    held_out=None,
    *,
    train_labels=None,
    fake_labels=None,
    names: Sequence[str] = (),
    alpha: float = ALPHA,
    seed: int = 0,
) -> list[Diagnosis]:
    """Diagnoses memorisation, collapse and, if labels are given, missing classes.

    Args:
      train: float [N, D] features of the whole training set.
      fake: float [M, D] features of generated examples.
      held_out: float [H, D] features of examples from the same source that are not in the training set, or None.
      train_labels: int [N], numbered from 0, or None: then the collapse test uses all examples as one class, and
        there is no diagnosis of missing classes.
      fake_labels: int [M], the labels requested of a conditional generator. None for an unconditional one, whose
        fakes are classified by their nearest training examples, as the training examples are by each other.
      names: names of the classes; their numbers by default.
      alpha: probability of a false alarm of each diagnosis.
      seed: seed of permutations and partitions.

    Returns:
      The diagnoses "memorisation", "collapse" and, with labels, "classes".

    >>> rng = np.random.default_rng(0)
    >>> data, held_out = rng.normal(size=(400, 8)), rng.normal(size=(200, 8))
    >>> [(found.name, found.verdict) for found in diagnose(data, data[:200], held_out)]
    [('memorisation', 'red'), ('collapse', 'green')]
    """
    train, fake = np.asarray(train), np.asarray(fake)
    found = memorisation(train, fake, held_out, alpha=alpha, seed=seed)
    how: dict[str, Any] = {
        "near_copies": found.evidence["near_copies"],
        "alpha": alpha,
        "seed": seed,
    }
    if train_labels is None:
        return [found, collapse(train, fake, **how)]
    train_labels = check_labels("train_labels", train_labels, train)
    train_classes, fake_classes = (
        assign_classes(train, train_labels),
        assign_classes(train, train_labels, fake),
    )
    shares = class_shares(
        train_classes,
        fake_classes,
        len(names) or int(train_labels.max()) + 1,
        real_labels=train_labels,
        fake_labels=None if fake_labels is None else check_labels("fake_labels", fake_labels, fake),
        names=names,
        alpha=alpha,
    )
    inside = (train_classes, fake_classes) if fake_labels is None else (train_labels, fake_labels)
    return [found, collapse(train, fake, *inside, names=names, **how), shares]
