"""Whether running batch statistics, used for sampling, are those of the batches of training.

Batch normalisation standardises by a batch's own mean and variance in training, and by running
averages afterwards. Where these lag behind, or were averaged with other weights, a network samples
worse than it trained, and no score of the training mode shows it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxgan.metrics.diagnosis import AMBER, GREEN, RED, Diagnosis

LARGE = (
    0.2  # deviation, in standard deviations or logs of variance, from which on a sure one is red
)
_FEWEST = 5

# {layer: (mean [C], variance [C])} of one batch, or of the running averages
Statistics = Mapping[str, tuple[np.ndarray, np.ndarray]]


def statistics_drift(running: Statistics, fresh: Sequence[Statistics]) -> Diagnosis:
    """Compares running statistics with those of fresh batches, layer by layer.

    For each layer, over its channels c,

        mean deviation = sqrt(mean_c (m_c - m'_c)² / v'_c),
        variance deviation = sqrt(mean_c log²(v_c / v'_c)),

    m, v the running statistics, m', v' the averages over fresh batches. How much one batch deviates from the
    average of the others is measured too: training has seen such deviations and lives with them. A layer
    has drifted if its running statistics deviate more than every fresh batch does; amber. Red if they also
    deviate by more than 0.2: a fifth of a standard deviation, or of a variance.

    Args:
      running: of each layer, by its name.
      fresh: the same layers' of at least 5 batches in the mode of training, with the same weights.

    Returns:
      The diagnosis. Evidence, in the order of "layers": "mean" and "variance" deviation of the running
      statistics, "mean_batches" and "variance_batches", the largest of a fresh batch.
    """
    if not running:
        return Diagnosis(
            "batch_statistics",
            GREEN,
            {"layers": 0},
            "The generator keeps no running batch statistics: it samples as it trains.",
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
    """Raises unless there are enough fresh batches, each of the layers of the running statistics."""
    if len(fresh) < _FEWEST:
        raise ValueError(f"fresh has {len(fresh)} batches; at least {_FEWEST} are needed")
    for batch in fresh:
        if batch.keys() != running.keys():
            raise ValueError(
                f"fresh batches have the layers {sorted(batch)}, but the running statistics {sorted(running)}"
            )


def _sentence(verdict: str, numbers: dict, worst: str) -> str:
    if verdict == GREEN:
        return "Running batch statistics are those of fresh batches, as far as batches agree."
    cure = (
        "Gather them anew with the weights held still, or lower the momentum; averaged weights need statistics "
        "of their own."
        if verdict == RED
        else "The difference is small; statistics gathered with the weights held still would remove it."
    )
    return (
        f"The running batch statistics of {len(numbers['drifted'])} of {numbers['layers']} layers ({worst} most) "
        "differ from those of fresh batches by more than any batch does: the generator samples otherwise than it "
        f"trains. {cure}"
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
    floor = 1e-5  # batch normalisation's own epsilon: a channel that never varies drifts nowhere
    variance, other = np.asarray(variance, np.float64) + floor, other_variance + floor
    shift = np.square(np.asarray(mean, np.float64) - other_mean) / other
    return float(np.sqrt(shift.mean())), float(np.sqrt(np.square(np.log(variance / other)).mean()))
