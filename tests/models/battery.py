"""What every training procedure must hold, whatever its players, turns and stages: one check for each, for any game."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan.engine import Engine
from jaxgan.options import OptionError, override
from jaxgan.train import Options as TrainOptions
from jaxgan.train import make_engine


def pictures(rng, shape):
    """Smooth random pictures, uint8: noise of a quarter of the size, enlarged."""
    b, h, w, c = shape
    small = rng.integers(0, 256, (b, -(-h // 4), -(-w // 4), c))
    return np.repeat(np.repeat(small, 4, 1), 4, 2)[:, :h, :w].astype(np.uint8)


def batch(spec, stage_index, stage, draw):
    """Batch number `draw` of a stage: a function of both alone, as a run's are."""
    rng = np.random.default_rng((stage_index, draw))
    made = {}
    for name, field in spec.at(stage.resolution).fields.items():
        shape = (stage.batch_size, *field.shape)
        if field.kind == "image":
            made[name] = pictures(rng, shape)
        else:
            values = 2 if field.kind == "attributes" else field.number
            made[name] = rng.integers(0, values, shape).astype(field.dtype)
    return made


def stream(game, spec, step):
    """The batches of the stage of round `step`, from where that round stands."""
    index, draw = game.position(step)
    while True:
        yield batch(spec, index, game.stages[index], draw)
        draw += 1


def play(engine, spec, rounds, first=0, state=None):
    """(state, metrics of every round) after playing rounds `first` to `rounds` - 1."""
    state = engine.init() if state is None else state
    seen, stage, batches = [], None, None
    for step in range(first, rounds):
        if engine.game.stage_at(step)[0] != stage:
            stage, batches = engine.game.stage_at(step)[0], stream(engine.game, spec, step)
        state, metrics = engine.round(state, step, batches)
        seen.append({k: float(v) for turn in metrics.values() for k, v in turn.items()})
    return state, seen


def host(state):
    # Copies: a view of a CPU buffer would hold on to what the next round is given to reuse.
    return jax.tree.map(np.array, state)


def check_trains(game, spec, rounds):
    """Finite, float32, traced once in each stage, and every player that has a turn moves. Returns (engine, state)."""
    engine = Engine(game, seed=3)
    state = engine.init()
    before = host(state)
    state, seen = play(engine, spec, rounds, state=state)
    assert all(np.isfinite(value) for metrics in seen for value in metrics.values()), seen
    after = host(state)
    for path, leaf in jax.tree_util.tree_leaves_with_path(after):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
    assert set(engine.traces().values()) == {1}, engine.traces()
    played = game.stages[: game.stage_at(rounds - 1)[0] + 1]
    for name in {name for stage in played for turn in stage.turns for name in turn.players}:
        leaves = jax.tree.leaves(after.params[name])
        assert all(leaf.dtype == np.float32 for leaf in leaves)
        pairs = zip(jax.tree.leaves(before.params[name]), leaves, strict=True)
        assert any((a != b).any() for a, b in pairs), name
    return engine, state


def turns_apart(engine, spec):
    """(its players, the state before, the state after) of each turn of the first stage, each played from the start."""
    state = host(engine.init())
    stage = engine.game.stages[0]
    data = engine.put(batch(spec, 0, stage, 0))
    for turn in stage.turns:
        start = jax.device_put(state, engine.state_shardings)
        after, _ = engine.program(0, turn)(start, data, engine.run_key, np.int32(0))
        yield turn.players, state, host(after)


def equal(one, other):
    return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, other))


def check_u_moves_in_own_turns(turns):
    """`turns`, see `turns_apart`: a player's `u` moves in its turn and in no other."""
    for players, before, after in turns:
        for name, collections in before.variables.items():
            still = equal(collections["spectral"], after.variables[name]["spectral"])
            assert still != (name in players), name


def not_normalised(engine, player):
    """The paths of the player's kernels and embeddings that are not spectrally normalised."""
    params = engine.state_shape.params[player]
    u = engine.state_shape.variables[player]["spectral"]
    kernels = {
        path[:-1]
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key in ("kernel", "embedding")
    }
    normalised = {path[:-1] for path, _ in jax.tree_util.tree_leaves_with_path(u)}
    assert normalised <= kernels
    return {tuple(key.key for key in path) for path in kernels - normalised}


def check_resume(engine, spec, at, rounds):
    """Stopped in round `at` and played on from arrays alone: every leaf bit for bit the same.

    `engine` is that of `check_trains`, whose programs are compiled.
    """
    halfway, _ = play(engine, spec, at)
    kept = host(halfway)
    whole, _ = play(engine, spec, rounds, first=at, state=halfway)
    other = Engine(engine.game, seed=3)
    again = jax.tree.map(
        lambda x, shape: jax.device_put(jnp.asarray(x), shape.sharding), kept, other.state_shape
    )
    # A new engine would compile the same programs again; what it computes is a function of state and step alone.
    again, _ = play(engine, spec, rounds, first=at, state=again)
    jax.tree.map(np.testing.assert_array_equal, host(whole), host(again))


