"""ProGAN: a generator and a critic that grow together, from a few pixels to the data's resolution.

Paper: Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation": Appendix A.1
(CelebA-HQ) for the defaults, the section on CIFAR-10's Inception scores for `penalty_target` = 750.
Reference implementation: facebookresearch/pytorch_GAN_zoo (BSD-3), models/progressive_gan.py.

The stages are those of `jaxgan.growth`. Samples have full size in every stage: pictures of the newest level are
enlarged.

A gradient penalty assumes that the critic's output for a picture depends on that picture alone; minibatch standard
deviation makes the outputs of a group depend slightly on each other. Groups have 4 pictures, or are the whole batch
where 4 does not divide it, as in the reference; in the paper they are the whole batch.

Intended differences: alpha changes with every batch (in the reference every 32 batches); the generator's average has a
half-life in images, so that it does not depend on the batch size (the paper's 0.999 per batch is 11.1 kimg for batches
of 16); the standard deviation of a group is the biased one; last layers, which are not followed by a leaky ReLU, have
gain 1; the fan-in of the first layer counts all 4 x 4 inputs of the paper's convolution; biases are not scaled (the
reference uses sqrt(2 / fan_in) in all three cases); the critic blends its 8 x 8 level like every other (the reference
switches to it at once). `conditional` is AC-GAN, as in the reference; the paper has no labels.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import adversarial, growth, losses, turns
from jaxgan.game import Game, Output, Play, Player, Stage
from jaxgan.growth import Phase, Phases
from jaxgan.nets.growing import GrowingCritic, GrowingGenerator, widths
from jaxgan.nets.labels import one_hot
from jaxgan.network import Network
from jaxgan.options import MOST_COMPONENTS, Option, check, option
from jaxgan.schedules import Clock
from jaxgan.spec import Spec
from jaxgan.tools import Made, Tool
from jaxgan.tools.latents import Space, Walk, interpolation


@dataclasses.dataclass(frozen=True)
class Options(growth.Options):
    latent_dim: int = option(512, "components of the latent vector", least=1, most=MOST_COMPONENTS)
    channel_base: int = option(
        16_384, "a layer has channel_base / resolution channels, but at most channel_max", least=1
    )
    channel_max: int = option(512, "most channels of a layer", least=1)
    critic_steps: int = option(1, "critic steps per generator step", least=1)
    penalty_weight: float = option(10.0, "weight of the gradient penalty, lambda", least=0)
    penalty_target: float = option(
        1.0, "target of the gradient norm, gamma; 750 in the paper for CIFAR-10", above=0
    )
    drift_weight: float = option(
        1e-3, "weight of the critic's mean square on real pictures, epsilon", least=0
    )
    beta1: float = option(0.0, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.99, "decay of Adam's mean of squared gradients", least=0, below=1)
    ema_half_life_kimg: float = adversarial.half_life_option(11.1)
    conditional: bool = option(False, "condition on the labels of the data, as AC-GAN does")
    class_weight: float = option(
        1.0, "weight of the labels' cross-entropy in a conditional model", least=0
    )
    dtype: str = option("float32", "dtype of the networks' arithmetic", choices=adversarial.DTYPES)
    remat: bool = adversarial.remat_option()


def phases_of(options: Options, spec: Spec) -> Phases:
    """The phases in order; the last has no end."""
    check(options)
    base, number = growth.levels("progressive", spec)
    return growth.phases(options, base, number, critic_steps=options.critic_steps)


def game(options: Options, spec: Spec) -> Game:
    phases = phases_of(options, spec)
    classes = adversarial.classes(options, spec)
    both = players(options, spec, phases, classes)
    pictures = Pictures(options, spec, phases, classes)
    return Game(
        players=both,
        stages=growth.stages(
            options, phases, both, lambda phase: PhaseLosses(options, classes, phase).stage()
        ),
        outputs={
            "samples": Output(pictures.samples, spec.shape, () if classes is None else ("label",))
        },
        spec=spec,
        tools={
            "growth": Tool(
                pictures.growth,
                "pictures of the same latents at all levels trained so far, from left to right",
                {"num": Option(8, "latents", least=1)},
            ),
            "interpolation": pictures.interpolation(),
        },
    )


def players(options: Options, spec: Spec, phases: Phases, classes: int | None):
    """{"critic": Player, "generator": Player}."""
    base, top = phases[0].resolution, phases[-1].level
    features = widths(top + 1, options.channel_base, options.channel_max)
    shared: dict[str, Any] = {"dtype": adversarial.compute_dtype(options), "remat": options.remat}
    critic = GrowingCritic(base, features, 1 + (classes or 0), **shared)
    generator = GrowingGenerator(base, features, spec.shape[-1], **shared)
    picture = jnp.zeros((2, *spec.shape), jnp.float32)
    latent = jnp.zeros((2, options.latent_dim + (classes or 0)), jnp.float32)
    rate = growth.learning_rate(phases)
    adam = turns.scheduled(optax.adam, learning_rate=rate, b1=options.beta1, b2=options.beta2)
    # Initialised at the last level, which creates the parameters of all levels.
    return {
        "critic": Player(critic, (picture, top), adam),
        "generator": Player(generator, (latent, top), adam, adversarial.average(options)),
    }


# Training -------------------------------------------------------------------------------------------------


def generator_input(latent: jax.Array, label: jax.Array | None, classes: int | None) -> jax.Array:
    """[B, latent_dim + classes]: the latent and, in a conditional model, the label as a one-hot vector."""
    if classes is None:
        return latent
    return jnp.concatenate([latent, one_hot(label, classes)], axis=1)


@dataclasses.dataclass(frozen=True)
class PhaseLosses:
    """The losses of one phase, in which the level is static."""

    options: Options
    classes: int | None
    phase: Phase

    def stage(self) -> Stage:
        options, labels = self.options, turns.NO_TERMS
        if self.classes is not None:
            labels = turns.conditioning("acgan", options.class_weight, generated=True)
        critic = turns.critic_loss(
            self.real,
            self.fake,
            {**critic_terms(options), **labels.critic},
            passes=2,  # a group of the minibatch standard deviation is all real or all generated
            apply_critic=self.apply_critic,
            after=self.progress,
        )
        adversarial = {"adversarial": turns.generator_objective(losses.wasserstein)}
        generator = turns.generator_loss(
            self.real,
            self.fake,
            {**adversarial, **labels.generator},
            apply_critic=self.apply_critic,
        )
        (stage,) = turns.alternate(critic, generator, self.phase.batch_size, options.critic_steps)
        return stage

    def alpha(self, play: Play) -> jax.Array | None:
        """The weight of the level that is faded in; None in a phase that trains it."""
        return growth.alpha_of(self.options, self.phase, play.clock)

    def real(self, play: Play) -> turns.Examples:
        pictures = growth.faded(play.batch["image"], self.alpha(play))
        return turns.Examples(pictures, self.given(play.batch.get("label")))

    def fake(self, play: Play, generator: Network, real: turns.Examples) -> turns.Examples:
        latent, label = turns.latents(play, play.num, self.options.latent_dim), None
        if self.classes is not None:
            label = turns.labels(play, play.num, self.classes)
        inputs = generator_input(latent, label, self.classes)
        pictures = generator(inputs, self.phase.level, self.alpha(play))
        return turns.Examples(pictures, self.given(label))

    def given(self, label: jax.Array | None) -> dict[str, jax.Array]:
        return {} if self.classes is None or label is None else {"label": label}

    def apply_critic(
        self, play: Play, critic: Network, pictures, given, purpose
    ) -> turns.CriticOutput:
        """The critic's logits; in a conditional model also class logits [B, classes] as the head "acgan"."""
        outputs = critic(pictures, self.phase.level, self.alpha(play))
        return turns.CriticOutput(outputs[:, 0], {"acgan": outputs[:, 1:]})

    def progress(self, scene: turns.Scene) -> dict[str, jax.Array]:
        """The metric "level"."""
        return {"level": growth.progress(self.phase, self.alpha(scene.play))}


