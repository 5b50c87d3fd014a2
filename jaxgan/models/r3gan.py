"""R3GAN: a relativistic GAN whose critic is regularised on real and on generated pictures, with plain modern networks.

Paper: Huang et al. 2024, "The GAN is Dead; Long Live the GAN! A Modern GAN Baseline": Section 2 for the loss, Section 4
and the appendix for the networks, the settings of CIFAR-10 for the defaults.
Reference implementation: brownvc/R3GAN (PyTorch). It has no licence; this file was written from the paper's formulas
and the published settings, not from its code.

A round is one step of the critic and one of the generator, each on a real batch of its own. The i-th generated picture
has the label of the i-th real one, with which the loss compares it. Five numbers follow one clock t, the real pictures
shown to the critic: learning rate, beta2, gamma, the half-life of the average and the probability of the augmentation.
Each changes along half a period of a cosine while t < T (`burn_in_kimg`) and then stays constant.

Intended differences: augmentation is `jaxgan.augment.ada` with R3GAN's multipliers, which resamples geometry as its
docstring says. R1 and R2 are computed on the same augmented pictures as the logits. `conditional` is off by default.
Low precision is bfloat16 and only in `dtype`, off by default. The kimg that a run shows count the real pictures of both
players, twice as many as t.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgan import adversarial, augment, losses, penalties, turns
from jaxgan.game import SAMPLES, Game, Loss, Output, Play, Player, Stage, Turn
from jaxgan.nets import r3gan
from jaxgan.network import Network
from jaxgan.options import MOST_COMPONENTS, MOST_LAYERS, OptionError, check, option
from jaxgan.schedules import Ema, Ramp, at
from jaxgan.spec import Spec
from jaxgan.tools.latents import latent_tools

PENALTIES = ("r1+r2", "r1")
# Multipliers of p. With 0, a transformation is left out.
AUGMENTATION = augment.AdaOptions(
    brightness=0.5, contrast=0.5, luma_flip=0.5, hue=0.5, saturation=0.5, bands=0.0, noise=0.0
)


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = option(64, "components of the latent vector", least=1, most=MOST_COMPONENTS)
    widths: int | tuple[int, ...] = option(
        (),
        "channels of each stage, from 4 x 4 pixels upwards: one number for all or one for each; empty for the paper's,"
        " 768 up to 32 pixels and half as many at each larger size",
        least=1,
        empty=True,
    )
    groups: int | tuple[int, ...] = option(
        (),
        "groups of the 3x3 convolutions of each stage: one number for all or one for each; empty for the paper's, an"
        " eighth of the channels",
        least=1,
        empty=True,
    )
    blocks: int | tuple[int, ...] = option(
        2,
        "residual blocks of each stage: one number for all or one for each",
        least=1,
        most=MOST_LAYERS,
    )
    expansion: int = option(
        2, "channels inside of a block, as a multiple of those of its stage", least=1
    )
    conditional: bool = option(False, "condition both networks on the labels of the data")
    label_dim: int = option(64, "components of the generator's embedding of a label", least=1)
    objective: str = option("relativistic_paired", "loss of both networks", choices=losses.NAMES)
    penalties: str = option(
        "r1+r2",
        "squared gradient norm of the critic: on real and on generated pictures, or on real pictures only",
        choices=PENALTIES,
    )
    batch_size: int = option(512, "real images of one step of either network", least=1)
    burn_in_kimg: float = option(
        20_000.0,
        "kimg (thousands of real images shown to the critic) in which gamma, learning_rate, beta2, ema_half_life_kimg"
        " and augmentation_p go from their first to their second value",
        least=0,
    )
    gamma: tuple[float, float] = option(
        (0.05, 0.005), "weight of the penalties at the start and after burn_in_kimg", least=0
    )
    learning_rate: tuple[float, float] = option(
        (2e-4, 5e-5),
        "learning rate of both networks at the start and after burn_in_kimg",
        least=0,
    )
    beta1: float = option(0.0, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: tuple[float, float] = option(
        (0.9, 0.99),
        "decay of Adam's mean of squared gradients at the start and after burn_in_kimg",
        least=0,
        below=1,
    )
    ema_half_life_kimg: tuple[float, float] = option(
        (0.0, 5_000.0),
        "half-life of the averaged generator at the start and after burn_in_kimg, in kimg (thousands of real images"
        " shown to the critic); 0 for a copy",
        least=0,
    )
    augmentation_p: tuple[float, float] = option(
        (0.0, 0.55),
        "probability of each augmentation at the start and after burn_in_kimg; 0,0 for no augmentation",
        least=0,
        most=1,
    )
    dtype: str = option(
        "float32",
        "dtype of the arithmetic at the four largest sizes of feature maps above 4 x 4 pixels",
        choices=adversarial.DTYPES,
    )
    remat: bool = adversarial.remat_option()


def game(options: Options, spec: Spec) -> Game:
    check(options)
    _check_pictures(options, spec)
    model = R3GAN(options, spec, adversarial.classes(options, spec))
    latent = jnp.zeros((2, options.latent_dim), jnp.float32)
    label = None if model.num_classes is None else jnp.zeros((2,), jnp.int32)
    return Game(
        players={
            "critic": Player(
                model.critic(),
                (jnp.zeros((2, *spec.shape), jnp.float32), label),
                model.optimizer(),
                score=score,
            ),
            "generator": Player(
                model.generator(), (latent, label), model.optimizer(), model.average(), score=score
            ),
        },
        stages=(model.stage(),),
        outputs={SAMPLES: Output(model.samples, spec.shape, () if label is None else ("label",))},
        spec=spec,
        tools=latent_tools(paint, options.latent_dim, model.num_classes, spec.shape),
    )


def score(network: Network, x: jax.Array, label: jax.Array | None) -> jax.Array:
    """See `Player.score`."""
    return network(x, label)


def paint(networks: Mapping[str, Network], z: jax.Array, label: jax.Array | None) -> jax.Array:
    """Pictures for the tools, see `latent_tools`."""
    return networks["generator"](z, label)


@dataclasses.dataclass(frozen=True)
class R3GAN:
    """The networks, schedules, losses and samples of the game."""

    options: Options
    spec: Spec
    num_classes: int | None

    # Networks ---------------------------------------------------------------------------------------------

    def generator(self) -> r3gan.Generator:
        return r3gan.Generator(
            **self._backbone(), channels=self.spec.shape[2], label_dim=self.options.label_dim
        )

    def critic(self) -> r3gan.Critic:
        return r3gan.Critic(**self._backbone())

    def _backbone(self) -> dict[str, Any]:
        return {
            **stages(self.options, self.spec.shape[0]),
            "expansion": self.options.expansion,
            "num_classes": self.num_classes,
            "dtype": adversarial.compute_dtype(self.options),
            "remat": self.options.remat,
        }

    # Schedules --------------------------------------------------------------------------------------------

    def ramp(self, ends: tuple[float, float]) -> Ramp:
        """v0 + (v1 - v0) (1 - cos(pi t / T)) / 2 for t < T, then v1.

        In rounds, because the clock's kimg count the real pictures of both players and t those of the critic.
        """
        rounds = 1000 * self.options.burn_in_kimg / self.options.batch_size
        return Ramp(*ends, over=rounds, unit="step", shape="cosine")

    def optimizer(self) -> optax.GradientTransformation:
        """Adam, whose correction of the mean of squared gradients uses the present beta2."""
        options = self.options
        return turns.scheduled(
            optax.adam,
            learning_rate=self.ramp(options.learning_rate),
            b1=options.beta1,
            b2=self.ramp(options.beta2),
        )

    def average(self) -> Ema | None:
        """The average of the generator, with the decay 2^(-batch size / half-life); None for half-lives of 0."""
        if not any(self.options.ema_half_life_kimg):
            return None
        start, end = self.options.ema_half_life_kimg
        # A round has two real batches, so the half-life in real pictures is twice that in pictures of the critic.
        return Ema(self.ramp((2 * start, 2 * end)))

    # Losses -----------------------------------------------------------------------------------------------

    def stage(self) -> Stage:
        played = (Turn(("critic",), self.critic_loss), Turn(("generator",), self.generator_loss))
        return Stage(played, self.options.batch_size)

    def critic_loss(self, play: Play) -> Loss:
        """E softplus(C(x') - C(x)) + gamma / 2 (E ||grad C(x)||^2 + E ||grad C(x')||^2)."""
        critic, real, label = play.moving("critic"), play.batch["image"], self.label(play)
        fake = jax.lax.stop_gradient(self.fake(play, play.networks["generator"]))
        twice = None if label is None else jnp.concatenate([label, label])
        logits = self.apply_critic(play, critic, jnp.concatenate([real, fake]), twice, "both")
        real_logits, fake_logits = jnp.split(logits, 2)
        norms = self.gradient_norms(play, critic.frozen, real, fake, twice)
        gamma = at(self.ramp(self.options.gamma), play.clock)
        adversarial_loss = losses.by_name(self.options.objective).critic(real_logits, fake_logits)
        means = {"real": jnp.mean(real_logits), "fake": jnp.mean(fake_logits)}
        return Loss(
            adversarial_loss + gamma * jnp.asarray(sum(norms.values())),
            {**means, "gap": means["real"] - means["fake"], **norms, "gamma": gamma},
        )

    def gradient_norms(
        self, play: Play, critic: Network, real: jax.Array, fake: jax.Array, twice: jax.Array | None
    ) -> dict[str, jax.Array]:
        """The penalties without their weight, with gradients with respect to the pictures before augmentation.

        `twice` are the labels of the real and of the generated pictures.
        """
        if self.options.penalties == "r1":
            label = None if twice is None else twice[: play.num]
            judge = partial(self.apply_critic, play, critic, label=label, purpose="both")
            return {"r1": penalties.r1(judge, real)}
        judge = partial(self.apply_critic, play, critic, label=twice, purpose="both")
        r1, r2 = penalties.r1_r2(judge, real, fake)
        return {"r1": r1, "r2": r2}

    def generator_loss(self, play: Play) -> Loss:
        """E softplus(C(x) - C(x'))."""
        critic, label = play.networks["critic"], self.label(play)
        fake = self.fake(play, play.moving("generator"))
        # Separate calls, since the gradient goes through the generated pictures only.
        fake_logits = self.apply_critic(play, critic, fake, label, "fake")
        real_logits = self.apply_critic(play, critic, play.batch["image"], label, "real")
        objective = losses.by_name(self.options.objective)
        return Loss(objective.generator(fake_logits, real_logits))

    def label(self, play: Play) -> jax.Array | None:
        return None if self.num_classes is None else play.batch["label"]

    def fake(self, play: Play, generator: Network) -> jax.Array:
        """Generated pictures with the labels of the batch, in its order."""
        latent = turns.latents(play, play.num, self.options.latent_dim)
        return generator(latent, self.label(play))

    def apply_critic(
        self,
        play: Play,
        critic: Network,
        pictures: jax.Array,
        label: jax.Array | None,
        purpose: str,
    ) -> jax.Array:
        """Logits of augmented pictures; the same purpose draws the same augmentation."""
        if any(self.options.augmentation_p):
            p = at(self.ramp(self.options.augmentation_p), play.clock)
            key = play.rng(f"augmentation of {purpose}")
            pictures = augment.ada(pictures, key, p, "bgcfnc", AUGMENTATION)
        return critic(pictures, label)

    # Samples ----------------------------------------------------------------------------------------------

    def samples(self, play: Play) -> jax.Array:
        return jnp.clip(self.fake(play, play.networks["generator"]), -1.0, 1.0)


# Stages ---------------------------------------------------------------------------------------------------


def stages(options: Options, side: int) -> dict[str, tuple[int, ...]]:
    """{"widths": ..., "groups": ..., "blocks": ...} with one number for each stage, for pictures of a side.

    >>> stages(Options(), 64)
    {'widths': (768, 768, 768, 768, 384), 'groups': (96, 96, 96, 96, 48), 'blocks': (2, 2, 2, 2, 2)}

    Raises:
      OptionError: another number of stages, or groups that do not divide the channels.
    """
    sizes = [r3gan.BASE << i for i in range((side // r3gan.BASE).bit_length())]
    widths = _of_stages(options, "widths", sizes) or tuple(
        max(1, min(768, 768 * 32 // size)) for size in sizes
    )
    inner = [options.expansion * width for width in widths]
    groups = _of_stages(options, "groups", sizes) or tuple(
        math.gcd(n, max(1, width // 8)) for n, width in zip(inner, widths, strict=True)
    )
    if any(n % g for n, g in zip(inner, groups, strict=True)):
        fix = tuple(math.gcd(n, g) for n, g in zip(inner, groups, strict=True))
        raise OptionError(
            "groups",
            options.groups,
            f"they must divide the {', '.join(map(str, inner))} channels inside of the blocks",
            {"groups": fix[0] if len(set(fix)) == 1 else fix},
        )
    return {"widths": widths, "groups": groups, "blocks": _of_stages(options, "blocks", sizes)}


def _of_stages(options: Options, name: str, sizes: list[int]) -> tuple[int, ...]:
    """The value of an option for each stage; empty if the option is."""
    value = getattr(options, name)
    if isinstance(value, int):
        return (value,) * len(sizes)
    if value and len(value) != len(sizes):
        raise OptionError(
            name,
            value,
            f"there are {len(sizes)} stages, with feature maps of {', '.join(map(str, sizes))} pixels",
            {name: (*value, *value[-1:] * len(sizes))[: len(sizes)]},
        )
    return value


def _check_pictures(options: Options, spec: Spec) -> None:
    """Raises for data that cannot be made or augmented."""
    spec.require("r3gan", image="image")
    height, width, channels = spec.shape
    if height != width or height < 8 or height & (height - 1):
        nearest = 1 << max(3, (max(height, width) - 1).bit_length())
        raise OptionError(
            None,
            None,
            f"r3gan makes square pictures of a power of two pixels, from 8; those of the data are {height} x {width}",
            {"data.resolution": nearest},
        )
    if any(options.augmentation_p) and channels not in (1, 3):
        raise OptionError(
            "augmentation_p",
            options.augmentation_p,
            f"the augmentation changes colours, and the data has {channels} channels, not 1 or 3",
            {"augmentation_p": (0.0, 0.0)},
        )
