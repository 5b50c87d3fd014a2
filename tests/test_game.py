"""The engine, on games small enough to compute by hand."""

import dataclasses
import itertools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import game as game_lib
from jaxgan.game import Engine, Game, Loss, Player, Stage, Turn
from jaxgan.options import Option


def scalar_player(value=0.0, **kwargs):
    return Player(lambda key: {"params": {"w": jnp.float32(value)}}, optax.sgd(1.0), **kwargs)


def no_samples(networks, key, num, labels):
    return jnp.zeros((num, 1))


def make_game(players, stages):
    return Game(players, stages, no_samples, (1,))


def batches(batch_size, start=0):
    """Batch k holds the number k everywhere."""
    return ({"image": np.full((batch_size, 1), k, np.float32)} for k in itertools.count(start))


def play(engine, rounds, state=None, first=0, stream=None):
    state = engine.init() if state is None else state
    stream = stream or batches(engine.game.stages[0].batch_size)
    for step in range(first, rounds):
        state, metrics = engine.round(state, step, stream)
    return state, metrics


def sees_mean(params, variables, batch, key):
    """Gradient of w is minus the mean of the batch: SGD with rate 1 adds up what was seen."""
    return Loss(-params["critic"]["w"] * jnp.mean(batch["image"]), {}, {})


def test_n_critic_5_draws_five_fresh_batches_a_round():
    def generator_loss(params, variables, batch, key):
        return Loss(-params["generator"]["w"] * jnp.mean(batch["image"]), {}, {})

    stage = Stage(
        (
            Turn(("critic",), sees_mean, repeat=5),
            Turn(("generator",), generator_loss, fresh_batch=False),
        ),
        batch_size=4,
    )
    g = make_game({"critic": scalar_player(), "generator": scalar_player()}, (stage,))
    state, _ = play(Engine(g), 3)
    assert float(state.params["critic"]["w"]) == sum(range(15))
    # The generator's turn sees the last batch of each round: 4, 9, 14.
    assert float(state.params["generator"]["w"]) == 4 + 9 + 14
    assert g.images(3) == 60
    assert g.position(3) == (0, 15)


def test_lazy_turn_plays_in_rounds_that_are_multiples():
    def lazy(params, variables, batch, key):
        return Loss(-100.0 * params["critic"]["w"], {}, {})

    stage = Stage(
        (
            Turn(("critic",), sees_mean),
            Turn(("critic",), lazy, name="lazy", every=3, fresh_batch=False),
        ),
        batch_size=2,
    )
    engine = Engine(make_game({"critic": scalar_player()}, (stage,)))
    state, metrics = play(engine, 5)  # lazy in rounds 0 and 3
    assert float(state.params["critic"]["w"]) == 200 + sum(range(5))
    assert "lazy" not in metrics  # round 4


def test_a_lazy_turn_that_draws_is_counted():
    stage = Stage(
        (Turn(("critic",), sees_mean), Turn(("critic",), sees_mean, name="lazy", every=4)),
        batch_size=2,
    )
    g = make_game({"critic": scalar_player()}, (stage,))
    assert [g.position(s)[1] for s in range(6)] == [0, 2, 3, 4, 5, 7]
    assert g.images(5) == 14
    assert stage.images_per_round == 2.5


def test_three_movers_move_together_and_nobody_else():
    def loss(params, variables, batch, key):
        return Loss(
            params["a"]["w"] * params["b"]["w"] * params["c"]["w"] * params["d"]["w"], {}, {}
        )

    players = {
        name: scalar_player(value) for name, value in zip("abcd", (1.0, 2.0, 3.0, 5.0), strict=True)
    }
    engine = Engine(make_game(players, (Stage((Turn(("a", "b", "c"), loss),), batch_size=2),)))
    state, metrics = play(engine, 1)
    values = {name: float(tree["w"]) for name, tree in state.params.items()}
    # All three gradients are taken at the same point, in one backward pass.
    assert values == {"a": 1 - 30.0, "b": 2 - 15.0, "c": 3 - 10.0, "d": 5.0}
    assert set(metrics["a+b+c"]) >= {"a+b+c/loss", "a+b+c/grad_norm_a", "a+b+c/grad_norm_c"}


