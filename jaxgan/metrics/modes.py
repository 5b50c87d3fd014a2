"""How many modes of a known mixture of Gaussians a generator covers."""

from typing import NamedTuple

import numpy as np


class ModesFound(NamedTuple):
    """modes: number of modes covered; high_quality: share of the samples that lie near a mode."""

    modes: int
    high_quality: float


def modes_found(points: np.ndarray, centers: np.ndarray, std: float) -> ModesFound:
    """Covered modes and share of high-quality samples, as VEEGAN counts them.

    A sample is of high quality if it lies within 3 std of its nearest centre (closed ball,
    Euclidean); a mode is found if it is the nearest centre of at least one such sample. The papers
    report the mean over several sets of 2,500 samples: the first number grows with the number of
    samples, so state it.

    Srivastava et al., "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning",
    NeurIPS 2017, experiments on synthetic data; taken over by Lin et al., "PacGAN", NeurIPS 2018.
    True samples in the plane score 1 - exp(-9/2) = 0.989.

    Args:
      points: samples [N, D]; one that is not finite is of low quality.
      centers: of the modes [M, D].
      std: of each mode.

    >>> points = np.array([[0.1, 0.0], [0.2, 0.0], [9.0, 9.0]])
    >>> modes_found(points, centers=np.array([[0.0, 0.0], [5.0, 5.0]]), std=0.1)
    ModesFound(modes=1, high_quality=0.6666666666666666)
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
    return ModesFound(len(np.unique(nearest[near])), float(near.mean()))
