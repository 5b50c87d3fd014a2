"""Each rule of the spectrally normalised layers, against the SVD and the plain layers."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxgan import spectral
from jaxgan.nets.spectral import kernels, spectral_norm

# name: (layer class, its arguments, input, NumPy's own way from the kernel to [inputs, outputs]).
LAYERS = {
    "dense": (nn.Dense, {"features": 7}, (2, 12), lambda k: k),
    "dense_general": (nn.DenseGeneral, {"features": (3, 4)}, (2, 5), lambda k: k.reshape(5, 12)),
    "dense_general_axes": (
        nn.DenseGeneral,
        {"features": (3, 4), "axis": (-2, -1)},
        (2, 5, 6),
        lambda k: k.reshape(30, 12),
    ),
    "dense_general_one_axis": (
        nn.DenseGeneral,
        {"features": 4, "axis": [1]},
        (2, 5, 6),
        lambda k: k,
    ),
    "conv": (
        nn.Conv,
        {"features": 8, "kernel_size": (3, 3), "strides": 2},
        (2, 6, 6, 4),
        lambda k: k.reshape(36, 8),
    ),
    "conv_1d": (nn.Conv, {"features": 8, "kernel_size": 3}, (2, 6, 4), lambda k: k.reshape(12, 8)),
    "conv_transpose": (
        nn.ConvTranspose,
        {"features": 3, "kernel_size": (4, 4), "strides": (2, 2)},
        (2, 3, 3, 6),
        lambda k: k.reshape(96, 3),
    ),
    "conv_transpose_transposed": (
        nn.ConvTranspose,
        {"features": 3, "kernel_size": (4, 4), "strides": (2, 2), "transpose_kernel": True},
        (2, 3, 3, 6),
        lambda k: np.stack([k[:, :, o, :].reshape(-1) for o in range(3)], axis=1),
    ),
    "embed": (nn.Embed, {"num_embeddings": 10, "features": 6}, (4,), lambda k: k.T),
}

each_layer = pytest.mark.parametrize("name", LAYERS)


def example(shape, name=""):
    r = np.random.default_rng(0)
    if name == "embed":
        return jnp.asarray(r.integers(0, 10, shape), jnp.int32)
    return jnp.asarray(r.standard_normal(shape), jnp.float32)


def build(name, **fields):
    """The normalised layer, its plain twin, an input, the kernel's name and its matrix."""
    layer_class, arguments, shape, matrix = LAYERS[name]
    normalised = spectral_norm(layer_class)(**arguments, **fields)
    plain = layer_class(**arguments, **fields)
    kernel = "embedding" if name == "embed" else "kernel"
    return normalised, plain, example(shape, name), kernel, matrix


def svd_norm(matrix):
    return np.linalg.svd(np.float64(matrix), compute_uv=False)[0]


def assert_trees_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def converge(layer, variables, x, n=300):
    """`n` mutable calls."""
    step = jax.jit(lambda v: {**v, **layer.apply(v, x, mutable=["spectral"])[1]})
    for _ in range(n):
        variables = step(variables)
    return variables


Leading = partial(spectral_norm, n_steps=None)
each_iteration = pytest.mark.parametrize("wrap", [spectral_norm, Leading], ids=["power", "leading"])


class Critic(nn.Module):
    """Two kernels and a norm-free skip: enough to have names, order and depth."""

    conv: type = spectral_norm(nn.Conv)
    dense: type = spectral_norm(nn.Dense)

    @nn.compact
    def __call__(self, x):
        x = nn.relu(self.conv(8, (3, 3), name="first")(x))
        x = nn.relu(self.conv(8, (3, 3))(x)) + x
        return self.dense(1)(x.mean((1, 2)))[:, 0]


