"""MSG-GAN: pictures of all resolutions from one pass of the generator, judged together by the critic.

Paper: Karnewar and Wang 2020, "MSG-GAN: Multi-Scale Gradients for Generative Adversarial Networks".
Reference implementation: akanimax/BMSG-GAN (PyTorch, MIT), of the form that builds on ProGAN. This module was written
from the paper.

The generator makes a picture at every level, from 4 x 4 pixels (5, 6 or 7 for other sides) to those of the data. The
critic is given all of them, and so gradients reach all levels of the generator at once: nothing grows, and all levels
have one learning rate. A real picture is given as its averages over blocks of 2^i x 2^i pixels. Latents are scaled to
length sqrt(latent_dim), in training and for samples.

The defaults are the paper's MSG-ProGAN: pictures joined to the activations as they are, minibatch standard deviation in
every block of the critic, WGAN-GP with RMSProp. `architecture` = stylegan is its MSG-StyleGAN: StyleGAN's synthesis
with a picture at every level and without mixing, and StyleGAN's blocks in the critic; the paper trains it with
`combine` = cat_lin, `objective` = non_saturating, `penalty` = r1 and Adam. The reference has `combine` = lin_cat,
`minibatch_std` = last, `minibatch_std_group` = 0, `objective` = relativistic_average_hinge, `penalty` = none and Adam.

Penalties of gradients (`penalty`): every sample has one interpolation weight for all of its scales. With
`penalty_scales` = each, as in the paper, the penalty is computed from the gradient of each scale, and averaged over the
scales; with "together" from the gradient of all scales as one vector, as `turns.r1` does.

Intended differences: both players draw latents of their own (in the reference they share those of a step, which
correlates their losses). The generator's average has a half-life in images. Colours and logits are scaled like other
layers, by sqrt(2 / fan_in), as in the reference. The drift of ProGAN, epsilon E C(x)^2, is added for the objective
wasserstein alone. The gradient penalty of the reference cannot be computed for lists of pictures.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import adversarial, growth, losses, resample, styles, turns
from jaxgan.game import SAMPLES, Game, Output, Play, Player, Stage
from jaxgan.nets import msg_gan
from jaxgan.nets.growing import widths
from jaxgan.nets.styles import Mapping as MappingNetwork
from jaxgan.network import Network, PyTree
from jaxgan.options import MOST_COMPONENTS, MOST_LAYERS, Option, OptionError, check, option
from jaxgan.spec import Spec
from jaxgan.tools import Made, Tool, compiled, latents

ARCHITECTURES = ("progan", "stylegan")
PENALTIES = ("gradient", "r1", "none")
SHOWN = 256  # pixels of the pictures of "scales", at most


@dataclasses.dataclass(frozen=True)
class Options:
    architecture: str = option(
        "progan", "networks: those of ProGAN or of StyleGAN", choices=ARCHITECTURES
    )
    latent_dim: int = option(512, "components of the latent vector", least=1, most=MOST_COMPONENTS)
    style_dim: int = option(
        512, "components of a style w of stylegan", least=1, most=MOST_COMPONENTS
    )
    mapping_layers: int = option(
        8,
        "layers of the mapping network of stylegan, from latents to styles",
        least=1,
        most=MOST_LAYERS,
    )
    mapping_lr_multiplier: float = option(
        0.01,
        "learning rate of the mapping network, as a factor of that of the generator",
        least=1e-6,
    )
    average_style_decay: float = option(
        0.995,
        "decay of the mean style (used by truncation), per step of the generator",
        least=0,
        most=1,
    )
    channel_base: int = option(
        16_384, "a layer has channel_base / resolution channels, but at most channel_max", least=1
    )
    channel_max: int = option(512, "most channels of a layer", least=1)
    combine: str = option(
        "simple",
        "how the critic combines the picture x of a level with the activations y of the level above: [x; y],"
        " [conv(x); y] or conv([x; y])",
        choices=msg_gan.COMBINE,
    )
    minibatch_std: str = option(
        "every",
        "blocks of the critic with a minibatch standard deviation",
        choices=msg_gan.MINIBATCH_STD,
    )
    minibatch_std_group: int = option(
        4, "images per group of the minibatch standard deviation; 0 for the whole batch", least=0
    )
    batch_size: int = option(16, "real images per critic step", least=1)
    critic_steps: int = option(1, "critic steps per generator step", least=1)
    objective: str = option("wasserstein", "loss of both networks", choices=losses.NAMES)
    penalty: str = option(
        "gradient",
        "penalty of the critic's gradient: of its norm's distance from 1 between real and generated pictures, or of its"
        " square on real pictures",
        choices=PENALTIES,
    )
    penalty_weight: float = option(10.0, "weight of the penalty: lambda, or gamma of R1", least=0)
    penalty_scales: str = option(
        "each",
        "the penalty is that of each scale, averaged over the scales, or that of all scales together",
        choices=("each", "together"),
    )
    drift_weight: float = option(
        1e-3,
        "weight of the critic's mean square on real pictures, epsilon, with the objective wasserstein",
        least=0,
    )
    optimizer: str = option(
        "rmsprop", "optimiser of both networks", choices=tuple(adversarial.OPTIMIZERS)
    )
    critic_learning_rate: float = option(3e-3, "learning rate of the critic", least=0)
    generator_learning_rate: float = option(3e-3, "learning rate of the generator", least=0)
    beta1: float = option(0.0, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.99, "decay of Adam's mean of squared gradients", least=0, below=1)
    epsilon: float = option(1e-8, "Adam's epsilon, added to the root", above=0)
    ema_half_life_kimg: float = adversarial.half_life_option(11.1)
    dtype: str = option("float32", "dtype of the networks' arithmetic", choices=adversarial.DTYPES)
    remat: bool = adversarial.remat_option()


def game(options: Options, spec: Spec) -> Game:
    check(options)
    _check(options)
    growth.levels("msg_gan", spec)  # raises for data of another form
    styled = options.architecture == "stylegan"
    model = MsgStyleGan(options, spec, None) if styled else MsgGan(options, spec)
    scales = [jnp.zeros((2, *shape), jnp.float32) for shape in model.shapes]
    return Game(
        players={
            "critic": Player(
                model.critic(), (scales,), model.optimizer(options.critic_learning_rate)
            ),
            "generator": Player(
                model.generator(),
                (jnp.zeros((2, options.latent_dim), jnp.float32),),
                model.optimizer(options.generator_learning_rate),
                adversarial.average(options),
                model.means(),
            ),
        },
        stages=model.stages(),
        outputs={SAMPLES: model.samples(), "scales": Output(model.scales, model.shown_shape)},
        spec=spec,
        tools={
            "scales": Tool(
                model.scales_tool,
                "pictures of the same latents at all scales, from left to right",
                {"num": Option(8, "latents", least=1)},
            ),
            **model.tools(),
        },
    )


@dataclasses.dataclass(frozen=True)
class MsgGan:
    """The networks, losses and outputs of the game."""

    options: Options
    spec: Spec

    @property
    def base(self) -> int:
        """Side of the smallest pictures in pixels."""
        return growth.levels("msg_gan", self.spec)[0]

    @property
    def levels(self) -> int:
        return growth.levels("msg_gan", self.spec)[1]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of a picture at each level."""
        channels = self.spec.shape[2]
        return [(self.base << k, self.base << k, channels) for k in range(self.levels)]

    # Networks ---------------------------------------------------------------------------------------------

    def generator(self) -> nn.Module:
        return msg_gan.Generator(
            self.base, picture_channels=self.spec.shape[2], **self._convolutions()
        )

    def critic(self) -> msg_gan.Critic:
        options = self.options
        return msg_gan.Critic(
            combine=options.combine,
            minibatch_std=options.minibatch_std,
            group_size=options.minibatch_std_group,
            styled=options.architecture == "stylegan",
            **self._convolutions(),
        )

    def _convolutions(self) -> dict[str, Any]:
        options = self.options
        return {
            "features": widths(self.levels, options.channel_base, options.channel_max),
            "dtype": adversarial.compute_dtype(options),
            "remat": options.remat,
        }

    def means(self) -> dict[str, PyTree]:
        """Further collections of the generator."""
        return {}

    def optimizer(self, learning_rate: float) -> optax.GradientTransformation:
        scale = adversarial.OPTIMIZERS[self.options.optimizer](self.options)
        return optax.chain(scale, optax.scale_by_learning_rate(learning_rate))

    # Losses -----------------------------------------------------------------------------------------------

    def stages(self) -> tuple[Stage, ...]:
        options, objective = self.options, losses.by_name(self.options.objective)
        critic = turns.critic_loss(
            self.real,
            self.fake,
            {"adversarial": turns.critic_objective(objective), **self.penalties()},
            passes=2,  # a group of the minibatch standard deviation is all real or all generated
            apply_critic=apply_critic,
        )
        generator = turns.generator_loss(
            self.real,
            self.fake,
            {"adversarial": turns.generator_objective(objective)},
            apply_critic=apply_critic,
            after=self.after,
        )
        return turns.alternate(critic, generator, options.batch_size, options.critic_steps)

    def penalties(self) -> dict[str, turns.Term]:
        """The terms of the critic's loss besides the adversarial one.

        For the gradient g_k with respect to the picture of level k, of L levels, "gradient" and "r1" are

            each        lambda / L sum_k E (||g_k|| - 1)^2            gamma / 2 / L sum_k E ||g_k||^2
            together    lambda E (sqrt(sum_k ||g_k||^2) - 1)^2        gamma / 2 sum_k E ||g_k||^2
        """
        options, terms = self.options, {}
        each, weight = options.penalty_scales == "each", options.penalty_weight
        if options.penalty == "gradient":
            terms["penalty"] = turns.weighted(weight, turns.gradient_penalty(each_scale=each))
        elif options.penalty == "r1":
            terms["penalty"] = turns.weighted(weight / self.levels if each else weight, turns.r1)
        if options.objective == "wasserstein" and options.drift_weight:
            terms["drift"] = turns.weighted(
                options.drift_weight, lambda scene: jnp.mean(jnp.square(scene.real_output.logits))
            )
        return terms

    def real(self, play: Play) -> turns.Examples:
        pyramid = resample.average_pyramid(play.batch["image"], self.levels)
        return turns.Examples(list(reversed(pyramid)))

    def fake(self, play: Play, generator: Network, real: turns.Examples) -> turns.Examples:
        return turns.Examples(generator(turns.latents(play, play.num, self.options.latent_dim)))

    def after(self, scene: turns.Scene) -> dict[str, jax.Array]:
        """After the generator's loss: its metrics.

        "disagreement" is the mean absolute difference of each picture and the next larger one, reduced, averaged over
        the levels. Nothing but the critic makes the scales agree.
        """
        apart = [
            jnp.mean(jnp.abs(small - resample.avg_pool(large)))
            for small, large in itertools.pairwise(scene.fake.pictures)
        ]
        return {"disagreement": jnp.mean(jnp.stack(apart))} if apart else {}

    # Outputs ----------------------------------------------------------------------------------------------

    def samples(self) -> Output:
        """The output "samples": pictures of the highest level."""

        def make(play: Play) -> jax.Array:
            latent = turns.latents(play, play.num, self.options.latent_dim)
            return self.full_size(play.networks, latent, None)

        return Output(make, self.spec.shape)

    def tools(self) -> dict[str, Tool]:
        dim = self.options.latent_dim
        return latents.latent_tools(self.full_size, dim, None, self.spec.shape)

    def full_size(
        self, networks: Mapping[str, Network], latent: jax.Array, label: None
    ) -> jax.Array:
        """Pictures of the highest level, see `latents.latent_tools`."""
        del label
        return jnp.clip(networks["generator"](latent)[-1], -1.0, 1.0)

    @property
    def shown_shape(self) -> tuple[int, ...]:
        """The shape of a row of all scales: each with the side of the data, but at most that of the last level of up to
        `SHOWN` pixels."""
        side = max(shape[0] for shape in self.shapes if shape[0] <= max(SHOWN, self.base))
        return side, side * self.levels, self.spec.shape[2]

    def scales(self, play: Play) -> jax.Array:
        """Pictures of all levels side by side, [B, *shown_shape]."""
        latent = turns.latents(play, play.num, self.options.latent_dim)
        return jnp.concatenate(self.shown(play.networks, latent), axis=2)

    def shown(self, networks: Mapping[str, Network], latent: jax.Array) -> list[jax.Array]:
        """Pictures of all levels in one size: small ones enlarged, very large ones reduced."""
        side, found = self.shown_shape[0], []
        for picture in networks["generator"](latent):
            while picture.shape[1] > side:
                picture = resample.avg_pool(picture)
            found.append(growth.enlarged(picture, side))
        return found

    def scales_tool(self, play: Play, num: int) -> Made:
        """A row for each latent: its pictures at all scales."""
        latent = turns.latents(play, num, self.options.latent_dim)
        columns = [np.asarray(x) for x in compiled(self.shown, play.networks, latent)]
        pictures = np.stack(columns, axis=1).reshape(-1, *columns[0].shape[1:])
        return Made(pictures, columns=self.levels)


