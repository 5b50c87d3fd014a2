"""ProGAN: growth that nobody sees begin, levels that wait untouched, and the reference's numbers."""

import dataclasses
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery

from jaxgan import config, resample
from jaxgan.game import DataSpec, Engine
from jaxgan.models import progressive
from jaxgan.nets.growing import GrowingCritic, GrowingGenerator, blend
from jaxgan.train import Options as TrainOptions
from jaxgan.train import make_engine

TINY = DataSpec((8, 8, 1), 10, 1797)
SMALL = (("latent_dim", 8), ("channel_base", 64), ("channel_max", 8))

GOLDEN = {
    # Those of the paper's Table 2: 23.1 M each.
    ("progressive", DataSpec((1024, 1024, 3), None, 30_000), ()): {
        "critic": 23_087_249,
        "generator": 23_079_115,
    },
    ("progressive", DataSpec((32, 32, 3), 10, 50_000), ()): {
        "critic": 20_726_785,
        "generator": 20_719_628,
    },
    ("progressive", DataSpec((32, 32, 3), 10, 50_000), (("conditional", True),)): {
        "critic": 20_731_915,
        "generator": 20_801_548,
    },
    ("progressive", DataSpec((48, 48, 3), None, 1000), ()): {
        "critic": 25_969_665,
        "generator": 25_962_508,
    },
    (
        "progressive",
        DataSpec((16, 16, 1), 10, 1442),
        (("latent_dim", 64), ("channel_base", 512), ("channel_max", 64)),
    ): {"critic": 205_089, "generator": 204_259},
}


def tiny(**changes):
    """Rounds 0 and 1 train 4 x 4 pixels, 2 to 4 fade 8 x 8 in, the others train it."""
    options = {"batch_size": ((4, 8), (8, 16)), "fade_kimg": 0.048, "stable_kimg": 0.016} | changes
    return progressive.game(progressive.Options(**dict(SMALL), **options), TINY)


@dataclasses.dataclass
class Played:
    engine: Engine
    states: list  # before each round, and after the last
    metrics: list
    state: object  # the last, on the device


@pytest.fixture(scope="module")
def played():
    engine = Engine(tiny(), seed=3)
    state, states, metrics = engine.init(), [], []
    for step in range(7):
        states.append(battery.host(state))
        state, (seen,) = battery.play(engine, TINY, step + 1, first=step, state=state)
        metrics.append(seen)
    return Played(engine, [*states, battery.host(state)], metrics, state)


def on_device(engine, state):
    return jax.tree.map(
        lambda x, shape: jax.device_put(jnp.asarray(x), shape.sharding), state, engine.state_shape
    )


