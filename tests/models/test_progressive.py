"""ProGAN: what changes in which stage, losses computed by hand, and parity with the reference."""

import dataclasses
import functools
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery

from jaxgan import config, growth, resample, train, turns
from jaxgan.engine import Engine
from jaxgan.game import Play, State
from jaxgan.models import progressive
from jaxgan.nets.growing import GrowingCritic, GrowingGenerator, blend
from jaxgan.nets.norm import pixel_norm
from jaxgan.spec import Field, Spec
from jaxgan.train import Options as TrainOptions
from jaxgan.train import make_engine
from jaxgan.train.outputs import make_output

TINY = Spec({"image": Field("image", (8, 8, 1)), "label": Field("label", number=10)}, 1797)
SMALL = (("latent_dim", 8), ("channel_base", 64), ("channel_max", 8))

GOLDEN = {
    # Those of the paper's Table 2: 23.1 M each.
    ("progressive", Spec({"image": Field("image", (1024, 1024, 3))}, 30_000), ()): {
        "critic": 23_087_249,
        "generator": 23_079_115,
    },
    (
        "progressive",
        Spec({"image": Field("image", (32, 32, 3)), "label": Field("label", number=10)}, 50_000),
        (),
    ): {
        "critic": 20_726_785,
        "generator": 20_719_628,
    },
    (
        "progressive",
        Spec({"image": Field("image", (32, 32, 3)), "label": Field("label", number=10)}, 50_000),
        (("conditional", True),),
    ): {
        "critic": 20_731_915,
        "generator": 20_801_548,
    },
    ("progressive", Spec({"image": Field("image", (48, 48, 3))}, 1000), ()): {
        "critic": 25_969_665,
        "generator": 25_962_508,
    },
    (
        "progressive",
        Spec({"image": Field("image", (16, 16, 1)), "label": Field("label", number=10)}, 1442),
        (("latent_dim", 64), ("channel_base", 512), ("channel_max", 64)),
    ): {"critic": 205_089, "generator": 204_259},
}


def tiny(**changes):
    """Rounds 0 and 1 train 4 x 4 pixels, rounds 2 to 4 fade 8 x 8 in, later rounds train it."""
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


def test_alpha_is_the_share_of_fade_images_seen_before_the_round(played):
    """48 images of fading in batches of 16."""
    levels = [seen["critic/level"] for seen in played.metrics]
    np.testing.assert_allclose(levels, [0, 0, 0, 1 / 3, 2 / 3, 1, 1], rtol=1e-6)


def test_alpha_counts_the_images_of_all_critic_steps():
    """Rounds of 2 x 16 images, of which 100 fade a level in; round 1 is the first that fades."""
    game = tiny(critic_steps=2, fade_kimg=0.1)
    assert [stage.until for stage in game.stages] == [1, 5, None]
    options = progressive.Options(fade_kimg=0.1)
    alphas = [float(growth.fade(options, game.clock(step))) for step in range(1, 5)]
    np.testing.assert_allclose(alphas, [0.0, 0.32, 0.64, 0.96], rtol=1e-6)


def test_layers_without_use_in_a_stage_do_not_change(played):
    """Neither their parameters nor their moments, not by one bit."""
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


def test_the_players_are_initialised_from_different_keys(played):
    kernels = [
        played.states[0].params[player]["block1"]["conv0"]["kernel"]
        for player in ("critic", "generator")
    ]
    assert kernels[0].shape == kernels[1].shape
    assert (kernels[0] != kernels[1]).all()


@pytest.mark.parametrize("at", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 5))])
def test_resumes_bit_for_bit_at_both_ends_of_a_fade_and_within(played, at):
    state = on_device(played.engine, played.states[at])
    state, _ = battery.play(played.engine, TINY, 7, first=at, state=state)
    jax.tree.map(np.testing.assert_array_equal, battery.host(state), played.states[-1])


@pytest.mark.slow
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


