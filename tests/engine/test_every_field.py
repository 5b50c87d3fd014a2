"""A batch with every kind of field: sharded over devices, lowered from shapes alone, seen by losses and outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from engine.small import Number, far, make_game, mesh_of

from jaxgan.data import ArraySource, Pipeline
from jaxgan.data.source import Column
from jaxgan.engine import Engine
from jaxgan.game import Loss, Output, Player, Stage, Turn
from jaxgan.spec import Field
from jaxgan.train.outputs import examples, make_output

ROWS, SIDE = 40, 8


def source():
    rng = np.random.default_rng(0)
    columns = {
        "label_map": Field("label_map", (SIDE, SIDE), 200),
        "attributes": Field("attributes", number=3),
        "condition": Field("image", (SIDE, SIDE, 1)),
    }
    values = {
        "label_map": rng.integers(0, 200, (ROWS, SIDE, SIDE), np.uint8),
        "attributes": rng.integers(0, 2, (ROWS, 3), np.int32),
        "condition": rng.integers(0, 256, (ROWS, SIDE, SIDE, 1), np.uint8),
    }
    return ArraySource(
        rng.integers(0, 256, (ROWS, SIDE, SIDE, 3), np.uint8),
        rng.integers(0, 5, ROWS),
        columns={name: Column(field, values[name]) for name, field in columns.items()},
    )


def means(batch):
    """The mean of each field, as float32."""
    return {name: jnp.mean(x.astype(jnp.float32)) for name, x in batch.items()}


def loss(play):
    w = play.networks["critic"]()
    found = means(play.batch)
    return Loss(w * sum(found.values()), found)


def sums(play):
    """For each row, the sum of each of its fields."""
    rows = [
        x.astype(jnp.float32).reshape(play.num, -1).sum(axis=1)
        for _, x in sorted(play.batch.items())
    ]
    return jnp.stack(rows, axis=1)


def engine_of(spec, devices):
    player = Player(Number(), (), optax.sgd(1e-3))
    outputs = {"sums": Output(sums, (len(spec.fields),), needs=tuple(sorted(spec.fields)))}
    game = make_game({"critic": player}, (Stage((Turn(("critic",), loss),), 16),), outputs, spec)
    return Engine(game, mesh=mesh_of(devices))


def test_every_field_is_split_over_the_devices_and_its_shape_is_known_before():
    data = source()
    engine = engine_of(data.spec, 8)
    batch = Pipeline(data, 0, flip=True, jitter=2).batch(0, 16)
    placed = engine.put(batch)
    shapes = engine.batch_shape(engine.game.stages[0], data.spec)
    assert placed.keys() == shapes.keys() == data.spec.fields.keys()
    for name, array in placed.items():
        assert (array.shape, array.dtype) == (shapes[name].shape, shapes[name].dtype), name
        assert array.sharding == shapes[name].sharding
        shards = array.addressable_shards
        assert len({shard.device for shard in shards}) == 8
        assert {shard.data.shape for shard in shards} == {(2, *array.shape[1:])}
        np.testing.assert_array_equal(array, batch[name])


def test_one_and_eight_devices_see_the_same_fields():
    data, states, metrics = source(), [], []
    for devices in (1, 8):
        engine = engine_of(data.spec, devices)
        state, batches = engine.init(), Pipeline(data, 0).iterate(0, 16)
        for step in range(3):
            state, seen = engine.round(state, step, batches)
        batches.close()
        states.append(jax.tree.map(np.asarray, state.params))
        metrics.append({name: float(x) for name, x in seen["critic"].items()})
        assert set(engine.traces().values()) == {1}
    assert far(*states)[0] < 1e-5
    batch = Pipeline(data, 0).batch(2, 16)
    for found in metrics:
        for name, values in batch.items():
            pictures = name in ("image", "condition")
            expected = (values / 127.5 - 1 if pictures else values).mean()
            np.testing.assert_allclose(found[f"critic/{name}"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("devices", [1, 8])
def test_an_output_is_given_every_field_of_its_examples(devices):
    data = source()
    engine = engine_of(data.spec, devices)
    made = make_output(engine, engine.init(), "sums", jax.random.key(0), ROWS, examples(data, ROWS))
    batch = data.gather(data.spread_indices(ROWS))
    for column, name in enumerate(sorted(batch)):
        values = batch[name].astype(np.float64)
        values = values / 127.5 - 1 if name in ("image", "condition") else values
        expected = values.reshape(ROWS, -1).sum(axis=1)
        np.testing.assert_allclose(made[:, column], expected, rtol=1e-5, atol=1e-3)


def test_programs_are_lowered_from_the_spec_alone():
    data = source()
    engine = engine_of(data.spec, 8)
    lowered = {program.name: program.lower() for program in engine.programs(data.spec)}
    assert {"init", "critic", "close", "sums"} <= lowered.keys()
