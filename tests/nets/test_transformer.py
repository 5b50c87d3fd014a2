"""The transformer of codes: causality, the cache, the distributions that are sampled, the sliding window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets.transformer import (
    SAMPLING,
    Transformer,
    filter_logits,
    sample,
    sample_sliding,
)
from jaxgan.network import Network
from jaxgan.options import complete

NET = Transformer(codes=7, prefixes=3, context=12, layers=2, heads=2, width=8)
PREFIX = jnp.asarray([0, 2], jnp.int32)
GREEDY = {"top_k": 1}
apply = jax.jit(NET.apply)


@pytest.fixture(scope="module")
def variables():
    """Larger weights than the initial ones, with which all codes are about equally probable."""
    initial = jax.jit(NET.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    leaves, tree = jax.tree.flatten(initial)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(
        tree, [jnp.float32(np.asarray(x) + rng.normal(size=x.shape)) for x in leaves]
    )


@pytest.fixture(scope="module")
def network(variables):
    return Network(NET, variables)


@pytest.fixture(scope="module")
def tokens():
    rng = np.random.default_rng(1)
    codes = jnp.asarray(rng.integers(0, 7, (2, 11)), jnp.int32)
    return jnp.concatenate([7 + PREFIX[:, None], codes], axis=1)


@pytest.fixture(scope="module")
def logits(variables, tokens):
    return apply(variables, tokens)


def test_causality(variables, tokens):
    """No logit depends on later tokens: its gradient with respect to later positions is exactly zero."""

    def at_five(positions):
        params = {**variables["params"], "positions": positions}
        return jnp.sum(NET.apply({"params": params}, tokens)[:, 5])

    slope = np.asarray(jax.jit(jax.grad(at_five))(variables["params"]["positions"]))
    assert (slope[6:] == 0).all()
    assert (np.abs(slope[:6]).max(1) > 0).all()


def test_cached_logits_are_the_uncached_ones(variables, tokens, logits):
    """Tokens one at a time, and in two pieces."""
    for pieces in ([1] * 12, [5, 7]):
        cache, found, place = NET.empty_cache(2, 12), [], 0
        for piece in pieces:
            part, cache = apply(
                variables, tokens[:, place : place + piece], cache=cache, position=place
            )
            found.append(part)
            place += piece
        np.testing.assert_allclose(jnp.concatenate(found, axis=1), logits, rtol=1e-4, atol=1e-5)


def test_a_sequence_longer_than_the_context_is_refused(variables):
    with pytest.raises(
        ValueError, match="13 tokens is longer than the transformer's context of 12"
    ):
        NET.apply(variables, jnp.zeros((1, 13), jnp.int32))


def test_greedy_samples_are_the_argmax_of_the_uncached_network(network, variables):
    codes = jax.jit(lambda n: sample(n, PREFIX, 12, jax.random.key(0), **GREEDY))(network)
    tokens = jnp.concatenate([7 + PREFIX[:, None], codes[:, :-1]], axis=1)
    np.testing.assert_array_equal(codes, apply(variables, tokens).argmax(-1))
    assert len(set(map(tuple, codes.tolist()))) == 2  # the prefix matters


def test_given_codes_are_kept_and_continued(network, variables):
    given = jnp.asarray([[1, 6, 2], [0, 0, 5]], jnp.int32)
    draw = jax.jit(lambda n: sample(n, PREFIX, 12, jax.random.key(0), given, **GREEDY))
    codes = draw(network)
    np.testing.assert_array_equal(codes[:, :3], given)
    tokens = jnp.concatenate([7 + PREFIX[:, None], codes[:, :-1]], axis=1)
    np.testing.assert_array_equal(codes[:, 3:], apply(variables, tokens).argmax(-1)[:, 3:])


def test_samples_have_the_probabilities_of_the_network(network, variables):
    """Pairs of codes, against the product of the two conditional probabilities."""
    num = 20_000
    draw = jax.jit(lambda n, key: sample(n, jnp.zeros(num, jnp.int32), 2, key))
    codes = np.asarray(draw(network, jax.random.key(3)))
    seen = np.zeros((7, 7))
    np.add.at(seen, (codes[:, 0], codes[:, 1]), 1 / num)
    tokens = jnp.stack([jnp.full(7, 7), jnp.arange(7)], axis=1)
    p = np.asarray(jax.nn.softmax(apply(variables, tokens)))
    expected = p[0, 0][:, None] * p[:, 1]
    deviation = np.sqrt(expected * (1 - expected) / num)
    assert (np.abs(seen - expected) < 5 * deviation + 1e-4).all()


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [0, 3]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.69}, [0, 3]),
        ({"top_p": 0.71}, [0, 3, 4]),
        ({"top_p": 0.01}, [3]),
        ({"top_k": 3, "top_p": 0.8}, [0, 3]),  # of the three's 0.85, 0.4 and 0.3 are 0.82
        ({"temperature": 0.5, "top_p": 0.8}, [0, 3]),  # 0.56 and 0.32 of the squares
        ({"temperature": 0.5, "top_k": 3}, [0, 3, 4]),
    ],
)
def test_filtered_logits_are_the_distribution_cut_and_scaled(options, kept):
    """Probabilities are 0.3, 0.1, 0.05, 0.4 and 0.15; draws have the frequencies of the filtered ones."""
    p = np.array([0.3, 0.1, 0.05, 0.4, 0.15])
    expected = np.zeros(5)
    expected[kept] = p[kept] ** (1 / options.get("temperature", 1.0))
    expected /= expected.sum()
    logits = jnp.log(jnp.asarray(p, jnp.float32))
    filtered = filter_logits(logits, **options)
    # Numbers that are traced give the same.
    floats = {k: np.float32(v) for k, v in options.items() if isinstance(v, float)}
    static = {k: v for k, v in options.items() if k not in floats}
    traced = jax.jit(lambda floats: filter_logits(logits, **floats, **static))(floats)
    np.testing.assert_allclose(traced, filtered, rtol=1e-6)
    np.testing.assert_allclose(jax.nn.softmax(filtered), expected, atol=1e-5)
    drawn = jax.random.categorical(jax.random.key(0), filtered, shape=(20_000,))
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 20_000, expected, atol=0.02)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"temperature": 0.0}, "temperature is 0.0, but it must be above 0"),
        ({"top_k": -1}, "top_k is -1, but it must be at least 0"),
        ({"top_p": 0.0}, "top_p is 0.0, but it must be above 0, at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5, but it must be above 0, at most 1"),
    ],
)
def test_sampling_options_beyond_their_limits_raise(options, text):
    with pytest.raises(ValueError, match=text):
        complete(options, SAMPLING)


def test_a_window_of_the_size_of_the_grid_gives_the_same_samples_as_the_cache(network):
    key = jax.random.key(5)
    one_by_one = jax.jit(lambda n: sample(n, PREFIX, 12, key))(network)
    sliding = jax.jit(lambda n: sample_sliding(n, PREFIX, (3, 4), (3, 4), key))(network)
    np.testing.assert_array_equal(sliding.reshape(2, 12), one_by_one)


def test_each_code_of_a_larger_grid_is_drawn_from_the_window_around_it(network, variables):
    rows, columns, high, wide = 5, 6, 3, 4
    grid = (rows, columns)
    codes = np.asarray(
        jax.jit(
            lambda n: sample_sliding(n, PREFIX, grid, (high, wide), jax.random.key(0), **GREEDY)
        )(network)
    )
    for i in range(rows):
        for j in range(columns):
            top, left = min(max(i - 1, 0), rows - high), min(max(j - 2, 0), columns - wide)
            window = codes[:, top : top + high, left : left + wide].reshape(2, -1)
            place = (i - top) * wide + j - left
            tokens = np.concatenate([7 + np.asarray(PREFIX)[:, None], window[:, :-1]], axis=1)
            tokens[:, place + 1 :] = 0  # not drawn yet
            expected = apply(variables, tokens)[:, place].argmax(-1)
            np.testing.assert_array_equal(codes[:, i, j], expected)


def test_a_grid_smaller_than_the_window_is_refused(network):
    with pytest.raises(ValueError, match="a grid of 2x4 codes is smaller than the window of 3x4"):
        sample_sliding(network, PREFIX, (2, 4), (3, 4), jax.random.key(0))


@jax.jit
def beginning(network, prefix):
    """The first logits, and codes that are drawn in both ways."""
    key = jax.random.key(0)
    return (
        network(NET.start(prefix)[:, None]),
        sample(network, prefix, 4, key),
        sample_sliding(network, prefix, (2, 2), (2, 2), key).reshape(2, 4),
    )


@pytest.mark.parametrize("prefix", [-1, -8, 3, 100])
def test_a_prefix_that_does_not_exist_gives_nan_and_the_code_minus_one(network, prefix):
    given = jnp.asarray([0, prefix], jnp.int32)
    np.testing.assert_array_equal(NET.start(given), [7, -1])
    logits, *drawn = beginning(network, given)
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()
    for codes in drawn:
        assert (codes[0] >= 0).all()
        assert (codes[1] == -1).all()


@pytest.mark.parametrize("token", [-1, 10])
def test_a_token_that_does_not_exist_gives_nan(network, token):
    tokens = jnp.asarray([[7, token]], jnp.int32)
    assert np.isnan(apply(network.variables, tokens)[0, 1]).all()
