"""Which classes a generator leaves out, or confuses.

Reals and fakes are classed by the same imperfect rule (`assign_classes`, reals by the others), so its errors are on
both sides. Of a conditional generator the classes it was asked for are known. Its shares would only repeat which labels
were asked for, so what is compared is how many of the examples that should be of a class are.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from jaxgan.metrics.diagnosis import ALPHA, AMBER, GREEN, RED, Diagnosis
from jaxgan.metrics.neighbours import nearest

RARE = 0.5  # of the share among reals: below it a class that is surely rarer is red
MISSING = 0.1  # of that share: below it the class is called missing


def assign_classes(real, labels, queries=None, *, k: int = 5) -> np.ndarray:
    """The class that most of the k nearest reals have; of equally frequent ones, that of the nearest.

    Args:
      real: float [N, D] features.
      labels: int [N] of the reals, from 0.
      queries: float [M, D]; None for the reals themselves, each judged by the others.
      k: how many neighbours vote.

    Returns:
      int [M].

    >>> line = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> assign_classes(line, np.array([0, 0, 1, 1]), np.array([[2.0], [8.0]]), k=1).tolist()
    [0, 1]
    """
    real, labels = np.asarray(real), check_labels("labels", labels, real)
    themselves = queries is None
    found = nearest(real if themselves else queries, real, k, themselves=themselves)
    votes = labels[found.index]
    agreeing = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    return votes[np.arange(len(votes)), agreeing.argmax(axis=1)]  # the first, so the nearest


def class_shares(
    real_classes,
    fake_classes,
    num_classes: int,
    *,
    real_labels=None,
    fake_labels=None,
    names: Sequence[str] = (),
    alpha: float = ALPHA,
) -> Diagnosis:
    """Which classes are missing, rare or confused among the fakes.

    For each class Fisher's exact test compares how many fall into it ("The logic of inductive inference",
    JRSS 1935; two-sided), at alpha over the number of classes (Bonferroni). Of a conditional generator,
    given `real_labels` and `fake_labels`, it compares how many of those that should be of a class are
    (one-sided).

    Red if a class surely has less than half of its share among reals, amber if its share surely differs.

    Args:
      real_classes, fake_classes: int [N], [M], as assigned.
      num_classes: they run from 0 to num_classes - 1.
      real_labels, fake_labels: int [N], [M]: true ones, and those asked of a conditional generator.
      names: of the classes; their numbers where not given.
      alpha: chance of a false alarm.

    Returns:
      The diagnosis. Numbers: "missing" and "rare" classes by name, chi-square statistic and p of all shares
      together. Evidence, [num_classes] each: "names", "real" and "fake" shares, and which differ for "sure".

    >>> found = class_shares(np.arange(300) % 3, np.arange(200) % 2, 3)
    >>> found.verdict, found.numbers["missing"]
    ('red', ['2'])
    """
    names = _names(names, num_classes)
    of_real, of_fake = np.asarray(real_classes), np.asarray(fake_classes)
    conditional = fake_labels is not None
    if conditional and real_labels is None:
        raise ValueError("fake_labels are those asked for; give real_labels too, to compare with")
    real, reals = _counts(of_real, real_labels if conditional else None, num_classes)
    fake, fakes = _counts(of_fake, fake_labels, num_classes)
    if max(len(real), len(fake)) > num_classes:
        raise ValueError(
            f"num_classes = {num_classes}, but the classes go up to {max(len(real), len(fake)) - 1}"
        )
    real_share, fake_share = real / np.maximum(reals, 1), fake / np.maximum(fakes, 1)
    p = _fisher_p(real, reals, fake, fakes, one_sided=conditional)
    sure = (p < alpha / num_classes) & (reals > 0) & (fakes > 0)
    differing = _differing(sure, fake_share / np.maximum(real_share, 1e-300), names)
    mode_dropping = differing["missing"] or differing["rare"]
    verdict = RED if mode_dropping else AMBER if sure.any() else GREEN
    numbers = {"num_classes": num_classes, "conditional": conditional, **differing}
    numbers["chi_square"], numbers["chi_square_p"] = _chi_square(np.stack([real, fake]))
    if real_labels is not None:
        numbers["classifier_accuracy"] = float((of_real == np.asarray(real_labels)).mean())
    evidence = {"names": np.array(names), "real": real_share, "fake": fake_share, "sure": sure}
    return Diagnosis("classes", verdict, numbers, _sentence(verdict, numbers), evidence)


def _counts(classes: np.ndarray, labels, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(how many examples fall into each class, of how many): int [num_classes] each.

    Without labels it is of all examples; with labels, of those that should be of the class.
    """
    if labels is None:
        counts = np.bincount(classes, minlength=num_classes)
        return counts, np.full(num_classes, len(classes))
    labels = np.asarray(labels)
    right = np.bincount(labels[classes == labels], minlength=num_classes)
    return right, np.bincount(labels, minlength=num_classes)


