"""Outputs: rows, chunks and options, the same on any number of devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine.small import adds_mean, counting, make_game, mesh_of, nothing, number, same

from jaxgan import draws, train
from jaxgan.engine import Engine
from jaxgan.game import Output, Stage, Turn
from jaxgan.options import Option
from jaxgan.spec import Field, Spec
from jaxgan.train.outputs import make_output

SPEC = Spec({"image": Field("points", (1,)), "label": Field("label", number=5)}, 100)
KEY = jax.random.key(4)


def scaled(play, *, scale, sign, repeat):
    """w * scale, with a sign that is no traced value."""
    assert isinstance(sign, bool)
    assert isinstance(repeat, int)
    value = play.networks["critic"]() * scale * (-1 if sign else 1)
    return jnp.full((play.num, 1), value * repeat)


def noisy(play):
    """Latents, labels and the clock: 100 step + 10 label + noise."""
    latent = draws.normal(play.rng("latent"), (play.num, 1))
    row = jnp.asarray(play.batch["label"], jnp.float32)[:, None]
    return 100.0 * play.clock.step.astype(jnp.float32) + 10.0 * row + latent


def gained(play):
    return play.batch["image"] + play.networks["critic"]()


def replaced(play, *, shift):
    critic = play.networks["critic"]
    return {"critic": critic.replace(params={"w": critic.params["w"] + shift})}


def shifted(play, *, shift):
    return jnp.full((play.num, 1), play.networks["critic"]()) + 0.0 * shift


OPTIONS = {
    "scale": Option(2.0, "factor"),
    "sign": Option(False, "change the sign"),
    "repeat": Option(1, "how often the factor is applied", least=1),
}
OUTPUTS = {
    "samples": Output(scaled, (1,), options=OPTIONS),
    "noisy": Output(noisy, (1,), needs=("label",)),
    "transforms": Output(gained, (1,), needs=("image",)),
    "prepared": Output(
        shifted, (1,), options={"shift": Option(0.5, "added to the weight")}, prepare=replaced
    ),
}


def make_engine(devices=1, **fields):
    average = {"average": lambda clock, kimg: 0.5}
    stage = Stage((Turn(("critic",), adds_mean()),), 8)
    game = make_game({"critic": number(3.0, **average)}, (stage,), OUTPUTS, SPEC, **fields)
    return Engine(game, mesh=mesh_of(devices))


@pytest.fixture(scope="module")
def one():
    """(engine, state) on one device."""
    engine = make_engine()
    return engine, engine.init()


def labels(rows):
    return {"label": (rows % 5).astype(np.int32)}


# Options --------------------------------------------------------------------------------------------------


def test_options_have_defaults_and_are_read_from_text(one):
    engine, state = one
    made = [
        make_output(engine, state, "samples", KEY, 2, **options).tolist()
        for options in (
            {},
            {"scale": 4},
            {"scale": "4", "sign": "true"},
            {"repeat": 3, "scale": 0.5},
        )
    ]
    assert made == [[[6.0]] * 2, [[12.0]] * 2, [[-12.0]] * 2, [[4.5]] * 2]


def test_an_unknown_option_is_refused_with_the_one_that_was_meant(one):
    with pytest.raises(ValueError, match=r"there is no option scal; did you mean scale"):
        make_output(*one, "samples", KEY, 1, scal=1.0)


def test_a_new_float_compiles_nothing_and_a_new_static_value_does():
    engine = make_engine()
    state = engine.init()
    for scale in (1.0, 2.5, -3.0):
        assert make_output(engine, state, "samples", KEY, 1, scale=scale) == 3.0 * scale
        assert make_output(engine, state, "prepared", KEY, 1, shift=scale) == 3.0 + scale
    # Each output and the gathering of its rows, and the preparation of one.
    assert len(engine.traces()) == 5
    assert set(engine.traces().values()) == {1}
    make_output(engine, state, "samples", KEY, 1, repeat=2)
    assert len(engine.traces()) == 6
    assert set(engine.traces().values()) == {1}


# Rows -----------------------------------------------------------------------------------------------------


def test_rows_are_made_by_chunks_of_a_fixed_size_and_do_not_depend_on_the_devices(one):
    engine, state = one
    assert engine.chunk_rows("noisy") == 100
    parts = list(engine.make(state, "noisy", KEY, 250, labels))
    assert [len(part) for part in parts] == [100, 100, 50]
    whole = np.concatenate(parts)
    assert len(np.unique(whole)) == 250
    for devices in (2, 8):
        other = make_engine(devices)
        parts = list(other.make(other.init(), "noisy", KEY, 250, labels))
        assert [len(part) for part in parts] == {2: [200, 50], 8: [250]}[devices]
        assert same(np.concatenate(parts), whole)


def test_chunk_i_is_made_from_the_key_folded_with_i(one):
    engine, state = one
    play = dataclasses.replace(
        engine.play(state, next(counting(100)), jax.random.fold_in(KEY, 2)),
        batch=labels(np.arange(200, 300)),
    )
    whole = make_output(engine, state, "noisy", KEY, 250, labels)
    np.testing.assert_allclose(whole[200:], noisy(play)[:50], rtol=1e-6)


def test_fewer_rows_are_the_first_of_more(one):
    more, fewer = (make_output(*one, "noisy", KEY, num, labels) for num in (130, 7))
    assert same(more[:7], fewer)


def test_rows_are_a_function_of_the_key_and_of_the_clock(one):
    engine, state = one
    a, b = (make_output(engine, state, "noisy", jax.random.key(seed), 3, labels) for seed in (1, 2))
    assert not np.allclose(a, b)
    later = state.replace(step=jax.device_put(np.int32(2), engine.replicated))
    c = make_output(engine, later, "noisy", jax.random.key(1), 3, labels)
    np.testing.assert_allclose(c - a, 200.0, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ((2,), 100),
        ((32, 32, 3), 100),
        ((128, 128, 3), 32),
        ((256, 256, 1), 8),
        ((1024, 1024, 3), 4),
    ],
)
def test_a_chunk_has_fewer_rows_of_larger_pictures(shape, rows):
    stage = Stage((Turn(("critic",), adds_mean()),), 8)
    game = make_game({"critic": number()}, (stage,), {"samples": Output(nothing, shape)})
    assert Engine(game).chunk_rows("samples") == rows


# What is given --------------------------------------------------------------------------------------------


def test_fields_are_given_by_row_number_and_none_is_beyond_the_last(one):
    asked = []

    def given(rows):
        asked.extend(rows.tolist())
        return {"image": rows[:, None].astype(np.float32), **labels(rows)}

    made = make_output(*one, "transforms", KEY, 3, given)
    assert made.tolist() == [[3.0], [4.0], [5.0]]
    assert asked == [0, 1, 2] + [2] * 97


def test_a_field_that_is_not_given_is_named(one):
    for given in (None, lambda rows: {"image": np.zeros((len(rows), 1), np.float32)}):
        with pytest.raises(ValueError, match="the output 'noisy' needs 'label': give one row"):
            make_output(*one, "noisy", KEY, 2, given)


@pytest.mark.parametrize("devices", [1, 8])
def test_batches_of_any_size_are_transformed(devices):
    engine = make_engine(devices)
    state = engine.init()
    for size in (1, 3):
        made = train.outputs.transform(engine, state, next(counting(size, start=4)), KEY)
        assert made.tolist() == [[7.0]] * size


def test_an_output_is_given_decoded_pictures_and_a_chunk_keeps_them_as_stored(one):
    engine, state = one
    pictures = Spec({"image": Field("image", (1, 1, 1))}, 100)
    output = Output(gained, (1, 1, 1), needs=("image",))
    outputs = {"transforms": output}
    game = dataclasses.replace(engine.game, spec=pictures, outputs=outputs)
    engine = Engine(game, mesh=engine.mesh)
    levels = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)
    (chunk,) = engine.chunks(state, "transforms", KEY, 2, lambda rows: {"image": levels[rows % 2]})
    assert np.asarray(chunk.made)[:2].ravel().tolist() == [2.0, 4.0]
    assert chunk.given["image"].dtype == np.uint8
    assert chunk.given["image"][:2].tolist() == levels.tolist()


# Chunks ---------------------------------------------------------------------------------------------------


def distance(made, given, weights):
    return {"far": jnp.abs(made - weights * given["label"][:, None].astype(jnp.float32))}


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_chunks_are_seen_through_a_function_with_weights(devices):
    engine = make_engine(devices)
    state = engine.init()
    whole = make_output(engine, state, "noisy", KEY, 250, labels)
    found = {}
    for chunk in engine.chunks(
        state, "noisy", KEY, 250, labels, then=distance, weights=np.float32(10)
    ):
        assert chunk.made["far"].shape == (100, 1)
        assert len(chunk.made["far"].devices()) == 1
        for row, known, value in zip(chunk.rows, chunk.known, chunk.made["far"], strict=True):
            assert known == (row < 250)
            if known:
                found[int(row)] = float(value[0])
    assert sorted(found) == list(range(250))
    expected = np.abs(whole[:, 0] - 10 * (np.arange(250) % 5))
    np.testing.assert_allclose([found[row] for row in range(250)], expected, rtol=1e-4, atol=1e-5)


def test_other_weights_compile_nothing():
    engine = make_engine()
    state = engine.init()
    for weight in (1.0, 2.0):
        seen = {"then": distance, "weights": np.float32(weight)}
        list(engine.chunks(state, "noisy", KEY, 2, labels, **seen))
    assert list(engine.traces().values()) == [1]


# Networks -------------------------------------------------------------------------------------------------


def test_averaged_networks_are_used_where_they_are_kept():
    engine = make_engine()
    state, _ = engine.round(engine.init(), 0, counting(8, start=4))  # w is 7, its average 5
    made = [make_output(engine, state, "samples", KEY, 1, ema=ema).item() for ema in (True, False)]
    assert made == [10.0, 14.0]


@pytest.mark.parametrize("devices", [1, 8])
def test_networks_are_prepared_once_before_the_first_row(devices):
    calls = []

    def prepare(play, *, shift):
        calls.append(play.num)
        return replaced(play, shift=shift)

    output = dataclasses.replace(OUTPUTS["prepared"], prepare=prepare)
    game = dataclasses.replace(make_engine().game, outputs={"prepared": output})
    engine = Engine(game, mesh=mesh_of(devices))
    made = make_output(engine, engine.init(), "prepared", KEY, 1000, shift=1.5)
    assert np.unique(made).tolist() == [4.5]
    assert calls == [100]


def test_an_output_is_lowered_from_shapes_alone():
    spec = Spec(
        {
            "image": Field("image", (8, 8, 3)),
            "label": Field("label", number=10),
            "condition": Field("image", (8, 8, 1)),
        },
        100,
    )

    def painted(play, *, scale, sign):
        assert sign is True
        x = play.batch["condition"] * scale + play.networks["critic"]()
        return jnp.broadcast_to(x, (play.num, 8, 8, 3))

    options = {"scale": Option(1.0, "factor"), "sign": Option(False, "change the sign")}
    output = Output(painted, spec.shape, ("condition", "label"), options)
    stage = Stage((Turn(("critic",), adds_mean()),), 8)
    game = make_game({"critic": number()}, (stage,), {"samples": output}, spec)
    engine = Engine(game, mesh=mesh_of(8))
    text = engine.lower_output("samples", sign=True).as_text()
    assert "tensor<800x8x8x1xui8>" in text  # 100 rows on each device
    assert engine.traces() == dict.fromkeys(engine.traces(), 0)


def test_rows_of_another_shape_than_declared_are_refused():
    engine = make_engine()
    output = Output(lambda play: jnp.zeros((play.num, 2)), (1,))
    engine.game = dataclasses.replace(engine.game, outputs={"samples": output})
    with pytest.raises(
        ValueError,
        match=r"'samples' is declared with rows of shape \(1,\), so 100 rows have .* makes \(100, 2\)",
    ):
        make_output(engine, engine.init(), "samples", KEY, 3)
