"""SAGAN: residual networks with attention, and spectral normalisation of both players.

Paper: Zhang et al. 2019, "Self-Attention Generative Adversarial Networks", Sections 3 and 4. Reference implementation:
brain-research/self-attention-gan (TensorFlow). The networks are those of SN-GAN with an attention block each, and
blocks of the critic that have the channels of their output inside too. Where the paper and its code differ, this file
follows the code (`jaxgan.nets.attention`), but for Adam's beta2, 0.9 in the paper.

The learning rate of the critic is four times that of the generator, with one critic step in a round (Section 4,
"two-timescale update rule").

Intended differences: attention at the code's 32x32 feature maps is an option (`generator_attention`,
`critic_attention`); for pictures of 32 pixels, which the paper has not, it is at 16x16 in both players, as in
POSTECH-CVLab/PyTorch-StudioGAN. `u` moves once in its player's own turn, to the leading singular vector (see `sngan`).
Convolutions before batch normalisation have no bias.
"""

from __future__ import annotations

import dataclasses
from functools import partial

from jaxgan import adversarial, conditional
from jaxgan.game import Game
from jaxgan.nets import backbones
from jaxgan.nets.spectral import spectral_norm
from jaxgan.options import check, option
from jaxgan.spec import Spec


@dataclasses.dataclass(frozen=True)
class Options(backbones.Options, conditional.Options):
    architecture: str = option("resnet", "architecture of both networks", choices=("resnet",))
    batch_size: int = 256
    critic_steps: int = 1
    critic_learning_rate: float = 4e-4
    generator_learning_rate: float = 1e-4
    generator_attention: int = option(
        0,
        "side of the feature maps in the generator that are followed by attention; 0 for the default of the pictures'"
        " size",
        least=0,
    )
    critic_attention: int = option(
        0,
        "side of the feature maps in the critic that are followed by attention; 0 for the default of the pictures'"
        " size",
        least=0,
    )
    spectral_steps: int = option(
        0,
        "power iterations per step, 1 in the paper; 0 computes the leading singular vector accurately",
        least=0,
    )


# {side of the pictures: sides of the feature maps with attention in (generator, critic)}.
ATTENTION = {8: (8, 4), 16: (8, 8), 32: (16, 16), 48: (24, 24), 64: (32, 32), 128: (32, 32)}


def game(options: Options, spec: Spec) -> Game:
    check(options)
    norm = partial(spectral_norm, n_steps=options.spectral_steps or None)
    generator, critic = backbones.networks(
        options,
        spec,
        model="sagan",
        pictures="resnet",
        num_classes=adversarial.classes(options, spec),
        labels=conditional.labels(options, spec),
        kernel_norm=norm,
        generator_kernel_norm=norm,
        attention=attention(options, spec.shape[0]),
        wide_critic=True,
        dtype=adversarial.compute_dtype(options),
    )
    return conditional.game(options, spec, generator=generator, critic=critic)


def attention(options: Options, side: int) -> tuple[int, int]:
    """The sides of the feature maps with attention in the generator and in the critic, for pictures of a side.

    Raises:
      OptionError: a player has no feature maps of the side that is given.
    """
    if side not in ATTENTION:
        return 0, 0  # refused with the networks
    sides = backbones.resnet_sides(side)
    generator, critic = ATTENTION[side]
    return (
        backbones.attention_side(
            "generator_attention", options.generator_attention, generator, sides["generator"]
        ),
        backbones.attention_side(
            "critic_attention", options.critic_attention, critic, sides["critic"]
        ),
    )
