"""What style-based models share: options, styles with mixing, the mean of w, truncated samples, R1, tools.

A model has the players "critic" and "generator"; the generator's module has the methods `style` and `paint` and the
collection "average" of `jaxgan.tools.latents.Styles`. Its class derives from `StyleModel`, and overrides `mixed` if
styles are mixed.

Sources: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks" (mapping, style
mixing, truncation); Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (lazy regularisation).
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgan import adversarial, draws, losses, turns
from jaxgan.game import LossFn, Output, Play, Turn
from jaxgan.nets import modulated
from jaxgan.network import Network, PyTree
from jaxgan.options import MOST_COMPONENTS, MOST_LAYERS, Option, OptionError, option
from jaxgan.spec import Spec
from jaxgan.tools import Tool, latents

# An option of samples.
NOISE = Option("random", "noise drawn for each picture, or constant maps", choices=modulated.NOISE)


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of all style-based models; each model overrides the defaults with those of its paper."""

    latent_dim: int = option(
        512, "components of the latent vector z", least=1, most=MOST_COMPONENTS
    )
    style_dim: int = option(512, "components of a style w", least=1, most=MOST_COMPONENTS)
    mapping_layers: int = option(
        8, "layers of the mapping network, from z to w", least=1, most=MOST_LAYERS
    )
    mapping_lr_multiplier: float = option(
        0.01,
        "learning rate of the mapping network, as a factor of that of the generator",
        least=1e-6,
    )
    channel_base: int = option(
        32_768, "a layer has channel_base / resolution channels, but at most channel_max", least=1
    )
    channel_max: int = option(512, "most channels of a layer", least=1)
    minibatch_std_group: int = option(
        4, "images per group of the minibatch standard deviation; 0 for the whole batch", least=0
    )
    conditional: bool = option(False, "condition both networks on the labels of the data")
    batch_size: int = option(32, "real images of one critic step", least=1)
    beta1: float = option(0.0, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.99, "decay of Adam's mean of squared gradients", least=0, below=1)
    r1_gamma: float = option(
        10.0,
        "weight of R1, the squared gradient norm of the critic on real pictures; 0 for none",
        least=0,
    )
    average_style_decay: float = option(
        0.995,
        "decay of the mean of w (used by truncation), per step of the generator",
        least=0,
        most=1,
    )
    ema_half_life_kimg: float = adversarial.half_life_option(10.0)
    ema_ramp_up: float = adversarial.ramp_up_option(0.05)
    dtype: str = option(
        "float32", "dtype of the convolutions' arithmetic", choices=adversarial.DTYPES
    )
    remat: bool = adversarial.remat_option()


