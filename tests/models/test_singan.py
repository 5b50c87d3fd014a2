"""SinGAN: its pyramid, stages and losses, the reference implementation's numbers, and what is made with it."""

import zlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery

from jaxgan import draws
from jaxgan.adversarial import apply, decode
from jaxgan.game import DataSpec, Engine
from jaxgan.models import singan
from jaxgan.nets import singan as nets
from jaxgan.resample import resize_antialiased
from jaxgan.train import Options as TrainOptions
from jaxgan.train import make_engine

PAPER = DataSpec((188, 250, 3), None, 1)
# Of each scale's critic: 27 f + 3 (9 f^2) kernels, 8 f of four norms, 9 f + 1 of the output; the generator's has three.
CRITIC = {f: 27 * f * f + 44 * f + 1 for f in (32, 64)}
GENERATOR = {f: 27 * f * f + 62 * f + 3 for f in (32, 64)}
GOLDEN = {
    ("singan", PAPER, ()): {
        **{f"critic{n}": CRITIC[32 if n < 4 else 64] for n in range(8)},
        **{f"generator{n}": GENERATOR[32 if n < 4 else 64] for n in range(8)},
    },
    ("singan", DataSpec((53, 80, 3), None, 1), (("steps_per_scale", 300),)): {
        **{f"critic{n}": 29_057 for n in range(4)},
        **{f"generator{n}": 29_635 for n in range(4)},
    },
}

SPEC = DataSpec((16, 20, 3), None, 1)
TINY = {"features": 4, "min_size": 12, "steps_per_scale": 3, "batch_size": 8}


def make(spec=SPEC, **changes):
    return singan.game(singan.Options(**TINY | changes), spec)


def scale_of(state, n):
    return state.variables[f"generator{n}"]["scale"]


def whole(state, n, kind="generator"):
    """The network of a scale, as a tree."""
    return state.params[f"{kind}{n}"], state.variables[f"{kind}{n}"]["batch_stats"]


def same(one, other):
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), one, other)))


@pytest.fixture(scope="module")
def trained():
    """(engine, state at the end of the first scale, state in the middle of the second)."""
    engine, state = battery.check_trains(make(), SPEC, rounds=3)
    coarse = battery.host(state)
    state, seen = battery.play(engine, SPEC, 5, first=3, state=state)
    assert np.isfinite([value for metrics in seen for value in metrics.values()]).all()
    assert set(engine.traces().values()) == {1}
    return engine, coarse, battery.host(state)


# Geometry and networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "min_size", "scales"),
    [
        ((188, 250), 25, 8),
        ((167, 250), 25, 8),
        ((53, 80), 25, 4),
        ((25, 90), 25, 1),
        ((26, 26), 25, 2),
    ],
)
def test_the_pyramid_begins_at_the_smallest_side_and_ends_at_the_picture(size, min_size, scales):
    pyramid = nets.Pyramid.of(size, min_size, 0.75)
    shapes = pyramid.shapes(size)
    assert pyramid.scales == len(shapes) == scales
    assert min(shapes[0]) == min_size
    assert shapes[-1] == size
    if scales > 2:  # one scale more or less is further from the factor
        apart = [abs((min_size / min(size)) ** (1 / (scales - 1 + d)) - 0.75) for d in (0, -1, 1)]
        assert apart[0] == min(apart)
    for fine, coarse in zip(shapes[1:], shapes[:-1], strict=True):
        np.testing.assert_allclose(coarse, np.array(fine) * pyramid.factor, atol=1)


def test_a_logit_sees_a_patch_of_eleven_pixels():
    net = nets.PatchNet(4, 1)
    x = jax.random.normal(jax.random.key(0), (1, 25, 27, 3))
    variables = jax.jit(net.init)(jax.random.key(1), x)
    one = jax.jit(jax.value_and_grad(lambda x: net.apply(variables, x, train=False)[0, 6, 8, 0]))
    gradient = one(x)[1]
    assert jax.eval_shape(partial(net.apply, train=False), variables, x).shape == (1, 15, 17, 1)
    rows, columns = (np.flatnonzero(np.abs(gradient).sum(axes)) for axes in ((0, 2, 3), (0, 1, 3)))
    assert rows.tolist() == list(range(6, 17))
    assert columns.tolist() == list(range(8, 19))


