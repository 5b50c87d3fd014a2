"""`stylegan`: AdaIN by its equation, growth, losses by hand, parity with the reference."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery
from models.same_weights import by_rule
from models.written_out import check_turn, purpose

from jaxgan import config, losses, penalties, train
from jaxgan.engine import Engine
from jaxgan.models import stylegan
from jaxgan.nets.stylegan import StyledLayer
from jaxgan.spec import Field, Spec
from jaxgan.tools.latents import mix
from jaxgan.train.outputs import make_output


def picture(side, channels=3, classes=10):
    label = Field("label", number=classes)
    return Spec({"image": Field("image", (side, side, channels)), "label": label}, 1000)


GOLDEN = {
    ("stylegan", picture(32), ()): {"critic": 20_726_785, "generator": 22_841_356},
    # The published generator, in millions 26.2.
    ("stylegan", picture(1024), ()): {"critic": 23_087_249, "generator": 26_219_627},
    ("stylegan", picture(32), (("conditional", True),)): {
        # 9 more logits of 512 features and a bias; an embedding of 512 for each class, and as many further inputs.
        "critic": 20_726_785 + 9 * 513,
        "generator": 22_841_356 + 10 * 512 + 512 * 512,
    },
}

# Parity ------------------------------------------------------------------------------------------------------

WIDTH, BATCH, ALPHA = 8, 4, 0.3
PARITY = {
    "latent_dim": WIDTH,
    "style_dim": WIDTH,
    "mapping_layers": 2,
    "channel_base": 128,
    "channel_max": WIDTH,
}
# (level, alpha)
CASES = ((2, None), (2, ALPHA), (1, ALPHA), (0, None))


@functools.cache
def parity_game():
    """Levels of 4, 8 and 16 pixels."""
    return stylegan.game(stylegan.Options(**PARITY), picture(16))


def parity_variables():
    """{player: variables by rule}, with the same noise in both layers of a level and biases 0 in the first of them."""

    def of_player(name, player):
        def leaf(path, x):
            keys = [key.key for key in path]
            size = 0.3 if keys[-1] in ("bias", "noise_strength") else 1.0
            if keys[-2:] == ["layer0", "bias"]:
                size = 0.0
            if keys[0] == "noise":
                keys[-2] = "both"
            if keys[1] == "mapping" and keys[-1] == "kernel":
                size = 100.0  # its learning rate is 1/100
            if keys[-2:] == ["output", "kernel"]:
                size = 5.0  # so that R1 is a good part of the loss
            return np.float32(size) * by_rule(f"{name}/{'/'.join(keys)}", x.shape)

        shapes = jax.eval_shape(player.init, jax.random.key(0))
        return jax.tree_util.tree_map_with_path(leaf, shapes)

    return {name: of_player(name, player) for name, player in parity_game().players.items()}


def latent(name="latent"):
    return by_rule(name, (BATCH, WIDTH))


def real(level):
    side = 4 << level
    return np.tanh(by_rule(f"real{level}", (BATCH, side, side, 3)))


def tag(level, alpha):
    return f"{level}" if alpha is None else f"{level}_{alpha}"


@pytest.mark.slow
def test_the_reference_has_the_same_outputs_losses_and_gradients():
    """rosinality/style-based-gan-pytorch at 07fa60b, PyTorch 2.13, with levels of 4, 8 and 16 pixels of 8 channels.

    Its networks were given the variables of `parity_variables`, kernels and biases times what the two implementations
    scale them by. Its critic has the activation of the first layer (`from_rgb_activate`), its instance normalisation
    the epsilon 1e-8 in place of PyTorch's 1e-5. "mixed" are pictures of level 2
    whose level 1 has the style of another latent. Losses are those of `--loss r1`, with gamma = 10.
    """
    with np.load(Path(__file__).parent / "golden" / "stylegan.npz") as file:
        golden = dict(file)
    game, variables = parity_game(), parity_variables()
    generator, critic = (game.players[p].module for p in ("generator", "critic"))
    others = {name: x for name, x in variables["generator"].items() if name != "params"}

    def paint(params, level, alpha, mixed=False):
        given = {"params": params, **others}
        w = generator.apply(given, latent(), None, method="style")[:, None]
        w = jnp.broadcast_to(w, (BATCH, 6, WIDTH))
        if mixed:
            other = generator.apply(given, latent("other"), None, method="style")
            w = w.at[:, 2:4].set(other[:, None])
        return generator.apply(given, w, "constant", level, alpha, method="paint")

    def judge(params, pictures, level, alpha):
        return critic.apply({"params": params}, pictures, level, alpha)[:, 0]

    params = {player: variables[player]["params"] for player in variables}
    found = jax.jit(
        lambda params: {
            **{f"fake_{tag(*case)}": paint(params["generator"], *case) for case in CASES},
            **{
                f"logits_{tag(*case)}": judge(params["critic"], real(case[0]), *case)
                for case in CASES
            },
            "mixed": paint(params["generator"], 2, None, mixed=True),
        }
    )(params)
    for name, x in found.items():
        np.testing.assert_allclose(x, golden[name], rtol=1e-4, atol=1e-4, err_msg=name)
    last = (2, ALPHA)

    def critic_loss(of_critic):
        score = functools.partial(judge, of_critic, level=2, alpha=ALPHA)
        adversarial = losses.non_saturating.critic(score(real(2)), score(golden["fake_2_0.3"]))
        return adversarial + 10 * penalties.r1(score, real(2))

    def generator_loss(of_generator):
        return losses.non_saturating.generator(
            judge(params["critic"], paint(of_generator, *last), *last)
        )

    for player, loss in (("critic", critic_loss), ("generator", generator_loss)):
        value, slopes = jax.jit(jax.value_and_grad(loss))(params[player])
        np.testing.assert_allclose(value, golden[f"{player}_loss"], rtol=1e-4)
        compared = {
            jax.tree_util.keystr(path): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(slopes)
            if f"{player}{jax.tree_util.keystr(path)}" in golden
        }
        assert len(compared) == sum(name.startswith(f"{player}[") for name in golden)
        for path, leaf in compared.items():
            expected = golden[f"{player}{path}"]
            scale = np.abs(expected).max() + 1e-3
            np.testing.assert_allclose(leaf / scale, expected / scale, atol=1e-3, err_msg=path)


# AdaIN and the synthesis ---------------------------------------------------------------------------------------


def test_a_styled_layer_is_the_equation():
    """Eq. 1 after noise, bias and leaky ReLU; the noise map is the same for all channels, its strength is not."""
    layer, x, w = StyledLayer(), by_rule("x", (3, 5, 4, 2)), by_rule("w", (3, 7))
    variables = layer.init(jax.random.key(0), x, w, "constant")
    assert not variables["params"]["noise_strength"].any()
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: by_rule(jax.tree_util.keystr(path), leaf.shape), variables["params"]
    )
    noise = np.asarray(variables["noise"]["map"])
    y = x + params["noise_strength"] * noise[None, :, :, None] + params["bias"]
    y = np.where(y > 0, y, 0.2 * y)
    y = (y - y.mean(axis=(1, 2), keepdims=True)) / y.std(axis=(1, 2), keepdims=True)
    style = w @ params["style"]["kernel"] / np.sqrt(7) + params["style"]["bias"]
    expected = (1 + style[:, None, None, :2]) * y + style[:, None, None, 2:]
    given = {**variables, "params": params}
    np.testing.assert_allclose(layer.apply(given, x, w, "constant"), expected, rtol=1e-4, atol=1e-5)
    one, other = (
        layer.apply(given, x, w, "random", rngs={"noise": jax.random.key(k)}) for k in (1, 2)
    )
    assert (one != other).any(axis=(1, 2)).all()


def test_the_mean_and_deviation_of_a_channel_are_those_of_its_style():
    layer, x, w = StyledLayer(), 50 + 20 * by_rule("x", (3, 8, 8, 2)), by_rule("w", (3, 7))
    variables = layer.init(jax.random.key(0), x, w, "constant")
    y = np.asarray(layer.apply(variables, x, w, "constant"))
    style = np.asarray(w @ variables["params"]["style"]["kernel"] / np.sqrt(7))
    np.testing.assert_allclose(y.mean(axis=(1, 2)), style[:, 2:], atol=1e-4)
    np.testing.assert_allclose(y.std(axis=(1, 2)), np.abs(1 + style[:, :2]), rtol=1e-3, atol=1e-4)


def test_the_constant_is_ones_and_styles_start_near_1():
    variables = parity_game().players["generator"].init(jax.random.key(0))
    synthesis = variables["params"]["synthesis"]
    np.testing.assert_array_equal(synthesis["constant"], 1.0)
    for k in range(3):
        for layer in ("layer0", "layer1"):
            assert not synthesis[f"block{k}"][layer]["style"]["bias"].any()


# Training ------------------------------------------------------------------------------------------------------

TINY = picture(16, 1)
SMALL = {
    "latent_dim": 4, "style_dim": 4, "mapping_layers": 2, "channel_base": 64, "channel_max": 6,
    "mapping_lr_multiplier": 0.1, "fade_kimg": 0.024, "stable_kimg": 0.016, "learning_rate": 0.002,
}  # fmt: skip


def make(spec=TINY, **changes):
    """Rounds 0 and 1 train 8 x 8 pixels in batches of 8, rounds 2 to 7 fade 16 x 16 in in batches of 4."""
    options = {**SMALL, "batch_size": ((8, 8), (16, 4)), **changes}
    return stylegan.game(stylegan.Options(**options), spec)


@pytest.fixture(scope="module")
def started():
    engine = Engine(make(ema_half_life_kimg=0.05), seed=3)
    return engine, engine.init()


def test_growth_starts_at_8_pixels():
    """The published schedule, in kimg; all networks exist from the start."""
    phases = stylegan.phases_of(stylegan.Options(), picture(1024))
    assert [(p.resolution, p.fading) for p in phases[:4]] == [
        (8, False), (16, True), (16, False), (32, True),
    ]  # fmt: skip
    assert phases[-1].resolution == 1024
    found = {p.resolution: (p.batch_size, p.learning_rate) for p in phases}
    assert found == {
        8: (256, 0.001), 16: (128, 0.001), 32: (64, 0.001), 64: (32, 0.001), 128: (32, 0.0015),
        256: (32, 0.002), 512: (32, 0.003), 1024: (32, 0.003),
    }  # fmt: skip
    for phase in phases:
        assert 0 <= phase.rounds * phase.batch_size - 600_000 < phase.batch_size
    assert stylegan.phases_of(stylegan.Options(), picture(4))[0].resolution == 4
    assert stylegan.phases_of(stylegan.Options(), picture(28))[0].resolution == 14
    assert stylegan.phases_of(stylegan.Options(start_resolution=4), picture(8))[0].resolution == 4


@pytest.mark.slow
def test_adam_is_reset_when_a_level_is_added(started):
    engine, state = started
    entered = [stage.enter for stage in engine.game.stages]
    assert entered[0] is None
    assert entered[2] is None
    moved = jax.tree.map(lambda x: x + 1, state.opt_state)
    again = entered[1](state.replace(opt_state=moved), None)
    jax.tree.map(np.testing.assert_array_equal, again.opt_state, state.opt_state)


def test_the_average_does_not_depend_on_the_batch():
    """Half of the weights after 10 kimg, for rounds of any size."""
    average = parity_game().players["generator"].average
    clock = parity_game().clock(0)
    for batch in (32, 256):
        decay = float(average(clock, batch / 1000))
        np.testing.assert_allclose(decay ** (10_000 / batch), 0.5, rtol=1e-4)


def mixed_by_hand(key, num, active, layers=6):
    """Boolean [num, layers]."""
    place_key, share_key = jax.random.split(purpose(key, "mixing"))
    place = jax.random.randint(place_key, (num, 1), 1, active)
    assert int(place.max()) < active
    return (np.arange(layers)[None] >= place) & (jax.random.uniform(share_key, (num, 1)) < 0.9)


def logits(outputs, label):
    return outputs[:, 0] if label is None else outputs[jnp.arange(len(label)), label]


CASES_OF_LOSSES = [
    (1, 1, None, "r1", False),
    (4, 2, 1 / 3, "r1", True),
    (9, 2, None, "wgan_gp", False),
]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "level", "alpha", "loss", "conditional"), CASES_OF_LOSSES)
def test_losses_by_hand(step, level, alpha, loss, conditional):
    """Both turns of a round, and the mean of w that the generator's turn leaves."""
    engine = Engine(make(loss=loss, conditional=conditional, r1_gamma=4.0, penalty_weight=3.0))
    game = engine.game
    state = engine.init().replace(step=jnp.int32(step))
    index, _ = game.stage_at(step)
    stage = game.stages[index]
    data = battery.batch(TINY, index, stage, 0)
    shape = data["image"].shape
    data["image"] = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    num, key = shape[0], jax.random.key(7)
    generator, critic = (game.players[p].module for p in ("generator", "critic"))
    label = data["label"] if conditional else None
    real = data["image"].astype(np.float32) / 127.5 - 1
    if alpha is not None:
        small = real.reshape(num, 8, 2, 8, 2, 1).mean(axis=(2, 4)).repeat(2, 1).repeat(2, 2)
        real = (1 - alpha) * small + alpha * real
    z = jax.random.normal(purpose(key, "latent"), (2 * num, 4))
    layers = mixed_by_hand(key, num, 2 * (level + 1))

    def paint(params):
        given = {"params": params, **state.variables["generator"]}
        twice = None if label is None else jnp.repeat(label, 2)
        both = generator.apply(given, z, twice, method="style")
        one, other = both[0::2], both[1::2]
        rngs = {"noise": purpose(key, "noise")}
        w = mix(one, other, layers)
        return generator.apply(given, w, "random", level, alpha, method="paint", rngs=rngs), one

    def judge(params, pictures):
        return logits(critic.apply({"params": params}, pictures, level, alpha), label)

    def critic_loss(params):
        score = functools.partial(judge, params)
        fake = paint(state.params["generator"])[0]
        r, f = score(real), score(fake)
        metrics = {"real": jnp.mean(r), "fake": jnp.mean(f)}
        metrics["level"] = level if alpha is None else level - 1 + alpha
        if loss == "r1":
            slopes = jax.grad(lambda x: jnp.sum(score(x)))(real)
            metrics["r1"] = 4.0 / 2 * jnp.mean(jnp.sum(slopes**2, axis=(1, 2, 3)))
            value = jnp.mean(jax.nn.softplus(-r)) + jnp.mean(jax.nn.softplus(f))
            return value + metrics["r1"], ({}, metrics)
        share = jax.random.uniform(purpose(key, "penalty"), (num, 1, 1, 1))
        slopes = jax.grad(lambda x: jnp.sum(score(x)))(real + share * (fake - real))
        norms = jnp.sqrt(jnp.sum(slopes**2, axis=(1, 2, 3)))
        metrics |= {"penalty": 3.0 * jnp.mean((norms - 1) ** 2), "drift": 1e-3 * jnp.mean(r**2)}
        value = jnp.mean(f) - jnp.mean(r) + metrics["penalty"] + metrics["drift"]
        return value, ({}, metrics)

    def generator_loss(params):
        fake, w = paint(params)
        f = judge(state.params["critic"], fake)
        value = jnp.mean(jax.nn.softplus(-f)) if loss == "r1" else -jnp.mean(f)
        after = {**state.variables["generator"], "average": {"style": 0.005 * jnp.mean(w, axis=0)}}
        return value, (after, {})

    for turn, by_hand in zip(stage.turns, (critic_loss, generator_loss), strict=True):
        check_turn(engine, turn, state, data, key, by_hand)


