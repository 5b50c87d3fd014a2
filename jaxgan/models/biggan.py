"""BigGAN and BigGAN-deep: large class-conditional networks with a shared embedding of the labels.

Paper: Brock et al. 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis", Sections 3 and 4,
Appendices A to C. Reference implementation: ajbrock/BigGAN-PyTorch (its author's); google/compare_gan for the networks
at 256 pixels, PyTorch-StudioGAN for those at 32, which the paper has not.

The latent is an input of every block (`jaxgan.nets.biggan`), kernels of both players are spectrally normalised, and
orthogonal regularisation makes the generator's filters orthogonal, so that it maps truncated latents well. Samples are
made with running or standing batch statistics, see `jaxgan.sampling`. In large runs both players collapse in the end;
keep the best checkpoint (`train.evaluate_every`).

Intended differences: the orthogonal regularisation has the strength that is written in the paper; the reference, which
adds its gradient, has half of it. `u` moves once in its player's own turn, to the leading singular vector (see
`sngan`). Convolutions before batch normalisation have no bias. With gradient accumulation, running statistics and `u`
move once per update, and not once per micro-batch. Batch statistics are those of the batch on all devices, or of
groups (`statistics_group`), as on devices that do not exchange them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import flax.linen as nn
import jax

from jaxgan import adversarial, conditional, turns
from jaxgan.game import Game
from jaxgan.nets import biggan, resnet
from jaxgan.nets.backbones import attention_side, biases_option, rectified_option
from jaxgan.nets.spectral import spectral_norm
from jaxgan.network import Network
from jaxgan.options import MOST_COMPONENTS, OptionError, check, option
from jaxgan.spec import Spec
from jaxgan.tools import Tool, classes, latents


@dataclasses.dataclass(frozen=True)
class Options(conditional.Options):
    variant: str = option("biggan", "architecture of both networks", choices=biggan.VARIANTS)
    width: int = option(
        0,
        "channels are multiples of it; 0 for the paper's number, 96 in BigGAN and 128 in BigGAN-deep",
        least=0,
    )
    critic_width: int = option(0, "the same for the critic; 0 for `width`", least=0)
    latent_dim: int = option(
        0,
        "components of the latent vector; 0 for the paper's number for the pictures' size",
        least=0,
        most=MOST_COMPONENTS,
    )
    class_embedding_dim: int = option(
        128, "components of the label's embedding, which the generator's blocks share", least=1
    )
    batch_size: int = 2048
    critic_steps: int = 2
    critic_learning_rate: float = 2e-4
    generator_learning_rate: float = 5e-5
    beta2: float = 0.999
    ema_half_life_kimg: float = 28_390.0
    ema_ramp_up: float = 0.0
    orthogonal_weight: float = option(
        1e-4, "weight of the orthogonal regularisation of the generator; 0 for none", least=0
    )
    orthogonal_diagonal: bool = option(
        False, "the regularisation also makes the norms of filters 1, as in the older form"
    )
    generator_attention: int = option(
        0,
        "side of the feature maps in the generator that are followed by attention; 0 for the default of the pictures'"
        " size, -1 for none",
        least=-1,
    )
    critic_attention: int = option(
        0,
        "side of the feature maps in the critic that are followed by attention; 0 for the default of the pictures'"
        " size, -1 for none",
        least=-1,
    )
    statistics_group: int = option(
        0,
        "images with batch statistics of their own in the generator: the largest divisor of a batch up to this number;"
        " 0 for the statistics of the whole batch",
        least=0,
    )
    spectral_steps: int = option(
        0,
        "power iterations per step, 1 in the paper; 0 computes the leading singular vector accurately",
        least=0,
    )
    generator_spectral: bool = option(
        True, "divide the generator's kernels by their spectral norms, as those of the critic"
    )
    convolution_biases: bool = biases_option()
    rectified_shortcuts: bool = rectified_option()
    norm_epsilon: float = option(
        0.0,
        "epsilon of the generator's batch normalisation; 0 for the usual one, 1e-4 in BigGAN-deep and 1e-5 in BigGAN",
        least=0,
    )
    remat: bool = adversarial.remat_option()


DEEP_WIDTH, DEEP_LATENT = 128, 128


def game(options: Options, spec: Spec) -> Game:
    check(options)
    shape = _shape(spec)
    options = _filled(options, shape)
    number = adversarial.classes(options, spec)
    generator, critic = networks(options, spec, shape)
    terms = {}
    if options.orthogonal_weight:
        # Not of the shared embedding.
        regulariser = turns.orthogonal(
            "generator", options.orthogonal_diagonal, without=("shared",)
        )
        terms["orthogonal"] = turns.weighted(options.orthogonal_weight, regulariser)
    return conditional.game(
        options,
        spec,
        generator=generator,
        critic=critic,
        generator_terms=terms,
        tools=_tools(options, spec, number),
    )


def networks(options: Options, spec: Spec, shape: biggan.Shape) -> tuple[nn.Module, nn.Module]:
    """(generator, critic)."""
    norm = partial(spectral_norm, n_steps=options.spectral_steps or None)
    dtype = adversarial.compute_dtype(options)
    sides = _attention(options, spec, shape)
    generator = biggan.Generator(
        options.variant,
        tuple(options.width * m for m in shape.generator),
        spec.shape[-1],
        adversarial.classes(options, spec),
        options.class_embedding_dim,
        norm if options.generator_spectral else resnet.plain,
        sides[0],
        options.statistics_group,
        dtype,
        options.remat,
        options.convolution_biases,
        options.norm_epsilon,
    )
    features = tuple((options.critic_width or options.width) * m for m in shape.critic)
    labels = conditional.labels(options, spec)
    if options.variant == "deep":
        if options.rectified_shortcuts:
            raise OptionError(
                "rectified_shortcuts",
                True,
                "the critic of BigGAN-deep has no such variant",
                {"rectified_shortcuts": False},
            )
        return generator, biggan.DeepCritic(
            features, shape.downs, labels, norm, sides[1], dtype, options.remat
        )
    critic = resnet.ResNetCritic(
        features,
        shape.downs,
        labels,
        wide=True,
        kernel_norm=norm,
        attention=sides[1],
        inits=biggan.INITS,
        dtype=dtype,
        remat=options.remat,
        rectified=options.rectified_shortcuts,
    )
    return generator, critic


def _shape(spec: Spec) -> biggan.Shape:
    """The networks for these pictures; raises unless they are squares of a known size."""
    if not spec.pictures:
        raise OptionError(
            None, None, "biggan makes pictures, but the data are points", {"data.name": "digits"}
        )
    height, width = spec.shape[:2]
    if height != width or height not in biggan.SHAPES:
        nearest = min(biggan.SHAPES, key=lambda side: abs(side - min(height, width)))
        raise OptionError(
            None,
            None,
            f"biggan makes square pictures of {', '.join(map(str, biggan.SHAPES))} pixels, not {height}x{width}",
            {"data.resolution": nearest},
        )
    return biggan.SHAPES[height]


def _filled(options: Options, shape: biggan.Shape) -> Options:
    """The options with the paper's numbers in place of zeros."""
    deep = options.variant == "deep"
    latent = options.latent_dim or (DEEP_LATENT if deep else shape.latent_dim)
    parts = len(shape.generator)
    if not deep and latent % parts:
        raise OptionError(
            "latent_dim",
            latent,
            f"the latent is divided into {parts} equal parts, one for the first layer and one for each block",
            {"latent_dim": -(-latent // parts) * parts},
        )
    width = options.width or (DEEP_WIDTH if deep else shape.width)
    return dataclasses.replace(options, latent_dim=latent, width=width)


def _attention(options: Options, spec: Spec, shape: biggan.Shape) -> tuple[int, int]:
    """The sides of the feature maps that attention follows in (generator, critic); 0 for none."""
    side, found = spec.shape[0], []
    sides = {
        "generator": [biggan.BOTTOM << i for i in range(1, len(shape.generator))],
        "critic": [side >> i for i in range(1, shape.downs + 1)],
    }
    for (player, there), usual in zip(sides.items(), shape.attention, strict=True):
        name = f"{player}_attention"
        chosen = getattr(options, name)
        found.append(0 if chosen < 0 else attention_side(name, chosen, usual, there))
    return found[0], found[1]


def _tools(options: Options, spec: Spec, number: int | None) -> dict[str, Tool]:
    """Interpolation and projection; class sheets and walks between classes of a conditional generator."""
    tools = latents.latent_tools(_paint, options.latent_dim, number, spec.shape)
    if number is not None:
        tools |= classes.tools(options.latent_dim, number, spec["label"].names)
    return tools


def _paint(networks: Mapping[str, Network], z: jax.Array, label: jax.Array | None) -> jax.Array:
    return networks["generator"](z, label, train=False)
