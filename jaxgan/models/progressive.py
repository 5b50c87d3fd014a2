"""ProGAN: a generator and a critic that grow together, from a few pixels to the data's resolution.

Paper: Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation": Appendix A.1
(CelebA-HQ) for the defaults, the section on CIFAR-10's Inception scores for `penalty_target` = 750.
Reference implementation: facebookresearch/pytorch_GAN_zoo (BSD-3), models/progressive_gan.py.

The first level has one stage, and each other level two: it is faded in, then trained on. A stage trains at its own
resolution and batch size. While a level fades in, alpha rises linearly with the images seen, and real pictures are
blended with themselves at half the size just as generated ones are, so that the critic never sees finer detail than the
generator can make. `generate` gives pictures of full size at any time: those of the present level, enlarged.

A gradient penalty wants a critic that sees each picture by itself; minibatch standard deviation couples those of a
group a little. Groups are of 4, or the whole batch where 4 does not divide it, as in the reference; the paper's is the
whole batch.

Intended differences: alpha follows every image (the reference moves it every 32 batches); the generator's average has a
half-life in images, which smaller batches do not shorten (the paper's 0.999 a batch is 11.1 kimg for batches of 16); a
group's deviation is the biased one; last layers, which no rectifier follows, have gain 1, the first one's scale counts
all 4 x 4 inputs of the paper's convolution, and biases are not scaled (the reference: sqrt(2 / fan_in) everywhere, on
biases too); the 8 x 8 level of the critic is blended like any other (the reference's at once). `conditional`
is AC-GAN, as in the reference; the paper has no labels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import adversarial, draws, losses, penalties, resample
from jaxgan.game import DataSpec, Game, Loss, Player, Stage, State, Turn, scale_by_round
from jaxgan.nets.growing import GrowingCritic, GrowingGenerator, blend
from jaxgan.options import Option, OptionError, check, option
from jaxgan.tools import Made, Tool
from jaxgan.tools.latents import Space, interpolation


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = option(512, "components of the latent vector", least=1)
    channel_base: int = option(
        16_384, "a layer has channel_base / resolution channels, but at most channel_max", least=1
    )
    channel_max: int = option(512, "most channels of a layer", least=1)
    batch_size: int | tuple[tuple[int, int], ...] = option(
        ((4, 16), (256, 14), (512, 6), (1024, 3)),
        "real images of a critic step: one number, or pairs of a resolution in pixels and the number from there on",
        least=1,
    )
    learning_rate: float | tuple[tuple[int, float], ...] = option(
        0.001,
        "learning rate of both networks: one number, or pairs of a resolution in pixels and the rate from there on",
        above=0,
    )
    fade_kimg: float = option(
        800.0, "kimg (thousands of real images) in which a level is faded in", above=0
    )
    stable_kimg: float = option(
        800.0,
        "kimg (thousands of real images) in which a level is trained once it is faded in",
        above=0,
    )
    critic_steps: int = option(1, "critic steps per generator step", least=1)
    penalty_weight: float = option(10.0, "weight of the gradient penalty, lambda", least=0)
    penalty_target: float = option(
        1.0, "gradient norm that costs nothing, gamma; 750 in the paper for CIFAR-10", above=0
    )
    drift_weight: float = option(
        1e-3, "weight of the critic's mean square on real pictures, epsilon", least=0
    )
    beta1: float = option(0.0, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.99, "decay of Adam's mean of squared gradients", least=0, below=1)
    reset_optimizer: str = option(
        "fade",
        "when Adam's means are reset: as a level is added, at the start of each stage, or never",
        choices=("fade", "stage", "never"),
    )
    ema_half_life_kimg: float = option(
        11.1,
        "half-life of the averaged generator in kimg (thousands of real images); 0 keeps none",
        least=0,
    )
    conditional: bool = option(False, "condition on the labels of the data, as AC-GAN does")
    class_weight: float = option(
        1.0, "weight of the labels' cross-entropy in a conditional model", least=0
    )
    dtype: str = option("float32", "type of the networks' arithmetic", choices=adversarial.DTYPES)
    remat: bool = option(
        False, "recompute activations in the backward pass: more arithmetic, less memory"
    )


class Phase(NamedTuple):
    """One stage of growth: `level` is faded in or, once it is, trained."""

    level: int
    fading: bool
    resolution: int
    batch_size: int
    learning_rate: float
    rounds: int


def growth(options: Options, spec: DataSpec) -> tuple[Phase, ...]:
    """The phases in order; the last may go on for longer."""
    check(options)
    base, levels = _levels(spec)
    resolutions = [base << level for level in range(levels)]
    sizes = _by_resolution(options, "batch_size", resolutions)
    rates = _by_resolution(options, "learning_rate", resolutions)
    phases = []
    for level, phase in enumerate(zip(resolutions, sizes, rates, strict=True)):
        for fading in (True, False) if level else (False,):
            kimg = options.fade_kimg if fading else options.stable_kimg
            rounds = math.ceil(1000 * kimg / (phase[1] * options.critic_steps))
            phases.append(Phase(level, fading, *phase, rounds))
    return tuple(phases)


def _levels(spec: DataSpec) -> tuple[int, int]:
    """(side of the first level, number of levels): 4 to 7 pixels are doubled until they are the data's."""
    side, fixes = spec.shape[0], []
    if len(spec.shape) == 3:
        doublings = max(0, int(math.log2(side / 4)))
        if side == spec.shape[1] and side % 2**doublings == 0 and side >= 4:
            return side >> doublings, doublings + 1
        fixes = [{"data.resolution": 4 << max(0, round(math.log2(side / 4)))}]
    raise OptionError(
        None,
        None,
        "progressive grows square pictures from 4, 5, 6 or 7 pixels by doubling, but one example of the data has shape"
        f" {spec.shape}",
        *fixes,
    )


