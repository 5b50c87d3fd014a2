"""The clock of a run, and schedules and averages that are functions of it.

A schedule is a number or a function of the `Clock`. The schedules defined here are frozen dataclasses, so they can be
options of a config.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import averaging

UNITS = ("kimg", "step", "stage_kimg", "stage_step")
SHAPES = ("linear", "cosine")


class Clock(NamedTuple):
    """The position of a run before the current round, as scalars that may be traced.

    Attributes:
      step: rounds played, int32.
      kimg: thousands of real images consumed, float32.
      stage: index of the stage, int32.
      stage_step: rounds played in this stage, int32.
      stage_kimg: thousands of real images consumed in this stage, float32.
    """

    step: jax.Array
    kimg: jax.Array
    stage: jax.Array
    stage_step: jax.Array
    stage_kimg: jax.Array


Schedule = float | Callable[[Clock], jax.Array]


def at(schedule: Schedule, clock: Clock) -> jax.Array:
    """The value of a schedule at a time, a float32 scalar.

    >>> clock = Clock(*map(jnp.asarray, (500, 32.0, 0, 500, 32.0)))
    >>> print(at(0.1, clock), at(Ramp(1.0, 0.0, over=64.0), clock))
    0.1 0.5
    """
    return jnp.asarray(schedule(clock) if callable(schedule) else schedule, jnp.float32)


@dataclasses.dataclass(frozen=True)
class Ramp:
    """A value that changes from `start` to `end` and then stays constant.

    Attributes:
      start, end: the values.
      over: length of the ramp in `unit`; 0 for a jump.
      after: start of the ramp in `unit`.
      unit: a field of `Clock`: kimg, step, stage_kimg or stage_step.
      shape: linear, or cosine (half a period, with zero slope at both ends).
    """

    start: float
    end: float
    over: float
    after: float = 0.0
    unit: str = "kimg"
    shape: str = "linear"

    def __post_init__(self):
        for name, known in (("unit", UNITS), ("shape", SHAPES)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; it is one of {', '.join(known)}."
                )
        if self.over < 0:
            raise ValueError(f"over is {self.over}; the length of a ramp is 0 or more.")

    def __call__(self, clock: Clock) -> jax.Array:
        position = getattr(clock, self.unit).astype(jnp.float32) - self.after
        if self.over == 0:
            return jnp.where(position < 0, self.start, self.end).astype(jnp.float32)
        share = jnp.clip(position / self.over, 0.0, 1.0)
        if self.shape == "cosine":
            share = 0.5 - 0.5 * jnp.cos(jnp.pi * share)
        return self.start + (self.end - self.start) * share


@dataclasses.dataclass(frozen=True)
class Ema:
    """An exponential moving average with a half-life in images, see `averaging.ema_decay`.

    Attributes:
      half_life_kimg: half-life in thousands of real images; a number or a schedule.
      ramp_up: the half-life is at most this share of the images seen; None for no ramp.
      start_kimg: until then the average is a copy of the parameters; None to average from the start.
    """

    half_life_kimg: Schedule
    ramp_up: float | None = None
    start_kimg: float | None = None

    def __call__(self, clock: Clock, round_kimg: float) -> jax.Array:
        """The decay of the update that ends the round, for `averaging.ema_update`.

        Args:
          clock: the clock before the round.
          round_kimg: thousands of real images of the round.
        """
        half_life = at(self.half_life_kimg, clock)
        return averaging.ema_decay(
            1000 * round_kimg, half_life, clock.kimg, self.ramp_up, self.start_kimg
        )


@dataclasses.dataclass(frozen=True)
class PowerEma:
    """An average by a power function of the time, see `averaging.power_decay`.

    Attributes:
      sigma_rel: width of the average relative to the length of the run.
    """

    sigma_rel: float

    def __call__(self, clock: Clock, round_kimg: float) -> jax.Array:
        """The decay of the update that ends the round, as for `Ema`."""
        seen = clock.kimg + jnp.float32(round_kimg)
        return averaging.power_decay(1000 * round_kimg, seen, self.sigma_rel)
