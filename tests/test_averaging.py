"""Moving averages against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan.averaging import ema_decay, ema_update


@pytest.mark.parametrize("batch", [1, 32, 500])
def test_after_one_half_life_half_is_left_whatever_the_batch(batch):
    left = np.float64(ema_decay(batch, half_life_kimg=1.0)) ** (1000 / batch)
    np.testing.assert_allclose(left, 0.5, rtol=1e-4)


def test_decay_against_numpy():
    images, half_life, seen, ramp = 64, 500.0, 20.0, 0.05
    np.testing.assert_allclose(ema_decay(images, half_life), 0.5 ** (64 / 500e3), rtol=1e-7)
    np.testing.assert_allclose(
        ema_decay(images, half_life, seen, ramp), 0.5 ** (64 / min(500e3, 20e3 * 0.05)), rtol=1e-6
    )


def test_the_ramp_starts_at_zero_and_ends_at_the_half_life():
    assert ema_decay(64, 10.0, 0.0, 0.05) == 0.0
    assert ema_decay(0, 10.0, 0.0, 0.05) == 1.0
    decays = [float(ema_decay(64, 10.0, seen, 0.05)) for seen in (0.0, 1.0, 10.0, 100.0, 199.0)]
    assert decays == sorted(decays)
    assert len(set(decays)) == 5
    assert ema_decay(64, 10.0, 1e6, 0.05) == ema_decay(64, 10.0)
    # `seen_kimg` alone changes nothing.
    assert ema_decay(64, 10.0, 1.0) == ema_decay(64, 10.0)


def test_no_half_life_is_no_average():
    assert ema_decay(64, 0.0) == 0.0


def test_decay_is_float32_and_traceable():
    decay = jax.jit(lambda images, seen: ema_decay(images, 10.0, seen, 0.05))(
        jnp.int32(64), jnp.float32(3.0)
    )
    assert decay.dtype == jnp.float32
    np.testing.assert_allclose(decay, ema_decay(64, 10.0, 3.0, 0.05), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ema_decay(64, 10.0, ramp_up=0.05), r"ramp_up needs seen_kimg"),
        (lambda: ema_decay(64, -1.0), r"half_life_kimg is -1.0; give 0 or more"),
        (lambda: ema_decay(64, 1.0, 1.0, -0.5), r"ramp_up is -0.5; give 0 or more"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_update_against_the_closed_form():
    # From 0 towards constant 1, n updates of decay d leave 1 - d^n.
    average = {"a": jnp.zeros((2, 3)), "b": [jnp.zeros(())]}
    new = jax.tree.map(jnp.ones_like, average)
    for _ in range(20):
        average = ema_update(average, new, 0.9)
    for leaf in jax.tree.leaves(average):
        np.testing.assert_allclose(leaf, np.full(leaf.shape, 1 - 0.9**20), rtol=1e-6)


def test_update_at_the_ends_is_exact():
    a, b = jax.random.normal(jax.random.key(0), (2, 1000))
    np.testing.assert_array_equal(ema_update(a, b, 0.0), b)
    np.testing.assert_array_equal(ema_update(a, b, 1.0), a)


def test_update_averages_floats_in_float32_and_takes_the_rest():
    average = {"w": jnp.bfloat16([100.0]), "n": jnp.int32(3), "key": jax.random.key(0)}
    new = {"w": jnp.bfloat16([-200.0]), "n": jnp.int32(7), "key": jax.random.key(1)}
    # 99.7, of which bfloat16 holds 99.5; in its own arithmetic the average would stay at 100.
    out = ema_update(average, new, jnp.float32(0.999))
    assert out["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(out["w"], jnp.bfloat16([99.5]))
    assert out["n"] == 7
    assert out["key"] == new["key"]


def test_mixed_dtypes_keep_the_averages():
    out = ema_update(jnp.float32([0.0]), jnp.bfloat16([1.0]), 0.999)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, [1e-3], rtol=1e-4)


def test_update_under_jit_and_grad():
    a, b = jax.random.normal(jax.random.key(0), (2, 5))
    np.testing.assert_allclose(
        jax.jit(ema_update)(a, b, 0.7), 0.7 * np.float64(a) + 0.3 * np.float64(b), rtol=1e-5
    )
    check_grads(lambda a, b, d: ema_update(a, b, d), (a, b, jnp.float32(0.7)), order=2, rtol=1e-2)
