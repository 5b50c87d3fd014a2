"""The handwritten digits that scikit-learn includes: real pictures without a download.

1,797 digits of 13 writers, 8x8, 17 levels of grey: the test part of E. Alpaydin and C. Kaynak,
"Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np

from jaxgan.data import pictures
from jaxgan.data.options import LabelOptions, PictureOptions, Progress
from jaxgan.data.source import ArraySource
from jaxgan.options import option


@dataclasses.dataclass(frozen=True)
class Options(PictureOptions, LabelOptions):
    split: str = option(
        "train",
        "part of the set; test is every fifth digit of each class",
        choices=("train", "test", "all"),
    )


def source(options: Options, progress: Progress) -> ArraySource:
    """The digits as uint8 [N, 8, 8, 1], or enlarged to `options.resolution`.

    Every fifth digit of each class is the "test" split, the others are "train"; "all" is both.
    """
    table = _table()
    images, labels = table[:, :-1], table[:, -1]
    images = np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    test = np.zeros(len(labels), bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[4::5]] = True
    part = {"train": ~test, "test": test, "all": np.ones_like(test)}[options.split]
    images = pictures.fit_array(images[part], options.resolution)
    return ArraySource(
        pictures.to_channels(images, options.channels),
        labels[part] if options.labels else None,
        classes=tuple("0123456789"),
        name=f"digits ({options.split})",
    )


def _table() -> np.ndarray:
    """scikit-learn's file: rows of 64 levels of grey and the digit, [1797, 65]."""
    # `sklearn.datasets.load_digits` reads it too, but importing it takes a second: a tenth of a short run.
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None  # a dependency of jaxgan
    assert spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    return np.loadtxt(file, np.int64, delimiter=",")
