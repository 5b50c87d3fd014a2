"""The grouped convolution is XLA's, in values and in every derivative of training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import resample


def plain(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[3] // kernel.shape[2],
    )  # fmt: skip


def draw(key, groups=2, size=(3, 3), shape=(2, 4, 6, 4), features=6):
    keys = jax.random.split(key, 2)
    kernel = jax.random.normal(keys[1], (*size, shape[-1] // groups, features))
    return jax.random.normal(keys[0], shape), kernel / 3


def assert_close(actual, expected, rtol=2e-5):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(actual / scale, expected / scale, atol=rtol)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("size", [(3, 3), (1, 1), (5, 1)])
def test_values_gradients_and_gradients_of_a_penalty_are_xlas(key, groups, size):
    x, kernel = draw(key, groups, size, features=4)

    def penalty(conv, x, kernel):
        def critic(x, kernel):
            return jnp.sum(jnp.tanh(conv(jnp.tanh(conv(x, kernel)), kernel)))

        return jnp.mean(jnp.square(jax.grad(critic)(x, kernel)))

    assert_close(resample.grouped_conv(x, kernel), plain(x, kernel))
    for order in (lambda conv, *a: jnp.sum(jnp.sin(conv(*a))), penalty):
        found, expected = (
            jax.grad(partial(order, conv), (0, 1))(x, kernel)
            for conv in (resample.grouped_conv, plain)
        )
        for actual, value in zip(found, expected, strict=True):
            assert_close(actual, value, 1e-4)


def test_gradients_are_finite_differences_to_third_order(key):
    x, kernel = draw(key, shape=(1, 2, 2, 4), features=4)
    with jax.enable_x64(True):
        arguments = [jnp.asarray(np.asarray(a, np.float64)) for a in (x, kernel)]
        value = jax.jit(lambda *a: jnp.mean(jnp.sin(resample.grouped_conv(*a))))
        check_grads(value, arguments, order=3, modes=("rev",), rtol=1e-3)


def test_vmap_and_checkpoint_go_through(key):
    x, kernel = draw(key)

    def gradients(conv):
        def single(kernel, x):
            return jnp.sum(jnp.tanh(conv(x[None], kernel)))

        return jax.vmap(jax.grad(jax.checkpoint(single)), (None, 0))(kernel, x)

    assert_close(gradients(resample.grouped_conv), gradients(plain))


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((3, 3, 3, 6), r"takes a kernel \[kh, kw, 4 / groups, O\] .* got one of shape \(3, 3, 3, 6\)"),
        ((3, 3, 2, 5), r"a number of groups that divides 4 and O; got one of shape \(3, 3, 2, 5\)"),
        ((3, 2, 6), "takes a kernel"),
        ((2, 2, 2, 6), "takes kernels of odd size; got 2x2"),
    ],
)  # fmt: skip
def test_kernels_that_do_not_fit_are_refused(shape, text):
    with pytest.raises(ValueError, match=text):
        resample.grouped_conv(jnp.zeros((1, 4, 4, 4)), jnp.zeros(shape))


def test_devices_share_a_batch_and_agree_with_one(key):
    """XLA would gather the whole batch on each device."""
    x, kernel = draw(key, shape=(16, 4, 6, 4))
    mesh = jax.make_mesh((2, 4), ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(("data", "fsdp")))

    def gradients(x, kernel):
        return jax.grad(lambda *a: jnp.sum(jnp.sin(resample.grouped_conv(*a))), (0, 1))(x, kernel)

    def on_mesh(x, kernel):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return gradients(x, kernel)

    program = jax.jit(on_mesh, in_shardings=(split, None)).lower(x, kernel).compile()
    assert "all-gather(" not in program.as_text()
    for found, expected in zip(program(x, kernel), gradients(x, kernel), strict=True):
        assert_close(np.asarray(found), np.asarray(expected))
    # Fifteen rows cannot be split.
    program = jax.jit(on_mesh).lower(x[:15], kernel).compile()
    for found, expected in zip(program(x[:15], kernel), gradients(x[:15], kernel), strict=True):
        assert_close(np.asarray(found), np.asarray(expected))
