"""The guard of a run: what counts as divergence, and what follows from it.

NaN and infinity, in a metric or in the state, are always divergence. Three further signs are off by default, since a
run can be healthy beyond any bound on them: Wasserstein critics have no scale, and the first rounds of any GAN, or a
run on one picture, are won by the critic. So no shipped config can raise a false alarm.

    most_logit      |mean of a window's logits|, the metrics "real" and "fake" of a turn, at most so much
    most_gradient   mean of a window's gradient norms, the metrics "grad_norm...", at most so much
    wins            so many checkpoints in a row with a separation of 1, where

        separation = P(D(x) > D(G(z))) + P(D(x) = D(G(z))) / 2

    over all pairs of 256 real and 256 generated examples: the area under the critic's ROC curve (Mann-Whitney). It is
    the same for every increasing function of the logits; 0.5 is a critic that cannot tell, 1 one that is never wrong.

With `on_divergence` "roll_back", a run that has diverged continues from its latest checkpoint, which is finite, with
all learning rates multiplied by `rate`. `rollbacks.json` states why, when and with which factor; the rates are a
function of it and of the step, so a run that was killed continues as it would have.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.data import Source
from jaxgan.engine import Engine
from jaxgan.game import SAMPLES, Game, State, purpose_key
from jaxgan.options import OptionError, option
from jaxgan.train.outputs import make_output
from jaxgan.train.report import replace_atomically

FILE = "rollbacks.json"
STOP, ROLL_BACK = "stop", "roll_back"
EXAMPLES = 256  # of each kind, for the separation
SEPARATION = "separation"


@dataclasses.dataclass(frozen=True)
class Options:
    """What counts as divergence beside NaN and infinity, and what follows; see the module's docstring."""

    on_divergence: str = option(
        STOP,
        "stop the run, or roll_back: continue from the latest checkpoint with lower learning rates",
        choices=(STOP, ROLL_BACK),
    )
    roll_backs: int = option(
        3, "times that a run may be rolled back in all; after that it stops", least=0
    )
    rate: float = option(
        0.5, "factor of all learning rates with each roll-back, below 1", above=0, most=1
    )
    most_logit: float = option(
        0.0, "largest |mean logit| of a critic between two lines of metrics; 0 for any", least=0
    )
    most_gradient: float = option(
        0.0, "largest mean gradient norm between two lines of metrics; 0 for any", least=0
    )
    wins: int = option(
        0,
        "checkpoints in a row at which the critic tells every real example from every generated one; 0 for any number",
        least=0,
    )


class Diverged(RuntimeError):
    """A quantity became NaN or infinite, or passed a bound of the options.

    Attributes:
      quantity: its name.
      reason: a clause about it, with the step.
    """

    def __init__(self, message: str, quantity: str = "", reason: str = ""):
        super().__init__(message)
        self.quantity, self.reason = quantity, reason or message


@dataclasses.dataclass(frozen=True)
class RollBack:
    """A roll-back of a run: all learning rates are multiplied by `factor` from round `to` on.

    Attributes:
      to: round of the checkpoint that was restored.
      quantity: what diverged.
      reason: a clause about it, with the step at which it was noticed.
      factor: of all learning rates.
      date: of the system's clock, in ISO 8601; nothing depends on it.
    """

    to: int
    quantity: str
    reason: str
    factor: float
    date: str = ""


def check(options: Options, game: Game) -> None:
    """Raises if the options contradict each other or the game; before anything is written or compiled."""
    if options.on_divergence == ROLL_BACK and options.rate == 1:
        raise OptionError(
            "train.guard.rate",
            options.rate,
            "a roll-back that leaves the learning rates as they are replays the same numbers to the same end",
            {"train.guard.rate": 0.5},
        )
    critic = game.players.get("critic")
    scored = critic is not None and critic.score is not None
    if options.wins and not (
        scored and SAMPLES in game.outputs and set(game.outputs[SAMPLES].needs) <= {"label"}
    ):
        raise OptionError(
            "train.guard.wins",
            options.wins,
            "this model has no critic that scores single samples",
            {"train.guard.wins": 0},
        )


# Bounds ---------------------------------------------------------------------------------------------------