def test_a_level_begins_with_the_pictures_of_the_one_below(played):
    engine, state = played.engine, played.states[2]
    before, after = (state.replace(step=np.int32(step)) for step in (1, 2))
    old, new = (make_output(engine, s, "samples", jax.random.key(5), 6) for s in (before, after))
    np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(old, old[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize(("step", "level", "alpha"), [(1, 0, None), (3, 1, 1 / 3), (6, 1, None)])
def test_samples_are_pictures_of_the_newest_level_in_full_size(played, step, level, alpha):
    key = jax.random.key(5)
    made = make_output(
        played.engine, on_device(played.engine, played.states[step]), "samples", key, 6
    )
    assert (made.shape, made.dtype) == ((6, 8, 8, 1), np.float32)
    rows = played.engine.chunk_rows("samples")
    purpose = jax.random.fold_in(jax.random.fold_in(key, 0), zlib.crc32(b"latent"))
    latent = jax.random.normal(purpose, (rows, 8))[:6]
    averaged = {"params": played.states[step].ema["generator"]["params"]}
    generator = GrowingGenerator(4, (8, 8), 1)
    small = np.asarray(jax.jit(lambda v: generator.apply(v, latent, level, alpha))(averaged))
    full = small if level else small.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(made, np.clip(full, -1, 1), atol=1e-5)
    assert (made[:, ::2] != made[:, 1::2]).any() == bool(level)


def tiny_networks(classes):
    """(generator, critic, their parameters by name) of the games of `tiny`."""
    generator, critic = GrowingGenerator(4, (8, 8), 1), GrowingCritic(4, (8, 8), 1 + classes)
    weights = {
        "critic": params(critic, jnp.zeros((2, 8, 8, 1)), 1),
        "generator": params(generator, jnp.zeros((2, 8 + classes)), 1),
    }
    return generator, critic, weights


def test_samples_have_the_labels_that_are_given():
    game, (generator, _, weights) = tiny(conditional=True), tiny_networks(10)
    assert game.outputs["samples"].needs == ("label",)
    networks, label = game.bind(weights, {"critic": {}, "generator": {}}), jnp.array([3, 7])
    play = Play(networks, {"label": label}, jax.random.key(2), game.clock(3), 2)
    made = jax.jit(lambda: game.outputs["samples"].make(play))()
    latent = jax.random.normal(play.rng("latent"), (2, 8))
    inputs = jnp.concatenate([latent, jnp.eye(10)[label]], axis=1)
    expected = jax.jit(lambda v: generator.apply(v, inputs, 1, 1 / 3))(
        {"params": weights["generator"]}
    )
    np.testing.assert_allclose(made, jnp.clip(expected, -1, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("reset", "entered"), [("fade", [True, False]), ("stage", [True, True]), ("never", [False] * 2)]
)
def test_adam_is_reset_at_the_stages_that_the_option_names(played, reset, entered):
    stages = tiny(reset_optimizer=reset).stages
    assert stages[0].enter is None
    for stage, resets in zip(stages[1:], entered, strict=True):
        state = played.states[2]
        if stage.enter is not None:
            state = stage.enter(state, None)
        for player in ("critic", "generator"):
            adam = state.opt_state[player][0]
            assert (int(adam.count) == 0) == resets
            assert any(leaf.any() for leaf in jax.tree.leaves(adam.nu)) != resets
        jax.tree.map(np.testing.assert_array_equal, state.params, played.states[2].params)


# The networks ------------------------------------------------------------------------------------------------------

FEATURES, LATENT, CHANNELS, BATCH, ALPHA = (6, 5, 4), 7, 3, 4, 0.3
GENERATOR, CRITIC = GrowingGenerator(4, FEATURES, CHANNELS), GrowingCritic(4, FEATURES)


def by_rule(name, shape, scale=1.0):
    normal = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    return (scale * normal).astype(np.float32)


def params(module, example, top=2):
    """Parameters that depend on their names alone."""

    def fill(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        scale = 0.3 if path[-1].key == "bias" else 1.0
        return by_rule(f"{type(module).__name__}/{name}", leaf.shape, scale)

    shapes = jax.eval_shape(lambda key: module.init(key, example, top), jax.random.key(0))
    return jax.tree_util.tree_map_with_path(fill, shapes["params"])


@pytest.fixture(scope="module")
def networks():
    """The parameters of the generator and of the critic."""
    of_generator = params(GENERATOR, jnp.zeros((2, LATENT)))
    of_critic = params(CRITIC, jnp.zeros((2, 16, 16, CHANNELS)))
    return of_generator, of_critic


@functools.partial(jax.jit, static_argnums=2)
def paint(params, latent, level, alpha):
    return GENERATOR.apply({"params": params}, latent, level, alpha)


def make(params, level, alpha=None):
    return paint(params, by_rule("latent", (BATCH, LATENT)), level, alpha)


@functools.partial(jax.jit, static_argnums=2)
def judge(params, picture, level, alpha=None):
    return CRITIC.apply({"params": params}, picture, level, alpha)


def real(level):
    return by_rule(f"real{level}", (BATCH, 4 << level, 4 << level, CHANNELS))


class OneKey(Play):
    """A play whose key is the same for every purpose."""

    def rng(self, purpose):
        return self.key


def critic_sum(options, critic, real, fake):
    """(the critic's loss of given pictures, its terms), with `jax.random.key(1)` for the penalty."""
    play = OneKey({}, {}, jax.random.key(1), None, len(real))
    scene = turns.Scene(
        play,
        lambda pictures, given, purpose="": turns.CriticOutput(critic(pictures)),
        turns.Examples(jnp.asarray(real)),
        turns.Examples(fake),
    )
    terms = {name: term(scene) for name, term in progressive.critic_terms(options).items()}
    return sum(terms.values()), terms


def assert_close(ours, theirs, tolerance):
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
        # Half a digit of float32 in the parameters moves a few pixels by 1e-5, those whose features are normalised by a
        # small norm, and the others by 1e-7; processors round differently.
        pictures, expected = make(of_generator, level, alpha), golden[f"picture_{tag}"]
        assert_close(pictures, expected, 3e-5)
        assert np.abs(pictures - expected).mean() <= 1e-6 * np.abs(expected).max()
        if f"logits_{tag}" in golden:  # the reference does not blend the critic's level 1
            assert_close(judge(of_critic, real(level), level, alpha), golden[f"logits_{tag}"], 1e-5)

    def critic_loss(of_critic):
        return critic_sum(
            progressive.Options(),
            lambda x: judge(of_critic, x, 2, ALPHA)[:, 0],
            real(2),
            make(of_generator, 2, ALPHA),
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
        assert_close(found, golden[name], 1e-4)
    value, of_generator_loss = jax.jit(jax.value_and_grad(generator_loss))(of_generator)
    assert_close(value, golden["generator_loss"], 1e-4)
    compared = 0
    for player, gradient in (("critic", of_critic_loss), ("generator", of_generator_loss)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            name = f"{player}_gradient/{jax.tree_util.keystr(path, simple=True, separator='/')}"
            if name in golden:  # not the colours of level 0, which level 2 has no use for
                assert_close(leaf, golden[name], 1e-3)
                compared += 1
            else:
                assert "rgb0" in name
                assert not leaf.any()
    assert compared == sum("gradient" in name for name in golden)


def test_alpha_0_is_the_level_below_and_alpha_1_does_not_use_its_colours(networks):
    """Pictures and logits at both ends of a fade, and the gradients at its end."""
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
    assert_close(paint(networks[0], 3.0 * latent, 1, None), make(networks[0], 1), 1e-5)


def test_blending_and_pixel_norm_compute_in_float32():
    half = jnp.bfloat16
    # In bfloat16, 0.999 is 1 and the first picture would vanish.
    mixed = blend(jnp.full((1,), 100.0, half), jnp.zeros((1,), half), jnp.float32(0.999))
    np.testing.assert_allclose(np.float32(mixed), [0.1], rtol=1e-2)
    # Only the result is rounded, to 8 significant bits.
    old, new = (jnp.asarray(by_rule(name, (256,)), half) for name in ("old", "new"))
    mixed = np.float64(blend(old, new, jnp.float32(0.3)))
    exact = 0.7 * np.float64(old) + 0.3 * np.float64(new)
    np.testing.assert_allclose(mixed, exact, rtol=1.001 * 2.0**-8, atol=1e-6)
    x = jnp.asarray(by_rule("pixels", (64, 3)), half)
    squares = np.mean(np.square(np.asarray(x, np.float64)), axis=-1, keepdims=True)
    expected = x * jnp.asarray(1.0 / np.sqrt(squares), jnp.float32).astype(half)
    np.testing.assert_array_equal(np.float32(pixel_norm(x)), np.float32(expected))


# Losses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [1.0, 750.0])
def test_the_critics_loss_on_a_plane(gamma):
    """A critic of slope 3: lambda / gamma^2 (3 - gamma)^2, and the drift of real pictures alone."""
    x, y = jnp.full((4, 2, 2, 1), 1.0), jnp.full((4, 2, 2, 1), 0.5)
    options = progressive.Options(penalty_target=gamma)
    value, terms = critic_sum(options, lambda x: 3.0 * x[:, 0, 0, 0], x, y)
    penalty = 10.0 / gamma**2 * (3.0 - gamma) ** 2
    np.testing.assert_allclose(terms["penalty"], penalty, rtol=1e-5)
    np.testing.assert_allclose(value, 1.5 - 3.0 + penalty + 0.001 * 9.0, rtol=1e-5)


def cross_entropy(logits, label):
    """0 without classes."""
    if logits.shape[1] == 0:
        return 0.0
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(label)), label])


def critic_by_hand(outputs, real, fake, share, label, fake_label):
    """(the metrics of the critic, the generator's cross-entropy) at the options of `test_losses_by_hand`."""
    between = real + share * (fake - real)
    slopes = jax.grad(lambda x: jnp.sum(outputs(x)[:, 0]))(between)
    norms = jnp.sqrt(jnp.sum(slopes**2, axis=(1, 2, 3)))
    of_real, of_fake = outputs(real), outputs(fake)
    entropy = 0.7 * cross_entropy(of_fake[:, 1:], fake_label)
    return {
        "real": jnp.mean(of_real[:, 0]),
        "fake": jnp.mean(of_fake[:, 0]),
        "gap": jnp.mean(of_real[:, 0]) - jnp.mean(of_fake[:, 0]),
        "penalty": 5.0 / 4.0 * jnp.mean((norms - 2.0) ** 2),
        "drift": 0.1 * jnp.mean(of_real[:, 0] ** 2),
        "acgan": 0.7 * cross_entropy(of_real[:, 1:], label) + entropy,
    }, entropy


@pytest.mark.parametrize(
    ("step", "level", "alpha", "conditional"),
    [(1, 0, None, True), (3, 1, 1 / 3, True), (6, 1, None, False)],
)
def test_losses_by_hand(step, level, alpha, conditional):
    """Both turns at options that differ from the defaults; round 3 is the second that fades 8 x 8 pixels in."""
    game = tiny(
        batch_size=((4, 4), (8, 8)),
        critic_steps=2,
        penalty_weight=5.0,
        penalty_target=2.0,
        drift_weight=0.1,
        class_weight=0.7,
        conditional=conditional,
    )
    generator, critic, weights = tiny_networks(10 if conditional else 0)
    state = State(jnp.int32(step), weights, {}, {"critic": {}, "generator": {}}, {})
    index, _ = game.stage_at(step)
    batch = battery.batch(TINY, index, game.stages[index], 0)
    # Every pixel random: the pictures of `battery` are the same after halving and doubling.
    shape = batch["image"].shape
    batch["image"] = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    play = Engine(game).play(state, batch, jax.random.key(7))
    found = jax.jit(lambda: {turn.name: turn.loss(play) for turn in game.stages[index].turns})()

    num = len(batch["image"])
    latent = jax.random.normal(play.rng("latent"), (num, 8))
    label = jax.random.randint(play.rng("label"), (num,), 0, 10)
    assert (label != batch["label"]).any()
    if conditional:
        latent = jnp.concatenate([latent, jnp.eye(10)[label]], axis=1)
    real = batch["image"].astype(np.float32) / 127.5 - 1
    if alpha is not None:
        half = real.reshape(num, 4, 2, 4, 2, 1).mean(axis=(2, 4))
        real = (1 - alpha) * half.repeat(2, axis=1).repeat(2, axis=2) + alpha * real

    def outputs(pictures):
        return critic.apply({"params": weights["critic"]}, pictures, level, alpha)

    share = jax.random.uniform(play.rng("penalty"), (num, 1, 1, 1))

    @jax.jit
    def by_hand():
        fake = generator.apply({"params": weights["generator"]}, latent, level, alpha)
        return critic_by_hand(outputs, real, fake, share, batch["label"], label)

    expected, of_fakes = by_hand()
    total = expected["penalty"] + expected["drift"] + expected["acgan"] - expected["gap"]
    np.testing.assert_allclose(found["critic"].value, total, rtol=1e-4)
    np.testing.assert_allclose(found["generator"].value, of_fakes - expected["fake"], rtol=1e-4)
    expected["level"] = level if alpha is None else level - 1 + alpha
    if not conditional:
        del expected["acgan"]
    assert found["critic"].metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found["critic"].metrics[name], value, rtol=1e-4, err_msg=name)
    assert found["generator"].metrics.keys() == ({"acgan"} if conditional else set())


# Options, schedules, tools and messages ----------------------------------------------------------------------------


def test_the_papers_hyper_parameters():
    """Karras et al. 2018, Appendix A.1."""
    expected = {
        "latent_dim": 512,
        "channel_base": 16_384,  # 512 channels up to 32 pixels, 16 at 1024: Table 2
        "channel_max": 512,
        "batch_size": ((4, 16), (256, 14), (512, 6), (1024, 3)),
        "learning_rate": 0.001,
        "fade_kimg": 800.0,
        "stable_kimg": 800.0,
        "critic_steps": 1,
        "penalty_weight": 10.0,
        "penalty_target": 1.0,
        "drift_weight": 0.001,
        "beta1": 0.0,
        "beta2": 0.99,
        "ema_half_life_kimg": 11.1,  # 0.999 for each batch of 16
        "conditional": False,
        "dtype": "float32",
    }
    options = dataclasses.asdict(progressive.Options())
    assert {name: options[name] for name in expected} == expected
    game = progressive.game(
        progressive.Options(), Spec({"image": Field("image", (8, 8, 3))}, 30_000)
    )
    assert game.players["critic"].average is None
    decay = game.players["generator"].average(game.clock(0), game.stages[0].images_per_round / 1000)
    np.testing.assert_allclose(decay, 0.999, atol=1e-5)


def test_the_papers_schedule():
    """Appendix A.1: 800 thousand images for each of 17 stages, in batches that fit its memory."""
    phases = progressive.phases_of(
        progressive.Options(), Spec({"image": Field("image", (1024, 1024, 3))}, 30_000)
    )
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


def test_adam_by_hand_with_learning_rates_by_resolution():
    game = tiny(learning_rate=((8, 0.004), (4, 0.001)), beta1=0.3, beta2=0.8)
    adam = game.players["critic"].optimizer
    assert game.players["generator"].optimizer is adam
    state = adam.init({"w": jnp.zeros(1)})
    mean = square = 0.0
    for count, (step, gradient, rate) in enumerate(
        [(0, 1.0, 0.001), (1, -2.0, 0.001), (2, 0.5, 0.004), (9, 3.0, 0.004)], 1
    ):
        with jax.numpy_dtype_promotion("standard"):
            move, state = adam.update(
                {"w": jnp.array([gradient])}, state, None, clock=game.clock(step)
            )
        mean, square = 0.3 * mean + 0.7 * gradient, 0.8 * square + 0.2 * gradient**2
        expected = mean / (1 - 0.3**count) / (np.sqrt(square / (1 - 0.8**count)) + 1e-8)
        np.testing.assert_allclose(move["w"], [-rate * expected], rtol=1e-5)


@pytest.mark.parametrize("side", [4, 7, 8, 10, 28, 48, 96, 160, 1024])
def test_sides_that_can_be_grown_to(side):
    phases = progressive.phases_of(
        progressive.Options(), Spec({"image": Field("image", (side, side, 3))}, 9)
    )
    assert phases[-1].resolution == side
    assert 4 <= phases[0].resolution <= 7
    assert len(phases) == 2 * phases[-1].level + 1


def test_tools_show_growth_and_a_film(played):
    engine, state = played.engine, played.state
    grown = train.make(engine, state, "growth", options={"num": 3})
    assert (grown.pictures.shape, grown.columns) == ((6, 8, 8, 1), 2)
    assert grown.numbers == {"resolution": 8}
    small, full = grown.pictures[::2], grown.pictures[1::2]
    np.testing.assert_array_equal(small, small[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))
    assert (full[:, ::2] != full[:, 1::2]).any()
    assert len(np.unique(full, axis=0)) == 3
    first = train.make(engine, played.states[0], "growth", options={"num": 3})
    assert (first.columns, first.numbers) == (1, {"resolution": 4})

    walk = {"points": 2, "frames": 3}
    film = train.make(engine, state, "interpolation", options=walk)
    assert film.film
    assert film.pictures.shape == (6, 8, 8, 1)
    assert len(np.unique(film.pictures, axis=0)) == 6
    assert (film.pictures[:, ::2] != film.pictures[:, 1::2]).any()
    small = train.make(engine, played.states[0], "interpolation", options=walk).pictures
    np.testing.assert_array_equal(small[:, ::2], small[:, 1::2])
    with pytest.raises(ValueError, match=r"^num is 0, but it must be at least 1: set num=1"):
        train.make(engine, state, "growth", options={"num": 0})


@pytest.mark.parametrize(
    ("spec", "changes", "text"),
    [
        (
            Spec({"image": Field("image", (100, 100, 3))}, 9),
            {},
            r"of 4, 5, 6 or 7 times a power of two pixels, .* shape \(100, 100, 3\): set data.resolution=128",
        ),
        (Spec({"image": Field("image", (2, 2, 3))}, 9), {}, "set data.resolution=4"),
        (
            Spec({"image": Field("image", (32, 48, 3))}, 9),
            {},
            "square pictures .*: set data.resolution=32",
        ),
        (
            Spec({"image": Field("points", (2,)), "label": Field("label", number=25)}, 9),
            {},
            r"progressive needs a picture 'image' .* 'image' \(a point of 2 numbers\) and .*: set data.name=digits",
        ),
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
        (
            Spec({"image": Field("image", (8, 8, 1))}, 9),
            {"conditional": True},
            "the data has no labels",
        ),
        (TINY, {"dtype": "float16"}, "one of float32, bfloat16"),
    ],
)
def test_options_and_data_that_do_not_fit_raise(spec, changes, text):
    battery.assert_refused(progressive.game, progressive.Options(**changes), spec, text)


@pytest.mark.parametrize("name", [n for n in config.names() if n.startswith("progressive_")])
def test_configs_train_until_the_last_level_is_grown(name):
    cfg = config.load(name)
    side = cfg.data.resolution or 32
    phases = progressive.phases_of(
        cfg.model,
        Spec({"image": Field("image", (side, side, 3)), "label": Field("label", number=10)}, 1000),
    )
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


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_recomputed_activations_change_neither_parameters_nor_gradients(stage):
    turns = ("generator",) if stage == 1 else None  # its loss goes through both networks
    battery.check_remat(tiny(), tiny(remat=True), TINY, stage, turns)
