"""The memory that training needs on each device, known before anything runs.

At any moment a device holds the state, batches, the examples if they are kept there (`jaxgan.train.resident`), and what
the running program needs in addition. XLA reports the last of these for a compiled program; the others follow from
shapes and shardings. `benchmarks/memory.py` compares the sum with what runs have used. XLA does not report the scratch
space of a CPU's convolutions, which may be as large as the rest; on a CPU the sum is therefore too low for networks of
convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import jax

from jaxgan.data import Pipeline
from jaxgan.engine import Engine, Program
from jaxgan.spec import Spec
from jaxgan.train.resident import is_resident, num_bytes

# Rounds whose batches may be on a device: the loop enqueues a round while the one before is running.
ROUNDS = 2

# {part of the state: how it is called}
PARTS = {
    "params": "parameters",
    "opt_state": "optimisers",
    "ema": "averages",
    "variables": "other state",
}


class Size(NamedTuple):
    """Bytes of arrays: all of them, and those of one device."""

    whole: int
    device: int


def size(tree) -> Size:
    """The size of a tree of `jax.ShapeDtypeStruct`s with shardings."""
    leaves = jax.tree.leaves(tree)
    return Size(
        sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves),
        sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves),
    )


def of_state(engine: Engine) -> dict[str, dict[str, Size]]:
    """{part of the state: {player: its size}}; parts as in `PARTS`, players without such a part are left out."""
    found = {
        part: {player: size(tree) for player, tree in getattr(engine.state_shape, part).items()}
        for part in PARTS
    }
    return {
        part: {player: s for player, s in sizes.items() if s.whole} for part, sizes in found.items()
    }


def of_batches(engine: Engine, spec: Spec, stage_index: int) -> int:
    """Bytes of the batches of a stage that may be on a device at once."""
    stage = engine.game.stages[stage_index]
    fresh = sum(turn.repeat for turn in stage.turns if turn.fresh_batch)
    return ROUNDS * max(1, fresh) * size(engine.batch_shape(stage, spec)).device


def of_program(engine: Engine, program: Program, compiled, spec: Spec) -> float:
    """Bytes of one device while a compiled program runs, without the examples kept there; NaN if XLA reports none.

    The state is counted once: programs that change it write the new one in its place.
    """
    analysis = compiled.memory_analysis()
    if analysis is None:
        return math.nan
    own = analysis.temp_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    if program.name == "init":  # its result is the state
        return own
    return size(engine.state_shape).device + of_batches(engine, spec, program.stage) + own


def of_examples(engine: Engine, pipelines: Iterable[Pipeline], choice: str) -> int:
    """Bytes of the examples that are kept on each device; `choice` as `train.data_on_device`."""
    return max(
        (num_bytes(p) for p in pipelines if is_resident(choice, p, engine.platform)), default=0
    )


def limit(engine: Engine) -> float:
    """Bytes of a device that JAX may use; infinity if the backend does not say (a CPU)."""
    stats = engine.mesh.devices.flat[0].memory_stats() or {}
    return stats.get("bytes_limit", math.inf)


def words(nbytes: float) -> str:
    """A number of bytes as a person writes it.

    >>> words(100), words(3 * 2**20), words(float("nan"))
    ('100 bytes', '3.0 MiB', '?')
    """
    if math.isnan(nbytes):
        return "?"
    for unit in ("bytes", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:,.0f} {unit}" if unit == "bytes" else f"{nbytes:,.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:,.1f} GiB"


def complaint(engine: Engine, need: float, what: str, remat: bool | None = None) -> str:
    """A sentence that a device lacks the memory for `what`, with ways out; "" if it has enough, or if that is unknown.

    Args:
      engine: of the run.
      need: bytes of one device; may be NaN.
      what: takes them.
      remat: see `ways_out`.
    """
    if not need > (have := limit(engine)):
        return ""
    return (
        f"{what} needs {words(need)} of each device, which has {words(have)} for JAX; to need less, set"
        f" {ways_out(engine, remat)}."
    )


def ways_out(engine: Engine, remat: bool | None = None) -> str:
    """Options that lower the memory that a device needs, in words.

    Args:
      engine: of the run.
      remat: the model's option `remat`; None if it has none, or if that is unknown.
    """
    ways = ["model.remat=true"] if remat is False else []
    sizes = {stage.batch_size for stage in engine.game.stages}
    if not math.gcd(*sizes) % (2 * engine.accumulate * engine.mesh.size):
        ways.append(f"train.accumulate={2 * engine.accumulate}")
    if engine.mesh.shape.get("fsdp", 1) < engine.mesh.size:
        ways.append(f"train.fsdp={engine.mesh.size}")
    return " or ".join([*ways, "a smaller model.batch_size"])