def beyond(options: Options, values: Mapping[str, float]) -> tuple[str, str] | None:
    """(metric, a clause about it) of the first mean that passes its bound; None if none does.

    >>> beyond(Options(most_logit=50), {"critic/loss": 99.0, "critic/real": 3.0, "critic/fake": -51.5})
    ('critic/fake', 'critic/fake was -51.5, beyond train.guard.most_logit=50,')
    """
    for name, value in values.items():
        kind = name.rpartition("/")[2]
        bound = ""
        if kind in ("real", "fake"):
            bound = "most_logit"
        elif kind.startswith("grad_norm"):
            bound = "most_gradient"
        most = getattr(options, bound) if bound else 0
        if 0 < most < abs(value):
            return name, f"{name} was {value:.6g}, beyond train.guard.{bound}={most:g},"
    return None


def separation(engine: Engine, state: State, source: Source) -> float:
    """The separation of real examples from samples of the state, by its critic; always of the same latents.

    Both kinds have the labels of the real examples, if the game is conditional.
    """
    num, game = min(EXAMPLES, len(source)), engine.game
    reals = source.gather(source.spread_indices(num))
    label = reals["label"] if game.num_classes else None
    given = None if label is None else lambda rows: {"label": reals["label"][rows]}
    key = purpose_key(engine.run_key, SEPARATION, 0)
    fakes = make_output(engine, state, SAMPLES, key, num, given, ema=False)

    def scores(state: State, real: jax.Array, fake: jax.Array, label: jax.Array | None):
        critic, network = game.players["critic"], game.networks(state, ema=False)["critic"]
        assert critic.score is not None, "`check` refuses such a game"
        decoded = game.spec.decode({"image": real})["image"]
        return [
            critic.score(network, x, label).reshape(num, -1).mean(axis=1) for x in (decoded, fake)
        ]

    program = engine.cached(SEPARATION, lambda: jax.jit(scores, out_shardings=engine.replicated))
    return separation_of(*map(np.asarray, program(state, reals["image"], fakes, label)))


def separation_of(real: np.ndarray, fake: np.ndarray) -> float:
    """P(real > fake) + P(real = fake) / 2 over all pairs of scores [N], [M].

    >>> separation_of(np.array([1.0, 3.0]), np.array([0.0, 3.0]))
    0.625
    """
    difference = np.asarray(real)[:, None] - np.asarray(fake)
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def wins_in_a_row(rows: Sequence[Mapping[str, float]]) -> int:
    """How many of the latest separations in rows of metrics are 1."""
    values = [row[SEPARATION] for row in rows if SEPARATION in row]
    return next((i for i, value in enumerate(reversed(values)) if value < 1), len(values))


# Roll-backs -----------------------------------------------------------------------------------------------


def read(workdir: str | Path) -> tuple[RollBack, ...]:
    """The roll-backs of a run, in order of time."""
    path = Path(workdir) / FILE
    if not path.exists():
        return ()
    try:
        return tuple(RollBack(**row) for row in json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}), so the learning rates of the run are not known; restore it, or train into"
            " another workdir."
        ) from None


def write(workdir: str | Path, rolled: Sequence[RollBack]) -> None:
    """Writes all roll-backs of a run; a reader finds all of them or those before."""
    text = json.dumps([dataclasses.asdict(one) for one in rolled], indent=2) + "\n"
    replace_atomically(Path(workdir) / FILE, lambda path: path.write_text(text))


def roll_back(to: int, error: Diverged, factor: float) -> RollBack:
    """The record of a roll-back that happens now."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return RollBack(to, error.quantity, error.reason, factor, now)


def factor(rolled: Sequence[RollBack]) -> float:
    """The factor of the learning rates after all of these roll-backs."""
    return math.prod(one.factor for one in rolled)


def slowed(game: Game, rolled: Sequence[RollBack]) -> Game:
    """The game with the learning rates that its roll-backs leave. Without any, it is the same object.

    The updates of each optimiser are multiplied, whose state keeps its structure and its values.
    """
    if not rolled:
        return game
    players = {
        name: player
        if player.optimizer is None
        else dataclasses.replace(player, optimizer=_slowed(player.optimizer, rolled))
        for name, player in game.players.items()
    }
    return dataclasses.replace(game, players=players)


def _slowed(optimizer: Any, rolled: Sequence[RollBack]) -> optax.GradientTransformationExtraArgs:
    inner = optax.with_extra_args_support(optimizer)

    def update(updates, state, params=None, *, clock, **more):
        updates, state = inner.update(updates, state, params, clock=clock, **more)
        rate = jnp.float32(1)
        for one in rolled:  # a round before the checkpoint keeps its own rate
            rate = rate * jnp.where(clock.step >= one.to, jnp.float32(one.factor), jnp.float32(1))
        return jax.tree.map(lambda u: u * rate.astype(u.dtype), updates), state

    return optax.GradientTransformationExtraArgs(inner.init, update)
