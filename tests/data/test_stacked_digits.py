"""Stacks of three digits: what they spell, how often, and from which digits."""

import re

import numpy as np
import pytest

from jaxgan.data import open_source
from jaxgan.options import OptionError


@pytest.fixture(scope="module")
def source():
    return open_source("stacked_digits")


def test_a_thousand_modes_equally_often(source):
    assert (source.spec.shape, source.spec.num_classes, source.spec.size) == (
        (8, 8, 3),
        1000,
        50_000,
    )
    labels = source.gather(np.arange(len(source)))["label"]
    assert (np.bincount(labels) == 50).all()


def test_each_channel_is_the_digit_that_the_label_spells(source):
    known = {}
    for image, label in zip(source.digits, source.digit_labels, strict=True):
        known.setdefault(image.tobytes(), set()).add(int(label))
    batch = source.gather(np.array([0, 7, 123, 999, 49_876]))
    for image, label in zip(batch["image"], batch["label"], strict=True):
        for channel, digit in enumerate(f"{label:03d}"):
            assert int(digit) in known[image[..., channel].tobytes()]


def test_the_same_number_is_stacked_of_different_pictures(source):
    images = source.gather(np.arange(123, 50_000, 1000))["image"]
    assert len({image.tobytes() for image in images}) > 45


def test_splits_stack_different_digits(source):
    test = open_source("stacked_digits", split="test")
    assert len(test.digits) + len(source.digits) == 1797
    ours = {image.tobytes() for image in source.digits}
    assert sum(image.tobytes() in ours for image in test.digits) < 5  # a few digits occur twice


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"channels": 1}, "there is no option channels; there are split, "),
        ({"split": "all"}, "split is 'all', but it must be one of train, test"),
    ],
)
def test_wrong_options_are_named(options, text):
    with pytest.raises(OptionError, match=re.escape(text)) as raised:
        open_source("stacked_digits", **options)
    assert raised.value.fixes or "channels" in options  # which can only be left out
    for fix in raised.value.fixes:
        assert len(open_source("stacked_digits", **options | fix)) == 50_000