def changed(before, after):
    """Names of the layers of which any number differs."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
    return {path[0].key for (path, a), b in pairs if (a != b).any()}


def test_trains_finite_and_traces_each_stage_once(played):
    assert all(np.isfinite(value) for seen in played.metrics for value in seen.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(played.states[-1]))
    assert set(played.engine.traces().values()) == {1}
    assert {name[0] for name in played.engine.traces() if isinstance(name[0], int)} == {0, 1, 2}


def test_alpha_counts_images(played):
    """48 images of fading, 16 in a batch; the first batches of a level see nothing of it."""
    levels = [seen["critic/level"] for seen in played.metrics]
    np.testing.assert_allclose(levels, [0, 0, 0, 1 / 3, 2 / 3, 1, 1], rtol=1e-6)
    clocks = [state.variables["generator"]["growth"] for state in played.states]
    assert [int(clock["level"]) for clock in clocks] == [0, 0, 0, 1, 1, 1, 1, 1]
    assert [int(clock["images"]) for clock in clocks] == [0, 8, 16, 16, 32, 48, 48, 48]


def test_levels_wait_untouched_and_old_colours_rest(played):
    """What a stage has no use for does not move, not in one bit, nor do its moments."""
    first, small, fading, _, faded = (played.states[step] for step in (0, 2, 3, 4, 5))
    newest = {"critic": {"block1", "from_rgb1"}, "generator": {"block1", "to_rgb1"}}
    old = {"critic": {"from_rgb0"}, "generator": {"to_rgb0"}}
    for player, layers in newest.items():
        everything = set(first.params[player])
        assert changed(first.params[player], small.params[player]) == everything - layers
        adam = small.opt_state[player][0]
        for moment in (adam.mu, adam.nu):
            assert not any(leaf.any() for name in layers for leaf in jax.tree.leaves(moment[name]))
        assert changed(fading.params[player], faded.params[player]) == everything
        last = played.states[-1].params[player]
        assert changed(faded.params[player], last) == everything - old[player]


@pytest.mark.parametrize("at", [2, 3, 5])
def test_resumes_bit_for_bit_at_both_ends_of_a_fade_and_within(played, at):
    state = on_device(played.engine, played.states[at])
    state, _ = battery.play(played.engine, TINY, 7, first=at, state=state)
    jax.tree.map(np.testing.assert_array_equal, battery.host(state), played.states[-1])


def test_eight_devices_do_the_same(played):
    """The groups of the minibatch deviation are of the global batch."""
    engine = make_engine(played.engine.game, TrainOptions(devices=8), seed=3)
    state, metrics = battery.play(engine, TINY, 4)
    for one, eight in zip(played.metrics, metrics, strict=False):
        for name, value in one.items():
            np.testing.assert_allclose(eight[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    before = jax.tree.leaves(played.states[4].params)
    for one, eight in zip(before, jax.tree.leaves(battery.host(state).params), strict=True):
        assert np.linalg.norm(eight - one) <= 1e-4 * np.linalg.norm(one) + 1e-6


def test_a_level_begins_as_the_one_below_and_pictures_are_always_of_full_size(played):
    engine = played.engine
    before = played.states[2]
    grown = engine.game.stages[1].enter(on_device(engine, before), None, None)
    assert int(grown.variables["generator"]["growth"]["level"]) == 1
    key = jax.random.key(5)
    old, new = (np.asarray(engine.sample(on_device(engine, s), key, 6)) for s in (before, grown))
    np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(old, old[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))
    later = np.asarray(engine.sample(played.state, key, 6))
    assert later.shape == (6, 8, 8, 1)
    assert later.dtype == np.float32
    assert np.abs(later).max() <= 1
    assert (later[:, ::2] != later[:, 1::2]).any()


@pytest.mark.parametrize(
    ("reset", "entered"), [("fade", [True, False]), ("stage", [True, True]), ("never", [False] * 2)]
)
def test_adam_forgets_where_it_is_asked_to(played, reset, entered):
    stages = tiny(reset_optimizer=reset).stages
    assert stages[0].enter is None
    for stage, forgets in zip(stages[1:], entered, strict=True):
        state = played.states[2]
        if stage.enter is not None:
            state = stage.enter(state, None, None)
        for player in ("critic", "generator"):
            adam = state.opt_state[player][0]
            assert (int(adam.count) == 0) == forgets
            assert any(leaf.any() for leaf in jax.tree.leaves(adam.nu)) != forgets
        jax.tree.map(np.testing.assert_array_equal, state.params, played.states[2].params)


# The networks ------------------------------------------------------------------------------------------------------

FEATURES, LATENT, CHANNELS, BATCH, ALPHA = (6, 5, 4), 7, 3, 4, 0.3
GENERATOR, CRITIC = GrowingGenerator(4, FEATURES, CHANNELS), GrowingCritic(4, FEATURES)


def by_rule(name, shape, scale=1.0):
    normal = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    return (scale * normal).astype(np.float32)


def params(module, example):
    """Parameters that depend on their names alone."""

    def fill(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        scale = 0.3 if path[-1].key == "bias" else 1.0
        return by_rule(f"{type(module).__name__}/{name}", leaf.shape, scale)

    shapes = jax.eval_shape(lambda key: module.init(key, example, 2), jax.random.key(0))
    return jax.tree_util.tree_map_with_path(fill, shapes["params"])


@pytest.fixture(scope="module")
def networks():
    """The parameters of the generator and of the critic."""
    of_generator = params(GENERATOR, jnp.zeros((2, LATENT)))
    of_critic = params(CRITIC, jnp.zeros((2, 16, 16, CHANNELS)))
    return of_generator, of_critic


def make(params, level, alpha=None):
    return GENERATOR.apply({"params": params}, by_rule("latent", (BATCH, LATENT)), level, alpha)


def judge(params, picture, level, alpha=None):
    return CRITIC.apply({"params": params}, picture, level, alpha)


def real(level):
    return by_rule(f"real{level}", (BATCH, 4 << level, 4 << level, CHANNELS))


def close(ours, theirs, tolerance):
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def test_the_reference_has_the_same_outputs_losses_and_gradients(networks):
    """facebookresearch/pytorch_GAN_zoo at b75dee40918caabb4fe7ec561522717bf096a8cb, PyTorch 2.13.

    Its GNet and DNet were given the parameters of `params`: kernels times our gain / sqrt(2) (1/4 for the first layer),
    biases divided by its scale, which it multiplies them by, and the kernel of the deviation times sqrt(3 / 4), since
    its deviation of four is the unbiased one. Its alpha is one minus ours. The critic's step is its WGANGP criterion,
    `WGANGPGradientPenalty` and drift of weight 0.001, sums over the batch here divided by its size; the points between
    real and generated pictures are those of `jax.random.key(1)`. Its gradients are by our parameters.
    """
    of_generator, of_critic = networks
    with np.load(Path(__file__).parent / "golden" / "progressive.npz") as file:
        golden = dict(file)
    for level, alpha in ((0, None), (1, None), (1, ALPHA), (2, None), (2, ALPHA)):
        tag = f"{level}" if alpha is None else f"{level}_{alpha}"
        close(make(of_generator, level, alpha), golden[f"picture_{tag}"], 1e-5)
        if f"logits_{tag}" in golden:  # the reference does not blend the critic's level 1
            close(judge(of_critic, real(level), level, alpha), golden[f"logits_{tag}"], 1e-5)

    def critic_loss(of_critic):
        fake = make(of_generator, 2, ALPHA)
        return progressive.critic_objective(
            progressive.Options(),
            lambda x: judge(of_critic, x, 2, ALPHA),
            real(2),
            fake,
            jax.random.key(1),
        )

    def generator_loss(of_generator):
        return -jnp.mean(judge(of_critic, make(of_generator, 2, ALPHA), 2, ALPHA))

    (value, metrics), of_critic_loss = jax.jit(jax.value_and_grad(critic_loss, has_aux=True))(
        of_critic
    )
    for found, name in (
        (value, "critic_loss"),
        (metrics["penalty"], "penalty"),
        (metrics["drift"], "drift"),
    ):
        close(found, golden[name], 1e-4)
    value, of_generator_loss = jax.jit(jax.value_and_grad(generator_loss))(of_generator)
    close(value, golden["generator_loss"], 1e-4)
    compared = 0
    for player, gradient in (("critic", of_critic_loss), ("generator", of_generator_loss)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            name = f"{player}_gradient/{jax.tree_util.keystr(path, simple=True, separator='/')}"
            if name in golden:  # not the colours of level 0, which level 2 has no use for
                close(leaf, golden[name], 1e-3)
                compared += 1
            else:
                assert "rgb0" in name
                assert not leaf.any()
    assert compared == sum("gradient" in name for name in golden)


def test_at_alpha_0_nothing_has_changed_and_at_alpha_1_the_old_colours_do_not_matter(networks):
    """The boundary from a stable level to the fade of the next: pictures, logits and both gradients."""
    of_generator, of_critic = networks
    for level in (1, 2):
        old, new = make(of_generator, level - 1), make(of_generator, level, jnp.float32(0.0))
        np.testing.assert_array_equal(new, resample.upsample_nearest(old))
        picture = real(level)
        faded = blend(resample.upsample_nearest(resample.avg_pool(picture)), picture, 0.0)
        found = judge(of_critic, faded, level, jnp.float32(0.0))
        expected = judge(of_critic, resample.avg_pool(picture), level - 1)
        np.testing.assert_allclose(found, expected, rtol=1e-5)

        def loss(both, alpha, level=level):
            logits = judge(both["critic"], make(both["generator"], level, alpha), level, alpha)
            return jnp.sum(jnp.square(logits))

        gradient = jax.jit(jax.grad(loss))(
            {"critic": of_critic, "generator": of_generator}, jnp.float32(1.0)
        )
        for player, layer in (("critic", "from_rgb"), ("generator", "to_rgb")):
            assert not any(
                leaf.any() for leaf in jax.tree.leaves(gradient[player][f"{layer}{level - 1}"])
            )
            assert all(leaf.any() for leaf in jax.tree.leaves(gradient[player][f"{layer}{level}"]))


def test_the_length_of_a_latent_does_not_matter(networks):
    latent = by_rule("latent", (BATCH, LATENT))
    variables = {"params": networks[0]}
    close(GENERATOR.apply(variables, 3.0 * latent, 1), make(networks[0], 1), 1e-5)


@pytest.mark.parametrize("gamma", [1.0, 750.0])
def test_the_critics_loss_on_a_plane(gamma):
    """A critic of slope 3: lambda / gamma^2 (3 - gamma)^2, and the drift of real pictures alone."""
    options = progressive.Options(penalty_target=gamma)
    x, y = jnp.full((4, 2, 2, 1), 1.0), jnp.full((4, 2, 2, 1), 0.5)
    value, metrics = progressive.critic_objective(
        options, lambda x: 3.0 * x[:, 0, 0], x, y, jax.random.key(0)
    )
    penalty = 10.0 / gamma**2 * (3.0 - gamma) ** 2
    np.testing.assert_allclose(metrics["penalty"], penalty, rtol=1e-5)
    np.testing.assert_allclose(value, 1.5 - 3.0 + penalty + 0.001 * 9.0, rtol=1e-5)


def test_with_labels_both_players_classify():
    """AC-GAN: outputs beside the first are class logits; here the right class of two leads by 2."""
    outputs = jnp.array([[0.0, 2.0, 0.0], [0.0, 2.0, 0.0]])
    zero = jnp.zeros(2, jnp.int32)
    picture = jnp.zeros((2, 4, 4, 1))
    found = [
        progressive.critic_objective(
            progressive.Options(class_weight=0.5, penalty_weight=0.0),
            lambda x: outputs + 0.0 * x[:, 0, 0],
            picture,
            picture,
            jax.random.key(0),
            labels,
        )
        for labels in (None, (zero, zero), (zero, zero + 1))
    ]
    right, wrong = np.log1p(np.exp(-2.0)), np.log1p(np.exp(2.0))
    expected = [0.0, 0.5 * 2 * right, 0.5 * (right + wrong)]
    np.testing.assert_allclose([value for value, _ in found], expected, rtol=1e-5)
    assert "class" not in found[0][1]

    game = tiny(conditional=True)
    state = jax.eval_shape(Engine(game)._init, jax.random.key(0))
    for index, stage in enumerate(game.stages):
        batch = battery.batch(TINY, index, stage, 0)
        for turn in stage.turns:
            loss = jax.eval_shape(
                turn.loss, state.params, state.variables, batch, jax.random.key(0)
            )
            assert loss.metrics["class"].shape == loss.value.shape == ()


# Schedules, tools and sentences ------------------------------------------------------------------------------------


def test_the_papers_schedule():
    """Appendix A.1: 800 thousand images for each of 17 stages, in batches that fit its memory."""
    phases = progressive.growth(progressive.Options(), DataSpec((1024, 1024, 3), None, 30_000))
    assert [phase.resolution for phase in phases[::2]] == [4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert [phase.fading for phase in phases] == [False] + [True, False] * 8
    assert {phase.batch_size: phase.resolution for phase in reversed(phases)} == {
        16: 4,
        14: 256,
        6: 512,
        3: 1024,
    }
    for phase in phases:
        assert 0 <= phase.rounds * phase.batch_size - 800_000 < phase.batch_size


def test_learning_rates_follow_the_resolution():
    game = tiny(learning_rate=((8, 0.004), (4, 0.001)))
    update = game.players["critic"].optimizer.update
    gradient = {"w": jnp.ones(1)}
    state = game.players["critic"].optimizer.init(gradient)
    with jax.numpy_dtype_promotion("standard"):
        moves = [float(update(gradient, state, step=step)[0]["w"][0]) for step in (0, 1, 2, 9)]
    np.testing.assert_allclose(moves, [-0.001, -0.001, -0.004, -0.004], rtol=1e-5)


@pytest.mark.parametrize("side", [4, 7, 8, 10, 28, 48, 96, 160, 1024])
def test_sides_that_can_be_grown_to(side):
    phases = progressive.growth(progressive.Options(), DataSpec((side, side, 3), None, 9))
    assert phases[-1].resolution == side
    assert 4 <= phases[0].resolution <= 7
    assert len(phases) == 2 * phases[-1].level + 1


def test_tools_show_growth_and_a_film(played):
    tools, key = played.engine.game.tools, jax.random.key(0)
    networks = jax.tree.map(np.asarray, played.state.networks())
    grown = tools["growth"](networks, key, num=3)
    assert (grown.pictures.shape, grown.columns) == ((6, 8, 8, 1), 2)
    assert grown.numbers == {"resolution": 8}
    small, full = grown.pictures[::2], grown.pictures[1::2]
    np.testing.assert_array_equal(small, small[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))
    assert (full[:, ::2] != full[:, 1::2]).any()
    assert len(np.unique(full, axis=0)) == 3
    start = jax.tree.map(np.asarray, played.states[0].networks())
    assert tools["growth"](start, key, num=3).columns == 1

    film = tools["interpolation"](networks, key, points=2, frames=3)
    assert film.film
    assert film.pictures.shape == (6, 8, 8, 1)
    assert len(np.unique(film.pictures, axis=0)) == 6
    with pytest.raises(ValueError, match=r"^num is 0, but it must be at least 1: set num=1"):
        tools["growth"](networks, key, num=0)


@pytest.mark.parametrize(
    ("spec", "changes", "text"),
    [
        (
            DataSpec((100, 100, 3), None, 9),
            {},
            r"from 4, 5, 6 or 7 pixels by doubling, .* shape \(100, 100, 3\): set data.resolution=128",
        ),
        (DataSpec((2, 2, 3), None, 9), {}, "set data.resolution=4"),
        (DataSpec((32, 48, 3), None, 9), {}, "square pictures .*: set data.resolution=32"),
        (DataSpec((2,), 25, 9), {}, r"square pictures .* shape \(2,\)\.$"),
        (
            TINY,
            {"batch_size": ((8, 16),)},
            r"batch_size is \(\(8, 16\),\), but it must be one number, or pairs .* first of 4 pixels or fewer:"
            r" set batch_size=\(\(4, 16\), \(8, 16\)\)",
        ),
        (TINY, {"batch_size": ((4, 0),)}, r"\(\(4, 0\),\), but it must be at least 1"),
        (TINY, {"batch_size": ((4, 8), (4, 16))}, r"\(\(4, 8\), \(4, 16\)\), but .* different"),
        (TINY, {"batch_size": ((4, 2, 1),)}, r"a whole number or a tuple of \(whole number, wh"),
        (TINY, {"batch_size": ()}, "it needs at least one number"),
        (TINY, {"fade_kimg": 0.0}, "fade_kimg is 0.0, but it must be above 0: set fade_kimg=800"),
        (TINY, {"stable_kimg": -1.0}, "stable_kimg is -1.0, but it must"),
        (TINY, {"penalty_target": 0.0}, "penalty_target is 0.0, but it must be above 0"),
        (TINY, {"critic_steps": 0}, "critic_steps is 0, but it must be at least 1"),
        (TINY, {"reset_optimizer": "always"}, "is 'always', but it must be one of fade, stage, n"),
        (TINY, {"learning_rate": float("nan")}, "learning_rate is nan, but it must be finite"),
        (DataSpec((8, 8, 1), None, 9), {"conditional": True}, "the data gives no labels"),
        (TINY, {"dtype": "float16"}, "one of float32, bfloat16"),
    ],
)
def test_what_cannot_be_grown_is_refused_by_a_sentence(spec, changes, text):
    battery.refused(progressive.game, progressive.Options(**changes), spec, text)


@pytest.mark.parametrize("name", [n for n in config.names() if n.startswith("progressive_")])
def test_configs_train_until_the_last_level_is_grown(name):
    cfg = config.load(name)
    side = cfg.data.resolution or 32
    phases = progressive.growth(cfg.model, DataSpec((side, side, 3), 10, 1000))
    assert cfg.train.steps >= sum(phase.rounds for phase in phases)


@pytest.mark.slow
def test_bfloat16_grows_for_500_rounds_without_nan():
    game = tiny(dtype="bfloat16", conditional=True, fade_kimg=2.4, stable_kimg=1.6, batch_size=16)
    engine = Engine(game, seed=3)
    state, seen = battery.play(engine, TINY, 500)
    assert all(np.isfinite(value) for metrics in seen for value in metrics.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(battery.host(state)))
    assert seen[-1]["critic/level"] == 1
    assert set(engine.traces().values()) == {1}


@pytest.mark.parametrize("stage", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_recomputed_activations_change_neither_parameters_nor_gradients(stage):
    battery.check_remat(tiny(), tiny(remat=True), TINY, stage)
