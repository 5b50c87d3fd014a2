"""Progressive growing: networks trained at a low resolution first, to which levels of twice the size are added.

The first level has one stage. Every other level has two: it is faded in, then trained. Each stage has its own
resolution and batch size. While a level is faded in, alpha rises linearly from 0 to 1 with the number of real images of
the stage; real pictures are blended with their half-size versions like generated ones, so that both have the same
detail. A phase is a stage as numbers; a model makes its `Stage` with the level as a constant of the program.

Source: Karras et al., Progressive Growing of GANs (2018), Figure 2 and Appendix A.1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import resample, turns
from jaxgan.game import Player, Stage
from jaxgan.nets.growing import blend
from jaxgan.options import OptionError, option
from jaxgan.schedules import Clock, Ramp, Schedule
from jaxgan.spec import Spec


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of models that grow."""

    batch_size: int | tuple[tuple[int, int], ...] = option(
        ((4, 16), (256, 14), (512, 6), (1024, 3)),
        "real images per critic step: one number, or pairs (resolution in pixels, number from that resolution on)",
        least=1,
    )
    learning_rate: float | tuple[tuple[int, float], ...] = option(
        0.001,
        "learning rate of both networks: one number, or pairs (resolution in pixels, rate from that resolution on)",
        above=0,
    )
    fade_kimg: float = option(
        800.0, "kimg (thousands of real images) in which a level is faded in", above=0
    )
    stable_kimg: float = option(
        800.0,
        "kimg (thousands of real images) in which a level is trained after it is faded in",
        above=0,
    )
    reset_optimizer: str = option(
        "fade",
        "when the state of Adam is reset: when a level is added, at the start of each stage, or never",
        choices=("fade", "stage", "never"),
    )


class Phase(NamedTuple):
    """One stage of training: `level` is faded in or, after that, trained."""

    level: int
    fading: bool
    resolution: int
    batch_size: int
    learning_rate: float
    rounds: int


Phases = tuple[Phase, ...]


def levels(model: str, spec: Spec) -> tuple[int, int]:
    """(side of the first level, number of levels): the side of 4 to 7 pixels doubles up to that of the data.

    Raises:
      OptionError: the data are no pictures of such a side; `model` is its name for the message.
    """
    spec.require(model, image="image")
    side = spec.shape[0]
    doublings = max(0, int(math.log2(side / 4)))
    if side == spec.shape[1] and side % 2**doublings == 0 and side >= 4:
        return side >> doublings, doublings + 1
    raise OptionError(
        None,
        None,
        f"{model} makes square pictures of 4, 5, 6 or 7 times a power of two pixels, but one example has shape"
        f" {spec.shape}",
        {"data.resolution": 4 << max(0, round(math.log2(side / 4)))},
    )


def phases(
    options: Options, base: int, number: int, start: int = 0, critic_steps: int = 1
) -> Phases:
    """The phases in order; the last has no end.

    Args:
      options: see `Options`.
      base: side of level 0 in pixels.
      number: of levels.
      start: the first level that is trained.
      critic_steps: batches of real images per round.
    """
    resolutions = [base << level for level in range(start, number)]
    sizes = _by_resolution(options, "batch_size", resolutions)
    rates = _by_resolution(options, "learning_rate", resolutions)
    found = []
    for level, phase in enumerate(zip(resolutions, sizes, rates, strict=True), start):
        for fading in (True, False) if level > start else (False,):
            kimg = options.fade_kimg if fading else options.stable_kimg
            rounds = math.ceil(1000 * kimg / (phase[1] * critic_steps))
            found.append(Phase(level, fading, *phase, rounds))
    return tuple(found)


def _by_resolution(options: Options, name: str, resolutions: list[int]) -> list:
    """The value of an option at each resolution: that of the last pair whose resolution is not larger."""
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


def learning_rate(phases: Phases) -> Schedule:
    """The learning rate of the phase that the clock is in."""
    rates = [phase.learning_rate for phase in phases]
    return lambda clock: jnp.array(rates, jnp.float32)[clock.stage]


def stages(
    options: Options,
    phases: Phases,
    players: Mapping[str, Player],
    make: Callable[[Phase], Stage],
) -> tuple[Stage, ...]:
    """The stage of each phase: that of `make`, with its end, resolution, and reset of the optimisers."""
    ends: list[Any] = np.cumsum([phase.rounds for phase in phases]).tolist()
    ends[-1] = None
    found = []
    for phase, end in zip(phases, ends, strict=True):
        # Without a reset, the bias correction of Adam treats the second moments of new layers, which are 0, as
        # estimates over many steps, and the first step of these layers is 1 / sqrt(1 - beta2) times too long.
        added = phase.level > phases[0].level
        resets = {"fade": phase.fading, "stage": added, "never": False}
        enter = turns.reset_optimizers(players) if resets[options.reset_optimizer] else None
        found.append(
            dataclasses.replace(make(phase), until=end, resolution=phase.resolution, enter=enter)
        )
    return tuple(found)


# Within a stage -------------------------------------------------------------------------------------------


def fade(options: Options, clock: Clock) -> jax.Array:
    """alpha in a stage that fades in a level; it is constant within a round."""
    return Ramp(0.0, 1.0, over=options.fade_kimg, unit="stage_kimg")(clock)


def alpha_of(options: Options, phase: Phase, clock: Clock) -> jax.Array | None:
    """The weight of the level that is faded in; None in a phase that trains it."""
    return fade(options, clock) if phase.fading else None


def faded(pictures: jax.Array, alpha: jax.Array | None) -> jax.Array:
    """Real pictures blended with their half-size versions, (1 - alpha) up(down(x)) + alpha x; x if alpha is None."""
    if alpha is None:
        return pictures
    half = resample.avg_pool(pictures)
    return blend(resample.upsample_nearest(half), pictures, alpha)


def progress(phase: Phase, alpha: jax.Array | None) -> jax.Array:
    """The level as a metric; a level that is being faded in counts as alpha."""
    return phase.level - 1 + (jnp.float32(1.0) if alpha is None else alpha)


# Pictures of the present stage ----------------------------------------------------------------------------


def newest(phases: Phases, clock: Clock) -> jax.Array:
    """The newest level."""
    return jnp.array([phase.level for phase in phases])[clock.stage]


def at_newest(
    options: Options,
    phases: Phases,
    clock: Clock,
    of_level: Callable[..., jax.Array],
    *arguments: Any,
) -> jax.Array:
    """of_level(level, *arguments, alpha) of the newest level, with alpha = 1 unless it is being faded in.

    The level of each branch is a Python number, and the pictures of all levels have the same shape.
    """
    fading = jnp.array([phase.fading for phase in phases])[clock.stage]
    alpha = jnp.where(fading, fade(options, clock), 1.0)
    first, last = phases[0].level, phases[-1].level

    def branch(level: int) -> Callable[..., jax.Array]:
        return lambda *given: of_level(level, *given)

    branches = [branch(level) for level in range(first, last + 1)]
    return jax.lax.switch(newest(phases, clock) - first, branches, *arguments, alpha)


def enlarged(pictures: jax.Array, side: int) -> jax.Array:
    """Pictures [B, H, H, C] with each pixel repeated up to `side` rows and columns, in [-1, 1]."""
    times = side // pictures.shape[1]
    return jnp.clip(jnp.repeat(jnp.repeat(pictures, times, axis=1), times, axis=2), -1.0, 1.0)
