"""SN-GAN: residual networks or the paper's CNN, with spectral normalisation of all kernels of the critic.

Papers: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", Tables 3 to 6; Miyato and
Koyama 2018, "cGANs with Projection Discriminator", for `conditional`: class-conditional batch normalisation in the
generator, projection critic. Reference implementation: pfnet-research/sngan_projection (Chainer).

Intended differences: `u` is updated once per critic step and never in the generator's turn (the reference iterates in
every forward pass). The update goes to the kernel's leading singular vector: with the paper's single power iteration
(`spectral_steps=1`), sigma was 1 to 10 % too low after 100 steps on small pictures, against less than 0.1 %. `u` starts
converged. The critic's turn comes first in a round. Convolutions before batch normalisation have no bias.
"""

from __future__ import annotations

import dataclasses
from functools import partial

from jaxgan import adversarial, losses
from jaxgan.game import Game
from jaxgan.nets import backbones
from jaxgan.nets.spectral import spectral_norm
from jaxgan.options import check, option
from jaxgan.spec import Spec


@dataclasses.dataclass(frozen=True)
class Options(backbones.Options, adversarial.Options):
    objective: str = option("hinge", "loss of both networks", choices=losses.NAMES)
    generator_batch_multiple: int = 2
    dequantise: bool = True
    decay_steps: int = 50_000
    leak: float = 0.1
    output_bias: bool = option(
        False, "the critic's last layer has a bias; the paper's code has none, other programs do"
    )
    spectral_steps: int = option(
        0,
        "power iterations per critic step, 1 in the paper; 0 computes the leading singular vector accurately",
        least=0,
    )


def game(options: Options, spec: Spec) -> Game:
    check(options)
    generator, critic = backbones.networks(
        options,
        spec,
        model="sngan",
        pictures="resnet",
        num_classes=adversarial.classes(options, spec),
        kernel_norm=partial(spectral_norm, n_steps=options.spectral_steps or None),
        output_bias=options.output_bias,
        dtype=adversarial.compute_dtype(options),
    )
    return adversarial.two_player(
        options, spec, generator=generator, critic=critic, objective=options.objective
    )
