"""The engine: rounds, keys, gradient accumulation, state, averages and programs, on games computed by hand."""

import dataclasses
import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from engine.small import (
    adds_mean,
    counting,
    far,
    host,
    make_game,
    mesh_of,
    normal,
    nothing,
    number,
    one_turn,
    play,
    same,
)

from jaxgan import draws
from jaxgan.data import ArraySource
from jaxgan.data.pipeline import Pipeline
from jaxgan.engine import Engine
from jaxgan.game import Loss, Output, Player, Stage, Turn
from jaxgan.nets.minibatch_std import minibatch_std
from jaxgan.nets.spectral import spectral_norm
from jaxgan.schedules import Ema
from jaxgan.spec import Field, Spec
from jaxgan.train.loop import Options, _Run


def weights(state):
    return {name: float(params["w"]) for name, params in state.params.items()}


# Rounds ---------------------------------------------------------------------------------------------------


def test_n_critic_5_draws_five_fresh_batches_a_round():
    turns = (
        Turn(("critic",), adds_mean(), repeat=5),
        Turn(("generator",), adds_mean("generator"), fresh_batch=False),
    )
    game = make_game({"critic": number(), "generator": number()}, (Stage(turns, 4),))
    state, _ = play(Engine(game), 3)
    # The generator's turn is given the last batch of each round: 4, 9, 14.
    assert weights(state) == {"critic": sum(range(15)), "generator": 4 + 9 + 14}
    assert int(state.step) == 3
    assert game.position(3) == (0, 15)


def test_a_lazy_turn_is_played_in_rounds_that_are_multiples():
    def lazy(play):
        return Loss(-100.0 * play.networks["critic"]())

    turns = (
        Turn(("critic",), adds_mean()),
        Turn(("critic",), lazy, "lazy", every=3, fresh_batch=False),
    )
    engine = Engine(make_game({"critic": number()}, (Stage(turns, 2),)))
    state, metrics = play(engine, 5)  # lazy in rounds 0 and 3
    assert weights(state) == {"critic": 200 + sum(range(5))}
    assert "lazy" not in metrics  # round 4


def test_a_later_turn_draws_a_batch_of_its_own_if_it_asks_for_one():
    turns = (
        Turn(("critic",), adds_mean()),
        Turn(("generator",), adds_mean("generator"), every=2, repeat=2),
    )
    game = make_game({"critic": number(), "generator": number()}, (Stage(turns, 4),))
    state, _ = play(Engine(game), 3)
    # Round 0 draws 0 | 1 2, round 1 draws 3, round 2 draws 4 | 5 6.
    assert weights(state) == {"critic": 0 + 3 + 4, "generator": 1 + 2 + 5 + 6}
    assert game.position(3) == (0, 7)


def test_three_players_move_together_and_no_other():
    def loss(play):
        a, b, c, d = (play.networks[name]() for name in "abcd")
        return Loss(a * b * c * d, {"a": a})

    players = {
        name: number(value) for name, value in zip("abcd", (1.0, 2.0, 3.0, 5.0), strict=True)
    }
    engine = Engine(make_game(players, (Stage((Turn(("a", "b", "c"), loss),), 2),)))
    state, metrics = play(engine, 1)
    # All three gradients are of one backward pass, at the same point.
    assert weights(state) == {"a": 1 - 30.0, "b": 2 - 15.0, "c": 3 - 10.0, "d": 5.0}
    found = {name: float(value) for name, value in metrics["a+b+c"].items()}
    assert found == {
        "a+b+c/loss": 30.0,
        "a+b+c/a": 1.0,
        "a+b+c/grad_norm_a": 30.0,
        "a+b+c/grad_norm_b": 15.0,
        "a+b+c/grad_norm_c": 10.0,
    }


def test_only_the_movers_are_differentiated():
    """The loss of the other player need not have a gradient."""

    @jax.custom_jvp
    def no_gradient(x):
        return x

    @no_gradient.defjvp
    def jvp(primals, tangents):
        raise AssertionError("differentiated with respect to a player that does not move")

    def loss(play):
        return Loss(play.networks["a"]() * no_gradient(play.networks["b"]()))

    players = {"a": number(1.0), "b": number(2.0)}
    state, _ = play(Engine(make_game(players, (Stage((Turn(("a",), loss),), 2),))), 1)
    assert weights(state) == {"a": -1.0, "b": 2.0}


