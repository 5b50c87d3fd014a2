"""Diagnosis of mode collapse: whether a generator repeats a few examples, within a class or overall."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from jaxgan.metrics import diagnosis
from jaxgan.metrics._check import feature_pair
from jaxgan.metrics.classes import check_labels, some
from jaxgan.metrics.diagnosis import ALPHA, AMBER, GREEN, RED, Diagnosis
from jaxgan.metrics.neighbours import nearest

NARROW = 0.75  # ratio of spread or rank to the reals' below which a significant one is red
REPEATING = 0.05  # share of repeated fakes from which on significant repetition is red
PERMUTATIONS = 200
FEWEST = 10  # minimum number of real and of fake examples of a class that is tested
MOST = 1000  # maximum number of each, as the test stores their inner products


def diversity(real, fake, rng: np.random.Generator, permutations: int = PERMUTATIONS) -> dict:
    """Compares the diversity of fakes with that of reals, by a one-sided permutation test.

    The test uses two statistics of a set with covariance C:

        spread = sqrt(trace C), the root mean square distance from the mean,
        rank = (trace C)² / trace C², the effective number of directions of the variance.

    The rank is the participation ratio. Both statistics need only inner products. The test compares the log of
    the ratio of the fakes' statistic to the reals' with its distribution under random permutations of the labels
    "real" and "fake". If both sets have the same distribution, permutations do not change that of the ratio, so the
    test needs no constant and the sizes may differ. The tail probability is that of Student's t with the mean and
    standard deviation of the permutations, as a few hundred permutations cannot resolve 1e-5.

    Args:
      real: float [N, D].
      fake: float [M, D].
      rng: the random number generator of the permutations.
      permutations: number of permutations.

    Returns:
      {"spread": ratio, "spread_p": p, "rank": ratio, "rank_p": p}. The p-values are one-sided: they are small
      where fakes are significantly less diverse. The ratio of ranks is divided by its mean under the permutations,
      which depends on the sizes.
    """
    both = np.concatenate([real, fake]).astype(np.float64)
    both -= both.mean(axis=0)
    scale = np.sqrt(np.square(both).sum() / len(both))
    gram = both @ both.T / max(scale**2, 1e-300)
    is_fake = np.zeros((len(both), permutations + 1))
    for column in is_fake[:, 1:].T:
        column[rng.permutation(len(both))[: len(fake)]] = 1
    is_fake[len(real) :, 0] = 1
    fake_spread, fake_rank = _spread_and_rank(gram, is_fake)
    real_spread, real_rank = _spread_and_rank(gram, 1 - is_fake)
    found = {}
    for name, ratio in (("spread", fake_spread / real_spread), ("rank", fake_rank / real_rank)):
        logs = np.log(ratio)
        observed, shuffled = logs[0], logs[1:]
        deviation = max(shuffled.std(ddof=1) * np.sqrt(1 + 1 / permutations), 1e-12)
        found[name] = float(np.exp(observed - (shuffled.mean() if name == "rank" else 0)))
        found[f"{name}_p"] = float(
            stats.t.cdf((observed - shuffled.mean()) / deviation, permutations - 1)
        )
    return found


def _spread_and_rank(gram: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The statistics [P] of P sets: `member` [N, P] is 1 for the members of each, `gram` [N, N] the inner products."""
    size = member.sum(axis=0)
    rows = member * (gram @ member)
    total = rows.sum(axis=0)
    trace = np.diag(gram) @ member - total / size
    # The squared Frobenius norm of each set's inner products after it is centred at its own mean.
    square = (member * (np.square(gram) @ member)).sum(axis=0)
    square += (total / size) ** 2 - 2 * np.square(rows).sum(axis=0) / size
    tiny = 1e-12 * size
    trace, square = np.maximum(trace, tiny), np.maximum(square, tiny**2)
    return np.sqrt(trace / (size - 1)), np.maximum(trace**2 / square, 1)


