"""A paired relativistic loss with R1 and R2, whose weight, learning rate, beta2 and average follow the clock."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import optax
from engine.toys.sngan import real

from jaxgan import losses, turns
from jaxgan.game import Game, Output, Player
from jaxgan.schedules import Ema, Ramp, Schedule
from jaxgan.turns import Examples


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = 4
    batch_size: int = 8
    gamma: Schedule = Ramp(2.0, 0.2, over=0.064, shape="cosine")
    learning_rate: Schedule = Ramp(2e-4, 5e-5, over=0.064, shape="cosine")
    beta2: Schedule = Ramp(0.9, 0.99, over=0.064, shape="cosine")
    average: Ema = Ema(half_life_kimg=Ramp(0.0, 0.5, over=0.064, shape="cosine"))


class Generator(nn.Module):
    shape: tuple
    classes: int

    @nn.compact
    def __call__(self, z, label):
        x = jnp.concatenate([z, nn.Embed(self.classes, 4)(label)], axis=1)
        height, width, channels = self.shape
        x = nn.Dense(height * width * channels)(nn.leaky_relu(nn.Dense(8)(x)))
        return x.reshape(-1, *self.shape)


class Critic(nn.Module):
    """Without a bias at the end, whose gradient cancels between real and fake."""

    classes: int

    @nn.compact
    def __call__(self, x, label):
        x = jnp.sum(nn.leaky_relu(nn.Conv(6, (3, 3), 2)(x)), axis=(1, 2))
        return jnp.sum(nn.Dense(4, use_bias=False)(x) * nn.Embed(self.classes, 4)(label), axis=1)


def game(options, spec):
    def fake(play, generator, real):
        """With the label of the real picture that each is compared with."""
        z = turns.latents(play, play.num, options.latent_dim)
        return Examples(generator(z, real.given["label"]), real.given)

    def samples(play):
        z = turns.latents(play, play.num, options.latent_dim)
        return play.networks["generator"](z, play.batch["label"])

    objective = losses.relativistic_paired
    critic = {
        "adversarial": turns.critic_objective(objective),
        "r1": turns.weighted(options.gamma, turns.r1),
        "r2": turns.weighted(options.gamma, turns.r2),
    }
    generator = {"adversarial": turns.generator_objective(objective)}
    adam = turns.scheduled(
        optax.adam, learning_rate=options.learning_rate, b1=0.0, b2=options.beta2
    )
    x, z = jnp.zeros((2, *spec.shape)), jnp.zeros((2, options.latent_dim))
    label, classes = jnp.zeros(2, jnp.int32), spec.num_classes
    return Game(
        players={
            "critic": Player(Critic(classes), (x, label), adam),
            "generator": Player(Generator(spec.shape, classes), (z, label), adam, options.average),
        },
        stages=turns.alternate(
            turns.critic_loss(real, fake, critic),
            turns.generator_loss(real, fake, generator),
            options.batch_size,
        ),
        outputs={"samples": Output(samples, spec.shape, ("label",))},
        spec=spec,
    )