@each_layer
class TestEveryLayer:
    def test_init_is_the_plain_layers_bit_for_bit(self, name, key):
        # A random bias, which shows whether the key of the parameter after the kernel has shifted.
        random_bias = {} if name == "embed" else {"bias_init": nn.initializers.normal()}
        layer, plain, x, _, _ = build(name, **random_bias)
        variables = layer.init(key, x)
        assert set(variables) == {"params", "spectral"}
        assert_trees_equal(variables["params"], plain.init(key, x)["params"])
        assert set(variables["spectral"]) == {"u"}

    def test_init_warms_u_up(self, name, key):
        layer, _, x, kernel, matrix = build(name)
        variables = layer.init(key, x)
        w, u = matrix(np.asarray(variables["params"][kernel])), variables["spectral"]["u"]
        assert u.shape == w.shape[1:]
        assert u.dtype == jnp.float32
        np.testing.assert_allclose(np.linalg.norm(w @ u), svd_norm(w), rtol=1e-2)

    def test_computes_with_the_kernel_over_its_largest_singular_value(self, name, key):
        layer, plain, x, kernel, matrix = build(name)
        variables = converge(layer, layer.init(key, x), x)
        params = variables["params"]
        top = svd_norm(matrix(np.asarray(params[kernel])))
        expected = plain.apply({"params": {**params, kernel: params[kernel] / jnp.float32(top)}}, x)
        np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=2e-3, atol=1e-4)
        _, sown = layer.apply(variables, x, mutable=["intermediates"])
        np.testing.assert_allclose(sown["intermediates"]["sigma"], top, rtol=1e-3)

    def test_a_mutable_call_iterates_once(self, name, key):
        layer, _, x, kernel, matrix = build(name)
        variables = layer.init(key, x)
        params = jax.tree.map(
            lambda p: p + jnp.cos(jnp.arange(p.size)).reshape(p.shape), variables["params"]
        )
        u = variables["spectral"]["u"]
        _, new = layer.apply({"params": params, "spectral": {"u": u}}, x, mutable=["spectral"])
        w = np.float64(matrix(np.asarray(params[kernel])))
        expected = w.T @ (w @ u)
        expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(new["spectral"]["u"], expected, atol=1e-5)
        assert np.abs(expected - u).max() > 1e-3

    def test_without_a_number_of_steps_one_call_finds_the_leading_vector(self, name, key):
        layer_class, arguments, *_ = LAYERS[name]
        layer, _, x, kernel, matrix = build(name)
        variables = layer.init(key, x)
        leading = spectral_norm(layer_class, n_steps=None)(**arguments)
        assert_trees_equal(leading.init(key, x), variables)
        # Another kernel altogether.
        params = jax.tree.map(lambda p: p[..., ::-1] + 0.1, variables["params"])
        variables = {"params": params, "spectral": variables["spectral"]}
        y, new = leading.apply(variables, x, mutable=["spectral", "intermediates"])
        top = svd_norm(matrix(np.asarray(params[kernel])))
        np.testing.assert_allclose(new["intermediates"]["sigma"], top, rtol=1e-5)
        after = {"params": params, "spectral": new["spectral"]}
        np.testing.assert_array_equal(leading.apply(after, x), y)
        np.testing.assert_array_equal(layer.apply(after, x), y)

    def test_evaluation_moves_nothing_and_sees_what_the_mutable_call_saw(self, name, key):
        layer, _, x, _, _ = build(name)
        variables = layer.init(key, x)
        y, new = layer.apply(variables, x, mutable=["spectral"])
        after = {**variables, **new}
        np.testing.assert_array_equal(layer.apply(after, x), y)
        y, rest = layer.apply(after, x, mutable=["batch_stats"])
        assert not rest
        np.testing.assert_array_equal(layer.apply(after, x), y)

    def test_gradient_is_the_papers_with_u_and_v_constant(self, name, key):
        layer, plain, x, kernel, matrix = build(name)
        variables = converge(layer, layer.init(key, x), x)
        params = variables["params"]

        def loss(params):
            return jnp.sum(jnp.sin(layer.apply({**variables, "params": params}, x)))

        def plain_loss(params):
            return jnp.sum(jnp.sin(plain.apply({"params": params}, x)))

        left, values, right = np.linalg.svd(
            np.float64(matrix(np.asarray(params[kernel]))), full_matrices=False
        )
        normalised = {**params, kernel: params[kernel] / jnp.float32(values[0])}
        inner = jax.grad(plain_loss)(normalised)
        g = np.float64(matrix(np.asarray(inner[kernel])))
        lam = np.sum(g * matrix(np.asarray(normalised[kernel])))
        # SN-GAN, Eq. 12.
        expected = (g - lam * np.outer(left[:, 0], right[0])) / values[0]
        grads = jax.grad(loss)(params)
        found = matrix(np.asarray(grads[kernel]))
        np.testing.assert_allclose(found, expected, atol=3e-3 * np.abs(expected).max())
        if "bias" in params:
            np.testing.assert_allclose(grads["bias"], inner["bias"], rtol=5e-3, atol=1e-3)

    def test_bfloat16_compute_keeps_float32_state(self, name, key):
        layer, _, x, kernel, _ = build(name, dtype=jnp.bfloat16)
        variables = layer.init(key, x)
        y, new = layer.apply(variables, x, mutable=["spectral", "intermediates"])
        assert y.dtype == jnp.bfloat16
        assert new["spectral"]["u"].dtype == jnp.float32
        assert new["intermediates"]["sigma"].dtype == jnp.float32
        assert variables["params"][kernel].dtype == jnp.float32
        full, plain_x = build(name)[0], x
        y32, same = full.apply(variables, plain_x, mutable=["spectral"])
        np.testing.assert_array_equal(new["spectral"]["u"], same["spectral"]["u"])
        np.testing.assert_allclose(np.float32(y), y32, rtol=0.1, atol=0.05)

    def test_jit_vmap_and_remat_agree_with_eager(self, name, key):
        layer, _, x, _, _ = build(name)
        variables = layer.init(key, x)
        y, new = layer.apply(variables, x, mutable=["spectral"])
        jitted, jit_new = jax.jit(lambda v, x: layer.apply(v, x, mutable=["spectral"]))(
            variables, x
        )
        np.testing.assert_allclose(jitted, y, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(jit_new["spectral"]["u"], new["spectral"]["u"], atol=1e-6)
        variables = {**variables, **new}
        each = jax.vmap(lambda one: layer.apply(variables, one[None])[0])(x)
        np.testing.assert_allclose(each, y, rtol=1e-5, atol=1e-5)


def test_names_are_plain_nested_and_those_of_the_plain_network(key):
    x = example((2, 6, 6, 3))
    variables = Critic().init(key, x)
    plain = Critic(nn.Conv, nn.Dense).init(key, x)
    assert_trees_equal(variables["params"], plain["params"])
    assert jax.tree.map(jnp.shape, variables["spectral"]) == {
        "first": {"u": (8,)},
        "Conv_0": {"u": (8,)},
        "Dense_0": {"u": (1,)},
    }


def test_training_a_hundred_steps_keeps_sigma_within_a_thousandth(key):
    """One iteration per step follows kernels that move this slowly (faster ones it trails)."""
    critic, x = Critic(), example((8, 6, 6, 3))
    variables = critic.init(key, x)
    params, state = variables["params"], {"spectral": variables["spectral"]}

    @jax.jit
    def step(params, state):
        def loss(params):
            y, new = critic.apply({"params": params, **state}, x, mutable=["spectral"])
            return jnp.mean((y - jnp.sin(jnp.arange(8.0))) ** 2), new

        grads, state = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.03 * g, params, grads), state

    for _ in range(100):
        params, state = step(params, state)

    def error(state):
        _, sown = critic.apply({"params": params, **state}, x, mutable=["intermediates"])
        found = []
        for name, layer in params.items():
            kernel = np.asarray(layer["kernel"])
            top = svd_norm(kernel.reshape(-1, kernel.shape[-1]))
            found.append(abs(1 - float(sown["intermediates"][name]["sigma"]) / top))
        return max(found)

    assert error(state) < 1e-3
    # The kernels have moved: the u of the beginning would not do.
    assert error({"spectral": variables["spectral"]}) > 3e-3


