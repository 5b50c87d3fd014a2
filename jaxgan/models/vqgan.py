"""VQGAN: an autoencoder with a codebook, a perceptual loss and a critic; then a transformer over the codes.

Paper: Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis", Sections 3.1 and 3.2.
Reference implementation: CompVis/taming-transformers (PyTorch).

    L = |x - y| + LPIPS(x, y) + codebook_weight |sg[z] - e|^2 + commitment_weight |z - sg[e]|^2
        + adversarial_weight w L_G

with z = E(x), e the nearest codes, y = D(e), and w = |dL_rec / dW| / (|dL_G / dW| + delta), W the kernel of the
decoder's last layer. There are four stages: at first the autoencoder alone is trained; from `critic_from` on the critic
is trained too; from `adversarial_from` on the autoencoder's loss includes the adversarial loss; from `transformer_from`
on only the transformer is trained.

Intended differences: the critic is trained before the adversarial loss is added; in the reference both start together.
beta is the weight of the commitment loss, as in the paper; in the reference it is that of the codebook loss ("legacy",
`codebook_weight=0.25, commitment_weight=1`). `adaptive_delta` is the paper's; the reference has 1e-4. The critic's
running statistics, which only evaluation uses, are updated in its own turn only; its gains start at 1; all biases start
at 0. LPIPS's heads have no dropout. Prefixes are separate tokens, which are not predicted; in the reference they share
the numbers of codes. `codebook`, `codebook_init`, `revive_after` and `ema_half_life_kimg` are additions, off at first.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgan import adversarial, draws, losses
from jaxgan.game import Game, Loss, Output, Play, Player, Stage, State, Turn
from jaxgan.nets import codebook, perceptual
from jaxgan.nets.codebook import Codebook
from jaxgan.nets.patchgan import PatchCritic
from jaxgan.nets.transformer import SAMPLING, Transformer, sample
from jaxgan.nets.vqgan import Decoder, Encoder, decode, encode, levels, psnr, reconstruct
from jaxgan.network import Network
from jaxgan.options import MOST_COMPONENTS, MOST_LAYERS, OptionError, check, option
from jaxgan.spec import Spec
from jaxgan.tools.codes import code_tools


@dataclasses.dataclass(frozen=True)
class Options:
    # Autoencoder.
    channels: int = option(128, "channels of the autoencoder's first level", least=1)
    channel_multiples: tuple[int, ...] = option(
        (1, 1, 2, 2, 4),
        "channels of each level, as multiples of channels; each level but the last halves the picture",
        least=1,
    )
    blocks: int = option(2, "residual blocks of a level", least=0, most=MOST_LAYERS)
    attention_resolutions: tuple[int, ...] = option(
        (16,), "sides in pixels at which attention follows each block", least=1, empty=True
    )
    groups: int = option(32, "groups of group normalisation", least=1)
    latent_channels: int = option(256, "channels between encoder and codebook", least=1)
    # Codebook.
    codes: int = option(1024, "number of codes in the codebook", least=1)
    code_dim: int = option(256, "components of a code", least=1, most=MOST_COMPONENTS)
    codebook: str = option(
        "gradient",
        "how the codes are learned: by the gradient of the loss, or as moving averages of their latents",
        choices=("gradient", "ema"),
    )
    codebook_decay: float = option(
        0.99, "decay of the moving averages, per batch (ema)", least=0, most=1
    )
    codebook_init: str = option(
        "uniform",
        "initial codes: random, or latents of the first batch",
        choices=("uniform", "data"),
    )
    codebook_weight: float = option(
        1.0, "weight of the codes' squared distance to the latents (gradient)", least=0
    )
    commitment_weight: float = option(
        0.25, "weight of the latents' squared distance to the codes, beta", least=0
    )
    revive_after: int = option(
        0,
        "number of batches after which an unused code is replaced by a latent of the batch; 0 for never",
        least=0,
    )
    # Losses.
    perceptual: str = option(
        "lpips_vgg", "network of the perceptual loss", choices=("none", *perceptual.NAMES)
    )
    perceptual_file: str = option(
        "",
        "file with the weights of that network (two for LPIPS: BACKBONE,HEADS); if empty, they are fetched",
    )
    perceptual_weight: float = option(1.0, "weight of the perceptual loss", least=0)
    critic_width: int = option(64, "channels of the critic's first convolution", least=1)
    critic_layers: int = option(3, "convolutions of stride 2 in the critic", least=1)
    adversarial_weight: float = option(
        0.8, "weight of the adversarial loss, multiplied by the adaptive weight", least=0
    )
    adaptive_delta: float = option(
        1e-6, "added to the denominator of the adaptive weight, delta", least=0
    )
    batch_size: int = option(12, "real images per step of the autoencoder", least=1)
    learning_rate_per_image: float = option(
        4.5e-6,
        "learning rate of autoencoder and critic, divided by batch_size",
        least=0,
    )
    beta1: float = option(0.5, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.9, "decay of Adam's mean of squared gradients", least=0, below=1)
    critic_from: int = option(240_000, "round from which the critic is trained", least=0)
    adversarial_from: int = option(
        250_000, "round from which the adversarial loss is added; not before critic_from", least=0
    )
    transformer_from: int = option(
        500_000,
        "round from which the transformer is trained, and nothing else; 0 for an imported autoencoder",
        least=0,
    )
    # Transformer.
    conditional: bool = option(False, "condition the transformer on the labels of the data")
    layers: int = option(24, "layers of the transformer", least=1, most=MOST_LAYERS)
    heads: int = option(16, "heads of its attention, a divisor of width", least=1)
    width: int = option(1024, "components of its activations", least=1)
    context: int = option(256, "context of the transformer in codes", least=1)
    dropout: float = option(0.0, "dropout rate of the transformer", least=0, below=1)
    keep: float = option(
        1.0,
        "share of the input codes that are not replaced by random codes (the reference's pkeep)",
        least=0,
        most=1,
    )
    transformer_batch_size: int = option(16, "real images per step of the transformer", least=1)
    transformer_learning_rate_per_image: float = option(
        4.5e-6, "learning rate of the transformer, divided by transformer_batch_size", least=0
    )
    weight_decay: float = option(0.01, "weight decay of the transformer's matrices", least=0)
    ema_half_life_kimg: float = option(
        0.0,
        "half-life of the averaged transformer in kimg (thousands of real images); 0 keeps none",
        least=0,
    )
    dtype: str = option("float32", "dtype of the networks' arithmetic", choices=adversarial.DTYPES)


def game(options: Options, spec: Spec) -> Game:
    check(options)
    spec.require("vqgan", image="image")
    players = _players(options, spec)
    encoder, transformer = players["encoder"].module, players["transformer"].module
    procedure = Procedure(options, _grid(encoder, spec))
    _check(options, spec, procedure.grid)
    if "perceptual" in players:
        perceptual.check_pictures(players["perceptual"].module, options.perceptual, spec.shape)
    needs = ("label",) if options.conditional else ()
    return Game(
        players=players,
        stages=_stages(options, procedure),
        outputs={
            "samples": Output(procedure.samples, spec.shape, needs, SAMPLING),
            "transforms": Output(procedure.transforms, spec.shape, ("image",)),
        },
        spec=spec,
        tools=code_tools(encoder, transformer, spec.shape),
    )


def prepare(options: Options) -> None:
    """Reads the weights of the perceptual loss."""
    if options.perceptual != "none":
        perceptual.by_name(options.perceptual, options.perceptual_file).load()


@dataclasses.dataclass(frozen=True)
class Procedure:
    """The losses and the outputs of the game.

    Attributes:
      options: see `Options`.
      grid: (rows, columns) of the codes of a picture.
    """

    options: Options
    grid: tuple[int, int]

    # The autoencoder --------------------------------------------------------------------------------------

    def autoencoder_loss(self, play: Play, adversary: bool) -> Loss:
        """L of the module's docstring, with L_G if `adversary`."""
        networks, options = play.networks, self.options
        z, indices, e = encode(networks, play.batch["image"])
        trunk = networks["decoder"](codebook.straight_through(z, e), method="trunk")
        value, metrics = self._picture_loss(play, trunk, adversary)
        metrics["commitment"] = losses.vq_commitment(z, e)
        value = value + options.commitment_weight * metrics["commitment"]
        if options.codebook == "gradient":
            value = value + options.codebook_weight * losses.vq_codebook(z, e)
        codes = codebook.advance(
            networks["codebook"],
            z,
            indices,
            play.rng("revive"),
            options.codebook_decay,
            options.revive_after,
            micro_batches=play.batch_size // play.num,
        )
        play.moving("codebook").set(codes=codes)
        metrics["perplexity"] = codebook.perplexity(codebook.counts(indices, options.codes))
        metrics["usage"] = codebook.usage(codes)
        return Loss(value, metrics)

    def _picture_loss(self, play: Play, trunk: jax.Array, adversary: bool):
        """(the part of the loss that depends on the decoded pictures y, metrics).

        The adaptive weight needs the gradients of both losses with respect to y. Only their weighted sum is propagated
        further, so that there is one backward pass through the decoder and the encoder.
        """
        decoder, options = play.networks["decoder"], self.options
        y = decoder(trunk, method="output")
        fixed = jax.lax.stop_gradient(y)
        (value, metrics), slope = jax.value_and_grad(
            partial(self._reconstruction, play), has_aux=True
        )(fixed)
        if adversary:
            loss_g, push = jax.value_and_grad(partial(self._adversarial, play))(fixed)
            ratio = adaptive_weight(decoder, trunk, (slope, push), options.adaptive_delta)
            weight = options.adversarial_weight * ratio
            value, slope = value + weight * loss_g, slope + weight * push
            metrics |= {"adversarial": loss_g, "adaptive_weight": weight}
        linear = jnp.sum(y * jax.lax.stop_gradient(slope))
        return jax.lax.stop_gradient(value - linear) + linear, metrics

    def _reconstruction(self, play: Play, y: jax.Array):
        """L_rec, metrics."""
        x, far = play.batch["image"], jnp.float32(0.0)
        if "perceptual" in play.networks:
            far = play.networks["perceptual"](x, y)
        l1 = jnp.mean(jnp.abs(x - y))
        metrics = {"l1": l1, "perceptual": far, "psnr": psnr(x, y)}
        return l1 + self.options.perceptual_weight * far, metrics

    def _adversarial(self, play: Play, y: jax.Array) -> jax.Array:
        """L_G."""
        return losses.hinge.generator(play.networks["critic"](y, train=True))

    def critic_loss(self, play: Play) -> Loss:
        """Half the hinge loss; pictures and reconstructions are normalised separately."""
        x, critic = play.batch["image"], play.moving("critic")
        y = play.networks["decoder"](encode(play.networks, x)[2])
        real, fake = critic(x, train=True), critic(y, train=True)
        metrics = {"real": jnp.mean(real), "fake": jnp.mean(fake)}
        return Loss(0.5 * losses.hinge.critic(real, fake), metrics)

    def start_on_data(self, state: State, play: Play) -> State:
        """Initialises the codes with latents of the first batch."""
        latents = play.networks["encoder"](play.batch["image"])
        book = codebook.init_from(play.key, latents, play.networks["codebook"])
        return state.replace(
            params={**state.params, "codebook": book.params},
            variables={**state.variables, "codebook": book.state},
        )

    # The transformer --------------------------------------------------------------------------------------

    def transformer_loss(self, play: Play) -> Loss:
        """E -log p(code | prefix, codes before it); a share 1 - `keep` of the input codes is random."""
        options, network = self.options, play.networks["transformer"]
        _, indices, _ = encode(play.networks, play.batch["image"])
        target = indices.reshape(play.num, -1)
        noise = draws.randint(play.rng("noise"), target.shape, 0, options.codes)
        kept = draws.bernoulli(play.rng("keep"), options.keep, target.shape)
        given = jnp.where(kept, target, noise)[:, :-1]
        start = network.module.start(self._prefix(play))
        tokens = jnp.concatenate([start[:, None], given], axis=1)
        logits = network(tokens, train=True, rngs={"dropout": play.rng("dropout")})
        value = losses.auxiliary_classifier(logits.reshape(-1, options.codes), target.reshape(-1))
        right = jnp.mean(jnp.argmax(logits, axis=-1) == target, dtype=jnp.float32)
        return Loss(value, {"accuracy": right})

    def _prefix(self, play: Play) -> jax.Array:
        """int32 [num]: labels, or the start token."""
        if self.options.conditional:
            return play.batch["label"]
        return jnp.zeros((play.num,), jnp.int32)

    # Outputs ----------------------------------------------------------------------------------------------

    def samples(self, play: Play, **sampling) -> jax.Array:
        """Pictures of codes drawn from the transformer; `sampling` are options of `filter_logits`."""
        network, length = play.networks["transformer"], math.prod(self.grid)
        codes = sample(network, self._prefix(play), length, play.rng("codes"), **sampling)
        return decode(play.networks, codes.reshape(play.num, *self.grid))

    def transforms(self, play: Play) -> jax.Array:
        """Reconstructions."""
        return reconstruct(play.networks, play.batch["image"])