def test_a_loss_is_given_the_clock_before_the_round():
    def loss(play):
        return Loss(play.networks["critic"]() * 0.0, play.clock._asdict())

    last = Stage((Turn(("critic",), loss, repeat=2),), 4)
    game = make_game({"critic": number()}, (dataclasses.replace(last, until=2), last))
    engine = Engine(game)
    state, _ = play(engine, 3)
    _, metrics = play(engine, 4, state, first=3)
    found = {name: float(value) for name, value in metrics["critic"].items()}
    expected = {"step": 3, "kimg": 0.024, "stage": 1, "stage_step": 1, "stage_kimg": 0.008}
    for name, value in expected.items():
        np.testing.assert_allclose(found[f"critic/{name}"], value, rtol=1e-6)


# Stages ---------------------------------------------------------------------------------------------------


def two_stages():
    """First `small` learns; the second stage starts `large` from it, and `large` learns on."""

    def large(play):
        noise = jax.random.normal(play.key)
        return Loss(-play.networks["large"]() * (jnp.mean(play.batch["image"]) + noise))

    def enter(state, play):
        copied = jax.tree.map(jnp.copy, play.networks["small"].params)
        return state.replace(params={**state.params, "large": copied})

    return make_game(
        {"small": number(), "large": number(-7.0)},
        (
            Stage((Turn(("small",), adds_mean("small")),), batch_size=4, until=3),
            Stage((Turn(("large",), large),), batch_size=2, enter=enter),
        ),
    )


def test_two_stages_with_a_warm_start_keep_the_shape_of_the_state():
    game = two_stages()
    engine = Engine(game)
    before = engine.init()
    shape = jax.tree.map(lambda x: (x.shape, x.dtype), before)
    state, _ = play(engine, 3, before, stream=counting(4))
    assert weights(state) == {"small": 0 + 1 + 2, "large": -7}
    state, _ = engine.round(state, 3, counting(2, start=10))
    found = weights(state)
    assert found["small"] == 3
    assert found["large"] not in (-7, 13)
    assert abs(found["large"] - 13) < 5  # 3, then 10 plus one standard normal
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == shape


def test_a_stage_is_entered_with_the_batch_of_its_first_turn():
    def enter(state, play):
        measured = {"entry": {"mean": jnp.mean(play.batch["image"])}}
        return state.replace(variables={"critic": measured})

    player = number(collections={"entry": {"mean": jnp.float32(-1)}})
    first = Stage((Turn(("critic",), adds_mean()),), 2, until=2)
    second = Stage((Turn(("critic",), adds_mean(), repeat=2),), 2, enter=enter)
    engine = Engine(make_game({"critic": player}, (first, second)))
    state, _ = play(engine, 2)
    assert float(state.variables["critic"]["entry"]["mean"]) == -1
    state, _ = play(engine, 4, state, first=2, stream=counting(2, start=10))
    assert float(state.variables["critic"]["entry"]["mean"]) == 10
    # No batch is lost on entering, and none is used twice: 0, 1, then 10 to 13.
    assert weights(state) == {"critic": 0 + 1 + 10 + 11 + 12 + 13}
    assert engine.traces()[(1, "enter")] == 1


def test_resume_is_bit_exact_before_at_and_in_the_middle_of_the_second_stage():
    game, kept = two_stages(), {}
    first, second = Engine(game, seed=5), Engine(game, seed=5)

    def run(engine, start, end, state):
        for step in range(start, end):
            kept.setdefault(step, host(state))
            index, drawn = game.position(step)
            state, _ = engine.round(state, step, counting(game.stages[index].batch_size, drawn))
        return host(state)

    whole = run(first, 0, 7, first.init())
    for stop in (2, 3, 5):
        assert same(whole, run(second, stop, 7, jax.tree.map(jnp.asarray, kept[stop])))


