"""Differentiable augmentation for GANs: pure functions of images, keys and probabilities.

Images are [B, H, W, C] in [-1, 1] and floating point. Results have the dtype of the images, are computed
in float32, and are not clipped.

Each random function (`random_*`, `diff_augment`, `ada`) draws separate random numbers for every image from
`key`, and calls deterministic functions with one parameter per image, which can also be used directly. All
functions support `jax.jit`, `jax.vmap` and `jax.grad` of any order with respect to the images, and give the
same results for a sharded batch. All except `affine`, and `ada` with geometry, support `jax.jvp`.

Augment in the losses of both players, with different keys, so that the critic is applied to augmented images
only and the generator's gradient goes through the augmentation:

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