def test_the_penalty_is_one_of_every_pixels_colour():
    real, fake = (jax.random.normal(jax.random.key(i), (2, 6, 5, 3)) for i in (0, 1))
    weight = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5, 3)), jnp.float32)
    norms = np.linalg.norm(weight, axis=-1)
    found = nets.patch_penalty(
        lambda x: jnp.einsum("bhwc,hwc->bhw", x, weight), real, fake, jax.random.key(2)
    )
    np.testing.assert_allclose(found, np.mean((norms - 1) ** 2), rtol=1e-5)
    flat = jax.grad(
        lambda s: nets.patch_penalty(lambda x: s * x * 0.0, real, fake, jax.random.key(2))
    )
    assert np.isfinite(flat(1.0))


# Training -------------------------------------------------------------------------------------------------


def test_the_coarsest_scale_keeps_the_picture_and_draws_one_fixed_noise(trained):
    _, coarse, state = trained
    scale = scale_of(coarse, 0)
    first = battery.batch(SPEC, 0, make().stages[0], 0)["image"][0]
    np.testing.assert_array_equal(scale["picture"], first)
    assert (scale["level"], scale["amplitude"]) == (0, 1)
    assert scale["noise"].shape == (12, 15, 1)
    for name in ("picture", "noise"):
        np.testing.assert_array_equal(scale[name], scale_of(state, 0)[name])


def test_what_lies_below_stands_still_bit_for_bit(trained):
    _, coarse, state = trained
    for kind in ("critic", "generator"):
        assert same(whole(coarse, 0, kind), whole(state, 0, kind))
        assert not same(whole(coarse, 1, kind), whole(state, 1, kind))


def entered(game, coarse):
    batch = battery.batch(SPEC, 1, game.stages[1], 0)
    return jax.jit(game.stages[1].enter)(coarse, batch, jax.random.key(0))


def test_a_scale_starts_from_the_last_ones_networks_where_they_fit(trained):
    _, coarse, _ = trained
    after = entered(make(), coarse)
    for kind in ("critic", "generator"):
        assert same(whole(after, 0, kind), whole(coarse, 0, kind))
        assert same(whole(after, 1, kind), whole(coarse, 0, kind))
        assert not same(whole(coarse, 1, kind), whole(coarse, 0, kind))
    wider = make(double_every=1)
    born = Engine(wider).init()
    assert same(whole(entered(wider, born), 1), whole(born, 1))


def test_the_amplitude_is_a_tenth_of_the_error_of_what_lies_below(trained):
    _, coarse, state = trained
    scale = scale_of(coarse, 0)
    generator = nets.Generator(TINY["features"])
    noise = np.pad(np.repeat(scale["noise"], 3, axis=-1), ((5, 5), (5, 5), (0, 0)))[None]
    network = coarse.networks()["generator0"]
    rebuilt = generator.apply(network, jnp.zeros((1, 12, 15, 3)), noise, train=False)
    below = nets.resize(rebuilt, (16, 20))
    real = scale["picture"] / np.float32(127.5) - 1
    after = entered(make(), coarse)
    np.testing.assert_allclose(scale_of(after, 1)["below"], below[0], atol=1e-5)
    error = np.sqrt(np.mean(np.square(below[0] - real)))
    np.testing.assert_allclose(scale_of(after, 1)["amplitude"], 0.1 * error, rtol=1e-5)
    assert scale_of(after, 1)["amplitude"] == scale_of(state, 1)["amplitude"]
    assert scale_of(after, 0)["level"] == scale_of(state, 0)["level"] == 1


def test_learning_rates_fall_to_a_tenth_in_the_last_fifth_of_each_scale():
    players = singan.game(singan.Options(), PAPER).players
    weight = {"w": jnp.ones(())}
    for n, rounds in ((0, (0, 1_599, 1_600, 1_999)), (3, (6_000, 7_599, 7_600, 7_999))):
        optimizer = players[f"generator{n}"].optimizer
        with jax.numpy_dtype_promotion("standard"):  # as the engine moves it
            steps = [
                optimizer.update(weight, optimizer.init(weight), weight, step=jnp.int32(t))[0]["w"]
                for t in rounds
            ]
        np.testing.assert_allclose(steps, [-5e-4, -5e-4, -5e-5, -5e-5], rtol=1e-4)


def on_device(engine, state):
    return jax.tree.map(
        lambda x, shape: jax.device_put(jnp.array(x), shape.sharding), state, engine.state_shape
    )