def adaptive_weight(
    decoder: Network,
    trunk: jax.Array,
    slopes: tuple[jax.Array, jax.Array],
    delta: float,
    limit: float = 1e4,
) -> jax.Array:
    """|dL_rec / dW| / (|dL_G / dW| + delta), at most `limit` (the paper's Section 3.1; the limit is the reference's).

    Args:
      decoder: the decoder, whose last layer has the kernel W.
      trunk: input of the last layer.
      slopes: (dL_rec / dy, dL_G / dy), gradients with respect to its output y.
    """
    layer = decoder.params["conv_out"]

    def last_layer(kernel):
        params = {**decoder.params, "conv_out": {**layer, "kernel": kernel}}
        return decoder.replace(params=params)(trunk, method="output")

    _, pull = jax.vjp(last_layer, jax.lax.stop_gradient(layer["kernel"]))
    reconstruction, critic = (optax.tree.norm(pull(slope)) for slope in slopes)
    return jnp.minimum(reconstruction / (critic + delta), limit)


def _players(options: Options, spec: Spec) -> dict[str, Player]:
    dtype = adversarial.compute_dtype(options)
    classes = adversarial.classes(options, spec)
    widths, attention = levels(
        options.channels,
        options.channel_multiples,
        options.attention_resolutions,
        options.groups,
        spec.shape,
    )
    shape: dict[str, Any] = {"widths": widths, "attention": attention, "blocks": options.blocks}
    shape |= {"latent_channels": options.latent_channels, "groups": options.groups, "dtype": dtype}
    encoder = Encoder(**shape, code_dim=options.code_dim)
    decoder = Decoder(**shape, channels=spec.shape[2])
    averaged = options.codebook == "ema"
    book = Codebook(options.codes, options.code_dim, averaged)
    critic = PatchCritic(options.critic_width, options.critic_layers, dtype=dtype)

    def score(network, x, label):
        return network(x, train=False)

    rate = options.learning_rate_per_image * options.batch_size
    adam = optax.adam(rate, options.beta1, options.beta2)
    picture = jnp.zeros((1, *spec.shape), jnp.float32)
    latent = jnp.zeros((1, *_grid(encoder, spec), options.code_dim), jnp.float32)
    players = {
        "encoder": Player(encoder, (picture,), adam),
        "codebook": Player(book, (latent,), None if averaged else adam),
        "decoder": Player(decoder, (latent,), adam),
        "critic": Player(critic, (picture,), adam, score=score),
        "transformer": _transformer(options, classes, dtype),
    }
    if options.perceptual != "none":
        seen = perceptual.by_name(options.perceptual, options.perceptual_file)
        players["perceptual"] = Player(seen, ())
    return players


