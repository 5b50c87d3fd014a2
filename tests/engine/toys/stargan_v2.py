"""Pictures from one domain to another, guided by a latent or by a reference, with losses written by hand.

Beside "image" and "label", its domain, a batch has "target" (int32 [B], another domain), "reference" and
"second_reference" (pictures of that domain). Guided by latents three players move together, by references only the
generator.
"""

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import draws, losses, penalties
from jaxgan.game import Game, Loss, Output, Play, Player, Stage, Turn
from jaxgan.schedules import Ema, Ramp, Schedule, at


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = 4
    style_dim: int = 4
    batch_size: int = 8
    learning_rate: float = 1e-4
    mapping_learning_rate: float = 1e-6
    r1_weight: float = 1.0
    style_weight: float = 1.0
    cycle_weight: float = 1.0
    diversity_weight: Schedule = Ramp(1.0, 0.0, over=100_000, unit="step")
    average: Ema = Ema(half_life_kimg=0.1)


class Heads(nn.Module):
    """A linear head for each domain, of which that of the given domain is returned: [B, dim]."""

    domains: int
    dim: int

    @nn.compact
    def __call__(self, h, domain):
        all_heads = nn.Dense(self.domains * self.dim)(h).reshape(-1, self.domains, self.dim)
        return jnp.take_along_axis(all_heads, domain[:, None, None], axis=1)[:, 0]


class Mapping(nn.Module):
    domains: int
    dim: int

    @nn.compact
    def __call__(self, z, domain):
        return Heads(self.domains, self.dim)(nn.relu(nn.Dense(8)(z)), domain)


class PictureHeads(nn.Module):
    """The style encoder; of dim 1, the critic."""

    domains: int
    dim: int

    @nn.compact
    def __call__(self, x, domain):
        h = nn.leaky_relu(nn.Conv(6, (3, 3), 2)(x)).reshape(x.shape[0], -1)
        return Heads(self.domains, self.dim)(h, domain)


class Generator(nn.Module):
    @nn.compact
    def __call__(self, x, style):
        h = nn.leaky_relu(nn.Conv(6, (3, 3))(x))
        scale, shift = (nn.Dense(6)(style)[:, None, None] for _ in range(2))
        return nn.Conv(x.shape[-1], (3, 3))(h * (1.0 + scale) + shift)


@dataclasses.dataclass(frozen=True)
class StarGAN2:
    """Losses and outputs; `guide` is "latent" or "reference"."""

    options: Options

    def style(self, play: Play, guide: str, which: str = "first"):
        target = play.batch["target"]
        if guide == "reference":
            name = {"first": "reference", "second": "second_reference"}[which]
            return play.networks["style_encoder"](play.batch[name], target)
        z = draws.normal(play.rng(which), (play.num, self.options.latent_dim))
        return play.networks["mapping"](z, target)

    def critic_loss(self, play: Play, guide: str) -> Loss:
        x, domain, target = (play.batch[name] for name in ("image", "label", "target"))
        fake = play.networks["generator"](x, self.style(play, guide))
        fake = jax.lax.stop_gradient(fake)

        def logits(x, domain):
            return play.networks["critic"](x, domain)[:, 0]

        parts = {
            "adversarial": losses.non_saturating.critic(logits(x, domain), logits(fake, target)),
            "r1": self.options.r1_weight * penalties.r1(lambda x: logits(x, domain), x),
        }
        return Loss(sum(parts.values()), parts)

    def generator_loss(self, play: Play, guide: str) -> Loss:
        options, networks = self.options, play.networks
        x, domain, target = (play.batch[name] for name in ("image", "label", "target"))
        generator, encoder = networks["generator"], networks["style_encoder"]
        style = self.style(play, guide)
        fake = generator(x, style)
        other = jax.lax.stop_gradient(generator(x, self.style(play, guide, "second")))
        back = generator(fake, encoder(x, domain))
        on_fake = networks["critic"](fake, target)[:, 0]
        diversity = at(options.diversity_weight, play.clock)
        parts = {
            "adversarial": losses.non_saturating.generator(on_fake),
            "style": options.style_weight * jnp.mean(jnp.abs(encoder(fake, target) - style)),
            "diversity": -diversity * jnp.mean(jnp.abs(fake - other)),
            "cycle": options.cycle_weight * losses.cycle(x, back),
        }
        return Loss(sum(parts.values()), parts)

    def translate(self, play: Play, guide: str):
        return play.networks["generator"](play.batch["image"], self.style(play, guide))

    def turns(self) -> tuple[Turn, ...]:
        movers = {"latent": ("generator", "mapping", "style_encoder"), "reference": ("generator",)}
        critics = [
            Turn(
                ("critic",),
                partial(self.critic_loss, guide=guide),
                f"critic_{guide}",
                fresh_batch=guide == "latent",
            )
            for guide in movers
        ]
        generators = [
            Turn(
                players,
                partial(self.generator_loss, guide=guide),
                f"generator_{guide}",
                fresh_batch=False,
            )
            for guide, players in movers.items()
        ]
        return (*critics, *generators)


def game(options, spec):
    model, domains = StarGAN2(options), spec.num_classes
    x, domain = jnp.zeros((2, *spec.shape)), jnp.zeros(2, jnp.int32)
    z, style = jnp.zeros((2, options.latent_dim)), jnp.zeros((2, options.style_dim))
    adam, slow = (
        optax.adam(rate, 0.0, 0.99)
        for rate in (options.learning_rate, options.mapping_learning_rate)
    )
    encoder, average = PictureHeads(domains, options.style_dim), options.average
    return Game(
        players={
            "critic": Player(PictureHeads(domains, 1), (x, domain), adam),
            "generator": Player(Generator(), (x, style), adam, average),
            "mapping": Player(Mapping(domains, options.style_dim), (z, domain), slow, average),
            "style_encoder": Player(encoder, (x, domain), adam, average),
        },
        stages=(Stage(model.turns(), options.batch_size),),
        outputs={
            "latent_guided": Output(
                partial(model.translate, guide="latent"), spec.shape, ("image", "target")
            ),
            "reference_guided": Output(
                partial(model.translate, guide="reference"),
                spec.shape,
                ("image", "target", "reference"),
            ),
        },
        spec=spec,
    )