def critic_terms(options: Options) -> dict[str, turns.Term]:
    """The terms of the critic's loss without labels:

        E C(x') - E C(x) + lambda / gamma^2 E (||grad C(y)|| - gamma)^2 + epsilon E C(x)^2

    for generated x', real x and interpolated y (Appendix A.1; gamma is from the section on CIFAR-10). lambda is
    `penalty_weight`, gamma `penalty_target`, epsilon `drift_weight`.
    """
    target = options.penalty_target
    return {
        "adversarial": turns.critic_objective(losses.wasserstein),
        "penalty": turns.weighted(
            options.penalty_weight / target**2, turns.gradient_penalty(target)
        ),
        "drift": turns.weighted(
            options.drift_weight, lambda scene: jnp.mean(jnp.square(scene.real_output.logits))
        ),
    }


# Samples and tools ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The outputs of a trained generator: pictures of full size, float32 [B, *spec.shape] in [-1, 1]."""

    options: Options
    spec: Spec
    phases: Phases
    classes: int | None

    def of_level(self, level: int, generator: Network, latent, label, alpha=None) -> jax.Array:
        """Pictures of one level, enlarged to full size."""
        small = generator(generator_input(latent, label, self.classes), level, alpha)
        return growth.enlarged(small, self.spec.shape[0])

    def current(self, clock: Clock, generator: Network, latent, label) -> jax.Array:
        """Pictures of the newest level, blended with the level below while it is faded in."""
        given = (generator, latent, label)
        return growth.at_newest(self.options, self.phases, clock, self.of_level, *given)

    def samples(self, play: Play) -> jax.Array:
        latent = turns.latents(play, play.num, self.options.latent_dim)
        label = play.batch.get("label")
        return self.current(play.clock, play.networks["generator"], latent, label)

    def growth(self, play: Play, num: int) -> Made:
        """A row for each latent: its pictures of all levels up to the newest."""
        generator = play.networks["generator"]
        latent = turns.latents(play, num, self.options.latent_dim)
        label = None if self.classes is None else jnp.arange(num, dtype=jnp.int32) % self.classes
        level = int(growth.newest(self.phases, play.clock))
        of_level = jax.jit(self.of_level, static_argnums=0)
        columns = [of_level(k, generator, latent, label) for k in range(level)]
        columns.append(jax.jit(self.current)(play.clock, generator, latent, label))
        pictures = np.stack(columns, axis=1).reshape(-1, *self.spec.shape)
        sides = {phase.level: phase.resolution for phase in self.phases}
        return Made(pictures, columns=len(columns), numbers={"resolution": sides[level]})

    def interpolation(self) -> Tool:
        """A walk between latents. The clock is known when the tool runs, and selects the level of the pictures."""

        def walk(clock: Clock | None) -> Tool:
            def paint(networks, latent, label):
                assert clock is not None, "the tool sets the clock before it makes pictures"
                return self.current(clock, networks["generator"], latent, label)

            sphere = Space(lambda networks, latent, label: latent, paint, sphere=True)
            return interpolation({"z": sphere}, self.options.latent_dim, self.classes)

        def make(play: Play, **options) -> Made:
            return walk(play.clock).make(play, **options)

        def spaces(play: Play) -> Walk:
            of_clock = walk(play.clock).walk
            assert of_clock is not None
            return of_clock(play)

        return dataclasses.replace(walk(None), make=make, walk=spaces)
