"""Mixtures of Gaussians in the plane, the usual way to look at mode collapse.

The 25-mode grid and the 8-mode ring became common through the synthetic data of Srivastava et al.,
"VEEGAN" (NeurIPS 2017); the constants are those of Lin et al., "PacGAN" (NeurIPS 2018).
"""

import numpy as np

from jaxgan.data.options import DataOptions, Progress, check_split, unknown
from jaxgan.data.source import ArraySource

POINTS = 100_000
STD = {"grid": 0.05, "ring": 0.01}


def source(options: DataOptions, progress: Progress) -> "Mixture2D":
    """The mixture of `options.modes` Gaussians; "train" and "test" are independent samples."""
    check_split(options, ("train", "test"))
    if options.layout not in STD:
        raise ValueError(unknown("layout", options.layout, STD, "--config.data.layout"))
    if options.modes < 1:
        raise ValueError(f"--config.data.modes={options.modes}: a mixture has at least one mode")
    if not 0 <= options.std < np.inf:
        raise ValueError(
            f"--config.data.std={options.std}: give the standard deviation of a mode, "
            "or 0 for the usual one"
        )
    if options.resolution or options.channels:
        raise ValueError(
            "--config.data.resolution and --config.data.channels are for pictures, "
            "and mixture2d has points"
        )
    return Mixture2D(options)


class Mixture2D(ArraySource):
    """100,000 points, float32 [N, 2]; the label of a point is its Gaussian.

    Attributes:
      centers: means of the Gaussians, float32 [modes, 2].
      std: standard deviation of each, in both directions.
    """

    def __init__(self, options: DataOptions):
        self.centers = (grid if options.layout == "grid" else ring)(options.modes)
        self.std = options.std or STD[options.layout]
        labels = np.arange(POINTS) % options.modes
        noise = np.random.default_rng(options.split == "test").standard_normal((POINTS, 2))
        points = (self.centers[labels] + self.std * noise).astype(np.float32)
        super().__init__(
            points,
            labels if options.labels else None,
            num_classes=options.modes,
            name=f"mixture2d {options.layout} ({options.split}), std {self.std:g}",
            unit="points",
        )


def grid(modes: int) -> np.ndarray:
    """Centres of a square grid around the origin, 2 apart; 25 modes reach from -4 to 4.

    >>> grid(4).tolist()
    [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    """
    side = round(modes**0.5)
    if side * side != modes:
        raise ValueError(
            f"--config.data.modes={modes}: a grid has a square number of modes, such as "
            f"{side * side or 1} or {(side + 1) ** 2}; --config.data.layout=ring takes any number"
        )
    axis = 2.0 * np.arange(side) - (side - 1)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)


def ring(modes: int) -> np.ndarray:
    """Centres on the unit circle, at equal angles.

    >>> ring(4).round().astype(int).tolist()
    [[1, 0], [0, 1], [-1, 0], [0, -1]]
    """
    angle = 2 * np.pi * np.arange(modes) / modes
    return np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)
