"""pix2pix: a U-Net that translates pictures, trained on pairs with a critic of patches.

Paper: Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks". Reference implementations:
the authors' phillipi/pix2pix (Torch) and junyanz/pytorch-CycleGAN-and-pix2pix (PyTorch).

    critic     1/2 E[-log D(x, y)] + 1/2 E[-log(1 - D(x, G(x)))]            one logit per patch of x and y, concatenated
    generator  E[-log D(x, G(x))] + l1_weight * E|y - G(x)|                 x the condition, y the picture

The generator's only noise is the dropout in its decoder, which is active in training and at test time. At test time,
batch normalisation uses the statistics of the test batch, not running means, and that batch is one picture, as in both
reference implementations. The translation of a picture therefore depends on the picture and its noise only.
`norm="batch_running"` uses the running means instead. `norm="instance"` normalises each picture separately in training
too, as "batch" does with `batch_size=1` (but the critic then has no gains). Use it for larger batches, whose statistics
differ from those of single pictures.

Intended differences: the bottleneck is not normalised, as in the released code; in the experiments of the paper it was,
which sets the bottleneck of a batch of one to zero (see its errata). Dropout in the decoder's first three layers, as in
the paper; the PyTorch code has it in the second to fourth (`dropout_layers=1,2,3`). Convolutions before a normalisation
have no bias (the Torch code sets it to zero before each step). Gains start at 1 and not at N(1, 0.02). The generator's
turn draws new dropout; in the references both players are trained on the same translation.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import adversarial, losses, turns
from jaxgan.game import TRANSFORMS, Game, Output, Play, Player, Stage
from jaxgan.nets.patchgan import PatchCritic, receptive_field
from jaxgan.nets.unet import UNet
from jaxgan.network import Network
from jaxgan.options import Option, OptionError, check, option
from jaxgan.spec import Spec
from jaxgan.tools import Made, Tool

NORMS = ("batch", "batch_running", "instance")
PATCHES = {receptive_field(layers): layers for layers in range(7)}
MOST_DOWNS, FEWEST_DOWNS = 8, 3


@dataclasses.dataclass(frozen=True)
class Options(adversarial.DecayingOptions):
    generator_width: int = option(64, "channels of the U-Net's first convolution", least=1)
    downs: int = option(
        0,
        f"number of times that the U-Net halves a picture; 0 for the largest possible number, at most {MOST_DOWNS}",
        least=0,
    )
    skips: bool = option(True, "skip connections between encoder and decoder")
    dropout: float = option(0.5, "dropout rate of the decoder", least=0, below=1)
    dropout_layers: tuple[int, ...] = option(
        (0, 1, 2),
        "decoder layers with dropout, counted from the bottleneck; 1,2,3 in the PyTorch code. A small U-Net has fewer",
        least=0,
        most=MOST_DOWNS - 2,
        empty=True,
    )
    critic_width: int = option(64, "channels of the critic's first convolution", least=1)
    patch: int = option(
        70, "receptive field of one logit of the critic, side in pixels", choices=tuple(PATCHES)
    )
    conditional_critic: bool = option(True, "give the condition to the critic with the picture")
    norm: str = option(
        "batch",
        "normalisation of both networks: by batch statistics, at test time too; by batch statistics and, at test"
        " time, running means; or of each picture separately",
        choices=NORMS,
    )
    objective: str = option(
        "non_saturating", "adversarial loss of both networks", choices=losses.NAMES
    )
    adversarial_weight: float = option(
        1.0, "weight of the adversarial loss of the generator", least=0
    )
    l1_weight: float = option(
        100.0, "weight of the mean absolute error of the generator's picture", least=0
    )
    batch_size: int = option(1, "pairs per step", least=1)
    learning_rate: float = option(2e-4, "learning rate of both networks", least=0)


def game(options: Options, spec: Spec) -> Game:
    _check(options, spec)
    return Pix2Pix(options, spec, options.downs or halvings(spec.shape)).game()


@dataclasses.dataclass(frozen=True)
class Pix2Pix:
    """Networks, losses and outputs of the game for some options and data."""

    options: Options
    spec: Spec
    downs: int

    @property
    def condition(self) -> tuple[int, ...]:
        """The shape of a condition."""
        return self.spec["condition"].shape

    def game(self) -> Game:
        options, spec = self.options, self.spec
        generator, critic = self.networks()
        picture, condition = (
            jnp.zeros((2, *shape), jnp.float32) for shape in (spec.shape, self.condition)
        )
        average = adversarial.average(options)
        return Game(
            players={
                "critic": Player(
                    critic, (self.shown(condition, picture),), options.adam(options.learning_rate)
                ),
                "generator": Player(
                    generator, (condition,), options.adam(options.learning_rate), average
                ),
            },
            stages=self.stages(),
            outputs={TRANSFORMS: Output(self.transforms, spec.shape, ("condition",))},
            spec=spec,
            tools={
                "translate": Tool(
                    self.make_translations,
                    "A picture of any size and translations of it, each with its own dropout.",
                    {
                        "samples": Option(1, "translations, each with its own dropout", least=1),
                        "columns": Option(0, "columns of the grid; 0 for one row", least=0),
                    },
                    pictures=("condition",),
                    channels=self.condition[2],
                )
            },
        )

    def networks(self) -> tuple[UNet, PatchCritic]:
        options, dtype = self.options, adversarial.compute_dtype(self.options)
        channels, width = self.spec.shape[2], options.generator_width
        norm = "instance" if options.norm == "instance" else "batch"
        return (
            UNet(
                channels,
                width,
                self.downs,
                norm,
                options.dropout,
                options.skips,
                dtype,
                options.dropout_layers,
            ),
            PatchCritic(options.critic_width, PATCHES[options.patch], norm, dtype),
        )

    def stages(self) -> tuple[Stage, ...]:
        options, objective = self.options, losses.by_name(self.options.objective)
        # Halved, "which slows down the rate at which D learns relative to G" (Section 3.3).
        critic = {"adversarial": turns.weighted(0.5, turns.critic_objective(objective))}
        unweighted = {"adversarial": turns.generator_objective(objective), "l1": l1}
        weights = {"adversarial": options.adversarial_weight, "l1": options.l1_weight}
        return turns.alternate(
            turns.critic_loss(real, fake, critic, passes=2, apply_critic=self.apply_critic),
            turns.generator_loss(
                real,
                fake,
                {name: turns.weighted(weights[name], term) for name, term in unweighted.items()},
                apply_critic=self.apply_critic,
                after=lambda scene: {name: term(scene) for name, term in unweighted.items()},
            ),
            options.batch_size,
        )

    def apply_critic(self, play: Play, critic: Network, pictures, given, purpose: str) -> jax.Array:
        """The critic's logits [B, h, w]."""
        del play, purpose
        return critic(self.shown(given["condition"], pictures))

    def shown(self, condition: jax.Array, picture: jax.Array) -> jax.Array:
        """The critic's input: the channels of the condition and the picture, or the picture only."""
        if not self.options.conditional_critic:
            return picture
        return jnp.concatenate([condition, picture], axis=-1)

    def transforms(self, play: Play) -> jax.Array:
        """The output: a translation of each condition."""
        return self.translate(
            play.networks["generator"], play.batch["condition"], play.rng("dropout")
        )

    def translate(self, generator: Network, conditions: jax.Array, key: jax.Array) -> jax.Array:
        """Translates conditions [N, H, W, C] at test time, one by one, each with its own dropout."""

        def single(condition, row):
            rngs = {"dropout": jax.random.fold_in(key, row)}
            train = self.options.norm != "batch_running"
            return generator(condition[None], train=train, rngs=rngs)[0]

        return jax.vmap(single)(conditions, jnp.arange(len(conditions)))

    def make_translations(self, play: Play, condition: np.ndarray, *, samples, columns) -> Made:
        """The tool: a condition [H, W, 1 or 3] and translations of it."""
        condition = fit_channels(condition, self.condition[2])
        check_sides(condition.shape, self.downs)
        generator, conditions = play.networks["generator"], np.stack([condition] * samples)
        made = jax.jit(self.translate)(generator, conditions, play.rng("dropout"))
        channels = max(self.spec.shape[2], self.condition[2])
        shown = [fit_channels(picture, channels) for picture in (condition, *np.asarray(made))]
        return Made(np.stack(shown), columns or len(shown))


