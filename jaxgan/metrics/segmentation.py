"""How well label maps are recovered from pictures that were made from them.

The label maps are recovered by a segmenter, a network that was trained on real pictures and gives each pixel a label
(`jaxgan.metrics.segmenter` reads one from a file, for the score "label_maps" of protocols).
Scores of different segmenters are not comparable; state the segmenter, its scores on real pictures, the size of the
pictures and the labels that are ignored.

Sources: the scores of Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", Section
4.1, and Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization", Section 4.
"""

from collections.abc import Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp
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
    return scores_of_counts(np.diag(confusion), confusion.sum(0), confusion.sum(1), ignore)


def scores_of_counts(
    both: np.ndarray, found: np.ndarray, given: np.ndarray, ignore: Collection[int] = ()
) -> SegmentationScores:
    """The scores of numbers of pixels [labels]: with each label in both maps, in the recovered, and in the given ones.

    Pixels whose given label is in `ignore` are in none of these numbers.
    """
    both, found, given = (np.asarray(count, np.float64) for count in (both, found, given))
    either = found + given - both
    iou = np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)
    iou[list(ignore)] = np.nan
    return SegmentationScores(float(np.nanmean(iou)), float(both.sum() / given.sum()), iou)


def counts_of_labels(
    found: jax.Array, given: jax.Array, labels: int, ignore: Collection[int] = ()
) -> jax.Array:
    """The three numbers of `scores_of_counts` for each map, one after the other: [B, H, W] twice -> float32 [B, 3 L].

    >>> found, given = jnp.array([[[0, 1], [1, 1]]]), jnp.array([[[0, 0], [1, 1]]])
    >>> counts_of_labels(found, given, 2).tolist()
    [[1.0, 2.0, 1.0, 3.0, 2.0, 2.0]]
    """
    found, given = (x.reshape(len(x), -1).astype(jnp.int32) for x in (found, given))
    kept = ~jnp.isin(given, jnp.array([*ignore], jnp.int32))

    def count(label: jax.Array, counted: jax.Array) -> jax.Array:
        return jax.vmap(lambda x, w: jnp.bincount(x, w, length=labels))(
            label, counted.astype(jnp.float32)
        )

    each = (count(given, kept & (found == given)), count(found, kept), count(given, kept))
    return jnp.concatenate(each, axis=-1)
