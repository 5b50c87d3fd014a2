"""Moving averages against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan.averaging import (
    ema_decay,
    ema_update,
    posthoc_average,
    posthoc_weights,
    power_decay,
    power_gamma,
)


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
        (lambda: ema_decay(64, 1.0, start_kimg=5.0), r"start_kimg needs seen_kimg"),
        (lambda: ema_decay(64, 1.0, 1.0, start_kimg=-5.0), r"start_kimg is -5.0; give 0 or more"),
        (lambda: power_gamma(0.0), r"sigma_rel is 0.0; give a number above 0, up to 0.2886"),
        (
            lambda: power_decay(64, 1.0, 0.3),
            r"sigma_rel is 0.3; give a number above 0, up to 0.2886",
        ),
        (lambda: posthoc_weights([], 1.0, 0.1), r"stored is empty; give \(seen_kimg, sigma_rel\)"),
        (
            lambda: posthoc_weights([(1.0, 0.1), (1.0, 0.1)], 1.0, 0.1),
            r"Two stored averages have the same seen_kimg and sigma_rel",
        ),
        (
            lambda: posthoc_weights([(1.0, 0.1), (2.0, 0.1)], 3.0, 0.1),
            r"seen_kimg is 3.0 and the stored averages are from 1.0 to 2.0; .* not after the last",
        ),
        (
            lambda: posthoc_weights([(0.0, 0.1), (2.0, 0.1)], 2.0, 0.1),
            r"the stored averages are from 0.0 to 2.0; all must be above 0",
        ),
        (
            lambda: posthoc_average([jnp.zeros(1)], [0.5, 0.5]),
            r"1 stored averages and 2 weights; give one weight for each",
        ),
        (lambda: posthoc_average([], []), r"0 stored averages and 0 weights"),
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


@pytest.mark.parametrize("other", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_update_at_the_ends_is_exact_whatever_the_other_holds(other, dtype):
    a, b = jnp.arange(3, dtype=dtype), jnp.full(3, other, dtype)
    update = jax.jit(ema_update)
    np.testing.assert_array_equal(update(b, a, 0.0), a)
    np.testing.assert_array_equal(update(a, b, 1.0), a)
    assert not np.isfinite(update(a, b, 0.5)).any()


@pytest.mark.parametrize(
    ("average", "new", "decay", "message"),
    [
        (jnp.zeros((3, 1)), jnp.zeros(3), 0.5, r"the array has shape \(3, 1\) in the average and"),
        (
            {"w": jnp.zeros(3)},
            {"w": jnp.zeros(1)},
            0.5,
            r"\['w'\] has shape \(3,\) in the average and \(1,\) in the new values; average networks",
        ),
        (
            jnp.zeros(3, jnp.int32),
            jnp.zeros(3),
            0.5,
            "the array is int32 in the average and float32",
        ),
        (jnp.zeros(3), jnp.zeros(3), jnp.zeros(3), r"decay has shape \(3,\); give one number"),
    ],
)
def test_update_of_unlike_leaves_is_refused(average, new, decay, message):
    with pytest.raises(ValueError, match=message):
        ema_update(average, new, decay)
    with pytest.raises(ValueError, match=message):
        jax.jit(ema_update)(average, new, decay)
    ema_update(new, new, 0.5)


def test_posthoc_averages_of_unlike_leaves_are_refused():
    stored = [{"w": jnp.zeros((3, 1))}, {"w": jnp.zeros(3)}]
    with pytest.raises(ValueError, match=r"\['w'\] has shape \(3, 1\) in the average and \(3,\)"):
        posthoc_average(stored, [0.5, 0.5])
    posthoc_average(stored[1:] * 2, [0.5, 0.5])


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


def test_before_the_start_the_average_is_a_copy():
    decays = [float(ema_decay(50, 10.0, seen, start_kimg=1.0)) for seen in (0.0, 0.95, 1.0, 9.0)]
    full = float(ema_decay(50, 10.0))
    assert decays == [0.0, 0.0, full, full]
    assert ema_decay(50, 10.0, 0.0, start_kimg=0.0) == full
    # With a ramp-up too, each holds.
    assert ema_decay(50, 10.0, 0.5, 0.05, start_kimg=1.0) == 0.0
    assert ema_decay(50, 10.0, 2.0, 0.05, start_kimg=1.0) == ema_decay(50, 10.0, 2.0, 0.05)


def test_the_average_forgets_what_came_before_its_start():
    """BigGAN's: a copy for 1000 iterations and decay 0.9999 afterwards, 50 images each."""
    half_life = 50 / 1000 * np.log(0.5) / np.log(0.9999)
    weights = np.random.default_rng(0).normal(size=1200)
    average, step = (
        jnp.float32(7.0),
        jax.jit(lambda i: ema_decay(50, half_life, i * 0.05, None, 50)),
    )
    for i, w in enumerate(weights):
        average = ema_update(average, jnp.float32(w), step(jnp.float32(i)))
    expected = weights[999]
    for w in weights[1000:]:
        expected = 0.9999 * expected + 0.0001 * w
    np.testing.assert_allclose(average, expected, rtol=1e-4)


