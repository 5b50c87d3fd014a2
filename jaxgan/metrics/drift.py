"""Diagnosis of running batch statistics: whether those used for sampling match those of training batches.

Batch normalisation standardises by the mean and variance of the current batch in training, and by
running averages in sampling. If the running averages lag behind, or belong to other weights, the network
samples worse than in training, and no score computed in training mode shows it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxgan.metrics.diagnosis import AMBER, GREEN, RED, Diagnosis

LARGE = (
    0.2  # deviation, in standard deviations or logs of variance, above which a drifted layer is red
)
_FEWEST = 5

# {layer: (mean [C], variance [C])} of one batch, or of the running averages
Statistics = Mapping[str, tuple[np.ndarray, np.ndarray]]


def statistics_drift(running: Statistics, fresh: Sequence[Statistics]) -> Diagnosis:
    """Compares the running statistics of each layer with those of fresh batches.

    For each layer, over its channels c,

        mean deviation = sqrt(mean_c (m_c - m'_c)² / v'_c),
        variance deviation = sqrt(mean_c log²(v_c / v'_c)),

    m, v are the running statistics, m', v' the averages over fresh batches. The deviation of each fresh batch from
    the average of the others is computed too, as the network was trained under such deviations. A layer has drifted
    if its running statistics deviate more than every fresh batch does. Amber if a layer has drifted; red if its
    deviation also exceeds 0.2 (a fifth of a standard deviation, or of a variance).

    Args:
      running: the running statistics by layer name.
      fresh: the statistics of the same layers for at least 5 batches in training mode, with the same weights.

    Returns:
      The diagnosis. Evidence, in the order of "layers": the "mean" and "variance" deviations of the running
      statistics, and "mean_batches" and "variance_batches", the largest deviations of a fresh batch.
    """
    if not running:
        return Diagnosis(
            "batch_statistics",
            GREEN,
            {"layers": 0},
            "The generator has no running batch statistics: it samples as it trains.",
            {},
        )
    _check_batches(running, fresh)
    rows = [_layer(running[name], [batch[name] for batch in fresh]) for name in running]
    mean, variance, mean_batches, variance_batches = np.array(rows).T
    drifted = (mean > mean_batches) | (variance > variance_batches)
    size = np.maximum(
        np.where(mean > mean_batches, mean, 0), np.where(variance > variance_batches, variance, 0)
    )
    layers = np.array(list(running))
    verdict = RED if (size > LARGE).any() else AMBER if drifted.any() else GREEN
    numbers = {
        "layers": len(layers),
        "fresh_batches": len(fresh),
        "drifted": layers[drifted].tolist(),
        "mean_deviation_largest": float(mean.max()),
        "variance_deviation_largest": float(variance.max()),
    }
    evidence = {
        "layers": layers,
        "mean": mean,
        "variance": variance,
        "mean_batches": mean_batches,
        "variance_batches": variance_batches,
    }
    sentence = _sentence(verdict, numbers, worst=layers[size.argmax()])
    return Diagnosis("batch_statistics", verdict, numbers, sentence, evidence)


def _check_batches(running: Statistics, fresh: Sequence[Statistics]) -> None:
    """Raises an error if there are too few fresh batches, or if their layers differ from the running ones."""
    if len(fresh) < _FEWEST:
        raise ValueError(f"fresh has {len(fresh)} batches; at least {_FEWEST} are needed")
    for batch in fresh:
        if batch.keys() != running.keys():
            raise ValueError(
                f"fresh batches have the layers {sorted(batch)}, but the running statistics {sorted(running)}"
            )


def _sentence(verdict: str, numbers: dict, worst: str) -> str:
    if verdict == GREEN:
        return "Running batch statistics match those of fresh batches within their variation."
    cure = (
        "Recompute them with fixed weights, or lower the momentum; averaged weights need their own "
        "statistics."
        if verdict == RED
        else "The difference is small; recomputing the statistics with fixed weights would remove it."
    )
    return (
        f"The running batch statistics of {len(numbers['drifted'])} of {numbers['layers']} layers ({worst} most) "
        "differ from those of fresh batches by more than any batch does: the generator samples differently than "
        f"it trains. {cure}"
    )


def _layer(running, fresh) -> tuple[float, float, float, float]:
    means, variances = (np.stack(part).astype(np.float64) for part in zip(*fresh, strict=True))
    ours = _deviation(running[0], running[1], means.mean(axis=0), variances.mean(axis=0))
    others = len(fresh) - 1
    batches = [
        _deviation(
            means[i],
            variances[i],
            (means.sum(axis=0) - means[i]) / others,
            (variances.sum(axis=0) - variances[i]) / others,
        )
        for i in range(len(fresh))
    ]
    return (*ours, *np.max(batches, axis=0))


def _deviation(mean, variance, other_mean, other_variance) -> tuple[float, float]:
    floor = 1e-5  # batch normalisation's epsilon, so that constant channels show no deviation
    variance, other = np.asarray(variance, np.float64) + floor, other_variance + floor
    shift = np.square(np.asarray(mean, np.float64) - other_mean) / other
    return float(np.sqrt(shift.mean())), float(np.sqrt(np.square(np.log(variance / other)).mean()))
