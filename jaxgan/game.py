"""Players, turns, stages and outputs: a training procedure as data, which `jaxgan.engine.Engine` plays.

    Player   a network with its optimiser, and the average that is kept of it
    Play     what a loss or an output is given: networks, batch, key, clock
    Turn     the players that one backward pass moves, on which loss, how often
    Stage    the turns that are played until a given step
    Output   what the trained networks make: samples, translations, reconstructions
    Game     players, stages, outputs
    State    everything that training changes, one pytree

A round (a *step*) plays every turn of the stage once, in order; `Turn.repeat` plays one several times in a row
(n_critic) and `Turn.every` only in every k-th round (lazy regularisation). Only the parameters of a turn's players are
differentiated, so a frozen network needs no special mode.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxgan import tools
from jaxgan.network import BATCH_STATS, Collections, Moving, Network, PyTree
from jaxgan.options import Option
from jaxgan.schedules import Clock

Batch = Mapping[str, Any]
Metrics = Mapping[str, jax.Array]

SAMPLES, TRANSFORMS = "samples", "transforms"


class DataSpec(NamedTuple):
    """What one example of a data source looks like.

    `shape` is (H, W, C) for pictures and (D,) for points; `num_classes` is None without labels; `size` is the
    number of examples; `condition` is the shape (H, W, C) of the picture that each is paired with ("condition" in a
    batch), None without pairs.
    """

    shape: tuple[int, ...]
    num_classes: int | None
    size: int
    condition: tuple[int, ...] | None = None

    def decode(self, batch: Batch) -> dict[str, jax.Array]:
        """A batch as networks take it: uint8 pictures as float32 in [-1, 1], all else as it is.

        >>> DataSpec((2,), None, 10).decode({"image": jnp.array([[0, 255]], jnp.uint8)})["image"].tolist()
        [[-1.0, 1.0]]
        """
        return {
            name: x.astype(jnp.float32) / 127.5 - 1.0 if x.dtype == jnp.uint8 else x
            for name, x in batch.items()
        }


@dataclasses.dataclass(frozen=True)
class Play:
    """What a loss, an output or a tool is given.

    Attributes:
      networks: {player: Network}; the averaged ones in an output or a tool.
      batch: {field: [num, ...]}, decoded: the data's in a loss, what was given in an output.
      key: of this play of the turn, or of this chunk of an output.
      clock: the position of the run.
      num: rows of the batch, or rows to make.
      batch_size: real images of the whole move, of which gradient accumulation shows a loss `num` at a time.
    """

    networks: Mapping[str, Network]
    batch: Batch
    key: jax.Array
    clock: Clock
    num: int
    batch_size: int = 0
    moved: dict[str, Moving] = dataclasses.field(default_factory=dict)

    def moving(self, player: str) -> Moving:
        """The player's network with state that advances; the engine keeps the state that the loss leaves."""
        if player not in self.networks:
            raise ValueError(
                f"there is no player '{player}'; the players are {', '.join(self.networks)}."
            )
        if player not in self.moved:
            network = self.networks[player]
            self.moved[player] = Moving(network.module, network.variables)
        return self.moved[player]

    def rng(self, purpose: str) -> jax.Array:
        """The key for one purpose; the same purpose gives the same key again."""
        return jax.random.fold_in(self.key, zlib.crc32(purpose.encode()))


class Loss(NamedTuple):
    """The scalar to descend, and scalars to log."""

    value: jax.Array
    metrics: Mapping[str, jax.Array] = {}


LossFn = Callable[[Play], Loss]


@dataclasses.dataclass(frozen=True)
class Player:
    """A network that takes part in the game.

    Attributes:
      module: a Linen module, or an object with its `init` and `apply`.
      example: the arguments that it is initialised with.
      optimizer: an Optax transformation; its `update` is also given `clock=`, for numbers that follow the run and not
        this player's own moves (see `jaxgan.turns`). None for a player that never moves.
      average: (clock, kimg of a round) -> decay of the average of its parameters and batch statistics, such as
        `schedules.Ema`; None keeps no average.
      collections: state of the player beside the module's own: {collection: dictionary of arrays}, or a function of a
        key that returns one.
      score: (network, input, label or None) -> output in evaluation mode, for analyses of the network as a function of
        its input; None for players that are not such a function.
    """

    module: Any
    example: tuple
    optimizer: optax.GradientTransformation | None = None
    average: Callable[[Clock, float], jax.Array] | None = None
    collections: Mapping[str, PyTree] | Callable[[jax.Array], Mapping[str, PyTree]] = (
        dataclasses.field(default_factory=dict)
    )
    score: Callable[[Network, jax.Array, jax.Array | None], jax.Array] | None = None

    def init(self, key: jax.Array) -> Collections:
        """{"params": ..., other collections: ...}."""
        names = ("params", "dropout", "noise", "collections")
        rngs = dict(zip(names, jax.random.split(key, len(names)), strict=True))
        own = rngs.pop("collections")
        beside = self.collections(own) if callable(self.collections) else self.collections
        return {**self.module.init(rngs, *self.example), **beside}


