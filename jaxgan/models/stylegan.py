"""StyleGAN: a generator whose layers are given styles by AdaIN, in progressive growing.

Paper: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks", configuration F
(mixing regularisation) for FFHQ; Karras et al. 2018 for growing and the critic.
Reference implementation: rosinality/style-based-gan-pytorch (PyTorch, MIT). This module was written from the paper.

Training starts at 8 x 8 pixels; every level above is faded in, then trained (`jaxgan.growth`). The networks of all
levels exist from the start. Samples and the pictures of tools have full size in every stage: those of the newest level
are enlarged.

Intended differences: whether two latents are mixed, and from which layer on, is drawn for each image and not once per
batch. The generator is averaged after the round, with a half-life in images (in the reference 0.999 per step). Biases
of the mapping network are multiplied by sqrt(2) like its kernels. The bias of a convolution that doubles the size is
added after the blur, with the noise (in the reference before it; they differ at the edges). alpha changes with every
batch. Generated pictures have the labels of the real batch. The reference also differs from the paper: convolutions
that double the size to 128 pixels and more return a quarter of the values, strengths of noise are scaled by
sqrt(2 / channels), and Adam is not reset.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgan import adversarial, growth, losses, styles, turns
from jaxgan.game import SAMPLES, Game, Play, Player, Stage
from jaxgan.growth import Phase, Phases
from jaxgan.nets import stylegan
from jaxgan.nets.growing import GrowingCritic, widths
from jaxgan.nets.labels import check_labels, one_hot
from jaxgan.nets.styles import Mapping
from jaxgan.network import Network
from jaxgan.options import check, option
from jaxgan.spec import Spec
from jaxgan.tools import Made, Tool

LOSSES = ("r1", "wgan_gp")


@dataclasses.dataclass(frozen=True)
class Options(growth.Options, styles.Options):
    channel_base: int = 16_384
    start_resolution: int = option(
        8,
        "resolution in pixels at which training starts; smaller levels are not trained alone",
        least=1,
    )
    batch_size: int | tuple[tuple[int, int], ...] = (  # type: ignore[assignment]  # a table here
        (4, 512),
        (8, 256),
        (16, 128),
        (32, 64),
        (64, 32),
    )
    learning_rate: float | tuple[tuple[int, float], ...] = (
        (4, 0.001),
        (128, 0.0015),
        (256, 0.002),
        (512, 0.003),
    )
    fade_kimg: float = 600.0
    stable_kimg: float = 600.0
    loss: str = option(
        "r1",
        "non-saturating loss with R1 (FFHQ), or WGAN-GP (CelebA-HQ)",
        choices=LOSSES,
    )
    penalty_weight: float = option(
        10.0, "weight of the gradient penalty of wgan_gp, lambda", least=0
    )
    drift_weight: float = option(
        1e-3, "weight of the critic's mean square on real pictures with wgan_gp, epsilon", least=0
    )
    mixing: float = option(
        0.9,
        "share of the images with style mixing: layers up to a random one use one latent, the layers after it another"
        " latent",
        least=0,
        most=1,
    )
    ema_ramp_up: float = 0.0


def game(options: Options, spec: Spec) -> Game:
    phases = phases_of(options, spec)
    model = StyleGAN(options, spec, adversarial.classes(options, spec), phases)
    both = model.players()
    return Game(
        players=both,
        stages=growth.stages(
            options, phases, both, lambda phase: dataclasses.replace(model, phase=phase).stage()
        ),
        outputs={SAMPLES: model.samples({"noise": styles.NOISE})},
        spec=spec,
        tools={name: model.of_newest(tool) for name, tool in model.tools().items()},
    )


def phases_of(options: Options, spec: Spec) -> Phases:
    """The phases in order; the last has no end."""
    check(options)
    base, number = growth.levels("stylegan", spec)
    small = [k for k in range(number) if base << k < options.start_resolution]
    return growth.phases(options, base, number, min(len(small), number - 1))


@dataclasses.dataclass(frozen=True)
class StyleGAN(styles.StyleModel):
    """The networks, losses and samples of the game.

    Attributes:
      phases: all of them.
      phase: the one of a stage; None for samples and tools, of which the clock chooses the level.
    """

    options: Options
    phases: Phases
    phase: Phase | None = None

    @property
    def levels(self) -> int:
        return self.phases[-1].level + 1

    @property
    def num_styles(self) -> int:
        return 2 * self.levels

    # Networks ---------------------------------------------------------------------------------------------

    def players(self) -> dict[str, Player]:
        options, spec = self.options, self.spec
        adam = turns.scheduled(
            optax.adam,
            learning_rate=growth.learning_rate(self.phases),
            b1=options.beta1,
            b2=options.beta2,
        )
        label = None if self.num_classes is None else jnp.zeros((1,), jnp.int32)
        latent = jnp.zeros((1, options.latent_dim), jnp.float32)
        # The critic is initialised at the last level, which creates the parameters of all levels.
        picture = jnp.zeros((1, *spec.shape), jnp.float32)
        return {
            "critic": Player(self.critic(), (picture, self.levels - 1), adam),
            "generator": Player(
                self.generator(),
                (latent, label),
                adam,
                adversarial.average(options),
                styles.mean_style(options),
            ),
        }

    def generator(self) -> stylegan.Generator:
        options = self.options
        mapping = Mapping(
            options.style_dim,
            options.mapping_layers,
            options.mapping_lr_multiplier,
            self.num_classes,
            joint=True,
        )
        synthesis = stylegan.Synthesis(
            self.base, picture_channels=self.spec.shape[2], **self._convolutions()
        )
        return stylegan.Generator(mapping, synthesis)

    def critic(self) -> GrowingCritic:
        return GrowingCritic(
            self.base,
            outputs=self.num_classes or 1,
            group_size=self.options.minibatch_std_group,
            blur=True,
            **self._convolutions(),
        )

    @property
    def base(self) -> int:
        """Side of level 0 in pixels."""
        return self.spec.shape[0] >> (self.levels - 1)

    def _convolutions(self) -> dict[str, Any]:
        options = self.options
        return {
            "features": widths(self.levels, options.channel_base, options.channel_max),
            "dtype": adversarial.compute_dtype(options),
            "remat": options.remat,
        }

    # Losses -----------------------------------------------------------------------------------------------

    def stage(self) -> Stage:
        """The stage of `phase`, in which the level is static."""
        assert self.phase is not None
        objective = losses.non_saturating if self.options.loss == "r1" else losses.wasserstein
        critic, generator = self.both_losses(objective, self.fake, self.progress, self.penalties())
        (stage,) = turns.alternate(critic, generator, self.phase.batch_size)
        return stage

    def penalties(self) -> dict[str, turns.Term]:
        """The terms of the critic's loss besides the adversarial one."""
        options = self.options
        if options.loss == "r1":
            return {"r1": turns.weighted(options.r1_gamma, turns.r1)} if options.r1_gamma else {}
        return {
            "penalty": turns.weighted(options.penalty_weight, turns.gradient_penalty()),
            "drift": turns.weighted(
                options.drift_weight, lambda scene: jnp.mean(jnp.square(scene.real_output.logits))
            ),
        }

    def alpha(self, play: Play) -> jax.Array | None:
        """The weight of the level that is faded in; None in a phase that trains it."""
        assert self.phase is not None
        return growth.alpha_of(self.options, self.phase, play.clock)

    def real(self, play: Play) -> turns.Examples:
        given = {} if self.num_classes is None else {"label": play.batch["label"]}
        return turns.Examples(growth.faded(play.batch["image"], self.alpha(play)), given)

    def mixed(self, play: Play, num: int) -> jax.Array | None:
        share = self.options.mixing
        if not share or self.phase is None:
            return None
        active = 2 * (self.phase.level + 1)
        return styles.mixed_layers(play.rng("mixing"), num, self.num_styles, share, active)

    def paint(
        self, play: Play, generator: Network, w: jax.Array, noise: str = "random"
    ) -> jax.Array:
        """Pictures of w [B, num_styles, D]: in a phase in the size of its level, otherwise in full size."""

        def of_level(level: int, w: jax.Array, alpha: jax.Array | None) -> jax.Array:
            rngs = {"noise": play.rng("noise")}
            return generator(w, noise, level, alpha, method="paint", rngs=rngs)

        if self.phase is not None:
            return of_level(self.phase.level, w, self.alpha(play))

        def in_full_size(level: int, w: jax.Array, alpha: jax.Array) -> jax.Array:
            return growth.enlarged(of_level(level, w, alpha), self.spec.shape[0])

        return growth.at_newest(self.options, self.phases, play.clock, in_full_size, w)

    def apply_critic(self, play: Play, critic: Network, pictures, given, purpose: str) -> jax.Array:
        assert self.phase is not None
        return logits_of(critic(pictures, self.phase.level, self.alpha(play)), given.get("label"))

    def progress(self, scene: turns.Scene) -> dict[str, jax.Array]:
        """The metric "level"."""
        assert self.phase is not None
        return {"level": growth.progress(self.phase, self.alpha(scene.play))}

    # Tools ------------------------------------------------------------------------------------------------

    def of_newest(self, tool: Tool) -> Tool:
        """The tool with pictures of the newest level, which the clock chooses when the tool runs."""

        def newest(play: Play) -> Play:
            phase = self.phases[int(play.clock.stage)]
            fading = growth.alpha_of(self.options, phase, play.clock)
            generator = play.networks["generator"]
            alpha = None if fading is None else float(fading)
            module = generator.module.clone(level=phase.level, alpha=alpha)
            of_level = Network(module, generator.variables, generator.signature)
            return dataclasses.replace(play, networks={**play.networks, "generator": of_level})

        def make(play: Play, **arguments: Any) -> Made:
            return tool.make(newest(play), **arguments)

        walk = tool.walk
        spaces = None if walk is None else lambda play: walk(newest(play))
        return dataclasses.replace(tool, make=make, walk=spaces)


def logits_of(outputs: jax.Array, label: jax.Array | None) -> jax.Array:
    """Logits [B] of a critic's outputs [B, 1], or [B, K] with one for each class."""
    if label is None:
        return outputs[:, 0]
    check_labels(label, outputs.shape[0])
    return jnp.sum(outputs * one_hot(label, outputs.shape[1]), axis=1)
