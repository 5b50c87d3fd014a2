"""StyleGAN2 with adaptive discriminator augmentation (ADA).

Papers: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (demodulation, skips and residuals,
path length, lazy regularisation); Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data"
(ADA, class conditioning, the CIFAR-10 settings); Karras et al. 2019, "A Style-Based Generator Architecture for
Generative Adversarial Networks" (mapping, noise, style mixing, truncation).
Reference implementation of networks and losses: rosinality/stylegan2-pytorch (PyTorch, MIT). This module was written
from the papers.

Intended differences: whether two latents are mixed, and from which layer on, is drawn for each image and not once per
batch. No gradient flows through the mean path length, as in the paper (in the reference it depends on the lengths of
the batch). Generated pictures have the labels of the real batch. The minibatch standard deviation forms its groups in
the global batch. ADA resamples geometry as described in `jaxgan.augment.ada`. Nothing is clamped in low precision:
bfloat16 has the range of float32.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgan import adaptive, adversarial, penalties, styles, turns
from jaxgan.game import SAMPLES, Game, Loss, Play, Player, Stage, Turn
from jaxgan.nets import stylegan2
from jaxgan.nets.styles import Mapping
from jaxgan.network import Network
from jaxgan.options import MOST_LAYERS, OptionError, check, option
from jaxgan.spec import Spec
from jaxgan.styles import mixed_layers


@dataclasses.dataclass(frozen=True)
class Options(adaptive.Options, styles.Options):
    critic_mapping_layers: int = option(
        8,
        "layers of the label's mapping in a conditional critic: 8 as in ADA's PyTorch code; with 0, as in its first"
        " release, it is the normalised embedding",
        least=0,
        most=MOST_LAYERS,
    )
    critic: str = option(
        "residual", "architecture of the critic's blocks", choices=stylegan2.CRITICS
    )
    learning_rate: float = option(0.002, "learning rate of both networks", least=0)
    r1_every: int = option(16, "interval of R1 in rounds", least=1)
    # 2 equals the paper's log 2 / (r^2 (log r - log 2)) = 2 / (r^2 num_styles): the paper sums over the layers and does
    # not scale the noise.
    path_weight: float = option(
        2.0,
        "weight of the squared deviation of path lengths, averaged over the layers, for noise scaled by 1 / resolution;"
        " 0 for none",
        least=0,
    )
    path_every: int = option(4, "interval of the path length regularisation in rounds", least=1)
    path_batch_shrink: int = option(
        2, "divisor of batch_size that gives the batch of the path length regularisation", least=1
    )
    path_mean_decay: float = option(
        0.99, "decay of the mean path length, per evaluation", least=0, most=1
    )
    mixing: float = option(
        0.9,
        "share of the images with style mixing: layers up to a random one use one latent, the layers after it another"
        " latent",
        least=0,
        most=1,
    )


def game(options: Options, spec: Spec) -> Game:
    _check(options, spec)
    model = StyleGAN2(options, spec, adversarial.classes(options, spec))
    label = None if model.num_classes is None else jnp.zeros((1,), jnp.int32)
    path = {"path": {"mean": jnp.zeros((), jnp.float32)}}
    return Game(
        players={
            "critic": Player(
                model.critic(),
                (jnp.zeros((1, *spec.shape), jnp.float32), label),
                optimizer(options, options.r1_every if options.r1_gamma else 0),
                collections=adaptive.state(options),
                score=styles.score,
            ),
            "generator": Player(
                model.generator(),
                (jnp.zeros((1, options.latent_dim), jnp.float32), label),
                optimizer(options, options.path_every if options.path_weight else 0),
                adversarial.average(options),
                {**styles.mean_style(options), **path},
                styles.score,
            ),
        },
        stages=(model.stage(),),
        outputs={SAMPLES: model.samples({"noise": styles.NOISE})},
        spec=spec,
        tools=model.tools(),
    )


def optimizer(options: Options, every: int) -> optax.GradientTransformation:
    """Adam of a player with a regulariser every `every` rounds; 0 for no regulariser."""
    return turns.lazy_adam(options.learning_rate, options.beta1, options.beta2, every)


@dataclasses.dataclass(frozen=True)
class StyleGAN2(styles.StyleModel):
    """The networks and losses of the game."""

    options: Options

    @property
    def num_styles(self) -> int:
        return stylegan2.num_styles(self.spec.shape[0])

    # Networks ---------------------------------------------------------------------------------------------

    def generator(self) -> stylegan2.Generator:
        options, (_, width, channels) = self.options, self.spec.shape
        mapping = Mapping(
            options.style_dim,
            options.mapping_layers,
            options.mapping_lr_multiplier,
            self.num_classes,
        )
        return stylegan2.Generator(
            mapping, stylegan2.Synthesis(width, channels, **self._convolutions())
        )

    def critic(self) -> stylegan2.Critic:
        return stylegan2.Critic(
            residual=self.options.critic == "residual",
            group_size=self.options.minibatch_std_group,
            num_classes=self.num_classes,
            mapping_layers=self.options.critic_mapping_layers,
            **self._convolutions(),
        )

    def _convolutions(self) -> dict[str, Any]:
        return {
            "channel_base": self.options.channel_base,
            "channel_max": self.options.channel_max,
            "dtype": adversarial.compute_dtype(self.options),
            "remat": self.options.remat,
        }

    # Losses -----------------------------------------------------------------------------------------------

    def stage(self) -> Stage:
        options = self.options
        adapt = partial(adaptive.adapt, options)
        played = self.lazy_round(self.fake, adapt, options.r1_every)
        if options.path_weight:
            every = options.path_every
            played.append(
                Turn(("generator",), self.path_loss, "path", every=every, fresh_batch=False)
            )
        return Stage(tuple(played), options.batch_size)

    def mixed(self, play: Play, num: int) -> jax.Array | None:
        share = self.options.mixing
        return mixed_layers(play.rng("mixing"), num, self.num_styles, share) if share else None

    def paint(
        self, play: Play, generator: Network, w: jax.Array, noise: str = "random"
    ) -> jax.Array:
        """Pictures of w [B, num_styles, D]."""
        return generator(w, noise, method="paint", rngs={"noise": play.rng("noise")})

    def apply_critic(self, play: Play, critic: Network, pictures, given, purpose: str) -> jax.Array:
        """Logits of augmented pictures: real and generated ones are augmented in every turn."""
        remat = self.options.remat
        pictures = adaptive.augmented(self.options, play, critic, pictures, purpose, remat)
        return critic(pictures, given.get("label"))

    def path_loss(self, play: Play) -> Loss:
        generator, label = play.moving("generator"), self.real(play).given.get("label")
        num = max(1, play.num // self.options.path_batch_shrink)
        label = None if label is None else label[:num]
        w, _ = self.styles(play, generator, num, label)
        penalty, mean = penalties.path_length(
            partial(self.paint, play, generator.frozen),
            w,
            generator["path"]["mean"],
            play.rng("direction"),
            self.options.path_mean_decay,
        )
        generator.set(path={"mean": mean})
        weight = self.options.path_every * self.options.path_weight
        return Loss(weight * penalty, {"penalty": penalty, "length": mean})


def _check(options: Options, spec: Spec) -> None:
    """Raises for options and data that cannot be trained."""
    check(options)
    styles.require_pictures("stylegan2", spec)
    adaptive.check(options, spec)
    if options.path_weight and options.path_batch_shrink > options.batch_size:
        raise OptionError(
            "path_batch_shrink",
            options.path_batch_shrink,
            f"the batch of {options.batch_size} must leave at least one picture",
            {"path_batch_shrink": options.batch_size},
        )
