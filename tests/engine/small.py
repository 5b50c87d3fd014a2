"""Games small enough to compute by hand: a player is one number, SGD of rate 1 adds up what its loss is given."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.game import Game, Loss, Output, Player, Stage, Turn
from jaxgan.spec import Field, Spec

POINTS = Spec({"image": Field("points", (1,))}, 100)


class Number(nn.Module):
    """A parameter "w", which is also the output."""

    value: float = 0.0

    @nn.compact
    def __call__(self):
        return self.param("w", lambda key: jnp.float32(self.value))


def number(value=0.0, **fields):
    return Player(Number(value), (), **{"optimizer": optax.sgd(1.0), **fields})


def nothing(play):
    return jnp.zeros((play.num, 1))


def make_game(players, stages, outputs=None, spec=POINTS, **fields):
    return Game(players, stages, outputs or {"samples": Output(nothing, (1,))}, spec, **fields)


def adds_mean(player="critic"):
    """The gradient of w is minus the mean of the batch."""
    return lambda play: Loss(-play.networks[player]() * jnp.mean(play.batch["image"]))


def one_turn(loss, batch_size=8, player=None, **turn):
    """A game of one player, "critic", with one turn."""
    stage = Stage((Turn(("critic",), loss, **turn),), batch_size)
    return make_game({"critic": player or number()}, (stage,))


def counting(batch_size, start=0):
    """Batch k holds the number k everywhere."""
    return ({"image": np.full((batch_size, 1), k, np.float32)} for k in itertools.count(start))


def normal(batch_size, shape=(3,), start=0):
    """Batch k is a standard normal sample, a function of k."""
    for k in itertools.count(start):
        yield {
            "image": np.random.default_rng(k).normal(size=(batch_size, *shape)).astype(np.float32)
        }


def play(engine, rounds, state=None, first=0, stream=None):
    """(state, last metrics) after rounds `first` to `rounds` - 1."""
    state = engine.init() if state is None else state
    stream = stream or counting(engine.game.stages[0].batch_size)
    for step in range(first, rounds):
        state, metrics = engine.round(state, step, stream)
    return state, metrics


def mesh_of(count):
    kinds = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((count,), ("data",), axis_types=kinds, devices=jax.devices()[:count])


def host(tree):
    # Copies: the next round may reuse the buffer that a view would point into.
    return jax.tree.map(np.array, tree)


def far(a, b):
    """The largest difference of two trees, relative where numbers are above 1, and its path."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True)
    found = [(0.0, "")]
    for (path, x), y in pairs:
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        difference = np.max(np.abs(x - y) / np.maximum(1.0, np.abs(x)), initial=0.0)
        found.append((float(difference), jax.tree_util.keystr(path)))
    return max(found)


def same(a, b):
    """Whether two trees are equal bit for bit."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)
