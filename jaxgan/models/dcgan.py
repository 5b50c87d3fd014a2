"""DCGAN: strided convolutions and batch normalisation in both networks.

Paper: Radford, Metz and Chintala 2016, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks". Reference implementations: Newmu/dcgan_code; at 32x32 w86763777/pytorch-gan-collections.

Real and fake pictures pass the critic separately, each normalised by its own batch statistics.

Intended differences: the backbone is the one on which DCGAN-32 numbers are published (the SN-GAN paper's Table 3: pairs
of 3x3 and stride-2 4x4 convolutions, no batch normalisation right after the generator's linear layer); normal
instead of uniform latents; batch normalisation after the critic's first convolution too.
"""

from __future__ import annotations

import dataclasses

from jaxgan import adversarial
from jaxgan.game import DataSpec, Game
from jaxgan.nets import backbones
from jaxgan.options import check


@dataclasses.dataclass(frozen=True)
class Options(backbones.Options, adversarial.Options):
    latent_dim: int = 100
    batch_size: int = 128
    critic_steps: int = 1
    beta1: float = 0.5
    beta2: float = 0.999
    leak: float = 0.2


def game(options: Options, spec: DataSpec, objective: str = "non_saturating") -> Game:
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
