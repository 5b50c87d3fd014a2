"""How well label maps are recovered from pictures that were made from them.

The label maps are recovered by a segmenter, a network that was trained on real pictures and gives each pixel a label.
Scores of different segmenters are not comparable; state the segmenter, its scores on real pictures, the size of the
pictures and the labels that are ignored.

Sources: the scores of Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", Section
4.1, and Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization", Section 4.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np


class SegmentationScores(NamedTuple):
    """Agreement of recovered and given label maps.

    Attributes:
      mean_iou: the mean of `iou` over the labels that are in the given or the recovered maps.
      accuracy: the share of the pixels whose label was recovered.
      iou: float64 [labels], for each label the number of pixels that have it in both maps, divided by the number that
        have it in either; NaN for labels that are in neither, and for ignored ones.
    """

    mean_iou: float
    accuracy: float
    iou: np.ndarray


def segmentation_scores(
    found: np.ndarray, given: np.ndarray, labels: int, ignore: Collection[int] = ()
) -> SegmentationScores:
    """Computes the intersection over union and the accuracy of recovered label maps, over all pixels of all maps.

    Args:
      found: the recovered labels, integers of any shape from 0 to `labels` - 1.
      given: the label maps that the pictures were made from, of the same shape.
      labels: their number.
      ignore: labels whose pixels in `given` are not counted.

    Raises:
      ValueError: the shapes differ, a label is out of range, or no pixel is left.

    >>> scores = segmentation_scores(np.array([[0, 1], [1, 1]]), np.array([[0, 0], [1, 1]]), 3)
    >>> print(scores.accuracy, scores.iou.round(2))
    0.75 [0.5  0.67  nan]
    """
    found, given = np.asarray(found), np.asarray(given)
    if found.shape != given.shape:
        raise ValueError(
            f"found has shape {found.shape} and given {given.shape}; recover a label for each pixel."
        )
    for name, maps in (("found", found), ("given", given)):
        if maps.size and not 0 <= int(maps.min()) <= int(maps.max()) < labels:
            raise ValueError(
                f"{name} has labels from {maps.min()} to {maps.max()}, but there are {labels}, from 0 to {labels - 1}."
            )
    kept = ~np.isin(given, list(ignore))
    if not kept.any():
        raise ValueError("every pixel is ignored, so there is nothing to score.")
    pairs = given[kept].astype(np.int64) * labels + found[kept]
    confusion = np.bincount(pairs, minlength=labels**2).reshape(labels, labels)
    both = np.diag(confusion).astype(np.float64)
    either = confusion.sum(0) + confusion.sum(1) - both
    iou = np.divide(both, either, out=np.full(labels, np.nan), where=either > 0)
    iou[list(ignore)] = np.nan
    return SegmentationScores(float(np.nanmean(iou)), float(both.sum() / confusion.sum()), iou)