def test_stages_have_their_own_data_order(tmp_path):
    """As the training loop opens them: another order of the same examples, from the start of the stage on."""
    source = ArraySource(np.arange(64, dtype=np.float32)[:, None])
    stage = Stage((Turn(("critic",), adds_mean()),), 8)
    game = make_game({"critic": number()}, (dataclasses.replace(stage, until=2), stage))
    run = _Run(game, source, tmp_path, Options(), 0, {}, None, ())
    orders = []
    for step in (0, 2, 3):
        run.open_stage(step)
        orders.append(next(run.batches)["image"][:, 0].tolist())
    run.close_batches()
    assert len(set(orders[1] + orders[2])) == 16  # one epoch of the second stage
    assert sorted(orders[0]) != sorted(orders[1])
    np.testing.assert_array_equal(
        orders[1], Pipeline(source, 0, stage=1).batch(0, 8)["image"][:, 0]
    )  # the run's seed and the number of the stage


# Keys -----------------------------------------------------------------------------------------------------


def remembers(play):
    """A loss that keeps the last four random numbers that it drew in the state."""
    critic, x = play.moving("critic"), jax.random.normal(play.key)
    critic.set(drawn={"last": jnp.concatenate([critic["drawn"]["last"][1:], x[None]])})
    return Loss(critic() * 0.0, {"drawn": x})


def test_each_play_of_a_turn_has_its_own_key_and_the_last_ones_metrics_are_returned():
    player = number(collections={"drawn": {"last": jnp.zeros(4)}})
    turns = (
        Turn(("critic",), remembers, repeat=3),
        Turn(("critic",), remembers, "other", fresh_batch=False),
    )
    game = make_game({"critic": player}, (Stage(turns, 2),))
    engine = Engine(game)
    state, metrics = play(engine, 1)
    first = np.asarray(state.variables["critic"]["drawn"]["last"])
    assert len(set(first.tolist())) == 4
    assert float(metrics["critic"]["critic/drawn"]) == first[2]
    assert float(metrics["other"]["other/drawn"]) == first[3]
    state, _ = play(engine, 2, state, first=1)
    second = np.asarray(state.variables["critic"]["drawn"]["last"])
    assert not set(first) & set(second)


def test_micro_batches_have_their_own_keys():
    def loss(play):
        x = jax.random.normal(play.key)
        return Loss(play.networks["critic"]() * 0.0, {"mean": x, "square": x**2})

    _, metrics = play(Engine(one_turn(loss), accumulate=4), 1)
    mean, square = (float(metrics["critic"][f"critic/{name}"]) for name in ("mean", "square"))
    assert square - mean**2 > 0.01


def noisy(play):
    critic = play.networks["critic"]()
    return Loss(critic * jax.random.normal(play.key))


def test_random_numbers_are_a_function_of_seed_turn_and_step():
    a, b, c = (play(Engine(one_turn(noisy), seed=seed), 3)[0] for seed in (1, 1, 2))
    assert same(a, b)
    assert weights(a) != weights(c)


# Networks with batch statistics ---------------------------------------------------------------------------


