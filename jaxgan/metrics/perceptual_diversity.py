"""Perceptual diversity: how far apart pictures of one class, or of one input, are to the eye."""

from collections.abc import Callable

import jax

from jaxgan.metrics.pairs import PairMean, mean_over_pairs


def perceptual_diversity(
    images, distance: Callable[[jax.Array, jax.Array], jax.Array], groups=None, **how
) -> PairMean:
    """The mean perceptual distance of two pictures of a group: higher is more varied.

    Zhu et al., "Toward multimodal image-to-image translation", 2017: LPIPS between random outputs of the
    same input, which is the group there; in other papers it is the class. Noise is varied too, so read it
    beside a score of quality. It is called LPIPS diversity only where `distance` is LPIPS.

    Args:
      images: [N, H, W, C], as `distance` takes them.
      distance: (one [B, H, W, C], other [B, H, W, C]) -> [B].
      groups: int [N]; None for one group.
      **how: `pairs`, `batch_size` and `seed` of `mean_over_pairs`.

    Returns:
      `PairMean(mean, per_group)`.
    """
    return mean_over_pairs(images, distance, groups, **how)
