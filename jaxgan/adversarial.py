"""The two-player game of most classic models: a critic against a generator.

A model file gives the two networks, an objective from `jaxgan.losses`, perhaps a penalty, and its paper's
hyper-parameters; `two_player` builds the game. A round has `critic_steps` updates of the critic, each on a fresh
real batch, then one update of the generator.

State updates:
  - Spectral `u` vectors are updated once per critic turn, whatever the number of calls of the critic, and never in the
    generator's turn.
  - Running batch statistics of a network are updated in its own turn only. In the other player's turn the network also
    normalises by the statistics of the batch, but does not update the running statistics.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import draws, losses, turns
from jaxgan.game import SAMPLES, Game, Output, Play, Player
from jaxgan.network import Network
from jaxgan.options import OptionError, option
from jaxgan.schedules import Ema
from jaxgan.spec import Spec

DTYPES = ("float32", "bfloat16")
OPTIMIZERS = {
    "adam": lambda options: optax.scale_by_adam(options.beta1, options.beta2),
    # As in PyTorch and the WGAN paper: decay 0.99, epsilon outside the root.
    "rmsprop": lambda options: optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of all two-player models; each model overrides the defaults with those of its paper."""

    latent_dim: int = option(128, "components of the latent vector", least=1)
    conditional: bool = option(False, "condition both networks on the labels of the data")
    batch_size: int = option(64, "real images per critic step", least=1)
    critic_steps: int = option(5, "critic steps per generator step", least=1)
    generator_batch_multiple: int = option(
        1, "images per generator step, as a multiple of batch_size", least=1
    )
    optimizer: str = option("adam", "optimiser of both networks", choices=tuple(OPTIMIZERS))
    critic_learning_rate: float = option(2e-4, "learning rate of the critic", least=0)
    generator_learning_rate: float = option(2e-4, "learning rate of the generator", least=0)
    beta1: float = option(0.0, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.9, "decay of Adam's mean of squared gradients", least=0, below=1)
    decay_steps: int = option(
        0, "rounds in which the learning rates decay linearly to 0; 0 keeps them constant", least=0
    )
    ema_half_life_kimg: float = option(
        0.0,
        "half-life of the averaged generator in kimg (thousands of real images); 0 keeps none",
        least=0,
    )
    ema_ramp_up: float = option(
        0.05, "the half-life is at most this share of the images seen; 0 for no limit", least=0
    )
    dequantise: bool = option(
        False, "add uniform noise from [0, 1/128) to real pictures, which have 256 levels"
    )
    dtype: str = option("float32", "dtype of the networks' arithmetic", choices=DTYPES)


class _HasDtype(Protocol):
    """Options with the dtype of the arithmetic."""

    @property
    def dtype(self) -> str: ...


class _HasConditional(Protocol):
    """Options of models that can be conditioned on labels."""

    @property
    def conditional(self) -> bool: ...


def compute_dtype(options: _HasDtype) -> jnp.dtype:
    return jnp.dtype(options.dtype)


def classes(options: _HasConditional, spec: Spec) -> int | None:
    """Number of classes on which the networks are conditioned; None for an unconditional model."""
    if not options.conditional:
        return None
    if spec.num_classes is None:
        raise OptionError("conditional", True, "the data has no labels", {"conditional": False})
    return spec.num_classes


def optimizer(options: Options, learning_rate: float) -> optax.GradientTransformation:
    """Adam or RMSProp with a linear decay in rounds, the same for both players."""
    scale = OPTIMIZERS[options.optimizer](options)
    schedule = (
        optax.linear_schedule(learning_rate, 0.0, options.decay_steps)
        if options.decay_steps
        else optax.constant_schedule(learning_rate)
    )
    return optax.chain(scale, turns.scale_by_clock(schedule))


def dequantise(pictures: jax.Array, key: jax.Array) -> jax.Array:
    """Pictures of 256 levels, [-1, 1], as a density on [-1, 1): u / 128 - 1 plus uniform noise in [0, 1/128).

    `pictures` hold the levels u = 0 to 255 as u / 127.5 - 1.
    """
    levels = (pictures + 1.0) * 127.5
    return levels / 128.0 - 1.0 + draws.uniform(key, pictures.shape, maxval=1.0 / 128.0)


