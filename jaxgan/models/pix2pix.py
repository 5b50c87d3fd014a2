"""pix2pix: pictures translated into others, learnt from pairs, by a U-Net against a critic of patches.

Paper: Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks". Reference implementations:
phillipi/pix2pix (Torch), the authors', and junyanz/pytorch-CycleGAN-and-pix2pix, theirs for PyTorch.

    critic     1/2 E[-log D(x, y)] + 1/2 E[-log(1 - D(x, G(x)))]            one logit per patch of x and y side by side
    generator  E[-log D(x, G(x))] + l1_weight * E|y - G(x)|                 x the condition, y the picture

The generator's only noise is the dropout in its decoder, in training and after it. At test time, batch normalisation
goes by the test batch and not by running means, and that batch is one picture, as in both test programs: so what
becomes of a picture depends on it and its noise alone. `norm="batch_running"` uses the running means instead, and
`norm="instance"` treats each picture alone in training as well, as "batch" does if `batch_size=1` (but the critic then
has no gains); it is the one to take for larger batches, of which single pictures are no samples.

Intended differences: no normalisation of the bottleneck, as in the code that was released, while the experiments of the
paper had one, which for a batch of one leaves only zeros of it (its errata). Dropout in the decoder's first three
layers, as in the paper; the PyTorch code has it in the second to fourth. Convolutions in front of a normalisation have
no bias (Torch's is set to zero before each move), gains start at 1 and not at N(1, 0.02), and the generator's turn
draws its dropout anew, where the references move both players on the same translation.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import adversarial, losses
from jaxgan.game import DataSpec, Game, Loss, Player, Stage, Turn, scale_by_round
from jaxgan.nets.patchgan import PatchCritic, receptive_field
from jaxgan.nets.unet import UNet
from jaxgan.options import Option, OptionError, check, option
from jaxgan.tools import Made, Tool

NORMS = ("batch", "batch_running", "instance")
PATCHES = {receptive_field(layers): layers for layers in range(7)}
MOST_DOWNS, FEWEST_DOWNS = 8, 3


@dataclasses.dataclass(frozen=True)
class Options:
    generator_width: int = option(64, "channels of the U-Net's first convolution", least=1)
    downs: int = option(
        0,
        f"times that the U-Net halves a picture; 0 for as often as the sides are even, at most {MOST_DOWNS}",
        least=0,
    )
    skips: bool = option(
        True, "skip connections; without, encoder and decoder meet in the bottleneck only"
    )
    dropout: float = option(
        0.5, "share of the first decoder layers' features that is dropped", least=0, below=1
    )
    critic_width: int = option(64, "channels of the critic's first convolution", least=1)
    patch: int = option(
        70, "side in pixels of what one of the critic's logits sees", choices=tuple(PATCHES)
    )
    conditional_critic: bool = option(True, "the critic sees the condition beside the picture")
    norm: str = option(
        "batch",
        "normalisation of both networks: by the batch, at test time too; by running means at test time;"
        " or of each picture alone",
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
    batch_size: int = option(1, "pairs of one step", least=1)
    learning_rate: float = option(2e-4, "learning rate of both networks", least=0)
    beta1: float = option(0.5, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.999, "decay of Adam's mean of squared gradients", least=0, below=1)
    decay_after: int = option(0, "rounds with the full learning rate, before it falls", least=0)
    decay_steps: int = option(
        0, "rounds over which the learning rate falls linearly to 0; 0 keeps it constant", least=0
    )
    ema_half_life_kimg: float = option(
        0.0,
        "half-life of the averaged generator in kimg (thousands of real images); 0 keeps none",
        least=0,
    )
    ema_ramp_up: float = option(
        0.05, "the half-life is at most this share of the images seen; 0 for no limit", least=0
    )
    dtype: str = option("float32", "type of the networks' arithmetic", choices=adversarial.DTYPES)


def game(options: Options, spec: DataSpec) -> Game:
    _check(options, spec)
    objective = losses.by_name(options.objective)
    dtype = adversarial.compute_dtype(options)
    norm = "instance" if options.norm == "instance" else "batch"
    downs = options.downs or halvings(spec.shape)
    generator = UNet(
        spec.shape[2],
        options.generator_width,
        downs,
        norm,
        options.dropout,
        options.skips,
        dtype=dtype,
    )
    critic = PatchCritic(options.critic_width, PATCHES[options.patch], norm, dtype=dtype)

    def translate(network, condition, key, train, advance=()):
        """(pictures, the generator's collections), the dropout being drawn from the key."""
        rngs = {"dropout": key}
        return adversarial.apply(
            generator, network, condition, train=train, advance=advance, rngs=rngs
        )

    def judge(network, condition, picture, advance=()):
        """(logits [B, h, w], the critic's collections)."""
        if options.conditional_critic:
            picture = jnp.concatenate([condition, picture], axis=-1)
        return adversarial.apply(critic, network, picture, train=True, advance=advance)

    def critic_loss(params, variables, batch, key):
        condition, real = (adversarial.decode(batch[name]) for name in ("condition", "image"))
        network = {"params": params["generator"], **variables["generator"]}
        fake = jax.lax.stop_gradient(translate(network, condition, key, train=True)[0])
        # In two passes, each normalised by its own statistics.
        network = {"params": params["critic"], **variables["critic"]}
        real_logits, state = judge(network, condition, real, ("batch_stats",))
        fake_logits, state = judge({**network, **state}, condition, fake, ("batch_stats",))
        # Halved, "which slows down the rate at which D learns relative to G" (Section 3.3).
        value = 0.5 * objective.critic(real_logits, fake_logits)
        metrics = {"real": jnp.mean(real_logits), "fake": jnp.mean(fake_logits)}
        return Loss(value, {"critic": state}, metrics)

    def generator_loss(params, variables, batch, key):
        condition, real = (adversarial.decode(batch[name]) for name in ("condition", "image"))
        network = {"params": params["generator"], **variables["generator"]}
        fake, state = translate(network, condition, key, train=True, advance=("batch_stats",))
        network = {"params": params["critic"], **variables["critic"]}
        logits = judge(network, condition, fake)[0]
        real_logits = judge(network, condition, real)[0] if objective.compares else None
        metrics = {
            "adversarial": objective.generator(logits, real_logits),
            "l1": jnp.mean(jnp.abs(real - fake)),
        }
        value = (
            options.adversarial_weight * metrics["adversarial"] + options.l1_weight * metrics["l1"]
        )
        return Loss(value, {"generator": state}, metrics)

    def at_test(network, condition, key):
        """What becomes of conditions [B, H, W, C] in [-1, 1], each normalised and drawn by itself."""

        def single(condition, index):
            draw = jax.random.fold_in(key, index)
            train = options.norm != "batch_running"
            return translate(network, condition[None], draw, train)[0][0]

        return jax.vmap(single)(condition, jnp.arange(len(condition)))

    def transform(networks, key, batch):
        return at_test(networks["generator"], adversarial.decode(batch["condition"]), key)

    def make_translations(networks, key, condition, *, samples, columns):
        condition = fit_channels(condition, spec.condition[2])
        check_sides(condition.shape, downs)
        made = jax.jit(at_test)(networks["generator"], np.stack([condition] * samples), key)
        channels = max(spec.shape[2], spec.condition[2])
        shown = [fit_channels(picture, channels) for picture in (condition, *np.asarray(made))]
        return Made(np.stack(shown), columns or len(shown))

    def init(module, channels):
        def born(key):
            params_key, dropout_key = jax.random.split(key)
            rngs = {"params": params_key, "dropout": dropout_key}
            return module.init(rngs, jnp.zeros((2, *spec.shape[:2], channels)), train=True)

        return born

    seen = spec.shape[2] + (spec.condition[2] if options.conditional_critic else 0)
    return Game(
        players={
            "critic": Player(init(critic, seen), optimizer(options)),
            "generator": Player(
                init(generator, spec.condition[2]),
                optimizer(options),
                options.ema_half_life_kimg,
                options.ema_ramp_up or None,
            ),
        },
        stages=(
            Stage(
                turns=(
                    Turn(("critic",), critic_loss),
                    Turn(("generator",), generator_loss, fresh_batch=False),
                ),
                batch_size=options.batch_size,
            ),
        ),
        generate=None,
        sample_shape=spec.shape,
        transform=transform,
        tools={
            "translate": Tool(
                make_translations,
                "A picture of any size beside its translations, one for each draw of the dropout.",
                {
                    "samples": Option(1, "translations, each with its own dropout", least=1),
                    "columns": Option(0, "columns of the grid; 0 for one row", least=0),
                },
                pictures=("condition",),
                channels=spec.condition[2],
            )
        },
    )


def optimizer(options: Options) -> optax.GradientTransformation:
    """Adam, whose learning rate is constant for `decay_after` rounds and then falls to 0 over `decay_steps`."""
    rate = options.learning_rate
    schedule = (
        optax.linear_schedule(rate, 0.0, options.decay_steps, options.decay_after)
        if options.decay_steps
        else optax.constant_schedule(rate)
    )
    return optax.chain(optax.scale_by_adam(options.beta1, options.beta2), scale_by_round(schedule))


def halvings(shape: tuple[int, ...]) -> int:
    """How often both sides of a picture are even, at most 8 times: 8 for 256 x 256, 6 for 192 x 256."""
    return max(n for n in range(MOST_DOWNS + 1) if shape[0] % 2**n == shape[1] % 2**n == 0)


def fit_channels(picture: np.ndarray, channels: int) -> np.ndarray:
    """[H, W, 1 or 3] as [H, W, channels]: grey is repeated, of colours the luma is kept."""
    if picture.shape[2] == channels:
        return picture
    if channels == 1:
        return (picture @ np.float32([0.299, 0.587, 0.114]))[..., None]
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


def _check(options: Options, spec: DataSpec) -> None:
    """Raises unless there are pairs, and networks for their size."""
    check(options)
    if spec.condition is None:
        raise OptionError(
            None,
            None,
            f"pix2pix translates pictures in pairs, but the data (one example has shape {spec.shape}) has none",
            {"data.name": "pairs"},
        )
    height, width = spec.shape[:2]
    if spec.shape[:2] != spec.condition[:2]:
        raise ValueError(
            f"pix2pix keeps a picture's size, but the data pairs one of {spec.condition[0]}x{spec.condition[1]} with"
            f" one of {height}x{width}; bring both to one size."
        )
    # The last convolutions of stride 1 take two more pixels away.
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
