"""Norms at any scale, in `scaled` itself and in the functions that promise a norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import divergences, losses, penalties, scaled, spectral

SCALES = [1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e20, 1e30]
RNG = np.random.default_rng(0)
KERNEL = np.float32(RNG.standard_normal((3, 3, 4, 5)))
MATRIX = np.float64(KERNEL).reshape(-1, 5)
NORM = np.linalg.norm(MATRIX, 2)


def test_scaling_changes_no_bit_of_ordinary_norms():
    x = np.float32(RNG.standard_normal((50, 7)) * 10.0 ** RNG.uniform(-5, 5, (50, 1)))
    np.testing.assert_array_equal(
        jax.jit(lambda x: scaled.norm(x, 1))(x), jax.jit(lambda x: jnp.sqrt(jnp.sum(x * x, 1)))(x)
    )


@pytest.mark.parametrize("scale", SCALES)
def test_safe_norm_and_its_derivatives(scale):
    x = np.float32(scale) * np.float32([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 2.0]])
    np.testing.assert_allclose(penalties.safe_norm(x) / np.float32(scale), [5, 0, 3], rtol=1e-6)
    slope = jax.grad(lambda x: jnp.sum(penalties.safe_norm(x)))(x)
    expected = [[0.6, 0.8, 0.0], [0.0, 0.0, 0.0], [1 / 3, 2 / 3, 2 / 3]]
    np.testing.assert_allclose(slope, expected, rtol=1e-6)
    second = jax.hessian(lambda x: penalties.safe_norm(x[None])[0])(x[2]) * scale
    unit = np.array([1, 2, 2]) / 3
    np.testing.assert_allclose(second, (np.eye(3) - np.outer(unit, unit)) / 3, atol=1e-6)


def test_a_norm_of_nan_is_nan_and_not_zero():
    """It was 0, so a gradient penalty of a critic with NaN gradients was finite."""
    np.testing.assert_array_equal(
        penalties.safe_norm(jnp.array([[1.0, np.nan], [np.inf, 1.0]])), [np.nan, np.inf]
    )
    x = jnp.ones((2, 3))
    nan = penalties.gradient_penalty(lambda x: x[:, 0] * jnp.nan, x, x, jax.random.key(0))
    assert np.isnan(nan)
    assert np.isnan(spectral.spectral_norm(jnp.full((3, 3), jnp.nan), "dense"))
    w, u = jnp.full((3, 3), jnp.nan), jnp.array([1.0, 0.0, 0.0])
    assert np.isnan(spectral.sigma(w, u))
    # The state is not lost: the next finite kernel has its norm.
    for update in (spectral.power_iteration, spectral.krylov_iteration, spectral.gram_iteration):
        np.testing.assert_array_equal(update(w, u), u)
    for loss in (losses.contrastive_2c, losses.d2d_ce):
        assert np.isnan(loss(jnp.full((2, 3), jnp.nan), x, jnp.array([0, 1])))


@pytest.mark.parametrize("scale", SCALES)
def test_spectral_norms(scale):
    kernel = jnp.asarray(KERNEL * np.float32(scale))
    norm, slope = jax.value_and_grad(lambda k: spectral.spectral_norm(k, "conv"))(kernel)
    assert norm / np.float32(scale) == pytest.approx(NORM, rel=1e-4)
    left, _, right = np.linalg.svd(MATRIX, full_matrices=False)
    np.testing.assert_allclose(slope.reshape(-1, 5), np.outer(left[:, 0], right[0]), atol=1e-4)
    w = spectral.flatten_kernel(kernel, "conv")
    u = jnp.full(5, 5**-0.5, jnp.float32)
    for iterate in (spectral.power_iteration, spectral.krylov_iteration):
        v = iterate(w, u, 40, eps=0.0)
        assert abs(v @ right[0]) == pytest.approx(1.0, abs=1e-4)
        assert spectral.sigma(w, v, eps=0.0) / np.float32(scale) == pytest.approx(NORM, rel=1e-4)


@pytest.mark.parametrize("scale", SCALES)
def test_norms_of_linear_maps(scale):
    matrix = np.float32(RNG.standard_normal((300, 320)))
    w = jnp.asarray(matrix * np.float32(scale))

    def linear(x):
        return jnp.matmul(w, x, precision="highest")

    expected = np.linalg.norm(np.float64(matrix), 2)
    found = spectral.operator_norm(linear, (320,)) / np.float32(scale)
    assert found == pytest.approx(expected, rel=1e-3)
    lower, upper = spectral.operator_norm_bounds(linear, (320,), n_steps=60)
    assert (
        0.999 * expected < lower / scale < expected * (1 + 1e-5) < upper / scale < 1.03 * expected
    )


@pytest.mark.parametrize("scale", SCALES)
def test_distances(scale):
    x, y = (np.float32(RNG.standard_normal((6, 3))) for _ in range(2))
    by, key = np.float32(scale), jax.random.key(0)
    distances = (
        lambda x, y: divergences.energy_distance(x, y) * divergences.energy_distance(x, y),
        lambda x, y: divergences.pairwise_cost(x, y, 1),
        lambda x, y: divergences.wasserstein_1d(x[:, 0], y[:, 0], p=3),
        lambda x, y: divergences.sliced_wasserstein(x, y, key),
    )
    for distance in distances:
        np.testing.assert_allclose(distance(x * by, y * by) / by, distance(x, y), rtol=1e-4)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("loss", [losses.contrastive_2c, losses.d2d_ce])
def test_contrast_of_embeddings_of_any_length(loss, scale):
    h, e = (np.float32(RNG.standard_normal((6, 3))) for _ in range(2))
    y, by = np.arange(6) % 2, np.float32(scale)
    np.testing.assert_allclose(loss(h * by, e * by, y), loss(h, e, y), rtol=1e-5)