def test_samples_have_full_size_and_are_truncated_towards_the_mean(started):
    engine, state = started
    key = jax.random.key(5)
    plain = make_output(engine, state, "samples", key, 4, noise="constant")
    assert plain.shape == (4, 16, 16, 1)
    # 8 x 8 pixels in the first stage.
    np.testing.assert_array_equal(plain, plain[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))
    none = make_output(engine, state, "samples", key, 4, noise="constant", truncation=0.0)
    assert np.ptp(none, axis=0).max() < 1e-6
    assert np.ptp(plain, axis=0).max() > 1e-3
    later = state.replace(step=jnp.int32(20))
    last = make_output(engine, later, "samples", key, 4, noise="constant")
    assert (last[:, ::2] != last[:, 1::2]).any()


@pytest.mark.slow
def test_tools_show_the_newest_level(started):
    engine, state = started
    assert set(engine.game.tools) == {"truncation", "mixing", "interpolation", "projection"}
    options = {"points": 2, "frames": 2, "truncation": 1.0}
    levels = []
    for step, alpha in ((0, None), (4, 1 / 3), (20, None)):
        film = train.make(
            engine, state.replace(step=jnp.int32(step)), "interpolation", options=options
        )
        made = film.pictures
        assert made.shape == (4, 16, 16, 1)
        levels.append(made)
        if alpha is not None:
            averaged = {
                **state.variables["generator"],
                "params": state.ema["generator"]["params"],
            }
            module = engine.game.players["generator"].module
            pictures = module.apply(
                averaged, film.arrays["w"], "constant", 2, alpha, method="paint"
            )
            np.testing.assert_allclose(made, np.clip(pictures, -1, 1), atol=1e-4)
    np.testing.assert_array_equal(levels[0][:, ::2], levels[0][:, 1::2])
    assert (levels[2][:, ::2] != levels[2][:, 1::2]).any()


