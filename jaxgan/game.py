"""Players, turns, stages: every training procedure as data, and the one engine that plays it.

    Player   a named network with its optimiser
    Turn     who moves together, on which loss, how often
    Stage    the turns that are played until a given step
    Game     players + stages + how to generate
    State    everything that training changes, one pytree
    Engine   compiles one sharded, donating program per turn and plays rounds

One round (a *step*) plays every turn of the stage once, in order; `Turn.repeat` plays one several times in a
row (n_critic) and `Turn.every` only in every k-th round (lazy regularisation). The engine knows nothing of
critics or generators: freezing one network while another trains is no mode, it is a partial derivative, since
only the movers' parameters are differentiated.

Randomness is a function of (run key, turn, step): no key is stored, so to resume is to play on.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from jaxgan import averaging, draws, tools
from jaxgan.options import Option, OptionError

PyTree = Any
Batch = Mapping[str, Any]
Variables = dict[str, dict[str, PyTree]]  # player -> collection -> tree
Metrics = dict[str, jax.Array]

# The only collection whose average means something: the normalisation that goes with averaged weights.
AVERAGED_COLLECTIONS = ("batch_stats",)


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


class Loss(NamedTuple):
    """What a turn's loss returns: the scalar to descend, the advanced variables of any players, and scalars to log."""

    value: jax.Array
    variables: Variables
    metrics: Metrics


# (params of all players, variables of all players, batch, key) -> Loss; pure.
LossFn = Callable[[dict[str, PyTree], Variables, Batch, jax.Array], Loss]


@dataclasses.dataclass(frozen=True)
class Player:
    """A network that takes part: how it is born, how it moves, and whether an average of it is kept.

    Attributes:
      init: key -> {"params": ..., other collections: ...}, as `flax.linen.Module.init` returns it.
      optimizer: an Optax transformation; its `update` is also given `step=` (the round), for schedules that
        count rounds and not this player's own moves (see `scale_by_round`). None for a player that never moves.
      ema_half_life_kimg: half-life of the exponential moving average of its parameters and batch statistics,
        in thousands of real images; 0 keeps none.
      ema_ramp_up: the half-life is at most this share of the images seen so far; None for no ramp.
      apply: (network, input, labels or None) -> output, in evaluation: nothing moves, running statistics are used.
        `network` is this player's of `State.networks`. None for a player that nobody looks into.
    """

    init: Callable[[jax.Array], dict[str, PyTree]]
    optimizer: optax.GradientTransformation | None
    ema_half_life_kimg: float = 0.0
    ema_ramp_up: float | None = None
    apply: Callable[[dict[str, PyTree], jax.Array, jax.Array | None], jax.Array] | None = None


