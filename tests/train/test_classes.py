"""Pairing of the classes of two sets by their names."""

import re

import numpy as np
import pytest

from jaxgan.data import ArraySource
from jaxgan.spec import Field
from jaxgan.train.classes import compares_classes, pair_classes

IMAGES = np.zeros((4, 2, 2, 1), np.uint8)


def named(*names):
    return ArraySource(IMAGES, np.arange(4) % len(names), classes=names)


def label(*names):
    return Field("label", number=len(names), names=names)


def numbers(source):
    return source.gather(np.arange(4))["label"].tolist()


def test_by_names_where_both_have_them():
    assert numbers(pair_classes(named("b", "c"), label("a", "b", "c"), "x")) == [1, 2, 1, 2]
    same = named("a", "b")
    assert pair_classes(same, label("a", "b"), "x") is same


@pytest.mark.parametrize("scores", [("fd", "probe"), ("classwise",)])
def test_a_class_that_the_other_set_lacks_is_refused(scores):
    text = (
        "the classes of the two sets differ (only array: 4 images, 2x2x1, 2 classes has a; only x has c), so they"
        " cannot be paired; give sets with the same classes, or leave out scores of classes, as with --scores fd."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        pair_classes(named("a", "b"), label("b", "c"), "x", scores)


def test_scores_of_each_class_need_all_of_them():
    pair_classes(named("b"), label("b", "c"), "x", ("probe",))
    with pytest.raises(ValueError, match=re.escape("(only x has c)")):
        pair_classes(named("b"), label("b", "c"), "x", ("classwise",))


@pytest.mark.parametrize("other", [label("a", "b", "c"), Field("label", number=3)])
def test_by_numbers_where_one_has_no_names(other):
    source = ArraySource(IMAGES, np.arange(4) % 3)
    assert pair_classes(source, other, "x") is source
    more = ArraySource(IMAGES, np.arange(4))
    with pytest.raises(
        ValueError, match="4 classes cannot be paired with x, which has 3: one of them has no names"
    ):
        pair_classes(more, other, "x")


def test_without_labels_there_is_nothing_to_pair():
    bare = ArraySource(IMAGES)
    assert pair_classes(bare, label("a", "b"), "x") is bare
    assert pair_classes(named("a", "b"), None, "x").classes == ("a", "b")


def test_which_scores_compare_classes():
    assert compares_classes(("fd", "classwise"))
    assert compares_classes(("probe",))
    assert not compares_classes(("fd", "ms_ssim", "no_such"))
