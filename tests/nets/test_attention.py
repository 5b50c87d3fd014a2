"""The attention block against its formula in NumPy, and what holds at the start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan.nets.attention import SelfAttention, max_pool
from jaxgan.nets.resnet import plain
from jaxgan.nets.spectral import spectral_norm


def setting(shape=(2, 6, 4, 16), gamma=0.7, kernel_norm=plain):
    block = SelfAttention(kernel_norm)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    variables = jax.jit(block.init)(jax.random.key(1), x)
    params = {**variables["params"], "gamma": jnp.float32(gamma)}
    return block, x, {**variables, "params": params}


def by_formula(x, kernels, gamma):
    """Pixel by pixel, in float64."""
    x, (query, key, value, output) = np.float64(x), (np.float64(k)[0, 0] for k in kernels)

    def pooled(y):
        corners = [y[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        return np.max(corners, axis=0).reshape(len(y), -1, y.shape[-1])

    keys, values, made = pooled(x @ key), pooled(x @ value), np.zeros_like(x)
    for n, i, j in np.ndindex(x.shape[:3]):
        logits = keys[n] @ (x[n, i, j] @ query)
        weights = np.exp(logits - logits.max())
        made[n, i, j] = (weights / weights.sum()) @ values[n] @ output
    return x + gamma * made


# The singular vectors at initialisation have converged to some digits only.
@pytest.mark.parametrize(("kernel_norm", "tolerance"), [(plain, 1e-5), (spectral_norm, 1e-3)])
def test_it_is_the_formula(kernel_norm, tolerance):
    block, x, variables = setting(kernel_norm=kernel_norm)
    kernels = [variables["params"][name]["kernel"] for name in ("query", "key", "value", "output")]
    if kernel_norm is spectral_norm:
        kernels = [k / np.linalg.norm(np.float64(k)[0, 0], 2) for k in kernels]
    shapes = [(1, 1, 16, 2), (1, 1, 16, 2), (1, 1, 16, 8), (1, 1, 8, 16)]
    assert [k.shape for k in kernels] == shapes
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == 1.25 * 16**2 + 1
    found = jax.jit(block.apply)(variables, x)
    expected = by_formula(x, kernels, 0.7)
    assert np.abs(expected - x).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_it_starts_as_the_identity_and_only_gamma_has_a_gradient():
    block, x, variables = setting(gamma=0.0)
    assert jax.tree.leaves(block.init(jax.random.key(1), x)["params"]["gamma"]) == [0.0]

    def loss(params):
        return jnp.sum(block.apply({"params": params}, x) ** 2)

    np.testing.assert_array_equal(block.apply(variables, x), x)
    slopes = jax.jit(jax.grad(loss))(variables["params"])
    moved = {name for name, slope in slopes.items() if any(s.any() for s in jax.tree.leaves(slope))}
    assert moved == {"gamma"}


def test_gradients_to_second_order():
    block, x, variables = setting((1, 2, 4, 8))
    check_grads(jax.jit(lambda x: block.apply(variables, x)), (x,), 2, modes=["rev"], rtol=0.02)


def test_bfloat16_in_the_products_and_float32_in_the_softmax():
    block, x, variables = setting()
    low = SelfAttention(plain, dtype=jnp.bfloat16)
    found = jax.jit(low.apply)(variables, jnp.asarray(x, jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(found), block.apply(variables, x), rtol=0.05, atol=0.05)


def test_max_pool_is_that_of_each_square():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    expected = [[x[:, i : i + 2, j : j + 2].max((1, 2)) for j in (0, 2, 4)] for i in (0, 2)]
    np.testing.assert_array_equal(max_pool(x), np.array(expected).transpose(2, 0, 1, 3))