def test_resumes_in_the_middle_of_a_scale(trained):
    engine, coarse, state = trained
    halfway, _ = battery.play(engine, SPEC, 4, first=3, state=on_device(engine, coarse))
    again = on_device(engine, battery.host(halfway))
    again, _ = battery.play(engine, SPEC, 5, first=4, state=again)
    jax.tree.map(np.testing.assert_array_equal, battery.host(again), state)


def test_one_and_eight_devices_agree(trained):
    _, coarse, one = trained
    engine = make_engine(make(), TrainOptions(devices=8), seed=3)
    many, _ = battery.play(engine, SPEC, 5, first=3, state=on_device(engine, coarse))
    for name, params in one.params.items():
        a, b = (
            np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
            for tree in (params, battery.host(many).params[name])
        )
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(a), name
    np.testing.assert_allclose(
        scale_of(many, 1)["amplitude"], scale_of(one, 1)["amplitude"], rtol=1e-4
    )


@pytest.mark.slow
def test_bfloat16_trains_for_500_rounds():
    game = make(dtype="bfloat16", steps_per_scale=250, batch_size=1)
    battery.check_trains(game, SPEC, rounds=500)


# What is made with it -------------------------------------------------------------------------------------


def test_samples_and_reconstruction(trained):
    engine, _, state = trained
    samples = np.asarray(engine.sample(state, jax.random.key(0), 3))
    assert samples.shape == (3, 16, 20, 3)
    assert np.abs(samples).max() <= 1
    assert np.abs(samples[0] - samples[1]).max() > 1e-3
    # The first of more samples are the samples.
    np.testing.assert_allclose(engine.sample(state, jax.random.key(0), 2), samples[:2], atol=1e-5)
    batch = {"image": np.zeros((2, 16, 20, 3), np.uint8)}
    one, other = (np.asarray(engine.transform(state, jax.random.key(i), batch)) for i in (0, 1))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one[0], one[1])


def test_untrained_scales_only_enlarge(trained):
    engine, coarse, _ = trained
    ladder_networks = coarse.networks()
    made = np.asarray(engine.sample(coarse, jax.random.key(0), 1))
    assert scale_of(coarse, 0)["level"] == 0
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), 0)
    noise = jax.random.normal(key, (1, 12, 15, 1))
    noise = nets.border(jnp.broadcast_to(noise, (1, 12, 15, 3)))
    generator = nets.Generator(TINY["features"])
    image = generator.apply(
        ladder_networks["generator0"], jnp.zeros((1, 12, 15, 3)), noise, train=False
    )
    np.testing.assert_allclose(made, nets.resize(image, (16, 20)), atol=1e-5)


def test_a_sample_from_a_scale_begins_with_the_picture(trained):
    engine, _, state = trained
    made = np.asarray(engine.sample(state, jax.random.key(0), 1, scale_from=1, noise=0.0))
    networks = state.networks()
    picture = nets.resize(scale_of(state, 0)["picture"][None] / np.float32(127.5) - 1, (12, 15))
    image = nets.resize(picture, (16, 20))
    zeros = jnp.zeros((1, 26, 30, 3))
    expected = nets.Generator(TINY["features"]).apply(
        networks["generator1"], image, zeros, train=False
    )
    np.testing.assert_allclose(made, np.clip(expected, -1, 1), atol=1e-5)


@pytest.fixture(scope="module")
def tool(trained):
    engine, _, state = trained

    def call(name, pictures=None, **options):
        return engine.game.tools[name](state.networks(), jax.random.key(0), pictures, **options)

    return call


def test_samples_of_any_size(tool):
    assert tool("sample", num=2, height=0.5, width=2.5).pictures.shape == (2, 8, 50, 3)


def test_super_resolution_of_the_learnt_picture_and_of_another(tool):
    made = tool("super_resolution", factor=2.0)
    assert made.pictures.shape == (1, 32, 40, 3)
    assert made.numbers == {"enlarged_times": 2}  # log 2 / log (4 / 3) = 2.4
    other = tool("super_resolution", {"picture": np.zeros((9, 6, 3), np.float32)}, factor=1.5)
    assert other.pictures.shape == (1, 14, 9, 3)