@each_iteration
def test_remat_recomputes_without_iterating_again(wrap, key):
    x = example((2, 6, 6, 3))
    layers = wrap(nn.Conv), wrap(nn.Dense)
    plain, remat = Critic(*layers), nn.remat(Critic)(*layers)
    variables = plain.init(key, x)

    def loss(critic):
        def f(params):
            y, new = critic.apply({**variables, "params": params}, x, mutable=["spectral"])
            return jnp.sum(y**2), new

        return jax.jit(jax.grad(f, has_aux=True))(variables["params"])

    (grads, new), (remat_grads, remat_new) = loss(plain), loss(remat)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), grads, remat_grads
    )
    # A singular vector is as exact as rounding over the gap to the next one.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), new, remat_new)
    assert_trees_equal(remat.init(key, x)["params"], variables["params"])


@each_iteration
def test_lifted_vmap_keeps_one_u_per_copy(wrap, key):
    stacked = nn.vmap(
        wrap(nn.Dense),
        variable_axes={"params": 0, "spectral": 0},
        split_rngs={"params": True},
    )(features=4)
    x = example((3, 2, 5))
    variables = stacked.init(key, x)
    assert variables["spectral"]["u"].shape == (3, 4)
    y, new = stacked.apply(variables, x, mutable=["spectral"])
    single = wrap(nn.Dense)(features=4)
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], {**variables, **new})
        np.testing.assert_allclose(single.apply(one, x[i]), y[i], rtol=1e-5, atol=1e-6)


