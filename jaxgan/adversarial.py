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
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import draws, losses, turns
from jaxgan.game import SAMPLES, Game, LossFn, Output, Play, Player
from jaxgan.losses.objectives import Objective
from jaxgan.nets.heads import Judgement
from jaxgan.network import Network, PyTree
from jaxgan.options import MOST_COMPONENTS, OptionError, option
from jaxgan.schedules import Ema
from jaxgan.spec import Spec
from jaxgan.tools import Tool
from jaxgan.tools.latents import latent_tools

DTYPES = ("float32", "bfloat16")
OPTIMIZERS = {
    "adam": lambda options: optax.scale_by_adam(options.beta1, options.beta2, options.epsilon),
    # As in PyTorch and the WGAN paper: decay 0.99, epsilon outside the root.
    "rmsprop": lambda options: optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False),
}


def half_life_option(kimg: float) -> Any:
    """The field `ema_half_life_kimg` of options, see `average`, with this default."""
    return option(
        kimg,
        "half-life of the averaged generator in kimg (thousands of real images); 0 keeps none",
        least=0,
    )


def ramp_up_option(share: float) -> Any:
    """The field `ema_ramp_up` of options, see `average`, with this default."""
    return option(
        share, "the half-life is at most this share of the images seen; 0 for no limit", least=0
    )


