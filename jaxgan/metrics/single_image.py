"""The Fréchet distance between the textures of two pictures, from their features at all positions.

Shaham et al., "SinGAN: Learning a generative model from a single natural image", 2019, Section 3. FID is undefined
for a single picture, which has no covariance. The feature maps of a network's first layers, however, give one vector
for every position, so that two pictures give two sets of vectors. The distance depends on local structure within the
receptive field of a feature, but not on global layout.

It is called SIFID only with the features of the original Inception before its second pooling. The authors' code uses
the same layer of torchvision's Inception, which has different weights: its numbers are similar but not equal.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.metrics._check import finite
from jaxgan.metrics.features import random_conv_maps
from jaxgan.metrics.frechet import frechet_distance_to
from jaxgan.metrics.moments import Moments
from jaxgan.metrics.networks import NetworkExtractor
from jaxgan.nets.features.inception import Stem


@dataclasses.dataclass(frozen=True)
class FeatureMaps:
    """A function that computes features at every position of a picture.

    Attributes:
      name: the name of the distance with these features.
      maps: uint8 pictures [B, H, W, C] -> float32 [B, h, w, D].
      smallest: the minimum side of a picture, in pixels.
    """

    name: str
    maps: Callable[[jax.Array], jax.Array]
    smallest: int


@functools.lru_cache(maxsize=1)  # compiled once, however many states are evaluated
def inception_maps(extractor: NetworkExtractor) -> FeatureMaps:
    """Returns the input of the original Inception's second pooling: 192 features at a quarter of the resolution.

    Args:
      extractor: `network_extractor("inception")`, which has the published weights.
    """
    if extractor.net.name != "inception":
        raise ValueError(f"SIFID needs the features of Inception, not of {extractor.net.name}")

    def maps(pictures):
        pictures = jnp.broadcast_to(pictures, (*pictures.shape[:3], 3))
        return Stem().apply(extractor.variables, pictures.astype(jnp.float32))

    return FeatureMaps("sifid", jax.jit(maps), 19)


@functools.cache
def random_maps() -> FeatureMaps:
    """Returns the second level of the untrained pyramid `random_conv`: 32 features at half the resolution."""
    return FeatureMaps(
        "single_image_fd_random_conv", jax.jit(lambda pictures: random_conv_maps(pictures, 2)[1]), 8
    )


def single_image_frechet(real, fake) -> float:
    """Computes the Fréchet distance between the features of two pictures, over their positions.

    Args:
      real: [H, W, D].
      fake: [h, w, D]; h and w may differ from H and W.

    Returns:
      A float, never negative. With fewer positions than features + 1 the covariances are singular, and the distance
      has a large bias.

    >>> corner = np.zeros((2, 2, 1)); corner[0, 0] = 4.0
    >>> single_image_frechet(corner, np.flip(corner)), single_image_frechet(corner, corner + 3.0)
    (0.0, 9.0)
    """
    real, fake = np.asarray(real), np.asarray(fake)
    if real.ndim != 3 or fake.ndim != 3 or real.shape[2] != fake.shape[2]:
        raise ValueError(
            f"real and fake must be maps [H, W, D] with equal D, not {list(real.shape)} and {list(fake.shape)}"
        )
    for name, features in (("real", real), ("fake", fake)):
        finite(name, features)
    real, fake = (Moments.of(x.reshape(-1, x.shape[2])) for x in (real, fake))
    return frechet_distance_to(real)(fake)


def single_image_distance(real, fakes, features: FeatureMaps) -> dict[str, float]:
    """Computes the mean distance of generated pictures from the training picture.

    Args:
      real: uint8 [H, W, C], the training picture.
      fakes: uint8 [N, h, w, C].
      features: the feature maps in which distances are computed.

    Returns:
      {name of the distance: its mean over `fakes`}.
    """
    for name, shape, rank in (("real", real.shape, 3), ("fakes", fakes.shape, 4)):
        if len(shape) != rank or 0 in shape or min(shape[-3:-1]) < features.smallest:
            raise ValueError(
                f"{features.name} takes pictures of {features.smallest} x {features.smallest} pixels or more, but"
                f" {name} has the shape {list(shape)}"
            )
    for name, images in (("real", real), ("fakes", fakes)):
        if images.dtype != np.uint8:
            raise ValueError(
                f"{features.name} takes uint8 pictures, but {name} is {images.dtype}; quantise with to_uint8 first"
            )
    of_real = np.asarray(features.maps(real[None]))[0]
    distances = [
        single_image_frechet(of_real, np.asarray(features.maps(fake[None]))[0]) for fake in fakes
    ]
    return {features.name: float(np.mean(distances))}
