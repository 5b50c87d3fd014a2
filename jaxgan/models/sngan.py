"""SN-GAN: spectral normalisation of every critic kernel, on residual networks or the paper's CNN.

Papers: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", Tables 3 to 6; Miyato and
Koyama 2018, "cGANs with Projection Discriminator", for `conditional`: class-conditional batch normalisation in the
generator, projection critic. Reference implementation: pfnet-research/sngan_projection (Chainer).

Intended differences: `u` advances once per critic step, never in the generator's (the reference iterates in every
forward pass, the generator's included), by eight products with the kernel and the best vector they span. The
paper's single power iteration (`spectral_steps=1, krylov=False`) trails a moving kernel: sigma was low by 1 to 10 %
after 100 steps on small pictures, against less than 0.1 % so. `u` starts converged; the critic moves first in a round;
convolutions in front of batch normalisation have no bias.
"""

from __future__ import annotations

import dataclasses
from functools import partial

from jaxgan import adversarial
from jaxgan.game import DataSpec, Game
from jaxgan.nets import backbones
from jaxgan.nets.spectral import spectral_norm


@dataclasses.dataclass(frozen=True)
class Options(backbones.Options, adversarial.Options):
    objective: str = "hinge"  # any of jaxgan.losses
    generator_batch_multiple: int = 2
    dequantise: bool = True
    decay_steps: int = 50_000
    leak: float = 0.1  # of the CNN's and the perceptron's critic
    # Products with each kernel in a critic step, and whether u is the best vector that they span or the last of them;
    # 1 and False are the paper's power iteration.
    spectral_steps: int = 8
    krylov: bool = True


def game(options: Options, spec: DataSpec) -> Game:
    generator, critic = backbones.networks(
        options,
        spec,
        model="sngan",
        pictures="resnet",
        num_classes=adversarial.classes(options, spec),
        kernel_norm=partial(spectral_norm, n_steps=options.spectral_steps, krylov=options.krylov),
        output_bias=False,
        dtype=adversarial.compute_dtype(options),
    )
    return adversarial.two_player(
        options, spec, generator=generator, critic=critic, objective=options.objective
    )
