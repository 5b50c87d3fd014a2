"""Perceptual diversity: the mean perceptual distance between pictures of one class or one input."""

from collections.abc import Callable

import jax

from jaxgan.metrics.pairs import PairMean, mean_over_pairs


def perceptual_diversity(
    images, distance: Callable[[jax.Array, jax.Array], jax.Array], groups=None, **how
) -> PairMean:
    """Computes the mean perceptual distance of two pictures of a group: higher is more diverse.

    Zhu et al., "Toward multimodal image-to-image translation", 2017: LPIPS between random outputs of one
    input. There a group is the outputs of one input; in other papers it is a class. Noise raises the score too, so
    report a quality score with it. It is called LPIPS diversity only if `distance` is LPIPS.

    Args:
      images: [N, H, W, C], in the format that `distance` takes.
      distance: (one [B, H, W, C], other [B, H, W, C]) -> [B].
      groups: int [N]; None for one group.
      **how: `pairs`, `batch_size` and `seed` of `mean_over_pairs`.

    Returns:
      `PairMean(mean, per_group)`.
    """
    return mean_over_pairs(images, distance, groups, **how)
