"""Eight unlike procedures in small: trained without a second trace, resumed bit for bit, the same on devices."""

import dataclasses
import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine.small import far, host, mesh_of, same

from jaxgan.engine import Engine
from jaxgan.spec import Field, Spec
from jaxgan.train.outputs import make_output

TOYS = (
    *("biggan", "msggan", "progressive", "r3gan"),
    *("sngan", "spade", "stargan_v2", "stylegan"),
)
ROUNDS = {"progressive": 10, "r3gan": 3, "msggan": 3, "spade": 3}
# Rounds that are played on eight devices too; lists of scales and schedules do not depend on devices.
DEVICES = {
    "biggan": (0, 3),
    "progressive": (2, 6),  # while a level is faded in
    "sngan": (0, 3),
    "spade": (0, 3),
    "stargan_v2": (0, 3),
    "stylegan": (0, 3),
}
# A clock and stages; several domains and outputs. The others are marked slow.
QUICK = ("progressive", "stargan_v2")
PICTURE = Field("image", (8, 8, 3))
FIELDS = {"image": PICTURE, "label": Field("label", number=3)}
# Fields that only some procedures have.
FURTHER = {
    "spade": {"label_map": Field("label_map", (8, 8), 4)},
    "stargan_v2": {"target": FIELDS["label"], "reference": PICTURE, "second_reference": PICTURE},
}
SPECS = {toy: Spec({**FIELDS, **FURTHER.get(toy, {})}, 100) for toy in TOYS}


def rows(toy, num, seed, resolution=None):
    """`num` examples, with the fields that the toy's data has."""
    return SPECS[toy].at(resolution).random(num, np.random.default_rng(seed))


def batches(toy, game, step):
    """The batches of the stage of a round; a function of how many were drawn."""
    index, drawn = game.position(step)
    stage = game.stages[index]
    while True:
        yield rows(toy, stage.batch_size, (index, drawn), stage.resolution)
        drawn += 1


def play(engine, toy, state, start, end):
    metrics = {}
    for step in range(start, end):
        state, metrics = engine.round(state, step, batches(toy, engine.game, step))
    return state, metrics


@functools.cache
def engine_of(toy, devices=1, **changes):
    module = importlib.import_module(f"engine.toys.{toy}")
    return Engine(module.game(module.Options(**changes), SPECS[toy]), mesh=mesh_of(devices))


def on_devices(engine, state):
    return jax.device_put(state, engine.state_shardings)


def made(engine, toy, state, num=5, **options):
    """{output: rows}."""
    given = rows(toy, num, 99)
    return {
        name: make_output(
            engine,
            state,
            name,
            jax.random.key(3),
            num,
            lambda numbers, needs=output.needs: {need: given[need][numbers] for need in needs},
            **options,
        )
        for name, output in engine.game.outputs.items()
    }


