"""Adaptive discriminator augmentation (ADA) in a game: options, state, augmented pictures, controller.

The player "critic" has the collection {"augmentation": {"ada": AdaState}} (`state`). Its pictures, real and generated,
are augmented with probability p in every turn (`augmented`), and p follows the signs of its logits on real pictures
(`adapt`, at the end of the critic's loss).

Source: Karras et al., Training Generative Adversarial Networks with Limited Data (2020), Section 3. The transformations
and the controller are in `jaxgan.augment`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax

from jaxgan import augment
from jaxgan.game import Play
from jaxgan.network import Network, PyTree
from jaxgan.options import OptionError, option
from jaxgan.spec import Spec
from jaxgan.turns import Scene

AUGMENTATIONS = ("adaptive", "fixed", "off")


@dataclasses.dataclass(frozen=True)
class Options:
    augmentation: str = option(
        "adaptive",
        "augmentation of the critic's pictures: with adaptive probability p, with fixed p, or none",
        choices=AUGMENTATIONS,
    )
    augmentation_groups: str = option(
        "bgc",
        "transformations of the augmentation: one group, or several groups by their first letters as in the paper"
        " (blits, geometry, colours, filters, noise, cutout)",
        choices=tuple(augment.GROUPS),
    )
    augmentation_p: float = option(
        0.0,
        "initial probability p of each augmentation; if fixed, that of the whole run",
        least=0,
        most=1,
    )
    augmentation_target: float = option(
        0.6, "target of the mean sign of the critic's logits on real pictures, for the adaptive p"
    )
    augmentation_rise_kimg: float = option(
        500.0, "kimg (thousands of real images) in which p can rise from 0 to 1", least=1e-6
    )


def state(options: Options) -> dict[str, PyTree]:
    """The collections of the critic; none without augmentation."""
    if options.augmentation == "off":
        return {}
    return {"augmentation": {"ada": augment.ada_start(options.augmentation_p)}}


def augmented(
    options: Options,
    play: Play,
    critic: Network,
    pictures: jax.Array,
    purpose: str,
    remat: bool = False,
) -> jax.Array:
    """The pictures [B, H, W, C] that the critic is given; in a turn, the same purpose draws the same augmentation.

    `remat`: recompute the augmentation in the backward pass.
    """
    if options.augmentation == "off":
        return pictures
    transform: Any = partial(augment.ada, groups=options.augmentation_groups)
    transform = jax.checkpoint(transform) if remat else transform
    key = play.rng(f"augmentation of {purpose}")
    return transform(pictures, key, critic["augmentation"]["ada"].p)


def adapt(options: Options, scene: Scene) -> dict[str, jax.Array]:
    """One step of ADA's controller, for `after` of `turns.critic_loss`; returns its metrics."""
    if options.augmentation == "off":
        return {}
    critic = scene.play.moving("critic")
    if options.augmentation == "fixed":
        return {"p": critic["augmentation"]["ada"].p}
    ada = augment.ada_update(
        critic["augmentation"]["ada"],
        scene.real_output.logits,
        target=options.augmentation_target,
        rise_kimg=options.augmentation_rise_kimg,
        images=scene.play.batch_size,
    )
    critic.set(augmentation={"ada": ada})
    return {"overfitting": ada.overfitting, "p": ada.p}


def check(options: Options, spec: Spec) -> None:
    """Raises for a fixed probability of 0, and for data whose colours cannot be changed."""
    if options.augmentation == "fixed" and not options.augmentation_p:
        raise OptionError(
            "augmentation_p",
            options.augmentation_p,
            "a fixed probability of 0 augments nothing",
            {"augmentation_p": 0.2},
            {"augmentation": "off"},
        )
    colours = "color" in augment.GROUPS[options.augmentation_groups]
    if options.augmentation != "off" and colours and spec.shape[2] not in (1, 3):
        raise OptionError(
            "augmentation_groups",
            options.augmentation_groups,
            f"it changes colours, but the data has {spec.shape[2]} channels, not 1 or 3",
            {"augmentation_groups": "bg"},
        )
