"""Diagnosis of memorisation: whether a generator copies its training examples.

A generator that copies its training set has an optimal Fréchet distance. A held-out set reveals the
copies: examples from the same source that are not in the training set.

Without a held-out set, the distances between training examples replace those of held-out examples. Near copies are
still detected if the training set has few near-duplicates. A preference for the training set cannot be detected.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from jaxgan.metrics import diagnosis
from jaxgan.metrics._check import feature_sets
from jaxgan.metrics.diagnosis import ALPHA, AMBER, GREEN, RED, Diagnosis
from jaxgan.metrics.neighbours import Neighbours, nearest

LARGE = 0.05  # share of memorised fakes from which on a significant preference is red
_FEWEST = 20


class Preference(NamedTuple):
    """The result of `training_preference`.

    share: the share of fakes whose nearest real example is a training example.
    expected: that share without memorisation, which is the share of training examples among all reals.
    z, p: the statistic and the p-value of the one-sided randomisation test.
    memorised: the estimated share of memorised fakes.
    """

    share: float
    expected: float
    z: float
    p: float
    memorised: float


def training_preference(
    to_train, train_index, to_held_out, held_out_index, num_train: int, num_held_out: int
) -> Preference:
    """Tests whether fakes are nearer to training examples than to held-out examples.

    If the split into training and held-out examples is random and the generator does not depend on it,
    then the nearest real example of each fake is a training example with probability N_T / N, whether the
    generator is good, blurred or collapsed. Random permutations of the split give the distribution of
    the share: with w_r fakes nearest to real r, and M fakes in total,

        mean = N_T / N,    variance = N_T N_H (N sum_r w_r² - M²) / (N² (N - 1) M²),

    so that a thousand fakes nearest to one real count as one observation. If a share phi of the
    fakes is memorised and the rest is not, the expected share is phi + (1 - phi) N_T / N; `memorised`
    is the solution for phi.

    The share is that of Platzer & Reutterer, "Holdout-based empirical assessment of mixed-type
    synthetic data", Frontiers in Big Data 2021; the test is the randomisation test of the split.

    Args:
      to_train, train_index: distance to and index of each fake's nearest training example [M].
      to_held_out, held_out_index: the same for held-out examples; a tie counts as half.
      num_train, num_held_out: N_T and N_H.
    """
    to_train, to_held_out = np.asarray(to_train), np.asarray(to_held_out)
    nearer = np.where(to_train == to_held_out, 0.5, to_train < to_held_out)
    share = float(nearer.mean())
    expected = num_train / (num_train + num_held_out)
    owner = np.where(nearer > 0, train_index, num_train + np.asarray(held_out_index))
    weights = np.unique(owner, return_counts=True)[1].astype(np.float64)
    num, fakes = num_train + num_held_out, len(to_train)
    spread = num * np.square(weights).sum() - fakes**2
    deviation = np.sqrt(num_train * num_held_out * spread / (num - 1)) / (num * fakes)
    # No permutation changes the share if every real is the nearest of equally many fakes.
    z = float((share - expected) / deviation) if deviation > 0 else 0.0
    memorised = max(0.0, (share - expected) / (1 - expected))
    return Preference(share, expected, z, float(stats.norm.sf(z)), float(memorised))


def mann_whitney_z(fake, held_out) -> float:
    """(U - m n / 2) / sqrt(m n (m + n + 1) / 12), U the number of pairs with fake > held-out.

    The arguments are distances to the training set. The statistic is far below 0 if fakes are nearer to
    it than held-out examples, far above 0 if they are farther (Meehan et al. 2020, Section 3.1). Ties count half.
    """
    m, n = len(fake), len(held_out)
    u = stats.mannwhitneyu(fake, held_out, method="asymptotic").statistic
    return float((u - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12))


def data_copying(fake, held_out, fake_cells, held_out_cells, least: int = 20) -> float:
    """The C_T statistic: the mean over cells of `mann_whitney_z`, weighted by held-out examples.

    Meehan, Chaudhuri & Dasgupta, "A non-parametric test to detect data-copying in generative
    models", AISTATS 2020, Eq. 1. Values far below 0 (such as -3) show data-copying, values far above
    0 underfitting. In each cell of a partition, fakes are compared with held-out examples of the same
    cell, so that an excess of samples in other cells cannot hide copies. Distances are to the whole
    training set (the authors' program uses the training examples of the same cell).

    Args:
      fake, held_out: distances to the nearest training example [M], [N].
      fake_cells, held_out_cells: int [M], [N], the cell of each.
      least: cells with fewer fakes or fewer held-out examples are left out.

    Returns:
      The statistic; NaN if no cell has enough examples.
    """
    fake, held_out = np.asarray(fake), np.asarray(held_out)
    total, weight = 0.0, 0
    for cell in np.unique(held_out_cells):
        here, there = fake[fake_cells == cell], held_out[held_out_cells == cell]
        if min(len(here), len(there)) >= least:
            total += len(there) * mann_whitney_z(here, there)
            weight += len(there)
    return total / weight if weight else float("nan")


def cells(train, *others, num: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Fits k-means to the training set and returns the cells of all sets, `train` first: int [N] each.

    The number of cells is `num`, or the number of different training examples if that is smaller.
    """
    from sklearn.cluster import KMeans

    num = min(num, len(np.unique(train, axis=0)))
    means = KMeans(num, n_init=1, max_iter=20, random_state=seed).fit(train)
    return tuple(means.predict(x) for x in (train, *others))


def authentic(to_train, train_index, within_train) -> np.ndarray:
    """Tests whether each fake is farther from its nearest training example than that is from any other: bool [M].

    Alaa et al., "How faithful is your synthetic data?", ICML 2022, Section 3.3; the share of such fakes is
    AuthPct in Stein et al., "Exposing flaws of generative model evaluation metrics", NeurIPS 2023.
    It is far below 1 without memorisation too: a new real example is the mutual nearest neighbour of
    its nearest training example in about half of the cases.

    Args:
      to_train, train_index: distance to and index of each fake's nearest training example [M].
      within_train: distance of each training example to the nearest other one [N].
    """
    return np.asarray(to_train) > np.asarray(within_train)[train_index]


def memorisation(
    train, fake, held_out=None, *, alpha: float = ALPHA, num_cells: int = 10, seed: int = 0
) -> Diagnosis:
    """Tests whether fakes are copies of training examples.

    With a held-out set, two tests share alpha. `training_preference` detects that too many fakes are
    nearer to a training example than to a held-out one. The rate of near copies, which are fakes nearer to a training
    example than 99 % of the held-out examples are, detects few copies among many fakes. Red if near copies are
    significantly more frequent than among held-out examples, or if the preference is significant and its estimate
    of the memorised share is at least 5 %; amber if the preference is significant but smaller. C_T and authenticity are
    reported but do not affect the verdict: blurred or collapsed fakes are near the middle of the data, which lowers
    both without any copies.

    Without a held-out set, near copies are detected by comparison with the distances between training examples,
    and a low authenticity is only amber.

    Args:
      train: float [N, D] features of the whole training set.
      fake: float [M, D] features of generated examples.
      held_out: float [H, D] features of examples from the same source that are not in the training set, or None.
      alpha: probability of a false alarm.
      num_cells: number of cells of the partition for C_T.
      seed: seed of that partition.

    Returns:
      The diagnosis. Evidence: "distance" and "index" of each fake's nearest training example,
      "reference" distances of held-out examples (or between training examples), and
      "near_copies", bool [M].
    """
    train, fake, held_out = _checked(train, fake, held_out)
    found, inner = nearest(fake, train), nearest(train, train, themselves=True)
    distance, index, within = found.distance[:, 0], found.index[:, 0], inner.distance[:, 0]
    reference = _reference(train, held_out, inner)
    numbers = _described(train, fake, held_out, found, within, reference, num_cells, seed)
    near, rates = _near_copies(distance, index, reference, alpha / 4)
    numbers |= rates
    copies = rates["near_copies_at_least"] > rates["near_copies_expected_at_most"]
    evidence = {
        "distance": distance,
        "index": index,
        "reference": reference.distance,
        "near_copies": near,
    }
    if held_out is None:
        unauthentic = ~authentic(distance, index, within)
        close = diagnosis.share_above(unauthentic, index, alpha / 2)[1] > 1 - reference.authentic
        verdict = RED if copies else AMBER if close else GREEN
        sentence = _without_held_out(verdict, numbers)
    else:
        other = nearest(fake, held_out)
        preference = training_preference(
            distance, index, other.distance[:, 0], other.index[:, 0], len(train), len(held_out)
        )
        numbers |= {f"preference_{name}": value for name, value in preference._asdict().items()}
        sure = preference.p < alpha / 2
        verdict = RED if copies or (sure and preference.memorised >= LARGE) else GREEN
        verdict = AMBER if verdict == GREEN and sure else verdict
        sentence = _with_held_out(verdict, copies, numbers)
    return Diagnosis("memorisation", verdict, numbers, sentence, evidence)


def _checked(train, fake, held_out) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns the three sets as arrays; raises an error if D differs or there are too few examples."""
    sets = {"train": train, "fake": fake} | ({} if held_out is None else {"held_out": held_out})
    train, fake, *_ = feature_sets(**sets)
    for name, value in sets.items():
        if len(value) < _FEWEST:
            raise ValueError(
                f"memorisation needs at least {_FEWEST} examples of each kind, but {name} has {len(value)}"
            )
    return train, fake, None if held_out is None else np.asarray(held_out)


class _Reference(NamedTuple):
    """Reference for the distances of fakes to the training set.

    distance: distance of each held-out example to its nearest training example (without a held-out set, of each
      training example to the nearest other one).
    independent: number of independent distances.
    authentic: share of examples that are `authentic`.
    """

    distance: np.ndarray
    independent: int
    authentic: float


def _reference(train, held_out, inner: Neighbours) -> _Reference:
    found = inner if held_out is None else nearest(held_out, train)
    distance = found.distance[:, 0]
    share = authentic(distance, found.index[:, 0], inner.distance[:, 0]).mean()
    # Mutual neighbours within the training set share a distance.
    independent = len(distance) // 2 if held_out is None else len(distance)
    return _Reference(distance, independent, float(share))


def _described(
    train, fake, held_out, found: Neighbours, within, reference: _Reference, num_cells, seed
) -> dict:
    """The reported numbers that do not affect the verdict."""
    distance, index = found.distance[:, 0], found.index[:, 0]
    numbers: dict[str, Any] = {
        "num_train": len(train),
        "num_fake": len(fake),
        "num_held_out": 0 if held_out is None else len(held_out),
        "median_distance": float(np.median(distance)),
        "exact_copies": float((distance == 0).mean()),
        "repeated_fakes": float((nearest(fake, fake, themselves=True).distance == 0).mean()),
        "authentic": float(authentic(distance, index, within).mean()),
    }
    if held_out is not None:
        where = cells(train, fake, held_out, num=num_cells, seed=seed)
        c_t = data_copying(distance, reference.distance, where[1], where[2])
        numbers["c_t"] = None if np.isnan(c_t) else c_t  # JSON has no NaN
        numbers["c_t_one_cell"] = mann_whitney_z(distance, reference.distance)
    numbers["reference_median_distance"] = float(np.median(reference.distance))
    numbers["reference_authentic"] = reference.authentic
    return numbers


def _near_copies(distance, index, reference: _Reference, alpha: float) -> tuple[np.ndarray, dict]:
    """(mask of near copies, bool [M]; their rate and the expected rate, with bounds at level alpha each)."""
    threshold, rank = diagnosis.near_threshold(reference.distance)
    rank = max(1, rank * reference.independent // len(reference.distance))
    near = distance < threshold
    rate, least = diagnosis.share_above(near, index, alpha)
    expected, most = diagnosis.share_expected(rank, reference.independent, alpha)
    return near, {
        "near_copies": rate,
        "near_copies_expected": expected,
        "near_copies_at_least": least,
        "near_copies_expected_at_most": most,
    }


def _with_held_out(verdict: str, copies: bool, numbers: dict) -> str:
    share = f"{numbers['preference_memorised']:.0%}"
    near = f"{numbers['near_copies']:.1%} are nearer to a training example than 99 % of the held-out examples are"
    if verdict == GREEN:
        far = (numbers["c_t"] or 0) > 3
        return (
            "The fakes are no nearer to the training examples than to held-out ones, and "
            f"{near} ({numbers['near_copies_expected']:.1%} expected): no sign of copying."
            + (" They are farther from the data than held-out examples are." if far else "")
        )
    if verdict == AMBER:
        return (
            f"Slightly more fakes than expected are nearest to a training example: about {share} "
            "are memorised. Inspect the nearest pairs; fewer steps, augmentation or more data help."
        )
    if copies:
        return (
            f"Training examples are copied: of the fakes, {near}. Inspect the pairs; stop earlier, augment "
            "(flip, ADA) or add data, and do not publish samples of private data."
        )
    return (
        f"About {share} of the fakes are memorised: too many are nearer to training examples than to held-out ones. "
        "Stop earlier, augment (flip, ADA) or add data, and do not publish samples of private data."
    )


def _without_held_out(verdict: str, numbers: dict) -> str:
    near = (
        f"{numbers['near_copies']:.1%} of the fakes are nearer to a training example than 99 % of the training "
        "examples are to each other"
    )
    missing = (
        "Without a held-out set, memorisation cannot be distinguished from data that simply lie close "
        "together"
    )
    if verdict == GREEN:
        return f"{near}: no copies were found. {missing}; hold out part of the data to test for it."
    if verdict == AMBER:
        return (
            f"Only {numbers['authentic']:.0%} of the fakes are farther from their nearest training example than "
            f"that is from any other, against {numbers['reference_authentic']:.0%} among training examples: copies or "
            f"blurred examples. {missing}; hold out part of the data to decide."
        )
    return (
        f"Training examples are copied: {near}. Inspect the pairs; stop earlier, augment (flip, ADA) or add "
        "data. (No held-out set was given. Near-duplicates in the training set can hide copies, but cannot cause this "
        "verdict.)"
    )
