"""Batch normalisation in groups, against Flax's on the parts; all normalisations against the formula."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets import norm
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


def assert_close(found, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )


def test_each_group_is_normalised_as_a_batch_of_its_own():
    found, running = apply(
        BatchNorm(group=GROUP, **OPTIONS), X, train=True, params={"statistics": AFFINE}
    )
    parts = [flax(x, True, True) for x in PARTS]
    assert_close(found, np.concatenate([output for output, _ in parts]))
    assert_close(running, {k: np.mean([new[k] for _, new in parts], axis=0) for k in RUNNING})
    whole, _ = flax(X, True, True)
    assert np.abs(found - whole).max() > 0.05


def test_a_group_of_the_whole_batch_is_batch_normalisation():
    params = {"statistics": AFFINE}
    found = [
        apply(BatchNorm(group=group, **OPTIONS), X, train=True, params=params) for group in (0, 6)
    ]
    assert_close(*found)


def test_evaluation_uses_the_running_statistics_for_any_number_of_examples():
    x = X[:5]
    found, running = apply(
        BatchNorm(group=GROUP, **OPTIONS), x, train=False, params={"statistics": AFFINE}
    )
    assert_close(found, flax(x, False, True)[0])
    assert_close(running, RUNNING)


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
    assert_close(found, (1 + by) * np.concatenate(parts) + plus)


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


# The normalisations side by side ------------------------------------------------------------------------------


def standardised(x, *axes):
    """Written out: (x - mean) / sqrt(var + epsilon) over these axes."""
    x = x.astype(np.float64)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5)


def grouped(x, groups):
    parts = x.reshape(*x.shape[:3], groups, -1)
    return standardised(parts, 1, 2, 4).reshape(x.shape)


WIDE = np.random.default_rng(2).normal(1, 2, (3, 4, 6, 4)).astype(np.float32)
# {kind: (statistics written out, whether a picture's result depends on the others of the batch)}
KINDS = {
    "batch": (lambda x: standardised(x, 0, 1, 2), True),
    "instance": (lambda x: standardised(x, 1, 2), False),
    "layer": (lambda x: standardised(x, 1, 2, 3), False),
    "group": (lambda x: grouped(x, 4), False),
}


def initialised(module, *args, **kwargs):
    """The module's output on other than its first parameters, and these."""
    variables = module.init(jax.random.key(0), *args, **kwargs)
    rng = np.random.default_rng(3)
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf) + rng.normal(0, 0.3, leaf.shape).astype(np.float32),
        variables.get("params", {}),
    )
    output, _ = module.apply({**variables, "params": params}, *args, **kwargs, mutable=True)
    return output, params


@pytest.mark.parametrize("kind", norm.PLAIN)
def test_a_norms_statistics_are_over_the_axes_of_the_table(kind):
    written_out, of_batch = KINDS[kind]
    found, _ = initialised(norm.PlainNorm(kind), WIDE)
    assert_close(found, written_out(WIDE))
    affine, params = initialised(norm.PlainNorm(kind, affine=True), WIDE)
    scale, bias = params["statistics"]["scale"], params["statistics"]["bias"]
    assert_close(affine, written_out(WIDE) * scale + bias)
    alone, _ = initialised(norm.PlainNorm(kind), WIDE[:1])
    assert of_batch == bool(np.abs(alone[0] - found[0]).max() > 1e-3)


def test_groups_divide_the_channels():
    found, _ = initialised(norm.GroupNorm(3), WIDE)
    assert_close(found, grouped(WIDE, 2))


@pytest.mark.parametrize("kind", norm.PLAIN)
def test_spade_of_a_constant_map_is_a_conditional_norm(kind):
    """One label everywhere: away from the border, the same gain 1 + g and bias b at each pixel."""
    label_map = np.zeros((3, 16, 24, 2), np.float32)
    label_map[..., 1] = 1
    x = np.random.default_rng(4).normal(1, 2, (3, 8, 12, 4)).astype(np.float32)
    module = norm.SpatialNorm(hidden=5, kind=kind)
    found, params = initialised(module, x, label_map)
    hidden = params["hidden"]["kernel"].sum((0, 1))[1] + params["hidden"]["bias"]
    hidden = np.maximum(hidden, 0)
    gain, bias = (
        hidden @ params[name]["kernel"].sum((0, 1)) + params[name]["bias"]
        for name in ("gain", "bias")
    )
    plain = KINDS[kind][0](x)
    assert_close(found[:, 2:-2, 2:-2], (plain * (1 + gain) + bias)[:, 2:-2, 2:-2])
    assert np.abs(found - plain).max() > 0.1


def test_spade_is_the_plain_norm_where_gain_and_bias_are_zero():
    label_map = np.random.default_rng(5).uniform(size=(3, 4, 6, 2)).astype(np.float32)
    module = norm.SpatialNorm(hidden=5, kind="instance", kernel_init=nn.initializers.zeros)
    found = module.apply(module.init(jax.random.key(0), WIDE, label_map), WIDE, label_map)
    assert_close(found, KINDS["instance"][0](WIDE))


def test_instance_normalisation_removes_a_constant_map_and_spade_does_not():
    """The argument of SPADE, Section 3.1: of a map of one label nothing is left."""
    maps = [np.full((1, 8, 8, 2), value, np.float32) for value in (1.0, -2.0)]
    kernel = np.random.default_rng(6).normal(size=(2, 4)).astype(np.float32)
    features = [m @ kernel for m in maps]
    for feature in features:
        assert np.abs(norm.InstanceNorm().apply({}, feature)).max() < 1e-3
    outputs = [initialised(norm.SpatialNorm(5, "instance"), features[0], m)[0] for m in maps]
    assert np.abs(outputs[0] - outputs[1]).max() > 0.05


def test_a_style_sets_gain_and_bias_of_each_channel():
    style = np.random.default_rng(7).normal(size=(3, 8)).astype(np.float32)
    gain, bias = style[:, None, None, :4], style[:, None, None, 4:]
    expected = KINDS["instance"][0](WIDE) * (1 + gain) + bias
    assert_close(norm.adaptive_norm(WIDE, style), expected)
