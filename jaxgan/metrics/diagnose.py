"""All diagnoses that features and labels allow."""

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
    """Memorisation, collapse, and with labels missing classes.

    Args:
      train: float [N, D] features of what the generator was trained on, all of it.
      fake: float [M, D] of what it generates.
      held_out: float [H, D] of examples from the same source that it was not trained on, or None.
      train_labels: int [N], from 0, or None: then collapse is looked for in all examples together, and no
        class can be missed.
      fake_labels: int [M], those asked of a conditional generator; None for others, whose fakes
        are classed by their nearest training examples, as the training examples are by each other.
      names: of the classes; their numbers where not given.
      alpha: chance of a false alarm of each diagnosis.
      seed: of shuffles and partitions.

    Returns:
      Diagnoses called "memorisation", "collapse" and, with labels, "classes".

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
