"""What `biggan` adds to the games of a critic and a generator."""

import itertools

from jaxgan.spec import Field, Spec


def data(side, classes):
    fields = {"image": Field("image", (side, side, 3)), "label": Field("label", number=classes)}
    return Spec(fields, 1000)


def biases(multiples, width, of_block):
    """Biases of the generator's blocks, which jaxgan leaves out: see CHANGELOG.md."""
    return width * sum(of_block(*pair) for pair in itertools.pairwise(multiples))


def plain_block(before, after):
    return 3 * after


def deep_blocks(before, after):
    return 2 * 3 * before // 4 + before + after


WIDE = (16, 16, 8, 4, 2, 1)

# The counts of google/compare_gan's tests and docstrings and of PyTorch-StudioGAN's logs. At 256 pixels compare_gan's
# critic has no shortcut in blocks that keep the number of channels; with the reference implementation's it has so many.
GOLDEN = {
    ("biggan", data(32, 10), ()): {
        "critic": 2_415_170,
        "generator": 9_416_196 - biases((4, 4, 4, 4), 96, plain_block),
    },
    ("biggan", data(32, 10), (("conditioning", "contrastive"),)): {
        "critic": 2_517_186,
        "generator": 9_416_196 - biases((4, 4, 4, 4), 96, plain_block),
    },
    ("biggan", data(128, 1000), ()): {
        "critic": 87_982_370,
        "generator": 70_433_988 - biases(WIDE, 96, plain_block),
    },
    ("biggan", data(256, 1000), ()): {
        "critic": 99_225_890,
        "generator": 82_097_604 - biases((16, 16, 8, 8, 4, 2, 1), 96, plain_block),
    },
    ("biggan", data(128, 1000), (("variant", "deep"),)): {
        "critic": 34_590_210,
        "generator": 50_244_484 - biases(WIDE, 128, deep_blocks),
    },
}
