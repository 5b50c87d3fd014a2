"""A generator and a critic of pictures at several scales at once; R1 is by the list of them."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import optax

from jaxgan import losses, resample, turns
from jaxgan.game import Game, Output, Player
from jaxgan.schedules import Ema
from jaxgan.turns import Examples


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = 4
    scales: int = 2
    batch_size: int = 8
    learning_rate: float = 3e-3
    r1_gamma: float = 1.0
    average: Ema = Ema(half_life_kimg=0.1)


class Generator(nn.Module):
    """A list of pictures, the smallest first."""

    side: int
    channels: int
    scales: int

    @nn.compact
    def __call__(self, z):
        side, pictures = self.side >> (self.scales - 1), []
        x = nn.leaky_relu(nn.Dense(side * side * 4)(z)).reshape(-1, side, side, 4)
        for scale in range(self.scales):
            x = resample.upsample_nearest(x) if scale else x
            x = nn.leaky_relu(nn.Conv(4, (3, 3))(x))
            pictures.append(nn.Conv(self.channels, (1, 1))(x))
        return pictures


class Critic(nn.Module):
    @nn.compact
    def __call__(self, pictures):
        *smaller, largest = pictures
        x = nn.leaky_relu(nn.Conv(4, (3, 3))(largest))
        for picture in reversed(smaller):
            x = jnp.concatenate([resample.avg_pool(x), picture], axis=-1)
            x = nn.leaky_relu(nn.Conv(4, (3, 3))(x))
        return nn.Dense(1)(x.reshape(x.shape[0], -1))[:, 0]


def pyramid(picture, scales):
    """The picture and its averages over 2x2, 4x4, ... pixels; the smallest first."""
    pictures = [picture]
    while len(pictures) < scales:
        pictures = [resample.avg_pool(pictures[0]), *pictures]
    return pictures


def game(options, spec):
    def real(play):
        return Examples(pyramid(play.batch["image"], options.scales))

    def fake(play, generator, real):
        return Examples(generator(turns.latents(play, play.num, options.latent_dim)))

    def samples(play):
        return play.networks["generator"](turns.latents(play, play.num, options.latent_dim))[-1]

    objective = losses.relativistic_average_hinge
    critic = {
        "adversarial": turns.critic_objective(objective),
        "r1": turns.weighted(options.r1_gamma, turns.r1),
    }
    generator = {"adversarial": turns.generator_objective(objective)}
    adam = optax.adam(options.learning_rate, 0.0, 0.99)
    x, z = pyramid(jnp.zeros((2, *spec.shape)), options.scales), jnp.zeros((2, options.latent_dim))
    side, _, channels = spec.shape
    return Game(
        players={
            "critic": Player(Critic(), (x,), adam),
            "generator": Player(
                Generator(side, channels, options.scales), (z,), adam, options.average
            ),
        },
        stages=turns.alternate(
            turns.critic_loss(real, fake, critic, passes=2),
            turns.generator_loss(real, fake, generator),
            options.batch_size,
        ),
        outputs={"samples": Output(samples, spec.shape)},
        spec=spec,
    )