@pytest.mark.parametrize(("sigma_rel", "gamma"), [(0.05, 16.97), (0.10, 6.94), (12**-0.5, 0.0)])
def test_gamma_against_the_papers_two_and_the_moments_of_the_profile(sigma_rel, gamma):
    found = power_gamma(sigma_rel)
    assert found == pytest.approx(gamma, abs=5e-3)
    integrate = pytest.importorskip("scipy.integrate")
    moments = [
        integrate.quad(lambda tau, n=n: tau**n * (found + 1) * tau**found, 0, 1)[0]
        for n in range(3)
    ]
    assert moments[0] == pytest.approx(1)
    assert np.sqrt(moments[2] - moments[1] ** 2) == pytest.approx(sigma_rel, rel=1e-6)


def power_averages(values, sigma_rel, at, images=10):
    """By `power_decay` and `ema_update`, beginning far away; at those of its steps."""
    decay = jax.jit(lambda i: power_decay(images, (i + 1) * images / 1000, sigma_rel))
    average, found = jnp.full(values.shape[1:], 1e6, jnp.float32), []
    for i, value in enumerate(values):
        average = ema_update(average, jnp.float32(value), decay(jnp.float32(i)))
        if i + 1 in at:
            found.append(average)
    return found


@pytest.mark.parametrize("sigma_rel", [0.05, 0.2])
def test_power_averages_weight_by_the_power_of_the_time(sigma_rel):
    """And the initialisation not at all."""
    steps, gamma = 300, power_gamma(sigma_rel)
    (weights,) = power_averages(np.eye(steps), sigma_rel, {steps})
    edges = np.arange(steps + 1.0) / steps
    # The profile's integral over each step, but for the discretisation of time.
    expected = np.diff(edges ** (gamma + 1))
    np.testing.assert_allclose(weights, expected, atol=expected.max() / 25)
    np.testing.assert_allclose(np.sum(weights), 1.0, rtol=1e-5)


def test_a_uniform_power_average_is_the_mean():
    values = np.random.default_rng(0).normal(size=(50, 3))
    (average,) = power_averages(values, 12**-0.5, {50})
    np.testing.assert_allclose(average, values.mean(0), atol=1e-5)


@pytest.mark.parametrize("sigma_rel", [0.04, 0.07, 0.15, 0.2])
def test_an_average_that_was_never_kept_is_found_afterwards(sigma_rel):
    """From two averages of a random walk, in 32 places. Over an average's width it moves by ten times the tolerance."""
    steps = 640
    values = np.cumsum(np.random.default_rng(0).normal(size=(steps, 5)), axis=0)
    at = set(range(steps // 32, steps + 1, steps // 32))
    snapshots = [(i / 100, sigma) for sigma in (0.05, 0.1) for i in sorted(at)]
    stored = [{"w": w} for sigma in (0.05, 0.1) for w in power_averages(values, sigma, at)]
    found = posthoc_average(stored, posthoc_weights(snapshots, steps / 100, sigma_rel))["w"]
    (expected,) = power_averages(values, sigma_rel, {steps})
    tolerance = 0.1 * np.sqrt(sigma_rel * steps)
    np.testing.assert_allclose(found, expected, atol=tolerance)
    last = stored[-1]["w"]
    assert (
        np.abs(np.float64(last - expected)).max() > 3 * np.abs(np.float64(found - expected)).max()
    )


def test_stored_profiles_are_fitted_as_an_explicit_discretisation_is():
    """Least squares over 200 000 moments of the run, in place of the integrals in closed form."""
    stored = [(1.0, 0.05), (1.0, 0.1), (2.0, 0.05), (2.0, 0.1), (3.0, 0.1)]
    tau = (np.arange(200_000) + 0.5) * (3.0 / 200_000)

    def profile(t, sigma):
        gamma = power_gamma(sigma)
        return np.where(tau <= t, (gamma + 1) * (tau / t) ** gamma / t, 0.0)

    matrix = np.stack([profile(*s) for s in stored], axis=1)
    expected = np.linalg.lstsq(matrix, profile(2.5, 0.12), rcond=None)[0]
    np.testing.assert_allclose(posthoc_weights(stored, 2.5, 0.12), expected, rtol=1e-3, atol=1e-4)


def test_posthoc_average_keeps_dtypes_and_the_last_counter():
    trees = [{"w": jnp.bfloat16([x]), "n": jnp.int32(n)} for n, x in enumerate((100.0, 100.5))]
    out = posthoc_average(trees, np.array([-1.0, 2.0]))
    assert out["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(out["w"], jnp.bfloat16([101.0]))
    assert out["n"] == 1
