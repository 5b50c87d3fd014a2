"""The engine that runs a game: one sharded program with donated state per turn, one sharded program per output.

Random numbers are a function of (run key, turn, step). No key is stored in the state, so a restored run continues with
the same random numbers.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import jaxpr_as_fun
from jax.sharding import NamedSharding, PartitionSpec

from jaxgan import averaging, draws, tools
from jaxgan.game import (
    Game,
    Loss,
    Metrics,
    Output,
    Play,
    Stage,
    State,
    Turn,
    averaged_part,
    purpose_key,
)
from jaxgan.network import Collections, Network, PyTree
from jaxgan.options import OptionError
from jaxgan.spec import Batch, Spec

# Rows of an output that a device makes at a time: fewer for larger pictures, to limit the memory.
MOST_ROWS, MOST_PIXELS, FEWEST_ROWS = 100, 2**19, 4


class Program(NamedTuple):
    """One of the programs that training compiles.

    Attributes:
      stage: index of the stage.
      name: name of the turn or output; or "init", "enter" (a stage), "close" (a round).
      plays: average number of runs per round of the stage; 0 if it does not run in rounds.
      lower: () -> `jax.stages.Lowered`.
      shards: number of parts into which the work is divided before lowering. 1 for a turn, whose lowered program has
        the work of all devices; the number of devices for an output, whose lowered program has the work of one device.
    """

    stage: int
    name: str
    plays: float
    lower: Callable[[], Any]
    shards: int = 1


class Chunk(NamedTuple):
    """Consecutive rows of an output, made by one device.

    Attributes:
      made: the result of `then`, or the output; arrays on that device, with one row for each row of the chunk.
      rows: numbers of the rows, int [chunk].
      known: bool [chunk]; False for padding after the last requested row.
      given: the fields given for these rows, as NumPy arrays.
    """

    made: PyTree
    rows: np.ndarray
    known: np.ndarray
    given: Batch


class Engine:
    """Runs a game on a mesh.

    Args:
      game: the game.
      seed: the run's seed; all random keys are derived from it.
      mesh: a `jax.sharding.Mesh` with axes of type Auto and names from `draws.BATCH_AXES`. Batches, and random numbers
        with a batch axis, are split over all its axes. One device if None.
      state_sharding: (tree of `jax.ShapeDtypeStruct`, mesh) -> tree of shardings, for parameters that do not
        fit on one device; replicated if None.
      accumulate: micro-batches per update. Gradients, metrics and losses are averaged over them, and so is the new
        state that each micro-batch computes from the state before the update: running batch statistics, `u` vectors
        (which are equal in all of them) and what a loss assigns. An update changes the state as often as with the whole
        batch; only the batch statistics that normalise are those of a micro-batch.
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
        self._compiling: dict[tuple[int, str], tuple[Program, Future]] = {}
        # Called with each program that was compiled ahead, before it runs for the first time.
        self.on_compiled: Callable[[Program, Any], None] = lambda program, compiled: None

    @property
    def platform(self) -> str:
        """Of the devices: "cpu", "gpu" or "tpu"."""
        return self.mesh.devices.flat[0].platform

    @cached_property
    def run_key(self) -> jax.Array:
        return self.key(self._seed)

    def key(self, seed: int) -> jax.Array:
        """A random key on all devices of the mesh."""
        return self._make_key(np.uint32(seed % 2**32))

    @cached_property
    def _make_key(self) -> Any:
        """The program of `key`. The seed is its argument, so that another key compiles nothing."""
        # `jax.device_put` does not support typed keys on a mesh of several processes.
        return jax.jit(jax.random.key, out_shardings=self.replicated)

    def check_batches(self) -> None:
        """Raises unless every stage's batch can be split over the devices; call it before anything compiles."""
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
        each = f"parts ({self.accumulate} micro-batches on {devices} device{'s'[: devices > 1]})"
        for of, parts in (("devices", devices), (each, devices * self.accumulate)):
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
            if player.average is not None:
                # Copies: the state is donated, and a buffer can be donated only once.
                ema[name] = jax.tree.map(jnp.copy, averaged_part(params[name], variables[name]))
        return State(jnp.int32(0), params, opt_state, variables, ema)

    @cached_property
    def _init_jaxpr(self) -> tuple[Any, State]:
        """`_init` as a jaxpr, and the shapes of the state: tracing all networks takes a second, so it happens once."""
        return jax.make_jaxpr(self._init, return_shape=True)(self.key_shape)

    @cached_property
    def key_shape(self) -> jax.ShapeDtypeStruct:
        """Shape and sharding of `run_key`."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        return jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=self.replicated)

    @cached_property
    def state_shape(self) -> State:
        """The state as `jax.ShapeDtypeStruct`s with shardings, for restoring a checkpoint."""
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            self._init_jaxpr[1],
            self.state_shardings,
        )

    @cached_property
    def state_shardings(self) -> State:
        shapes = self._init_jaxpr[1]
        if self._state_sharding is None:
            return jax.tree.map(lambda _: self.replicated, shapes)
        return self._state_sharding(shapes, self.mesh)

    def batch_shape(self, stage: Stage, spec: Spec) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and shardings of a stage's batches of data with this specification."""

        return {
            name: jax.ShapeDtypeStruct(
                (stage.batch_size, *field.shape), field.dtype, sharding=self.batch_sharding
            )
            for name, field in spec.at(stage.resolution).fields.items()
        }

    def init(self) -> State:
        """The state before round 0; each leaf is created on the devices that hold it."""
        self._await(0, "init")
        return self._init_program(self.run_key)

    @cached_property
    def _init_program(self):
        # It runs once, for a fraction of a second. XLA's optimisation of its many random draws takes far longer: 22
        # seconds of one core instead of 6 for `vqgan_digits`.
        options = {"xla_backend_optimization_level": 0} if self.platform == "cpu" else None
        jaxpr, shapes = self._init_jaxpr

        def init(run_key: jax.Array) -> State:
            return jax.tree.unflatten(jax.tree.structure(shapes), jaxpr_as_fun(jaxpr)(run_key))

        return jax.jit(init, out_shardings=self.state_shardings, compiler_options=options)

    # Programs ---------------------------------------------------------------------------------------------

    def program(self, stage_index: int, turn: Turn):
        """The jitted program of a turn: (state, batch, run key, number of the play) -> (state, metrics)."""
        return self._program(
            (stage_index, turn.name),
            partial(self._play_turn, turn),
            in_shardings=(
                self.state_shardings,
                self.batch_sharding,
                self.replicated,
                self.replicated,
            ),
            out_shardings=(self.state_shardings, self.replicated),
        )

    def _enter(self, index: int, stage: Stage):
        start = stage.enter
        assert start is not None

        def enter(state, batch, run_key):
            play = self.play(state, batch, purpose_key(run_key, "enter", state.step))
            entered = start(state, play)
            _check_alike(f"entering stage {index}", "", state, entered, ("before", "after it"))
            return entered

        return self._program(
            (index, "enter"),
            enter,
            in_shardings=(self.state_shardings, self.batch_sharding, self.replicated),
            out_shardings=self.state_shardings,
        )

    def _close(self, index: int, stage: Stage):
        return self._program(
            (index, "close"),
            partial(self._close_round, stage),
            in_shardings=(self.state_shardings,),
            out_shardings=self.state_shardings,
        )

    def _program(self, name, function, **shardings):
        return self.cached(
            name, lambda: jax.jit(self._on_mesh(function), donate_argnums=0, **shardings)
        )

    def _on_mesh(self, function):
        """The function, traced with this mesh, so that random numbers for a batch are sharded like the batch."""

        def traced(*args):
            with jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh):
                return function(*args)

        return traced

    def programs(self, spec: Spec) -> Iterator[Program]:
        """The programs that training on data with this specification compiles, before lowering.

        Lowering needs shapes only, so the devices of the mesh need not exist (`jax.experimental.topologies`).
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
            yield Program(index, "close", 1, partial(self._close(index, stage).lower, state))
        for name in self.game.outputs:
            yield Program(0, name, 0, partial(self.lower_output, name), self.mesh.size)

    def compile_ahead(self, spec: Spec, step: int, outputs: Collection[str] = ()) -> None:
        """Begins to compile what round `step` and these outputs need, side by side, in threads.

        Whoever needs one of these programs waits for it. On GPUs they are compiled one after the other, since XLA
        chooses among kernels by their times.
        """
        if jax.process_count() > 1:
            return  # processes that compile in different orders may wait for each other
        index, start = self.game.stage_at(step)
        names = [turn.name for turn in self.game.stages[index].turns]
        needed = {(index, name) for name in (*names, "close", *["enter"][: step == start])}
        needed |= {(0, name) for name in (*outputs, *["init"][: step == 0])}
        chosen = [p for p in self.programs(spec) if (p.stage, p.name) in needed]
        most = 1 if self.platform == "gpu" else os.cpu_count() or 1
        pool = ThreadPoolExecutor(min(len(chosen), most))
        for program in chosen:
            compiled = pool.submit(lambda lower: lower().compile(), program.lower)
            self._compiling[program.stage, program.name] = program, compiled
        pool.shutdown(wait=False)

    def stop_compiling(self) -> None:
        """Gives up the programs whose compilation has not begun."""
        for _, compiled in self._compiling.values():
            compiled.cancel()
        self._compiling.clear()

    def _await(self, stage: int, name: str) -> None:
        """Waits until a program that is being compiled is ready."""
        if (found := self._compiling.pop((stage, name), None)) is not None:
            program, compiled = found
            self.on_compiled(program, compiled.result())

    def cached(self, name, make: Callable[[], Any]):
        """The jitted function called `name`, created by `make()` in the first call."""
        if name not in self._programs:
            self._programs[name] = make()
        return self._programs[name]

    def traces(self) -> dict[Any, int]:
        """How often each program has been traced; more than 1 only if shapes changed."""
        return {name: program._cache_size() for name, program in self._programs.items()}

    def play(
        self,
        state: State,
        batch: Batch,
        key: jax.Array,
        params: Mapping[str, PyTree] | None = None,
        variables: Mapping[str, Collections] | None = None,
    ) -> Play:
        """The `Play` of a loss; `params` and `variables` replace those of the state."""
        networks = self.game.bind(
            state.params if params is None else params,
            state.variables if variables is None else variables,
        )
        num = len(batch["image"])
        clock = self.game.clock(state.step)
        return Play(networks, self.game.spec.decode(batch), key, clock, num, num)

    def _play_turn(
        self, turn: Turn, state: State, batch: Batch, run_key, play
    ) -> tuple[State, Metrics]:
        key = jax.random.fold_in(purpose_key(run_key, f"turn {turn.name}", state.step), play)
        movers = {name: state.params[name] for name in turn.players}

        def loss(movers, variables, batch, key):
            params, variables = self._gathered(({**state.params, **movers}, variables))
            play = self.play(state, batch, key, params, variables)
            play = dataclasses.replace(play, batch_size=play.num * self.accumulate)
            out = _scalars(turn, turn.loss(play))
            advanced, assigned = _state_after(turn, play)
            return out.value, (advanced, assigned, {"loss": out.value, **out.metrics})

        grad = jax.grad(loss, has_aux=True)
        if self.accumulate == 1:
            grads, (advanced, assigned, metrics) = grad(movers, state.variables, batch, key)
        else:
            grads, (advanced, assigned, metrics) = self._accumulate(
                grad, movers, state.variables, batch, key
            )
        variables = _merged(_merged(state.variables, advanced), assigned)
        grads = self._split_like_state(grads)

        params, opt_state = dict(state.params), dict(state.opt_state)
        clock, metrics = self.game.clock(state.step), dict(metrics)
        for name in turn.players:
            optimizer = optax.with_extra_args_support(self.game.players[name].optimizer)
            # Optax raises a float to an int32 count, which strict dtype promotion does not allow.
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state[name] = optimizer.update(
                    grads[name], opt_state[name], params[name], clock=clock
                )
            params[name] = optax.apply_updates(params[name], updates)
            metrics[f"grad_norm_{name}" if len(turn.players) > 1 else "grad_norm"] = (
                optax.tree.norm(jax.tree.map(lambda g: g.astype(jnp.float32), grads[name]))
            )
        state = state.replace(params=params, opt_state=opt_state, variables=variables)
        named = {f"{turn.name}/{k}": jnp.asarray(v, jnp.float32) for k, v in metrics.items()}
        for name in self.game.shown:
            if name.startswith(f"{turn.name}/") and name not in named:
                raise ValueError(
                    f"shown names the metric '{name}', but turn '{turn.name}' has only {', '.join(named)}."
                )
        return state, named

    @cached_property
    def _splits(self) -> bool:
        """Whether some of the state is split over devices."""
        leaves = jax.tree.leaves(self.state_shardings)
        return not all(sharding.is_fully_replicated for sharding in leaves)

    def _gathered(self, networks: PyTree) -> PyTree:
        """Parameters and variables, whole on every device if they are split between devices.

        Otherwise XLA would split the activations of a layer as its kernel is split, and move them between devices.
        """
        if not self._splits:
            return networks
        return jax.lax.with_sharding_constraint(networks, self.replicated)

    def _split_like_state(self, grads: dict[str, PyTree]) -> dict[str, PyTree]:
        """Gradients, of which each device keeps the part that belongs to its part of the parameters."""
        if not self._splits:
            return grads
        shardings = {name: self.state_shardings.params[name] for name in grads}
        return jax.lax.with_sharding_constraint(grads, shardings)

    def _accumulate(self, grad, movers, variables, batch, key):
        k = self.accumulate

        def split(x):
            # Micro-batch i takes rows i, i + k, ..., so that rows stay on the device that holds them.
            return jnp.moveaxis(x.reshape(x.shape[0] // k, k, *x.shape[1:]), 1, 0)

        def body(carry, inputs):
            total, least = carry
            i, micro = inputs
            grads, (advanced, assigned, metrics) = grad(
                movers, variables, micro, jax.random.fold_in(key, i)
            )
            floats, whole = _by_kind((advanced, assigned))
            total = jax.tree.map(jnp.add, total, (grads, metrics, floats))
            return (total, jax.tree.map(jnp.minimum, least, whole)), None

        micros = jax.tree.map(split, dict(batch))
        first = jax.tree.map(lambda x: x[0], micros)
        grads, (*state, metrics) = jax.eval_shape(grad, movers, variables, first, key)
        floats, whole = _by_kind(tuple(state))
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (grads, metrics, floats))
        largest = jax.tree.map(lambda s: jnp.full(s.shape, jnp.iinfo(s.dtype).max, s.dtype), whole)
        # XLA's CPU backend runs the gradient of a convolution 75 to 100 times slower inside a loop, so the loop is
        # unrolled on CPUs. On other devices the loop limits memory and compile time.
        unroll = self.platform == "cpu"
        carry, _ = jax.lax.scan(body, (zeros, largest), (jnp.arange(k), micros), unroll=unroll)
        total, whole = carry
        grads, metrics, floats = jax.tree.map(lambda x: x / k, total)
        advanced, assigned = _joined(floats, whole)
        return grads, (advanced, assigned, metrics)

    def _close_round(self, stage: Stage, state: State) -> State:
        """Updates the averages and increments the step."""
        ema, clock = {}, self.game.clock(state.step)
        for name, average in state.ema.items():
            decay_at = self.game.players[name].average
            assert decay_at is not None, "only players with an average are in state.ema"
            decay = decay_at(clock, stage.images_per_round / 1000)
            new = averaged_part(state.params[name], state.variables[name])
            ema[name] = averaging.ema_update(average, new, decay)
        return state.replace(step=state.step + 1, ema=ema)

    # Play -------------------------------------------------------------------------------------------------

    def put(self, batch: Batch) -> Batch:
        """Transfers this process's rows of a batch to the mesh; what is there already stays as it is."""

        def placed(x):
            if isinstance(x, jax.Array) and x.sharding == self.batch_sharding:
                return x
            return jax.make_array_from_process_local_data(self.batch_sharding, x)

        return {name: placed(x) for name, x in batch.items()}

    def round(
        self, state: State, step: int, batches: Iterator[Batch]
    ) -> tuple[State, dict[str, Metrics]]:
        """Plays round `step` (which must be the state's) and returns the new state and each turn's last metrics.

        `batches` yields this process's rows of the stage's batches, from `game.position(step)` on. The given state
        is donated: do not use it afterwards. The call does not wait for the device.
        """
        index, start = self.game.stage_at(step)
        stage = self.game.stages[index]
        # The first turn of a stage always draws a batch; `enter` is given the same batch.
        batch = self.put(next(batches))
        if stage.enter is not None and step == start:
            self._await(index, "enter")
            state = self._enter(index, stage)(state, batch, self.run_key)
        metrics, drawn = {}, True
        for turn in stage.turns:
            if step % turn.every:
                continue
            program = self.program(index, turn)
            self._await(index, turn.name)
            for play in range(turn.repeat):
                if turn.fresh_batch:
                    batch, drawn = batch if drawn else self.put(next(batches)), False
                state, metrics[turn.name] = program(state, batch, self.run_key, np.int32(play))
        self._await(index, "close")
        return self._close(index, stage)(state), metrics

    # Outputs ----------------------------------------------------------------------------------------------

    def make(
        self,
        state: State,
        output: str,
        key: jax.Array,
        num: int,
        given: Callable[[np.ndarray], Batch] | None = None,
        *,
        ema: bool = True,
        **options: tools.Value,
    ) -> Iterator[np.ndarray]:
        """Yields arrays of rows of an output, in order, `num` rows in total, on every process.

        The rows do not depend on the devices: chunk i, of `chunk_rows` rows, is made with fold_in(key, i).

        Args:
          state: the state with the networks.
          output: name of the output, see `Game.outputs`.
          key: random key.
          num: number of rows.
          given: row numbers -> the fields that the output needs for these rows; it may return further fields.
          ema: use the averaged networks of the players that have one.
          **options: values of `Output.options`.
        """
        for start, made, _ in self._chunks(state, output, key, num, given, ema, None, (), options):
            everywhere = self.cached(
                ("gather", output), lambda: jax.jit(lambda x: x, out_shardings=self.replicated)
            )
            yield np.asarray(everywhere(made))[: num - start]

    def chunks(
        self,
        state: State,
        output: str,
        key: jax.Array,
        num: int,
        given: Callable[[np.ndarray], Batch] | None = None,
        *,
        ema: bool = True,
        then: Callable[[jax.Array, Batch, PyTree], PyTree] | None = None,
        weights: PyTree = (),
        **options: tools.Value,
    ) -> Iterator[Chunk]:
        """Yields the chunks of an output that this process's devices make, with `then` applied.

        Args:
          then: (made, given, weights) -> arrays [chunk, ...], applied to each chunk in the same program, to compute
            features or distances for example. It must be hashable, since it is part of the program's name.
          weights: arrays that `then` uses. As constants of the program they would slow down its compilation.
          Others: as for `make`.
        """
        rows = self.chunk_rows(output)
        made_by = self._chunks(state, output, key, num, given, ema, then, weights, options)
        for start, made, parts in made_by:
            leaves, structure = jax.tree.flatten(made)
            shards = [leaf.addressable_shards for leaf in leaves]
            for i, shard in enumerate(shards[0]):
                slot = _slot(shard.index, rows)
                numbers = start + slot * rows + np.arange(rows)
                on_device = jax.tree.unflatten(structure, [s[i].data for s in shards])
                yield Chunk(on_device, numbers, numbers < num, parts[slot])

    def chunk_rows(self, output: str) -> int:
        """Rows of an output that one device makes at a time."""
        pixels = math.prod(self.game.outputs[output].shape[:-1])  # 1 for points
        return max(FEWEST_ROWS, min(MOST_ROWS, MOST_PIXELS // pixels))

    def lower_output(self, output: str, **options: tools.Value):
        """The program of an output, lowered from shapes only, so the devices of the mesh need not exist."""
        found = self.game.outputs[output]
        program, traced = self._output_program(
            output, None, True, tools.complete(options, found.options)
        )
        rows = self.mesh.size * self.chunk_rows(output)
        batch = self.batch_shape(Stage((), rows), self.game.spec.with_fields(found.fields))
        index = jax.ShapeDtypeStruct((self.mesh.size,), jnp.int32, sharding=self.batch_sharding)
        scalars = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in traced}
        state = self.state_shape
        return program.lower(
            self.game.networks(state),
            state.step,
            self.key_shape,
            scalars,
            (),
            index,
            {name: batch[name] for name in found.needs},
        )

    def output_function(
        self, state: State, output: str, rows: int, *, ema: bool = True, **options: tools.Value
    ) -> Callable[[jax.Array, Batch], jax.Array]:
        """An output as a function (key, fields as the data store them, [rows, ...]) -> [rows, *shape].

        The networks are constants of it. For at most `chunk_rows` rows it makes those of `make`.
        """
        found = self.game.outputs[output]
        options = tools.complete(options, found.options)
        clock, spec = self.game.clock(state.step), self.game.spec.with_fields(found.fields)

        def function(key: jax.Array, given: Batch) -> jax.Array:
            networks = self.game.networks(state, ema)
            if found.prepare is not None:
                prepared = Play(networks, {}, key, clock, self.chunk_rows(output))
                networks = {**networks, **found.prepare(prepared, **options)}
            chunk_key = jax.random.fold_in(key, 0)
            return found.make(Play(networks, spec.decode(given), chunk_key, clock, rows), **options)

        return function

    def _chunks(
        self, state, output, key, num, given, ema, then, weights, options
    ) -> Iterator[tuple[int, PyTree, dict[int, Batch]]]:
        """(first row, arrays over all devices, {slot: given fields} of this process) for one chunk per device."""
        options = tools.complete(options, self.game.outputs[output].options)
        program, traced = self._output_program(output, then, ema, options)
        self._await(0, output)
        networks, step = self.game.networks(state, ema), state.step
        if self.game.outputs[output].prepare is not None:
            prepare = self._prepare_program(output, options)
            networks = {**networks, **prepare(networks, step, key, traced)}
        weights = jax.device_put(weights, self.replicated)
        rows = self.chunk_rows(output)
        places = self.batch_sharding.addressable_devices_indices_map((self.mesh.size,)).values()
        slots = sorted({_slot(place, 1) for place in places})
        for start in range(0, num, rows * self.mesh.size):
            parts: dict[int, Batch] = {}
            for slot in slots:
                numbers = start + slot * rows + np.arange(rows)
                parts[slot] = _rows_given(self.game.outputs[output], given, output, numbers, num)
            # What only `then` may use is left out without it, so that the program is that of `lower_output`.
            names = self.game.outputs[output].needs if then is None else tuple(parts[slots[0]])
            part = {
                name: self._place(rows, {slot: parts[slot][name] for slot in slots})
                for name in names
            }
            indices = {slot: np.array([start // rows + slot], np.int32) for slot in slots}
            made = program(networks, step, key, traced, weights, self._place(1, indices), part)
            yield start, made, parts

    def _place(self, rows: int, values: Mapping[int, np.ndarray]) -> jax.Array:
        """{slot: rows of this process's device} as one array over the devices."""
        first = next(iter(values.values()))
        shape = (self.mesh.size * rows, *first.shape[1:])
        return jax.make_array_from_callback(
            shape, self.batch_sharding, lambda index: values[_slot(index, rows)]
        )

    def _output_program(self, name: str, then, ema: bool, options: Mapping[str, tools.Value]):
        """(program that makes one chunk per device, traced options)."""
        output, rows = self.game.outputs[name], self.chunk_rows(name)
        spec = self.game.spec.with_fields(output.fields)
        traced, static = _split_options(options)

        def chunk(networks, step, key, traced, weights, index, part):
            batch, key = spec.decode(part), jax.random.fold_in(key, index[0])
            play = Play(networks, batch, key, self.game.clock(step), rows)
            made = output.make(play, **traced, **static)
            if jnp.shape(made) != (rows, *output.shape):
                raise ValueError(
                    f"the output '{name}' is declared with rows of shape {output.shape}, so {rows} rows have the shape"
                    f" {(rows, *output.shape)}, but it makes {jnp.shape(made)}."
                )
            return made if then is None else then(made, part, weights)

        def program():
            parallel, same = PartitionSpec(self.mesh.axis_names), PartitionSpec()
            specs = (same, same, same, same, same, parallel, parallel)
            return jax.jit(
                jax.shard_map(
                    chunk, mesh=self.mesh, in_specs=specs, out_specs=parallel, check_vma=False
                )
            )

        return self.cached(("make", name, then, ema, *sorted(static.items())), program), traced

    def _prepare_program(self, name: str, options: Mapping[str, tools.Value]):
        make, static = self.game.outputs[name].prepare, _split_options(options)[1]
        assert make is not None

        def prepare(networks: Mapping[str, Network], step, key, traced):
            play = Play(networks, {}, key, self.game.clock(step), self.chunk_rows(name))
            return dict(make(play, **traced, **static))

        return self.cached(
            ("prepare", name, *sorted(static.items())),
            lambda: jax.jit(self._on_mesh(prepare), out_shardings=self.replicated),
        )


def _scalars(turn: Turn, out: Any) -> Loss:
    """What a turn's loss returned; raises unless it is a `Loss` of scalars."""
    if not isinstance(out, tuple):
        raise ValueError(
            f"the loss of turn '{turn.name}' returns {type(out).__name__}; return Loss(value, metrics)."
        )
    loss = Loss(*out)
    for name, x in {
        "the loss": loss.value,
        **{f"metric '{n}'": x for n, x in loss.metrics.items()},
    }.items():
        if jnp.shape(x):
            raise ValueError(
                f"turn '{turn.name}': {name} has the shape {jnp.shape(x)}, but it must be a scalar; take its mean."
            )
    return loss


def _state_after(turn: Turn, play: Play) -> tuple[dict[str, Collections], dict[str, Collections]]:
    """(collections updated by calls, collections assigned by the loss) of each moved player."""
    advanced, assigned = {}, {}
    for name, moving in play.moved.items():
        before = play.networks[name].state
        for collection, tree in {**moving.state, **moving.assigned}.items():
            if collection not in before:
                known = ", ".join(before) or "none"
                raise ValueError(
                    f"the loss of turn '{turn.name}' sets '{collection}' of player '{name}', which is not one of its"
                    f" collections ({known}); declare it in Player.collections."
                )
            _check_alike(
                f"turn '{turn.name}', player '{name}'", collection, before[collection], tree
            )
        assigned[name] = moving.assigned
        advanced[name] = {
            collection: tree
            for collection, tree in moving.state.items()
            if collection not in moving.assigned and tree is not before[collection]
        }
    return advanced, assigned


def _check_alike(
    where: str,
    collection: str,
    before: PyTree,
    after: PyTree,
    when: tuple[str, str] = ("before the loss", "after it"),
) -> None:
    """Raises, while tracing, if the state changes its structure, a shape or a dtype."""

    def leaves(tree):
        found = jax.tree_util.tree_leaves_with_path(tree)
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): (
                jnp.shape(leaf),
                jnp.result_type(leaf),
            )
            for path, leaf in found
        }

    old, new = leaves(before), leaves(after)
    for path in (*old, *new):
        if old.get(path) != new.get(path):
            was, now = (_described(kinds.get(path)) for kinds in (old, new))
            name = "/".join(filter(None, (collection, path)))
            raise ValueError(
                f"{where}: '{name}' is {was} {when[0]} and {now} {when[1]}; its structure, shapes and dtypes must not"
                " change."
            )


def _described(kind: tuple | None) -> str:
    return "missing" if kind is None else f"{kind[1]}{list(kind[0])}"


def _merged(
    variables: Mapping[str, Collections], new: Mapping[str, Collections]
) -> dict[str, Collections]:
    return {name: {**collections, **new.get(name, {})} for name, collections in variables.items()}


def _by_kind(tree: PyTree) -> tuple[PyTree, PyTree]:
    """(the tree with its floating-point leaves only, the tree with the others only); None where a leaf is missing."""

    def of_kind(floating: bool):
        return jax.tree.map(
            lambda x: x if jnp.issubdtype(x.dtype, jnp.floating) == floating else None, tree
        )

    return of_kind(True), of_kind(False)


def _joined(floats: PyTree, whole: PyTree) -> PyTree:
    """Inverse of `_by_kind`."""
    return jax.tree.map(
        lambda f, w: w if f is None else f, floats, whole, is_leaf=lambda x: x is None
    )


def _rows_given(
    output: Output, given, name: str, numbers: np.ndarray, num: int
) -> dict[str, np.ndarray]:
    """The given fields of these rows; rows after the last repeat it."""
    batch = {} if given is None else dict(given(np.minimum(numbers, num - 1)))
    for field in output.needs:
        if field not in batch:
            raise ValueError(
                f"the output '{name}' needs '{field}': give one row of it for each row to make."
            )
    return batch


def _split_options(options: Mapping[str, tools.Value]):
    """(traced options, static options): floats are traced, so that new values do not recompile."""
    traced = {k: np.float32(v) for k, v in options.items() if isinstance(v, float)}
    return traced, {k: v for k, v in options.items() if k not in traced}


def _slot(index: tuple[slice, ...] | None, rows: int) -> int:
    """The number of the device whose `rows` rows begin at `index`."""
    assert index is not None, "each of this process's devices has a share"
    return (index[0].start or 0) // rows
