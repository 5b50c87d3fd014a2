"""Linear separability: whether a plane in a latent space divides the pictures with an attribute from those without."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp

from jaxgan.metrics._check import at_least, finite


class Separability(NamedTuple):
    """score: exp of the sum of entropies; entropies: H(Y | X) of each attribute in nats, float64 [K]."""

    score: float
    entropies: np.ndarray


def linear_separability(latents: np.ndarray, logits: np.ndarray, keep: float = 0.5) -> Separability:
    """Computes exp(sum_k H(Y_k | X_k)) of K attributes.

    Y_k is a classifier's decision about a picture, X_k that of a linear support vector machine about its latent, which
    is fitted to these decisions. H(Y | X) is what X leaves unknown of Y: 0 if a plane divides the latents. For each
    attribute only the share `keep` of the pictures is used about which the classifier is most confident.

    The attributes are classes, "is of class k", with the logits of all classes; the paper has classifiers of 40
    attributes of faces, which are two classes each. A class that the classifier finds in no picture that is kept, or in
    all of them, has entropy 0.

    Args:
      latents: [N, D].
      logits: of the classifier, [N, K]; with one column, those of a single attribute.
      keep: share of the pictures.

    Returns:
      See `Separability`.

    Source: Karras et al., A Style-Based Generator Architecture for Generative Adversarial Networks (2019), Section 4.2.

    >>> x = np.random.default_rng(0).normal(size=(400, 3))
    >>> round(linear_separability(x, x[:, :1]).score, 3)  # the sign of a coordinate
    1.0
    """
    latents, logits = np.asarray(latents, np.float64), np.asarray(logits, np.float64)
    if latents.ndim != 2 or logits.ndim != 2 or len(latents) != len(logits):
        raise ValueError(
            f"latents [N, D] and logits [N, K] have one row for each picture, not {list(latents.shape)} and"
            f" {list(logits.shape)}"
        )
    if not 0 < keep <= 1:
        raise ValueError(
            f"keep is {keep}; it must be a share of the pictures, above 0 and at most 1"
        )
    kept = round(keep * len(latents))
    at_least("pictures that are kept", kept, 10)
    finite("latents", latents)
    finite("logits", logits)
    entropies = []
    for odds in _odds(logits).T:
        order = np.argsort(-np.abs(odds), kind="stable")[:kept]
        entropies.append(_entropy_given_plane(latents[order], odds[order] > 0))
    return Separability(float(np.exp(np.sum(entropies))), np.array(entropies))


def _odds(logits: np.ndarray) -> np.ndarray:
    """The log odds of each class against all others, [N, K]."""
    if logits.shape[1] == 1:
        return logits
    own = log_softmax(logits, axis=1)
    others = np.stack(
        [logsumexp(np.delete(own, k, axis=1), axis=1) for k in range(logits.shape[1])], axis=1
    )
    return own - others


def _entropy_given_plane(latents: np.ndarray, decisions: np.ndarray) -> float:
    """H(Y | X) in nats for Y = `decisions` and X those of a linear support vector machine that is fitted to them."""
    if decisions.all() or not decisions.any():
        return 0.0
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    plane = make_pipeline(StandardScaler(), LinearSVC(dual="auto", random_state=0, max_iter=10_000))
    found = plane.fit(latents, decisions).predict(latents)
    joint = np.array([[np.mean((found == x) & (decisions == y)) for y in (0, 1)] for x in (0, 1)])
    side = joint.sum(axis=1, keepdims=True)
    ratio = np.divide(joint, side, out=np.ones_like(joint), where=joint > 0)
    return float(-np.sum(joint * np.log(ratio)))
