"""Classification accuracy score: the accuracy on reals of a classifier trained on fakes alone.

Ravuri & Vinyals, "Classification accuracy score for conditional generative models", 2019: the score falls where a
class is missing, collapsed or wrong, which Fréchet distances may not detect. The authors train a ResNet-50 on
generated pictures. Here the classifier is a linear probe, a logistic regression on features. It is cheap and exact,
but insensitive to faults that the features do not represent. Compare it with the same probe trained on equally many
reals.
"""

from typing import NamedTuple

import numpy as np

from jaxgan.metrics._check import feature_pair, labels_of


class ClassificationAccuracy(NamedTuple):
    """accuracy: over all tested examples; per_class: over the tested examples of each class."""

    accuracy: float
    per_class: dict[int, float]


def linear_probe_accuracy(
    real, real_labels, fake, fake_labels, *, c: float = 1.0, max_iterations: int = 1000
) -> ClassificationAccuracy:
    """Computes the accuracy on reals of a logistic regression fitted to the fakes and their requested classes.

    Features are standardised by the means and standard deviations of the fakes. A class without fakes is never
    predicted, so its reals count as wrong.

    Args:
      real: float [N, D] features of a test set.
      real_labels: int [N].
      fake: float [M, D] features of generated examples.
      fake_labels: int [M], the classes given to the generator; at least two different ones.
      c: inverse strength of the L2 penalty, the `C` of scikit-learn's `LogisticRegression`.
      max_iterations: limit on the iterations of the solver, which warns if it has not converged.

    Returns:
      `ClassificationAccuracy(accuracy, per_class)`, each in [0, 1].

    >>> fake, labels = np.array([[-1.0], [-2.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    >>> linear_probe_accuracy(np.array([[-3.0], [0.5], [3.0], [-4.0]]), np.array([0, 1, 1, 1]), fake, labels)
    ClassificationAccuracy(accuracy=0.75, per_class={0: 1.0, 1: 0.6666666666666666})
    """
    # Imported here because scikit-learn takes longer to import than all of jaxgan.metrics.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    real, fake = feature_pair(real, fake)
    real_labels = labels_of("real_labels", real_labels, len(real))
    fake_labels = labels_of("fake_labels", fake_labels, len(fake))
    if len(np.unique(fake_labels)) < 2:
        raise ValueError(
            f"all fakes are of class {fake_labels[0]}; a classifier needs at least two classes"
        )
    if not c > 0:
        raise ValueError(f"c = {c} must be positive")
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=max_iterations))
    probe.fit(fake.astype(np.float64), fake_labels)
    right = probe.predict(real.astype(np.float64)) == real_labels
    per_class = {
        int(name): float(right[real_labels == name].mean()) for name in np.unique(real_labels)
    }
    return ClassificationAccuracy(float(right.mean()), per_class)
