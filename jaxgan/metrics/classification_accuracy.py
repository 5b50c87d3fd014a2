"""Classification accuracy score: a classifier that has only seen fakes, tested on reals.

Ravuri & Vinyals, "Classification accuracy score for conditional generative models", 2019: it falls where a class is
missing, collapsed or drawn wrongly, which Fréchet distances may not notice. They train a ResNet-50 on generated
pictures; here it is a linear probe, a logistic regression on features, which is cheap and exact, and forgives a
generator all that the features do not see. Set it beside the same probe trained on reals of equal number.
"""

from typing import NamedTuple

import numpy as np

from jaxgan.metrics._check import feature_pair, labels_of


class ClassificationAccuracy(NamedTuple):
    """accuracy over all tested examples; per_class, over those of each class."""

    accuracy: float
    per_class: dict[int, float]


def linear_probe_accuracy(
    real, real_labels, fake, fake_labels, *, c: float = 1.0, max_iterations: int = 1000
) -> ClassificationAccuracy:
    """Accuracy on reals of a logistic regression fitted to the fakes and the classes they were asked to be.

    Features are standardised by the fakes' means and deviations. A class without fakes is never answered, and
    so counts as wrong.

    Args:
      real: float [N, D] features of a test set.
      real_labels: int [N].
      fake: float [M, D] features of generated examples.
      fake_labels: int [M], the classes given to the generator; at least two different ones.
      c: inverse strength of the L2 penalty, as scikit-learn's `LogisticRegression` has it.
      max_iterations: of its solver, which warns where they were not enough.

    Returns:
      `ClassificationAccuracy(accuracy, per_class)`, each in [0, 1].

    >>> fake, labels = np.array([[-1.0], [-2.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    >>> linear_probe_accuracy(np.array([[-3.0], [0.5], [3.0], [-4.0]]), np.array([0, 1, 1, 1]), fake, labels)
    ClassificationAccuracy(accuracy=0.75, per_class={0: 1.0, 1: 0.6666666666666666})
    """
    # Here, as importing it takes longer than all of jaxgan.metrics.
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
