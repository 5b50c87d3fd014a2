"""WGAN-GP: a Wasserstein critic with a gradient penalty, on residual networks.

Paper: Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", Algorithm 1 and Eq. 3.
Reference implementation: igul222/improved_wgan_training, gan_cifar_resnet.py.

The critic has no batch normalisation: the penalty is on the gradient at each sample, which with batch statistics would
depend on the other samples.

Intended differences: unconditional by default (the reference has an auxiliary classifier). Convolutions before
batch normalisation have no bias.
"""

from __future__ import annotations

import dataclasses

from jaxgan import adversarial, turns
from jaxgan.game import Game
from jaxgan.nets import backbones
from jaxgan.options import check, option
from jaxgan.spec import Spec


@dataclasses.dataclass(frozen=True)
class Options(backbones.Options, adversarial.Options):
    generator_batch_multiple: int = 2
    dequantise: bool = True
    decay_steps: int = 100_000
    penalty_weight: float = option(10.0, "weight of the gradient penalty, lambda", least=0)
    penalty_target: float = option(1.0, "target of the gradient norm", least=0)
    one_sided: bool = option(False, "penalise only norms above the target")
    leak: float = 0.2


# In the reference at 32x32, generator and critic have equal widths; the other widths are SN-GAN's.
GENERATOR_WIDTH = {32: 128}


def game(options: Options, spec: Spec) -> Game:
    check(options)
    if not options.generator_width:
        options = dataclasses.replace(
            options, generator_width=GENERATOR_WIDTH.get(spec.shape[0], 0)
        )
    generator, critic = backbones.networks(
        options,
        spec,
        model="wgan_gp",
        pictures="resnet",
        num_classes=adversarial.classes(options, spec),
        mean_pool=True,
        dtype=adversarial.compute_dtype(options),
    )

    penalty = turns.weighted(
        options.penalty_weight,
        turns.gradient_penalty(options.penalty_target, options.one_sided),
    )
    return adversarial.two_player(
        options,
        spec,
        generator=generator,
        critic=critic,
        objective="wasserstein",
        further=adversarial.Further(turns.Terms({"penalty": penalty})),
    )
