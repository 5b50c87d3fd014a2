"""The Inception Score: high if a classifier is confident of each picture and its predictions are diverse.

Salimans et al., "Improved techniques for training GANs", 2016, Section 4. The function computes the
formula from the outputs of any classifier. The number is called Inception Score (IS) only with the
original Inception, whose logits are by convention taken without the bias of the last layer.
"""

import itertools
from typing import NamedTuple

import numpy as np
import scipy.special

from jaxgan.metrics._check import at_least, feature_set

_BLOCK = 4096  # rows widened to float64 at a time


class InceptionScore(NamedTuple):
    """mean and (population) standard deviation over the splits; the latter is not a standard error."""

    mean: float
    deviation: float


def inception_score(
    outputs, splits: int = 10, *, kind: str = "logits", shuffle_seed: int | None = None
) -> InceptionScore:
    """Computes exp of the mean over pictures of KL(p(y|x) || p(y)), for each of several equal parts.

    p(y) is the mean of p(y|x) over the part. The score is biased and grows with the size of a part,
    so report `splits` and the number of pictures with it.

    Args:
      outputs: the outputs of a classifier, float [N, classes].
      splits: number of parts; the i-th begins at the (i N // splits)-th picture.
      kind: "logits", or "probabilities", whose rows sum to 1.
      shuffle_seed: seed of `np.random.RandomState`, for pictures that are sorted (for example by class).
        None keeps their order, as the original does; torch-fidelity shuffles with 2020.

    Returns:
      `InceptionScore(mean, deviation)`; each part's score is between 1 and the number of classes.

    >>> inception_score(np.eye(4), splits=1, kind="probabilities")  # confident, and as diverse as possible
    InceptionScore(mean=4.0, deviation=0.0)
    >>> inception_score(np.zeros((6, 4)), splits=3)
    InceptionScore(mean=1.0, deviation=0.0)
    """
    outputs = feature_set("outputs", outputs)
    at_least("splits", splits, 1)
    if len(outputs) < splits:
        raise ValueError(f"{len(outputs)} pictures cannot be cut into splits = {splits} parts")
    if kind not in ("logits", "probabilities"):
        raise ValueError(f"kind is {kind!r}; outputs are 'logits' or 'probabilities'")
    if kind == "probabilities":
        _check_probabilities(outputs)
    order = np.arange(len(outputs))
    if shuffle_seed is not None:
        order = np.random.RandomState(shuffle_seed).permutation(len(outputs))
    ends = np.arange(splits + 1) * len(outputs) // splits
    scores = [_score(outputs, order[start:end], kind) for start, end in itertools.pairwise(ends)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _score(outputs: np.ndarray, rows: np.ndarray, kind: str) -> float:
    """The equal form exp(H(mean p) - mean H(p)): the entropy of the mean minus the mean entropy."""
    total, entropy = np.zeros(outputs.shape[1]), 0.0
    for start in range(0, len(rows), _BLOCK):
        block = outputs[rows[start : start + _BLOCK]].astype(np.float64)
        if kind == "logits":
            logs = scipy.special.log_softmax(block, axis=1)
            block = np.exp(logs)
            entropy -= np.sum(block * logs)
        else:
            entropy += scipy.special.entr(block).sum()
        total += block.sum(axis=0)
    mean = total / len(rows)
    return float(np.exp(scipy.special.entr(mean).sum() - entropy / len(rows)))


def _check_probabilities(outputs: np.ndarray) -> None:
    sums = outputs.sum(axis=1, dtype=np.float64)
    if outputs.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise ValueError(
            f"probabilities must be at least 0 and each row must sum to 1, but the least is {outputs.min():.3g} "
            f"and the sums lie between {sums.min():.3g} and {sums.max():.3g}; "
            "use kind='logits' for logits"
        )
