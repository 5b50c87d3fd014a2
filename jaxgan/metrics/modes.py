"""Number of modes that a generator covers, for data with known modes."""

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import gammaln

from jaxgan.metrics.diagnosis import ALPHA, AMBER, GREEN, RED, Diagnosis


class ModesFound(NamedTuple):
    """modes: number of covered modes; high_quality: share of the samples that are near a mode."""

    modes: int
    high_quality: float


def modes_found(points: np.ndarray, centers: np.ndarray, std: float) -> ModesFound:
    """Counts covered modes and the share of high-quality samples, as VEEGAN defines them.

    A sample is of high quality if it lies within 3 std of its nearest centre (closed ball,
    Euclidean); a mode is found if it is the nearest centre of at least one such sample. The papers
    report the mean over several sets of 2,500 samples. The number of modes grows with the number of
    samples, so report the latter too.

    Srivastava et al., "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning",
    NeurIPS 2017, experiments on synthetic data; also used by Lin et al., "PacGAN", NeurIPS 2018.
    For true samples in the plane the share is 1 - exp(-9/2) = 0.989.

    Args:
      points: samples [N, D]; one that is not finite is of low quality.
      centers: the centres of the modes [M, D].
      std: the standard deviation of each mode.

    >>> points = np.array([[0.1, 0.0], [0.2, 0.0], [9.0, 9.0]])
    >>> modes_found(points, centers=np.array([[0.0, 0.0], [5.0, 5.0]]), std=0.1)
    ModesFound(modes=1, high_quality=0.6666666666666666)
    """
    modes = nearest_modes(points, centers, std)
    near = modes >= 0
    return ModesFound(len(np.unique(modes[near])), float(near.mean()))


def nearest_modes(points: np.ndarray, centers: np.ndarray, std: float) -> np.ndarray:
    """The index of the nearest centre of each point, or -1 if it is more than 3 std away: int [N].

    The arguments are those of `modes_found`.
    """
    points, centers = np.asarray(points, np.float64), np.asarray(centers, np.float64)
    if points.ndim != 2 or centers.ndim != 2 or points.shape[1] != centers.shape[1]:
        raise ValueError(
            "modes_found takes points [N, D] and centers [M, D], "
            f"not {list(points.shape)} and {list(centers.shape)}"
        )
    if not len(points) or not len(centers):
        raise ValueError("modes_found needs at least one point and one center")
    distance = np.linalg.norm(points[:, None] - centers[None], axis=-1)
    nearest = distance.argmin(axis=1)
    near = distance[np.arange(len(points)), nearest] <= 3 * std
    return np.where(near, nearest, -1)


FEWEST_ASSIGNED = 0.5  # share of the samples


def mode_coverage(modes, num_modes: int, *, alpha: float = ALPHA) -> Diagnosis:
    """Tests whether samples cover all of several equally frequent modes, and cover them equally often.

    It computes the two numbers of Srivastava et al. 2017 (VEEGAN) for stacked digits: the number of modes to which at
    least one sample is assigned, and the reverse Kullback-Leibler divergence, in nats,

        KL(p || u) = sum_k p_k log(p_k M),

    of the shares p of the samples from the uniform distribution u. Both depend on the number of samples: VEEGAN
    and PacGAN draw 26,000 for 1,000 modes, which miss 5e-9 modes on average.

    Red if modes are significantly missing: the probability that N uniform samples miss k or more of M modes is at
    most C(M, k) (1 - k / M)^N (a union bound over the sets of k modes). Amber if the shares are significantly
    unequal (Pearson's chi-square), or if fewer than half of the samples are assigned to a mode: the others say nothing
    about the modes, and few samples reveal no missing one.

    Args:
      modes: int [N], the mode that each sample is assigned to; negative for none.
      num_modes: the number of modes M.
      alpha: probability of a false alarm.

    Returns:
      The diagnosis. Evidence: "counts" [M], the number of samples of each mode.

    >>> found = mode_coverage(np.arange(1000) % 8, num_modes=10)
    >>> found.verdict, found.numbers["modes"], round(found.numbers["reverse_kl"], 3)
    ('red', 8, 0.223)
    """
    modes = np.asarray(modes)
    if modes.ndim != 1 or not len(modes) or modes.max() >= num_modes:
        raise ValueError(
            f"modes must be [N] with N of at least 1 and numbers below num_modes = {num_modes}, not "
            f"{list(modes.shape)}" + (f" up to {modes.max()}" if modes.size else "")
        )
    counts = np.bincount(modes[modes >= 0], minlength=num_modes)
    total = counts.sum()
    found = int((counts > 0).sum())
    left_out = num_modes - found
    chance = _chance_to_miss(left_out, num_modes, int(total))
    unequal = float(stats.chisquare(counts).pvalue) if total and num_modes > 1 else 1.0
    share = counts[counts > 0] / max(int(total), 1)
    numbers = {
        "modes": found,
        "num_modes": num_modes,
        "num_samples": len(modes),
        "assigned": float(total / len(modes)),
        "reverse_kl": float((share * np.log(share * num_modes)).sum()) if total else None,
        "missed_by_chance_p": chance,
        "uniform_p": unequal,
    }
    doubtful = unequal < alpha / 2 or total < FEWEST_ASSIGNED * len(modes)
    verdict = RED if chance < alpha / 2 else AMBER if doubtful else GREEN
    return Diagnosis("modes", verdict, numbers, _sentence(verdict, numbers), {"counts": counts})


def _sentence(verdict: str, numbers: dict) -> str:
    modes, num_modes = numbers["modes"], numbers["num_modes"]
    met = f"{modes:,} of {num_modes:,} modes are covered by {numbers['num_samples']:,} samples"
    if verdict == RED:
        return (
            f"{met}; {num_modes - modes:,} are missing. Mode dropping: try a gradient penalty or spectral "
            "normalisation, a lower generator learning rate, larger batches, or packing."
        )
    if numbers["assigned"] < FEWEST_ASSIGNED:
        return (
            f"{met}, but only {numbers['assigned']:.1%} of the samples are near a mode, too few to tell whether modes"
            " are missing: train longer, or see whether the samples are spread between the modes."
        )
    if verdict == AMBER:
        return f"{met}, but with significantly unequal shares; longer training or a larger batch may help."
    return f"{met}, about equally often."


def _chance_to_miss(missing: int, num_modes: int, num_samples: int) -> float:
    """An upper bound on the probability that uniform samples miss `missing` modes or more; 1 for none."""
    if not missing:
        return 1.0
    if missing == num_modes:
        return 0.0
    ways = gammaln(num_modes + 1) - gammaln(missing + 1) - gammaln(num_modes - missing + 1)
    return float(min(1.0, np.exp(ways + num_samples * np.log1p(-missing / num_modes))))
