"""StyleGAN2 with adaptive discriminator augmentation (ADA).

Papers: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks" (mapping, noise,
style mixing, truncation); Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (demodulation,
skips and residuals, path length, lazy regularisation); Karras et al. 2020, "Training Generative Adversarial Networks
with Limited Data" (ADA, class conditioning, the CIFAR-10 settings).
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

from jaxgan import adversarial, augment, draws, losses, penalties, turns
from jaxgan.game import Game, Loss, Output, Play, Player, Stage, Turn
from jaxgan.nets import modulated, stylegan2
from jaxgan.network import Network
from jaxgan.options import Option, OptionError, check, option
from jaxgan.spec import Spec
from jaxgan.tools import latents

AUGMENTATIONS = ("adaptive", "fixed", "off")


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = option(512, "components of the latent vector z", least=1)
    style_dim: int = option(512, "components of a style w", least=1)
    mapping_layers: int = option(8, "layers of the mapping network, from z to w", least=1)
    mapping_lr_multiplier: float = option(
        0.01, "learning rate of the mapping network, as a factor of learning_rate", least=1e-6
    )
    critic_mapping_layers: int = option(
        8,
        "layers of the label's mapping in a conditional critic: 8 as in ADA's PyTorch code; with 0, as in its first"
        " release, it is the normalised embedding",
        least=0,
    )
    channel_base: int = option(
        32_768, "a layer has channel_base / resolution channels, but at most channel_max", least=1
    )
    channel_max: int = option(512, "most channels of a layer", least=1)
    critic: str = option(
        "residual", "architecture of the critic's blocks", choices=stylegan2.CRITICS
    )
    minibatch_std_group: int = option(
        4, "images per group of the minibatch standard deviation; 0 for the whole batch", least=0
    )
    conditional: bool = option(False, "condition both networks on the labels of the data")
    batch_size: int = option(32, "real images of one critic step", least=1)
    learning_rate: float = option(0.002, "learning rate of both networks", least=0)
    beta1: float = option(0.0, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.99, "decay of Adam's mean of squared gradients", least=0, below=1)
    r1_gamma: float = option(
        10.0,
        "weight of R1, the squared gradient norm of the critic on real pictures; 0 for none",
        least=0,
    )
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
    average_style_decay: float = option(
        0.995,
        "decay of the mean of w (used by truncation), per step of the generator",
        least=0,
        most=1,
    )
    ema_half_life_kimg: float = option(
        10.0,
        "half-life of the averaged generator in kimg (thousands of real images); 0 keeps none",
        least=0,
    )
    ema_ramp_up: float = option(
        0.05, "the half-life is at most this share of the images seen; 0 for no limit", least=0
    )
    augmentation: str = option(
        "adaptive",
        "augmentation of the critic's pictures: with adaptive probability p, with fixed p, or none",
        choices=AUGMENTATIONS,
    )
    augmentation_groups: str = option(
        "bgc",
        "transformations of the augmentation: one group, or several groups by their first letters as in the paper"
        " (blits, geometry, colours, filters, noise, cutout)",
        choices=tuple(augment.GROUPS),
    )
    augmentation_p: float = option(
        0.0,
        "initial probability p of each augmentation; if fixed, that of the whole run",
        least=0,
        most=1,
    )
    augmentation_target: float = option(
        0.6, "target of the mean sign of the critic's logits on real pictures, for the adaptive p"
    )
    augmentation_rise_kimg: float = option(
        500.0, "kimg (thousands of real images) in which p can rise from 0 to 1", least=1e-6
    )
    dtype: str = option(
        "float32", "dtype of the convolutions' arithmetic", choices=adversarial.DTYPES
    )
    remat: bool = option(
        False, "recompute activations in the backward pass: more arithmetic, less memory"
    )


def game(options: Options, spec: Spec) -> Game:
    _check(options, spec)
    model = StyleGAN2(options, spec, adversarial.classes(options, spec))
    label = None if model.num_classes is None else jnp.zeros((1,), jnp.int32)
    ada = {"augmentation": {"ada": augment.ada_start(options.augmentation_p)}}
    means = {
        "average": {"style": jnp.zeros(options.style_dim, jnp.float32)},
        "path": {"mean": jnp.zeros((), jnp.float32)},
    }
    return Game(
        players={
            "critic": Player(
                model.critic(),
                (jnp.zeros((1, *spec.shape), jnp.float32), label),
                optimizer(options, options.r1_every if options.r1_gamma else 0),
                collections={} if options.augmentation == "off" else ada,
                score=score,
            ),
            "generator": Player(
                model.generator(),
                (jnp.zeros((1, options.latent_dim), jnp.float32), label),
                optimizer(options, options.path_every if options.path_weight else 0),
                adversarial.average(options),
                means,
                score,
            ),
        },
        stages=(model.stage(),),
        outputs={
            "samples": Output(
                model.samples,
                spec.shape,
                () if model.num_classes is None else ("label",),
                sampling(model.num_styles),
            )
        },
        spec=spec,
        tools=latents.style_tools(
            latents.Styles(options.latent_dim, model.num_styles, model.num_classes, spec.shape)
        ),
    )


def sampling(num_styles: int) -> dict[str, Option]:
    """The options of samples."""
    noise = Option(
        "random", "noise drawn for each picture, or constant maps", choices=modulated.NOISE
    )
    return {**latents.truncation_options(1.0, num_styles), "noise": noise}


def optimizer(options: Options, every: int) -> optax.GradientTransformation:
    """Adam of a player with a regulariser every `every` rounds; 0 for no regulariser."""
    return turns.lazy_adam(options.learning_rate, options.beta1, options.beta2, every)


def score(network: Network, x: jax.Array, label: jax.Array | None) -> jax.Array:
    """See `Player.score`."""
    return network(x, label)


@dataclasses.dataclass(frozen=True)
class StyleGAN2:
    """The networks, losses and samples of the game."""

    options: Options
    spec: Spec
    num_classes: int | None

    @property
    def num_styles(self) -> int:
        return stylegan2.num_styles(self.spec.shape[0])

    # Networks ---------------------------------------------------------------------------------------------

    def generator(self) -> stylegan2.Generator:
        options, (_, width, channels) = self.options, self.spec.shape
        mapping = stylegan2.Mapping(
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
        options, objective = self.options, losses.non_saturating
        critic_loss = turns.critic_loss(
            self.real,
            self.fake,
            {"adversarial": turns.critic_objective(objective)},
            passes=2,  # a group of the minibatch standard deviation is all real or all generated
            apply_critic=self.apply_critic,
            after=self.adapt,
        )
        generator_loss = turns.generator_loss(
            self.real,
            self.fake,
            {"adversarial": turns.generator_objective(objective)},
            apply_critic=self.apply_critic,
            after=self.track_style,
        )
        played = [Turn(("critic",), critic_loss)]
        if options.r1_gamma:
            played.append(
                Turn(("critic",), self.r1_loss, "r1", every=options.r1_every, fresh_batch=False)
            )
        played.append(Turn(("generator",), generator_loss, fresh_batch=False))
        if options.path_weight:
            every = options.path_every
            played.append(
                Turn(("generator",), self.path_loss, "path", every=every, fresh_batch=False)
            )
        return Stage(tuple(played), options.batch_size)

    def real(self, play: Play) -> turns.Examples:
        given = {} if self.num_classes is None else {"label": play.batch["label"]}
        return turns.Examples(play.batch["image"], given)

    def fake(self, play: Play, generator: Network, real: turns.Examples) -> turns.Examples:
        """Generated pictures with the labels of the real ones; notes["style"] is w [B, D] before mixing."""
        w, style = self.styles(play, generator, play.num, real.given.get("label"))
        return turns.Examples(self.paint(play, generator, w), real.given, {"style": style})

    def styles(
        self, play: Play, generator: Network, num: int, label: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """(w [num, num_styles, D] with styles mixed, the first latents' w [num, D])."""
        if not self.options.mixing:
            z = turns.latents(play, num, self.options.latent_dim)
            w = generator(z, label, method="style")
            return latents.every_layer(w, self.num_styles), w
        z = turns.latents(play, 2 * num, self.options.latent_dim)
        label = None if label is None else jnp.tile(label, 2)
        one, other = jnp.split(generator(z, label, method="style"), 2)
        layers = mixed_layers(play.rng("mixing"), num, self.num_styles, self.options.mixing)
        return latents.mix(one, other, layers), one

    def paint(
        self, play: Play, generator: Network, w: jax.Array, noise: str = "random"
    ) -> jax.Array:
        """Pictures of w [B, num_styles, D]."""
        return generator(w, noise, method="paint", rngs={"noise": play.rng("noise")})

    def apply_critic(self, play: Play, critic: Network, pictures, given, purpose: str) -> jax.Array:
        """Logits of augmented pictures: real and generated ones are augmented in every turn."""
        if self.options.augmentation != "off":
            augmented: Any = partial(augment.ada, groups=self.options.augmentation_groups)
            augmented = jax.checkpoint(augmented) if self.options.remat else augmented
            key = play.rng(f"augmentation of {purpose}")
            pictures = augmented(pictures, key, critic["augmentation"]["ada"].p)
        return critic(pictures, given.get("label"))

    def adapt(self, scene: turns.Scene) -> dict[str, jax.Array]:
        """One step of ADA's controller, after the critic's loss."""
        if self.options.augmentation == "off":
            return {}
        critic = scene.play.moving("critic")
        if self.options.augmentation == "fixed":
            return {"p": critic["augmentation"]["ada"].p}
        ada = augment.ada_update(
            critic["augmentation"]["ada"],
            scene.real_output.logits,
            target=self.options.augmentation_target,
            rise_kimg=self.options.augmentation_rise_kimg,
            images=scene.play.batch_size,
        )
        critic.set(augmentation={"ada": ada})
        return {"overfitting": ada.overfitting, "p": ada.p}

    def track_style(self, scene: turns.Scene) -> None:
        """Updates the running mean of w, after the generator's loss."""
        generator = scene.play.moving("generator")
        style = jnp.mean(scene.fake.notes["style"], axis=0)
        new_share = 1.0 - self.options.average_style_decay
        average = optax.incremental_update(style, generator["average"]["style"], new_share)
        generator.set(average={"style": average})

    def r1_loss(self, play: Play) -> Loss:
        """R1; the gradient is with respect to the pictures before augmentation."""
        real, critic = self.real(play), play.networks["critic"]
        penalty = penalties.r1(
            lambda x: self.apply_critic(play, critic, x, real.given, "real"), real.pictures
        )
        weight = self.options.r1_every * self.options.r1_gamma
        return Loss(weight * penalty, {"penalty": penalty})

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

    # Samples ----------------------------------------------------------------------------------------------

    def samples(
        self, play: Play, truncation: jax.Array, truncation_layers: int, noise: str
    ) -> jax.Array:
        generator = play.networks["generator"]
        z = turns.latents(play, play.num, self.options.latent_dim)
        label = None if self.num_classes is None else play.batch["label"]
        w = latents.every_layer(generator(z, label, method="style"), self.num_styles)
        w = latents.truncate(w, generator["average"]["style"], truncation, truncation_layers)
        return jnp.clip(self.paint(play, generator, w, noise), -1.0, 1.0)


def mixed_layers(key: jax.Array, num: int, num_styles: int, share: float) -> jax.Array:
    """Layers that take their style from a second latent, boolean [num, num_styles].

    In this share of the images, these are all layers from a random one on, which is never the first (StyleGAN, Section
    3.1).
    """
    place_key, share_key = jax.random.split(key)
    place = draws.randint(place_key, (num, 1), 1, num_styles)
    return (jnp.arange(num_styles)[None] >= place) & (draws.uniform(share_key, (num, 1)) < share)


def _check(options: Options, spec: Spec) -> None:
    """Raises for options and data that cannot be trained."""
    check(options)
    if options.augmentation == "fixed" and not options.augmentation_p:
        raise OptionError(
            "augmentation_p",
            options.augmentation_p,
            "a fixed probability of 0 augments nothing",
            {"augmentation_p": 0.2},
            {"augmentation": "off"},
        )
    spec.require("stylegan2", image="image")
    shape = spec.shape
    if shape[0] != shape[1] or shape[0] < 8 or shape[0] & (shape[0] - 1):
        size = " x ".join(map(str, shape[:2]))
        nearest = 1 << max(3, (max(shape[:2]) - 1).bit_length())
        raise OptionError(
            None,
            None,
            f"stylegan2 makes square pictures of a power of two pixels, from 8; those of the data are {size}",
            {"data.resolution": nearest},
        )
    colours = "color" in augment.GROUPS[options.augmentation_groups]
    if options.augmentation != "off" and colours and shape[2] not in (1, 3):
        raise OptionError(
            "augmentation_groups",
            options.augmentation_groups,
            f"it changes colours, but the data has {shape[2]} channels, not 1 or 3",
            {"augmentation_groups": "bg"},
        )
    if options.path_weight and options.path_batch_shrink > options.batch_size:
        raise OptionError(
            "path_batch_shrink",
            options.path_batch_shrink,
            f"the batch of {options.batch_size} must leave at least one picture",
            {"path_batch_shrink": options.batch_size},
        )
