"""The codebook: what is nearest, where gradients go, moving averages in closed form, and codes brought back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets import codebook


def latents(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_nearest_is_the_argmin_of_distances():
    codes, z = latents(0, 7, 3), latents(1, 5, 4, 3)
    distances = np.linalg.norm(np.float64(z)[..., None, :] - np.float64(codes), axis=-1)
    indices = codebook.nearest(codes, z)
    assert indices.dtype == jnp.int32
    np.testing.assert_array_equal(indices, distances.argmin(-1))
    np.testing.assert_array_equal(codebook.nearest(codes, codes), np.arange(7))
    twice = jnp.concatenate([codes, codes])
    np.testing.assert_array_equal(codebook.nearest(twice, codes), np.arange(7))


def test_the_straight_through_gradient_is_the_identity():
    z, e, weights = latents(0, 6, 3), latents(1, 6, 3), latents(2, 6, 3)
    np.testing.assert_array_equal(codebook.straight_through(z, e), e)
    by_z, by_e = jax.grad(
        lambda z, e: jnp.sum(weights * codebook.straight_through(z, e)), argnums=(0, 1)
    )(z, e)
    np.testing.assert_array_equal(by_z, weights)
    np.testing.assert_array_equal(by_e, np.zeros_like(e))


def test_moving_averages_are_their_closed_form():
    """N_t = d^t + (1 - d) sum_s d^(t - s) n_s, and m likewise; codes that never were chosen stay where they were."""
    decay, rounds, num = 0.9, 6, 5
    network = codebook.init(jax.random.key(0), num, 3, averaged=True)
    first = np.float64(network["params"]["embedding"])
    z = np.stack([latents(t, 8, 3) for t in range(rounds)])
    chosen = np.random.default_rng(9).integers(0, num - 1, (rounds, 8)).astype(np.int32)
    advance = jax.jit(
        lambda network, z, indices: codebook.advance(network, z, indices, jax.random.key(1), decay)
    )
    for t in range(rounds):
        network = {**network, "codes": advance(network, z[t], chosen[t])}

    one_hot = np.eye(num)[chosen]  # [rounds, 8, num]
    fading = (1 - decay) * decay ** np.arange(rounds)[::-1]
    count = decay**rounds + np.einsum("t,tbk->k", fading, one_hot)
    total = decay**rounds * first + np.einsum("t,tbk,tbd->kd", fading, one_hot, np.float64(z))
    smoothed = (count + 1e-5) / (count.sum() + num * 1e-5) * count.sum()
    np.testing.assert_allclose(network["codes"]["count"], count, rtol=1e-5)
    np.testing.assert_allclose(
        codebook.vectors(network), total / smoothed[:, None], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(codebook.vectors(network)[-1], first[-1], rtol=1e-3)
    np.testing.assert_array_equal(network["params"]["embedding"], np.float32(first))


@pytest.mark.parametrize("averaged", [False, True])
def test_dead_codes_become_latents_of_the_batch_and_no_others_move(averaged):
    network = codebook.init(jax.random.key(0), 6, 3, averaged)
    before, z = np.asarray(codebook.vectors(network)), latents(1, 50, 3)
    used = jnp.asarray([0, 2, 3] * 16 + [0, 2], jnp.int32)
    for batch in range(3):
        # Decay 1: what is chosen stays where it is, so that only revival moves anything.
        codes = codebook.advance(network, z, used, jax.random.key(batch), 1.0, revive_after=3)
        network = {**network, "codes": codes}
        after = np.asarray(codebook.vectors(network))
        if batch < 2:
            np.testing.assert_allclose(after, before, atol=1e-6)
            assert codes["idle"].tolist() == [0, batch + 1, 0, 0, batch + 1, batch + 1]
    np.testing.assert_allclose(after[[0, 2, 3]], before[[0, 2, 3]], atol=1e-6)
    for code in after[[1, 4, 5]]:
        assert np.abs(np.asarray(z) - code).max(1).min() < 1e-6
    assert network["codes"]["idle"].tolist() == [0] * 6
    assert float(codebook.usage(network["codes"])) == 0.5  # nobody has chosen them yet
    # They stand for what they have become.
    assert set(codebook.nearest(codebook.vectors(network), z).tolist()) >= {1, 4, 5}


def test_a_batch_over_eight_devices_moves_the_codes_alike():
    network = codebook.init(jax.random.key(0), 6, 3, averaged=True)
    z = latents(1, 16, 4, 3)

    def moved(z):
        indices = codebook.nearest(codebook.vectors(network), z)
        return codebook.advance(network, z, indices, jax.random.key(2), revive_after=1)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    one, many = jax.jit(moved)(z), jax.jit(moved, in_shardings=split)(z)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, many)


def test_usage_is_the_share_of_codes_that_were_chosen_lately():
    network, z = codebook.init(jax.random.key(0), 4, 3), latents(1, 8, 3)
    assert float(codebook.usage(network["codes"])) == 0.0

    @jax.jit
    def see(codes, index):
        indices = jnp.full(8, index, jnp.int32)
        return codebook.advance({**network, "codes": codes}, z, indices, jax.random.key(0))

    codes = see(network["codes"], 0)
    assert float(codebook.usage(codes)) == 0.25
    for _ in range(codebook.USAGE_BATCHES - 1):
        codes = see(codes, 1)
    assert float(codebook.usage(codes)) == 0.5
    assert float(codebook.usage(see(codes, 1))) == 0.25


def test_codes_start_as_different_latents():
    network, z = codebook.init(jax.random.key(0), 8, 3), latents(3, 2, 2, 2, 3)
    born = codebook.init_from(jax.random.key(1), z, network)
    assert jax.tree.structure(born) == jax.tree.structure(network)
    rows = codebook.nearest(z.reshape(-1, 3), codebook.vectors(born))
    assert sorted(rows.tolist()) == list(range(8))


def test_perplexity_is_the_number_of_codes_where_all_are_chosen_alike():
    assert float(codebook.perplexity(codebook.counts(jnp.arange(12) % 4, 4))) == pytest.approx(4)
    assert float(codebook.perplexity(codebook.counts(jnp.zeros(5, jnp.int32), 4))) == 1.0