def descending(game, learning_rate=0.01):
    """The game with plain gradient descent in place of its optimisers.

    Where a gradient cancels to rounding noise, Adam makes that noise as large as any step, so that no two orders of
    summation agree; a step of gradient descent is as exact as the gradient.
    """

    def plain(optimizer):
        def update(gradient, state, params=None, **clock):
            del params, clock
            return jax.tree.map(lambda g: -learning_rate * g, gradient), state

        # The state stays the optimiser's own, which a stage may reset.
        return optax.GradientTransformationExtraArgs(optimizer.init, update)

    players = {
        name: dataclasses.replace(player, optimizer=player.optimizer and plain(player.optimizer))
        for name, player in game.players.items()
    }
    return dataclasses.replace(game, players=players)


def check_devices(game, spec, rounds, devices=8, rtol=1e-4):
    """One device and `devices` follow the same trajectory, up to rounding: metrics of each round and parameters."""
    runs = []
    for count in (1, devices):
        engine = make_engine(game, TrainOptions(devices=count), seed=3)
        state, seen = play(engine, spec, rounds)
        runs.append((host(state), seen))
    (one, seen_one), (many, seen_many) = runs
    for a, b in zip(seen_one, seen_many, strict=True):
        for name, value in a.items():
            np.testing.assert_allclose(b[name], value, rtol=10 * rtol, atol=rtol, err_msg=name)
    for name, params in one.params.items():
        a = np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)])
        b = np.concatenate([np.ravel(x) for x in jax.tree.leaves(many.params[name])])
        assert np.linalg.norm(a - b) <= rtol * np.linalg.norm(a), name


def check_remat(kept, again, spec, stage=0, turns=None):
    """A game that recomputes activations: the other's parameters, and its losses and gradients up to rounding.

    Args:
      kept, again: the game without and with it.
      spec: of the data.
      stage: of the game.
      turns: names of those to check; all if None.
    """
    engine = Engine(kept)
    state = engine.init()
    recomputed = jax.eval_shape(Engine(again)._init, jax.random.key(0))
    assert jax.tree.structure(state) == jax.tree.structure(recomputed)
    data = batch(spec, stage, kept.stages[stage], 0)

    def found(engine, turn):
        def loss(moving):
            params = {**state.params, **moving}
            return turn.loss(engine.play(state, data, jax.random.key(9), params)).value

        movers = {name: state.params[name] for name in turn.players}
        lowered = jax.jit(jax.value_and_grad(loss)).lower(movers)
        return lowered.as_text().count("optimization_barrier"), lowered.compile()(movers)

    pairs = zip(kept.stages[stage].turns, again.stages[stage].turns, strict=True)
    pairs = [(turn, other) for turn, other in pairs if turns is None or turn.name in turns]
    assert pairs
    for turn, other in pairs:
        (barriers, (value, gradient)), (more, (value_again, gradient_again)) = (
            found(engine, turn),
            found(Engine(again), other),
        )
        assert more > barriers, turn.name  # what keeps XLA from reading kept activations
        np.testing.assert_allclose(value_again, value, rtol=1e-5, err_msg=turn.name)
        far = jax.tree.map(
            lambda a, b: float(jnp.linalg.norm(a - b) / (jnp.linalg.norm(a) + 1e-6)),
            gradient,
            gradient_again,
        )
        assert max(jax.tree.leaves(far)) < 1e-4, turn.name


def assert_refused(game, options, spec, text):
    """Follows each way out of the error that a game cannot be made with; it may lead to another error's first one."""
    with pytest.raises(ValueError, match=text) as raised:
        game(options, spec)
    error = raised.value
    assert "\n" not in str(error)
    for fix in error.fixes if isinstance(error, OptionError) else ():
        seen, mended, data = {error.option}, options, spec
        while fix is not None:
            for name, value in fix.items():
                if name == "data.resolution":
                    data = resized(data, value)
                elif not name.startswith("data."):  # another set is not at hand
                    mended = override(mended, {name: value})
            if any(name.startswith("data.") and name != "data.resolution" for name in fix):
                break
            try:
                fix = game(mended, data) and None
            except OptionError as other:
                if other.option in seen:
                    raise
                seen.add(other.option)
                fix = other.fixes[0]


def resized(spec, side):
    square = {
        name: dataclasses.replace(field, shape=(side, side, *field.shape[2:]))
        for name, field in spec.fields.items()
        if field.spatial
    }
    return dataclasses.replace(spec, fields={**spec.fields, **square})