def test_eval_shape_and_grad_of_the_input(key):
    """What dry runs and gradient penalties do."""
    critic, x = Critic(), example((2, 6, 6, 3))
    shapes = jax.eval_shape(critic.init, key, x)
    variables = critic.init(key, x)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(lambda s: s.shape, shapes)

    def slope(params):
        grad = jax.grad(lambda x: jnp.sum(critic.apply({**variables, "params": params}, x)))(x)
        return jnp.sum(grad**2)

    assert all(np.isfinite(g).all() for g in jax.tree.leaves(jax.grad(slope)(variables["params"])))


@each_iteration
def test_eight_devices_agree_with_one(wrap, key):
    critic, x = Critic(wrap(nn.Conv), wrap(nn.Dense)), example((16, 6, 6, 3))
    variables = critic.init(key, x)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    step = jax.jit(lambda v, x: critic.apply(v, x, mutable=["spectral"]))
    y, new = step(variables, x)
    sharded, sharded_new = step(
        jax.device_put(variables, NamedSharding(mesh, PartitionSpec())),
        jax.device_put(x, NamedSharding(mesh, PartitionSpec("data"))),
    )
    np.testing.assert_allclose(sharded, y, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), new, sharded_new)


def test_a_zero_kernel_computes_zero_and_learns(key):
    layer = spectral_norm(nn.Dense)(3, use_bias=False, kernel_init=nn.initializers.zeros)
    x = example((2, 5))
    variables = layer.init(key, x)
    np.testing.assert_allclose(np.linalg.norm(variables["spectral"]["u"]), 1.0, rtol=1e-6)
    y, new = layer.apply(variables, x, mutable=["spectral"])
    np.testing.assert_array_equal(y, np.zeros((2, 3)))
    grad = jax.grad(lambda p: jnp.sum(layer.apply({**variables, "params": p}, x)))(
        variables["params"]
    )["kernel"]
    np.testing.assert_allclose(grad, np.repeat(x.sum(0)[:, None], 3, axis=1), rtol=1e-5)
    # The next kernel is normalised, its u not having died.
    after = converge(layer, {"params": {"kernel": example((5, 3))}, **new}, x)
    assert svd_norm(layer.apply(after, jnp.eye(5))) == pytest.approx(1.0, rel=1e-3)


def test_a_masked_kernel_is_measured_behind_its_mask(key):
    mask = jnp.asarray(np.random.default_rng(1).random((3, 3, 4, 8)) < 0.5, jnp.float32)
    layer = spectral_norm(nn.Conv)(8, (3, 3), mask=mask, use_bias=False)
    x = example((2, 6, 6, 4))
    variables = converge(layer, layer.init(key, x), x)
    kernel = np.asarray(variables["params"]["kernel"] * mask)
    _, sown = layer.apply(variables, x, mutable=["intermediates"])
    np.testing.assert_allclose(
        sown["intermediates"]["sigma"], svd_norm(kernel.reshape(36, 8)), rtol=1e-3
    )


def test_subclasses_and_other_parameters(key):
    class Scaled(nn.Dense):
        """Somebody's layer, with a parameter of its own."""

        @nn.compact
        def __call__(self, inputs):
            scale = self.param("scale", nn.initializers.constant(3.0), (self.features,))
            return super().__call__(inputs) * scale[None]

    layer, x = spectral_norm(Scaled)(4), example((2, 5))
    variables = converge(layer, layer.init(key, x), x)
    assert set(variables["params"]) == {"kernel", "bias", "scale"}
    assert svd_norm(layer.apply(variables, jnp.eye(5))) == pytest.approx(3.0, rel=1e-3)


def test_embed_attends_with_the_normalised_table(key):
    layer = spectral_norm(nn.Embed)(10, 6)
    variables = layer.init(key, jnp.arange(10))
    table = layer.apply(variables, jnp.arange(10))
    query = example((2, 6))
    attended = layer.apply(variables, query, method="attend")
    np.testing.assert_allclose(attended, query @ table.T, rtol=1e-5, atol=1e-6)