def remat_option() -> Any:
    """The field `remat` of options of models with deep networks; see `jaxgan.nets.remat`."""
    return option(False, "recompute activations in the backward pass: more arithmetic, less memory")


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of all two-player models; each model overrides the defaults with those of its paper."""

    latent_dim: int = option(128, "components of the latent vector", least=1, most=MOST_COMPONENTS)
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
    epsilon: float = option(1e-8, "Adam's epsilon, added to the root", above=0)
    decay_steps: int = option(
        0, "rounds in which the learning rates decay linearly to 0; 0 keeps them constant", least=0
    )
    ema_half_life_kimg: float = half_life_option(0.0)
    ema_ramp_up: float = ramp_up_option(0.05)
    ema_start_kimg: float = option(
        0.0, "until so many kimg the averaged generator is a copy of the generator", least=0
    )
    dequantise: bool = option(
        False, "add uniform noise from [0, 1/128) to real pictures, which have 256 levels"
    )
    dtype: str = option("float32", "dtype of the networks' arithmetic", choices=DTYPES)


@dataclasses.dataclass(frozen=True)
class DecayingOptions:
    """Options of models trained by Adam whose learning rates stay and then decay."""

    beta1: float = option(0.5, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.999, "decay of Adam's mean of squared gradients", least=0, below=1)
    decay_after: int = option(0, "rounds at the full learning rates, before they decay", least=0)
    decay_steps: int = option(
        0,
        "rounds in which the learning rates then decay linearly to 0; 0 keeps them constant",
        least=0,
    )
    ema_half_life_kimg: float = half_life_option(0.0)
    ema_ramp_up: float = ramp_up_option(0.05)
    dtype: str = option("float32", "dtype of the networks' arithmetic", choices=DTYPES)

    def adam(self, learning_rate: float) -> optax.GradientTransformation:
        """The optimiser of a player with this learning rate."""
        decay = self.decay_after, self.decay_steps
        return turns.decaying_adam(learning_rate, self.beta1, self.beta2, *decay)


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


class Further(NamedTuple):
    """What a game has besides the networks and the objective.

    Attributes:
      terms: additional terms of the losses, or terms that replace the objective's.
      critic_state: further collections of the critic.
      keep: selects the samples that the generator learns from; None for all.
      augmented: (pictures, key) -> the pictures that the critic is given in training; None for the pictures themselves.
    """

    terms: turns.Terms = turns.NO_TERMS
    critic_state: Mapping[str, PyTree] = {}
    keep: turns.Keep | None = None
    augmented: Callable[[jax.Array, jax.Array], jax.Array] | None = None


NOTHING_FURTHER = Further()


def two_player(
    options: Options,
    spec: Spec,
    *,
    generator: nn.Module,
    critic: nn.Module,
    objective: str,
    further: Further = NOTHING_FURTHER,
    passes: int = 1,
    project_critic: optax.GradientTransformation | None = None,
    samples: Output | None = None,
    tools: Mapping[str, Tool] | None = None,
) -> Game:
    """A game of a critic and a generator.

    Args:
      options: see `Options`.
      spec: specification of the data.
      generator: (latent [B, latent_dim], label [B] or None, train) -> samples [B, *spec.shape].
      critic: (samples, label, train) -> logits [B], or a `heads.Judgement`.
      objective: name of an objective in `jaxgan.losses`.
      further: penalties, and other terms and state.
      passes: see `turns.critic_loss`; 2 for a critic with batch normalisation (DCGAN).
      project_critic: a final transformation of the critic's updates (weight clipping).
      samples: the output "samples"; None for one without options.
      tools: see `Game`; None for those of `latent_tools` if the samples are pictures.
    """
    num_classes = classes(options, spec)
    label = None if num_classes is None else jnp.zeros((2,), jnp.int32)
    critic_optimizer = optimizer(options, options.critic_learning_rate)
    if project_critic is not None:
        critic_optimizer = optax.chain(critic_optimizer, project_critic)
    players = {
        "critic": Player(
            critic,
            (jnp.zeros((2, *spec.shape)), label, True),
            critic_optimizer,
            collections=further.critic_state,
            score=score,
        ),
        "generator": Player(
            generator,
            (jnp.zeros((2, options.latent_dim), jnp.float32), label, True),
            optimizer(options, options.generator_learning_rate),
            average(options),
            score=score,
        ),
    }
    both = _losses(options, spec, losses.by_name(objective), further, passes)
    stages = turns.alternate(*both, options.batch_size, options.critic_steps)
    if tools is None:
        pictures = latent_tools(_paint, options.latent_dim, num_classes, spec.shape)
        tools = pictures if spec.pictures else {}
    return Game(players, stages, {SAMPLES: samples or plain_samples(options, spec)}, spec, tools)


def _paint(networks: Mapping[str, Network], z: jax.Array, label: jax.Array | None) -> jax.Array:
    """Pictures for the tools, see `latent_tools`."""
    return networks["generator"](z, label, train=False)


def _losses(
    options: Options, spec: Spec, objective: Objective, further: Further, passes: int
) -> tuple[LossFn, LossFn]:
    """(the critic's loss, the generator's loss)."""
    replaced = further.terms.replaces
    real, fake = examples(options, spec, objective.compares and not replaced)
    judge = partial(apply_critic, augmented=further.augmented)
    critic: dict[str, turns.Term] = {}
    generator: dict[str, turns.Term] = {}
    if not replaced:
        critic["adversarial"] = turns.critic_objective(objective)
        generator["adversarial"] = turns.generator_objective(objective, further.keep)
    return (
        turns.critic_loss(
            real,
            partial(fake, 1),
            {**critic, **further.terms.critic},
            passes=passes,
            apply_critic=judge,
        ),
        turns.generator_loss(
            real,
            partial(fake, options.generator_batch_multiple),
            {**generator, **further.terms.generator},
            apply_critic=judge,
        ),
    )


def plain_samples(options: Options, spec: Spec) -> Output:
    """The output "samples" without options."""
    needs = () if classes(options, spec) is None else ("label",)
    return Output(partial(make_samples, options), spec.shape, needs)


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
        latent = turns.latents(play, num, options.latent_dim)
        pictures = network(latent, label, train=True)
        return turns.Examples(
            pictures, {} if label is None else {"label": label}, {"latent": latent}
        )

    return real, fake


def make_samples(options: Options, play: Play) -> jax.Array:
    """The generator's output in evaluation mode, for the given labels."""
    latent = turns.latents(play, play.num, options.latent_dim)
    return play.networks["generator"](latent, play.batch.get("label"), train=False)


def apply_critic(
    play: Play, critic: Network, pictures, given, purpose: str, *, augmented=None
) -> jax.Array | turns.CriticOutput:
    """The critic's output in training; `augmented`: see `Further`."""
    if augmented is not None:
        pictures = augmented(pictures, play.rng(f"augmentation of {purpose}"))
    output = critic(pictures, given.get("label"), train=True)
    return turns.CriticOutput(*output) if isinstance(output, Judgement) else output


def score(network: Network, x: jax.Array, label: jax.Array | None) -> jax.Array:
    """See `Player.score`."""
    output = network(x, label, train=False)
    return output.logits if isinstance(output, Judgement) else output


def average(options) -> Ema | None:
    """The average with the options that start with "ema_"; None if the half-life is 0.

    A model may lack the ramp and the start.
    """
    if not options.ema_half_life_kimg:
        return None
    ramp_up, start = (getattr(options, f"ema_{name}", 0.0) for name in ("ramp_up", "start_kimg"))
    return Ema(options.ema_half_life_kimg, ramp_up or None, start or None)
