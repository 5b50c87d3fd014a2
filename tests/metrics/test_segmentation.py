"""Scores of recovered label maps, against their definition."""

import numpy as np
import pytest

from jaxgan.metrics import segmentation_scores

RNG = np.random.default_rng(0)
GIVEN = RNG.integers(0, 4, (3, 5, 6))
FOUND = np.where(RNG.uniform(size=GIVEN.shape) < 0.6, GIVEN, RNG.integers(0, 4, GIVEN.shape))


def written_out(found, given, label):
    """The pixels that have the label in both, over those that have it in either."""
    a, b = found == label, given == label
    return (a & b).sum() / (a | b).sum()


def test_scores_are_those_of_the_definition():
    scores = segmentation_scores(FOUND, GIVEN, 5)
    each = [written_out(FOUND, GIVEN, label) for label in range(4)]
    np.testing.assert_allclose(scores.iou[:4], each)
    assert np.isnan(scores.iou[4])  # in neither
    assert scores.mean_iou == pytest.approx(np.mean(each))
    assert scores.accuracy == pytest.approx((FOUND == GIVEN).mean())
    assert 0.3 < scores.mean_iou < scores.accuracy < 0.9


def test_pixels_of_ignored_labels_do_not_count():
    scores = segmentation_scores(FOUND, GIVEN, 4, ignore=(2,))
    kept = GIVEN != 2
    each = [written_out(FOUND[kept], GIVEN[kept], label) for label in (0, 1, 3)]
    np.testing.assert_allclose(scores.iou[[0, 1, 3]], each)
    assert np.isnan(scores.iou[2])
    assert scores.mean_iou == pytest.approx(np.mean(each))
    assert scores.accuracy == pytest.approx((FOUND == GIVEN)[kept].mean())


def test_equal_maps_have_the_highest_scores():
    assert segmentation_scores(GIVEN, GIVEN, 4)[:2] == (1.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((FOUND[:2], GIVEN, 4), r"found has shape \(2, 5, 6\) and given \(3, 5, 6\)"),
        ((FOUND, GIVEN, 3), "found has labels from 0 to 3, but there are 3, from 0 to 2"),
        ((FOUND - 1, GIVEN, 4), "found has labels from -1 to 2"),
        ((FOUND, GIVEN, 4, range(4)), "every pixel is ignored"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_a_sentence(arguments, text):
    with pytest.raises(ValueError, match=text):
        segmentation_scores(*arguments)
