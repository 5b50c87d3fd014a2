"""The two-player game of most classic models: a critic against a generator.

A model file gives the two networks, an objective from `jaxgan.losses`, perhaps a penalty, and its paper's
hyper-parameters; `two_player` puts them together. In one round the critic moves `critic_steps` times, each time
on a fresh real batch, then the generator once.

When state changes:
  - Spectral `u` vectors advance once per critic turn, however often the critic is called in it, and never in the
    generator's turn.
  - Each network's running batch statistics advance in its own turn only. In the other's turn it also normalises by the
    statistics of the batch, but its running ones do not change.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import draws, losses, turns
from jaxgan.game import SAMPLES, DataSpec, Game, Output, Play, Player
from jaxgan.network import Network
from jaxgan.schedules import Ema


@dataclasses.dataclass(frozen=True)
class Options:
    """What every two-player model lets its user set; each model overrides the defaults with its paper's."""

    latent_dim: int = 128
    conditional: bool = False  # on labels, with the model's own way of conditioning
    batch_size: int = 64  # real images of one critic step
    critic_steps: int = 5  # per generator step
    generator_batch_multiple: int = 1  # the generator's batch, in critic batches
    optimizer: str = "adam"  # adam | rmsprop
    critic_learning_rate: float = 2e-4
    generator_learning_rate: float = 2e-4
    beta1: float = 0.0
    beta2: float = 0.9
    decay_steps: int = 0  # learning rates fall linearly to 0 over so many rounds; 0 keeps them
    ema_half_life_kimg: float = 0.0  # of the averaged generator; 0 keeps none
    ema_ramp_up: float = 0.05  # the half-life is at most this share of the images seen
    dequantise: bool = False  # add U(0, 1/128) to real pictures, which have 256 levels
    dtype: str = "float32"  # of the networks' arithmetic: float32 | bfloat16


def compute_dtype(options: Options) -> jnp.dtype:
    if options.dtype not in ("float32", "bfloat16"):
        raise ValueError(
            f"config.model.dtype is '{options.dtype}'; the networks compute in 'float32' or 'bfloat16'."
        )
    return jnp.dtype(options.dtype)


def check_counts(options, *names: str) -> None:
    """Raises for the first of these options that is below 1: widths, layers, batches, rounds."""
    for name in names:
        value = getattr(options, name)
        if value < 1:
            raise ValueError(f"--config.model.{name} is {value}, but it must be at least 1.")


def check_range(options, least: float, most: float, *names: str) -> None:
    """Raises for the first of these options that is no finite number from `least` to `most`, which may be infinite."""
    for name in names:
        value = getattr(options, name)
        if not (least <= value <= most and math.isfinite(value)):
            limits = f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
            raise ValueError(
                f"--config.model.{name} is {value:g}, but it must be a number {limits}."
            )


def classes(options: Options, spec: DataSpec) -> int | None:
    """Number of classes the networks condition on; None for an unconditional model."""
    if not options.conditional:
        return None
    if spec.num_classes is None:
        raise ValueError(
            "config.model.conditional is on, but the data has no labels; set --config.model.conditional=false, or"
            " bring labelled data (--config.data.labels=true reads folders as classes)."
        )
    return spec.num_classes


def optimizer(options: Options, learning_rate: float) -> optax.GradientTransformation:
    """Adam or RMSProp with the linear decay counted in rounds, the same for both players."""
    if options.optimizer == "adam":
        scale = optax.scale_by_adam(options.beta1, options.beta2)
    elif options.optimizer == "rmsprop":
        # PyTorch's and the WGAN paper's: decay 0.99, epsilon outside the root.
        scale = optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False)
    else:
        raise ValueError(
            f"config.model.optimizer is '{options.optimizer}'; it is 'adam' or 'rmsprop'."
        )
    schedule = (
        optax.linear_schedule(learning_rate, 0.0, options.decay_steps)
        if options.decay_steps
        else optax.constant_schedule(learning_rate)
    )
    return optax.chain(scale, turns.scale_by_clock(schedule))


def dequantise(pictures: jax.Array, key: jax.Array) -> jax.Array:
    """Pictures of 256 levels, [-1, 1], as a density on [-1, 1): u / 128 - 1 plus uniform noise in [0, 1/128).

    u are the levels 0 to 255, which `pictures` hold as u / 127.5 - 1.
    """
    levels = (pictures + 1.0) * 127.5
    return levels / 128.0 - 1.0 + draws.uniform(key, pictures.shape, maxval=1.0 / 128.0)


def two_player(
    options: Options,
    spec: DataSpec,
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
      spec: of the data.
      generator: (latent [B, latent_dim], label [B] or None, train) -> samples [B, *spec.shape].
      critic: (samples, label, train) -> logits [B].
      objective: name in `jaxgan.losses`.
      penalty: a term of the critic's loss.
      passes: see `turns.critic_loss`; 2 for a critic with batch normalisation (DCGAN).
      project_critic: a last transformation of the critic's updates (weight clipping).
    """
    objective = losses.by_name(objective)
    real, fake = examples(options, spec, objective.compares)
    terms = {"adversarial": turns.critic_objective(objective)}
    if penalty is not None:
        terms["penalty"] = penalty
    critic_loss = turns.critic_loss(real, partial(fake, 1), terms, passes=passes, judge=judge)
    generator_loss = turns.generator_loss(
        real,
        partial(fake, options.generator_batch_multiple),
        {"adversarial": turns.generator_objective(objective)},
        judge=judge,
    )
    critic_optimizer = optimizer(options, options.critic_learning_rate)
    if project_critic is not None:
        critic_optimizer = optax.chain(critic_optimizer, project_critic)
    num_classes = classes(options, spec)
    label = None if num_classes is None else jnp.zeros((2,), jnp.int32)
    needs = () if num_classes is None else ("label",)
    return Game(
        players={
            "critic": Player(
                critic, (jnp.zeros((2, *spec.shape)), label), critic_optimizer, score=score
            ),
            "generator": Player(
                generator,
                (jnp.zeros((2, options.latent_dim)), label),
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


def examples(options: Options, spec: DataSpec, compares: bool):
    """(the real examples, generated ones: (multiple of the batch, play, generator, real) -> examples)."""
    num_classes = classes(options, spec)

    def real(play: Play) -> turns.Examples:
        pictures = play.batch["image"]
        if options.dequantise and len(spec.shape) == 3:
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
    """The generator's output in evaluation mode, of the labels that are given."""
    latent = turns.latents(play, play.num, options.latent_dim)
    return play.networks["generator"](latent, play.batch.get("label"), train=False)


def judge(play: Play, critic: Network, pictures, given, purpose: str):
    """The critic's logits in training."""
    del play, purpose
    return critic(pictures, given.get("label"), train=True)


def score(network: Network, x: jax.Array, label: jax.Array | None) -> jax.Array:
    """See `Player.score`."""
    return network(x, label, train=False)


def average(options) -> Ema | None:
    """The average that `ema_half_life_kimg` and `ema_ramp_up` describe."""
    if not options.ema_half_life_kimg:
        return None
    return Ema(options.ema_half_life_kimg, getattr(options, "ema_ramp_up", 0.0) or None)
