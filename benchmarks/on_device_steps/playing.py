"""Games as the steps play them: for a few rounds, with random pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hlo
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.engine import Engine
from jaxgan.game import SAMPLES, TRANSFORMS, State
from jaxgan.spec import Batch
from jaxgan.train.outputs import balanced, make_output, transform


def threads() -> int:
    """In how many threads to compile: one on a GPU, see `runner`."""
    return 1 if jax.default_backend() == "gpu" else max(2, min(8, (os.cpu_count() or 2) // 2))


def lower(engine: Engine, index: int, batch: Batch) -> dict[str, tuple[Any, float]]:
    """{turn: (its program, traced; how often it is played in a round)} of a stage, for batches like this one."""
    # Just as `Engine.round` calls them, so that it need not compile them again.
    structs = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=engine.batch_sharding)
        for name, x in batch.items()
    }
    inputs = (engine.state_shape, structs, engine.run_key, np.int32(0))
    return {
        turn.name: (engine.program(index, turn).lower(*inputs), turn.repeat / turn.every)
        for turn in engine.game.stages[index].turns
    }


def compile_all(lowered: Mapping[Any, tuple[Any, float]]) -> dict[Any, dict[str, float]]:
    """Compiles programs, and what that took and found of each; playing uses what was compiled."""
    with ThreadPoolExecutor(threads()) as pool:
        return dict(zip(lowered, pool.map(_compile, lowered.values()), strict=True))


def _compile(given: tuple[Any, float]) -> dict[str, float]:
    lowered, often = given
    start = time.perf_counter()
    compiled = lowered.compile()
    return {
        "compile_s": time.perf_counter() - start,
        # Of an average round. XLA's count after compilation leaves out the libraries' kernels on a GPU.
        "gflop": hlo.flops(lowered) * often / 1e9,
        "program_mib": hlo.memory(compiled) / 2**20,
    }


def prepare(
    engine: Engine, batches: Mapping[int, Batch]
) -> tuple[State, dict[int, dict[str, dict[str, float]]], float]:
    """(the state before round 0, {stage: {turn: see `compile_all`}}, seconds), for stages with a batch of each."""
    start = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        state = pool.submit(engine.init)
        lowered = {
            (index, name): given
            for index, batch in batches.items()
            for name, given in lower(engine, index, batch).items()
        }
        found = compile_all(lowered)
        state = jax.block_until_ready(state.result())
    stages: dict[int, dict[str, dict[str, float]]] = {}
    for (index, name), of in found.items():
        stages.setdefault(index, {})[name] = of
    return state, stages, time.perf_counter() - start


def enter(engine: Engine, state: State, index: int) -> tuple[State, int]:
    """The state with its clock set to the first round of a stage, and that round.

    The networks of all stages exist from the start, so any stage can be entered; those before were not trained.
    """
    start = 0 if index == 0 else engine.game.stages[index - 1].until
    return state.replace(step=jax.device_put(jnp.int32(start), state.step.sharding)), start


def play(
    engine: Engine, state: State, first: int, rounds: int, batches: Iterator
) -> tuple[State, list[float], dict[str, float]]:
    """(the state after, milliseconds of each round, the last metrics) of rounds `first` on."""
    times, metrics = [], {}
    for step in range(first, first + rounds):
        start = time.perf_counter()
        state, of_turns = engine.round(state, step, batches)
        jax.block_until_ready((state, of_turns))
        times.append(1e3 * (time.perf_counter() - start))
        metrics |= {name: float(x) for turn in of_turns.values() for name, x in turn.items()}
    return state, times, metrics


def make(engine: Engine, state: State, num: int, batch: dict) -> dict[str, np.ndarray]:
    """Samples of the game, or its transforms of the first examples of a batch; both where it has both."""
    game, made, key = engine.game, {}, engine.key(0)
    if SAMPLES in game.outputs:
        made[SAMPLES] = make_output(engine, state, SAMPLES, key, num, balanced(game))
    if TRANSFORMS in game.outputs:
        few = {name: x[:num] for name, x in batch.items()}
        made[TRANSFORMS] = transform(engine, state, few, key)
    return made
