"""VQGAN: pictures as grids of codes, learned with a perceptual loss and a critic; then a transformer that writes codes.

Paper: Esser et al., Taming Transformers for High-Resolution Image Synthesis (2021), Sections 3.1 and 3.2.
Reference implementation: CompVis/taming-transformers (PyTorch).

    L = |x - y| + LPIPS(x, y) + codebook_weight |sg[z] - e|^2 + commitment_weight |z - sg[e]|^2
        + adversarial_weight w L_G

with z = E(x), e the nearest codes, y = D(e), and w = |dL_rec / dW| / (|dL_G / dW| + delta), W the kernel of the
decoder's last layer. Four stages: the autoencoder alone; from `critic_from` on a critic learns beside it; from
`adversarial_from` on its loss counts; from `transformer_from` on all of this rests and the transformer learns.

Intended differences: the critic learns before its loss counts; the reference's starts from nothing when it does. beta
weighs the commitment, as in the paper, where the reference weighs the other term by it ("legacy": that is
`codebook_weight=0.25, commitment_weight=1`). `adaptive_delta` is the paper's, the reference has 1e-4. The critic's
running statistics, which only evaluation reads, move in its own turn; its gains start at 1; all biases start at 0.
LPIPS's heads have no dropout. Prefixes are tokens of their own, which are not predicted; the reference's share the
numbers of the codes. `codebook`, `codebook_init`, `revive_after` and `ema_half_life_kimg` are additions, off at first.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jaxgan import adversarial, draws, losses
from jaxgan.game import DataSpec, Game, Loss, Player, Stage, Turn, joined
from jaxgan.nets import codebook, perceptual
from jaxgan.nets.patchgan import PatchCritic
from jaxgan.nets.transformer import SAMPLING, Transformer, prefixes, sample
from jaxgan.nets.vqgan import Autoencoder, Decoder, Encoder, levels, psnr
from jaxgan.options import OptionError, check, option
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
    blocks: int = option(2, "residual blocks of a level", least=0)
    attention_resolutions: tuple[int, ...] = option(
        (16,), "sides in pixels at which attention follows each block", least=1, empty=True
    )
    groups: int = option(32, "groups of group normalisation", least=1)
    latent_channels: int = option(256, "channels between encoder and codebook", least=1)
    # Codebook.
    codes: int = option(1024, "codes of the codebook", least=1)
    code_dim: int = option(256, "components of a code", least=1)
    codebook: str = option(
        "gradient",
        "what moves the codes: the gradient of the loss, or moving averages of their latents",
        choices=("gradient", "ema"),
    )
    codebook_decay: float = option(
        0.99, "decay of the moving averages, per batch (ema)", least=0, most=1
    )
    codebook_init: str = option(
        "uniform",
        "what the codes are at first: random, or latents of the first batch",
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
        "batches without use after which a code becomes a latent of the batch; 0 for never",
        least=0,
    )
    # Losses beside.
    perceptual: str = option(
        "lpips_vgg", "network of the perceptual loss", choices=("none", *perceptual.NAMES)
    )
    perceptual_file: str = option(
        "",
        "file with the weights of that network, of LPIPS two, BACKBONE,HEADS; empty fetches them",
    )
    perceptual_weight: float = option(1.0, "weight of the perceptual loss", least=0)
    critic_width: int = option(64, "channels of the critic's first convolution", least=1)
    critic_layers: int = option(3, "convolutions of stride 2 in the critic", least=1)
    adversarial_weight: float = option(
        0.8, "weight of the adversarial loss, beside its adaptive weight", least=0
    )
    adaptive_delta: float = option(
        1e-6, "added to the denominator of the adaptive weight, delta", least=0
    )
    batch_size: int = option(12, "real images of one step of the autoencoder", least=1)
    learning_rate_per_image: float = option(
        4.5e-6,
        "learning rate of autoencoder and critic, divided by the images of a batch",
        least=0,
    )
    beta1: float = option(0.5, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.9, "decay of Adam's mean of squared gradients", least=0, below=1)
    critic_from: int = option(240_000, "round from which the critic learns", least=0)
    adversarial_from: int = option(
        250_000, "round from which the adversarial loss counts; not before critic_from", least=0
    )
    transformer_from: int = option(
        500_000, "round from which the transformer learns, and nothing else", least=1
    )
    # Transformer.
    conditional: bool = option(False, "condition the transformer on the labels of the data")
    layers: int = option(24, "layers of the transformer", least=1)
    heads: int = option(16, "heads of its attention, a divisor of width", least=1)
    width: int = option(1024, "components of its activations", least=1)
    context: int = option(256, "codes that it sees at once", least=1)
    dropout: float = option(0.0, "share of its activations that is dropped", least=0, below=1)
    keep: float = option(
        1.0,
        "share of the given codes that are true, not random (the reference's pkeep)",
        least=0,
        most=1,
    )
    transformer_batch_size: int = option(16, "real images of one step of the transformer", least=1)
    transformer_learning_rate_per_image: float = option(
        4.5e-6, "learning rate of the transformer, divided by the images of a batch", least=0
    )
    weight_decay: float = option(0.01, "weight decay of the transformer's matrices", least=0)
    ema_half_life_kimg: float = option(
        0.0,
        "half-life of the averaged transformer in kimg (thousands of real images); 0 keeps none",
        least=0,
    )
    dtype: str = option("float32", "type of the networks' arithmetic", choices=adversarial.DTYPES)


def game(options: Options, spec: DataSpec) -> Game:
    check(options)
    dtype = adversarial.compute_dtype(options)
    num_classes = adversarial.classes(options, spec)
    widths, attention = levels(
        options.channels,
        options.channel_multiples,
        options.attention_resolutions,
        options.groups,
        spec.shape,
    )
    shape = {"widths": widths, "attention": attention, "blocks": options.blocks}
    shape |= {"groups": options.groups, "dtype": dtype}
    autoencoder = Autoencoder(
        Encoder(**shape, latent_channels=options.latent_channels, code_dim=options.code_dim),
        Decoder(**shape, latent_channels=options.latent_channels, channels=spec.shape[2]),
    )
    grid = tuple(side // autoencoder.factor for side in spec.shape[:2])
    _check(options, spec, grid)
    critic = PatchCritic(options.critic_width, options.critic_layers, dtype=dtype)
    transformer = Transformer(
        codes=options.codes,
        prefixes=num_classes or 1,
        context=options.context,
        layers=options.layers,
        heads=options.heads,
        width=options.width,
        dropout=options.dropout,
        dtype=dtype,
    )
    seen = None
    if options.perceptual != "none":
        seen = perceptual.by_name(options.perceptual, options.perceptual_file)
        images = jax.ShapeDtypeStruct((1, *spec.shape), jnp.float32)
        jax.eval_shape(seen.distance, seen.shapes, images, images)  # pictures may be too small

    picture, latent = jnp.zeros((1, *spec.shape)), jnp.zeros((1, *grid, options.code_dim))
    learning_rate = options.learning_rate_per_image * options.batch_size
    adam = optax.adam(learning_rate, options.beta1, options.beta2)
    averaged = options.codebook == "ema"
    players = {
        "encoder": Player(lambda key: autoencoder.encoder.init(key, picture), adam),
        "codebook": Player(
            lambda key: codebook.init(key, options.codes, options.code_dim, averaged),
            None if averaged else adam,
        ),
        "decoder": Player(lambda key: autoencoder.decoder.init(key, latent), adam),
        "critic": Player(
            lambda key: critic.init(key, picture),
            adam,
            apply=lambda network, x, label: critic.apply(network, x, train=False),
        ),
        "transformer": Player(
            lambda key: transformer.init(key, jnp.zeros((1, 1), jnp.int32)),
            _transformer_optimizer(options),
            options.ema_half_life_kimg,
        ),
    }
    if seen:
        players["perceptual"] = Player(seen.init, None)

    def generate(networks, key, num, labels, **sampling):
        label_key, key = jax.random.split(key)
        prefix = prefixes(transformer, label_key, num, labels if num_classes else None)
        length = grid[0] * grid[1]
        codes = sample(transformer, networks["transformer"], prefix, length, key, **sampling)
        return autoencoder.decode(networks, codes.reshape(num, *grid))

    def transform(networks, key, batch):
        del key
        return autoencoder.reconstruct(networks, adversarial.decode(batch["image"]))

    return Game(
        players=players,
        stages=_stages(
            options,
            *first_phase(options, autoencoder, critic, seen),
            second_phase(options, autoencoder, transformer, num_classes),
        ),
        generate=generate,
        sample_shape=spec.shape,
        num_classes=num_classes,
        options=SAMPLING,
        transform=transform,
        tools=code_tools(autoencoder, transformer, spec.shape),
    )


def prepare(options: Options) -> None:
    """Reads the weights of the perceptual loss."""
    if options.perceptual != "none":
        perceptual.by_name(options.perceptual, options.perceptual_file).load()


def first_phase(
    options: Options,
    autoencoder: Autoencoder,
    critic: PatchCritic,
    seen: perceptual.Perceptual | None,
):
    """(the autoencoder's loss for a critic that counts or does not, the critic's loss, how the codebook starts)."""

    def autoencoder_loss(params, variables, batch, key, *, adversary):
        networks = joined(params, variables)
        x = adversarial.decode(batch["image"])
        z, indices, e = autoencoder.encode(networks, x)
        trunk = autoencoder.trunk(networks, codebook.straight_through(z, e))
        y = autoencoder.output(networks, trunk)

        def reconstruction(y):
            l1 = jnp.mean(jnp.abs(x - y))
            far = seen.distance(params["perceptual"], x, y) if seen else jnp.float32(0.0)
            return l1 + options.perceptual_weight * far, {"l1": l1, "perceptual": far}

        def deception(y):
            logits, _ = adversarial.apply(critic, networks["critic"], y, train=True)
            return losses.hinge.generator(logits)

        # Each loss's gradient by the picture, weighed and added, goes back through the decoder and the encoder once.
        fixed = jax.lax.stop_gradient(y)
        (value, metrics), slope = jax.value_and_grad(reconstruction, has_aux=True)(fixed)
        metrics["psnr"] = psnr(x, fixed)
        if adversary:
            fooled, push = jax.value_and_grad(deception)(fixed)
            ratio = adaptive_weight(
                lambda kernel: autoencoder.output(networks, trunk, kernel),
                networks["decoder"]["params"]["conv_out"]["kernel"],
                (slope, push),
                options.adaptive_delta,
            )
            weight = options.adversarial_weight * ratio
            value, slope = value + weight * fooled, slope + weight * push
            metrics |= {"deception": fooled, "adaptive_weight": weight}
        along = jnp.sum(y * jax.lax.stop_gradient(slope))
        value = jax.lax.stop_gradient(value - along) + along

        metrics["commitment"] = losses.vq_commitment(z, e)
        value = value + options.commitment_weight * metrics["commitment"]
        if options.codebook == "gradient":
            value = value + options.codebook_weight * losses.vq_codebook(z, e)
        codes = codebook.advance(
            networks["codebook"], z, indices, key, options.codebook_decay, options.revive_after
        )
        metrics["perplexity"] = codebook.perplexity(codebook.counts(indices, options.codes))
        metrics["usage"] = codebook.usage(codes)
        return Loss(value, {"codebook": {"codes": codes}}, metrics)

    def critic_loss(params, variables, batch, key):
        del key
        networks, moving = joined(params, variables), ("batch_stats",)
        x = adversarial.decode(batch["image"])
        y = autoencoder.decoder.apply(networks["decoder"], autoencoder.encode(networks, x)[2])
        network = networks["critic"]
        real, state = adversarial.apply(critic, network, x, train=True, advance=moving)
        network = {**network, **state}
        fake, state = adversarial.apply(critic, network, y, train=True, advance=moving)
        metrics = {"real": jnp.mean(real), "fake": jnp.mean(fake)}
        return Loss(0.5 * losses.hinge.critic(real, fake), {"critic": state}, metrics)

    def start_on_data(state, batch, key):
        x, encoder = adversarial.decode(batch["image"]), {"params": state.params["encoder"]}
        like = {"params": state.params["codebook"], **state.variables["codebook"]}
        born = codebook.init_from(key, autoencoder.encoder.apply(encoder, x), like)
        return state.replace(
            params={**state.params, "codebook": born["params"]},
            variables={**state.variables, "codebook": {"codes": born["codes"]}},
        )

    return autoencoder_loss, critic_loss, start_on_data


def adaptive_weight(last_layer, kernel, slopes, delta: float, limit: float = 1e4) -> jax.Array:
    """|dL_rec / dW| / (|dL_G / dW| + delta), at most `limit` (the paper's Section 3.1; the limit is the reference's).

    Args:
      last_layer: its kernel W -> pictures.
      kernel: W.
      slopes: (dL_rec / dy, dL_G / dy) by the pictures y.
    """
    _, pull = jax.vjp(last_layer, jax.lax.stop_gradient(kernel))
    reconstruction, deception = (optax.tree.norm(pull(slope)) for slope in slopes)
    return jnp.minimum(reconstruction / (deception + delta), limit)


def second_phase(
    options: Options, autoencoder: Autoencoder, transformer: Transformer, num_classes: int | None
):
    """The transformer's loss: E -log p(code | those before it), the paper's Section 3.2."""

    def transformer_loss(params, variables, batch, key):
        keep_key, random_key, dropout_key = jax.random.split(key, 3)
        x = adversarial.decode(batch["image"])
        _, indices, _ = autoencoder.encode(joined(params, variables), x)
        target = indices.reshape(x.shape[0], -1)
        noise = draws.randint(random_key, target.shape, 0, options.codes)
        kept = draws.bernoulli(keep_key, options.keep, target.shape)
        given = jnp.where(kept, target, noise)
        prefix = jnp.zeros(x.shape[0], jnp.int32) if num_classes is None else batch["label"]
        tokens = jnp.concatenate([options.codes + prefix[:, None], given[:, :-1]], axis=1)
        network, rngs = {"params": params["transformer"]}, {"dropout": dropout_key}
        logits = transformer.apply(network, tokens, train=True, rngs=rngs)
        value = losses.auxiliary_classifier(logits.reshape(-1, options.codes), target.reshape(-1))
        right = jnp.mean(jnp.argmax(logits, axis=-1) == target, dtype=jnp.float32)
        return Loss(value, {}, {"accuracy": right})

    return transformer_loss


def _transformer_optimizer(options: Options) -> optax.GradientTransformation:
    def matrices(params):
        """Weights of linear layers; neither biases, gains nor embeddings."""
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    rate = options.transformer_learning_rate_per_image * options.transformer_batch_size
    return optax.adamw(rate, 0.9, 0.95, weight_decay=options.weight_decay, mask=matrices)


def _stages(options, autoencoder_loss, critic_loss, start_on_data, transformer_loss):
    movers = ("encoder", "decoder") + (("codebook",) if options.codebook == "gradient" else ())

    def autoencoder(adversary):
        return Turn(movers, partial(autoencoder_loss, adversary=adversary), name="autoencoder")

    critic = Turn(("critic",), critic_loss, fresh_batch=False)
    stages, start = [], 0
    for turns, until in (
        ((autoencoder(False),), options.critic_from),
        ((autoencoder(False), critic), options.adversarial_from),
        ((autoencoder(True), critic), options.transformer_from),
    ):
        until = min(until, options.transformer_from)
        if until > start:
            enter = start_on_data if start == 0 and options.codebook_init == "data" else None
            stages.append(Stage(turns, options.batch_size, until, enter=enter))
            start = until
    turn = Turn(("transformer",), transformer_loss)
    return (*stages, Stage((turn,), options.transformer_batch_size))


def _check(options: Options, spec: DataSpec, grid: tuple[int, int]) -> None:
    """Raises, before anything is compiled, for what cannot be trained."""
    places = grid[0] * grid[1]
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
            f"that needs pictures of {least} pixels or more, not {spec.shape[0]}x{spec.shape[1]}",
            *([{"critic_layers": most}] if most else []),
            {"data.resolution": least},
        )
    if options.critic_from > options.adversarial_from:
        raise OptionError(
            "critic_from",
            options.critic_from,
            f"the critic's loss counts from round {options.adversarial_from:,}, before the critic learns",
            {"critic_from": options.adversarial_from},
            {"adversarial_from": options.critic_from},
        )