def _fisher_p(real, reals, fake, fakes, *, one_sided: bool) -> np.ndarray:
    """Fisher's exact p for each class: `real` of `reals` against `fake` of `fakes`; one-sided for fewer fakes."""
    law = stats.hypergeom(reals + fakes, real + fake, fakes)
    return law.cdf(fake) if one_sided else 2 * np.minimum(law.cdf(fake), law.sf(fake - 1))


def _differing(sure: np.ndarray, ratio: np.ndarray, names: Sequence[str]) -> dict[str, list[str]]:
    """The classes whose share differs surely, by name, from the ratio of the share of fakes to that of reals."""
    fewer = sure & (ratio < 1)
    missing, rare = fewer & (ratio < MISSING), fewer & (ratio < RARE) & (ratio >= MISSING)
    groups = {"missing": missing, "rare": rare, "different": sure & ~missing & ~rare}
    return {
        group: [names[int(i)] for i in np.flatnonzero(which)] for group, which in groups.items()
    }


def _chi_square(table: np.ndarray) -> tuple[float, float]:
    """Pearson's statistic and its p of a table of counts, over the columns that are not empty."""
    table = table[:, table.sum(axis=0) > 0]
    if min(table.shape) < 2 or not table.sum(axis=1).all():
        return 0.0, 1.0
    found = stats.chi2_contingency(table, correction=False)
    return float(found.statistic), float(found.pvalue)


def _sentence(verdict: str, numbers: dict) -> str:
    conditional = numbers["conditional"]
    caution = ""
    if numbers.get("classifier_accuracy", 1) < 0.8:
        caution = (
            f" The features tell only {numbers['classifier_accuracy']:.0%} of the real examples' classes "
            "right, so this sees gross faults only; features of a classifier see more."
        )
    if verdict == GREEN:
        what = "Each label gives its class" if conditional else "Every class has its share"
        return f"{what}, as far as {numbers['num_classes']} classes can be told apart.{caution}"
    missing, rare = numbers["missing"], numbers["rare"]
    if verdict == AMBER:
        which = some(numbers["different"])
        return f"The shares of {which} differ surely from the data's, though none is below half of it.{caution}"
    parts = [f"missing: {some(missing)}"] if missing else []
    parts += [f"rarer than half their share: {some(rare)}"] if rare else []
    what = "Labels that do not give their class" if conditional else "Classes"
    return (
        f"{what} {'; '.join(parts)}. Mode dropping: try a lower generator learning rate, a gradient penalty or "
        f"spectral normalisation, larger batches, or packing; and more data of these classes.{caution}"
    )


def some(names: Sequence[str], most: int = 8) -> str:
    """A few names for a sentence, in quotes, as many are numbers.

    >>> print(some(["a", "b", "c"], most=2))
    'a', 'b' and 1 more
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more


def check_labels(name: str, labels, features) -> np.ndarray:
    """Labels as int [N], one for each row of features; raises otherwise."""
    labels = np.asarray(labels)
    whole = np.issubdtype(labels.dtype, np.integer)
    if not whole or labels.shape != (len(features),) or (len(labels) and labels.min() < 0):
        raise ValueError(
            f"{name} must be {len(features)} whole numbers from 0, one for each example, not "
            f"{labels.dtype} {list(labels.shape)}"
        )
    return labels


def _names(names: Sequence[str], num_classes: int) -> tuple[str, ...]:
    if names and len(names) != num_classes:
        raise ValueError(f"there are {num_classes} classes, but {len(names)} names for them")
    return tuple(names) or tuple(map(str, range(num_classes)))