@dataclasses.dataclass(frozen=True)
class StyleModel(abc.ABC):
    """Latents, styles, samples and R1 of a style-based model."""

    options: Any  # of a class that derives from Options
    spec: Spec
    num_classes: int | None

    @property
    @abc.abstractmethod
    def num_styles(self) -> int:
        """Number of layers of the generator that take a w."""

    def mixed(self, play: Play, num: int) -> jax.Array | None:
        """Layers that take their style from a second latent, boolean [num, num_styles]; None for no mixing."""
        del play, num
        return None

    def apply_critic(self, play: Play, critic: Network, pictures, given, purpose: str) -> jax.Array:
        """See `turns.CriticFn`."""
        del play, purpose
        return critic(pictures, given.get("label"))

    def paint(self, play: Play, generator: Network, w: jax.Array) -> jax.Array:
        """Pictures of w [B, num_styles, D]."""
        del play
        return generator(w, method="paint")

    # Examples ---------------------------------------------------------------------------------------------

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
        layers = self.mixed(play, num)
        if layers is None:
            z = turns.latents(play, num, self.options.latent_dim)
            w = generator(z, label, method="style")
            return latents.every_layer(w, self.num_styles), w
        # The two latents of a picture are neighbours, so that both are on one device.
        z = turns.latents(play, 2 * num, self.options.latent_dim)
        label = None if label is None else jnp.repeat(label, 2)
        pairs = generator(z, label, method="style").reshape(num, 2, -1)
        one, other = pairs[:, 0], pairs[:, 1]
        return latents.mix(one, other, layers), one

    # Losses -----------------------------------------------------------------------------------------------

    def track_style(self, scene: turns.Scene) -> None:
        """Updates the running mean of w, after the generator's loss."""
        generator = scene.play.moving("generator")
        style = jnp.mean(scene.fake.notes["style"], axis=0)
        new_share = 1.0 - self.options.average_style_decay
        average = optax.incremental_update(style, generator["average"]["style"], new_share)
        generator.set(average={"style": average})

    def both_losses(
        self,
        objective,
        fake: turns.Fake,
        after: turns.After,
        terms: Mapping[str, turns.Term] | None = None,
    ) -> tuple[LossFn, LossFn]:
        """The losses of the critic and of the generator.

        Args:
          objective: the adversarial loss, one of `jaxgan.losses`.
          fake: the generated examples of the critic's turn.
          after: called after the critic's loss.
          terms: further terms of the critic's loss.
        """
        critic = turns.critic_loss(
            self.real,
            fake,
            {"adversarial": turns.critic_objective(objective), **(terms or {})},
            passes=2,  # a group of the minibatch standard deviation is all real or all generated
            apply_critic=self.apply_critic,
            after=after,
        )
        generator = turns.generator_loss(
            self.real,
            self.fake,
            {"adversarial": turns.generator_objective(objective)},
            apply_critic=self.apply_critic,
            after=self.track_style,
        )
        return critic, generator

    def lazy_round(self, fake: turns.Fake, after: turns.After, r1_every: int) -> list[Turn]:
        """The turns of the critic, of R1 if it has a weight, and of the generator, with the non-saturating loss.

        R1 is played every `r1_every` rounds with its weight multiplied by that number. Its gradient is with respect to
        the pictures of the data, before `apply_critic` changes them.

        Args:
          fake, after: as in `both_losses`.
          r1_every: interval of R1 in rounds.
        """
        critic, generator = self.both_losses(losses.non_saturating, fake, after)
        played = [Turn(("critic",), critic)]
        if weight := self.options.r1_gamma:
            r1 = turns.lazy(
                "r1",
                "critic",
                turns.r1,
                r1_every,
                self.real,
                weight=weight,
                apply_critic=self.apply_critic,
            )
            played.append(r1)
        return [*played, Turn(("generator",), generator, fresh_batch=False)]

    # Outputs ----------------------------------------------------------------------------------------------

    def samples(self, options: Mapping[str, Option] | None = None) -> Output:
        """The output "samples" with truncation; `options` are further options, for `paint`."""
        return Output(
            self._samples,
            self.spec.shape,
            () if self.num_classes is None else ("label",),
            {**latents.truncation_options(1.0, self.num_styles), **(options or {})},
        )

    def _samples(
        self, play: Play, truncation: jax.Array, truncation_layers: int, **painting: Any
    ) -> jax.Array:
        generator = play.networks["generator"]
        z = turns.latents(play, play.num, self.options.latent_dim)
        label = None if self.num_classes is None else play.batch["label"]
        w = latents.every_layer(generator(z, label, method="style"), self.num_styles)
        w = latents.truncate(w, generator["average"]["style"], truncation, truncation_layers)
        return jnp.clip(self.paint(play, generator, w, **painting), -1.0, 1.0)

    def tools(self) -> dict[str, Tool]:
        """See `latents.style_tools`."""
        return latents.style_tools(self.style_space())

    def style_space(self) -> latents.Styles:
        """The game as tools use it."""
        return latents.Styles(
            self.options.latent_dim, self.num_styles, self.num_classes, self.spec.shape
        )


def mean_style(options: Options) -> dict[str, PyTree]:
    """The generator's collection with the mean of w, which `StyleModel.track_style` updates."""
    return {"average": {"style": jnp.zeros(options.style_dim, jnp.float32)}}


def score(network: Network, x: jax.Array, label: jax.Array | None) -> jax.Array:
    """See `Player.score`."""
    return network(x, label)


def mixed_layers(
    key: jax.Array, num: int, num_styles: int, share: float, active: int | None = None
) -> jax.Array:
    """Layers that take their style from a second latent, boolean [num, num_styles].

    In this share of the images, these are all layers from a random one on, which is never the first (StyleGAN, Section
    3.1) and is one of the first `active` layers, on which the picture of a growing network depends; None for all.
    """
    place_key, share_key = jax.random.split(key)
    place = draws.randint(place_key, (num, 1), 1, num_styles if active is None else active)
    return (jnp.arange(num_styles)[None] >= place) & (draws.uniform(share_key, (num, 1)) < share)


def require_pictures(model: str, spec: Spec) -> None:
    """Raises unless the data has square pictures of a power of two pixels, from 8."""
    spec.require(model, image="image")
    shape = spec.shape
    if shape[0] != shape[1] or shape[0] < 8 or shape[0] & (shape[0] - 1):
        size = " x ".join(map(str, shape[:2]))
        nearest = 1 << max(3, (max(shape[:2]) - 1).bit_length())
        raise OptionError(
            None,
            None,
            f"{model} makes square pictures of a power of two pixels, from 8; those of the data are {size}",
            {"data.resolution": nearest},
        )
