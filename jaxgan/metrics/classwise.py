"""The Fréchet distance inside each class. A generator may match all data together and yet collapse in every class.

With Inception's features this is Intra-FID: Miyato & Koyama, "cGANs with projection discriminator", 2018,
Section 4.1.
"""

from typing import NamedTuple

import numpy as np

from jaxgan.metrics._check import feature_pair, labels_of
from jaxgan.metrics.frechet import frechet_distance_to, frechet_notes
from jaxgan.metrics.moments import Moments


class ClasswiseDistance(NamedTuple):
    """mean: over the classes, equally weighted; per_class: by label; notes: on classes with few examples."""

    mean: float
    per_class: dict[int, float]
    notes: list[str]


def classwise_frechet(real, real_labels, fake, fake_labels, *, least: int = 2) -> ClasswiseDistance:
    """Computes the Fréchet distance between the fakes and the reals of each class, and the mean of these distances.

    The finite-sample bias depends on the number of examples of a class, not on the size of the whole set.

    Args:
      real: float [N, D] features.
      real_labels: int [N].
      fake: float [M, D] features.
      fake_labels: int [M].
      least: minimum number of examples of each class in both sets; 2 or more.

    Returns:
      `ClasswiseDistance(mean, per_class, notes)`.

    >>> real = np.array([[0.0], [2.0], [5.0], [7.0]])
    >>> classwise_frechet(real, np.array([3, 3, 4, 4]), real[[0, 1, 0, 1]], np.array([3, 3, 4, 4])).per_class
    {3: 0.0, 4: 25.0}
    """
    real, fake = feature_pair(real, fake)
    labels = {
        "real": labels_of("real_labels", real_labels, len(real)),
        "fake": labels_of("fake_labels", fake_labels, len(fake)),
    }
    if least < 2:
        raise ValueError(f"least = {least} must be 2 or more: a covariance needs 2 examples")
    classes = np.union1d(labels["real"], labels["fake"]).tolist()
    for kind, of_kind in labels.items():
        for name in classes:
            count = int(np.sum(of_kind == name))
            if count < least:
                raise ValueError(
                    f"class {name} has {count} {kind} examples; each class needs at least {least} of each kind"
                )
    per_class, notes = {}, []
    for name in classes:
        reals = Moments.of(real[labels["real"] == name])
        fakes = Moments.of(fake[labels["fake"] == name])
        per_class[name] = frechet_distance_to(reals)(fakes)
        for kind, moments in (("real", reals), ("fake", fakes)):
            notes += [f"class {name}: {note}" for note in frechet_notes(kind, moments)]
    return ClasswiseDistance(float(np.mean(list(per_class.values()))), per_class, notes)
