"""Differentiable augmentation for GANs: pure functions of images, keys and probabilities.

Images are [B, H, W, C] in [-1, 1] and floating point, and every function returns the type that it
was given, computed in float32. Results are not clipped.

Each random function (`random_*`, `diff_augment`, `ada`) draws for every image on its own, from a
`key` alone, and calls deterministic ones that take a number for each image: those can be used and
tested by themselves. `jax.jit`, `jax.vmap` and `jax.grad` of any order (by the images) go through
all of them, and a batch that is sharded over devices gives the same numbers. `jax.jvp` goes through
all but `affine`, and `ada` with its geometry.

Both losses of a game augment, with different keys, so that the critic never sees an image that is
not augmented and the generator's gradient passes the augmentation:

    critic: losses.hinge.critic(C(T(x, k1)), C(T(G(z), k2))),  generator: losses.hinge.generator(C(T(G(z), k3)))
"""

from jaxgan.augment.adaptive import GROUPS, AdaOptions, ada
from jaxgan.augment.bands import amplify_bands
from jaxgan.augment.colors import color_matrix, transform_colors
from jaxgan.augment.controller import AdaState, ada_start, ada_update
from jaxgan.augment.differentiable import POLICIES, adjust_colors, diff_augment
from jaxgan.augment.geometry import affine
from jaxgan.augment.pixels import (
    cutout,
    flip,
    random_crop,
    random_flip,
    random_translate,
    rotate90,
    translate,
)

__all__ = [
    "GROUPS",
    "POLICIES",
    "AdaOptions",
    "AdaState",
    "ada",
    "ada_start",
    "ada_update",
    "adjust_colors",
    "affine",
    "amplify_bands",
    "color_matrix",
    "cutout",
    "diff_augment",
    "flip",
    "random_crop",
    "random_flip",
    "random_translate",
    "rotate90",
    "transform_colors",
    "translate",
]
