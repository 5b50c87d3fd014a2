"""The class-conditional games of a critic and a generator: any conditioning, any regulariser, samples with options.

SAGAN and BigGAN give their networks; `game` adds the terms of the conditioning (`turns.conditioning`) and of the
regularisers (`jaxgan.regularisers`), truncation and standing statistics of samples (`jaxgan.sampling`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import flax.linen as nn

from jaxgan import adversarial, losses, regularisers, sampling, turns
from jaxgan.game import Game
from jaxgan.nets.heads import CONDITIONINGS, Labels
from jaxgan.options import OptionError, option
from jaxgan.spec import Spec
from jaxgan.tools import Tool


@dataclasses.dataclass(frozen=True)
class Options(regularisers.Options, adversarial.Options):
    objective: str = option("hinge", "loss of both networks", choices=losses.NAMES)
    conditional: bool = True
    conditioning: str = option(
        "projection", "how the critic is conditioned on labels", choices=CONDITIONINGS
    )
    conditioning_weight: float | None = option(
        None, "weight of the losses of the conditioning; none for the usual one", least=0
    )
    conditioning_temperature: float = option(
        0.0, "temperature of contrastive and d2d_ce; 0 for the usual one", least=0
    )
    label_embedding_dim: int = option(
        512, "components of the embeddings that contrastive and d2d_ce compare", least=1
    )


def labels(options: Options, spec: Spec) -> Labels | None:
    """How the critic depends on labels; None for an unconditional one."""
    number = adversarial.classes(options, spec)
    if number is None:
        return None
    if options.conditioning == "multi_hinge" and options.top_k_decay < 1:
        raise OptionError(
            "top_k_decay",
            options.top_k_decay,
            "multi_hinge has no adversarial loss of which samples could be left out",
            {"top_k_decay": 1.0},
        )
    return Labels(number, options.conditioning, options.label_embedding_dim)


def game(
    options: Options,
    spec: Spec,
    *,
    generator: nn.Module,
    critic: nn.Module,
    generator_terms: Mapping[str, turns.Term] | None = None,
    tools: Mapping[str, Tool] | None = None,
) -> Game:
    """The game of two networks; see `adversarial.two_player` for what they are called with.

    Args:
      options: see `Options`.
      spec: specification of the data.
      generator, critic: the networks; the critic has the heads of `labels(options, spec)`.
      generator_terms: further terms of the generator's loss.
      tools: see `Game`.
    """
    regularisers.check(options, spec)
    number = adversarial.classes(options, spec)
    by_label = turns.NO_TERMS
    if number is not None:
        by_label = turns.conditioning(
            options.conditioning, options.conditioning_weight, options.conditioning_temperature
        )
    more = regularisers.terms(options)
    further = adversarial.Further(
        turns.Terms(
            {**by_label.critic, **more.critic},
            {**by_label.generator, **more.generator, **(generator_terms or {})},
            by_label.replaces,
        ),
        regularisers.critic_state(options),
        regularisers.kept(options, spec.size),
        partial(regularisers.augmented, options) if options.diff_augment else None,
    )
    return adversarial.two_player(
        options,
        spec,
        generator=generator,
        critic=critic,
        objective=options.objective,
        further=further,
        samples=sampling.output(spec, options.latent_dim, number, options.batch_size),
        tools=tools,
    )
