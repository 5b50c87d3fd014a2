"""The original GAN, on multi-layer perceptrons.

Paper: Goodfellow et al. 2014, "Generative Adversarial Networks", Algorithm 1.
Reference implementation: the authors' `adversarial` (Pylearn2).

The default is the loss of the paper's experiments (non-saturating, end of its Section 3). `objective="minimax"` is the
value function of its Eq. 1, with which the generator's gradient vanishes when the critic separates the samples well.

Intended differences: leaky ReLU instead of maxout with dropout in the critic; normal instead of uniform latents;
pictures in [-1, 1] through tanh instead of [0, 1] through a sigmoid; Adam instead of SGD with momentum.
"""

from __future__ import annotations

import dataclasses

from jaxgan import adversarial
from jaxgan.game import Game
from jaxgan.nets import backbones
from jaxgan.options import check, option
from jaxgan.spec import Spec


@dataclasses.dataclass(frozen=True)
class Options(backbones.Options, adversarial.Options):
    objective: str = option(
        "non_saturating",
        "loss of both networks; minimax is the value function of the paper's Eq. 1",
        choices=("minimax", "non_saturating"),
    )
    latent_dim: int = 100
    batch_size: int = 100
    critic_steps: int = 1
    beta1: float = 0.5
    beta2: float = 0.999
    architecture: str = "mlp"
    generator_width: int = 1200
    critic_width: int = 1200
    depth: int = 2
    leak: float = 0.2


def game(options: Options, spec: Spec) -> Game:
    check(options)
    generator, critic = backbones.networks(
        options,
        spec,
        model="gan",
        pictures="mlp",
        num_classes=adversarial.classes(options, spec),
        dtype=adversarial.compute_dtype(options),
    )
    return adversarial.two_player(
        options, spec, generator=generator, critic=critic, objective=options.objective
    )
