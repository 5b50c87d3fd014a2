"""Players, turns, stages and outputs: a training procedure as data, which `jaxgan.engine.Engine` runs.

    Player   a network, its optimiser, and the moving average of its parameters
    Play     the argument of a loss or an output: networks, batch, key, clock
    Turn     an update of some players: the players, their loss, and how often it is made
    Stage    the turns of all rounds up to a given round
    Output   a product of the trained networks: samples, translations, reconstructions
    Game     players, stages, outputs
    State    everything that training changes, one pytree

A round (a *step*) plays every turn of the stage once, in order. With `Turn.repeat` a turn is played several times in a
row (n_critic), with `Turn.every` only in every k-th round (lazy regularisation). Gradients are taken with respect to
the parameters of a turn's players only, so frozen networks need no special handling.
"""

from __future__ import annotations

import dataclasses
import operator
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxgan import tools
from jaxgan.network import BATCH_STATS, Collections, Moving, Network, PyTree, Signature
from jaxgan.options import Option
from jaxgan.schedules import Clock
from jaxgan.spec import Batch, Field, Spec

Metrics = Mapping[str, jax.Array]

SAMPLES, TRANSFORMS, TRANSLATIONS = "samples", "transforms", "translations"
# Translations in the style of a latent, or of a reference.
LATENT_GUIDED, REFERENCE_GUIDED = "latent", "reference"
# Fields of outputs that are not fields of the data (`Output.fields`): the number of the domain that an example is
# translated to, or of the attribute to change; and a picture of that domain, whose style the translation has.
TARGET, REFERENCE = "target", "reference"


@jax.tree_util.register_pytree_with_keys_class
class Named(dict[str, Any]):
    """A dictionary, also for JAX, whose error about a name that it lacks lists those that it has."""

    def __missing__(self, name):
        raise KeyError(f"there is no '{name}', only {', '.join(self) or 'an empty dictionary'}")

    def tree_flatten_with_keys(self):
        names = tuple(sorted(self))
        return [(jax.tree_util.DictKey(name), self[name]) for name in names], names

    @classmethod
    def tree_unflatten(cls, names, children):
        return cls(zip(names, children, strict=True))


@dataclasses.dataclass(frozen=True)
class Play:
    """The argument of a loss, an output or a tool.

    Attributes:
      networks: {player: Network}; the averaged networks in an output or a tool.
      batch: {field: [num, ...]}, decoded: the real batch in a loss, the given fields in an output.
      key: random key of this play of the turn, or of this chunk of an output.
      clock: the position of the run.
      num: number of rows of the batch, or of rows to make.
      batch_size: real images of the whole update; with gradient accumulation a loss is given `num` of them at a time.
    """

    networks: Mapping[str, Network]
    batch: Batch
    key: jax.Array
    clock: Clock
    num: int
    batch_size: int = 0
    moved: dict[str, Moving] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "networks", Named(self.networks))
        object.__setattr__(self, "batch", Named(self.batch))

    def moving(self, player: str) -> Moving:
        """The player's network with mutable state; the engine stores its state after the loss."""
        if player not in self.networks:
            raise ValueError(
                f"there is no player '{player}'; the players are {', '.join(self.networks)}."
            )
        if player not in self.moved:
            network = self.networks[player]
            self.moved[player] = Moving(network.module, network.variables, network.signature)
        return self.moved[player]

    def rng(self, purpose: str) -> jax.Array:
        """The random key for one purpose; the same purpose returns the same key."""
        return jax.random.fold_in(self.key, zlib.crc32(purpose.encode()))


class Loss(NamedTuple):
    """The scalar to minimise, and scalars to log.

    The plot shows metrics called "real" and "fake" beside each other, as logits of the critic.
    """

    value: jax.Array
    metrics: Mapping[str, jax.Array] = {}


LossFn = Callable[[Play], Loss]