def _by_resolution(options: Options, name: str, resolutions: list[int]) -> list:
    """The value of an option at each resolution: that of the last pair which starts there or below."""
    value = getattr(options, name)
    table = sorted(value) if isinstance(value, tuple) else [(resolutions[0], value)]
    starts = [start for start, _ in table]
    if starts[0] > resolutions[0] or len(set(starts)) < len(starts):
        raise OptionError(
            name,
            value,
            f"it must be one number, or pairs of different resolutions, the first of {resolutions[0]} pixels or fewer",
            {
                name: (
                    (resolutions[0], table[0][1]),
                    *(pair for pair in table if pair[0] > resolutions[0]),
                )
            },
        )
    return [[value for start, value in table if start <= r][-1] for r in resolutions]


def critic_objective(
    options: Options,
    look: Callable[[jax.Array], jax.Array],
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
    labels: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The critic's loss, and what it is made of.

        E C(x') - E C(x) + lambda / gamma^2 E (||grad C(y)|| - gamma)^2 + epsilon E C(x)^2

    on generated x', real x and y between them (Appendix A.1; gamma is the section's on CIFAR-10).

    Args:
      options: lambda `penalty_weight`, gamma `penalty_target`, epsilon `drift_weight`.
      look: pictures -> the critic's outputs [B, 1 + classes].
      real, fake: float32 [B, H, W, C].
      key: of y.
      labels: of `real` and of `fake`, int32 [B] each; with them AC-GAN's cross-entropy of both is added.
    """
    # In two passes: the deviation within a group is of real or of generated pictures.
    real_outputs, fake_outputs = look(real), look(fake)
    real_logits, fake_logits = real_outputs[:, 0], fake_outputs[:, 0]
    penalty = penalties.gradient_penalty(
        lambda x: look(x)[:, 0], real, fake, key, options.penalty_target
    )
    metrics = {
        "penalty": options.penalty_weight / options.penalty_target**2 * penalty,
        "drift": options.drift_weight * jnp.mean(jnp.square(real_logits)),
    }
    if labels is not None:
        metrics["class"] = options.class_weight * (
            losses.auxiliary_classifier(real_outputs[:, 1:], labels[0])
            + losses.auxiliary_classifier(fake_outputs[:, 1:], labels[1])
        )
    value = losses.wasserstein.critic(real_logits, fake_logits) + sum(metrics.values())
    means = {"real": jnp.mean(real_logits), "fake": jnp.mean(fake_logits)}
    return value, {**means, "gap": means["real"] - means["fake"], **metrics}


def game(options: Options, spec: DataSpec) -> Game:
    phases = growth(options, spec)
    classes = adversarial.classes(options, spec)
    sides = sorted({phase.resolution for phase in phases})
    top = len(sides) - 1
    features = tuple(
        max(1, min(options.channel_max, options.channel_base // (4 << k))) for k in range(top + 1)
    )
    shared = {"dtype": adversarial.compute_dtype(options), "remat": options.remat}
    generator = GrowingGenerator(sides[0], features, spec.shape[-1], **shared)
    critic = GrowingCritic(sides[0], features, 1 + (classes or 0), **shared)
    fade_images = math.ceil(1000 * options.fade_kimg)

    def draw(key, num, label=None):
        """Latents [num, latent_dim] and as many labels, those given or uniform ones; None without classes."""
        latent_key, label_key = jax.random.split(key)
        latent = draws.normal(latent_key, (num, options.latent_dim))
        if classes is None:
            return latent, None
        if label is None:
            label = draws.randint(label_key, (num,), 0, classes)
        return latent, label

    def make(params, latent, label, level, alpha):
        if classes is not None:
            latent = jnp.concatenate([latent, jax.nn.one_hot(label, classes)], axis=1)
        return generator.apply({"params": params}, latent, level, alpha)

    def alpha_of(clock):
        """How far the newest level is faded in."""
        return jnp.minimum(clock["images"].astype(jnp.float32) / fade_images, 1.0)

    def turns(phase):
        def fade(variables):
            return alpha_of(variables["generator"]["growth"]) if phase.fading else None

        def look(params, alpha):
            return lambda x: critic.apply({"params": params["critic"]}, x, phase.level, alpha)

        def critic_loss(params, variables, batch, key):
            latent_key, penalty_key = jax.random.split(key)
            alpha, real = fade(variables), adversarial.decode(batch["image"])
            if alpha is not None:
                real = blend(resample.upsample_nearest(resample.avg_pool(real)), real, alpha)
            latent, label = draw(latent_key, real.shape[0])
            fake = make(params["generator"], latent, label, phase.level, alpha)
            labels = None if classes is None else (batch["label"], label)
            value, metrics = critic_objective(
                options, look(params, alpha), real, jax.lax.stop_gradient(fake), penalty_key, labels
            )
            # One that is being faded in counts in part.
            metrics["level"] = phase.level - 1 + (jnp.float32(1.0) if alpha is None else alpha)
            return Loss(value, {}, metrics)

        def generator_loss(params, variables, batch, key):
            alpha, num = fade(variables), batch["image"].shape[0]
            latent, label = draw(key, num)
            outputs = look(params, alpha)(
                make(params["generator"], latent, label, phase.level, alpha)
            )
            value, metrics = losses.wasserstein.generator(outputs[:, 0]), {}
            if classes is not None:
                metrics["class"] = options.class_weight * losses.auxiliary_classifier(
                    outputs[:, 1:], label
                )
                value = value + metrics["class"]
            # The clock moves last in a round, so that all of its turns see one alpha, and stops at alpha = 1.
            clock = dict(variables["generator"]["growth"])
            clock["images"] = jnp.minimum(clock["images"] + num * options.critic_steps, fade_images)
            return Loss(value, {"generator": {"growth": clock}}, metrics)

        return (
            Turn(("critic",), critic_loss, repeat=options.critic_steps),
            Turn(("generator",), generator_loss, fresh_batch=False),
        )

    def enter(phase):
        resets = {"fade": phase.fading, "stage": True, "never": False}[options.reset_optimizer]

        def entered(state: State, batch, key) -> State:
            del batch, key
            if phase.fading:
                clock = {"level": jnp.int32(phase.level), "images": jnp.int32(0)}
                state = state.replace(variables={**state.variables, "generator": {"growth": clock}})
            if resets:
                # Else the count of Adam's steps says that the new layers' second moments, all 0, are well known, and
                # their first step is 1 / sqrt(1 - beta2) times too long.
                fresh = {name: optimizer.init(params) for name, params in state.params.items()}
                state = state.replace(opt_state=fresh)
            return state

        return entered if phase.level and (phase.fading or resets) else None

    ends = np.cumsum([phase.rounds for phase in phases]).tolist()
    rates = [optax.constant_schedule(phase.learning_rate) for phase in phases]
    optimizer = optax.chain(
        optax.scale_by_adam(options.beta1, options.beta2),
        scale_by_round(optax.join_schedules(rates, ends[:-1])),
    )

    def init(module, example, **collections):
        # Both at the last level, which brings forth the parameters of all.
        return lambda key: {**module.init(key, example, top), **collections}

    def show(network, latent, label, level, alpha=None):
        """Pictures of one level, enlarged to full size: float32 [B, *spec.shape] in [-1, 1]."""
        small = make(network["params"], latent, label, level, alpha)
        times = sides[-1] // sides[level]
        return jnp.clip(jnp.repeat(jnp.repeat(small, times, axis=1), times, axis=2), -1.0, 1.0)

    def present(network, latent, label):
        """Pictures of the level that the network has grown to."""
        clock = network["growth"]
        branches = [partial(show, level=level, alpha=alpha_of(clock)) for level in range(top + 1)]
        return jax.lax.switch(clock["level"], branches, network, latent, label)

    def generate(networks, key, num, labels):
        return present(networks["generator"], *draw(key, num, labels))

    def growth_picture(networks, key, num):
        network, (latent, label) = networks["generator"], draw(key, num, _in_turn(classes, num))
        reached = int(network["growth"]["level"])
        columns = [
            jax.jit(partial(show, level=level))(network, latent, label) for level in range(reached)
        ]
        columns.append(jax.jit(present)(network, latent, label))
        pictures = np.stack(columns, axis=1).reshape(-1, *spec.shape)
        return Made(pictures, columns=len(columns), numbers={"resolution": sides[reached]})

    sphere = Space(
        lambda networks, z, label: z,
        lambda networks, z, label: present(networks["generator"], z, label),
        sphere=True,
    )
    clock = {"level": jnp.int32(0), "images": jnp.int32(0)}
    latent_example = jnp.zeros((2, options.latent_dim + (classes or 0)))
    return Game(
        players={
            "critic": Player(init(critic, jnp.zeros((2, *spec.shape))), optimizer),
            "generator": Player(
                init(generator, latent_example, growth=clock),
                optimizer,
                options.ema_half_life_kimg,
            ),
        },
        stages=tuple(
            Stage(
                turns(phase),
                phase.batch_size,
                None if phase is phases[-1] else end,
                phase.resolution,
                enter(phase),
            )
            for phase, end in zip(phases, ends, strict=True)
        ),
        generate=generate,
        sample_shape=spec.shape,
        num_classes=classes,
        tools={
            "growth": Tool(
                growth_picture,
                "the same latents at every level reached, from left to right",
                {"num": Option(8, "latents", least=1)},
            ),
            "interpolation": interpolation({"z": sphere}, options.latent_dim, classes),
        },
    )


def _in_turn(classes: int | None, num: int) -> jax.Array | None:
    """Labels 0, 1, ... of `num` pictures; None without classes."""
    return None if classes is None else jnp.arange(num, dtype=jnp.int32) % classes
