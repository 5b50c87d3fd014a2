"""Games as the steps play them: compiled in parallel, for a few rounds, with random pictures."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.game import Engine, State, Turn

THREADS = max(2, min(8, (os.cpu_count() or 2) // 2))


def compile_turn(engine: Engine, index: int, turn: Turn, batch: dict) -> dict[str, float]:
    """Compiles the program of a turn, and what that took and found.

    Playing compiles it again, but finds it in the compilation cache.
    """
    structs = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch.items()}
    play = jax.ShapeDtypeStruct((), jnp.int32)
    program = engine.program(index, turn)
    lowered = program.lower(engine.state_shape, structs, engine.run_key, play)
    start = time.perf_counter()
    compiled = lowered.compile()
    seconds, often = time.perf_counter() - start, turn.repeat / turn.every
    return {
        "compile_s": seconds,
        # Of an average round, as the model has them and as XLA left them.
        "gflop": (lowered.cost_analysis() or {}).get("flops", math.nan) * often / 1e9,
        "gflop_compiled": (compiled.cost_analysis() or {}).get("flops", math.nan) * often / 1e9,
        "program_mib": program_bytes(compiled) / 2**20,
    }


def program_bytes(compiled) -> float:
    """Memory that a compiled program needs: arguments, results and what lies between; NaN where XLA does not say."""
    memory = compiled.memory_analysis()
    if memory is None:
        return math.nan
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


def prepare(engine: Engine, stages: dict[int, dict]) -> tuple[State, dict[int, dict], float]:
    """(the state before round 0, {stage: {turn: what `compile_turn` found}}, seconds for all), in several threads.

    `stages` are {stage: one of its batches}.
    """
    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        state = pool.submit(engine.init)
        turns = {
            index: {
                turn.name: pool.submit(compile_turn, engine, index, turn, batch)
                for turn in engine.game.stages[index].turns
            }
            for index, batch in stages.items()
        }
        found = {
            index: {name: future.result() for name, future in of.items()}
            for index, of in turns.items()
        }
        state = jax.block_until_ready(state.result())
    return state, found, time.perf_counter() - start


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
    game, made, key = engine.game, {}, jax.random.key(0)
    if game.generate is not None:
        classes = game.num_classes
        labels = None if classes is None else np.arange(num, dtype=np.int32) % classes
        made["samples"] = np.asarray(engine.sample(state, key, num, labels))
    if game.transform is not None:
        few = {name: x[:num] for name, x in batch.items()}
        made["transforms"] = np.asarray(engine.transform(state, key, few))
    return made