def test_what_is_outside_of_the_mask_is_the_learnt_picture(trained, tool):
    learnt = scale_of(trained[2], 0)["picture"] / np.float32(127.5) - 1
    composite, mask = learnt.copy(), -np.ones((16, 20, 1), np.float32)
    composite[2:6, 3:7], mask[2:6, 3:7] = 0.5, 1
    pictures = {"picture": composite, "mask": mask}
    for name in ("harmonisation", "editing"):
        made = tool(name, pictures, scale=1, grow=1, blur=0.0).pictures
        changed = np.abs(made[0] - learnt).max(-1) > 1e-6
        assert changed[2:6, 3:7].any()
        changed[1:7, 2:8] = False
        assert not changed.any()
    free = tool("editing", {"picture": composite}, scale=1, num=2).pictures
    assert free.shape == (2, 16, 20, 3)
    assert (np.abs(free[0] - learnt).max(-1) > 1e-6).all()


def test_paint_to_image_may_first_take_the_colours_of_the_picture(tool):
    painting = {"picture": np.random.default_rng(0).uniform(-1, 1, (8, 10, 3)).astype(np.float32)}
    plain, quantised = (
        tool("paint_to_image", painting, noise=0.0, palette=p).pictures for p in (False, True)
    )
    assert plain.shape == quantised.shape == (1, 16, 20, 3)
    assert np.abs(plain - quantised).max() > 1e-3


def test_an_animation_rests_at_the_reconstruction_and_moves_from_it(trained, tool):
    engine, _, state = trained
    batch = {"image": np.zeros((1, 16, 20, 3), np.uint8)}
    rest = engine.transform(state, jax.random.key(0), batch)
    made = tool("animation", frames=3, start=0, alpha=1.0)
    assert made.film
    np.testing.assert_allclose(made.pictures, np.repeat(rest, 3, 0), atol=1e-5)
    moving = tool("animation", frames=3, start=0, alpha=0.1).pictures
    assert np.abs(moving[1] - moving[0]).max() > 1e-5


def test_noise_in_the_border_and_a_scale_of_few_colours(trained):
    game = make(noise_padding=True, paint_scale=1)
    engine = Engine(game)
    born = engine.init()
    learnt = {**scale_of(born, 0), "picture": jnp.array(scale_of(trained[1], 0)["picture"])}
    born.variables["generator0"]["scale"] = learnt
    state = entered(game, born)
    scale = jax.tree.map(np.asarray, scale_of(state, 1))
    colours = {tuple(c) for c in scale["palette"]}
    assert len(colours) == nets.COLOURS
    assert {tuple(c) for c in scale["below"].reshape(-1, 3)} <= colours
    assert scale_of(state, 0)["noise"].shape == (22, 25, 1)
    batch = battery.batch(SPEC, 1, game.stages[1], 0)
    for turn in game.stages[1].turns:
        loss = jax.eval_shape(turn.loss, state.params, state.variables, batch, jax.random.key(0))
        assert loss.value.shape == ()
    assert engine.sample(state, jax.random.key(0), 1).shape == (1, 16, 20, 3)


def test_a_mask_grows_by_a_disc_and_softens_to_its_edge():
    mask = -np.ones((21, 21), np.float32)
    mask[10, 10] = 1
    grown = np.asarray(nets.soften(mask, 3, 0.0))
    y, x = np.mgrid[-10:11, -10:11]
    np.testing.assert_array_equal(grown, (y**2 + x**2 <= 9).astype(np.float32))
    soft = np.asarray(nets.soften(mask, 3, 1.5))
    assert soft.max() <= 1
    assert (np.diff(soft[10, 10:]) <= 1e-6).all()
    np.testing.assert_allclose(nets.soften(np.ones((9, 9), np.float32), 1, 2.0), 1.0, rtol=1e-5)


def test_a_palette_finds_the_colours_there_are():
    colours = np.random.default_rng(0).uniform(-1, 1, (5, 3)).astype(np.float32)
    picture = colours[np.random.default_rng(1).integers(0, 5, (12, 13))]
    found = np.asarray(nets.palette(picture))
    order = [np.argmin(np.abs(found - c).sum(-1)) for c in colours]
    np.testing.assert_allclose(found[order], colours, atol=1e-5)
    np.testing.assert_allclose(nets.quantise(picture + 0.01, found), picture, atol=1e-5)