@dataclasses.dataclass(frozen=True)
class Turn:
    """Who moves together from one backward pass, on which loss, how often.

    Attributes:
      players: the movers; only their parameters are differentiated.
      loss: see `LossFn`.
      name: heads this turn's metrics and its random numbers; the movers' names joined by "+" if not given.
      every: played in rounds whose number is a multiple of this.
      repeat: times in a row it is played in such a round.
      fresh_batch: each play draws a new real batch; otherwise it sees the last one drawn in this round.
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
      enter: (state, batch, key) -> state, run once before the stage's first round, for warm starts and what is
        measured on the data; `batch` is the one that the round's first turn then plays on. The state tree must keep
        its shape: networks of all stages exist from the start.
    """

    turns: tuple[Turn, ...]
    batch_size: int
    until: int | None = None
    resolution: int | None = None
    enter: Callable[[State, Batch, jax.Array], State] | None = None

    @property
    def images_per_round(self) -> float:
        """Real images that a round consumes on average."""
        return self.batch_size * sum(t.repeat / t.every for t in self.turns if t.fresh_batch)

    def draws(self, rounds: int) -> int:
        """Batches that these turns draw in rounds 0 to `rounds` - 1."""
        return sum(t.repeat * -(-rounds // t.every) for t in self.turns if t.fresh_batch)


@dataclasses.dataclass(frozen=True)
class Game:
    """A whole training procedure.

    Attributes:
      players: by name.
      stages: in order; all but the last have `until`.
      generate: (networks, key, num, labels, **options) -> samples [num, ...]; pictures as float in [-1, 1].
        `networks` is {player: {"params": ..., collections}}, see `State.networks`. `labels` is int32 [num], or
        None. None for a game that makes nothing without data.
      sample_shape: shape of one sample.
      num_classes: classes of a conditional game; None for an unconditional one.
      options: {name: what is declared of it} of what `generate` takes beside (truncation, temperature, ...).
      transform: (networks, key, batch) -> pictures [B, ...] in [-1, 1]: what the game makes of examples of the data,
        a translation or a reconstruction. None for a game that only generates.
      tools: {name: tool}, what else can be made with the trained networks, see `jaxgan.tools`; none is called "list".
    """

    players: dict[str, Player]
    stages: tuple[Stage, ...]
    generate: Callable[..., jax.Array] | None
    sample_shape: tuple[int, ...]
    num_classes: int | None = None
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    transform: Callable[[Variables, jax.Array, Batch], jax.Array] | None = None
    tools: Mapping[str, tools.Tool] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.generate is None and self.transform is None:
            raise ValueError(
                "a game needs `generate` or `transform`: give one, or nobody sees what it learns."
            )
        starts = [0]
        for i, stage in enumerate(self.stages):
            last = i == len(self.stages) - 1
            if not last and (stage.until is None or stage.until <= starts[-1]):
                raise ValueError(
                    f"stage {i} ends at until={stage.until}, but a stage before the last must end after round"
                    f" {starts[-1]}, where it starts."
                )
            starts.append(stage.until)
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

    def stage_at(self, step: int) -> tuple[int, int]:
        """The index of the stage that round `step` belongs to, and the round at which it starts."""
        start = 0
        for i, stage in enumerate(self.stages[:-1]):
            if step < stage.until:
                return i, start
            start = stage.until
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


@flax.struct.dataclass
class State:
    """All that training changes. `variables` is whatever is state and no parameter: batch statistics,
    spectral `u` vectors, running means; `ema` holds the averaged parameters and batch statistics of the players
    that keep them."""

    step: jax.Array
    params: dict[str, PyTree]
    opt_state: dict[str, PyTree]
    variables: Variables
    ema: Variables

    def networks(self, ema: bool = True) -> Variables:
        """{player: {"params": ..., collections}}, the averaged ones where they are kept and `ema` asks for them."""
        live = joined(self.params, self.variables)
        if not ema:
            return live
        return {name: {**network, **self.ema.get(name, {})} for name, network in live.items()}


def joined(params: dict[str, PyTree], variables: Variables) -> Variables:
    """{player: {"params": ..., collections}}: networks as their modules take them, of what a loss is given."""
    return {name: {"params": params[name], **variables[name]} for name in params}


def scale_by_round(schedule: optax.Schedule) -> optax.GradientTransformationExtraArgs:
    """Scales updates by -schedule(step), where `step` is the round and not the number of this player's moves.

    A critic that moves five times a round then follows the same schedule as its generator.
    """

    def update(updates, state, params=None, *, step, **unused):
        del params, unused
        rate = -schedule(step)
        return jax.tree.map(lambda u: u * jnp.asarray(rate, u.dtype), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def purpose_key(run_key: jax.Array, purpose: str, step) -> jax.Array:
    """The key for `purpose` in round `step`: fold_in(fold_in(run_key, purpose), step)."""
    return jax.random.fold_in(jax.random.fold_in(run_key, zlib.crc32(purpose.encode())), step)


class Program(NamedTuple):
    """One of the programs that training compiles.

    Attributes:
      stage: its index.
      name: of the turn; or "init", "enter" (a stage), "close" (a round).
      plays: how often it runs in an average round of the stage; 0 if only once.
      lower: () -> `jax.stages.Lowered`.
    """

    stage: int
    name: str
    plays: float
    lower: Callable[[], Any]


class Engine:
    """Plays a game on a mesh.

    Args:
      game: the game.
      seed: the run's seed; all randomness folds from it.
      mesh: a `jax.sharding.Mesh` with axes of type Auto and names among `draws.BATCH_AXES`; batches, and what is drawn
        for them, are split over all its axes. One device if None.
      state_sharding: (tree of `jax.ShapeDtypeStruct`, mesh) -> tree of shardings, for parameters that do not
        fit one device; replicated if None.
      accumulate: micro-batches per move. Gradients, metrics and losses are averaged over them; variables advance
        with each, as if it were a batch.
    """

    def __init__(
        self, game: Game, seed: int = 0, mesh=None, state_sharding=None, accumulate: int = 1
    ):
        self.game = game
        self.mesh = mesh or jax.make_mesh(
            (1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1]
        )
        if not set(self.mesh.axis_names) <= set(draws.BATCH_AXES):
            raise ValueError(
                f"the mesh has axes {self.mesh.axis_names}, but an engine splits batches over axes named"
                f" {' and '.join(draws.BATCH_AXES)}; name them so, or use jaxgan.train.mesh.make_mesh."
            )
        self.accumulate = accumulate
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.batch_sharding = NamedSharding(self.mesh, PartitionSpec(self.mesh.axis_names))
        self._state_sharding = state_sharding
        self._seed = seed
        self._programs: dict[Any, Any] = {}

    @cached_property
    def run_key(self) -> jax.Array:
        # Not device_put: that takes no typed key to a mesh of several processes.
        return jax.jit(lambda: jax.random.key(self._seed), out_shardings=self.replicated)()

    def check_batches(self) -> None:
        """Raises unless the devices can share every stage's batch; whoever trains calls it before anything compiles."""
        sizes = {stage.batch_size for stage in self.game.stages}
        for index, stage in enumerate(self.game.stages):
            self._check_batch(
                f"the batch of stage {index}" if len(sizes) > 1 else "the batch", stage, sizes
            )

    def _check_batch(self, what: str, stage: Stage, sizes: set[int]) -> None:
        size, devices = stage.batch_size, self.mesh.size
        if size < 1:
            raise OptionError(
                "model.batch_size", size, "it must be at least 1", {"model.batch_size": 1}
            )
        for of, parts in (
            ("devices", devices),
            ("devices times micro-batches", devices * self.accumulate),
        ):
            if size % parts:
                common, fixes = math.gcd(*sizes), []
                if len(sizes) == 1:
                    fixes.append({"model.batch_size": max(1, round(size / parts)) * parts})
                if parts == devices:
                    fixes.append({"train.devices": math.gcd(devices, common)})
                else:
                    fixes.append({"train.accumulate": math.gcd(self.accumulate, common // devices)})
                raise OptionError(
                    None, None, f"{what} of {size} cannot be split evenly over {parts} {of}", *fixes
                )

    # State ------------------------------------------------------------------------------------------------

    def _init(self, run_key: jax.Array) -> State:
        params, variables, opt_state, ema = {}, {}, {}, {}
        for name, player in self.game.players.items():
            collections = dict(player.init(purpose_key(run_key, f"init {name}", 0)))
            params[name] = collections.pop("params")
            variables[name] = collections
            if player.optimizer is not None:
                opt_state[name] = player.optimizer.init(params[name])
            if player.ema_half_life_kimg > 0:
                # Copies: the state is donated, and a buffer can be donated only once.
                ema[name] = jax.tree.map(jnp.copy, _averaged(params[name], variables[name]))
        return State(jnp.int32(0), params, opt_state, variables, ema)

    @cached_property
    def key_shape(self) -> jax.ShapeDtypeStruct:
        """`run_key` as a shape that carries its sharding."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        return jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=self.replicated)

    @cached_property
    def state_shape(self) -> State:
        """The state as `jax.ShapeDtypeStruct`s that carry their shardings: what a checkpoint is restored into."""
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            jax.eval_shape(self._init, self.key_shape),
            self.state_shardings,
        )

    @cached_property
    def state_shardings(self) -> State:
        shapes = jax.eval_shape(self._init, self.key_shape)
        if self._state_sharding is None:
            return jax.tree.map(lambda _: self.replicated, shapes)
        return self._state_sharding(shapes, self.mesh)

    def batch_shape(self, stage: Stage, spec: DataSpec) -> dict[str, jax.ShapeDtypeStruct]:
        """A stage's batches of such data as shapes that carry their sharding."""

        def shape_of(shape, dtype):
            return jax.ShapeDtypeStruct(
                (stage.batch_size, *shape), dtype, sharding=self.batch_sharding
            )

        pictures, shape = len(spec.shape) == 3, spec.shape
        if pictures and stage.resolution is not None:
            shape = (stage.resolution, stage.resolution, shape[2])
        batch = {"image": shape_of(shape, jnp.uint8 if pictures else jnp.float32)}
        if spec.num_classes is not None:
            batch["label"] = shape_of((), jnp.int32)
        if spec.condition is not None:
            batch["condition"] = shape_of(spec.condition, jnp.uint8)
        return batch

    def init(self) -> State:
        """The state before round 0, each leaf created where it will live."""
        return self._init_program(self.run_key)

    @cached_property
    def _init_program(self):
        return jax.jit(self._init, out_shardings=self.state_shardings)

    # Programs ---------------------------------------------------------------------------------------------

    def program(self, stage_index: int, turn: Turn):
        """The compiled-on-first-use program of a turn: (state, batch, run key, play) -> (state, metrics)."""
        return self._program(
            (stage_index, turn.name),
            lambda state, batch, run_key, play: self._play_turn(turn, state, batch, run_key, play),
            in_shardings=(
                self.state_shardings,
                self.batch_sharding,
                self.replicated,
                self.replicated,
            ),
            out_shardings=(self.state_shardings, self.replicated),
        )

    def _enter(self, index: int, stage: Stage):
        return self._program(
            (index, "enter"),
            lambda state, batch, run_key: stage.enter(
                state, batch, purpose_key(run_key, "enter", state.step)
            ),
            in_shardings=(self.state_shardings, self.batch_sharding, self.replicated),
            out_shardings=self.state_shardings,
        )

    def _close(self, index: int, stage: Stage):
        return self._program(
            (index, "close"),
            lambda state, images: self._close_round(stage, state, images),
            in_shardings=(self.state_shardings, self.replicated),
            out_shardings=self.state_shardings,
        )

    def _program(self, name, function, **shardings):
        return self.cached(
            name, lambda: jax.jit(self._on_mesh(function), donate_argnums=0, **shardings)
        )

    def _on_mesh(self, function):
        """The function, traced with the mesh in use: what it draws for a batch is split as the batch is."""

        def traced(*args):
            with jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh):
                return function(*args)

        return traced

    def programs(self, spec: DataSpec) -> Iterator[Program]:
        """The programs that training on such data compiles, none of them lowered yet.

        Lowering looks at shapes only: the devices of the mesh need not exist (`jax.experimental.topologies`).
        """
        state, key, play = self.state_shape, self.key_shape, jax.ShapeDtypeStruct((), jnp.int32)
        yield Program(0, "init", 0, partial(self._init_program.lower, key))
        for index, stage in enumerate(self.game.stages):
            batch = self.batch_shape(stage, spec)
            if stage.enter is not None:
                enter = self._enter(index, stage)
                yield Program(index, "enter", 0, partial(enter.lower, state, batch, key))
            for turn in stage.turns:
                lower = partial(self.program(index, turn).lower, state, batch, key, play)
                yield Program(index, turn.name, turn.repeat / turn.every, lower)
            images = jax.ShapeDtypeStruct((), jnp.float32)
            yield Program(
                index, "close", 1, partial(self._close(index, stage).lower, state, images)
            )

    def cached(self, name, make: Callable[[], Any]):
        """The program called `name`, a jitted function: what `make()` returned when it was first asked for."""
        if name not in self._programs:
            self._programs[name] = make()
        return self._programs[name]

    def traces(self) -> dict[Any, int]:
        """How often each program was traced so far; 1 everywhere unless shapes changed."""
        return {name: program._cache_size() for name, program in self._programs.items()}

    def _play_turn(
        self, turn: Turn, state: State, batch: Batch, run_key, play
    ) -> tuple[State, Metrics]:
        key = jax.random.fold_in(purpose_key(run_key, f"turn {turn.name}", state.step), play)
        movers = {name: state.params[name] for name in turn.players}

        def loss(movers, variables, batch, key):
            out = turn.loss({**state.params, **movers}, variables, batch, key)
            return out.value, ({**variables, **out.variables}, {"loss": out.value, **out.metrics})

        grad = jax.grad(loss, has_aux=True)
        if self.accumulate == 1:
            grads, (variables, metrics) = grad(movers, state.variables, batch, key)
        else:
            grads, variables, metrics = self._accumulate(grad, movers, state.variables, batch, key)

        params, opt_state = dict(state.params), dict(state.opt_state)
        for name in turn.players:
            optimizer = optax.with_extra_args_support(self.game.players[name].optimizer)
            # Optax raises a float to an int32 count, which a program under strict promotion may not.
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state[name] = optimizer.update(
                    grads[name], opt_state[name], params[name], step=state.step
                )
            params[name] = optax.apply_updates(params[name], updates)
            metrics[f"grad_norm_{name}" if len(turn.players) > 1 else "grad_norm"] = (
                optax.tree.norm(jax.tree.map(lambda g: g.astype(jnp.float32), grads[name]))
            )
        state = state.replace(params=params, opt_state=opt_state, variables=variables)
        return state, {f"{turn.name}/{k}": jnp.asarray(v, jnp.float32) for k, v in metrics.items()}

    def _accumulate(self, grad, movers, variables, batch, key):
        k = self.accumulate

        def split(x):
            # Micro-batch i takes rows i, i + k, ...: rows stay on the device that holds them.
            return jnp.moveaxis(x.reshape(x.shape[0] // k, k, *x.shape[1:]), 1, 0)

        def body(carry, inputs):
            variables, total = carry
            i, micro = inputs
            grads, (variables, metrics) = grad(movers, variables, micro, jax.random.fold_in(key, i))
            return (variables, jax.tree.map(jnp.add, total, (grads, metrics))), None

        micros = jax.tree.map(split, dict(batch))
        first = jax.tree.map(lambda x: x[0], micros)
        grads, (_, metrics) = jax.eval_shape(grad, movers, variables, first, key)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (grads, metrics))
        # XLA's CPU backend runs the gradient of a convolution 75 to 100 times slower inside a loop, so there the
        # loop is unrolled away; elsewhere it bounds both memory and compile time.
        unroll = self.mesh.devices.flat[0].platform == "cpu"
        carry, _ = jax.lax.scan(body, (variables, zeros), (jnp.arange(k), micros), unroll=unroll)
        variables, total = carry
        grads, metrics = jax.tree.map(lambda x: x / k, total)
        return grads, variables, metrics

    def _close_round(self, stage: Stage, state: State, images: jax.Array) -> State:
        """Moves the averages and the clock; `images` are the real images consumed before this round."""
        ema = {}
        for name, average in state.ema.items():
            player = self.game.players[name]
            decay = averaging.ema_decay(
                stage.images_per_round,
                player.ema_half_life_kimg,
                images / 1000.0,
                player.ema_ramp_up,
            )
            ema[name] = averaging.ema_update(
                average, _averaged(state.params[name], state.variables[name]), decay
            )
        return state.replace(step=state.step + 1, ema=ema)

    # Play -------------------------------------------------------------------------------------------------

    def put(self, batch: Batch) -> Batch:
        """This process's rows of a batch, onto the mesh."""
        return {
            k: jax.make_array_from_process_local_data(self.batch_sharding, v)
            for k, v in batch.items()
        }

    def round(
        self, state: State, step: int, batches: Iterator[Batch]
    ) -> tuple[State, dict[str, Metrics]]:
        """Plays round `step` (which must be the state's) and returns the new state and each turn's last metrics.

        `batches` yields this process's rows of the stage's batches, from `game.position(step)` on. The given state
        is donated: do not use it afterwards. Nothing here waits for the device.
        """
        index, start = self.game.stage_at(step)
        stage = self.game.stages[index]
        # The first turn of a stage always draws: what `enter` has seen is its batch.
        batch = self.put(next(batches))
        if stage.enter is not None and step == start:
            state = self._enter(index, stage)(state, batch, self.run_key)
        metrics, drawn = {}, True
        for turn in stage.turns:
            if step % turn.every:
                continue
            program = self.program(index, turn)
            for play in range(turn.repeat):
                if turn.fresh_batch:
                    batch, drawn = batch if drawn else self.put(next(batches)), False
                state, metrics[turn.name] = program(state, batch, self.run_key, np.int32(play))
        close = self._close(index, stage)
        return close(state, np.float32(self.game.images(step))), metrics

    def sample(
        self, state: State, key: jax.Array, num: int, labels=None, ema: bool = True, **options
    ) -> jax.Array:
        """`num` samples [num, ...] from a key, the same whatever the number of devices.

        `options` are of `Game.options`; each new value of one compiles anew.
        """
        if self.game.generate is None:
            raise ValueError(
                "this game makes pictures of examples only: play `transform` on a batch instead of `sample`"
                " (jaxgan make, with the picture to translate)."
            )
        return self.sample_program(num, labels is not None, ema, **options)(state, key, labels)

    def sample_program(self, num: int, labelled: bool = False, ema: bool = True, **options):
        """The program of `sample`: (state, key, labels, None unless `labelled`) -> samples."""
        options = tools.complete(options, self.game.options)

        def generate(state, key, labels):
            if labels is not None:
                labels = draws.over_devices(jnp.asarray(labels, jnp.int32))
            return self.game.generate(state.networks(ema), key, num, labels, **options)

        return self.cached(
            ("sample", num, labelled, ema, *options.items()),
            lambda: jax.jit(self._on_mesh(generate), out_shardings=self.replicated),
        )

    def transform(self, state: State, key: jax.Array, batch: Batch, ema: bool = True) -> jax.Array:
        """What the game makes of a batch of examples [B, ...], of any number."""

        def transform(state, key, batch):
            batch = {name: draws.over_devices(x) for name, x in batch.items()}
            return self.game.transform(state.networks(ema), key, batch)

        program = self.cached(
            ("transform", ema),
            lambda: jax.jit(self._on_mesh(transform), out_shardings=self.replicated),
        )
        return program(state, key, dict(batch))


def _averaged(params: PyTree, variables: dict[str, PyTree]) -> dict[str, PyTree]:
    return {"params": params, **{c: variables[c] for c in AVERAGED_COLLECTIONS if c in variables}}