@dataclasses.dataclass(frozen=True)
class MsgStyleGan(MsgGan, styles.StyleModel):
    """The game with StyleGAN's networks."""

    options: Options

    @property
    def num_styles(self) -> int:
        return 2 * self.levels

    def generator(self) -> nn.Module:
        options = self.options
        mapping = MappingNetwork(
            options.style_dim, options.mapping_layers, options.mapping_lr_multiplier, joint=True
        )
        synthesis = msg_gan.StyledScales(
            self.base, picture_channels=self.spec.shape[2], **self._convolutions()
        )
        return msg_gan.StyledGenerator(mapping, synthesis)

    def means(self) -> dict[str, PyTree]:
        options: Any = self.options
        return styles.mean_style(options)

    def fake(self, play: Play, generator: Network, real: turns.Examples) -> turns.Examples:
        """Generated pictures; notes["style"] is w [B, D]."""
        w, style = self.styles(play, generator, play.num, None)
        rngs = {"noise": play.rng("noise")}
        pictures = generator(w, "random", method="scales", rngs=rngs)
        return turns.Examples(pictures, {}, {"style": style})

    def after(self, scene: turns.Scene) -> dict[str, jax.Array]:
        """Updates the mean of w; metrics."""
        self.track_style(scene)
        return super().after(scene)

    def samples(self, options: Mapping[str, Option] | None = None) -> Output:
        return styles.StyleModel.samples(self, {"noise": styles.NOISE, **(options or {})})

    def paint(
        self, play: Play, generator: Network, w: jax.Array, noise: str = "random"
    ) -> jax.Array:
        """Pictures of the highest level."""
        return generator(w, noise, method="paint", rngs={"noise": play.rng("noise")})

    def tools(self) -> dict[str, Tool]:
        return styles.StyleModel.tools(self)


def apply_critic(play: Play, critic: Network, pictures, given, purpose: str) -> jax.Array:
    """See `turns.CriticFn`."""
    del play, given, purpose
    return critic(pictures)


def _check(options: Options) -> None:
    """Raises for options that do not fit each other."""
    if options.penalty == "none" and options.objective == "wasserstein":
        raise OptionError(
            "penalty",
            options.penalty,
            "the objective wasserstein needs a critic whose gradient is limited",
            {"penalty": "gradient"},
            {"objective": "relativistic_average_hinge"},
        )