def two_stages():
    """First `small` learns; on entering the second stage `large` starts from it, and learns on."""

    def small(params, variables, batch, key):
        return Loss(-params["small"]["w"] * jnp.mean(batch["image"]), {}, {})

    def large(params, variables, batch, key):
        noise = jax.random.normal(key)
        return Loss(-params["large"]["w"] * (jnp.mean(batch["image"]) + noise), {}, {})

    def enter(state, batch, key):
        copied = jax.tree.map(jnp.copy, state.params["small"])
        return state.replace(params={**state.params, "large": copied})

    return make_game(
        {"small": scalar_player(), "large": scalar_player(-7.0)},
        (
            Stage((Turn(("small",), small),), batch_size=4, until=3),
            Stage((Turn(("large",), large),), batch_size=2, enter=enter),
        ),
    )


def test_two_stages_with_warm_start_keep_the_shape_of_the_state():
    g = two_stages()
    engine = Engine(g)
    before = engine.init()
    shape = jax.tree.map(lambda x: (x.shape, x.dtype), before)
    state, _ = play(engine, 3, before, stream=batches(4))
    assert float(state.params["small"]["w"]) == 0 + 1 + 2
    assert float(state.params["large"]["w"]) == -7
    assert g.position(3) == (1, 0)
    state, _ = engine.round(state, 3, batches(2, start=10))
    assert float(state.params["small"]["w"]) == 3
    assert float(state.params["large"]["w"]) != -7
    assert abs(float(state.params["large"]["w"]) - 13) < 5  # 3, then 10 plus one standard normal
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == shape
    assert g.images(4) == 3 * 4 + 2


def test_a_stage_is_entered_with_the_batch_that_its_first_turn_then_plays_on():
    def enter(state, batch, key):
        measured = {"entry": {"mean": jnp.mean(batch["image"])}}
        return state.replace(variables={"critic": measured})

    player = Player(
        lambda key: {"params": {"w": jnp.float32(0)}, "entry": {"mean": jnp.float32(-1)}},
        optax.sgd(1.0),
    )
    g = make_game(
        {"critic": player},
        (
            Stage((Turn(("critic",), sees_mean),), batch_size=2, until=2),
            Stage((Turn(("critic",), sees_mean, repeat=2),), batch_size=2, enter=enter),
        ),
    )
    engine = Engine(g)
    state, _ = play(engine, 2)
    assert float(state.variables["critic"]["entry"]["mean"]) == -1
    state, _ = play(engine, 4, state, first=2, stream=batches(2, start=10))
    assert float(state.variables["critic"]["entry"]["mean"]) == 10
    # No batch is lost on entering, and none is seen twice: 0, 1, then 10 to 13.
    assert float(state.params["critic"]["w"]) == 0 + 1 + 10 + 11 + 12 + 13
    assert engine.traces()[(1, "enter")] == 1


def scaled_game(**fields):
    def generate(networks, key, num, labels, scale, sign):
        return jnp.full((num, 1), networks["critic"]["params"]["w"] * scale * (-1 if sign else 1))

    def transform(networks, key, batch):
        return batch["image"] + networks["critic"]["params"]["w"]

    stage = Stage((Turn(("critic",), sees_mean),), batch_size=8)
    options = {"scale": Option(2.0, "factor"), "sign": Option(False, "change the sign")}
    given = {"generate": generate, "options": options, "transform": transform}
    return Game({"critic": scalar_player(3.0)}, (stage,), sample_shape=(1,), **{**given, **fields})