def test_styles_of_fine_layers_change_no_coarse_ones():
    """The picture of level 0 does not depend on the styles of level 1 and above, the highest depends on all."""
    game, variables = parity_game(), parity_variables()["generator"]
    module = game.players["generator"].module
    w = by_rule("w", (2, 6, WIDTH))

    def paint(w, level):
        return module.apply(variables, w, "constant", level, None, method="paint")

    changed = w.copy()
    changed[:, 2:] += 1
    np.testing.assert_array_equal(paint(w, 0), paint(changed, 0))
    slopes = jax.jit(jax.grad(lambda w: jnp.sum(paint(w, 2) ** 2)))(w)
    assert (np.abs(slopes).max(axis=(0, 2)) > 1e-6).all()


@pytest.mark.slow
def test_trains_through_a_fade_and_resumes_bit_for_bit_within_it():
    engine, _ = battery.check_trains(make(ema_half_life_kimg=0.05), TINY, 9)
    battery.check_resume(engine, TINY, 4, 6)


@pytest.mark.slow
def test_eight_devices_do_the_same():
    # Biases before a normalisation have gradients that cancel.
    battery.check_devices(battery.descending(make(batch_size=16)), TINY, 3)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_recomputed_activations_change_neither_parameters_nor_gradients(stage):
    battery.check_remat(make(), make(remat=True), TINY, stage)


