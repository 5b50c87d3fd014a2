"""The Lipschitz certificate of whole critics: exact where theory gives the number, bounds everywhere else."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import resample, spectral
from jaxgan.nets.convnet import ConvCritic
from jaxgan.nets.mlp import MLPCritic
from jaxgan.nets.resnet import ResNetCritic
from jaxgan.nets.spectral import kernels, spectral_norm


def certificate(critic, samples, **options):
    """The certificate of the critic as one program, which it sees through; the evaluations are not many programs."""
    return spectral.lipschitz_certificate(jax.jit(critic), samples, **options)


def normal(seed, shape, scale=1.0):
    return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def svd_norm(matrix):
    return np.linalg.norm(np.float64(matrix), 2)


def dot(x, w):
    return jnp.matmul(x, w, precision="highest")


def steepest_pair(critic, shape, num=2000, scale=1.0):
    """max |C(x) - C(y)| / ||x - y|| over random pairs, near and far."""
    x = np.asarray(normal(1, (num, *shape), scale))
    y = x + np.asarray(normal(2, x.shape)) * np.logspace(-2, 0, num).reshape(
        -1, *[1] * len(shape)
    ).astype("f")
    distance = np.linalg.norm(np.reshape(x - y, (num, -1)), axis=1)
    critic = jax.jit(critic)
    difference = np.asarray(critic(x)) - np.asarray(critic(y))
    return np.max(np.abs(difference.reshape(-1)) / distance)


def assert_ordered(critic, found, shape):
    assert steepest_pair(critic, shape) <= found.upper * (1 + 1e-5)
    assert 0 < found.lower <= found.upper * (1 + 1e-5)


# Where theory gives the number ----------------------------------------------------------------------------------


WEIGHTS = (normal(0, (5, 30), 0.4), normal(1, (30, 20), 0.4), normal(2, (20, 1), 0.4))


def chain(activation):
    def critic(x):
        for w in WEIGHTS[:-1]:
            x = activation(dot(x, w) + 0.1)
        return dot(x, WEIGHTS[-1])[:, 0]

    return critic


# However an activation is written: (function, its constant).
ACTIVATIONS = {
    **{
        name: (getattr(jax.nn, name), spectral.activation_lipschitz(name))
        for name in spectral.ACTIVATIONS
        if name not in ("gelu", "gelu_tanh")
    },
    "gelu": (lambda x: jax.nn.gelu(x, approximate=False), 1.1289041),
    "gelu_tanh": (lambda x: jax.nn.gelu(x, approximate=True), 1.1289931),
    "where": (lambda x: jnp.where(x > 0, x, 0.2 * x), 1.0),
    "steep where": (lambda x: jnp.where(x > 0, x, 3.0 * x), 3.0),
    "maximum": (lambda x: jnp.maximum(x, 0.2 * x), 1.0),
    "x sigmoid(x)": (lambda x: x / (1.0 + jnp.exp(-x)), 1.0998393),
    "scaled": (lambda x: np.float32(np.sqrt(2)) * jax.nn.leaky_relu(x, 0.2), np.sqrt(2)),
    "masked": (lambda x: x * (x > 0).astype(jnp.float32), 1.0),
    "clipped": (lambda x: jnp.clip(x, -1.0, 2.0), 1.0),
    "sine": (jnp.sin, 1.0),
    "erf": (jax.scipy.special.erf, 2 / np.sqrt(np.pi)),
    "sorted": (lambda x: jnp.sort(x, axis=-1), 1.0),
}


# Named activations differ in their constants alone, which have tests of their own.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n in spectral.ACTIVATIONS[3:] else ())
        for n in ACTIVATIONS
    ],
)
def test_a_chain_is_the_product_of_norms_and_constants(name):
    activation, constant = ACTIVATIONS[name]
    critic = chain(activation)
    found = certificate(critic, normal(3, (4, 5)), ascent_steps=3)
    expected = np.prod([svd_norm(w) for w in WEIGHTS]) * constant**2
    np.testing.assert_allclose(found.upper, expected, rtol=1e-5)
    assert_ordered(critic, found, (5,))


def test_layers_of_a_chain():
    found = certificate(chain(jax.nn.silu), normal(3, (4, 5)), ascent_steps=0)
    dense = [layer for layer in found.layers if layer.kind == "dense"]
    assert [layer.kernel_shape for layer in dense] == [w.shape for w in WEIGHTS]
    for layer, w in zip(dense, WEIGHTS, strict=True):
        np.testing.assert_allclose(
            [layer.flattened_norm, layer.operator_norm], svd_norm(w), rtol=1e-5
        )
    others = [layer for layer in found.layers if layer.kind != "dense"]
    assert [layer.kind for layer in others] == ["activation"] * 2
    np.testing.assert_allclose([layer.operator_norm for layer in others], 1.0998393)


def test_a_linear_network_is_exact():
    """Convolutions, pooling, padding, a residual sum and batch statistics as constants: one linear map."""
    first, second = normal(0, (3, 3, 2, 4), 0.3), normal(1, (3, 3, 4, 4), 0.3)
    scale, head = normal(2, (4,)), normal(3, (4 * 4 * 4, 1))

    def critic(x):
        x = resample.conv(x, first, jnp.ones(4)) * scale[None, None, None]
        y = resample.conv_avg_pool(x, second) + resample.avg_pool(x)
        y = jnp.pad(y, ((0, 0), (1, 1), (0, 0), (0, 0)))[:, 1:-1]
        return dot(y.reshape(y.shape[0], -1), head)[:, 0] + 3.0

    found = certificate(critic, normal(4, (4, 8, 8, 2)))
    gradient = jax.jit(jax.grad(lambda x: critic(x)[0]))(np.zeros((1, 8, 8, 2), np.float32))
    np.testing.assert_allclose(found.upper, np.linalg.norm(gradient), rtol=1e-5)
    np.testing.assert_allclose(found.lower, found.upper, rtol=1e-3)
    assert found.failure <= 1e-6


def test_a_large_linear_map_is_within_the_stated_width():
    kernel = normal(0, (3, 3, 3, 6))
    spread = jnp.asarray(normal(1, (16 * 16 * 6, 400), 0.02))

    def critic(x):
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jnp.abs(dot(x.reshape(x.shape[0], -1), spread))
        return jnp.sum(x, axis=1)

    def linear(x):
        return dot(
            jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            ).reshape(x.shape[0], -1),
            spread,
        )

    matrix = jax.jit(linear)(np.eye(16 * 16 * 3, dtype=np.float32).reshape(-1, 16, 16, 3))
    exact = svd_norm(matrix) * np.sqrt(400)
    found = certificate(critic, normal(2, (2, 16, 16, 3)), ascent_steps=0)
    assert exact * (1 - 1e-5) <= found.upper <= 1.01 * exact
    assert 0 < found.failure < 1e-4


def test_sums_of_branches_add_and_concatenations_add_squares():
    a, b = normal(0, (6, 7)), normal(1, (6, 7))
    head = jnp.ones((7, 1))

    def residual(x):
        return dot(x + 2.0 * jax.nn.relu(x), jnp.ones((6, 1)))[:, 0]

    # ||x + 2 relu(x)|| <= (1 + 2) ||x||, and it is so where all x > 0.
    found = certificate(residual, jnp.abs(normal(2, (4, 6))))
    np.testing.assert_allclose(found.upper, 3 * np.sqrt(6), rtol=1e-5)
    np.testing.assert_allclose(found.lower, found.upper, rtol=1e-5)

    def concatenated(x):
        both = jnp.concatenate([jax.nn.relu(dot(x, a)), jnp.tanh(dot(x, b))], axis=1)
        return jnp.max(both, axis=1)

    found = certificate(concatenated, normal(2, (4, 6)))
    np.testing.assert_allclose(found.upper, np.hypot(svd_norm(a), svd_norm(b)), rtol=1e-5)
    assert_ordered(concatenated, found, (6,))

    def maxout(x):  # of one linear map: its norm, not sqrt 2 times the larger half's
        return dot(jnp.maximum(dot(x, a), dot(x, b)), head)[:, 0]

    found = certificate(maxout, normal(2, (4, 6)))
    expected = svd_norm(np.concatenate([a, b], axis=1)) * np.sqrt(7)
    np.testing.assert_allclose(found.upper, expected, rtol=1e-5)
    assert_ordered(maxout, found, (6,))


def test_terms_that_do_not_align_add_to_less_than_their_norms():
    up, down = jnp.diag(jnp.array([1.0, 0.0])), jnp.diag(jnp.array([0.0, 1.0]))

    def critic(x):
        return jnp.max(dot(jax.nn.relu(x), up) + dot(jnp.tanh(x), down), axis=1)

    found = certificate(critic, normal(0, (4, 2)))
    np.testing.assert_allclose(found.upper, np.sqrt(2), rtol=1e-5)


@pytest.mark.parametrize(("window", "strides", "constant"), [(2, 2, 1.0), (3, 2, 2.0), (3, 1, 3.0)])
def test_convolution_and_max_pool(window, strides, constant):
    kernel = normal(0, (3, 3, 1, 2))

    def critic(x):
        x = resample.conv(x, kernel)
        x = nn.max_pool(x, (window, window), (strides, strides))
        return jnp.sum(x, axis=(1, 2, 3))

    found = certificate(critic, normal(1, (4, 8, 8, 1)))
    outputs = 2 * ((8 - window) // strides + 1) ** 2
    norm = float(jax.jit(lambda kernel: spectral.conv_norm(kernel, (8, 8)))(kernel))
    np.testing.assert_allclose(found.upper, norm * constant * np.sqrt(outputs), rtol=1e-4)
    assert_ordered(critic, found, (8, 8, 1))
    pool = found.layers[-1]
    assert (pool.kind, pool.operator_norm) == ("max_pool", constant)


def test_a_critic_that_ignores_its_input():
    found = certificate(lambda x: jnp.zeros(x.shape[0]), normal(0, (2, 3)))
    assert (found.upper, found.lower, found.layers) == (0.0, 0.0, ())


def test_a_function_of_known_constant_by_its_name():
    @jax.jit
    def capsule(x):
        return x / (1.0 + jnp.linalg.norm(x, axis=1, keepdims=True))

    def critic(x):
        return dot(capsule(2.0 * x), jnp.ones((3, 1)))[:, 0]

    with pytest.raises(ValueError, match=r"operation '.*'"):
        certificate(critic, normal(0, (2, 3)))
    found = certificate(critic, normal(0, (2, 3)), constants={"capsule": 1.0})
    np.testing.assert_allclose(found.upper, 2 * np.sqrt(3), rtol=1e-5)
    assert_ordered(critic, found, (3,))


# jaxgan's own critics -------------------------------------------------------------------------------------------


def build(module, shape):
    x = normal(0, (4, *shape))
    variables = jax.jit(module.init)(jax.random.key(0), x)
    return lambda x: module.apply(variables, x, train=False)


CRITICS = {
    "mlp": (MLPCritic(16, 2, kernel_norm=spectral_norm), (2,)),
    "conv": (ConvCritic(4, 4, kernel_norm=spectral_norm, leak=0.1), (8, 8, 1)),
    "conv, batch norm": (ConvCritic(4, 4, batch_norm=True), (8, 8, 1)),
    "resnet": (ResNetCritic((6, 6), 1, kernel_norm=spectral_norm), (8, 8, 1)),
    "resnet, bfloat16": (ResNetCritic((6, 6), 1, dtype=jnp.bfloat16), (8, 8, 1)),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if "resnet" in n else ()) for n in CRITICS],
)
def test_our_critics(name):
    module, shape = CRITICS[name]
    critic = build(module, shape)
    x = normal(0, (4, *shape))
    given = kernels(lambda: critic(x))
    found = certificate(critic, x, kernels=given, ascent_steps=5)
    assert found.lower <= found.upper
    if "bfloat16" not in name:  # rounding is steep in the small
        assert_ordered(critic, found, shape)
    names = [layer.name for layer in found.layers if layer.kernel_shape]
    assert all(name.startswith(f"{type(module).__name__}/") for name in names)
    assert len(set(names)) == len(names) == len(given)
    if "spectral_norm" in repr(module.kernel_norm):
        for layer in found.layers:
            np.testing.assert_allclose(layer.flattened_norm, 1.0, rtol=1e-2)


def test_the_layers_of_a_residual_critic():
    """Names from Flax; a convolution fused with a pooling is one line, with the kernel that is a parameter."""
    critic = build(ResNetCritic((6, 6), 1, kernel_norm=spectral_norm), (8, 8, 1))
    x = normal(0, (4, 8, 8, 1))
    given = kernels(lambda: critic(x))
    found = certificate(critic, x, kernels=given, ascent_steps=0)
    assert {layer.name: layer.kernel_shape for layer in found.layers} == {
        "ResNetCritic/block0/conv0": (3, 3, 1, 6),
        "ResNetCritic/block0/conv1": (3, 3, 6, 6),
        "ResNetCritic/block0/shortcut": (1, 1, 1, 6),
        "ResNetCritic/block1/conv0": (3, 3, 6, 6),
        "ResNetCritic/block1/conv1": (3, 3, 6, 6),
        "ResNetCritic/output": (6, 1),
    }
    by_name = {layer.name.removeprefix("ResNetCritic/"): layer for layer in found.layers}
    for name, pooled in (("block0/conv0", False), ("block0/conv1", True)):
        kernel = given[name][0]

        def linear(x, kernel=kernel, pooled=pooled):
            y = jax.lax.conv_general_dilated(
                x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            return resample.avg_pool(y) if pooled else y

        norm = jax.jit(spectral.operator_norm, static_argnums=(0, 1))
        expected = norm(linear, (8, 8, kernel.shape[2]))
        np.testing.assert_allclose(by_name[name].operator_norm, expected, rtol=1e-3)


def test_as_text():
    found = certificate(chain(jax.nn.silu), normal(3, (4, 5)), ascent_steps=0)
    lines = str(found).splitlines()
    assert lines[0].split() == ["layer", "kind", "kernel", "flattened", "norm", "operator", "norm"]
    assert lines[1].split()[:3] == ["-", "dense", "5x30"]
    assert len(lines) == 2 + len(found.layers)
    assert lines[-1] == f"{found.lower:.6g} <= Lipschitz constant <= {found.upper:.6g}"


# The lower bound ------------------------------------------------------------------------------------------------


def test_ascent_finds_the_steepest_place():
    """C(x) = 3 exp(-||x||^2 / 2): steepest at ||x|| = 1, from starts where it is flat."""

    def critic(x):
        return 3.0 * jnp.exp(-0.5 * jnp.sum(jnp.square(x), axis=1))

    start = normal(0, (4, 3))
    start = 2.5 * start / np.linalg.norm(start, axis=1, keepdims=True)
    at_start = spectral.lipschitz_lower_bound(critic, start, n_steps=0)
    found = spectral.lipschitz_lower_bound(critic, start, n_steps=60)
    expected = 3.0 * np.exp(-0.5)
    assert at_start < 0.3 * expected
    np.testing.assert_allclose(found, expected, rtol=1e-2)
    assert found <= expected * (1 + 1e-6)


def test_ascent_sees_kinks():
    """Piecewise linear: slope 1, and 5 beyond 1.2."""

    def critic(x):
        return jnp.sum(x, axis=1) + 4.0 * jax.nn.relu(jnp.sum(x, axis=1) - 1.2)

    start = jnp.ones((1, 1))
    assert spectral.lipschitz_lower_bound(critic, start, n_steps=0) == 1.0
    assert spectral.lipschitz_lower_bound(critic, start, n_steps=60) == 5.0


# Errors ---------------------------------------------------------------------------------------------------------


def with_batch_statistics(x):
    x = (x - jnp.mean(x, axis=0, keepdims=True)) / (1e-3 + jnp.std(x, axis=0, keepdims=True))
    return jnp.sum(x, axis=1)


@pytest.mark.parametrize(
    ("critic", "samples", "message"),
    [
        (with_batch_statistics, normal(0, (4, 3)), r"couples the samples of .*Batch normalisation"),
        (lambda x: jnp.sum(jnp.square(x), axis=1), normal(0, (4, 3)), r"operation 'square'; .* jax.jit .*constants="),
        (
            lambda x: jnp.sum(x * dot(x, jnp.ones((3, 3))), axis=1),
            normal(0, (4, 3)),
            "the operation 'mul' of two values that depend on the input",
        ),
        (lambda x: jnp.sum(jnp.exp(x), axis=1), normal(0, (4, 3)), "the operation 'exp'"),
        (lambda x: jnp.sum(jnp.where(x > 0, 1.0, 0.0), axis=1), normal(0, (4, 3)), "the operation 'select_n'"),
        # A ReLU as far as one looks near zero.
        (
            lambda x: jnp.sum(jnp.where(x > 30.0, 5.0 * x, jnp.maximum(x, 0.0)), axis=1),
            normal(0, (4, 3)),
            "the operation 'select_n'",
        ),
        (lambda x: np.float32(np.nan) * x[:, 0], normal(0, (4, 3)), "output for the first sample is nan"),
        (lambda x: x, normal(0, (4, 3)), r"for 4 samples it returns \(4, 3\); reduce its output"),
        (lambda x: x[:, 0], normal(0, (0, 3)), r"takes samples \[N, ...\], at least one; got .* \(0, 3\)"),
        (lambda x: x, normal(0, (4,)), r"takes samples \[N, ...\], at least one; got .* \(4,\)"),
        (lambda x: x[:, 0], np.zeros((4, 3), np.uint8), "the inputs of the critic; got uint8. Scale pictures first"),
    ],
)  # fmt: skip
def test_errors(critic, samples, message):
    with pytest.raises(ValueError, match=message):
        certificate(critic, samples)


def test_errors_name_the_layer():
    class Attention(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.sum(nn.Dense(3, name="key")(x) * nn.Dense(3, name="query")(x), axis=1)

    module = Attention()
    x = normal(0, (4, 3))
    variables = module.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"'mul' of two values .* in Attention; "):
        certificate(lambda x: module.apply(variables, x), x)


def test_errors_of_the_lower_bound():
    with pytest.raises(ValueError, match="n_steps is -1; give 0 or more"):
        spectral.lipschitz_lower_bound(lambda x: x[:, 0], normal(0, (2, 3)), n_steps=-1)
    with pytest.raises(ValueError, match="lipschitz_lower_bound takes samples"):
        spectral.lipschitz_lower_bound(lambda x: x, normal(0, (2,)))
