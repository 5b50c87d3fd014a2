"""For tests that compute a turn by plain `module.apply`: the random numbers of the engine, comparison, Adam."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.game import purpose_key


def decoded(pictures):
    """uint8 pictures in [-1, 1]."""
    return pictures.astype(np.float32) / np.float32(127.5) - np.float32(1)


def purpose(key, name):
    """The key that a loss draws with for one purpose."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def softplus(x):
    """The mean of log(1 + exp(x))."""
    return jnp.mean(jnp.logaddexp(x, jnp.float32(0)))


def check_turn(engine, turn, state, batch, key, by_hand):
    """A turn's loss, metrics, gradient and the state that it leaves are those written out.

    Args:
      engine, turn, state, batch, key: the turn moves one player.
      by_hand: the parameters of that player -> (loss, (its new collections, metrics)).
    """
    (player,) = turn.players

    def ours(mover):
        play = engine.play(state, batch, key, {**state.params, player: mover})
        loss = turn.loss(play)
        assert set(play.moved) == {player}  # the other player's state does not change
        return loss.value, (play.moved[player].state, dict(loss.metrics))

    def both(mover):
        return [jax.value_and_grad(f, has_aux=True)(mover) for f in (ours, by_hand)]

    found, expected = jax.jit(both)(state.params[player])
    ((value, (new, metrics)), gradient), ((value_, (new_, metrics_)), gradient_) = found, expected
    np.testing.assert_allclose(value, value_, rtol=1e-5, atol=1e-6)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, new, dict(new_))
    for name, number in metrics_.items():
        np.testing.assert_allclose(metrics[name], number, rtol=1e-4, atol=1e-6, err_msg=name)
    norm = optax.tree.norm(gradient_)
    assert norm > 1e-6
    far = optax.tree.norm(jax.tree.map(jnp.subtract, gradient, gradient_))
    assert far < 1e-4 * norm, (far, norm)


def check_micro_batches(engine, turn, state, batch, by_hand):
    """Two micro-batches: each has its own draws, and the state moves once, by the mean of the two.

    Args:
      engine, turn, state, batch: the engine accumulates 2, the turn moves one player and is played for the first time.
      by_hand: (micro-batch, key) -> a function of the player's parameters as in `check_turn`.
    """
    (player,) = turn.players
    key = jax.random.fold_in(purpose_key(engine.run_key, f"turn {turn.name}", 0), 0)
    values, states = [], []
    for i in range(2):
        micro = {name: x[i::2] for name, x in batch.items()}
        compute = by_hand(micro, jax.random.fold_in(key, i))
        value, (new, _) = jax.jit(compute)(state.params[player])
        states.append(new)
        values.append(value)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *states)
    variables = {**state.variables, player: {**state.variables[player], **mean}}
    copy = jax.tree.map(jnp.array, state)  # the program donates its input
    program = engine.program(0, turn)
    after, metrics = program(copy, engine.put(batch), engine.run_key, np.int32(0))
    np.testing.assert_allclose(metrics[f"{turn.name}/loss"], np.mean(values), rtol=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, after.variables, variables)


def moves(optimizer, clock):
    """How far two moves take one parameter, for the gradients 1 and 3."""
    param = {"bias": jnp.zeros(1)}
    state, optimizer = optimizer.init(param), optax.with_extra_args_support(optimizer)
    made = []
    for gradient in (1.0, 3.0):
        with jax.numpy_dtype_promotion("standard"):  # as in the engine
            update, state = optimizer.update(
                {"bias": jnp.full(1, gradient)}, state, param, clock=clock
            )
        made.append(-float(update["bias"][0]))
    return made


def adam(rate, b1, b2):
    """What `moves` must be for Adam (Kingma and Ba 2015, Algorithm 1)."""
    mean = (1 - b1) * (b1 * 1 + 3) / (1 - b1**2)
    square = (1 - b2) * (b2 * 1 + 9) / (1 - b2**2)
    return [rate, rate * mean / square**0.5]


def rmsprop(rate):
    """What `moves` must be for RMSProp with decay 0.99 from a mean square of zero."""
    return [rate / 0.01**0.5, rate * 3 / (0.01 * (0.99 * 1 + 9)) ** 0.5]