@pytest.mark.parametrize(
    "toy",
    [pytest.param(t, marks=() if t in QUICK else pytest.mark.slow) for t in TOYS],
)
def test_a_procedure_trains_resumes_and_agrees_on_devices(toy):
    one, rounds = engine_of(toy), ROUNDS.get(toy, 4)
    start = host(one.init())
    half, _ = play(one, toy, on_devices(one, start), 0, rounds // 2)
    kept = host(half)
    whole, metrics = play(one, toy, half, rounds // 2, rounds)
    assert all(np.isfinite(x) for turn in metrics.values() for x in turn.values())
    whole = host(whole)
    # From a copy of the state's arrays alone.
    resumed, _ = play(one, toy, on_devices(one, kept), rounds // 2, rounds)
    assert same(whole, resumed)
    assert set(one.traces().values()) == {1}
    if toy in DEVICES:
        eight, (first, last) = engine_of(toy, 8), DEVICES[toy]
        before, after = (play(one, toy, on_devices(one, start), 0, n)[0] for n in (first, last))
        other, _ = play(eight, toy, on_devices(eight, host(before)), first, last)
        assert set(eight.traces().values()) == {1}
        assert far(after, other)[0] < 1e-5, far(after, other)
    for name, pictures in made(one, toy, on_devices(one, whole)).items():
        assert pictures.shape == (5, 8, 8, 3)
        assert np.isfinite(pictures).all(), name


def test_averages_follow_the_clock():
    """The half-life of one is a ramp by kimg, the other is a copy until its start."""
    engine = engine_of("r3gan")
    state = engine.init()
    average = host(state.ema["generator"]["params"])
    for step in range(10):
        state, _ = play(engine, "r3gan", state, step, step + 1)
        kimg = step * 8 / 1000
        half_life = 500 * (0.5 - 0.5 * np.cos(np.pi * min(kimg / 0.064, 1)))
        decay = 2.0 ** (-8 / max(half_life, 1e-5))
        average = jax.tree.map(
            lambda a, x, decay=decay: decay * a + (1 - decay) * x,
            average,
            host(state.params["generator"]),
        )
        assert far(average, state.ema["generator"]["params"])[0] < 1e-6
    assert 0.9 < decay < 1
    engine = engine_of("biggan")
    state = engine.init()
    for step in range(4):
        state, _ = play(engine, "biggan", state, step, step + 1)
        copied = same(state.ema["generator"]["params"], state.params["generator"])
        assert copied == (step * 16 / 1000 < 0.032), step


def test_schedules_reach_losses_and_optimisers():
    engine = engine_of("r3gan")
    start = host(engine.init())
    late = dataclasses.replace(start, step=np.int32(8))  # 64 images, where all ramps end
    found = []
    for state in (start, late):
        stream = batches("r3gan", engine.game, 0)
        after, metrics = engine.round(on_devices(engine, state), int(state.step), stream)
        moved = far(after.params["critic"], start.params["critic"])[0]
        second = float(np.max(jax.tree.leaves(after.opt_state["critic"][0].nu)[0]))
        found.append((float(metrics["critic"]["critic/r1"]), moved, second))
    early, late = np.array(found)
    # The same real pictures and weights at gamma 2 and 0.2.
    np.testing.assert_allclose(early[0] / late[0], 10.0, rtol=1e-4)
    # Adam's first step is the learning rate, whatever its betas.
    np.testing.assert_allclose([early[1], late[1]], [2e-4, 5e-5], rtol=0.01)
    # (1 - beta2) g^2 with beta2 0.9 and 0.99.
    assert early[2] > 5 * late[2] > 0


def test_u_moves_once_in_each_critics_turn_and_never_in_the_generators():
    engine = engine_of("sngan")
    critic, generator = engine.game.stages[0].turns
    state = host(engine.init())
    batch = engine.put(rows("sngan", 8, 0))

    def after(turn):
        program = engine.program(0, turn)
        return program(on_devices(engine, state), batch, engine.run_key, np.int32(0))[0].variables

    moved = after(critic)
    assert not same(moved["critic"], state.variables["critic"])
    assert same(moved["generator"], state.variables["generator"])
    moved = after(generator)
    assert same(moved["critic"], state.variables["critic"])
    assert not same(moved["generator"], state.variables["generator"])


def test_truncation_is_traced_and_standing_statistics_are_those_of_its_latents():
    engine = engine_of("biggan")
    state, _ = play(engine, "biggan", engine.init(), 0, 2)
    wide, narrow, tight, again = (
        made(engine, "biggan", state, truncation=t)["samples"] for t in (2.0, 0.5, 0.02, 0.5)
    )
    assert set(engine.traces().values()) == {1}
    assert same(narrow, again)
    assert np.std(tight, axis=0).mean() < 0.95 * np.std(wide, axis=0).mean()
    output = dataclasses.replace(engine.game.outputs["samples"], prepare=None)
    plain = Engine(dataclasses.replace(engine.game, outputs={"samples": output}))
    unprepared = made(plain, "biggan", state, truncation=0.5)["samples"]
    assert not np.allclose(unprepared, narrow, atol=1e-3)


def test_a_level_is_faded_in_by_the_clock_and_optimisers_start_anew():
    engine = engine_of("progressive")
    state, seen = engine.init(), []
    for step in range(8):
        clock = engine.game.clock(step)
        state, _ = play(engine, "progressive", state, step, step + 1)
        count = int(state.opt_state["critic"][0].count)
        seen.append((int(clock.stage), round(1000 * float(clock.stage_kimg)), count))
    # 4 pixels for 2 rounds of 16 images; fading for 4 of 8, with a new Adam; then it goes on.
    assert seen[:2] == [(0, 0, 1), (0, 16, 2)]
    assert seen[2:6] == [(1, 0, 1), (1, 8, 2), (1, 16, 3), (1, 24, 4)]
    assert seen[6:] == [(2, 0, 5), (2, 8, 6)]


def test_turns_are_lazy_and_state_is_set_by_losses():
    engine = engine_of("stylegan")
    state = engine.init()
    before = host(state.variables)
    state, first = play(engine, "stylegan", state, 0, 1)
    assert first.keys() == {"critic", "r1", "generator", "path"}
    for player, collection in (
        ("critic", "augmentation"),
        ("generator", "average"),
        ("generator", "path"),
    ):
        assert not same(before[player][collection], state.variables[player][collection])
    _, second = play(engine, "stylegan", state, 1, 2)
    assert second.keys() == {"critic", "generator"}


@pytest.mark.parametrize("conditioning", ["acgan", "contrastive", "multi_hinge"])
def test_conditioning_is_a_choice_of_head_and_terms(conditioning):
    """By shapes alone: test_turns.py has the numbers."""
    engine = engine_of("sngan", conditioning=conditioning)
    batch = jax.tree.map(jnp.asarray, rows("sngan", 8, 0))
    for turn in engine.game.stages[0].turns:

        def loss(state, key, turn=turn):
            return turn.loss(engine.play(state, batch, key))

        value, metrics = jax.eval_shape(loss, engine.state_shape, engine.key_shape)
        assert value.shape == metrics[conditioning].shape == ()


def test_an_output_names_what_it_needs():
    engine = engine_of("stargan_v2")
    with pytest.raises(
        ValueError, match="the output 'reference_guided' needs 'target': give one row"
    ):
        make_output(
            engine,
            engine.init(),
            "reference_guided",
            jax.random.key(0),
            2,
            lambda numbers: {"image": np.zeros((len(numbers), 8, 8, 3))},
        )
