"""The grouped convolution is XLA's, in values and in every derivative of training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import resample
from jaxgan.resample import grouped


def plain(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[3] // kernel.shape[2],
    )  # fmt: skip


def draw(key, groups=2, size=(3, 3), shape=(2, 4, 6, 4), features=6):
    keys = jax.random.split(key, 2)
    kernel = jax.random.normal(keys[1], (*size, shape[-1] // groups, features))
    return jax.random.normal(keys[0], shape), kernel / 3


def close(actual, expected, rtol=2e-5):
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

    close(resample.grouped_conv(x, kernel), plain(x, kernel))
    for order in (lambda conv, *a: jnp.sum(jnp.sin(conv(*a))), penalty):
        found, expected = (
            jax.grad(partial(order, conv), (0, 1))(x, kernel)
            for conv in (resample.grouped_conv, plain)
        )
        for actual, value in zip(found, expected, strict=True):
            close(actual, value, 1e-4)


def test_the_kernels_gradient_on_other_platforms_is_that_on_a_cpu(key):
    x, kernel = draw(key)
    y = plain(x, kernel)
    close(grouped._by_taps(kernel.shape, x, y), grouped._by_transposition(kernel.shape, x, y), 1e-5)


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

    close(gradients(resample.grouped_conv), gradients(plain))


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
