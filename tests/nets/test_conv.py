"""The layers are nn.Conv, alone or beside a resampling, and nn.ConvTranspose, on the same parameters."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import resample
from jaxgan.nets.conv import (
    BilinearUpConv,
    Conv,
    DoublingConv,
    DownConv,
    GroupedConv,
    HalvingConv,
    UpConv,
)
from jaxgan.nets.spectral import spectral_norm


def composition(layer, conv):
    """What a layer is equal to: pooling comes after, upsampling before."""
    if issubclass(layer, DownConv):
        return lambda variables, x: resample.avg_pool(conv.apply(variables, x))
    if issubclass(layer, UpConv):
        return lambda variables, x: conv.apply(variables, resample.upsample_nearest(x))
    if issubclass(layer, BilinearUpConv):
        return lambda variables, x: conv.apply(variables, interpolated(x))
    return conv.apply


def interpolated(x):
    """Twice the size: a quarter of a pixel left and right of each old one, by its two neighbours; edges continued."""
    for axis in (1, 2):
        size = x.shape[axis]
        before = jnp.take(x, jnp.maximum(jnp.arange(size) - 1, 0), axis)
        after = jnp.take(x, jnp.minimum(jnp.arange(size) + 1, size - 1), axis)
        both = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = both.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x


@pytest.fixture(params=[Conv, DownConv, UpConv, BilinearUpConv])
def layer(request):
    return request.param


@pytest.fixture
def x(key):
    return jax.random.normal(key, (2, 6, 4, 3))


def assert_trees_close(actual, expected, rtol):
    def close(a, b):
        b = np.asarray(b, np.float64)
        np.testing.assert_allclose(
            np.asarray(a, np.float64), b, atol=rtol * np.abs(b).max(), rtol=0
        )

    jax.tree.map(close, actual, expected)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kernel_size", [(3, 3), (1, 1), (5, 3)])
def test_it_is_the_plain_composition(layer, x, key, kernel_size, use_bias):
    fields = {
        "kernel_size": kernel_size,
        "use_bias": use_bias,
        "kernel_init": nn.initializers.glorot_uniform(),
        "bias_init": nn.initializers.normal(),
        "name": "conv",
    }
    conv, fused = nn.Conv(5, **fields), layer(5, **fields)
    variables = fused.init(key, x)
    jax.tree.map(np.testing.assert_array_equal, variables, conv.init(key, x))  # names and values

    def value_and_gradients(apply):
        return jax.value_and_grad(lambda *a: jnp.sum(jnp.sin(apply(*a))), (0, 1))(variables, x)

    assert_trees_close(fused.apply(variables, x), composition(layer, conv)(variables, x), 1e-5)
    assert_trees_close(
        value_and_gradients(fused.apply), value_and_gradients(composition(layer, conv)), 2e-5
    )


def test_kernel_size_is_three_by_default(layer, x, key):
    shapes = jax.tree.map(jnp.shape, layer(5).init(key, x)["params"])
    assert shapes == {"kernel": (3, 3, 3, 5), "bias": (5,)}


def test_bfloat16_arithmetic_on_float32_parameters(layer, x, key):
    """The derived kernel is rounded once, so the error is that of bfloat16's 8 bits per operand.

    Interpolated images are rounded too.
    """
    fused = layer(5, dtype=jnp.bfloat16)
    variables = fused.init(key, x)
    assert [a.dtype for a in jax.tree.leaves(variables)] == [jnp.float32] * 2
    y = fused.apply(variables, x)
    assert y.dtype == jnp.bfloat16
    assert_trees_close(y, layer(5).apply(variables, x), 2e-2)
    gradients = jax.grad(lambda v: jnp.sum(fused.apply(v, x).astype(jnp.float32) ** 2))(variables)
    expected = jax.grad(lambda v: jnp.sum(layer(5).apply(v, x) ** 2))(variables)
    assert [a.dtype for a in jax.tree.leaves(gradients)] == [jnp.float32] * 2
    assert_trees_close(gradients, expected, 4e-2 if layer is BilinearUpConv else 3e-2)


def test_param_dtype(layer, x, key):
    fused = layer(5, dtype=jnp.float32, param_dtype=jnp.bfloat16)
    variables = fused.init(key, x)
    assert [a.dtype for a in jax.tree.leaves(variables)] == [jnp.bfloat16] * 2
    assert fused.apply(variables, x).dtype == jnp.float32


def test_spectral_normalisation_is_of_the_plain_kernel(layer, x, key):
    fused, conv = spectral_norm(layer)(5), spectral_norm(nn.Conv)(5, (3, 3))
    variables = fused.init(key, x)
    jax.tree.map(np.testing.assert_array_equal, variables, conv.init(key, x))
    assert_trees_close(fused.apply(variables, x), composition(layer, conv)(variables, x), 1e-5)
    _, moved = fused.apply(variables, x, mutable=["spectral"])
    _, moved_plain = conv.apply(variables, x, mutable=["spectral"])
    jax.tree.map(np.testing.assert_array_equal, moved, moved_plain)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strides", 2),
        ("padding", "VALID"),
        ("kernel_dilation", 2),
        ("input_dilation", 2),
        ("feature_group_count", 3),
        ("precision", "highest"),
    ],
)
def test_other_convolutions_are_refused(layer, x, key, field, value):
    message = f"{layer.__name__} supports plain convolutions only, so it has no {field}; got"
    with pytest.raises(ValueError, match=re.escape(f"{message} {field}={value}.")):
        layer(5, **{field: value}).init(key, x)


@pytest.mark.parametrize("size", [3, (3,), (3, 3, 3)])
def test_kernels_that_are_not_of_images_are_refused(layer, x, key, size):
    with pytest.raises(ValueError, match=r"works on images, so its kernel_size is a pair such as"):
        layer(5, size).init(key, x)


def _plain_halving(kernel_size, **fields):
    padding = [(k // 2 - 1, k // 2 - 1) for k in kernel_size]
    return nn.Conv(kernel_size=kernel_size, strides=(2, 2), padding=padding, **fields)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kernel_size", [(4, 4), (2, 2), (2, 4)])
@pytest.mark.parametrize(
    ("layer", "plain_layer", "sides"),
    [
        pytest.param(
            DoublingConv, partial(nn.ConvTranspose, strides=(2, 2)), (6, 4), id="doubling"
        ),
        pytest.param(HalvingConv, _plain_halving, (6, 4), id="halving"),
        pytest.param(HalvingConv, _plain_halving, (7, 4), id="halving-odd"),
    ],
)
def test_convolutions_by_two_are_flaxs(key, layer, plain_layer, sides, kernel_size, dtype):
    x = jax.random.normal(key, (2, *sides, 3))
    fields = {"features": 5, "kernel_size": kernel_size, "dtype": dtype, "name": "conv"}
    plain = plain_layer(**fields, bias_init=nn.initializers.normal())
    fused = layer(**fields, bias_init=nn.initializers.normal())
    variables = fused.init(key, x)
    jax.tree.map(np.testing.assert_array_equal, variables, plain.init(key, x))

    def value_and_gradients(layer):
        def loss(variables, x):
            return jnp.sum(jnp.sin(layer.apply(variables, x).astype(jnp.float32)))

        return jax.value_and_grad(loss, (0, 1))(variables, x)

    rtol = 1e-5 if dtype == jnp.float32 else 3e-2
    assert fused.apply(variables, x).dtype == dtype
    assert_trees_close(fused.apply(variables, x), plain.apply(variables, x), rtol)
    assert_trees_close(value_and_gradients(fused), value_and_gradients(plain), rtol)


@pytest.mark.parametrize(
    ("layer", "base"), [(DoublingConv, nn.ConvTranspose), (HalvingConv, nn.Conv)]
)
def test_convolutions_by_two_under_spectral_norm(x, key, layer, base):
    plain = spectral_norm(base)(5, (4, 4), (2, 2))
    fused = spectral_norm(layer)(5)
    variables = fused.init(key, x)
    assert_trees_close(fused.apply(variables, x), plain.apply(variables, x), 1e-5)


@pytest.mark.parametrize(
    ("layer", "fields", "text"),
    [
        (DoublingConv, {"kernel_size": (3, 3)}, "takes a kernel [kh, kw, 3, O] of even size"),
        (HalvingConv, {"kernel_size": (3, 3)}, "takes a kernel [kh, kw, 3, O] of even size"),
        (
            DoublingConv,
            {"strides": (1, 2)},
            "DoublingConv supports plain convolutions only, so it has no strides",
        ),
        (HalvingConv, {"padding": "VALID"}, "so it has no padding"),
        (DoublingConv, {"transpose_kernel": True}, "so it has no transpose_kernel"),
    ],
)
def test_what_convolutions_by_two_cannot_do_is_refused(x, key, layer, fields, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        layer(5, **fields).init(key, x)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("use_bias", [True, False])
def test_grouped_conv_is_flaxs(key, use_bias, dtype):
    fields = {
        "features": 6, "feature_group_count": 2, "use_bias": use_bias, "dtype": dtype, "name": "conv",
        "bias_init": nn.initializers.normal(),
    }  # fmt: skip
    x = jax.random.normal(key, (2, 4, 6, 4))
    plain, grouped = nn.Conv(kernel_size=(3, 3), **fields), GroupedConv(**fields)
    variables = grouped.init(key, x)
    jax.tree.map(np.testing.assert_array_equal, variables, plain.init(key, x))
    y = grouped.apply(variables, x)
    assert y.dtype == dtype
    rtol = 1e-5 if dtype == jnp.float32 else 3e-2
    assert_trees_close(y, plain.apply(variables, x), rtol)


@pytest.mark.parametrize(("channels", "features"), [(4, 5), (5, 4)])
def test_groups_that_do_not_divide_are_refused(key, channels, features):
    text = rf"cuts {channels} channels into {features} features .* multiples of feature_group_count; got 2"
    with pytest.raises(ValueError, match=text):
        GroupedConv(features, feature_group_count=2).init(key, jnp.zeros((1, 4, 4, channels)))


def test_grouped_conv_has_no_strides(key):
    with pytest.raises(ValueError, match="GroupedConv supports plain convolutions only"):
        GroupedConv(4, feature_group_count=2, strides=2).init(key, jnp.zeros((1, 4, 4, 4)))