@pytest.mark.slow
def test_bfloat16_grows_for_300_rounds_without_nan():
    game = make(dtype="bfloat16", fade_kimg=0.4, stable_kimg=0.4)
    state, seen = battery.play(Engine(game, seed=3), TINY, 300)
    assert all(np.isfinite(value) for metrics in seen for value in metrics.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(battery.host(state)))


@pytest.mark.parametrize("name", [n for n in config.names() if n.startswith("stylegan_")])
def test_configs_train_until_the_last_level_is_grown(name):
    cfg = config.load(name)
    phases = stylegan.phases_of(cfg.model, picture(cfg.data.resolution or 32))
    assert cfg.train.steps >= sum(phase.rounds for phase in phases[:-1])


@pytest.mark.parametrize(
    ("spec", "changes", "text"),
    [
        (
            picture(100),
            {},
            "^stylegan makes square pictures of 4, 5, 6 or 7 times .* set data.resolution=128",
        ),
        (
            TINY,
            {"batch_size": ((16, 4),)},
            r"batch_size is \(\(16, 4\),\), but .* first of 8 pixels or fewer: set batch_size=\(\(8, 4\), \(16, 4\)\)",
        ),
        (Spec({"image": Field("image", (8, 8, 1))}, 9), {"conditional": True}, "has no labels"),
        (TINY, {"loss": "hinge"}, "loss is 'hinge', but it must be one of r1, wgan_gp"),
        (TINY, {"mixing": 2.0}, "mixing is 2.0, but it must be from 0 to 1: set mixing=1.0"),
        (TINY, {"start_resolution": 0}, "start_resolution is 0, but it must be at least 1"),
    ],
)
def test_options_and_data_that_do_not_fit_raise(spec, changes, text):
    battery.assert_refused(stylegan.game, stylegan.Options(**changes), spec, text)