@dataclasses.dataclass(frozen=True)
class Turn:
    """The players that one backward pass moves, on which loss, how often.

    Attributes:
      players: those that move; only their parameters are differentiated.
      loss: Play -> Loss, a pure function but for `Play.moving`.
      name: heads this turn's metrics and its random numbers; the players' names joined by "+" if not given.
      every: played in rounds whose number is a multiple of this.
      repeat: times in a row it is played in such a round.
      fresh_batch: each play draws a new real batch; otherwise it is given the last one drawn in this round.
    """

    players: tuple[str, ...]
    loss: LossFn
    name: str = ""
    every: int = 1
    repeat: int = 1
    fresh_batch: bool = True

    def __post_init__(self):
        if not self.name:
            object.__setattr__(self, "name", "+".join(self.players))
        if not self.players:
            raise ValueError(f"turn '{self.name}' has no players: name at least one that moves.")
        if self.every < 1 or self.repeat < 1:
            raise ValueError(
                f"turn '{self.name}' has every={self.every}, repeat={self.repeat}: both must be at least 1."
            )


@dataclasses.dataclass(frozen=True)
class Stage:
    """The turns that are played until round `until`.

    Attributes:
      turns: played in this order in each round.
      batch_size: real images in one batch, over all devices.
      until: the first round that is no longer of this stage; None for the last stage.
      resolution: pixels at which this stage wants the data; None for the data's own.
      enter: (state, play) -> state, run once before the stage's first round, for warm starts and for what is measured
        on data; `play.batch` is the batch of the round's first turn. The state tree keeps its shape: networks of all
        stages exist from the start.
    """

    turns: tuple[Turn, ...]
    batch_size: int
    until: int | None = None
    resolution: int | None = None
    enter: Callable[[State, Play], State] | None = None

    @property
    def images_per_round(self) -> float:
        """Real images that a round consumes on average."""
        return self.batch_size * sum(t.repeat / t.every for t in self.turns if t.fresh_batch)

    def draws(self, rounds):
        """Batches that these turns draw in rounds 0 to `rounds` - 1; `rounds` may be traced."""
        return sum(t.repeat * -(-rounds // t.every) for t in self.turns if t.fresh_batch)


@dataclasses.dataclass(frozen=True)
class Output:
    """Something that trained networks make, of a key and of what is given.

    Attributes:
      make: (play, **options) -> [num, *shape]; pictures as float in [-1, 1]. `play.batch` holds the fields it needs.
      shape: of one row.
      needs: fields that are given, one row for each row to make.
      options: {name: what is declared of it}. A float is traced: a new value compiles nothing. Others are static.
      prepare: (play, **options) -> {player: Network}, run once before the first row: standing statistics, say.
    """

    make: Callable[..., jax.Array]
    shape: tuple[int, ...]
    needs: tuple[str, ...] = ()
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    prepare: Callable[..., Mapping[str, Network]] | None = None


@dataclasses.dataclass(frozen=True)
class Game:
    """A whole training procedure.

    Attributes:
      players: by name.
      stages: in order; all but the last have `until`.
      outputs: by name; "samples" need no data but a label, "transforms" are made of examples of the data.
      spec: of the data.
      tools: {name: tool}, what else can be made with the trained networks, see `jaxgan.tools`; none is called "list".
      shown: metrics ("critic/k") that the progress line and the plot show beside the losses.
    """

    players: Mapping[str, Player]
    stages: tuple[Stage, ...]
    outputs: Mapping[str, Output]
    spec: DataSpec
    tools: Mapping[str, tools.Tool] = dataclasses.field(default_factory=dict)
    shown: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.outputs:
            raise ValueError("a game needs at least one output, which shows what it learns.")
        start = 0
        for i, stage in enumerate(self.stages):
            if i < len(self.stages) - 1:
                if stage.until is None or stage.until <= start:
                    raise ValueError(
                        f"stage {i} ends at until={stage.until}, but a stage before the last must end after round"
                        f" {start}, where it starts."
                    )
                start = stage.until
            self._check_turns(i, stage)

    def _check_turns(self, i: int, stage: Stage):
        if not stage.turns or not stage.turns[0].fresh_batch or stage.turns[0].every != 1:
            raise ValueError(
                f"the first turn of stage {i} must draw a batch in every round (fresh_batch=True, every=1)."
            )
        names = [turn.name for turn in stage.turns]
        if len(set(names)) != len(names):
            raise ValueError(
                f"two turns of stage {i} have the same name among {names}; give each its own."
            )
        for turn in stage.turns:
            for name in turn.players:
                if name not in self.players:
                    raise ValueError(
                        f"turn '{turn.name}' moves '{name}', which is no player of this game; the players are"
                        f" {', '.join(self.players)}."
                    )
                if self.players[name].optimizer is None:
                    raise ValueError(f"turn '{turn.name}' moves '{name}', which has no optimizer.")

    @property
    def num_classes(self) -> int | None:
        """Classes of a conditional game, whose outputs need a label; None for an unconditional one."""
        conditional = any("label" in output.needs for output in self.outputs.values())
        return self.spec.num_classes if conditional else None

    @property
    def _ends(self) -> list[int]:
        """`until` of every stage but the last."""
        return [stage.until for stage in self.stages[:-1] if stage.until is not None]

    def stage_at(self, step: int) -> tuple[int, int]:
        """The index of the stage that round `step` belongs to, and the round at which it starts."""
        start = 0
        for i, end in enumerate(self._ends):
            if step < end:
                return i, start
            start = end
        return len(self.stages) - 1, start

    def position(self, step: int) -> tuple[int, int]:
        """Where the data stands before round `step`: the stage, and the batches drawn in it so far."""
        index, start = self.stage_at(step)
        # `every` counts from round 0, so the draws since the stage's start are a difference.
        stage = self.stages[index]
        return index, stage.draws(step) - stage.draws(start)

    def images(self, step: int) -> int:
        """Real images consumed before round `step`."""
        total, start = 0, 0
        for stage in self.stages:
            end = step if stage.until is None else min(step, stage.until)
            if end > start:
                total += stage.batch_size * (stage.draws(end) - stage.draws(start))
            if stage.until is None or step <= stage.until:
                break
            start = stage.until
        return total

    def clock(self, step: int | jax.Array) -> Clock:
        """The clock before round `step`, which may be traced. A function of the step, it agrees with the state."""
        step = jnp.asarray(step, jnp.int32)
        starts = [0, *self._ends]
        kimg = []
        for start, stage in zip(starts, self.stages, strict=True):
            end = step if stage.until is None else jnp.minimum(step, stage.until)
            draws = stage.draws(jnp.maximum(end, start)) - stage.draws(start)
            kimg.append(draws.astype(jnp.float32) * jnp.float32(stage.batch_size / 1000))
        index = jnp.sum(step >= jnp.array(starts[1:], jnp.int32), dtype=jnp.int32)
        each = jnp.stack(kimg)
        return Clock(step, jnp.sum(each), index, step - jnp.array(starts)[index], each[index])

    def networks(self, state: State, ema: bool = True) -> dict[str, Network]:
        """{player: Network} of a state, the averaged ones where they are kept and `ema` asks for them."""
        return self.bind(state.params, state.variables, state.ema if ema else {})

    def bind(
        self,
        params: Mapping[str, PyTree],
        variables: Mapping[str, Collections],
        averages: Mapping[str, Collections] | None = None,
    ) -> dict[str, Network]:
        """{player: Network} of parameters and other collections; those in `averages` replace them."""
        averages = averages or {}
        return {
            name: Network(
                player.module,
                {"params": params[name], **variables[name], **averages.get(name, {})},
            )
            for name, player in self.players.items()
        }


class State(flax.struct.PyTreeNode):
    """All that training changes. `variables` is whatever is state and no parameter: batch statistics,
    spectral `u` vectors, running means; `ema` holds the averaged parameters and batch statistics of the players
    that keep them."""

    step: jax.Array
    params: dict[str, PyTree]
    opt_state: dict[str, PyTree]
    variables: dict[str, Collections]
    ema: dict[str, Collections]


def averaged_part(params: PyTree, variables: Collections) -> Collections:
    """What an average is kept of: the parameters, and the batch statistics that go with them."""
    return {
        "params": params,
        **{name: tree for name, tree in variables.items() if name == BATCH_STATS},
    }


def purpose_key(run_key: jax.Array, purpose: str, step) -> jax.Array:
    """The key for `purpose` in round `step`: fold_in(fold_in(run_key, purpose), step)."""
    return jax.random.fold_in(jax.random.fold_in(run_key, zlib.crc32(purpose.encode())), step)
