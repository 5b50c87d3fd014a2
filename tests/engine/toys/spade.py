"""Pictures from label maps, with an image encoder, a critic at several scales and feature matching.

Label maps are a further field of the batch, "label_map": indices [B, H, W], which the losses encode themselves.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import losses, resample, turns
from jaxgan.game import Game, Output, Player, Stage, Turn
from jaxgan.schedules import Ramp, Schedule
from jaxgan.turns import CriticOutput, Examples


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = 4
    scales: int = 2
    batch_size: int = 8
    learning_rate: Schedule = Ramp(2e-4, 0.0, over=1000, after=1000, unit="step")
    feature_weight: float = 10.0
    kl_weight: float = 0.05


class Encoder(nn.Module):
    """Mean and log variance of the code of a picture."""

    dim: int

    @nn.compact
    def __call__(self, x):
        x = nn.leaky_relu(nn.Conv(4, (3, 3), 2)(x)).reshape(x.shape[0], -1)
        return nn.Dense(self.dim)(x), nn.Dense(self.dim)(x)


class Generator(nn.Module):
    """Scale and shift of the normalised layer are made of the label map."""

    channels: int

    @nn.compact
    def __call__(self, z, label_map, train=True):
        x = nn.Dense(6, use_bias=False)(z)[:, None, None]
        x = x + nn.Conv(6, (3, 3), use_bias=False)(label_map)
        norm = nn.BatchNorm(use_running_average=not train, use_scale=False, use_bias=False)(x)
        x = norm * (1.0 + nn.Conv(6, (3, 3))(label_map)) + nn.Conv(6, (3, 3))(label_map)
        return jnp.tanh(nn.Conv(self.channels, (3, 3))(nn.leaky_relu(x)))


class PatchCritic(nn.Module):
    """A map of logits and a list of features for each scale."""

    scales: int

    @nn.compact
    def __call__(self, x, label_map):
        x, logits, features = jnp.concatenate([x, label_map], axis=-1), [], []
        for scale in range(self.scales):
            x = resample.avg_pool(x) if scale else x
            h = nn.leaky_relu(nn.Conv(6, (3, 3), 2)(x))
            features.append([h])
            logits.append(nn.Conv(1, (3, 3))(h)[..., 0])
        return CriticOutput(logits, features=features)


def game(options, spec):
    spec.require("spade", image="image", label_map="label_map")
    classes = spec["label_map"].number

    def encoded(play):
        return jax.nn.one_hot(play.batch["label_map"], classes)

    def real(play):
        return Examples(play.batch["image"], {"label_map": encoded(play)})

    def fake(play, generator, real):
        mean, log_variance = play.networks["encoder"](real.pictures)
        noise = turns.latents(play, play.num, options.latent_dim)
        z = mean + jnp.exp(0.5 * log_variance) * noise
        notes = {"mean": mean, "log_variance": log_variance}
        return Examples(generator(z, real.given["label_map"]), real.given, notes)

    def samples(play):
        z = turns.latents(play, play.num, options.latent_dim)
        return play.networks["generator"](z, encoded(play), train=False)

    def guided(play):
        mean, _ = play.networks["encoder"](play.batch["image"])
        return play.networks["generator"](mean, encoded(play), train=False)

    critic = turns.critic_loss(real, fake, {"adversarial": turns.critic_objective(losses.hinge)})
    terms = {
        "adversarial": turns.generator_objective(losses.hinge),
        "features": turns.weighted(options.feature_weight, turns.feature_matching),
        "kl": turns.weighted(options.kl_weight, turns.kl),
    }
    generator = turns.generator_loss(real, fake, terms)
    # eps: real and fake share the label map, so gradients cancel to rounding noise, which Adam would enlarge.
    adam = turns.scheduled(
        optax.adam, learning_rate=options.learning_rate, b1=0.0, b2=0.9, eps=1e-5
    )
    x, z = jnp.zeros((2, *spec.shape)), jnp.zeros((2, options.latent_dim))
    label_map = jnp.zeros((*x.shape[:3], classes))
    return Game(
        players={
            "critic": Player(PatchCritic(options.scales), (x, label_map), adam),
            "generator": Player(Generator(spec.shape[-1]), (z, label_map), adam),
            "encoder": Player(Encoder(options.latent_dim), (x,), adam),
        },
        stages=(
            Stage(
                (
                    Turn(("generator", "encoder"), generator),
                    Turn(("critic",), critic, fresh_batch=False),
                ),
                options.batch_size,
            ),
        ),
        outputs={
            "samples": Output(samples, spec.shape, ("label_map",)),
            "guided": Output(guided, spec.shape, ("label_map", "image")),
        },
        spec=spec,
    )
