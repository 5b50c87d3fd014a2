"""Regularisers that any game of a critic and a generator can use: augmentation, consistency, LeCam and top-k.

DiffAugment   the critic sees augmented pictures only (`augment.diff_augment`)
consistency   cr: the critic's logits of real pictures do not change under a flip and a small shift;
              bcr: nor those of generated ones; zcr: nor those of generated pictures under a small change of the
              latent, which changes the pictures; icr: bcr and zcr
LeCam         the logits stay close to running means of the other kind (`penalties.lecam`)
top-k         the generator learns from its samples with the largest logits only (`penalties.top_k`)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxgan import augment, draws, penalties, turns
from jaxgan.network import Network
from jaxgan.options import OptionError, option
from jaxgan.penalties import LeCam
from jaxgan.schedules import Ramp
from jaxgan.spec import Spec

CONSISTENCIES = ("none", "cr", "bcr", "zcr", "icr")


@dataclasses.dataclass(frozen=True)
class Options:
    diff_augment: str = option(
        "",
        f"parts of DiffAugment, separated by commas ({', '.join(augment.POLICIES)}); empty for none",
    )
    consistency: str = option(
        "none",
        "consistency regularisation: of real pictures (cr), of both (bcr), of latents (zcr), of all three (icr)",
        choices=CONSISTENCIES,
    )
    consistency_weight: float = option(
        10.0, "weight of the consistency of real pictures, and of generated ones (cr, bcr)", least=0
    )
    latent_consistency_weights: tuple[float, float] = option(
        (5.0, 0.5), "weights of the consistency of latents in the losses of critic and generator"
        " (zcr)", least=0,
    )  # fmt: skip
    latent_consistency_noise: float = option(
        0.03, "standard deviation of the changes of the latent (zcr)", least=0
    )
    lecam_weight: float = option(0.0, "weight of LeCam's penalty; 0 for none", least=0)
    lecam_start_kimg: float = option(
        0.0, "kimg (thousands of real images) before LeCam's penalty starts", least=0
    )
    lecam_decay: float = option(
        0.99, "decay of LeCam's averages of the logits, per critic step", least=0, below=1
    )
    top_k_decay: float = option(
        1.0,
        "factor per epoch of the share of samples that the generator learns from; 1 for all samples",
        above=0,
        most=1,
    )
    top_k_share: float = option(
        0.5, "smallest share of samples that the generator learns from", above=0, most=1
    )


def check(options: Options, spec: Spec) -> None:
    """Raises unless the regularisers fit the data."""
    parts = [part.strip() for part in options.diff_augment.split(",") if part.strip()]
    for part in parts:
        if part not in augment.POLICIES:
            raise OptionError(
                "diff_augment",
                options.diff_augment,
                f"its parts are {', '.join(augment.POLICIES)}",
                {"diff_augment": ",".join(p for p in parts if p in augment.POLICIES)},
            )
    if "color" in parts and spec.pictures and spec.shape[-1] not in (1, 3):
        raise OptionError(
            "diff_augment",
            options.diff_augment,
            f"color needs pictures of 1 or 3 channels, and these have {spec.shape[-1]}",
            {"diff_augment": ",".join(p for p in parts if p != "color")},
        )


def terms(options: Options) -> turns.Terms:
    """The additional terms of both losses."""
    critic: dict[str, turns.Term] = {}
    generator: dict[str, turns.Term] = {}
    kind = options.consistency
    if kind in ("cr", "bcr", "icr"):
        critic["consistency"] = turns.weighted(options.consistency_weight, _consistency_of("real"))
    if kind in ("bcr", "icr"):
        critic["fake_consistency"] = turns.weighted(
            options.consistency_weight, _consistency_of("fake")
        )
    if kind in ("zcr", "icr"):
        of_critic, of_generator = options.latent_consistency_weights
        noise = options.latent_consistency_noise
        critic["latent_consistency"] = turns.weighted(of_critic, _latent_critic(noise))
        generator["latent_consistency"] = turns.weighted(of_generator, _latent_generator(noise))
    if options.lecam_weight:
        weight = Ramp(0.0, options.lecam_weight, over=0.0, after=options.lecam_start_kimg)
        critic["lecam"] = turns.weighted(weight, _lecam(options.lecam_decay))
    return turns.Terms(critic, generator)


def critic_state(options: Options) -> Mapping[str, Mapping[str, jax.Array]]:
    """The further collections of the critic."""
    return {"lecam": LeCam.init()._asdict()} if options.lecam_weight else {}


def kept(options: Options, size: int) -> turns.Keep | None:
    """Which samples the generator learns from; None for all.

    The share is max(top_k_share, top_k_decay^epoch), for `size` real images per epoch.
    """
    if options.top_k_decay == 1.0:
        return None

    def keep(scene: turns.Scene, logits: jax.Array) -> jax.Array:
        epoch = jnp.floor(scene.play.clock.kimg * (1000.0 / size))
        share = jnp.maximum(options.top_k_share, jnp.float32(options.top_k_decay) ** epoch)
        k = jnp.maximum(1, jnp.floor(share * logits.shape[0]).astype(jnp.int32))
        return penalties.top_k(logits, k)

    return keep


def augmented(options: Options, pictures: jax.Array, key: jax.Array) -> jax.Array:
    """The pictures as the critic sees them."""
    if not options.diff_augment:
        return pictures
    return augment.diff_augment(pictures, key, options.diff_augment)


def _consistency_of(side: str) -> turns.Term:
    def term(scene: turns.Scene) -> jax.Array:
        examples = getattr(scene, side)
        flip, shift = jax.random.split(scene.play.rng(f"consistency of {side}"))
        moved = augment.random_flip(examples.pictures, flip)
        moved = augment.random_translate(moved, shift, mode="reflect")
        logits = scene.apply_critic(moved, examples.given, f"moved {side}").logits
        return penalties.consistency(getattr(scene, f"{side}_output").logits, logits)

    return term


def _latent_critic(noise: float) -> turns.Term:
    def term(scene: turns.Scene) -> jax.Array:
        pictures = jax.lax.stop_gradient(_perturbed(scene, scene.play.networks["generator"], noise))
        logits = scene.apply_critic(pictures, scene.fake.given, "perturbed").logits
        return penalties.latent_consistency.critic(scene.fake_output.logits, logits)

    return term


def _latent_generator(noise: float) -> turns.Term:
    def term(scene: turns.Scene) -> jax.Array:
        pictures = _perturbed(scene, scene.play.moving("generator").frozen, noise)
        return penalties.latent_consistency.generator(scene.fake.pictures, pictures)

    return term


def _perturbed(scene: turns.Scene, generator: Network, noise: float) -> jax.Array:
    """Samples for latents that are changed a little."""
    latent = scene.fake.notes["latent"]
    latent = latent + noise * draws.normal(scene.play.rng("change of the latent"), latent.shape)
    return generator(latent, scene.fake.given.get("label"), train=True)


def _lecam(decay: float) -> turns.Term:
    def term(scene: turns.Scene) -> jax.Array:
        critic = scene.play.moving("critic")
        penalty, state = penalties.lecam(
            scene.real_output.logits, scene.fake_output.logits, LeCam(**critic["lecam"]), decay
        )
        critic.set(lecam=state._asdict())
        return penalty

    return term
