"""What a trained game makes of examples, seen through features and beside those examples: one sharded program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxgan.data import Source
from jaxgan.game import Engine, State
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.images import to_uint8
from jaxgan.metrics.paired import MEASURES
from jaxgan.metrics.paired import load as load_measure
from jaxgan.metrics.summary import IMAGE, Features, Summary, Wanted, collect
from jaxgan.train.sample import BATCH

MOST_PIXELS = 2**19  # of the examples that a device transforms at once: 32 of 128 x 128


def summarise_transforms(
    engine: Engine,
    state: State,
    source: Source,
    num: int,
    extractor: Extractor,
    wanted: Wanted,
    seed: int = 0,
    ema: bool = True,
) -> Summary:
    """What is wanted of the game's transforms of the examples of `source.spread(num)`, in that order.

    Transforms, their features and what is measured of each pair are one program, on all devices of the engine.
    """
    if not hasattr(extractor, "apply"):
        raise ValueError(
            f"{extractor.name!r} has no `apply(variables, batch)`, which measuring transforms needs"
        )
    features = _iterate_transforms(engine, state, source, num, extractor, wanted.arrays, seed, ema)
    return collect(features, extractor, "fake", wanted)


def _iterate_transforms(
    engine: Engine,
    state: State,
    source: Source,
    num: int,
    extractor: Any,
    arrays: frozenset[str],
    seed: int,
    ema: bool,
) -> Iterator[Features]:
    """The transforms' features, as this process holds them: part i of the examples on device i modulo their number."""
    game, mesh, images = engine.game, engine.mesh, IMAGE in arrays
    measures = sorted(arrays & MEASURES.keys())
    pictures = len(game.sample_shape) == 3
    dtype = np.dtype(np.uint8 if pictures else np.float32)
    parallel, everywhere = PartitionSpec(mesh.axis_names), PartitionSpec()
    # Parts depend on the examples alone, so that a transform that draws (dropout) draws alike on any devices.
    most = max(1, min(BATCH, MOST_PIXELS // int(np.prod(source.spec.shape[:2]))))
    count = -(-num // most)
    parts = np.array_split(np.arange(num), count)
    rows = len(parts[0])

    def on_a_device(networks, variables, key, index, batch):
        made = game.transform(networks, jax.random.fold_in(key, index[0]), batch)
        examples = to_uint8(made) if pictures else made
        outputs = dict(extractor.apply(variables["features"], examples))
        for name in measures:
            found = MEASURES[name].of(variables[name], examples, batch["image"])
            outputs[name] = found[:, None]
        # Quantised, a NaN would be a number like any other.
        finite = jnp.isfinite(made).all()
        outputs = {name: jnp.where(finite, x, jnp.float32(np.nan)) for name, x in outputs.items()}
        return {**outputs, IMAGE: examples} if images else outputs

    program = engine.cached(
        ("transforms", extractor, images, *measures),
        lambda: jax.jit(
            jax.shard_map(
                on_a_device,
                mesh=mesh,
                in_specs=(everywhere, everywhere, everywhere, parallel, parallel),
                out_specs=parallel,
                check_vma=False,
            )
        ),
    )
    networks = state.networks(ema)
    variables = {"features": extractor.variables, **{name: load_measure(name) for name in measures}}
    variables = jax.device_put(variables, engine.replicated)
    key = jax.jit(lambda: jax.random.key(seed), out_shardings=engine.replicated)()
    sharding = NamedSharding(mesh, parallel)

    def place(rows_of_each, values):
        """{slot: value of this process} as one array over the devices."""
        first = next(iter(values.values()))
        return jax.make_array_from_callback(
            (mesh.size * rows_of_each, *first.shape[1:]),
            sharding,
            lambda index: values[_slot(index, rows_of_each)],
        )

    for start in range(0, count, mesh.size):
        indices = sharding.addressable_devices_indices_map((mesh.size,)).values()
        slots = sorted(_slot(index, 1) for index in indices)
        # Past the last part, devices that have nothing to do play that one again, and nobody looks.
        part = {slot: min(start + slot, count - 1) for slot in slots}
        held = {slot: _filled(source, num, part[slot], count, rows) for slot in slots}
        batch = {
            name: place(rows, {slot: held[slot][name] for slot in slots}) for name in held[slots[0]]
        }
        index = place(1, {slot: np.array([part[slot]], np.int32) for slot in slots})
        outputs = program(networks, variables, key, index, batch)
        shards = {name: x.addressable_shards for name, x in outputs.items()}
        for i, shard in enumerate(shards["features"]):
            slot = _slot(shard.index, rows)
            there = parts[part[slot]]
            known = len(there) if start + slot < count else 0
            yield Features(
                {name: of_output[i].data for name, of_output in shards.items()},
                np.arange(rows) < known,
                held[slot].get("label"),
                dtype,
                there[0] + np.arange(rows),
            )


def _slot(index: tuple[slice, ...], rows: int) -> int:
    """Which of the devices' shares of so many rows begins at `index`."""
    return (index[0].start or 0) // rows


def _filled(source: Source, num: int, part: int, count: int, rows: int) -> dict[str, np.ndarray]:
    """One of `count` parts of `source.spread(num)`, its last example repeated until there are `rows`."""
    (batch,) = source.spread(num, rows, part=(part, count))
    return {
        name: np.pad(x, [(0, rows - len(x))] + [(0, 0)] * (x.ndim - 1), mode="edge")
        for name, x in batch.items()
    }