def repetition(real, fake, rng: np.random.Generator, alpha: float = ALPHA) -> dict[str, float]:
    """Computes the share of fakes that are nearer to another fake than 99 % of as many reals are to another real.

    A generator that produces only a hundred pictures, each with a little noise, can have the same spread as the data.
    Repeated pictures reveal it (Arora & Zhang, "Do GANs actually learn the distribution? An empirical study", 2017,
    search for such pairs by eye).

    Returns:
      {"repeats", "repeats_expected", "repeats_at_least", "repeats_expected_at_most"}: shares. The last two are
      bounds, each of which fails with probability alpha / 2. They are 0 and 1 if there are fewer than 20 reals or
      fewer than 20 fakes.
    """
    num = min(len(real), len(fake))
    names = ("repeats", "repeats_expected", "repeats_at_least", "repeats_expected_at_most")
    if num < 2 * FEWEST:
        return dict(zip(names, (0.0, 0.0, 0.0, 1.0), strict=True))
    real, fake = _some_of(real, num, rng), _some_of(fake, num, rng)
    within = nearest(real, real, themselves=True).distance[:, 0]
    threshold, rank = diagnosis.near_threshold(within)
    rank = max(1, rank // 2)  # mutual neighbours share a distance, so half as many are independent
    expected, most = diagnosis.share_expected(rank, num // 2, alpha / 2)
    found = nearest(fake, fake, themselves=True)
    clusters = diagnosis.linked(found.index[:, 0])
    rate, sure = diagnosis.share_above(found.distance[:, 0] < threshold, clusters, alpha / 2)
    if rate == 1:  # all repeat, even if they are one cluster
        sure = 1.0
    return dict(zip(names, (rate, expected, sure, most), strict=True))


def collapse(
    real,
    fake,
    real_classes=None,
    fake_classes=None,
    *,
    near_copies=None,
    names: Sequence[str] = (),
    alpha: float = ALPHA,
    seed: int = 0,
) -> Diagnosis:
    """Tests whether fakes are less diverse than reals, inside each class and overall.

    Half of alpha is assigned to `diversity` in each class (two tests per class, Bonferroni), and half to
    `repetition` over all examples. Red if the spread or rank of a class is significantly lower than the reals' and
    below three quarters of it, or if significantly at least 5 % of the fakes repeat others. Amber if an effect is
    significant but smaller.

    Args:
      real: float [N, D] features.
      fake: float [M, D].
      real_classes, fake_classes: int [N], [M], both assigned by the same rule. Without them, or where no class has 10
        reals and 10 fakes, all examples form one class.
      near_copies: bool [M], true for fakes that copy training examples. `repetition` leaves them out, as
        `memorisation` reports them and copies of one training example are not repeats of each other.
      names: names of the classes; their numbers by default.
      alpha: probability of a false alarm.
      seed: seed of the permutations, and of the choice of 1,000 examples of a larger class.

    Returns:
      The diagnosis. Evidence: "classes", the names of the tested classes [C], and the "spread" and "rank" of each.
    """
    real, fake = feature_pair(real, fake)
    rng = np.random.default_rng(seed)
    judged, left = _compared(real, fake, real_classes, fake_classes, names)
    found = {
        name: diversity(_some_of(a, MOST, rng), _some_of(b, MOST, rng), rng)
        for name, (a, b) in judged.items()
    }
    narrow, sure = _narrower(found, alpha / 2)
    kept = fake if near_copies is None else fake[~np.asarray(near_copies)]
    repeats = repetition(real, kept, rng, alpha / 2)
    repeating = repeats["repeats_at_least"] > repeats["repeats_expected_at_most"]
    often = repeating and repeats["repeats_at_least"] >= REPEATING
    verdict = RED if narrow or often else AMBER if sure or repeating else GREEN
    numbers = {
        "classes": len(found),
        "too_few_to_tell": left,
        "collapsed": narrow,
        "narrower": sure,
        "spread_median": _median([c["spread"] for c in found.values()]),
        "rank_median": _median([c["rank"] for c in found.values()]),
        **repeats,
    }
    evidence = {
        "classes": np.array(list(found)),
        "spread": np.array([c["spread"] for c in found.values()]),
        "rank": np.array([c["rank"] for c in found.values()]),
    }
    return Diagnosis("collapse", verdict, numbers, _sentence(verdict, numbers, repeating), evidence)


def _compared(real, fake, real_classes, fake_classes, names: Sequence[str]):
    """({class name: its (real, fake)}, the names of classes with too few examples).

    All examples form one class if no classes are given, or if every class has too few examples.
    """
    judged, left = {}, []
    if real_classes is not None and fake_classes is not None:
        real_classes = check_labels("real_classes", real_classes, real)
        fake_classes = check_labels("fake_classes", fake_classes, fake)
        for k in range(1 + max(real_classes.max(), fake_classes.max())):
            pair = real[real_classes == k], fake[fake_classes == k]
            name = names[k] if len(names) else str(k)
            if min(map(len, pair)) >= FEWEST:
                judged[name] = pair
            else:
                left.append(name)
    if not judged and min(len(real), len(fake)) >= FEWEST:
        judged = {"all examples": (real, fake)}
    return judged, left


def _narrower(found: dict[str, dict], alpha: float) -> tuple[list[str], list[str]]:
    """(classes significantly and far less diverse than the reals, other significantly less diverse classes)."""
    level = alpha / max(1, 2 * len(found))
    narrow, sure = list[str](), list[str]()
    for name, class_ in found.items():
        low = [class_[s] for s in ("spread", "rank") if class_[f"{s}_p"] < level and class_[s] < 1]
        if low:
            (narrow if min(low) < NARROW else sure).append(name)
    return narrow, sure


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _some_of(features: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if len(features) <= most:
        return features
    return features[rng.choice(len(features), most, replace=False)]


def _sentence(verdict: str, numbers: dict, repeating: bool) -> str:
    again = (
        f"{numbers['repeats']:.0%} of the fakes are nearer to another fake than 99 % of as many real examples are to "
        "another real one"
    )
    if verdict == GREEN:
        if not numbers["classes"]:
            return f"There are fewer than {FEWEST} real or generated examples, too few for this test; use more."
        return (
            f"Inside each of {numbers['classes']} compared classes the fakes are as diverse as the data, and they do"
            " not repeat one another."
            if numbers["classes"] > 1
            else "The fakes are as diverse as the data, and do not repeat one another."
        )
    parts = []
    if numbers["collapsed"]:
        count, of = len(numbers["collapsed"]), numbers["classes"]
        where = f", in {count} of {of} classes ({some(numbers['collapsed'])})" if of > 1 else ""
        parts.append(f"far less diversity than in the data{where}")
    elif numbers["narrower"]:
        parts.append(
            f"slightly but significantly less diversity than in the data, in {some(numbers['narrower'])}"
        )
    if repeating:
        parts.append(again)
    cure = (
        "Collapse: try a larger latent, a lower generator learning rate, packing or minibatch statistics in the "
        "critic, a diversity loss, or no truncation."
        if verdict == RED
        else "Inspect the samples of these classes; truncation or averaged weights may reduce their diversity."
    )
    found = "; ".join(parts)
    return f"{found[0].upper()}{found[1:]}. {cure}"
