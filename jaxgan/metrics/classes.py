"""Diagnosis of the classes that a generator omits or confuses.

One imperfect rule (`assign_classes`) classifies reals and fakes, each real by the other reals, so its errors affect
both sets. For a conditional generator the requested labels are known, and the shares of classes would only reflect
these. The test then compares how many examples of each label are assigned to the class of that label.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from jaxgan.metrics.diagnosis import ALPHA, AMBER, GREEN, RED, Diagnosis
from jaxgan.metrics.neighbours import nearest

RARE = 0.5  # ratio of a class's share of the fakes to its share of the reals; significant and below: red
MISSING = 0.1  # the same ratio, below which a class counts as missing


def assign_classes(real, labels, queries=None, *, k: int = 5) -> np.ndarray:
    """Assigns each query the most frequent class of its k nearest reals; the nearest real breaks ties.

    Args:
      real: float [N, D] features.
      labels: int [N], the classes of the reals, numbered from 0.
      queries: float [M, D] features; None classifies each real by the other reals.
      k: number of neighbours that vote.

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
    return votes[np.arange(len(votes)), agreeing.argmax(axis=1)]  # of equal votes the nearest


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
    """Finds the classes that are missing, rare or confused among the fakes.

    For each class, Fisher's exact test ("The logic of inductive inference", JRSS 1935; two-sided) compares the
    numbers of reals and fakes assigned to it, at level alpha divided by the number of classes (Bonferroni). For
    a conditional generator, given `real_labels` and `fake_labels`, the test (one-sided) compares the numbers of
    reals and fakes of each label that are assigned to the class of that label.

    Red if a class significantly has less than half of its share among the reals. Amber if its share differs
    significantly.

    Args:
      real_classes, fake_classes: int [N], [M], the assigned classes.
      num_classes: number of classes, numbered from 0.
      real_labels, fake_labels: int [N], [M], the true labels and those requested of a conditional generator.
      names: names of the classes; their numbers by default.
      alpha: probability of a false alarm.

    Returns:
      The diagnosis. Numbers: the names of the "missing" and "rare" classes, and the chi-square statistic and p-value
      of all shares. Evidence, [num_classes] each: "names", "real" and "fake" shares, and "sure", which is true where
      the shares differ significantly.

    >>> found = class_shares(np.arange(300) % 3, np.arange(200) % 2, 3)
    >>> found.verdict, found.numbers["missing"]
    ('red', ['2'])
    """
    names = _names(names, num_classes)
    conditional = fake_labels is not None
    if conditional and real_labels is None:
        raise ValueError("fake_labels are compared with real_labels; give real_labels too")
    of_real, real_labels = _classes("real", real_classes, real_labels)
    of_fake, fake_labels = _classes("fake", fake_classes, fake_labels)
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
        numbers["classifier_accuracy"] = float((of_real == real_labels).mean())
    evidence = {"names": np.array(names), "real": real_share, "fake": fake_share, "sure": sure}
    return Diagnosis("classes", verdict, numbers, _sentence(verdict, numbers), evidence)


def _counts(classes: np.ndarray, labels, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(number of examples assigned to each class, number of candidates): int [num_classes] each.

    Without labels all examples are candidates; with labels, those with the label of the class.
    """
    if labels is None:
        counts = np.bincount(classes, minlength=num_classes)
        return counts, np.full(num_classes, len(classes))
    right = np.bincount(labels[classes == labels], minlength=num_classes)
    return right, np.bincount(labels, minlength=num_classes)


def _fisher_p(real, reals, fake, fakes, *, one_sided: bool) -> np.ndarray:
    """Fisher's exact p-value for each class, `real` of `reals` against `fake` of `fakes`; one-sided: fewer fakes."""
    law = stats.hypergeom(reals + fakes, real + fake, fakes)
    return law.cdf(fake) if one_sided else 2 * np.minimum(law.cdf(fake), law.sf(fake - 1))


def _differing(sure: np.ndarray, ratio: np.ndarray, names: Sequence[str]) -> dict[str, list[str]]:
    """The names of the significantly different classes; `ratio` is the share of fakes over that of reals."""
    fewer = sure & (ratio < 1)
    missing, rare = fewer & (ratio < MISSING), fewer & (ratio < RARE) & (ratio >= MISSING)
    groups = {"missing": missing, "rare": rare, "different": sure & ~missing & ~rare}
    return {
        group: [names[int(i)] for i in np.flatnonzero(which)] for group, which in groups.items()
    }


def _chi_square(table: np.ndarray) -> tuple[float, float]:
    """Pearson's statistic of a table of counts and its p-value, over the columns that are not empty."""
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
            f" The features classify only {numbers['classifier_accuracy']:.0%} of the real examples correctly, "
            "so this test detects large faults only; a classifier's features are more sensitive."
        )
    if verdict == GREEN:
        what = "Each label gives its class" if conditional else "Every class has its share"
        return f"{what}: no significant difference in any of {numbers['num_classes']} classes.{caution}"
    missing, rare = numbers["missing"], numbers["rare"]
    if verdict == AMBER:
        which = some(numbers["different"])
        return f"The shares of {which} differ significantly from the data's; none is below half of it.{caution}"
    parts = [f"missing: {some(missing)}"] if missing else []
    parts += [f"rarer than half their share: {some(rare)}"] if rare else []
    what = "Labels that do not give their class" if conditional else "Classes"
    return (
        f"{what} {'; '.join(parts)}. Mode dropping: try a lower generator learning rate, a gradient penalty or "
        f"spectral normalisation, larger batches, packing, or more data of these classes.{caution}"
    )


def some(names: Sequence[str], most: int = 8) -> str:
    """Lists at most `most` names for a sentence, in quotes because many names are numbers.

    >>> print(some(["a", "b", "c"], most=2))
    'a', 'b' and 1 more
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more


def check_labels(name: str, labels, features) -> np.ndarray:
    """Returns labels as int [N], one for each row of features; raises an error if they are not."""
    labels = np.asarray(labels)
    whole = np.issubdtype(labels.dtype, np.integer)
    if not whole or labels.shape != (len(features),) or (len(labels) and labels.min() < 0):
        raise ValueError(
            f"{name} must be {len(features)} whole numbers of at least 0, one for each example, not "
            f"{labels.dtype} {list(labels.shape)}"
        )
    return labels


def _classes(kind: str, classes, labels) -> tuple[np.ndarray, np.ndarray | None]:
    """The assigned classes and the labels, which may be None, as `check_labels` returns them."""
    classes = check_labels(f"{kind}_classes", classes, classes)
    return classes, None if labels is None else check_labels(f"{kind}_labels", labels, classes)


def _names(names: Sequence[str], num_classes: int) -> tuple[str, ...]:
    if names and len(names) != num_classes:
        raise ValueError(f"there are {num_classes} classes, but {len(names)} names for them")
    return tuple(names) or tuple(map(str, range(num_classes)))
