"""Networks bound to their variables: which state moves with which call."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine.small import far, same

from jaxgan.nets.spectral import spectral_norm
from jaxgan.network import Moving, Network, Signature, batch_statistics, separate_momentum


class Both(nn.Module):
    """A spectrally normalised layer, then batch normalisation."""

    momentum: float = 0.9

    def setup(self):
        self.dense = spectral_norm(nn.Dense)(3)
        self.norm = nn.BatchNorm(momentum=self.momentum)

    def __call__(self, x, train=True):
        return self.norm(self.dense(x), use_running_average=not train)

    def hidden(self, x):
        return self.dense(x)


X = jax.random.normal(jax.random.key(5), (16, 4)) * 2.0 + 1.0
Y = jax.random.normal(jax.random.key(6), (16, 4))


def variables(module=None):
    """With u vectors that are far from converged, so that an iteration changes them."""
    found = (module or Both()).init(jax.random.key(0), X)
    u = jax.random.normal(jax.random.key(1), (3,))
    return {**found, "spectral": {"dense": {"u": u / jnp.linalg.norm(u)}}}


def applied(given, x, mutable=False, **kwargs):
    return Both().apply(given, x, mutable=mutable, **kwargs)


def test_a_network_is_called_as_its_module_and_keeps_its_state():
    given = variables()
    network = Network(Both(), given)
    expected, _ = applied(given, X, mutable=["batch_stats"])
    np.testing.assert_allclose(network(X), expected, rtol=1e-6)
    # Normalised by the statistics of the batch, in training; by the running ones, otherwise.
    assert far(jnp.mean(network(X), axis=0), jnp.zeros(3))[0] < 1e-5
    np.testing.assert_allclose(
        network(X, train=False), applied(given, X, train=False), rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(
        network(X, method="hidden"), applied(given, X, method="hidden"), rtol=1e-6
    )
    assert network.variables is given
    assert same(given, variables())


def test_parts_of_a_network():
    given = variables()
    network = Network(Both(), given)
    assert network.params is network["params"] is given["params"]
    assert network.state == {name: given[name] for name in ("batch_stats", "spectral")}
    other = network.replace(spectral={"dense": {"u": jnp.zeros(3)}})
    assert other["spectral"]["dense"]["u"].tolist() == [0, 0, 0]
    assert other.params is network.params
    assert network["spectral"] is given["spectral"]
    with pytest.raises(KeyError):
        network["noise"]


def test_u_moves_with_the_first_call_and_batch_statistics_with_each():
    given = variables()
    moving = Moving(Both(), given)
    outputs, expected, now = [moving(X), moving(Y), moving(X)], [], given
    for x, mutable in (
        (X, ["batch_stats", "spectral"]),
        (Y, ["batch_stats"]),
        (X, ["batch_stats"]),
    ):
        output, new = applied(now, x, mutable=mutable)
        expected.append(output)
        now = {**now, **new}
    assert far(outputs, expected)[0] < 1e-6
    assert far(moving.variables, now)[0] < 1e-6
    assert far(moving["spectral"], given["spectral"])[0] > 1e-3
    assert same(moving.params, given["params"])
    assert same(given, variables())  # that it was made of is left alone


def test_a_moving_network_at_evaluation_keeps_its_batch_statistics():
    moving = Moving(Both(), variables())
    moving(X, train=False)
    assert same(moving["batch_stats"], variables()["batch_stats"])


def test_a_frozen_network_is_the_present_state_and_does_not_move():
    moving = Moving(Both(), variables())
    moving(X)
    frozen, before = moving.frozen, moving.variables
    gradient = jax.grad(lambda x: jnp.sum(frozen(x, train=False) ** 2))(X)
    expected = jax.grad(lambda x: jnp.sum(applied(before, x, train=False) ** 2))(X)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)
    moving(Y)
    assert frozen.variables is before
    assert not same(moving.variables, before)
    assert isinstance(frozen, Network)
    assert not isinstance(frozen, Moving)


def test_a_moving_network_inside_of_a_gradient_is_reported():
    moving = Moving(Both(), variables())
    jax.grad(lambda x: jnp.sum(moving(x)))(X)
    with pytest.raises(jax.errors.UnexpectedTracerError):
        moving(X)


def test_what_is_set_takes_the_place_of_a_collection_without_a_gradient():
    given = {**variables(), "average": {"x": jnp.zeros(())}}

    def value(w):
        moving = Moving(Both(), given)
        moving.set(average={"x": 3.0 * w})
        moving(X)
        assert moving.assigned.keys() == {"average"}
        return moving["average"]["x"] + w

    assert jax.value_and_grad(value)(2.0) == (8.0, 1.0)


def test_a_network_is_a_pytree_of_its_variables():
    given = variables()
    network = Network(Both(), given)
    called = jax.jit(lambda network, x: network(x, train=False))
    for scale in (1.0, 2.0):
        other = jax.tree.map(lambda leaf, scale=scale: scale * leaf, network)
        assert isinstance(other, Network)
        assert other.module == Both()
        expected = applied(other.variables, X, train=False)
        np.testing.assert_allclose(called(other, X), expected, rtol=1e-5, atol=1e-6)
    assert called._cache_size() == 1
    called(Network(Both(momentum=0.5), given), X)
    assert called._cache_size() == 2
    returned = jax.jit(lambda network: {"net": network})(network)["net"]
    assert same(returned.variables, given)


@pytest.mark.parametrize("momentum", [0.5, 0.99])
def test_the_statistics_of_a_batch_do_not_depend_on_momentum_and_move_nothing(momentum):
    module = Both(momentum)
    network = Network(module, variables(module))
    found = batch_statistics(network, X)["norm"]
    hidden = network(X, method="hidden")  # with the u that the network has
    np.testing.assert_allclose(found["mean"], jnp.mean(hidden, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["var"], jnp.var(hidden, axis=0), rtol=1e-3)
    assert same(network.variables, variables(module))


def test_statistics_follow_from_those_of_two_starts():
    low, high = ({"mean": jnp.float32(x)} for x in (0.1 * 4.0, 0.9 + 0.1 * 4.0))
    np.testing.assert_allclose(separate_momentum(low, high)["mean"], 4.0, rtol=1e-6)


class Conditional(nn.Module):
    """Pictures and labels to logits; the features are averaged over space, as in a ResNet, if `mean`."""

    mean: bool = True

    @nn.compact
    def __call__(self, x, label=None, train=True):
        x = nn.Conv(4, (3, 3))(x)
        x = x.mean((1, 2)) if self.mean else x.reshape(len(x), -1)
        return nn.Dense(1)(x)[:, 0] + (0 if label is None else nn.Embed(3, 1)(label)[:, 0])


def player(label=True, mean=True):
    example = (jnp.zeros((2, 8, 8, 3)), jnp.zeros(2, jnp.int32) if label else None, True)
    module = Conditional(mean)
    signature = Signature.of("player 'critic' (Conditional)", module, example)
    return Network(module, module.init(jax.random.key(0), *example), signature)


def picture(*shape):
    return jnp.zeros(shape)


@pytest.mark.parametrize(
    ("x", "label", "message"),
    [
        (picture(4, 8, 8, 1), jnp.zeros(4, int), r"has shape \(4, 8, 8, 1\) but expected .* 3\)"),
        (picture(8, 8, 3), jnp.zeros(8, int), r"\(8, 8, 3\) but .*player 'critic' \(Cond.*'x'"),
        (picture(4, 8, 8, 3), jnp.zeros((4, 1), int), r"\(4, 1\) but expected \(None\).*'label'"),
        (picture(4, 8, 8, 3), jnp.zeros(1, int), r"\[\(4,\), \(1,\)\].*as x, label: one label for"),
        (picture(4, 8, 8, 3), None, r"player 'critic' \(Conditional\) is called without 'label'"),
    ],
)
def test_arguments_of_other_shapes(x, label, message):
    network = player()
    assert network(picture(4, 8, 8, 3), jnp.zeros(4, int)).shape == (4,)
    moving = Moving(network.module, network.variables, network.signature)
    for called in (network, network.replace(), moving, moving.frozen):
        with pytest.raises(ValueError, match=message):
            called(x, label=label, train=False)


def test_pictures_of_another_size_are_accepted_where_the_network_accepts_them():
    assert player(label=False)(picture(4, 16, 16, 3), None).shape == (4,)
    with pytest.raises(
        ValueError,
        match=r"was initialised with x \[2, 8, 8, 3\] and cannot be.* x \[4, 16, 16, 3\]\.",
    ):
        player(label=False, mean=False)(picture(4, 16, 16, 3))
