"""DCGAN: strided convolutions and batch normalisation in both networks.

Paper: Radford, Metz and Chintala 2016, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks". Reference implementations: Newmu/dcgan_code; at 32x32 w86763777/pytorch-gan-collections.

The critic is applied to real and generated pictures separately, each normalised by their own batch statistics.

Intended differences: the networks are those of the published DCGAN scores at 32x32 (the SN-GAN paper's Table 3: pairs
of 3x3 and stride-2 4x4 convolutions, no batch normalisation directly after the generator's linear layer); normal
instead of uniform latents; batch normalisation also after the critic's first convolution.
"""

from __future__ import annotations

import dataclasses

from jaxgan import adversarial
from jaxgan.game import Game
from jaxgan.nets import backbones
from jaxgan.options import check
from jaxgan.spec import Spec


@dataclasses.dataclass(frozen=True)
class Options(backbones.Options, adversarial.Options):
    latent_dim: int = 100
    batch_size: int = 128
    critic_steps: int = 1
    beta1: float = 0.5
    beta2: float = 0.999
    leak: float = 0.2


def game(options: Options, spec: Spec, objective: str = "non_saturating") -> Game:
    check(options)
    generator, critic = backbones.networks(
        options,
        spec,
        model="dcgan",
        pictures="conv",
        num_classes=adversarial.classes(options, spec),
        batch_norm_critic=True,
        dtype=adversarial.compute_dtype(options),
    )
    return adversarial.two_player(
        options,
        spec,
        generator=generator,
        critic=critic,
        objective=objective,
        passes=2,
    )
