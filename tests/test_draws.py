"""Draws for a batch: the numbers of jax.random whatever the devices, split where a mesh is in use."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxgan import draws

DRAWS = {
    "normal": (partial(draws.normal, shape=(16, 3)), partial(jax.random.normal, shape=(16, 3))),
    "uniform": (
        partial(draws.uniform, shape=(16, 3), minval=-2.0, maxval=1.0),
        partial(jax.random.uniform, shape=(16, 3), minval=-2.0, maxval=1.0),
    ),
    "randint": (
        partial(draws.randint, shape=(16,), minval=3, maxval=9),
        partial(jax.random.randint, shape=(16,), minval=3, maxval=9),
    ),
    "bernoulli": (
        lambda key: draws.bernoulli(key, 0.3, (16, 2)),
        lambda key: jax.random.bernoulli(key, 0.3, (16, 2)),
    ),
    "permuted": (
        lambda key: draws.permuted(key, 3 * jnp.arange(16)),
        lambda key: 3 * jax.random.permutation(key, 16),
    ),
}


def mesh_of(shape, names):
    kinds = (AxisType.Auto,) * len(shape)
    return jax.make_mesh(shape, names, axis_types=kinds, devices=jax.devices()[: np.prod(shape)])


def on_mesh(mesh, function, **shardings):
    def traced(*args):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*args)

    return jax.jit(traced, in_shardings=NamedSharding(mesh, PartitionSpec()), **shardings)


def rows(x):
    return {shard.data.shape[0] for shard in x.addressable_shards}


@pytest.mark.parametrize("name", DRAWS)
def test_numbers_are_those_of_jax_random_and_each_device_has_its_rows(key, name):
    ours, theirs = DRAWS[name]
    expected = theirs(key)
    np.testing.assert_array_equal(ours(key), expected)
    split = on_mesh(mesh_of((8,), ("data",)), ours)(key)
    assert split.dtype == expected.dtype
    assert rows(split) == {2}
    np.testing.assert_array_equal(split, expected)


@pytest.mark.parametrize(
    ("shape", "names", "expected"),
    [
        ((4, 2), ("data", "fsdp"), 2),  # over both
        ((2, 4), ("data", "model"), 8),  # a batch is not split over an axis of another name
        ((8,), ("model",), 16),
    ],
)
def test_rows_are_split_over_the_axes_of_a_batch(key, shape, names, expected):
    split = on_mesh(mesh_of(shape, names), lambda key: draws.normal(key, (16, 3)))(key)
    assert rows(split) == {expected}


def test_each_device_computes_its_own_rows_only(key):
    w = jnp.ones((64, 64))

    def work(normal):
        program = on_mesh(mesh_of((8,), ("data",)), lambda key, w: normal(key, (128, 64)) @ w)
        return program.lower(key, w).compile().cost_analysis()["flops"]

    assert work(draws.normal) < work(jax.random.normal) / 6


def test_few_rows_and_rows_that_do_not_divide_are_the_same_numbers(key):
    mesh = mesh_of((8,), ("data",))
    whole = NamedSharding(mesh, PartitionSpec())
    for num in (1, 7, 12):
        draw = on_mesh(mesh, lambda key, num=num: draws.normal(key, (num, 2)), out_shardings=whole)
        found = draw(key)
        np.testing.assert_array_equal(found, jax.random.normal(key, (num, 2)))


def test_without_a_mesh_nothing_is_added(key):
    x = jnp.ones((16, 2))
    assert draws.over_devices(x) is x
    program = jax.make_jaxpr(lambda key: draws.normal(key, (16, 2)))(key)
    assert "sharding_constraint" not in str(program)


def test_inside_shard_map_a_device_draws_for_itself(key):
    mesh = mesh_of((8,), ("data",))

    def own(index):
        return draws.normal(jax.random.fold_in(key, index[0]), (16, 2))

    spec = PartitionSpec("data")
    program = jax.jit(jax.shard_map(own, mesh=mesh, in_specs=spec, out_specs=spec))
    found = np.asarray(program(jnp.arange(8)))
    np.testing.assert_array_equal(
        found[16:32], jax.random.normal(jax.random.fold_in(key, 1), (16, 2))
    )


@jax.jit
def _compiled_elsewhere(key):
    return draws.normal(key, (16, 2))


def test_a_function_that_was_compiled_without_a_mesh_is_traced_again_with_one(key):
    expected = _compiled_elsewhere(key)
    for devices in (8, 4):
        split = on_mesh(mesh_of((devices,), ("data",)), _compiled_elsewhere)(key)
        assert rows(split) == {16 // devices}
        np.testing.assert_array_equal(split, expected)
