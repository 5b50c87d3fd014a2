"""Equalised learning rates, minibatch standard deviation, pixel and instance norms: against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import resample
from jaxgan.nets.equalised import EqualisedConv, EqualisedDense, leaky_relu
from jaxgan.nets.minibatch_std import minibatch_std
from jaxgan.nets.norm import InstanceNorm, pixel_norm


@pytest.mark.parametrize("layer", [EqualisedDense(256), EqualisedConv(256)])
def test_kernels_have_unit_variance_and_so_have_outputs(layer, key):
    x = jax.random.normal(key, (8, 8, 8, 64))
    y, variables = layer.init_with_output(key, x)
    assert abs(float(jnp.std(variables["params"]["kernel"])) - 1) < 0.02
    assert abs(float(jnp.std(y[:, 1:-1, 1:-1])) - 1) < 0.05


def test_leaky_relu_keeps_the_mean_square(key):
    x = jax.random.normal(key, (100_000,))
    # E f(x)^2 = gain^2 (1 + 0.2^2) / 2 for a standard normal x.
    assert abs(float(jnp.mean(leaky_relu(x) ** 2)) - 1.04) < 0.02


def test_a_multiplier_slows_learning_and_nothing_else(key):
    """At equal function, gradients by the stored kernel and bias are the multiplier times as large."""
    x = jax.random.normal(key, (4, 5))
    plain = EqualisedDense(3, bias_init=1.0)
    slow = EqualisedDense(3, bias_init=1.0, lr_multiplier=0.01)
    a, b = (layer.init(key, x) for layer in (plain, slow))
    np.testing.assert_allclose(plain.apply(a, x), slow.apply(b, x), rtol=1e-5)
    ga, gb = (
        jax.grad(lambda v, layer=layer: jnp.sum(layer.apply(v, x) ** 2))(v)["params"]
        for layer, v in ((plain, a), (slow, b))
    )
    jax.tree.map(lambda p, q: np.testing.assert_allclose(0.01 * p, q, rtol=1e-4), ga, gb)


def test_a_convolution_may_resample_on_the_way(key):
    x = jax.random.normal(key, (2, 4, 4, 3))
    plain, doubling = EqualisedConv(5), EqualisedConv(5, convolve=resample.upsample_conv)
    variables = plain.init(key, x)
    expected = plain.apply(variables, resample.upsample_nearest(x))
    np.testing.assert_allclose(doubling.apply(variables, x), expected, rtol=1e-5, atol=1e-6)


def test_layers_compute_in_their_dtype(key):
    x = jnp.ones((2, 4, 4, 3))
    for layer in (EqualisedDense(5, dtype=jnp.bfloat16), EqualisedConv(5, dtype=jnp.bfloat16)):
        y, variables = layer.init_with_output(key, x)
        assert y.dtype == jnp.bfloat16
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(
    ("batch", "size", "features"), [(8, 4, 1), (8, 0, 2), (6, 4, 1), (3, 4, 3)]
)
def test_minibatch_std_is_its_definition(batch, size, features):
    x = np.random.default_rng(0).normal(size=(batch, 3, 2, 6)).astype(np.float32)
    y = np.asarray(minibatch_std(x, size, features))
    np.testing.assert_array_equal(y[..., :6], x)
    used = max(n for n in range(1, (size or batch) + 1) if batch % n == 0)
    groups = batch // used
    for g in range(groups):
        for f in range(features):
            part = slice(f * 6 // features, (f + 1) * 6 // features)
            members = x[g::groups][..., part]
            expected = np.sqrt(members.var(axis=0) + 1e-8).mean()
            np.testing.assert_allclose(y[g::groups][..., 6 + f], expected, rtol=1e-5)


def test_minibatch_std_of_equal_images_has_a_gradient():
    x = jnp.ones((4, 2, 2, 3))
    assert np.isfinite(jax.grad(lambda x: minibatch_std(x)[..., 3].sum())(x)).all()
    with pytest.raises(ValueError, match="3 channels cannot be cut into num_features=2"):
        minibatch_std(x, 4, 2)
    with pytest.raises(ValueError, match=r"group_size=-4 images; give 0 \(all\) or more"):
        minibatch_std(x, -4)


def test_pixel_norm_gives_unit_mean_square(key):
    y = pixel_norm(5 * jax.random.normal(key, (2, 3, 3, 16)))
    np.testing.assert_allclose(jnp.mean(y**2, axis=-1), np.ones((2, 3, 3)), rtol=1e-5)
    assert pixel_norm(jnp.ones((1, 4), jnp.bfloat16)).dtype == jnp.bfloat16


def test_instance_norm_standardises_each_channel_of_each_image(key):
    x = 3 + 2 * jax.random.normal(key, (2, 8, 8, 4))
    y = InstanceNorm().apply({}, x)
    np.testing.assert_allclose(jnp.mean(y, axis=(1, 2)), np.zeros((2, 4)), atol=1e-5)
    np.testing.assert_allclose(jnp.var(y, axis=(1, 2)), np.ones((2, 4)), rtol=1e-4)
    affine, variables = InstanceNorm(affine=True).init_with_output(key, x)
    np.testing.assert_array_equal(affine, y)
    assert jax.tree.map(jnp.shape, variables["params"]) == {"scale": (4,), "bias": (4,)}
