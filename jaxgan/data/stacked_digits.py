"""Three handwritten digits stacked as the channels of one picture: a set of 1,000 known modes.

Like stacked MNIST, but with the digits of scikit-learn. Srivastava et al., "VEEGAN" (NeurIPS 2017), and Lin et al.,
"PacGAN" (NeurIPS 2018), count the modes of stacked MNIST that a generator covers.
"""

import dataclasses

import numpy as np

from jaxgan.data import digits
from jaxgan.data.options import LabelOptions, Progress, SizeOptions
from jaxgan.data.source import ArraySource
from jaxgan.options import option

PICTURES = 50_000
NUM_MODES = 1_000


@dataclasses.dataclass(frozen=True)
class Options(SizeOptions, LabelOptions):
    split: str = option(
        "train", "part of the set; train and test stack different digits", choices=("train", "test")
    )


def source(options: Options, progress: Progress) -> "StackedDigits":
    """50,000 stacks of three; "train" and "test" stack different digits."""
    return StackedDigits(options, progress)


class StackedDigits(ArraySource):
    """uint8 [N, 8, 8, 3]; the label is the number that the three digits form, 0 to 999, all equally often.

    Attributes:
      digits: the single digits that are stacked, uint8 [M, 8, 8, 1].
      digit_labels: their labels, int32 [M].
    """

    def __init__(self, options: Options, progress: Progress):
        single = digits.source(
            digits.Options(split=options.split, resolution=options.resolution, channels=1), progress
        )
        every = single.gather(np.arange(len(single)))
        self.digits, self.digit_labels = every["image"], every["label"]
        numbers = np.arange(PICTURES) % NUM_MODES
        # Different pictures of the same digits in each round of a thousand.
        draws = np.random.default_rng(options.split == "test").random((PICTURES, 3))
        chosen = np.empty((PICTURES, 3), np.int64)
        spelled = np.stack([numbers // 100, numbers // 10 % 10, numbers % 10], axis=1)
        for digit in range(10):
            pool, here = np.flatnonzero(self.digit_labels == digit), spelled == digit
            chosen[here] = pool[(draws[here] * len(pool)).astype(np.int64)]
        super().__init__(
            np.moveaxis(self.digits[chosen, ..., 0], 1, -1),
            numbers if options.labels else None,
            num_classes=NUM_MODES,
            name=f"stacked digits ({options.split})",
        )