def test_the_class_is_cached_named_and_configurable(key):
    assert spectral_norm(nn.Conv) is spectral_norm(nn.Conv)
    assert spectral_norm(nn.Conv) is spectral_norm(nn.Conv, n_steps=1)
    assert spectral_norm(nn.Conv) is not spectral_norm(nn.Conv, n_steps=2)
    assert spectral_norm(nn.Conv) is not spectral_norm(nn.Conv, n_steps=None)
    assert spectral_norm(nn.Conv).__name__ == "Conv"
    assert issubclass(spectral_norm(nn.Conv), nn.Conv)
    x = example((2, 5))
    variables = spectral_norm(nn.Dense, init_steps=2)(4).init(key, x)
    w, u = variables["params"]["kernel"], variables["spectral"]["u"]
    np.testing.assert_allclose(u, spectral.init_u(jax.random.key(0), w, 2), atol=1e-6)
    _, new = spectral_norm(nn.Dense, n_steps=3)(4).apply(variables, x, mutable=["spectral"])
    np.testing.assert_allclose(
        new["spectral"]["u"], spectral.power_iteration(w, u, 3), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectral_norm(nn.Dense(3)), r"a layer class, not a Dense object; wrap the class"),
        (
            lambda: spectral_norm(partial(nn.Dense, 3)),
            r"not a partial object; wrap the class first",
        ),
        (lambda: spectral_norm(nn.LayerNorm), r"spectral_norm does not support LayerNorm; give"),
        (lambda: spectral_norm(nn.ConvLocal), r"spectral_norm does not support ConvLocal; give"),
        (
            lambda: spectral_norm(spectral_norm(nn.Conv)),
            r"Conv is spectrally normalised already; wrap it only once",
        ),
        (lambda: spectral_norm(nn.Conv, n_steps=0), r"n_steps is 0; give 1 or more, or None"),
        (lambda: spectral_norm(nn.Conv, init_steps=-1), r"init_steps is -1; give 0 or more"),
        (
            lambda: spectral_norm(nn.DenseGeneral)(3, batch_dims=(0,)).init(
                jax.random.key(0), jnp.ones((2, 5))
            ),
            r"batch_dims=\(0,\) has one matrix per batch index",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("mutable", [False, ["spectral"]])
def test_a_forgotten_collection_is_named(mutable, key):
    critic, x = Critic(), example((2, 6, 6, 3))
    params = critic.init(key, x)["params"]
    with pytest.raises(ValueError, match=r"no 'spectral/first/u' in the variables .* pass the"):
        critic.apply({"params": params}, x, mutable=mutable)


def test_a_u_of_another_network_is_named(key):
    layer, x = spectral_norm(nn.Dense)(4), example((2, 5))
    variables = {**layer.init(key, x), "spectral": {"u": jnp.ones(3)}}
    with pytest.raises(ValueError, match=r"'spectral/u' has shape \(3,\), but its kernel of shape"):
        layer.apply(variables, x)


class TestKernels:
    def test_they_are_those_the_layers_use(self):
        class Network(nn.Module):
            @nn.compact
            def __call__(self, x):
                x = spectral_norm(nn.Conv)(4, (3, 3), name="conv")(x)
                x = nn.Dense(3, name="plain")(x.reshape(x.shape[0], -1))
                table = spectral_norm(nn.Embed)(5, 3, name="table")
                return jnp.sum(x + table(jnp.zeros(x.shape[0], jnp.int32)), axis=1)

        network, x = Network(), jnp.ones((2, 4, 4, 1))
        variables = network.init(jax.random.key(0), x)
        found = kernels(lambda: network.apply(variables, x))
        assert {name: how for name, (_, *how) in found.items()} == {
            "conv": ["conv", 1],
            "plain": ["dense", 1],
            "table": ["embed", 1],
        }
        params = variables["params"]
        np.testing.assert_array_equal(found["plain"][0], params["plain"]["kernel"])
        for name, leaf in (("conv", "kernel"), ("table", "embedding")):
            w = spectral.flatten_kernel(*found[name])
            np.testing.assert_allclose(np.linalg.norm(w, 2), 1.0, rtol=1e-3)
            ratio = np.asarray(found[name][0]) / np.asarray(params[name][leaf])
            np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-5)