def _transformer(options: Options, classes: int | None, dtype: jnp.dtype) -> Player:
    """The transformer; AdamW decays its matrices only, not biases, gains or embeddings."""
    module = Transformer(
        codes=options.codes,
        prefixes=classes or 1,
        context=options.context,
        layers=options.layers,
        heads=options.heads,
        width=options.width,
        dropout=options.dropout,
        dtype=dtype,
    )

    def matrices(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    rate = options.transformer_learning_rate_per_image * options.transformer_batch_size
    adam = optax.adamw(rate, 0.9, 0.95, weight_decay=options.weight_decay, mask=matrices)
    return Player(module, (jnp.zeros((1, 1), jnp.int32),), adam, adversarial.average(options))


def _grid(encoder: Encoder, spec: Spec) -> tuple[int, int]:
    """Rows and columns of the codes of a picture."""
    return spec.shape[0] // encoder.factor, spec.shape[1] // encoder.factor


def _stages(options: Options, procedure: Procedure) -> tuple[Stage, ...]:
    """The four stages, without those of zero rounds."""
    movers = ("encoder", "decoder") + (("codebook",) if options.codebook == "gradient" else ())
    alone, against = (
        Turn(movers, partial(procedure.autoencoder_loss, adversary=adversary), name="autoencoder")
        for adversary in (False, True)
    )
    critic = Turn(("critic",), procedure.critic_loss, fresh_batch=False)
    stages, start = [], 0
    for turns, until in (
        ((alone,), options.critic_from),
        ((alone, critic), options.adversarial_from),
        ((against, critic), options.transformer_from),
    ):
        until = min(until, options.transformer_from)
        if until > start:
            on_data = start == 0 and options.codebook_init == "data"
            enter = procedure.start_on_data if on_data else None
            stages.append(Stage(turns, options.batch_size, until, enter=enter))
            start = until
    transformer = Turn(("transformer",), procedure.transformer_loss)
    return (*stages, Stage((transformer,), options.transformer_batch_size))


def _check(options: Options, spec: Spec, grid: tuple[int, int]) -> None:
    """Raises, before anything is compiled, for options that cannot be trained."""
    places = grid[0] * grid[1]
    if options.transformer_from:  # otherwise the codes are not trained
        codebook.check(
            options.codebook_init,
            options.codes,
            latents=spec.size * places,
            first_latents=options.batch_size * places,
        )
    if places > options.context:
        raise OptionError(
            "context",
            options.context,
            f"a picture is a longer sequence of {places} codes; more channel_multiples make fewer codes, and the tool"
            " sample_large makes larger pictures than a run was trained on",
            {"context": places},
        )
    if options.width % options.heads:
        raise OptionError(
            "width",
            options.width,
            f"it must be a multiple of the {options.heads} heads",
            {"width": -(-options.width // options.heads) * options.heads},
            {"heads": math.gcd(options.width, options.heads)},
        )
    if min(spec.shape[:2]) < 3 * 2**options.critic_layers:
        least, most = 3 * 2**options.critic_layers, int(math.log2(max(1, min(spec.shape[:2]) / 3)))
        raise OptionError(
            "critic_layers",
            options.critic_layers,
            f"this needs pictures of {least} pixels or more, not {spec.shape[0]}x{spec.shape[1]}",
            *([{"critic_layers": most}] if most else []),
            {"data.resolution": least},
        )
    if options.critic_from > options.adversarial_from:
        raise OptionError(
            "critic_from",
            options.critic_from,
            f"the adversarial loss is added from round {options.adversarial_from:,}, before the critic is trained",
            {"critic_from": options.adversarial_from},
            {"adversarial_from": options.critic_from},
        )