@dataclasses.dataclass(frozen=True)
class Player:
    """A network that takes part in the game.

    Attributes:
      module: a Linen module, or an object with the methods `init` and `apply` of one.
      example: the arguments of its initialisation.
      optimizer: an Optax transformation. Its `update` is also given `clock=`, for hyper-parameters that depend on the
        position of the run and not on the number of this player's updates (see `jaxgan.turns`). None for a player that
        is never updated.
      average: (clock, kimg of a round) -> decay of the moving average of its parameters and batch statistics, such as
        `schedules.Ema`; None for no average.
      collections: additional state of the player: {collection: dictionary of arrays}, or a function of a key that
        returns it.
      score: (network, input, label or None) -> output in evaluation mode, for analyses of the network as a function of
        its input; None for players without such a function.
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
        return {**self.module.init(rngs, *self.example), **jax.tree.map(_strong, beside)}


def _strong(x: jax.Array | float) -> jax.Array:
    """`x` with a strong type. A weak one, such as a Python number has, would become strong in the first turn, which
    would then be compiled a second time."""
    array = jnp.asarray(x)
    return jax.lax.convert_element_type(array, array.dtype) if array.weak_type else array


@dataclasses.dataclass(frozen=True)
class Turn:
    """An update of some players by one backward pass.

    Attributes:
      players: the players to update; the gradient is with respect to their parameters only.
      loss: Play -> Loss, a pure function except for `Play.moving`.
      name: prefix of the turn's metrics, and part of its random keys; the players' names joined by "+" if not given.
      every: the turn is played in rounds whose number is a multiple of this.
      repeat: how many times in a row it is played in such a round.
      fresh_batch: whether each play draws a new real batch; otherwise it uses the last one drawn in this round.
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
            raise ValueError(f"turn '{self.name}' has no players: name at least one.")
        _make_whole(self, f"turn '{self.name}'", "every", "repeat")
        if self.every < 1 or self.repeat < 1:
            raise ValueError(
                f"turn '{self.name}' has every={self.every}, repeat={self.repeat}: both must be at least 1."
            )


