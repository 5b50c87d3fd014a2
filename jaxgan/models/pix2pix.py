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
from jaxgan.tools import Made, Tool, at_least

NORMS = ("batch", "batch_running", "instance")
PATCHES = {receptive_field(layers): layers for layers in range(7)}
MOST_DOWNS, FEWEST_DOWNS = 8, 3


@dataclasses.dataclass(frozen=True)
class Options:
    generator_width: int = 64  # channels of the U-Net's first convolution
    downs: int = 0  # times that the U-Net halves; 0 for as often as the sides are even, at most 8
    skips: bool = True  # without, an encoder and a decoder that meet in the bottleneck only
    dropout: float = 0.5  # share of the first decoder layers' features that is dropped
    critic_width: int = 64
    # Side in pixels of what one of the critic's logits sees: 1, 16, 34, 70, 142, 286 or 574.
    patch: int = 70
    conditional_critic: bool = True  # the critic sees the condition beside the picture
    norm: str = "batch"  # batch | batch_running | instance, see above
    objective: str = "non_saturating"  # any of jaxgan.losses, least_squares too
    adversarial_weight: float = 1.0
    l1_weight: float = 100.0
    batch_size: int = 1
    learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    decay_after: int = 0  # rounds with the full learning rate,
    decay_steps: int = 0  # and those in which it then falls linearly to 0; 0 keeps it
    ema_half_life_kimg: float = 0.0  # of the averaged generator; 0 keeps none
    ema_ramp_up: float = 0.05  # the half-life is at most this share of the images seen
    dtype: str = "float32"  # of the networks' arithmetic: float32 | bfloat16


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
        at_least(1, samples=samples)
        at_least(0, columns=columns)
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
                {"samples": 1, "columns": 0},
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
    adversarial.check_counts(options, "generator_width", "critic_width", "batch_size")
    if spec.condition is None:
        raise ValueError(
            f"pix2pix translates pictures in pairs, but the data (one example has shape {spec.shape}) has none; set"
            " --config.data.name=pairs."
        )
    height, width = spec.shape[:2]
    if spec.shape[:2] != spec.condition[:2]:
        raise ValueError(
            f"pix2pix keeps a picture's size, but the data pairs one of {spec.condition[0]}x{spec.condition[1]} with"
            f" one of {height}x{width}; bring both to one size."
        )
    if options.norm not in NORMS:
        raise ValueError(f"config.model.norm is '{options.norm}'; it is one of {', '.join(NORMS)}.")
    if not 0 <= options.dropout < 1:
        raise ValueError(
            f"config.model.dropout is {options.dropout}; it must be at least 0 and less than 1."
        )
    if options.patch not in PATCHES:
        raise ValueError(
            f"config.model.patch is {options.patch}; a PatchGAN sees {', '.join(map(str, PATCHES))} pixels."
        )
    # The last convolutions of stride 1 take two more pixels away.
    layers, side = PATCHES[options.patch], min(height, width)
    if layers and side < 3 * 2**layers:
        fits = max(size for size, n in PATCHES.items() if n == 0 or side >= 3 * 2**n)
        raise ValueError(
            f"a PatchGAN of {options.patch} pixels has no logits for pictures of {height}x{width}; set"
            f" --config.model.patch={fits}."
        )
    most = halvings(spec.shape)
    larger = 2 ** max(5, (min(height, width) - 1).bit_length())
    if options.downs and not 2 <= options.downs <= most:
        mend = f"--config.model.downs={most} or another " if most >= 2 else ""
        raise ValueError(
            f"config.model.downs is {options.downs}, but pictures of {height}x{width} can be halved {most} times; set"
            f" {mend}--config.data.resolution={larger}."
        )
    if not options.downs and most < FEWEST_DOWNS:
        raise ValueError(
            f"pictures of {height}x{width} can be halved {most} times, which makes no U-Net; set"
            f" --config.data.resolution={larger}, or --config.model.downs if that is meant."
        )
