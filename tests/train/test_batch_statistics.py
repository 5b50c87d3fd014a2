"""Fresh batch statistics, read off a game's turns: those of the batches, whatever the network's momentum."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan.engine import Engine
from jaxgan.game import Game, Loss, Output, Player, Stage, Turn
from jaxgan.metrics.drift import statistics_drift
from jaxgan.schedules import Ema
from jaxgan.spec import Field, Spec
from jaxgan.train.batch_statistics import fresh_statistics, running_statistics


class Normalised(nn.Module):
    """Two normalised layers of different momentum, the second of what the first gives."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.7, name="first")(x)
        x = nn.relu(nn.Dense(5)(x))
        return nn.BatchNorm(use_running_average=not train, momentum=0.99, name="second")(x)


def _game(network=None, **player):
    def loss(play):
        out = play.moving("generator")(play.batch["image"], train=True)
        # Not of the outputs alone, whose mean square normalisation fixes: the dense layer would not learn.
        return Loss(jnp.square(out - play.batch["image"][:, :1]).mean())

    def samples(play):
        return play.networks["generator"](jax.random.normal(play.key, (play.num, 3)), train=False)

    example = (jnp.zeros((2, 3)), True)
    return Game(
        players={
            "generator": Player(network or Normalised(), example, optax.sgd(0.1), **player),
        },
        stages=(Stage(turns=(Turn(("generator",), loss),), batch_size=8),),
        outputs={"samples": Output(samples, (5,))},
        spec=Spec({"image": Field("points", (3,))}, 100),
    )


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    return [{"image": rng.normal(2, 3, size=(64, 3)).astype(np.float32)} for _ in range(8)]


@pytest.fixture(scope="module")
def played(batches):
    """An engine and its state after a few rounds, with an average kept."""
    engine = Engine(_game(average=Ema(0.1)))
    state = engine.init()
    for step in range(5):
        state, _ = engine.round(state, step, iter([batches[step]]))
    return engine, state


@pytest.mark.parametrize("ema", [False, True])
def test_they_are_those_of_each_batch(played, batches, ema):
    engine, state = played
    found = fresh_statistics(engine, state, 5, "generator", batches, ema)
    assert len(found) == len(batches)
    network = engine.game.networks(state, ema)["generator"]
    dense = jax.tree.map(np.asarray, network.params)
    for batch, layers in zip(batches, found, strict=True):
        x = batch["image"]
        np.testing.assert_allclose(layers["first"], (x.mean(0), x.var(0)), rtol=1e-4)
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        x = x * dense["first"]["scale"] + dense["first"]["bias"]
        x = np.maximum(x @ dense["Dense_0"]["kernel"] + dense["Dense_0"]["bias"], 0)
        np.testing.assert_allclose(layers["second"], (x.mean(0), x.var(0)), rtol=1e-3, atol=1e-4)


def test_running_ones_are_the_averaged_ones_where_sampling_takes_those(played):
    engine, state = played
    for ema, tree in ((False, state.variables), (True, state.ema)):
        found = running_statistics(engine.game.networks(state, ema)["generator"])
        assert sorted(found) == ["first", "second"]
        mean, variance = found["second"]
        np.testing.assert_array_equal(mean, tree["generator"]["batch_stats"]["second"]["mean"])
        np.testing.assert_array_equal(variance, tree["generator"]["batch_stats"]["second"]["var"])


def test_drift_of_a_slow_momentum_is_found_and_named(played, batches):
    """Five rounds leave 0.99^5 of where the second layer's averages began; the first layer has forgotten it."""
    engine, state = played
    fresh = fresh_statistics(engine, state, 5, "generator", batches, ema=False)
    running = running_statistics(engine.game.networks(state, ema=False)["generator"])
    found = statistics_drift(running, fresh)
    assert found.verdict == "red"
    assert "second" in found.numbers["drifted"]
    settled = {n: tuple(np.mean([f[n] for f in fresh], axis=0)) for n in fresh[0]}
    assert statistics_drift(settled, fresh).verdict == "green"


def test_a_network_without_batch_statistics_has_none():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(5)(x)

    engine = Engine(_game(Plain()))
    state = engine.init()
    assert fresh_statistics(engine, state, 0, "generator", []) == []
    assert running_statistics(engine.game.networks(state)["generator"]) == {}