class Normalised(nn.Module):
    """Without a bias: batch normalisation makes its gradient rounding noise, which Adam turns into full steps."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Dense(4, use_bias=False)(x)
        return nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)


def net_game(noise=False, average=None):
    def loss(play):
        y = play.moving("net")(play.batch["image"])
        if noise:
            y = y + draws.normal(play.rng("noise"), y.shape)
        return Loss(jnp.mean((y - 1.0) ** 2), {"mean": jnp.mean(y)})

    def samples(play):
        x = jax.random.normal(play.key, (play.num, 3))
        return play.networks["net"](x, train=False)

    players = {"net": Player(Normalised(), (jnp.zeros((1, 3)),), optax.adam(1e-2), average)}
    stages = (Stage((Turn(("net",), loss),), batch_size=16),)
    return make_game(
        players,
        stages,
        {"samples": Output(samples, (4,))},
        Spec({"image": Field("points", (3,))}, 1000),
    )


def live(state):
    return {"params": state.params["net"], **state.variables["net"]}


def test_an_average_is_of_weights_and_their_batch_statistics_alike():
    engine = Engine(net_game(average=Ema(half_life_kimg=0.032)))  # two rounds of 16 images
    state, stream = engine.init(), normal(16)
    average = host(live(state))
    for step in range(6):
        state, _ = engine.round(state, step, stream)
        average = jax.tree.map(
            lambda a, b: a * 0.5**0.5 + b * (1 - 0.5**0.5), average, host(live(state))
        )
    chex.assert_trees_all_close(host(state.ema["net"]), average, rtol=1e-5, atol=1e-7)
    averaged = engine.game.networks(state)["net"]
    assert same(averaged.variables, state.ema["net"])
    assert far(averaged["batch_stats"], state.variables["net"]["batch_stats"])[0] > 1e-3
    made = [next(engine.make(state, "samples", jax.random.key(1), 2, ema=ema)) for ema in (0, 1)]
    assert not np.allclose(*made)


def test_an_average_is_given_the_clock_before_the_round_and_the_images_of_the_round():
    def average(clock, round_kimg):
        return clock.kimg * 100.0 + round_kimg * 10.0  # 0.16, then 1.76

    engine = Engine(one_turn(adds_mean(), batch_size=8, repeat=2, player=number(average=average)))
    state, _ = play(engine, 1)
    assert weights(state) == {"critic": 1.0}
    np.testing.assert_allclose(state.ema["critic"]["params"]["w"], 1 - 0.16, rtol=1e-5)
    state, _ = play(engine, 2, state, first=1, stream=counting(8, start=2))
    expected = 1.76 * (1 - 0.16) + (1 - 1.76) * (1 + 2 + 3)
    np.testing.assert_allclose(state.ema["critic"]["params"]["w"], expected, rtol=1e-5)


def test_an_average_with_a_ramp_forgets_the_start():
    engine = Engine(net_game(average=Ema(half_life_kimg=1000.0, ramp_up=0.05)))
    state, _ = play(engine, 2, stream=normal(16))
    # The first decay is 0, as no image was seen; the second's half-life is 0.05 x 16 images: decay 2^-20.
    assert far(state.ema["net"]["params"], state.params["net"])[0] < 1e-5


# Gradient accumulation ------------------------------------------------------------------------------------


def linear_game():
    def loss(play):
        y = play.networks["line"](play.batch["image"])
        return Loss(jnp.mean((y - 1.0) ** 2), {"y": jnp.mean(y)})

    player = Player(nn.Dense(1), (jnp.zeros((1, 3)),), optax.adam(1e-2))
    return make_game(
        {"line": player},
        (Stage((Turn(("line",), loss),), 16),),
        spec=Spec({"image": Field("points", (3,))}, 100),
    )


def test_micro_batches_are_the_whole_batch_for_a_mean_loss():
    runs = [play(Engine(linear_game(), accumulate=k), 5, stream=normal(16)) for k in (1, 2, 4)]
    assert far(runs[0], runs[1])[0] < 1e-5
    assert far(runs[0], runs[2])[0] < 1e-5


def test_batch_statistics_move_once_per_update_with_the_mean_over_micro_batches():
    engine = Engine(net_game(), accumulate=4)
    state = engine.init()
    kernel, batch = host(state.params["net"]["Dense_0"]["kernel"]), next(normal(16))
    state, _ = engine.round(state, 0, iter([batch]))
    parts = [
        batch["image"][i::4] @ kernel for i in range(4)
    ]  # micro-batch i holds rows i, i + 4, ...
    found = state.variables["net"]["batch_stats"]["BatchNorm_0"]
    mean = np.mean([x.mean(0) for x in parts], axis=0)
    var = np.mean([x.var(0) for x in parts], axis=0)
    np.testing.assert_allclose(found["mean"], 0.5 * 0 + 0.5 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["var"], 0.5 * 1 + 0.5 * var, rtol=1e-5, atol=1e-6)


def test_what_a_loss_sets_moves_once_whatever_the_micro_batches():
    def loss(play):
        critic, mean = play.moving("critic"), jnp.mean(play.batch["image"])
        critic.set(running={"mean": 0.9 * critic["running"]["mean"] + 0.1 * mean})
        least = jnp.min(play.batch["image"]).astype(jnp.int32)
        critic.set(whole={"moves": critic["whole"]["moves"] + 1, "least": least})
        sizes = {"num": jnp.float32(play.num), "batch_size": jnp.float32(play.batch_size)}
        return Loss(-critic() * mean, sizes)

    start = {
        "running": {"mean": jnp.float32(10.0)},
        "whole": {"moves": jnp.int32(0), "least": jnp.int32(99)},
    }
    engine = Engine(one_turn(loss, player=number(collections=start)), accumulate=4)
    rows = {"image": np.arange(8, dtype=np.float32)[:, None] + 3}  # mean 6.5, least 3
    state, metrics = engine.round(engine.init(), 0, iter([rows]))
    found = state.variables["critic"]
    np.testing.assert_allclose(found["running"]["mean"], 0.9 * 10 + 0.1 * 6.5, rtol=1e-6)
    assert found["whole"] == {"moves": 1, "least": 3}
    assert float(metrics["critic"]["critic/num"]) == 2
    assert float(metrics["critic"]["critic/batch_size"]) == 8
    assert weights(state) == {"critic": 6.5}


class Judge(nn.Module):
    """A critic of points: a dense layer, `between`, and the logit. Its kernels are spectrally normalised."""

    between: str

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.relu(spectral_norm(nn.Dense)(8)(x))
        if self.between == "batch normalisation":
            x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        if self.between == "minibatch standard deviation":
            x = minibatch_std(x[:, None, None], 0)[:, 0, 0]
        return spectral_norm(nn.Dense)(1)(x)[:, 0]


def judge_game(between):
    """Points against their negatives, by the hinge loss."""

    def loss(play):
        judge, x = play.moving("judge"), play.batch["image"] + 0.5
        real, fake = judge(x), judge(-x)
        return Loss(jnp.mean(nn.relu(1 - real)) + jnp.mean(nn.relu(1 + fake)))

    player = Player(Judge(between), (jnp.zeros((2, 3)),), optax.sgd(0.1))
    return make_game(
        {"judge": player},
        (Stage((Turn(("judge",), loss),), 16),),
        spec=Spec({"image": Field("points", (3,))}, 100),
    )


@pytest.mark.parametrize("k", [2, 4])
def test_micro_batches_of_a_spectrally_normalised_critic_are_the_whole_batch(k):
    """`u` moves once per update and is the same in each micro-batch, so each divides by the same sigma."""
    whole, parts = (
        play(Engine(judge_game(""), accumulate=n), 5, stream=normal(16))[0] for n in (1, k)
    )
    assert far(whole.params, parts.params)[0] < 1e-5
    assert far(whole.variables, parts.variables)[0] < 1e-5
    start = Engine(judge_game("")).init()
    assert far(start.variables, whole.variables)[0] > 1e-3  # `u` moves


@pytest.mark.parametrize(
    "between",
    [
        pytest.param("batch normalisation", marks=pytest.mark.slow),
        "minibatch standard deviation",
    ],
)
def test_micro_batches_of_a_critic_that_compares_rows_are_a_batch_of_their_size_each(between):
    """A row's logit depends on the rows beside it: the gradient is the mean over batches of the micro-batch's size."""
    rows = next(normal(16))
    start = host(Engine(judge_game(between)).init())

    def step(accumulate, batch):
        game = judge_game(between)
        stage = dataclasses.replace(game.stages[0], batch_size=len(batch["image"]))
        engine = Engine(dataclasses.replace(game, stages=(stage,)), accumulate=accumulate)
        state = jax.device_put(start, engine.state_shardings)
        state, _ = engine.round(state, 0, iter([batch]))
        return host(state.params)

    whole, parts = step(1, rows), step(4, rows)
    assert far(whole, parts)[0] > 1e-3
    each = [step(1, {"image": rows["image"][i::4]}) for i in range(4)]
    mean = jax.tree.map(
        lambda *moved: np.mean(moved, axis=0), *each
    )  # SGD is linear in the gradient
    assert far(parts, mean)[0] < 1e-5


def test_micro_batches_in_a_loop_and_unrolled_agree(monkeypatch):
    """Off the CPU micro-batches are looped over; the numbers are the same."""
    unrolled, _ = play(Engine(net_game(noise=True), accumulate=4), 2, stream=normal(16))
    scan = jax.lax.scan
    monkeypatch.setattr(jax.lax, "scan", lambda *a, unroll=1, **k: scan(*a, unroll=1, **k))
    looped, _ = play(Engine(net_game(noise=True), accumulate=4), 2, stream=normal(16))
    assert far(unrolled, looped)[0] < 1e-5


# Devices --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_devices_agree_on_a_game_with_batch_statistics_and_noise(accumulate):
    game = net_game(noise=True, average=Ema(half_life_kimg=0.1))
    states = [
        host(play(Engine(game, mesh=mesh_of(n), accumulate=accumulate), 4, stream=normal(16))[0])
        for n in (1, 8)
    ]
    assert far(*states)[0] < 1e-5


def test_a_batch_that_does_not_divide_is_refused_with_one_that_does():
    with pytest.raises(
        ValueError,
        match=r"the batch of 16 .* over 3 devices: set model.batch_size=15 or train.devices=1",
    ):
        Engine(net_game(), mesh=mesh_of(3)).check_batches()
    with pytest.raises(
        ValueError, match=r"over 32 parts .*: set model.batch_size=32 or train.accumulate=2"
    ):
        Engine(net_game(), mesh=mesh_of(8), accumulate=4).check_batches()
    game = net_game()
    (stage,) = game.stages
    first = dataclasses.replace(stage, until=5, batch_size=18)
    several = dataclasses.replace(game, stages=(first, stage))
    with pytest.raises(
        ValueError, match=r"the batch of stage 1 of 16 cannot be .*: set train.devices=1"
    ):
        Engine(several, mesh=mesh_of(3)).check_batches()
    empty = dataclasses.replace(game, stages=(dataclasses.replace(stage, batch_size=0),))
    with pytest.raises(ValueError, match=r"model.batch_size is 0, but it must be at least 1"):
        Engine(empty).check_batches()
    Engine(game, mesh=mesh_of(8), accumulate=2).check_batches()


def test_a_mesh_over_other_axes_is_refused():
    kinds = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((2,), ("model",), axis_types=kinds, devices=jax.devices()[:2])
    with pytest.raises(
        ValueError, match=r"axes \('model',\), but an engine splits .* data and fsdp"
    ):
        Engine(net_game(), mesh=mesh)


# State and programs ---------------------------------------------------------------------------------------


def test_the_state_is_donated():
    engine = Engine(net_game())
    state = engine.init()
    leaf = state.params["net"]["Dense_0"]["kernel"]
    engine.round(state, 0, normal(16))
    assert leaf.is_deleted()


def test_nothing_is_traced_twice():
    engine = Engine(net_game(noise=True, average=Ema(1.0)))
    play(engine, 4, stream=normal(16))
    assert engine.traces() == {(0, "net"): 1, (0, "close"): 1}


def test_a_turn_is_traced_once_where_a_players_state_begins_as_a_python_number():
    def loss(play):
        critic = play.moving("critic")
        critic.set(control={"k": critic["control"]["k"] + 0.5 * jnp.float32(1.0)})
        return Loss(-critic() * jnp.mean(play.batch["image"]), {})

    engine = Engine(one_turn(loss, player=number(collections={"control": {"k": 0.0}})))
    state, _ = play(engine, 3)
    assert engine.traces() == {(0, "critic"): 1, (0, "close"): 1}
    assert float(state.variables["critic"]["control"]["k"]) == 1.5


def test_the_shape_of_the_state_is_known_before_it_exists():
    engine = Engine(net_game(average=Ema(1.0)), mesh=mesh_of(2))
    chex.assert_trees_all_equal_shapes_and_dtypes(engine.state_shape, engine.init())
    assert all(leaf.sharding == engine.replicated for leaf in jax.tree.leaves(engine.state_shape))


def test_programs_are_lowered_from_shapes_alone():
    def enter(state, play):
        return state

    spec = Spec(
        {
            "image": Field("image", (8, 8, 3)),
            "label": Field("label", number=10),
            "condition": Field("image", (8, 8, 1)),
        },
        100,
    )
    lazy = Turn(("critic",), adds_mean(), "lazy", every=4, fresh_batch=False)
    stages = (
        Stage((Turn(("critic",), adds_mean(), repeat=2),), 8, until=3, resolution=4),
        Stage((Turn(("critic",), adds_mean()), lazy), 16, enter=enter),
    )
    game = make_game({"critic": number()}, stages, spec=spec)
    engine = Engine(game, mesh=mesh_of(8))
    found = list(engine.programs(spec))
    assert [(program.stage, program.name, program.plays) for program in found] == [
        *((0, "init", 0), (0, "critic", 2), (0, "close", 1)),
        *((1, "enter", 0), (1, "critic", 1), (1, "lazy", 0.25), (1, "close", 1)),
        (0, "samples", 0),
    ]
    assert [program.shards for program in found] == [1] * 7 + [8]
    shapes = engine.batch_shape(stages[0], spec)
    assert {name: (x.shape, x.dtype) for name, x in shapes.items()} == {
        "image": ((8, 4, 4, 3), "uint8"),
        "label": ((8,), "int32"),
        "condition": ((8, 4, 4, 1), "uint8"),
    }
    assert engine.batch_shape(stages[1], spec)["image"].shape == (16, 8, 8, 3)
    texts = {(p.stage, p.name): p.lower().as_text() for p in found}
    assert "tensor<8x4x4x3xui8>" in texts[0, "critic"]
    assert "tensor<16x8x8x3xui8>" in texts[1, "lazy"]
    assert engine.traces() == dict.fromkeys(engine.traces(), 0)  # lowered, but never run


@pytest.mark.parametrize("ahead", [False, True])
def test_what_is_compiled_ahead_is_not_compiled_again(ahead, caplog):
    lazy = Turn(("critic",), adds_mean(), "lazy", every=4, fresh_batch=False)
    stages = (
        Stage((Turn(("critic",), adds_mean()), lazy), 8, until=1),
        Stage((Turn(("critic",), adds_mean()),), 8, enter=lambda state, play: state),
    )
    spec = Spec({"image": Field("image", (8, 8, 3))}, 100)
    engine = Engine(make_game({"critic": number()}, stages, spec=spec), mesh=mesh_of(8))
    batches = iter([{"image": np.zeros((8, 8, 8, 3), np.uint8)}] * 2)

    def compiled():
        """How many programs of the engine this thread has compiled since the last call."""
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        names = re.findall(r"Finished XLA compilation of jit\((\w+)\)", "\n".join(found))
        return sum(name in ("init", "traced", "chunk") for name in names)

    def wait():
        for _, future in engine._compiling.values():
            future.result()
        caplog.clear()

    with jax.log_compiles():
        if ahead:
            engine.compile_ahead(spec, 0, ["samples"])
            wait()
        state, _ = engine.round(engine.init(), 0, batches)
        next(engine.make(state, "samples", engine.key(0), 4))
        assert compiled() == (0 if ahead else 5)  # init, critic, lazy, close, samples
        if ahead:
            engine.compile_ahead(spec, 1)
            wait()
        engine.round(state, 1, batches)
        assert compiled() == (0 if ahead else 3)  # enter, critic, close
    assert engine._compiling == {}


def test_an_error_while_compiling_ahead_is_raised_where_the_program_is_needed():
    def loss(play):
        raise RuntimeError("no such loss")

    engine = Engine(one_turn(loss))
    engine.compile_ahead(engine.game.spec, 0)
    state = engine.init()
    with pytest.raises(RuntimeError, match="no such loss"):
        engine.round(state, 0, counting(8))


# What a loss may leave in the state -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("collections", "text"),
    [
        (
            {"drwan": {"x": jnp.zeros(4)}},
            r"turn 'critic' sets 'drwan' of player 'critic', which is not one of its collections"
            r" \(drawn, nested\); declare it in Player.collections",
        ),
        (
            {"drawn": {"x": jnp.zeros(3)}},
            r"turn 'critic', player 'critic': 'drawn/x' is float32\[4\] before the loss and"
            r" float32\[3\] after it; its structure, shapes",
        ),
        ({"drawn": {"x": jnp.zeros(4, jnp.bfloat16)}}, r"float32\[4\] .* bfloat16\[4\]"),
        ({"nested": {"a": {}}}, r"'nested/a/b' is float32\[\] before the loss and missing after"),
        (
            {"nested": {"a": {"b": jnp.float32(0), "c": jnp.int32(0)}}},
            r"'nested/a/c' is missing before the loss and int32\[\] after it",
        ),
        ({"params": {"w": jnp.float32(0)}}, r"sets 'params' of player 'critic', which is not one"),
    ],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_state_that_changes_its_structure_is_refused_by_turn_and_leaf(
    collections, text, accumulate
):
    def loss(play):
        play.moving("critic").set(**collections)
        return Loss(play.networks["critic"]())

    start = {"drawn": {"x": jnp.zeros(4)}, "nested": {"a": {"b": jnp.float32(0)}}}
    engine = Engine(one_turn(loss, player=number(collections=start)), accumulate=accumulate)
    with pytest.raises(ValueError, match=text):
        play(engine, 1)


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (lambda x: x, "the loss of turn 'critic' returns .*; return Loss"),
        (lambda x: Loss(x[None]), r"turn 'critic': the loss has the shape \(1,\), but it must be a scalar"),
        (lambda x: Loss(x, {"real": jnp.zeros(3)}), r"turn 'critic': metric 'real' has the shape \(3,\), but"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_and_its_metrics_are_scalars(returned, text, accumulate):
    engine = Engine(one_turn(lambda p: returned(p.networks["critic"]())), accumulate=accumulate)
    with pytest.raises(ValueError, match=text):
        play(engine, 1)


def test_state_that_entering_a_stage_changes_is_refused_by_stage_and_leaf():
    def enter(state, play):
        return state.replace(params={"critic": {"w": jnp.zeros(2)}})

    stage = Stage((Turn(("critic",), adds_mean()),), 2, enter=enter)
    engine = Engine(make_game({"critic": number()}, (stage,)))
    text = r"entering stage 0: 'params/critic/w' is float32\[\] before and float32\[2\] after it"
    with pytest.raises(ValueError, match=text):
        play(engine, 1)


def test_a_loss_sets_state_of_the_players_that_it_names():
    def loss(play):
        play.moving("generator").set(drawn={"x": jnp.float32(1)})
        return Loss(play.networks["critic"]())

    start = {"drawn": {"x": jnp.float32(0)}}
    players = {name: number(collections=start) for name in ("critic", "generator")}
    engine = Engine(make_game(players, (Stage((Turn(("critic",), loss),), 2),)))
    state, _ = play(engine, 1)
    assert state.variables["critic"]["drawn"] == {"x": 0}
    assert state.variables["generator"]["drawn"] == {"x": 1}  # though its parameters do not move


def test_a_play_can_be_made_by_hand():
    game = net_game()
    engine = Engine(game)
    state, batch = engine.init(), next(normal(16))
    made = engine.play(state, batch, jax.random.key(0))
    value, metrics = game.stages[0].turns[0].loss(made)  # the state before the round
    assert (made.num, made.batch_size) == (16, 16)
    assert metrics.keys() == {"mean"}
    _, found = engine.round(state, 0, iter([batch]))
    np.testing.assert_allclose(found["net"]["net/loss"], value, rtol=1e-6)
    params = {"net": jax.tree.map(jnp.zeros_like, engine.init().params["net"])}
    variables = {"net": {"batch_stats": {}}}
    other = engine.play(engine.init(), batch, jax.random.key(0), params, variables)
    assert other.networks["net"].variables == {"params": params["net"], "batch_stats": {}}


def test_a_player_without_an_optimiser_has_no_optimiser_state():
    players = {"critic": number(), "frozen": number(2.0, optimizer=None)}
    outputs = {"samples": Output(nothing, (1,))}
    engine = Engine(make_game(players, (Stage((Turn(("critic",), adds_mean()),), 2),), outputs))
    state, _ = play(engine, 2)
    assert state.opt_state.keys() == {"critic"}
    assert weights(state) == {"critic": 1.0, "frozen": 2.0}