def test_samples_take_the_games_options():
    engine = Engine(scaled_game())
    state, key = engine.init(), jax.random.key(0)
    assert engine.sample(state, key, 2).tolist() == [[6.0], [6.0]]
    assert engine.sample(state, key, 1, scale=4).tolist() == [[12.0]]
    assert engine.sample(state, key, 1, scale="4", sign="true").tolist() == [[-12.0]]
    with pytest.raises(ValueError, match=r"no option scal; did you mean scale\?"):
        engine.sample(state, key, 1, scal=1.0)


def test_a_game_transforms_batches_of_any_size():
    engine = Engine(scaled_game(generate=None, options={}), mesh=mesh_of(8))
    state, key = engine.init(), jax.random.key(0)
    for size in (1, 3):
        made = engine.transform(state, key, next(batches(size, start=4)))
        assert made.tolist() == [[7.0]] * size
    with pytest.raises(ValueError, match="makes pictures of examples only"):
        engine.sample(state, key, 1)


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_resume_is_bit_exact_before_at_and_in_the_middle_of_the_second_stage(stop):
    g = two_stages()

    def run(first, last, state):
        engine = Engine(g, seed=5)
        state = engine.init() if state is None else state
        for step in range(first, last):
            index, draws = g.position(step)
            state, _ = engine.round(state, step, batches(g.stages[index].batch_size, draws))
        return state

    whole = run(0, 7, None)
    kept = jax.device_get(run(0, stop, None))
    resumed = run(stop, 7, jax.tree.map(jnp.asarray, kept))
    chex.assert_trees_all_equal(jax.device_get(whole), jax.device_get(resumed))


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        # No bias: batch normalisation makes its gradient zero but for rounding, which Adam turns into full steps.
        x = nn.Dense(4, use_bias=False)(x)
        return nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)


def net_game(loss_scale=1.0, noise=False, **player):
    net = Net()

    def loss(params, variables, batch, key):
        y, new = net.apply(
            {"params": params["net"], **variables["net"]}, batch["image"], mutable=["batch_stats"]
        )
        if noise:
            y = y + jax.random.normal(key, y.shape)
        return Loss(loss_scale * jnp.mean((y - 1.0) ** 2), {"net": new}, {"mean": jnp.mean(y)})

    players = {
        "net": Player(lambda key: net.init(key, jnp.zeros((1, 3))), optax.adam(1e-2), **player)
    }

    def generate(networks, key, num, labels):
        return net.apply(networks["net"], jax.random.normal(key, (num, 3)), train=False)

    return Game(players, (Stage((Turn(("net",), loss),), batch_size=16),), generate, (4,))


def normal_batches(batch_size=16, start=0):
    for k in itertools.count(start):
        yield {"image": np.random.default_rng(k).normal(size=(batch_size, 3)).astype(np.float32)}


def test_ema_averages_weights_and_their_batch_statistics_alike():
    engine = Engine(net_game(ema_half_life_kimg=0.032))  # two rounds of 16 images
    state = engine.init()
    stream = normal_batches()
    average = None
    for step in range(6):
        live = {"params": state.params["net"], **state.variables["net"]}
        average = live if average is None else average
        average = jax.tree.map(np.asarray, average)
        state, _ = engine.round(state, step, stream)
        live = jax.tree.map(np.asarray, {"params": state.params["net"], **state.variables["net"]})
        average = jax.tree.map(lambda a, b: a * 0.5**0.5 + b * (1 - 0.5**0.5), average, live)
    chex.assert_trees_all_close(jax.device_get(state.ema["net"]), average, rtol=1e-5, atol=1e-7)
    # What is sampled from is the pair.
    chex.assert_trees_all_equal(state.networks()["net"], state.ema["net"])
    assert not np.allclose(
        state.networks()["net"]["batch_stats"]["BatchNorm_0"]["mean"],
        state.networks(ema=False)["net"]["batch_stats"]["BatchNorm_0"]["mean"],
    )
    key = jax.random.key(1)
    assert not np.allclose(engine.sample(state, key, 2), engine.sample(state, key, 2, ema=False))