def two_player(
    options: Options,
    spec: Spec,
    *,
    generator: nn.Module,
    critic: nn.Module,
    objective: str,
    penalty: turns.Term | None = None,
    passes: int = 1,
    project_critic: optax.GradientTransformation | None = None,
) -> Game:
    """A game of a critic and a generator.

    Args:
      options: see `Options`.
      spec: specification of the data.
      generator: (latent [B, latent_dim], label [B] or None, train) -> samples [B, *spec.shape].
      critic: (samples, label, train) -> logits [B].
      objective: name of an objective in `jaxgan.losses`.
      penalty: an additional term of the critic's loss.
      passes: see `turns.critic_loss`; 2 for a critic with batch normalisation (DCGAN).
      project_critic: a final transformation of the critic's updates (weight clipping).
    """
    chosen = losses.by_name(objective)
    real, fake = examples(options, spec, chosen.compares)
    terms = {"adversarial": turns.critic_objective(chosen)}
    terms |= {} if penalty is None else {"penalty": penalty}
    critic_loss = turns.critic_loss(
        real, partial(fake, 1), terms, passes=passes, apply_critic=apply_critic
    )
    more = partial(fake, options.generator_batch_multiple)
    terms = {"adversarial": turns.generator_objective(chosen)}
    generator_loss = turns.generator_loss(real, more, terms, apply_critic=apply_critic)
    critic_optimizer = optimizer(options, options.critic_learning_rate)
    if project_critic is not None:
        critic_optimizer = optax.chain(critic_optimizer, project_critic)
    num_classes = classes(options, spec)
    label = None if num_classes is None else jnp.zeros((2,), jnp.int32)
    needs = () if num_classes is None else ("label",)
    return Game(
        players={
            "critic": Player(
                critic, (jnp.zeros((2, *spec.shape)), label, True), critic_optimizer, score=score
            ),
            "generator": Player(
                generator,
                (jnp.zeros((2, options.latent_dim), jnp.float32), label, True),
                optimizer(options, options.generator_learning_rate),
                average(options),
                score=score,
            ),
        },
        stages=turns.alternate(
            critic_loss, generator_loss, options.batch_size, options.critic_steps
        ),
        outputs={SAMPLES: Output(partial(samples, options), spec.shape, needs)},
        spec=spec,
    )


def examples(options: Options, spec: Spec, compares: bool):
    """(real, fake), where fake: (multiple of the batch, play, generator, real examples) -> generated examples."""
    num_classes = classes(options, spec)

    def real(play: Play) -> turns.Examples:
        pictures = play.batch["image"]
        if options.dequantise and spec.pictures:
            pictures = dequantise(pictures, play.rng("dequantise"))
        return turns.Examples(
            pictures, {} if num_classes is None else {"label": play.batch["label"]}
        )

    def fake(multiple: int, play: Play, network: Network, real: turns.Examples) -> turns.Examples:
        num, label = multiple * play.num, None
        if num_classes is not None:
            # A relativistic objective compares a real and a generated example of one class.
            label = (
                jnp.tile(real.given["label"], multiple)
                if compares
                else turns.labels(play, num, num_classes)
            )
        pictures = network(turns.latents(play, num, options.latent_dim), label, train=True)
        return turns.Examples(pictures, {} if label is None else {"label": label})

    return real, fake


def samples(options: Options, play: Play) -> jax.Array:
    """The generator's output in evaluation mode, for the given labels."""
    latent = turns.latents(play, play.num, options.latent_dim)
    return play.networks["generator"](latent, play.batch.get("label"), train=False)


def apply_critic(play: Play, critic: Network, pictures, given, purpose: str):
    """The critic's logits in training."""
    del play, purpose
    return critic(pictures, given.get("label"), train=True)


def score(network: Network, x: jax.Array, label: jax.Array | None) -> jax.Array:
    """See `Player.score`."""
    return network(x, label, train=False)


def average(options) -> Ema | None:
    """The average with the options `ema_half_life_kimg` and `ema_ramp_up`; None if the half-life is 0."""
    if not options.ema_half_life_kimg:
        return None
    return Ema(options.ema_half_life_kimg, getattr(options, "ema_ramp_up", 0.0) or None)
