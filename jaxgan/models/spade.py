"""GauGAN: pictures from label maps, by a generator whose normalisation depends on the map at every pixel (SPADE).

Paper: Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization". Reference implementations:
the authors' NVlabs/SPADE (PyTorch, for non-commercial use) and taki0112/SPADE-Tensorflow (MIT). This module was written
from the paper.

    critic       mean over scales of E max(0, 1 - D(m, x)) + E max(0, 1 + D(m, G(z, m)))             one logit per patch
    generator    -E D(m, G(z, m))
                 + feature_weight * the sum over layers of |D_l(m, x) - D_l(m, G(z, m))|, averaged over scales
                 + perceptual_weight * distance of x and G(z, m) in the features of a classifier
                 + kl_weight * KL(E(x) || N(0, I))                                                   with an encoder E

m is the label map, one-hot, x its picture. With `encoder`, z is drawn from the distribution that the encoder finds for
x, so the style of a picture can be applied to another map, and z from N(0, I) gives several styles of one map. Without,
the generator has no noise. The generator plays first in each round.

`norm` replaces SPADE by another normalisation, which the label map then passes as an input only; see
`jaxgan.nets.spade.Generator`.

Intended differences: KL is averaged over the batch, not summed over the part of it on one GPU (with the authors' 4
pictures on each, their weight of 0.05 is 0.2 here). The perceptual loss normalises pictures as its network was trained;
the reference does not. The critic is not given the edges of instances, as data with label maps has none. Label maps are
reduced by taking every n-th pixel. Spectral normalisation is where the reference has it: not in the first and last
convolutions and in SPADE's own; the paper says in all layers.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import adversarial, losses, turns
from jaxgan.game import TRANSFORMS, Game, Output, Play, Player, Stage, Turn
from jaxgan.nets import perceptual
from jaxgan.nets.labels import one_hot
from jaxgan.nets.norm import PLAIN
from jaxgan.nets.patchgan import ScalesCritic
from jaxgan.nets.spade import NORMS, Encoder, Generator, glorot_002
from jaxgan.network import Network
from jaxgan.options import MOST_COMPONENTS, Option, OptionError, check, option
from jaxgan.spec import Spec
from jaxgan.tools import Made, Tool, compiled

MOST_DOUBLINGS, USUAL_DOUBLINGS, SMALLEST = 7, 5, 4
ENCODED = 4  # least side of the encoder's last features


@dataclasses.dataclass(frozen=True)
class Options(adversarial.DecayingOptions):
    width: int = option(
        64, "channels at the picture's size; the first blocks have 16 times as many", least=1
    )
    doublings: int = option(
        0,
        "number of times that the generator doubles the size: 5 in the paper, 6 for Cityscapes, 7 for large pictures; 0"
        " for the largest number up to 5 that starts from 4 pixels or more",
        least=0,
        most=MOST_DOUBLINGS,
    )
    norm: str = option(
        "spade",
        "the generator's normalisation: SPADE; from shares of labels and latent (adain); or with constant gains",
        choices=NORMS,
    )
    spade_norm: str = option(
        "batch", "the normalisation without parameters inside SPADE", choices=PLAIN
    )
    spade_hidden: int = option(128, "channels of SPADE's first convolution", least=1)
    encoder: bool = option(False, "train an encoder of the style of pictures, as a VAE has")
    latent_dim: int = option(
        256,
        "components of the latent vector of the style",
        least=1,
        most=MOST_COMPONENTS,
    )
    critic_width: int = option(64, "channels of the critic's first convolution", least=1)
    critic_layers: int = option(
        4, "convolutions of the critic at each scale, but the last", least=2
    )
    critic_scales: int = option(
        2, "number of scales, each half the size of the one before", least=1
    )
    objective: str = option("hinge", "adversarial loss of both networks", choices=losses.NAMES)
    feature_weight: float = option(
        10.0, "weight of the distance of the critic's features, summed over its layers", least=0
    )
    perceptual: str = option(
        "vgg19", "network of the perceptual loss", choices=("none", *perceptual.NAMES)
    )
    perceptual_file: str = option(
        "",
        "file with the weights of that network (two for LPIPS: BACKBONE,HEADS); if empty, they are fetched",
    )
    perceptual_weight: float = option(10.0, "weight of the perceptual loss", least=0)
    kl_weight: float = option(
        0.05, "weight of the divergence of the encoder's latents from N(0, I)", least=0
    )
    batch_size: int = option(32, "real images per step", least=1)
    generator_learning_rate: float = option(
        1e-4, "learning rate of the generator and the encoder", least=0
    )
    critic_learning_rate: float = option(4e-4, "learning rate of the critic", least=0)
    beta1: float = 0.0
    beta2: float = 0.9


def game(options: Options, spec: Spec) -> Game:
    check(options)
    spec.require("spade", image="image", label_map="label_map")
    return Spade(options, spec, _doublings(options, spec)).game()


def prepare(options: Options) -> None:
    """Reads the weights of the perceptual loss."""
    if options.perceptual != "none":
        perceptual.by_name(options.perceptual, options.perceptual_file).load()


@dataclasses.dataclass(frozen=True)
class Spade:
    """Networks, losses and outputs of the game for some options and data."""

    options: Options
    spec: Spec
    doublings: int

    @property
    def labels(self) -> int:
        """The number of labels in the maps."""
        number = self.spec["label_map"].number
        assert number is not None
        return number

    def game(self) -> Game:
        spec, given = self.spec, ("label_map",)
        outputs = {TRANSFORMS: Output(self.transforms, spec.shape, given)}
        if self.options.encoder:
            outputs["guided"] = Output(self.guided, spec.shape, (*given, "image"))
        return Game(self.players(), (self.stage(),), outputs, spec, {"paint": self.tool()})

    # Networks ---------------------------------------------------------------------------------------------

    def players(self) -> dict[str, Player]:
        options, spec = self.options, self.spec
        dtype, channels = adversarial.compute_dtype(options), spec.shape[2]
        generator = Generator(
            channels,
            options.width,
            self.doublings,
            options.norm,
            options.spade_norm,
            options.spade_hidden,
            dtype,
        )
        critic = ScalesCritic(
            options.critic_width, options.critic_layers, options.critic_scales, glorot_002, dtype
        )
        picture = jnp.zeros((2, *spec.shape), jnp.float32)
        label_map = jnp.zeros((2, *spec.shape[:2], self.labels), jnp.float32)
        latent = jnp.zeros((2, options.latent_dim), jnp.float32) if options.encoder else None
        adam = options.adam(options.generator_learning_rate)
        players = {
            "critic": Player(
                critic,
                (jnp.concatenate([label_map, picture], axis=-1),),
                options.adam(options.critic_learning_rate),
            ),
            "generator": Player(generator, (latent, label_map), adam, adversarial.average(options)),
        }
        if options.encoder:
            layers = max(1, min(6, (min(spec.shape[:2]) // ENCODED).bit_length() - 1))
            encoder = Encoder(options.latent_dim, layers, dtype=dtype)
            players["encoder"] = Player(encoder, (picture,), adam)
        if options.perceptual != "none":
            seen = perceptual.by_name(options.perceptual, options.perceptual_file)
            perceptual.check_pictures(seen, options.perceptual, spec.shape)
            players["perceptual"] = Player(seen, ())
        return players

    # Losses -----------------------------------------------------------------------------------------------

    def stage(self) -> Stage:
        options, objective = self.options, losses.by_name(self.options.objective)
        # `turns.feature_matching` averages over the layers, where the paper sums.
        weights = {
            "features": (options.feature_weight * options.critic_layers, turns.feature_matching)
        }
        if options.perceptual != "none":
            weights["perceptual"] = (options.perceptual_weight, perceptual_distance)
        if options.encoder:
            weights["kl"] = (options.kl_weight, turns.kl)
        terms = {"adversarial": turns.generator_objective(objective)}
        terms |= {name: turns.weighted(*pair) for name, pair in weights.items()}
        critic = turns.critic_loss(
            self.real,
            partial(self.fake, False),
            {"adversarial": turns.critic_objective(objective)},
            apply_critic=self.apply_critic,
        )
        generator = turns.generator_loss(
            self.real, partial(self.fake, True), terms, apply_critic=self.apply_critic
        )
        players = ("generator", "encoder") if options.encoder else ("generator",)
        turn = Turn(players, generator, "generator")
        return Stage((turn, Turn(("critic",), critic, fresh_batch=False)), options.batch_size)

    def real(self, play: Play) -> turns.Examples:
        """The pictures and their label maps as indices, of which there is less to send to other devices."""
        return turns.Examples(play.batch["image"], {"label_map": play.batch["label_map"]})

    def fake(
        self, moving: bool, play: Play, generator: Network, real: turns.Examples
    ) -> turns.Examples:
        """Pictures of the label maps of `real` in its style; `moving`: in the turn of generator and encoder."""
        notes, z = {}, None
        if self.options.encoder:
            encoder = play.moving("encoder") if moving else play.networks["encoder"]
            mean, log_variance = encoder(real.pictures)
            noise = turns.latents(play, play.num, self.options.latent_dim)
            z = mean + jnp.exp(0.5 * log_variance) * noise
            notes = {"mean": mean, "log_variance": log_variance}
        pictures = generator(z, one_hot(real.given["label_map"], self.labels), train=True)
        return turns.Examples(pictures, real.given, notes)

    def apply_critic(
        self, play: Play, critic: Network, pictures, given, purpose: str
    ) -> turns.CriticOutput:
        """The critic's output for pictures with their label maps, indices [N, H, W]."""
        del play, purpose
        label_map = one_hot(given["label_map"], self.labels)
        return turns.CriticOutput(*critic(jnp.concatenate([label_map, pictures], axis=-1)))

    # Outputs and tools ------------------------------------------------------------------------------------

    def transforms(self, play: Play) -> jax.Array:
        """The output: a picture of each label map, in a random style."""
        latent = None
        if self.options.encoder:
            latent = turns.latents(play, play.num, self.options.latent_dim)
        return self.paint(play.networks["generator"], latent, play.batch["label_map"])

    def guided(self, play: Play) -> jax.Array:
        """The output: a picture of each label map, in the style of its own picture."""
        mean, _ = play.networks["encoder"](play.batch["image"])
        return self.paint(play.networks["generator"], mean, play.batch["label_map"])

    def paint(
        self, generator: Network, latent: jax.Array | None, label_map: jax.Array
    ) -> jax.Array:
        """Pictures [N, H, W, C] of label maps, indices [N, H, W]."""
        return generator(latent, one_hot(label_map, self.labels), train=False)

    def tool(self) -> Tool:
        help = "Pictures of a label map, an indexed PNG of the size of the data"
        options: dict[str, Option] = {}
        style: tuple[str, ...] = ()
        if self.options.encoder:
            help += ", in random styles or in the style of a picture"
            options = {
                "samples": Option(1, "pictures, each of its own random style", least=1),
                "columns": Option(0, "columns of the grid; 0 for one row", least=0),
            }
            style = ("style",)
        return Tool(
            self.make_paintings,
            f"{help}.",
            options,
            pictures=("label_map",),
            optional_pictures=style,
            label_maps=("label_map",),
        )

    def make_paintings(
        self,
        play: Play,
        label_map: np.ndarray,
        style: np.ndarray | None = None,
        *,
        samples: int = 1,
        columns: int = 0,
    ) -> Made:
        """The tool: pictures of a label map, int [H, W]; in the style of a picture [H, W, C], if it is given."""
        self._check_map(label_map)
        latent = None
        if style is not None:
            if style.shape != self.spec.shape:
                size, shape = (" x ".join(map(str, x[:2])) for x in (self.spec.shape, style.shape))
                raise ValueError(
                    f"the picture of the style is {shape}, but the network was trained on {size}; resize it to {size}."
                )
            latent, samples = play.networks["encoder"](style[None])[0], 1
        elif self.options.encoder:
            latent = turns.latents(play, samples, self.options.latent_dim)
        maps = jnp.asarray(np.stack([label_map] * samples))
        made = compiled(self.paint, play.networks["generator"], latent, maps)
        return Made(np.asarray(made), columns or samples)

    def _check_map(self, label_map: np.ndarray) -> None:
        """Raises unless the label map has the size and the labels of the data."""
        most, size = int(label_map.max()), self.spec.shape[:2]
        if most >= self.labels:
            raise ValueError(
                f"the label map has the index {most}, but the network knows {self.labels} labels, from 0 to"
                f" {self.labels - 1}; save it with indices up to {self.labels - 1}."
            )
        if label_map.shape != size:
            height, width = label_map.shape
            raise ValueError(
                f"the label map is {height}x{width}, but the network was trained on {size[0]}x{size[1]}; resize it, by"
                " the nearest pixel."
            )


def perceptual_distance(scene: turns.Scene) -> jax.Array:
    """The distance of real and generated pictures in the features of a frozen classifier."""
    seen = scene.play.networks["perceptual"]
    return seen(scene.real.pictures, scene.fake.pictures)


def _doublings(options: Options, spec: Spec) -> int:
    """How many times the generator doubles the size of its features; raises if the data does not allow it."""
    height, width = spec.shape[:2]
    possible = [n for n in range(1, MOST_DOUBLINGS + 1) if height % 2**n == width % 2**n == 0]
    chosen = options.doublings
    if not chosen:
        usual = [
            n for n in possible if n <= USUAL_DOUBLINGS and min(height, width) >= SMALLEST << n
        ]
        chosen = max(usual, default=0)
    if chosen in possible:
        return chosen
    larger = 2 ** max(5, (min(height, width) - 1).bit_length())
    fixes = [{"doublings": possible[-1]}] if possible else []
    raise OptionError(
        "doublings",
        options.doublings,
        f"both sides of a picture must be multiples of 2 to the power of the doublings, and those of the data are"
        f" {height}x{width}",
        *fixes,
        {"doublings": 0, "data.resolution": larger}
        if options.doublings
        else {"data.resolution": larger},
    )
