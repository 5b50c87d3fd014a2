import functools

import numpy as np
import pytest

from jaxgan.metrics.moments import Moments


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(7, 7))
    return (rng.normal(size=(1001, 7)) @ mixing + 5).astype(np.float32)


def _assert_moments_of(moments, features, rtol=1e-12):
    features = features.astype(np.float64)
    covariance = np.cov(features.T)
    assert moments.count == len(features)
    np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=rtol)
    np.testing.assert_allclose(
        moments.covariance(), covariance, rtol=rtol, atol=rtol * np.abs(covariance).max()
    )


def test_one_batch_is_numpys_mean_and_covariance(features):
    _assert_moments_of(Moments.of(features), features)


@pytest.mark.parametrize("size", [1, 13, 500, 1001])
def test_merged_batches_are_one_batch(features, size):
    batches = [features[i : i + size] for i in range(0, len(features), size)]
    merged = functools.reduce(Moments.merge, map(Moments.of, batches), Moments.empty(7))
    _assert_moments_of(merged, features)


def test_the_order_and_grouping_of_merges_do_not_matter(features):
    parts = [Moments.of(part) for part in np.split(features, [3, 4, 400, 401, 900])]
    shuffled = [parts[i] for i in np.random.default_rng(1).permutation(len(parts))]
    tree = functools.reduce(Moments.merge, shuffled[:3]).merge(
        functools.reduce(Moments.merge, shuffled[3:])
    )
    _assert_moments_of(tree, features)


def test_padding_counts_for_nothing(features):
    padded = np.concatenate([features, np.full((23, 7), np.nan, np.float32)])
    mask = np.arange(len(padded)) < len(features)
    order = np.random.default_rng(2).permutation(len(padded))
    _assert_moments_of(Moments.of(padded[order], mask[order]), features)


def test_a_batch_of_nothing_but_padding_is_neutral(features):
    nothing = Moments.of(features[:5], np.zeros(5, bool))
    one = Moments.of(features)
    for merged in (one.merge(nothing), nothing.merge(one)):
        assert merged.count == one.count
        assert (merged.mean == one.mean).all()
        assert (merged.scatter == one.scatter).all()
    assert nothing.merge(nothing).count == 0


def test_survives_a_mean_a_million_times_the_deviation():
    rng = np.random.default_rng(3)
    features = (rng.integers(-8, 8, (4096, 3)) / 16 + 2.0**19).astype(np.float32)  # exact
    batches = map(Moments.of, np.split(features, 64))
    _assert_moments_of(functools.reduce(Moments.merge, batches), features, rtol=1e-9)


def test_is_unbiased():
    moments = Moments.of(np.float32([[0], [2]]))
    assert moments.covariance() == [[2.0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Moments.of(np.zeros(3)), r"must have shape \[B, D\], not \[3\]"),
        (lambda: Moments.of(np.zeros((3, 2)), np.ones(2, bool)), r"must be bool \[3\]"),
        (lambda: Moments.of(np.zeros((3, 2)), np.ones(3)), "not float64"),
        (lambda: Moments.empty(2).merge(Moments.empty(3)), "2 features cannot be merged .* 3"),
        (lambda: Moments.of(np.zeros((1, 2))).covariance(), "at least 2 examples, not 1"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
