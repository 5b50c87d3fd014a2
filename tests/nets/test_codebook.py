"""The codebook: nearest codes, gradients, moving averages in closed form, replaced codes, micro-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets import codebook
from jaxgan.nets.codebook import Codebook
from jaxgan.network import Network


def latents(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def fresh(num, dim, averaged=False):
    module = Codebook(num, dim, averaged)
    return Network(module, module.init(jax.random.key(0), jnp.zeros((1, dim))))


def vectors(network):
    return np.asarray(network(method="vectors"))


def test_nearest_is_the_argmin_of_distances():
    codes, z = latents(0, 7, 3), latents(1, 5, 4, 3)
    distances = np.linalg.norm(np.float64(z)[..., None, :] - np.float64(codes), axis=-1)
    indices = codebook.nearest(codes, z)
    assert indices.dtype == jnp.int32
    np.testing.assert_array_equal(indices, distances.argmin(-1))
    np.testing.assert_array_equal(codebook.nearest(codes, codes), np.arange(7))
    twice = jnp.concatenate([codes, codes])
    np.testing.assert_array_equal(codebook.nearest(twice, codes), np.arange(7))


@pytest.mark.parametrize("averaged", [False, True])
def test_a_codebook_starts_uniform_and_gives_the_nearest_codes(averaged):
    network, z = fresh(50, 3, averaged), latents(1, 4, 2, 3)
    codes = vectors(network)
    np.testing.assert_allclose(codes, network.params["embedding"], rtol=1e-6)
    assert np.abs(codes).max() <= 1 / 50
    assert np.std(codes) == pytest.approx(1 / 50 / np.sqrt(3), rel=0.2)
    indices, e = network(z)
    np.testing.assert_array_equal(indices, codebook.nearest(jnp.asarray(codes), z))
    np.testing.assert_array_equal(e, codes[indices])
    np.testing.assert_array_equal(network(indices, method="lookup"), e)


def test_gradients_reach_the_embedding_unless_codes_are_averages():
    for averaged in (False, True):
        network = fresh(5, 3, averaged)

        def loss(params, network=network):
            return jnp.sum(network.replace(params=params)(latents(1, 4, 3))[1])

        assert np.any(jax.grad(loss)(network.params)["embedding"]) != averaged


def test_the_straight_through_gradient_is_the_identity():
    z, e, weights = latents(0, 6, 3), latents(1, 6, 3), latents(2, 6, 3)
    np.testing.assert_array_equal(codebook.straight_through(z, e), e)
    by_z, by_e = jax.grad(
        lambda z, e: jnp.sum(weights * codebook.straight_through(z, e)), argnums=(0, 1)
    )(z, e)
    np.testing.assert_array_equal(by_z, weights)
    np.testing.assert_array_equal(by_e, np.zeros_like(e))


def test_moving_averages_are_their_closed_form():
    """N_t = d^t + (1 - d) sum_s d^(t - s) n_s, and m likewise; a code that is never chosen does not change."""
    decay, rounds, num = 0.9, 6, 5
    network = fresh(num, 3, averaged=True)
    first = np.float64(network.params["embedding"])
    z = np.stack([latents(t, 8, 3) for t in range(rounds)])
    chosen = np.random.default_rng(9).integers(0, num - 1, (rounds, 8)).astype(np.int32)
    advance = jax.jit(
        lambda network, z, indices: codebook.advance(network, z, indices, jax.random.key(1), decay)
    )
    for t in range(rounds):
        network = network.replace(codes=advance(network, z[t], chosen[t]))

    one_hot = np.eye(num)[chosen]  # [rounds, 8, num]
    fading = (1 - decay) * decay ** np.arange(rounds)[::-1]
    count = decay**rounds + np.einsum("t,tbk->k", fading, one_hot)
    total = decay**rounds * first + np.einsum("t,tbk,tbd->kd", fading, one_hot, np.float64(z))
    smoothed = (count + 1e-5) / (count.sum() + num * 1e-5) * count.sum()
    np.testing.assert_allclose(network["codes"]["count"], count, rtol=1e-5)
    np.testing.assert_allclose(vectors(network), total / smoothed[:, None], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(vectors(network)[-1], first[-1], rtol=1e-3)
    np.testing.assert_array_equal(network.params["embedding"], np.float32(first))


@pytest.mark.parametrize("averaged", [False, True])
def test_unused_codes_become_latents_of_the_batch_and_no_others_move(averaged):
    network = fresh(6, 3, averaged)
    before, z = vectors(network), latents(1, 50, 3)
    used = jnp.asarray([0, 2, 3] * 16 + [0, 2], jnp.int32)
    advance = jax.jit(
        lambda network, z, key: codebook.advance(network, z, used, key, 1.0, revive_after=3)
    )
    for batch in range(4):
        # Decay 1: chosen codes do not change, so that only replaced ones do.
        key = jax.random.key(batch)
        codes = advance(network, z, key)
        network = network.replace(codes=codes)
        after = vectors(network)
        if batch < 3:
            np.testing.assert_allclose(after, before, atol=1e-6)
            assert codes["idle"].tolist() == [0, batch + 1, 0, 0, batch + 1, batch + 1]
    np.testing.assert_allclose(after[[0, 2, 3]], before[[0, 2, 3]], atol=1e-6)
    for code in after[[1, 4, 5]]:
        # Smoothed averages differ from a latent by a share of about 1e-5.
        assert np.abs(np.asarray(z) - code).max(1).min() < (1e-4 if averaged else 1e-6)
    assert network["codes"]["idle"].tolist() == [0] * 6
    assert float(codebook.usage(network["codes"])) == 0.5  # no batch has chosen them yet
    assert set(codebook.nearest(jnp.asarray(after), z).tolist()) >= {1, 4, 5}


@pytest.mark.parametrize("averaged", [False, True])
def test_micro_batches_advance_the_codes_as_the_whole_batch(averaged):
    """Their mean, or the smallest of whole numbers; a replaced code is the mean of a latent of each."""
    network = fresh(6, 3, averaged)
    idle = jnp.asarray([0, 4, 0, 3, 9, 9], jnp.int32)
    network = network.replace(codes={**network["codes"], "idle": idle})
    z, used = latents(1, 8, 3), jnp.asarray([0, 0, 0, 0, 1, 1, 2, 5], jnp.int32)

    def advance(rows, revive_after):
        key = jax.random.fold_in(jax.random.key(1), rows.start)
        parts = 8 // (rows.stop - rows.start)
        return codebook.advance(network, z[rows], used[rows], key, 0.9, revive_after, parts)

    def mean_or_least(a, b):
        return (a + b) / 2 if jnp.issubdtype(a.dtype, jnp.floating) else jnp.minimum(a, b)

    halves = slice(0, 4), slice(4, 8)
    for revive_after, dead in ((0, []), (4, [1, 4, 5])):
        whole = jax.tree.map(np.asarray, advance(slice(0, 8), revive_after))
        parts = [advance(rows, revive_after) for rows in halves]
        both = jax.tree.map(lambda a, b: np.asarray(mean_or_least(a, b)), *parts)
        alive = [code for code in range(6) if code not in dead]
        for name in whole:
            np.testing.assert_allclose(both[name][alive], whole[name][alive], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(both["idle"], whole["idle"])
        np.testing.assert_array_equal(both["unused"], whole["unused"])
        means = np.asarray((z[:4, None] + z[None, 4:]) / 2).reshape(-1, 3)
        for code in vectors(network.replace(codes=both))[dead]:
            assert np.abs(means - code).max(1).min() < (1e-3 if averaged else 1e-6)


def test_a_batch_over_eight_devices_advances_the_codes_alike():
    network = fresh(6, 3, averaged=True)
    network = network.replace(
        codes={**network["codes"], "idle": jnp.asarray([0, 1] * 3, jnp.int32)}
    )
    z = latents(1, 16, 4, 3)

    def advanced(z):
        indices, _ = network(z)
        return codebook.advance(network, z, indices, jax.random.key(2), revive_after=1)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    one, many = jax.jit(advanced)(z), jax.jit(advanced, in_shardings=split)(z)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, many)


def test_usage_is_the_share_of_codes_that_were_chosen_lately():
    network, z = fresh(4, 3), latents(1, 8, 3)
    assert float(codebook.usage(network["codes"])) == 0.0

    @jax.jit
    def see(codes, index):
        indices = jnp.full(8, index, jnp.int32)
        return codebook.advance(network.replace(codes=codes), z, indices, jax.random.key(0))

    codes = see(network["codes"], 0)
    assert float(codebook.usage(codes)) == 0.25
    for _ in range(codebook.USAGE_BATCHES - 1):
        codes = see(codes, 1)
    assert float(codebook.usage(codes)) == 0.5
    assert float(codebook.usage(see(codes, 1))) == 0.25


@pytest.mark.parametrize("averaged", [False, True])
def test_codes_start_as_different_latents(averaged):
    network, z = fresh(8, 3, averaged), latents(3, 2, 2, 2, 3)
    made = codebook.init_from(jax.random.key(1), z, network)
    assert jax.tree.structure(made.variables) == jax.tree.structure(network.variables)
    rows = codebook.nearest(z.reshape(-1, 3), jnp.asarray(vectors(made)))
    assert sorted(rows.tolist()) == list(range(8))


def test_perplexity_is_the_number_of_codes_if_all_are_chosen_equally_often():
    assert float(codebook.perplexity(codebook.counts(jnp.arange(12) % 4, 4))) == pytest.approx(4)
    assert float(codebook.perplexity(codebook.counts(jnp.zeros(5, jnp.int32), 4))) == 1.0


@pytest.mark.parametrize("averaged", [False, True])
def test_a_code_that_does_not_exist_is_nan(averaged):
    network = fresh(5, 3, averaged)
    found = network(jnp.asarray([-1, 5, 2], jnp.int32), method="lookup")
    assert np.isnan(found[:2]).all()
    np.testing.assert_array_equal(found[2], vectors(network)[2])