def test_ema_ramp_up_forgets_the_start():
    engine = Engine(net_game(ema_half_life_kimg=1000.0, ema_ramp_up=0.05))
    state, _ = play(engine, 2, stream=normal_batches())
    # The first decay is 0 (no image seen), the second's half-life is 0.05 x 16 images: decay 2^-20.
    chex.assert_trees_all_close(
        state.ema["net"]["params"], state.params["net"], rtol=1e-4, atol=1e-5
    )


def linear_game():
    def loss(params, variables, batch, key):
        y = batch["image"] @ params["critic"]["w"]
        return Loss(jnp.mean((y - 1.0) ** 2), {}, {"y": jnp.mean(y)})

    player = Player(lambda key: {"params": {"w": jax.random.normal(key, (3, 1))}}, optax.adam(1e-2))
    return make_game({"critic": player}, (Stage((Turn(("critic",), loss),), batch_size=16),))


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_is_the_whole_batch_for_a_mean_loss(accumulate):
    whole, m1 = play(Engine(linear_game()), 5, stream=normal_batches())
    parts, m2 = play(Engine(linear_game(), accumulate=accumulate), 5, stream=normal_batches())
    chex.assert_trees_all_close(whole, parts, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(m1, m2, rtol=1e-5, atol=1e-6)


def test_accumulation_advances_variables_with_each_micro_batch():
    engine = Engine(net_game(), accumulate=4)
    state = engine.init()
    kernel = np.asarray(state.params["net"]["Dense_0"]["kernel"])
    batch = next(normal_batches())
    state, _ = engine.round(state, 0, iter([batch]))
    mean = np.zeros(4)
    for i in range(4):  # micro-batch i holds rows i, i + 4, ...
        mean = 0.5 * mean + 0.5 * (batch["image"][i::4] @ kernel).mean(0)
    stats = state.variables["net"]["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(stats, mean, rtol=1e-5, atol=1e-6)


def test_accumulation_in_a_loop_and_unrolled_agree(monkeypatch):
    """Off the CPU micro-batches are looped over; the numbers are the same."""
    unrolled, _ = play(Engine(net_game(noise=True), accumulate=4), 2, stream=normal_batches())
    scan = jax.lax.scan
    monkeypatch.setattr(jax.lax, "scan", lambda *a, unroll=1, **k: scan(*a, unroll=1, **k))
    looped, _ = play(Engine(net_game(noise=True), accumulate=4), 2, stream=normal_batches())
    chex.assert_trees_all_close(unrolled, looped, rtol=1e-5, atol=1e-6)


def test_no_retrace_after_the_first_round():
    engine = Engine(net_game(noise=True, ema_half_life_kimg=1.0))
    play(engine, 4, stream=normal_batches())
    assert engine.traces() == {(0, "net"): 1, (0, "close"): 1}


def test_state_is_donated():
    engine = Engine(net_game())
    state = engine.init()
    leaf = state.params["net"]["Dense_0"]["kernel"]
    engine.round(state, 0, normal_batches())
    assert leaf.is_deleted()


def test_randomness_is_a_function_of_seed_turn_and_step():
    a, _ = play(Engine(net_game(noise=True), seed=1), 3, stream=normal_batches())
    b, _ = play(Engine(net_game(noise=True), seed=1), 3, stream=normal_batches())
    c, _ = play(Engine(net_game(noise=True), seed=2), 3, stream=normal_batches())
    chex.assert_trees_all_equal(a, b)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(a.params, c.params)


def test_schedules_count_rounds_not_moves():
    schedule = lambda step: jnp.where(step < 2, 1.0, 0.0)  # noqa: E731
    player = dataclasses.replace(scalar_player(), optimizer=game_lib.scale_by_round(schedule))
    stage = Stage((Turn(("critic",), sees_mean, repeat=5),), batch_size=2)
    state, _ = play(Engine(make_game({"critic": player}, (stage,))), 4)
    assert float(state.params["critic"]["w"]) == sum(range(10))  # two rounds of five moves


def test_only_movers_are_differentiated():
    """The frozen player's loss may not even have a gradient."""

    @jax.custom_jvp
    def no_gradient(x):
        return x

    @no_gradient.defjvp
    def jvp(primals, tangents):
        raise AssertionError("differentiated with respect to a player that does not move")

    def loss(params, variables, batch, key):
        return Loss(params["a"]["w"] * no_gradient(params["b"]["w"]), {}, {})

    players = {"a": scalar_player(1.0), "b": scalar_player(2.0)}
    state, _ = play(Engine(make_game(players, (Stage((Turn(("a",), loss),), batch_size=2),))), 1)
    assert float(state.params["a"]["w"]) == -1


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Turn((), sees_mean), "has no players"),
        (lambda: Turn(("critic",), sees_mean, every=0), "must be at least 1"),
        (
            lambda: make_game(
                {"critic": scalar_player()}, (Stage((Turn(("criic",), sees_mean),), 2),)
            ),
            "turn 'criic' moves 'criic', which is no player of this game; the players are critic",
        ),
        (
            lambda: make_game(
                {"critic": dataclasses.replace(scalar_player(), optimizer=None)},
                (Stage((Turn(("critic",), sees_mean),), 2),),
            ),
            "moves 'critic', which has no optimizer",
        ),
        (
            lambda: make_game(
                {"critic": scalar_player()},
                (Stage((Turn(("critic",), sees_mean, fresh_batch=False),), 2),),
            ),
            "the first turn of stage 0 must draw a batch in every round",
        ),
        (
            lambda: make_game(
                {"critic": scalar_player()}, (Stage((Turn(("critic",), sees_mean),) * 2, 2),)
            ),
            "two turns of stage 0 have the same name",
        ),
        (
            lambda: make_game(
                {"critic": scalar_player()}, (Stage((Turn(("critic",), sees_mean),), 2),) * 2
            ),
            "stage 0 ends at until=None, but a stage before the last must end after round 0",
        ),
        (lambda: scaled_game(generate=None, transform=None), "needs `generate` or `transform`"),
    ],
)
def test_a_wrong_game_is_refused_by_a_sentence(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def mesh_of(count):
    return jax.make_mesh(
        (count,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:count]
    )


def test_a_batch_that_does_not_divide_is_refused_with_one_that_does():
    with pytest.raises(
        ValueError,
        match=r"the batch of 16 .* over 3 devices: set model.batch_size=15 or train.devices=1",
    ):
        Engine(net_game(), mesh=mesh_of(3)).check_batches()
    with pytest.raises(
        ValueError, match=r"over 32 devices times .*: set model.batch_size=32 or train.accumulate=2"
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
    nothing = dataclasses.replace(game, stages=(dataclasses.replace(stage, batch_size=0),))
    with pytest.raises(ValueError, match=r"model.batch_size is 0, but it must be at least 1"):
        Engine(nothing).check_batches()


def test_a_mesh_over_other_axes_is_refused():
    kinds = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((2,), ("model",), axis_types=kinds, devices=jax.devices()[:2])
    with pytest.raises(
        ValueError, match=r"axes \('model',\), but an engine splits .* data and fsdp"
    ):
        Engine(net_game(), mesh=mesh)


def test_devices_agree_on_a_game_with_batch_statistics_and_noise():
    one, _ = play(Engine(net_game(noise=True, ema_half_life_kimg=0.1)), 5, stream=normal_batches())
    eight, _ = play(
        Engine(net_game(noise=True, ema_half_life_kimg=0.1), mesh=mesh_of(8)),
        5,
        stream=normal_batches(),
    )
    chex.assert_trees_all_close(jax.device_get(one), jax.device_get(eight), rtol=1e-4, atol=1e-5)


def test_accumulation_on_eight_devices_is_accumulation_on_one():
    def run(mesh):
        engine = Engine(net_game(noise=True), mesh=mesh, accumulate=2)
        return jax.device_get(play(engine, 3, stream=normal_batches())[0])

    chex.assert_trees_all_close(run(mesh_of(1)), run(mesh_of(8)), rtol=1e-4, atol=1e-5)
