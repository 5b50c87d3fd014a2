"""How far one picture's textures are from another's: the Fréchet distance between the features at all their positions.

Shaham et al., "SinGAN: Learning a generative model from a single natural image", 2019, Section 3. A set of one picture
has no covariance for FID; but the maps of a network's first layers hold a vector for every position, and those of two
pictures are two sets. Where things are does not count, what is next to what does, as far as a feature sees.

It is called SIFID only in the features of the original Inception, in front of its second pooling. The authors' code
takes that layer of torchvision's Inception, whose weights are others: its numbers stand beside these as neighbours do.
"""

import dataclasses
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
    """Features at every position of a picture.

    Attributes:
      name: what a distance in them is called.
      maps: uint8 pictures [B, H, W, C] -> float32 [B, h, w, D].
      smallest: pictures have at least so many pixels on a side.
    """

    name: str
    maps: Callable[[jax.Array], jax.Array]
    smallest: int


def inception_maps(extractor: NetworkExtractor) -> FeatureMaps:
    """What the original Inception gives to its second pooling, 192 features at a quarter of the picture's size.

    Args:
      extractor: `network_extractor("inception")`, which has the published weights.
    """
    if extractor.net.name != "inception":
        raise ValueError(f"SIFID is of Inception's features, not of {extractor.net.name}'s")

    def maps(pictures):
        pictures = jnp.broadcast_to(pictures, (*pictures.shape[:3], 3))
        return Stem().apply(extractor.variables, pictures.astype(jnp.float32))

    return FeatureMaps("sifid", jax.jit(maps), 19)


def random_maps() -> FeatureMaps:
    """The second level of the untrained pyramid `random_conv`, 32 features at half the size; needs no weights."""
    return FeatureMaps(
        "single_image_fd_random_conv", jax.jit(lambda pictures: random_conv_maps(pictures, 2)[1]), 8
    )


def single_image_frechet(real, fake) -> float:
    """The Fréchet distance between the features at the positions of two pictures.

    Args:
      real: [H, W, D].
      fake: [h, w, D], of any size.

    Returns:
      A float, never negative. With fewer positions than features + 1 the covariances are singular, and distances too
      large.

    >>> corner = np.zeros((2, 2, 1)); corner[0, 0] = 4.0
    >>> single_image_frechet(corner, np.flip(corner)), single_image_frechet(corner, corner + 3.0)
    (0.0, 9.0)
    """
    real, fake = np.asarray(real), np.asarray(fake)
    if real.ndim != 3 or fake.ndim != 3 or real.shape[2] != fake.shape[2]:
        raise ValueError(
            f"real and fake must be maps [H, W, D] of as many features, not {list(real.shape)} and {list(fake.shape)}"
        )
    for name, features in (("real", real), ("fake", fake)):
        finite(name, features)
    real, fake = (Moments.of(x.reshape(-1, x.shape[2])) for x in (real, fake))
    return frechet_distance_to(real)(fake)


def single_image_distance(real, fakes, features: FeatureMaps) -> dict[str, float]:
    """The mean over generated pictures of the distance of each to the one that was learnt.

    Args:
      real: uint8 [H, W, C].
      fakes: uint8 [N, h, w, C].
      features: where to look.

    Returns:
      {name of the distance: its mean}.
    """
    for name, shape, rank in (("real", real.shape, 3), ("fakes", fakes.shape, 4)):
        if len(shape) != rank or 0 in shape or min(shape[-3:-1]) < features.smallest:
            raise ValueError(
                f"{features.name} takes pictures of {features.smallest} x {features.smallest} pixels or more, and"
                f" {name} has the shape {list(shape)}"
            )
    for name, images in (("real", real), ("fakes", fakes)):
        if images.dtype != np.uint8:
            raise ValueError(
                f"{features.name} takes uint8 pictures, and {name} is {images.dtype}; quantise with to_uint8 first"
            )
    of_real = np.asarray(features.maps(real[None]))[0]
    distances = [
        single_image_frechet(of_real, np.asarray(features.maps(fake[None]))[0]) for fake in fakes
    ]
    return {features.name: float(np.mean(distances))}