# Sentences ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "changes", "text"),
    [
        (
            DataSpec((16, 20, 3), None, 2),
            {},
            "learns one picture, and the data has 2 pictures: set data.name=picture",
        ),
        (DataSpec((2,), 25, 1), {}, "learns one picture, and the data has points"),
        (
            SPEC,
            {"min_size": 10},
            "min_size is 10, but it must be at least 11: set min_size=11",
        ),
        (
            SPEC,
            {"min_size": 17},
            "min_size is 17, but the picture has only 16 x 20 pixels: set min_size=16 or data.max_side=",
        ),
        (SPEC, {"scale_factor": 1.0}, "it must be from 0.1 to 0.95: set scale_factor=0.95"),
        (SPEC, {"steps_per_scale": 0}, "steps_per_scale is 0, but it must be at least 1"),
        (SPEC, {"decay_at": 1.5}, "decay_at is 1.5, but it must be from 0 to 1"),
        (SPEC, {"paint_scale": 2}, "paint_scale is 2, but the scales of this pyramid are 0 to 1"),
        (SPEC, {"dtype": "float16"}, "one of float32, bfloat16"),
    ],
)
def test_what_it_cannot_learn_is_refused_by_a_sentence(spec, changes, text):
    battery.refused(singan.game, singan.Options(**TINY | changes), spec, text)


def test_what_a_tool_cannot_make_is_refused_by_a_sentence(trained, tool):
    picture = {"picture": np.zeros((16, 20, 3), np.float32)}
    with pytest.raises(ValueError, match="scale is 2, but it must be from 1 to 1: set scale=1"):
        tool("editing", picture, scale=2)
    with pytest.raises(ValueError, match="start is 2, but it must be from 0 to 1"):
        tool("animation", start=2)
    with pytest.raises(
        ValueError, match="scale_from is 5, but it must be from 0 to 1: set scale_from=1"
    ):
        trained[0].sample(trained[2], jax.random.key(0), 1, scale_from=5)
    with pytest.raises(
        ValueError, match=r"the picture 'picture' has 1 channels and the picture that was learnt 3"
    ):
        tool("editing", {"picture": np.zeros((16, 20, 1), np.float32)})
    with pytest.raises(ValueError, match=r"factor is 1.0, but it must be above 1: set factor=4"):
        tool("super_resolution", factor=1.0)
    with pytest.raises(ValueError, match="frames is 0, but it must be at least 1"):
        tool("animation", frames=0, start=0)
    with pytest.raises(ValueError, match="num is 0, but it must be at least 1"):
        tool("sample", num=0)
    with pytest.raises(ValueError, match="num is -1, but it must be at least 1"):
        tool("editing", picture, num=-1)
    with pytest.raises(ValueError, match=r"height is 0.0, but it must be above 0"):
        tool("sample", height=0.0)
    with pytest.raises(
        ValueError, match=r"width is 1000000.0, but of .* that is 20,000,000 pixels"
    ):
        tool("sample", width=1e6)
    with pytest.raises(
        ValueError, match=r"factor is 1000000.0, but that makes more than 16,384 pixels"
    ):
        tool("super_resolution", factor=1e6)
    with pytest.raises(ValueError, match="grow is -1, but it must be at least 0"):
        tool("harmonisation", {**picture, "mask": picture["picture"]}, scale=1, grow=-1)
    with pytest.raises(ValueError, match="start is -1, but it must be from 0 to 1"):
        tool("animation", start=-1)


# Parity ---------------------------------------------------------------------------------------------------

PARITY = DataSpec((20, 26, 3), None, 1)
PARITY_OPTIONS = {"features": 6, "double_every": 2, "min_size": 12, "steps_per_scale": 1}
ALPHA = 0.3


def by_rule(name, shape):
    return np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape).astype(np.float32)


def ruled(game):
    """Parameters and variables of every player, all by rule."""

    def leaf(name, path, x):
        name = name + jax.tree_util.keystr(path)
        if x.dtype == jnp.uint8:
            return np.uint8(255 * (0.5 + 0.2 * by_rule(name, x.shape)).clip(0, 1))
        if "amplitude" in name:
            return np.float32(1.0 if name.startswith("generator0") else 0.1)
        if "['var']" in name:
            return np.exp(0.3 * by_rule(name, x.shape)) * 0.05
        if x.dtype == jnp.int32:
            return np.int32(2)
        small = 0.3 if "below" in name else 1.0 if "['noise']" in name else 0.12
        return small * by_rule(name, x.shape) + np.float32(name.endswith("['scale']"))

    params, variables = {}, {}
    for name, player in game.players.items():
        shapes = jax.eval_shape(player.init, jax.random.key(0))
        made = jax.tree_util.tree_map_with_path(partial(leaf, name), shapes)
        params[name] = made.pop("params")
        variables[name] = made
    return params, variables