@dataclasses.dataclass(frozen=True)
class Stage:
    """The turns of all rounds before round `until`.

    Attributes:
      turns: turns in the order in which each round plays them.
      batch_size: real images per batch, over all devices.
      until: the first round after this stage; None for the last stage.
      resolution: resolution in pixels of this stage's data; None for that of the data source.
      enter: (state, play) -> state, run once before the stage's first round, for warm starts and for state that is
        computed from data; `play.batch` is the batch of the round's first turn. It must not change the structure of
        the state: the networks of all stages exist from the start.
    """

    turns: tuple[Turn, ...]
    batch_size: int
    until: int | None = None
    resolution: int | None = None
    enter: Callable[[State, Play], State] | None = None

    def __post_init__(self):
        _make_whole(self, "a stage", "batch_size", "until", "resolution")

    @property
    def images_per_round(self) -> float:
        """Average number of real images per round."""
        return self.batch_size * sum(t.repeat / t.every for t in self.turns if t.fresh_batch)

    def draws(self, rounds):
        """Number of batches that the turns draw in rounds 0 to `rounds` - 1; `rounds` may be traced."""
        return sum(t.repeat * -(-rounds // t.every) for t in self.turns if t.fresh_batch)


@dataclasses.dataclass(frozen=True)
class Output:
    """A product of the trained networks, computed from a random key and given fields.

    Attributes:
      make: (play, **options) -> [num, *shape]; pictures as float in [-1, 1]. `play.batch` holds the given fields.
      shape: shape of one row.
      needs: names of the fields that must be given, with one row for each row to make.
      options: {name: Option}. Floats are traced, so that new values do not recompile; other options are static.
      prepare: (play, **options) -> {player: Network}, run once before the first row, for example to compute standing
        statistics.
      fields: {name: Field} of those needs that are not fields of the data, such as a target domain and a reference
        picture, see `TARGET` and `REFERENCE`.
    """

    make: Callable[..., jax.Array]
    shape: tuple[int, ...]
    needs: tuple[str, ...] = ()
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    prepare: Callable[..., Mapping[str, Network]] | None = None
    fields: Mapping[str, Field] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Game:
    """A complete training procedure.

    Attributes:
      players: {name: Player}.
      stages: stages in order; all but the last have `until`.
      outputs: {name: Output}. "samples" need at most labels; "transforms" are made from examples of the data, other
        outputs, such as "translations", from examples and the fields that they declare.
      spec: specification of the data.
      tools: {name: Tool}, further uses of the trained networks, see `jaxgan.tools`; no name may be "list".
      shown: metrics ("critic/k") that the progress line and the plot show in addition to the losses.
    """

    players: Mapping[str, Player]
    stages: tuple[Stage, ...]
    outputs: Mapping[str, Output]
    spec: Spec
    tools: Mapping[str, tools.Tool] = dataclasses.field(default_factory=dict)
    shown: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.outputs:
            raise ValueError("a game needs at least one output.")
        if tools.LIST in self.tools:
            raise ValueError(
                f"a tool may not be called '{tools.LIST}', which lists the tools; choose another name."
            )
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
        turn_names = {turn.name for stage in self.stages for turn in stage.turns}
        for metric in self.shown:
            turn, slash, _ = metric.partition("/")
            if not slash or turn not in turn_names:
                raise ValueError(
                    f"shown names the metric '{metric}', but metrics are called TURN/METRIC, and the turns are"
                    f" {', '.join(sorted(turn_names))}."
                )

    def _check_turns(self, i: int, stage: Stage):
        if not stage.turns or not stage.turns[0].fresh_batch or stage.turns[0].every != 1:
            raise ValueError(
                f"the first turn of stage {i} must draw a batch in every round (fresh_batch=True, every=1)."
            )
        names = [turn.name for turn in stage.turns]
        if len(set(names)) != len(names):
            raise ValueError(
                f"two turns of stage {i} have the same name among {names}; give each a different name."
            )
        for turn in stage.turns:
            for name in turn.players:
                if name not in self.players:
                    raise ValueError(
                        f"turn '{turn.name}' moves '{name}', which is not a player of this game; the players are"
                        f" {', '.join(self.players)}."
                    )
                if self.players[name].optimizer is None:
                    raise ValueError(f"turn '{turn.name}' moves '{name}', which has no optimizer.")

    @property
    def num_classes(self) -> int | None:
        """Number of classes of a conditional game, whose outputs need labels; None for an unconditional game."""
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
        """The position in the data before round `step`: (stage, number of batches drawn in it so far)."""
        index, start = self.stage_at(step)
        # `every` counts from round 0, so the number of draws in this stage is a difference.
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
        """The clock before round `step`, which may be traced."""
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
        """{player: Network} of a state; with `ema`, the averaged networks of the players that have one."""
        return self.bind(state.params, state.variables, state.ema if ema else {})

    def bind(
        self,
        params: Mapping[str, PyTree],
        variables: Mapping[str, Collections],
        averages: Mapping[str, Collections] | None = None,
    ) -> dict[str, Network]:
        """{player: Network} with these parameters and other collections; `averages` replace both where given."""
        averages = averages or {}
        return {
            name: Network(
                player.module,
                {"params": params[name], **variables[name], **averages.get(name, {})},
                Signature.of(
                    f"player '{name}' ({type(player.module).__name__})",
                    player.module,
                    player.example,
                ),
            )
            for name, player in self.players.items()
        }


class State(flax.struct.PyTreeNode):
    """Everything that training changes. `variables` holds the collections other than parameters: batch statistics,
    spectral `u` vectors, running means. `ema` holds the averaged parameters and batch statistics of the players
    that have an average."""

    step: jax.Array
    params: dict[str, PyTree]
    opt_state: dict[str, PyTree]
    variables: dict[str, Collections]
    ema: dict[str, Collections]


def _make_whole(owner: Any, what: str, *names: str) -> None:
    """Makes Python numbers of NumPy's integers in these fields; raises for other numbers."""
    for name in names:
        value = getattr(owner, name)
        if value is None:
            continue
        try:
            object.__setattr__(owner, name, operator.index(value))
        except TypeError:
            raise ValueError(f"{what} has {name}={value}; give a whole number.") from None


def averaged_part(params: PyTree, variables: Collections) -> Collections:
    """The collections that are averaged: the parameters and the batch statistics."""
    return {
        "params": params,
        **{name: tree for name, tree in variables.items() if name == BATCH_STATS},
    }


def purpose_key(run_key: jax.Array, purpose: str, step) -> jax.Array:
    """The key for `purpose` in round `step`: fold_in(fold_in(run_key, purpose), step)."""
    return jax.random.fold_in(jax.random.fold_in(run_key, zlib.crc32(purpose.encode())), step)
