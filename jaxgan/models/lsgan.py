"""LSGAN: DCGAN's networks with the least-squares loss.

Paper: Mao et al. 2017, "Least Squares Generative Adversarial Networks", Eq. 2 with targets 0, 1, 1 and the factor 1/2.
Reference implementations: xudonmao/LSGAN; at 32x32 POSTECH-CVLab/PyTorch-StudioGAN.

At 32x32 the published runs diverge late in training (the best checkpoint is long before the last). `lsgan_cifar10`
therefore decays the learning rates to zero.

Intended differences: the networks, as in `jaxgan.models.dcgan`; two critic steps per round, as in the published
32x32 runs.
"""

from __future__ import annotations

import dataclasses

from jaxgan.game import Game
from jaxgan.models import dcgan
from jaxgan.spec import Spec


@dataclasses.dataclass(frozen=True)
class Options(dcgan.Options):
    latent_dim: int = 128
    batch_size: int = 64
    critic_steps: int = 2


def game(options: Options, spec: Spec) -> Game:
    return dcgan.game(options, spec, objective="least_squares")
