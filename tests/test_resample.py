"""The fused forms are the plain compositions, in values and in every derivative of training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import resample
from jaxgan.resample import fused as forms

SIZES = [(1, 1), (3, 3), (5, 1)]


def conv(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def plain_down(x, kernel):
    return resample.avg_pool(conv(x, kernel))


def plain_up(x, kernel):
    return conv(resample.upsample_nearest(x), kernel)


PAIRS = {
    "same": (resample.conv, conv),
    "down": (resample.conv_avg_pool, plain_down),
    "up": (resample.upsample_conv, plain_up),
}


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


def draw(key, size=(3, 3), shape=(2, 4, 6, 3), features=5):
    keys = jax.random.split(key, 2)
    x = jax.random.normal(keys[0], shape)
    return x, jax.random.normal(keys[1], (*size, shape[-1], features))


def assert_close(actual, expected, rtol=2e-5):
    """Equal up to float32 rounding of sums, measured against the largest entry."""
    expected = np.asarray(expected, np.float64)
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(np.asarray(actual, np.float64) / scale, expected / scale, atol=rtol)


def test_avg_pool_is_the_mean_of_blocks(key):
    x = np.asarray(jax.random.normal(key, (2, 4, 6, 3)))
    blocks = x[:, 0::2, 0::2] + x[:, 1::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 1::2]
    assert_close(resample.avg_pool(jnp.asarray(x)), blocks / 4)


def test_upsample_nearest_repeats_pixels(key):
    x = jax.random.normal(key, (2, 3, 5, 4))
    expected = np.repeat(np.repeat(np.asarray(x), 2, axis=1), 2, axis=2)
    np.testing.assert_array_equal(resample.upsample_nearest(x), expected)


def test_pooling_undoes_upsampling(key):
    x = jax.random.normal(key, (2, 3, 5, 4))
    np.testing.assert_array_equal(resample.avg_pool(resample.upsample_nearest(x)), x)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 2, 2, 1)])
def test_fused_equals_plain(pair, key, size, shape):
    fused, plain = pair
    x, kernel = draw(key, size, shape)
    assert_close(fused(x, kernel), plain(x, kernel))


def test_upsampling_works_on_odd_and_single_pixels(key):
    for shape in [(2, 1, 1, 3), (2, 3, 5, 3)]:
        x, kernel = draw(key, shape=shape)
        assert_close(resample.upsample_conv(x, kernel), plain_up(x, kernel))


@pytest.mark.parametrize("size", [(1, 1), (3, 3)])
def test_bias_is_added_once(pair, key, size):
    fused, plain = pair
    x, kernel = draw(key, size)
    bias = jnp.arange(5.0)
    assert_close(fused(x, kernel, bias), plain(x, kernel) + bias.reshape(1, 1, 1, 5))


@pytest.mark.parametrize("size", SIZES)
def test_first_gradients_equal_plain(pair, key, size):
    fused, plain = pair
    x, kernel = draw(key, size)

    def loss(f):
        return lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel)))

    for actual, expected in zip(
        jax.grad(loss(fused), (0, 1))(x, kernel),
        jax.grad(loss(plain), (0, 1))(x, kernel),
        strict=True,
    ):
        assert_close(actual, expected)


@pytest.mark.parametrize("size", [(3, 3), (1, 5)])
def test_gradient_penalty_gradients_equal_plain(pair, key, size):
    """A critic of two layers, penalised as in WGAN-GP, Eq. 3: reverse over reverse mode."""
    fused, plain = pair
    x, kernel = draw(key, size, features=3)

    def penalty(f):
        def critic(x, kernel):
            return jnp.sum(jnp.tanh(f(jnp.tanh(f(x, kernel)), kernel)))

        def value(x, kernel):
            gradient = jax.grad(critic)(x, kernel)
            return jnp.mean((jnp.sqrt(jnp.sum(gradient**2, axis=(1, 2, 3))) - 1) ** 2)

        return jax.jit(jax.grad(value, (0, 1)))

    x = jnp.tile(x, (1, 1, 2, 1))[:, :, :8]  # 4 x 8: it is halved twice
    for actual, expected in zip(penalty(fused)(x, kernel), penalty(plain)(x, kernel), strict=True):
        assert_close(actual, expected, rtol=1e-4)


def test_gradients_are_finite_differences_to_third_order(pair, key):
    fused, _ = pair
    x, kernel = draw(key, shape=(1, 2, 2, 2), features=2)
    bias = jnp.array([0.5, -1.0])
    with jax.enable_x64(True):
        arguments = [jnp.asarray(np.asarray(a, np.float64)) for a in (x, kernel, bias)]
        value = jax.jit(lambda *a: jnp.mean(jnp.sin(fused(*a))))
        check_grads(value, arguments, order=3, modes=("rev",), rtol=1e-3)


@pytest.mark.parametrize("part", ["_down", "_up", "_kernel_gradient"])
def test_each_partial_derivative_is_linear_in_its_neighbours(part, key):
    """<_down(x, K), y> = <x, _up(y, K)> = <K, _kernel_gradient(x, y)>, and so differentiated."""
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (2, 4, 6, 3))
    kernel = jax.random.normal(keys[1], (4, 2, 3, 5))
    y = jax.random.normal(keys[2], (2, 2, 3, 5))
    form = {
        "_down": lambda x, k, y: jnp.vdot(forms._down(x, k), y),
        "_up": lambda x, k, y: jnp.vdot(x, forms._up(y, k)),
        "_kernel_gradient": lambda x, k, y: jnp.vdot(k, forms._kernel_gradient(x, y, (4, 2))),
    }[part]
    value = jnp.vdot(
        jax.lax.conv_general_dilated(
            x, kernel, (2, 2), ((1, 1), (0, 0)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        y,
    )
    np.testing.assert_allclose(form(x, kernel, y), value, rtol=1e-4)
    gradients = jax.grad(form, (0, 1, 2))(x, kernel, y)
    for argument, gradient in zip((x, kernel, y), gradients, strict=True):
        np.testing.assert_allclose(jnp.vdot(argument, gradient), value, rtol=1e-4)  # Euler

    def twice(x, kernel, y):
        return jnp.vdot(jax.grad(form, 0)(x, kernel, y), x)

    for a, b in zip(jax.grad(twice, (0, 1, 2))(x, kernel, y), gradients, strict=True):
        assert_close(a, b)


def test_vmap_and_checkpoint_go_through(pair, key):
    fused, plain = pair
    x, kernel = draw(key)

    def gradients(f):
        def single(x):
            return jnp.sum(jnp.tanh(f(x[None], kernel)))

        return jax.vmap(jax.grad(jax.checkpoint(single)))(x)

    assert_close(gradients(fused), gradients(plain))


@pytest.mark.parametrize("size", [(1, 1), (3, 3)])
def test_bfloat16_images_with_float32_kernels(pair, key, size):
    """The result has the images' type and no more error than bfloat16's 8 bits per rounding."""
    fused, plain = pair
    x, kernel = draw(key, size)
    x = x.astype(jnp.bfloat16)
    y = fused(x, kernel, jnp.zeros(5))
    assert y.dtype == jnp.bfloat16
    assert_close(y, plain(x.astype(jnp.float32), kernel), rtol=2e-2)
    gx, gk = jax.grad(lambda x, k: jnp.sum(fused(x, k).astype(jnp.float32) ** 2), (0, 1))(x, kernel)
    assert (gx.dtype, gk.dtype) == (jnp.bfloat16, jnp.float32)
    expected = jax.grad(lambda x, k: jnp.sum(plain(x, k) ** 2), (0, 1))(
        x.astype(jnp.float32), kernel
    )
    assert_close(gx, expected[0], rtol=2e-2)
    assert_close(gk, expected[1], rtol=2e-2)


def test_bfloat16_kernels_are_summed_in_float32(pair, key):
    fused, plain = pair
    x, kernel = draw(key)
    kernel = kernel.astype(jnp.bfloat16)
    y = fused(x, kernel)
    assert y.dtype == jnp.float32
    assert_close(y, plain(x, kernel.astype(jnp.float32)))


@pytest.mark.parametrize(("kernel_size", "factor"), [(3, 16 / 36), (1, 1 / 4)])
@pytest.mark.parametrize("name", ["down", "up"])
def test_the_arithmetic_saved_is_the_arithmetic_promised(name, key, kernel_size, factor):
    """As XLA counts it, with 10 % for summing kernels, pooling, and what padding the forms count."""
    x, kernel = draw(key, (kernel_size, kernel_size), (8, 16, 16, 32), 32)

    def flops(f):
        return jax.jit(f).lower(x, kernel).compile().cost_analysis()["flops"]

    def both_gradients(f):
        return jax.grad(lambda x, kernel: jnp.vdot(f(x, kernel), f(x, kernel)), (0, 1))

    fused, plain = PAIRS[name]
    assert flops(fused) == pytest.approx(factor * flops(plain), rel=0.1)
    assert flops(both_gradients(fused)) < 0.6 * flops(both_gradients(plain))


@pytest.mark.parametrize("size", [(2, 2), (4, 4), (6, 2), (2, 8)])
def test_the_transposed_form_for_cpus_is_that_for_other_devices(key, size):
    """What runs elsewhere is one convolution; here it is four, for even and odd rows and columns."""
    x, kernel = draw(key, size)
    y = forms._strided_conv(x, kernel)
    assert_close(forms._up_by_phase(y, kernel), forms._transposed_conv(y, kernel))


@pytest.mark.parametrize("size", [(3, 3), (1, 5), (5, 3)])
def test_convolutions_to_few_features_are_matrix_products_on_a_cpu(key, size):
    """With up to as many taps times features as channels, values and gradients of both orders."""
    x, kernel = draw(key, size, shape=(2, 4, 6, 2 * size[0] * size[1]), features=2)
    assert forms._is_thin(*kernel.shape)
    assert not forms._is_thin(*size, x.shape[-1] - 1, 2)
    program = jax.jit(forms._thin_conv).lower(x, kernel).as_text()
    assert "stablehlo.convolution" not in program
    assert "stablehlo.dot_general" in program
    assert_close(forms._thin_conv(x, kernel), conv(x, kernel))
    assert_close(resample.conv(x, kernel), conv(x, kernel))

    def penalty(f):
        def norm(x, kernel):
            return jnp.sum(jax.grad(lambda x: jnp.sum(jnp.sin(f(x, kernel))))(x) ** 2)

        return jax.grad(norm, (0, 1))(x, kernel)

    for a, b in zip(penalty(resample.conv), penalty(conv), strict=True):
        assert_close(a, b)


def test_other_devices_are_given_one_convolution(pair, key):
    program = jax.jit(pair[0]).trace(*draw(key)).lower(lowering_platforms=("cuda",))
    assert program.as_text().count("stablehlo.convolution") == 1


@pytest.mark.parametrize(("batch", "parts"), [(1, 1), (4, 1), (8, 2), (20, 5), (18, 6), (7, 7)])
def test_parts_of_the_batch_are_4_mib_at_most(batch, parts):
    """Pictures of 1 MiB: four to a part, or as many fewer as divide the batch."""
    x = jax.ShapeDtypeStruct((batch, 128, 256, 8), jnp.float32)
    assert forms._parts(x) == parts


def test_parts_of_the_batch_add_up(pair, key, monkeypatch):
    fused, plain = pair
    x, kernel = draw(key, shape=(6, 4, 6, 3))
    monkeypatch.setattr(forms, "_PART_BYTES", x.nbytes // 3)
    assert forms._parts(x) == 3
    y, gradient = jax.vjp(plain, x, kernel)
    in_parts, gradient_in_parts = jax.vjp(fused, x, kernel)
    assert_close(in_parts, y)
    for a, b in zip(gradient_in_parts(y), gradient(y), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("shape", [(1, 3, 4, 2), (1, 4, 5, 2)])
def test_odd_images_are_not_halved(shape):
    x = jnp.zeros(shape)
    size = f"{shape[1]}x{shape[2]}"
    with pytest.raises(ValueError, match=f"avg_pool halves .* must be even; got {size}"):
        resample.avg_pool(x)
    with pytest.raises(ValueError, match=f"conv_avg_pool halves .* must be even; got {size}"):
        resample.conv_avg_pool(x, jnp.zeros((3, 3, 2, 1)))


def test_kernels_of_even_size_are_refused(pair):
    with pytest.raises(ValueError, match="exact for kernels of odd size only; got 2x3"):
        pair[0](jnp.zeros((1, 4, 4, 2)), jnp.zeros((2, 3, 2, 1)))


def test_kernels_of_other_channels_are_refused(pair):
    with pytest.raises(ValueError, match=r"kernel \[kh, kw, 2, O\] for images of 2 channels; got"):
        pair[0](jnp.zeros((1, 4, 4, 2)), jnp.zeros((3, 3, 4, 1)))


@pytest.mark.parametrize("name", ["avg_pool", "upsample_nearest", "conv_avg_pool", "upsample_conv"])
def test_arrays_that_are_not_images_are_refused(name):
    function = getattr(resample, name)
    arguments = (jnp.zeros((3, 3, 2, 1)),) if "conv" in name else ()
    with pytest.raises(
        ValueError, match=rf"{name} takes images \[B, H, W, C\]; got .* \(4, 4, 2\)"
    ):
        function(jnp.zeros((4, 4, 2)), *arguments)