def real(play: Play) -> turns.Examples:
    """The real pictures with their conditions."""
    return turns.Examples(play.batch["image"], {"condition": play.batch["condition"]})


def fake(play: Play, generator: Network, real: turns.Examples) -> turns.Examples:
    """Translations of the conditions of `real`."""
    rngs = {"dropout": play.rng("dropout")}
    return turns.Examples(generator(real.given["condition"], rngs=rngs), real.given)


def l1(scene: turns.Scene) -> jax.Array:
    """The mean absolute error of the translations."""
    return jnp.mean(jnp.abs(scene.real.pictures - scene.fake.pictures))


def halvings(shape: tuple[int, ...]) -> int:
    """How many times both sides of a picture can be halved, at most 8: 8 for 256 x 256, 6 for 192 x 256."""
    return max(n for n in range(MOST_DOWNS + 1) if shape[0] % 2**n == shape[1] % 2**n == 0)


def fit_channels(picture: np.ndarray, channels: int) -> np.ndarray:
    """[H, W, 1 or 3] -> [H, W, channels]: grey is repeated to colours, colours are reduced to their luma."""
    if picture.shape[2] == channels:
        return picture
    if channels == 1:
        return (picture @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return np.repeat(picture, channels, axis=2)


def check_sides(shape: tuple[int, ...], downs: int) -> None:
    height, width = shape[:2]
    multiple = 2**downs
    if height % multiple or width % multiple:
        near = tuple(max(1, round(side / multiple)) * multiple for side in (height, width))
        raise ValueError(
            f"the picture is {height}x{width}, but this U-Net halves {downs} times, so both sides must be multiples of"
            f" {multiple} pixels; resize it to {near[0]}x{near[1]}."
        )


def _check(options: Options, spec: Spec) -> None:
    """Raises unless the data has pairs, of a size that the networks support."""
    check(options)
    spec.require("pix2pix", image="image", condition="image")
    height, width = spec.shape[:2]
    condition = spec["condition"].shape
    if spec.shape[:2] != condition[:2]:
        raise ValueError(
            f"pix2pix keeps a picture's size, but the data pairs one of {condition[0]}x{condition[1]} with"
            f" one of {height}x{width}; bring both to one size."
        )
    # The last two convolutions, of stride 1, remove two more pixels.
    layers, side = PATCHES[options.patch], min(height, width)
    if layers and side < 3 * 2**layers:
        fits = max(size for size, n in PATCHES.items() if n == 0 or side >= 3 * 2**n)
        raise OptionError(
            "patch",
            options.patch,
            f"such a critic has no logits for pictures of {height}x{width}",
            {"patch": fits},
        )
    most = halvings(spec.shape)
    larger = 2 ** max(5, (min(height, width) - 1).bit_length())
    fixes = [{"downs": most}] if most >= 2 else []
    if options.downs and not 2 <= options.downs <= most:
        least = "it must be at least 2, and " if options.downs < 2 else ""
        raise OptionError(
            "downs",
            options.downs,
            f"{least}pictures of {height}x{width} can be halved {most} times",
            *fixes,
            {"downs": 0, "data.resolution": larger},
        )
    if not options.downs and most < FEWEST_DOWNS:
        raise OptionError(
            None,
            None,
            f"pictures of {height}x{width} can be halved {most} times, which makes a shallow U-Net",
            {"data.resolution": larger},
            *fixes,
        )