def step_by_rule(monkeypatch, n):
    """Everything that one step of scale n computes, on weights and random numbers by rule, under golden's names."""
    monkeypatch.setattr(draws, "normal", lambda key, shape: jnp.asarray(by_rule("z", shape)))
    monkeypatch.setattr(draws, "uniform", lambda key, shape: jnp.full(shape, ALPHA))
    game = singan.game(singan.Options(**PARITY_OPTIONS), PARITY)
    params, variables = ruled(game)
    plain = nets.Generator.apply

    @jax.jit
    def everything(params, variables):
        batch = {"image": variables["generator0"]["scale"]["picture"][None]}
        seen = {}

        def watched(module, network, image, noise, **kwargs):
            made = plain(module, network, image, noise, **kwargs)
            if kwargs.get("mutable"):  # the generator in training
                seen.update({"image": image, "noise": noise, "fake": made[0]} | seen)
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nets.Generator, "apply", watched)
            game.stages[n].turns[0].loss(params, variables, batch, jax.random.key(0))
        for turn in game.stages[n].turns:
            (mover,) = turn.players

            def value(moving, turn=turn, mover=mover):
                loss = turn.loss({**params, mover: moving}, variables, batch, jax.random.key(0))
                return loss.value, loss.metrics

            (loss, metrics), gradient = jax.value_and_grad(value, has_aux=True)(params[mover])
            seen[f"{turn.name}_loss"] = loss
            seen |= {f"{turn.name}_{name}": x for name, x in metrics.items()}
            for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
                seen[f"{turn.name}_gradient{jax.tree_util.keystr(path)}"] = leaf
        seen["real"] = nets.resize(decode(batch["image"]), parity_shapes()[n])
        network = {"params": params[f"critic{n}"], **variables[f"critic{n}"]}
        seen["logits"], _ = apply(nets.PatchNet(game_width(n), 1), network, seen["real"])
        return seen

    seen = everything(params, variables)
    return {name: np.asarray(x) for name, x in seen.items()}, params, variables


def game_width(n):
    return PARITY_OPTIONS["features"] * 2 ** (n // PARITY_OPTIONS["double_every"])


def parity_shapes():
    return nets.Pyramid.of(PARITY.shape[:2], PARITY_OPTIONS["min_size"], 0.75).shapes(
        PARITY.shape[:2]
    )


@pytest.mark.parametrize("n", [0, 2])
def test_a_step_is_the_reference_implementations(monkeypatch, n):
    """Iheb96/SinGAN_InPainting at 16ddbaa, a fork of tamarott/SinGAN: its models, and its losses as it adds them up.

    Outputs, losses, the penalty and every gradient, by PyTorch 2.13 on the weights and numbers of `step_by_rule`; the
    biases that it has in front of batch normalisation were random there. To 1e-4 of the greatest value of each,
    gradients to 1e-3.
    """
    seen, _, _ = step_by_rule(monkeypatch, n)
    compared = 0
    for name, expected in reference(f"{n}/").items():
        share = 1e-3 if "gradient" in name else 1e-4
        tolerance = share * np.abs(expected).max()
        np.testing.assert_allclose(seen[name], expected, rtol=0, atol=tolerance, err_msg=name)
        compared += 1
    assert compared == 3 + 4 + 2 + 2 * 14


@pytest.mark.parametrize("way", ["up", "down"])
def test_pictures_change_size_as_the_reference_implementations_do(way):
    """Its `imresize`, without the rounding to 8 bits: inside, to rounding; at edges it mirrors where we leave out."""
    expected = reference("resize/")[way]
    found = resize_antialiased(by_rule("resized", (12, 15, 3))[None], expected.shape[:2])[0]
    np.testing.assert_allclose(found[3:-3, 3:-3], expected[3:-3, 3:-3], atol=1e-5)


def reference(prefix):
    with np.load(Path(__file__).parent / "golden" / "singan.npz") as golden:
        return {n.removeprefix(prefix): golden[n] for n in golden.files if n.startswith(prefix)}
