"""Lazy R1 and path length as turns of their own, style mixing, a running mean of styles, and adaptive augmentation."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from jaxgan import augment, draws, losses, penalties, turns
from jaxgan.game import Game, Loss, Output, Play, Player, Stage, Turn
from jaxgan.options import Option
from jaxgan.schedules import Ema
from jaxgan.turns import Examples

TRUNCATION = {"truncation": Option(1.0, "share of the distance from the mean style")}


@dataclasses.dataclass(frozen=True)
class Lazy:
    weight: float
    every: int  # rounds


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = 4
    batch_size: int = 8
    learning_rate: float = 2e-3
    r1: Lazy = Lazy(weight=5.0, every=2)
    path: Lazy = Lazy(weight=2.0, every=2)
    mixing: float = 0.9
    style_decay: float = 0.9
    average: Ema = Ema(half_life_kimg=0.5, ramp_up=0.05)
    ada_target: float = 0.6
    ada_rise_kimg: float = 0.1


class Generator(nn.Module):
    """`style` maps latents to styles w [B, D]; `paint` makes pictures of a style for each layer [B, layers, D]."""

    shape: tuple
    layers: int = 2

    def setup(self):
        height, width, channels = self.shape
        self.mapping = nn.Dense(8)
        self.affine = [nn.Dense(8) for _ in range(self.layers)]
        self.out = nn.Dense(height * width * channels)
        self.variable("average", "style", jnp.zeros, (8,))
        self.variable("path", "mean", jnp.zeros, ())

    def __call__(self, z):
        return self.paint(self.every_layer(self.style(z)))

    def style(self, z):
        return nn.leaky_relu(self.mapping(z))

    def every_layer(self, w):
        return jnp.repeat(w[:, None], self.layers, axis=1)

    def paint(self, w):
        x = jnp.ones((w.shape[0], 8))
        for i, affine in enumerate(self.affine):
            x = nn.leaky_relu(x * affine(w[:, i]) + 0.1)
        return self.out(x).reshape(-1, *self.shape)


class Critic(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.leaky_relu(nn.Conv(6, (3, 3), 2)(x))
        return nn.Dense(1)(x.reshape(x.shape[0], -1))[:, 0]


@dataclasses.dataclass(frozen=True)
class StyleGAN:
    options: Options
    layers: int

    def real(self, play: Play) -> Examples:
        return Examples(play.batch["image"])

    def mixed_styles(self, play: Play, generator):
        """(the styles of one set of latents, the same with another's from a random layer on)."""
        dim, num = self.options.latent_dim, play.num
        first = generator(turns.latents(play, num, dim), method="style")
        second = generator(draws.normal(play.rng("second latent"), (num, dim)), method="style")
        place = draws.randint(play.rng("crossover"), (num, 1), 1, self.layers)
        mixed = draws.bernoulli(play.rng("mixed"), self.options.mixing, (num, 1))
        other = (jnp.arange(self.layers)[None] >= place) & mixed
        return first, jnp.where(other[..., None], second[:, None], first[:, None])

    def fake(self, play: Play, generator, real) -> Examples:
        style, w = self.mixed_styles(play, generator)
        return Examples(generator(w, method="paint"), notes={"style": style})

    def apply_critic(self, play: Play, critic, pictures, given, purpose):
        """Pictures are turned upside down with the controller's probability."""
        p = critic["augmentation"]["ada"].p
        turned = draws.bernoulli(play.rng(purpose), p, (len(pictures), 1, 1, 1))
        return critic(jnp.where(turned, pictures[:, ::-1], pictures))

    def control(self, scene) -> dict:
        critic, options = scene.play.moving("critic"), self.options
        ada = augment.ada_update(
            critic["augmentation"]["ada"],
            scene.real_output.logits,
            target=options.ada_target,
            rise_kimg=options.ada_rise_kimg,
        )
        critic.set(augmentation={"ada": ada})
        return {"p": ada.p}

    def update_style(self, scene) -> None:
        generator, decay = scene.play.moving("generator"), self.options.style_decay
        mean = jnp.mean(scene.fake.notes["style"], axis=0)
        generator.set(
            average={"style": decay * generator["average"]["style"] + (1.0 - decay) * mean}
        )

    def path_loss(self, play: Play) -> Loss:
        generator = play.moving("generator")
        _, w = self.mixed_styles(play, generator)
        penalty, mean = penalties.path_length(
            lambda w: play.networks["generator"](w, method="paint"),
            w,
            generator["path"]["mean"],
            play.rng("direction"),
        )
        generator.set(path={"mean": mean})
        lazy = self.options.path
        return Loss(lazy.every * lazy.weight * penalty, {"penalty": penalty, "length": mean})

    def samples(self, play: Play, truncation):
        generator = play.networks["generator"]
        w = generator(turns.latents(play, play.num, self.options.latent_dim), method="style")
        average = generator["average"]["style"][None]
        w = average + truncation * (w - average)
        return generator(generator(w, method="every_layer"), method="paint")


def game(options, spec):
    generator = Generator(spec.shape)
    model, objective = StyleGAN(options, generator.layers), losses.non_saturating
    critic_loss = turns.critic_loss(
        model.real,
        model.fake,
        {"adversarial": turns.critic_objective(objective)},
        passes=2,
        apply_critic=model.apply_critic,
        after=model.control,
    )
    generator_loss = turns.generator_loss(
        model.real,
        model.fake,
        {"adversarial": turns.generator_objective(objective)},
        apply_critic=model.apply_critic,
        after=model.update_style,
    )
    r1 = turns.weighted(options.r1.weight, turns.r1)
    stage = Stage(
        (
            Turn(("critic",), critic_loss),
            turns.lazy(
                "r1", "critic", r1, options.r1.every, model.real, apply_critic=model.apply_critic
            ),
            Turn(("generator",), generator_loss, fresh_batch=False),
            Turn(("generator",), model.path_loss, "path", options.path.every, fresh_batch=False),
        ),
        options.batch_size,
    )
    critic_adam, generator_adam = (
        turns.lazy_adam(options.learning_rate, 0.0, 0.99, lazy.every)
        for lazy in (options.r1, options.path)
    )
    x, z = jnp.zeros((2, *spec.shape)), jnp.zeros((2, options.latent_dim))
    ada = {"augmentation": {"ada": augment.ada_start(0.5)}}
    return Game(
        players={
            "critic": Player(Critic(), (x,), critic_adam, collections=ada),
            "generator": Player(generator, (z,), generator_adam, options.average),
        },
        stages=(stage,),
        outputs={
            "samples": Output(
                model.samples,
                spec.shape,
                options=TRUNCATION,
            )
        },
        spec=spec,
    )
