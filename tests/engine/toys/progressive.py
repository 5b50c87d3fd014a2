"""A stage for each step of growth: a new level is faded in by the clock, with new optimisers. WGAN-GP."""

import dataclasses
import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import losses, resample, turns
from jaxgan.game import Game, Output, Player, Stage, Turn
from jaxgan.schedules import Ema
from jaxgan.turns import Examples


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = 4
    width: int = 4
    batch_sizes: tuple[tuple[int, int], ...] = ((4, 16), (8, 8))  # (from this resolution on, size)
    fade_kimg: float = 0.032
    stable_kimg: float = 0.032
    learning_rate: float = 1e-3
    penalty_weight: float = 10.0
    average: Ema = Ema(half_life_kimg=0.05)


class Generator(nn.Module):
    """`level` is static, `alpha` the weight of the newest level or None."""

    levels: int
    width: int
    channels: int

    @nn.compact
    def __call__(self, z, level, alpha=None):
        convs = [nn.Conv(self.width, (3, 3), name=f"block{i}") for i in range(self.levels)]
        to_rgb = [nn.Conv(self.channels, (1, 1), name=f"to_rgb{i}") for i in range(self.levels)]
        x = nn.Dense(16 * self.width)(z).reshape(-1, 4, 4, self.width)
        before = x
        for i in range(level + 1):
            before, x = x, nn.leaky_relu(convs[i](resample.upsample_nearest(x) if i else x))
        picture = to_rgb[level](x)
        if alpha is None:
            return picture
        return blend(resample.upsample_nearest(to_rgb[level - 1](before)), picture, alpha)


class Critic(nn.Module):
    levels: int
    width: int

    @nn.compact
    def __call__(self, picture, level, alpha=None):
        convs = [nn.Conv(self.width, (3, 3), name=f"block{i}") for i in range(self.levels)]
        from_rgb = [nn.Conv(self.width, (1, 1), name=f"from_rgb{i}") for i in range(self.levels)]
        x = from_rgb[level](picture)
        for i in reversed(range(level + 1)):
            x = nn.leaky_relu(convs[i](x))
            x = resample.avg_pool(x) if i else x
            if i == level and alpha is not None:
                x = blend(from_rgb[i - 1](resample.avg_pool(picture)), x, alpha)
        return nn.Dense(1)(x.reshape(x.shape[0], -1))[:, 0]


def blend(old, new, alpha):
    return (1.0 - alpha) * old + alpha * new


@dataclasses.dataclass(frozen=True)
class Phase:
    """The level `level`, while it is faded in or after that."""

    options: Options
    level: int
    fading: bool

    @property
    def batch_size(self) -> int:
        return [size for start, size in self.options.batch_sizes if start <= 4 << self.level][-1]

    @property
    def rounds(self) -> int:
        kimg = self.options.fade_kimg if self.fading else self.options.stable_kimg
        return math.ceil(1000 * kimg / self.batch_size)

    def alpha(self, play):
        if not self.fading:
            return None
        return jnp.minimum(play.clock.stage_kimg / self.options.fade_kimg, 1.0)

    def real(self, play):
        picture, alpha = play.batch["image"], self.alpha(play)
        if alpha is not None:
            picture = blend(resample.upsample_nearest(resample.avg_pool(picture)), picture, alpha)
        return Examples(picture)

    def generated(self, play, generator):
        z = turns.latents(play, play.num, self.options.latent_dim)
        return generator(z, self.level, self.alpha(play))

    def fake(self, play, generator, real):
        return Examples(self.generated(play, generator))

    def apply_critic(self, play, critic, pictures, given, purpose):
        return critic(pictures, self.level, self.alpha(play))

    def turns(self) -> tuple[Turn, ...]:
        penalty = turns.weighted(self.options.penalty_weight, turns.gradient_penalty())
        adversarial = turns.critic_objective(losses.wasserstein)
        critic = turns.critic_loss(
            self.real,
            self.fake,
            {"adversarial": adversarial, "penalty": penalty},
            apply_critic=self.apply_critic,
        )
        generator = turns.generator_loss(
            self.real,
            self.fake,
            {"adversarial": turns.generator_objective(losses.wasserstein)},
            apply_critic=self.apply_critic,
        )
        return (
            Turn(("critic",), critic),
            Turn(("generator",), generator, fresh_batch=False),
        )


def game(options, spec):
    side, _, channels = spec.shape
    levels = int(math.log2(side // 4)) + 1
    phases = [
        Phase(options, level, fading)
        for level in range(levels)
        for fading in ((True, False) if level else (False,))
    ]
    adam = optax.adam(options.learning_rate, 0.0, 0.99)
    x, z = jnp.zeros((2, *spec.shape)), jnp.zeros((2, options.latent_dim))
    # The call that fades the last level in uses only two levels' outer layers, so this game has two levels.
    last, faded = levels - 1, 1.0
    generator = Generator(levels, options.width, channels)
    players = {
        "critic": Player(Critic(levels, options.width), (x, last, faded), adam),
        "generator": Player(generator, (z, last, faded), adam, options.average),
    }
    stages, end = [], 0
    for phase in phases:
        end += phase.rounds
        stages.append(
            Stage(
                phase.turns(),
                phase.batch_size,
                until=None if phase is phases[-1] else end,
                resolution=4 << phase.level,
                enter=turns.reset_optimizers(players) if phase.fading else None,
            )
        )

    def enlarged(phase, play):
        picture, times = phase.generated(play, play.networks["generator"]), side >> 2 + phase.level
        return jnp.repeat(jnp.repeat(picture, times, axis=1), times, axis=2)

    def samples(play):
        """Of the level that the run has reached, at full size."""
        return jax.lax.switch(play.clock.stage, [partial(enlarged, p, play) for p in phases])

    return Game(players, tuple(stages), {"samples": Output(samples, spec.shape)}, spec)
