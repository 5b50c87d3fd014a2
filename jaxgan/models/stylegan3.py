"""StyleGAN3: a generator of band-limited signals, whose pictures translate (configuration T) or rotate too (R) with its
input, without detail that sticks to pixels.

Paper: Karras et al. 2021, "Alias-Free Generative Adversarial Networks". The critic, R1 as a lazy term and adaptive
augmentation are those of StyleGAN2 with ADA (Karras et al. 2020), see `jaxgan.models.stylegan2`.
Reference implementation: NVlabs/stylegan3 (PyTorch), whose licence excludes commercial use. This module was written
from the paper and the published settings, not from its code.

In each round the critic's turn also moves the averages of the layers' mean squares, by which they divide their inputs;
in the generator's turn and in samples they are constants. There is no noise, no style mixing and no regularisation of
path lengths. In configuration R, all pictures that the critic sees are blurred at the start of training, since it
would otherwise learn from detail that the generator does not yet make.

Intended differences: generated pictures have the labels of the real batch. Activations are not clamped, since bfloat16
has the range of float32. Adaptive augmentation is on by default; the paper trains without it on FFHQ. The frequencies
of the input are drawn uniformly in a disc by their radius and angle. The mean of w moves in the generator's turn.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from jaxgan import adaptive, adversarial, equivariance, resample, styles, turns
from jaxgan.game import SAMPLES, Game, Output, Play, Player, Stage
from jaxgan.nets import stylegan2, stylegan3
from jaxgan.nets.styles import Mapping
from jaxgan.network import Network
from jaxgan.options import MOST_LAYERS, OptionError, check, option
from jaxgan.schedules import Ramp, at
from jaxgan.spec import Spec
from jaxgan.tools.motion import motion_tools

CONFIGURATIONS = ("T", "R")
BLUR = {"T": 0.0, "R": 10.0}  # half-width at the start


@dataclasses.dataclass(frozen=True)
class Options(adaptive.Options, styles.Options):
    configuration: str = option(
        "T",
        "T for pictures that translate with the input; R for pictures that also rotate: 1x1 convolutions of twice as"
        " many channels, and rotationally symmetric filters",
        choices=CONFIGURATIONS,
    )
    layers: int = option(
        14,
        "layers of the synthesis, without the one that gives pictures",
        least=2,
        most=MOST_LAYERS,
    )
    critical_layers: int = option(
        2, "number of last layers with the full bandwidth of the picture", least=0
    )
    margin: int = option(
        10, "samples around the picture on each side, on the grid of each layer", least=0
    )
    mapping_layers: int = 2
    critic_mapping_layers: int = option(
        8,
        "layers of the label's mapping in a conditional critic; with 0, it is the normalised embedding",
        least=0,
        most=MOST_LAYERS,
    )
    generator_learning_rate: float = option(0.0025, "learning rate of the generator", least=0)
    critic_learning_rate: float = option(0.002, "learning rate of the critic", least=0)
    r1_gamma: float = 2.0
    r1_every: int = option(16, "interval of R1 in rounds", least=1)
    blur: float | None = option(
        None,
        "half-width in pixels of the blur of the critic's pictures at the start of training; none for the paper's, 10"
        " in configuration R and 0, no blur, in T",
        least=0,
    )
    blur_kimg: float = option(
        200.0, "kimg (thousands of real images) in which the blur decreases linearly to 0", least=0
    )
    magnitude_half_life_kimg: float = option(
        20.0, "half-life of the averages of the layers' mean squares in kimg", above=0
    )
    average_style_decay: float = 0.998


def game(options: Options, spec: Spec) -> Game:
    _check(options, spec)
    model = StyleGAN3(options, spec, adversarial.classes(options, spec))
    label = None if model.num_classes is None else jnp.zeros((1,), jnp.int32)
    betas = options.beta1, options.beta2
    r1_every = options.r1_every if options.r1_gamma else 0
    return Game(
        players={
            "critic": Player(
                model.critic(),
                (jnp.zeros((1, *spec.shape), jnp.float32), label),
                turns.lazy_adam(options.critic_learning_rate, *betas, r1_every),
                collections=adaptive.state(options),
                score=styles.score,
            ),
            "generator": Player(
                model.generator(),
                (jnp.zeros((1, options.latent_dim), jnp.float32), label),
                turns.lazy_adam(options.generator_learning_rate, *betas),
                adversarial.average(options),
                styles.mean_style(options),
                styles.score,
            ),
        },
        stages=(model.stage(),),
        outputs={SAMPLES: model.samples(), **model.errors()},
        spec=spec,
        tools={**model.tools(), **motion_tools(model.style_space())},
    )


@dataclasses.dataclass(frozen=True)
class StyleGAN3(styles.StyleModel):
    """The networks and losses of the game."""

    options: Options

    # Networks ---------------------------------------------------------------------------------------------

    @property
    def num_styles(self) -> int:
        return self.options.layers + 2

    def generator(self) -> stylegan3.Generator:
        options, rotating = self.options, self.options.configuration == "R"
        mapping = Mapping(
            options.style_dim,
            options.mapping_layers,
            options.mapping_lr_multiplier,
            self.num_classes,
        )
        wide = 2 if rotating else 1
        signals = stylegan3.schedule(
            self.spec.shape[0],
            options.layers,
            options.critical_layers,
            options.margin,
            wide * options.channel_base,
            wide * options.channel_max,
            self.spec.shape[2],
        )
        synthesis = stylegan3.Synthesis(
            signals,
            options.critical_layers,
            1 if rotating else 3,
            rotating,
            adversarial.compute_dtype(options),
            options.remat,
        )
        return stylegan3.Generator(mapping, synthesis)

    def critic(self) -> stylegan2.Critic:
        options = self.options
        return stylegan2.Critic(
            options.channel_base,
            options.channel_max,
            group_size=options.minibatch_std_group,
            num_classes=self.num_classes,
            mapping_layers=options.critic_mapping_layers,
            dtype=adversarial.compute_dtype(options),
            remat=options.remat,
        )

    # Losses -----------------------------------------------------------------------------------------------

    def stage(self) -> Stage:
        played = self.lazy_round(self.measured_fake, self.after_critic, self.options.r1_every)
        return Stage(tuple(played), self.options.batch_size)

    def measured_fake(self, play: Play, generator: Network, real: turns.Examples) -> turns.Examples:
        """As `fake`, with layers whose averages have been updated by this batch: notes["magnitude"]."""
        w, _ = self.styles(play, generator, play.num, real.given.get("label"))
        half_life = 1000 * self.options.magnitude_half_life_kimg
        decay = 0.5 ** (play.batch_size / half_life)
        pictures, magnitude = generator(w, decay, method="measured")
        return turns.Examples(pictures, real.given, {"magnitude": magnitude})

    def after_critic(self, scene: turns.Scene) -> dict[str, jax.Array]:
        """Stores the updated averages of the generator's layers, and moves the controller of the augmentation."""
        generator = scene.play.moving("generator")
        generator.set(magnitude=scene.fake.notes["magnitude"])
        return adaptive.adapt(self.options, scene)

    def apply_critic(self, play: Play, critic: Network, pictures, given, purpose: str) -> jax.Array:
        """Logits of blurred and augmented pictures: real and generated ones are changed in every turn."""
        options, start = self.options, blur(self.options)
        if start:
            width = at(Ramp(start, 0.0, options.blur_kimg), play.clock)
            pictures = resample.gaussian_blur(pictures, width, int(3 * start))
        pictures = adaptive.augmented(options, play, critic, pictures, purpose, options.remat)
        return critic(pictures, given.get("label"))

    # Equivariance -----------------------------------------------------------------------------------------

    def errors(self) -> dict[str, Output]:
        """The outputs that the protocols of equivariance measure, see `jaxgan.equivariance`."""
        needs = () if self.num_classes is None else ("label",)
        return {
            name: Output(partial(self.error, name), equivariance.SHAPE, needs)
            for name in equivariance.KINDS
        }

    def error(self, kind: str, play: Play) -> jax.Array:
        generator = play.networks["generator"]
        label = None if self.num_classes is None else play.batch["label"]
        w, _ = self.styles(play, generator, play.num, label)
        paint = partial(generator, w, method="paint")
        return equivariance.errors(paint, play.rng("motion"), play.num, kind)


def blur(options: Options) -> float:
    """The half-width of the blur at the start.

    >>> blur(Options()), blur(Options(configuration="R")), blur(Options(blur=2.0))
    (0.0, 10.0, 2.0)
    """
    return BLUR[options.configuration] if options.blur is None else options.blur


def _check(options: Options, spec: Spec) -> None:
    """Raises for options and data that cannot be trained."""
    check(options)
    styles.require_pictures("stylegan3", spec)
    adaptive.check(options, spec)
    if options.critical_layers >= options.layers:
        raise OptionError(
            "critical_layers",
            options.critical_layers,
            f"the bandwidth must grow in at least one of the {options.layers} layers",
            {"critical_layers": options.layers - 1},
        )
