"""Orthogonal regularisation, an average from a start on, standing statistics, and truncation as a traced option."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from engine.toys.sngan import Critic, real

from jaxgan import losses, turns
from jaxgan.game import Game, Output, Player
from jaxgan.network import batch_statistics
from jaxgan.options import Option
from jaxgan.schedules import Ema
from jaxgan.turns import Examples

TRUNCATION = {"truncation": Option(2.0, "limit of the latents", above=0)}


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = 4
    batch_size: int = 8
    critic_steps: int = 2
    critic_learning_rate: float = 2e-4
    generator_learning_rate: float = 5e-5
    orthogonal_weight: float = 1e-4
    average: Ema = Ema(half_life_kimg=1.0, start_kimg=0.032)
    standing_batches: int = 2


class Generator(nn.Module):
    """The second half of the latent and the label modulate what is made of the first half."""

    shape: tuple
    classes: int

    @nn.compact
    def __call__(self, z, label, train=True):
        first, second = jnp.split(z, 2, axis=1)
        x = nn.Dense(8, use_bias=False)(first)
        x = nn.BatchNorm(
            use_running_average=not train, use_scale=False, use_bias=False, momentum=0.9
        )(x)
        style = jnp.concatenate([nn.Embed(self.classes, 4)(label), second], axis=1)
        x = x * (1.0 + nn.Dense(8, use_bias=False)(style)) + nn.Dense(8, use_bias=False)(style)
        height, width, channels = self.shape
        x = nn.Dense(height * width * channels)(nn.relu(x))
        return jnp.tanh(x).reshape(-1, *self.shape)


def truncated(key, num, dim, truncation):
    """Standard normal latents, given that no number is beyond the truncation."""
    return jax.random.truncated_normal(key, -truncation, truncation, (num, dim))


def game(options, spec):
    def fake(play, generator, real):
        label = turns.labels(play, play.num, spec.num_classes)
        z = turns.latents(play, play.num, options.latent_dim)
        return Examples(generator(z, label), {"label": label})

    def samples(play, truncation):
        z = truncated(play.rng("latent"), play.num, options.latent_dim, truncation)
        return play.networks["generator"](z, play.batch["label"], train=False)

    def standing(play, truncation):
        """The generator with the mean statistics of some large batches."""
        generator, found = play.networks["generator"], []
        for i in range(options.standing_batches):
            key = jax.random.fold_in(play.rng("standing"), i)
            z = truncated(key, 4 * play.num, options.latent_dim, truncation)
            label = jax.random.randint(key, (4 * play.num,), 0, spec.num_classes)
            found.append(batch_statistics(generator, z, label))
        mean = jax.tree.map(lambda *x: sum(x) / len(x), *found)
        return {"generator": generator.replace(batch_stats=mean)}

    critic = turns.critic_loss(real, fake, {"adversarial": turns.critic_objective(losses.hinge)})
    terms = {
        "adversarial": turns.generator_objective(losses.hinge),
        "orthogonal": turns.weighted(options.orthogonal_weight, turns.orthogonal("generator")),
    }
    generator = turns.generator_loss(real, fake, terms)
    x, z = jnp.zeros((2, *spec.shape)), jnp.zeros((2, options.latent_dim))
    label = jnp.zeros(2, jnp.int32)
    return Game(
        players={
            "critic": Player(
                Critic(spec.num_classes),
                (x, label),
                optax.adam(options.critic_learning_rate, 0.0, 0.999),
            ),
            "generator": Player(
                Generator(spec.shape, spec.num_classes),
                (z, label),
                optax.adam(options.generator_learning_rate, 0.0, 0.999),
                options.average,
            ),
        },
        stages=turns.alternate(critic, generator, options.batch_size, options.critic_steps),
        outputs={
            "samples": Output(
                samples,
                spec.shape,
                ("label",),
                TRUNCATION,
                standing,
            )
        },
        spec=spec,
    )
