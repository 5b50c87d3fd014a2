"""Batch normalisation in groups, against Flax's on the parts."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets.init import glorot
from jaxgan.nets.norm import BatchNorm, GroupStatistics, ModulatedBatchNorm
from jaxgan.nets.resnet import plain

GROUP, CHANNELS, MOMENTUM, EPSILON = 2, 3, 0.8, 1e-3
X = np.random.default_rng(0).normal(1, 2, (6, 4, 4, CHANNELS)).astype(np.float32)
PARTS = X.reshape(3, GROUP, 4, 4, CHANNELS)
AFFINE = {
    "scale": np.float32([0.5, 1, 2]),
    "bias": np.float32([0, -1, 3]),
}
RUNNING = {"mean": np.float32([1, 2, 3]), "var": np.float32([0.5, 1, 4])}
OPTIONS = {"momentum": MOMENTUM, "epsilon": EPSILON}


def apply(module, *args, train, params=None):
    """(output, new running statistics)."""
    known = {"params": params or {}, "batch_stats": {"statistics": RUNNING}}
    output, new = module.apply(known, *args, train=train, mutable=["batch_stats"])
    return output, new["batch_stats"]["statistics"]


def flax(x, train, affine):
    module = nn.BatchNorm(
        use_running_average=not train, use_bias=affine, use_scale=affine, **OPTIONS
    )
    known = {"params": AFFINE if affine else {}, "batch_stats": RUNNING}
    with jax.numpy_rank_promotion("allow"):
        output, new = module.apply(known, x, mutable=["batch_stats"])
    return output, new.get("batch_stats", RUNNING)


def close(found, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )


def test_each_group_is_normalised_as_a_batch_of_its_own():
    found, running = apply(
        BatchNorm(group=GROUP, **OPTIONS), X, train=True, params={"statistics": AFFINE}
    )
    parts = [flax(x, True, True) for x in PARTS]
    close(found, np.concatenate([output for output, _ in parts]))
    close(running, {k: np.mean([new[k] for _, new in parts], axis=0) for k in RUNNING})
    whole, _ = flax(X, True, True)
    assert np.abs(found - whole).max() > 0.05


def test_a_group_of_the_whole_batch_is_batch_normalisation():
    params = {"statistics": AFFINE}
    found = [
        apply(BatchNorm(group=group, **OPTIONS), X, train=True, params=params) for group in (0, 6)
    ]
    close(*found)


def test_evaluation_uses_the_running_statistics_for_any_number_of_examples():
    x = X[:5]
    found, running = apply(
        BatchNorm(group=GROUP, **OPTIONS), x, train=False, params={"statistics": AFFINE}
    )
    close(found, flax(x, False, True)[0])
    close(running, RUNNING)


@pytest.mark.parametrize("group", [0, GROUP])
def test_a_vector_modulates_what_is_normalised(group):
    rng = np.random.default_rng(1)
    condition = rng.normal(size=(6, 5)).astype(np.float32)
    gain, bias = rng.normal(size=(2, 5, CHANNELS)).astype(np.float32)
    module = ModulatedBatchNorm(plain, glorot, group=group, **OPTIONS)
    params = {"gain": {"kernel": gain}, "bias": {"kernel": bias}}
    found, _ = apply(module, X, condition, train=True, params=params)
    parts = [flax(x, True, False)[0] for x in (PARTS if group else [X])]
    by, plus = ((condition @ w)[:, None, None] for w in (gain, bias))
    close(found, (1 + by) * np.concatenate(parts) + plus)


def test_the_statistics_are_float32_in_bfloat16():
    """A mean of 1000 with a standard deviation of 1: in bfloat16 the deviations would be lost."""
    x = (1000 + X).astype(np.float32)
    module = GroupStatistics(GROUP, MOMENTUM, EPSILON, dtype=jnp.bfloat16)
    found, new = module.apply({"batch_stats": RUNNING}, x, True, mutable=["batch_stats"])
    assert found.dtype == jnp.bfloat16
    parts = np.float64(x).reshape(PARTS.shape)
    mean, var = (f(parts, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.var))
    expected = ((parts - mean) / np.sqrt(var + EPSILON)).reshape(X.shape)
    np.testing.assert_allclose(np.float32(found), expected, rtol=0.01, atol=0.01)
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} == {np.dtype(np.float32)}


def test_a_group_is_the_largest_divisor_of_the_batch():
    variables = BatchNorm(group=4).init(jax.random.key(0), X[:2])
    for batch, group in ((X, 3), (X[:5], 1), (X[:2], 2)):
        found, given = (
            BatchNorm(group=g).apply(variables, batch, mutable=["batch_stats"])[0]
            for g in (4, group)
        )
        np.testing.assert_array_equal(found, given)
