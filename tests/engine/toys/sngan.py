"""A spectrally normalised critic that conditions on labels in one of four ways; a generator batch of twice the size."""

import dataclasses
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import optax

from jaxgan import losses, turns
from jaxgan.game import Game, Output, Player
from jaxgan.nets.spectral import spectral_norm
from jaxgan.schedules import Ramp, Schedule
from jaxgan.turns import CriticOutput, Examples


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = 4
    objective: str = "hinge"
    conditioning: str = "projection"  # acgan | contrastive | multi_hinge
    conditioning_weight: Schedule = 1.0
    batch_size: int = 8
    critic_steps: int = 2
    generator_batch_multiple: int = 2
    learning_rate: Schedule = Ramp(2e-4, 0.0, over=50_000, unit="step")


class Generator(nn.Module):
    shape: tuple
    classes: int

    @nn.compact
    def __call__(self, z, label, train=True):
        x = nn.Dense(8, use_bias=False)(z) + nn.Embed(self.classes, 8)(label)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        height, width, channels = self.shape
        return jnp.tanh(nn.Dense(height * width * channels)(x)).reshape(-1, *self.shape)


class Critic(nn.Module):
    classes: int
    conditioning: str = "projection"

    @nn.compact
    def __call__(self, x, label):
        dense, embed = spectral_norm(nn.Dense), spectral_norm(nn.Embed)
        x = nn.leaky_relu(spectral_norm(nn.Conv)(6, (3, 3), 2)(x), 0.1)
        x = jnp.sum(x, axis=(1, 2))
        logits = dense(1)(x)[:, 0]
        if self.conditioning == "projection":
            return logits + jnp.sum(x * embed(self.classes, 6)(label), 1)
        heads = {
            "acgan": lambda: dense(self.classes)(x),
            "multi_hinge": lambda: dense(self.classes + 1)(x),
            "contrastive": lambda: (dense(6)(x), embed(self.classes, 6)(label)),
        }
        return CriticOutput(logits, {self.conditioning: heads[self.conditioning]()}, x)


def real(play):
    return Examples(play.batch["image"], {"label": play.batch["label"]})


def game(options, spec):
    def fake(play, generator, real, multiple=1):
        num = multiple * play.num
        label = turns.labels(play, num, spec.num_classes)
        z = turns.latents(play, num, options.latent_dim)
        return Examples(generator(z, label), {"label": label})

    def samples(play):
        z = turns.latents(play, play.num, options.latent_dim)
        return play.networks["generator"](z, play.batch["label"], train=False)

    objective = losses.by_name(options.objective)
    heads = turns.conditioning(options.conditioning, options.conditioning_weight)
    critic, generator = dict(heads.critic), dict(heads.generator)
    if not heads.replaces:
        critic["adversarial"] = turns.critic_objective(objective)
        generator["adversarial"] = turns.generator_objective(objective)
    several = partial(fake, multiple=options.generator_batch_multiple)
    adam = turns.scheduled(optax.adam, learning_rate=options.learning_rate, b1=0.0, b2=0.9)
    x, z = jnp.zeros((2, *spec.shape)), jnp.zeros((2, options.latent_dim))
    label = jnp.zeros(2, jnp.int32)
    return Game(
        players={
            "critic": Player(Critic(spec.num_classes, options.conditioning), (x, label), adam),
            "generator": Player(Generator(spec.shape, spec.num_classes), (z, label), adam),
        },
        stages=turns.alternate(
            turns.critic_loss(real, fake, critic),
            turns.generator_loss(real, several, generator),
            options.batch_size,
            options.critic_steps,
        ),
        outputs={"samples": Output(samples, spec.shape, ("label",))},
        spec=spec,
    )
