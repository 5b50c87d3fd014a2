"""The embedded digits."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from jaxgan.data import open_source


def digits(**options):
    return open_source("digits", **options)


def test_all_of_them_unchanged():
    source = digits(split="all")
    assert (source.spec.shape, source.spec.num_classes, source.spec.size) == ((8, 8, 1), 10, 1797)
    assert source.summary == "digits (all): 1,797 images, 8x8x1, 10 classes"
    pixels, labels = load_digits(return_X_y=True)
    batch = source.gather(np.arange(1797))
    assert batch["image"].dtype == np.uint8
    # 17 levels from black to white, so that the originals can be had back exactly.
    np.testing.assert_array_equal(np.rint(batch["image"].reshape(1797, 64) * (16 / 255)), pixels)
    assert batch["image"].min() == 0
    assert batch["image"].max() == 255
    np.testing.assert_array_equal(batch["label"], labels)


def test_splits_are_disjoint_complete_and_stratified():
    train, test, everything = (digits(split=split) for split in ("train", "test", "all"))
    assert len(train) + len(test) == len(everything)
    rows = np.concatenate([train.images(), test.images()]).reshape(-1, 64)
    expected = everything.images().reshape(-1, 64)
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])
    counts = [
        np.bincount(part.gather(np.arange(len(part)))["label"]) for part in (test, everything)
    ]
    np.testing.assert_array_equal(counts[0], counts[1] // 5)


def test_resolution_channels_and_labels():
    source = digits(resolution=32, channels=3, labels=False)
    assert (source.spec.shape, source.spec.num_classes, source.spec.size) == (
        (32, 32, 3),
        None,
        1442,
    )
    image = source[7]["image"]
    assert source[7].keys() == {"image"}
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    small = Image.fromarray(digits()[7]["image"][..., 0])
    np.testing.assert_array_equal(
        image[..., 0], np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC))
    )
