"""Mixtures of Gaussians in the plane, a common test for mode collapse.

The 25-mode grid and the 8-mode ring became common through the synthetic data of Srivastava et al.,
"VEEGAN" (NeurIPS 2017); the constants are those of Lin et al., "PacGAN" (NeurIPS 2018).
"""

import dataclasses

import numpy as np

from jaxgan.data.options import LabelOptions, Progress
from jaxgan.data.source import ArraySource
from jaxgan.options import OptionError, option

POINTS = 100_000
STD = {"grid": 0.05, "ring": 0.01}


@dataclasses.dataclass(frozen=True)
class Options(LabelOptions):
    split: str = option(
        "train", "train or test, which are independent samples", choices=("train", "test")
    )
    modes: int = option(25, "number of Gaussians; a square number for the grid", least=1)
    layout: str = option("grid", "where the Gaussians lie", choices=tuple(STD))
    std: float = option(
        0.0, "standard deviation of each Gaussian; 0 for 0.05 (grid) or 0.01 (ring)", least=0
    )


def source(options: Options, progress: Progress) -> "Mixture2D":
    """The mixture of `options.modes` Gaussians; "train" and "test" are independent samples."""
    return Mixture2D(options)


class Mixture2D(ArraySource):
    """100,000 points, float32 [N, 2]; the label of a point is its Gaussian.

    Attributes:
      centers: means of the Gaussians, float32 [modes, 2].
      std: standard deviation of each, in both directions.
    """

    def __init__(self, options: Options):
        self.centers = (grid if options.layout == "grid" else ring)(options.modes)
        self.std = options.std or STD[options.layout]
        self._drawn = f"mixture2d {options.layout} {options.modes} {self.std} {options.split}"
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

    def contents(self) -> list[str]:
        """The options: the last bits of the points may depend on the machine."""
        return [self._drawn]


def grid(modes: int) -> np.ndarray:
    """Centres of a square grid around the origin, 2 apart; 25 modes reach from -4 to 4.

    >>> grid(4).tolist()
    [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    """
    side = round(modes**0.5)
    if side * side != modes:
        raise OptionError(
            "modes",
            modes,
            "a grid has a square number of modes",
            {"modes": side * side or 1},
            {"modes": (side + 1) ** 2},
            {"layout": "ring"},
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
