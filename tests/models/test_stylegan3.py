"""StyleGAN3: its parts against their formulas, and what defines it: pictures that move with the input."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery
from scipy import signal, special

from jaxgan import augment, equivariance, resample
from jaxgan.data.source import ArraySource
from jaxgan.game import Play
from jaxgan.metrics import protocols
from jaxgan.metrics.scores import SCORES, output_of
from jaxgan.metrics.summary import Summary
from jaxgan.models import stylegan2, stylegan3
from jaxgan.nets import stylegan3 as nets
from jaxgan.network import Network
from jaxgan.schedules import Clock
from jaxgan.spec import Field, Spec
from jaxgan.train.evaluation import make_evaluator, protocol_of
from jaxgan.train.outputs import balanced, make_output

pytestmark = pytest.mark.usefixtures("compiled_once")


def spec_of(side, channels=3, labels=0):
    fields = {"image": Field("image", (side, side, channels))}
    return Spec(fields | ({"label": Field("label", number=labels)} if labels else {}), 1000)


SPEC = spec_of(16, labels=3)
SMALL = stylegan3.Options(
    latent_dim=16,
    style_dim=16,
    layers=3,
    critical_layers=1,
    margin=4,
    critic_mapping_layers=2,
    channel_base=128,
    channel_max=16,
    batch_size=8,
    r1_every=2,
    augmentation_groups="b",
    augmentation_rise_kimg=0.1,
)


def make(spec=SPEC, **changes):
    return stylegan3.game(dataclasses.replace(SMALL, **changes), spec)


# The generator's of the published configurations. The critic is StyleGAN2's.
GOLDEN = {
    ("stylegan3", spec_of(1024), ()): {"critic": 29_012_513, "generator": 22_313_167},
    ("stylegan3", spec_of(256), (("channel_base", 16_384),)): {
        "critic": 24_001_089,
        "generator": 23_320_443,
    },
    ("stylegan3", spec_of(256), (("channel_base", 16_384), ("configuration", "R"))): {
        "critic": 24_001_089,
        "generator": 15_779_565,
    },
    ("stylegan3", spec_of(1024), (("configuration", "R"),)): {
        "critic": 29_012_513,
        "generator": 15_093_151,
    },
}


# Layers against their formulas -------------------------------------------------------------------------------------


def test_the_schedule_is_that_of_the_paper():
    """The table for 256 pixels, and the channels at 1024."""
    found = nets.schedule(256, 14, 2, 10, 16_384, 512, 3)
    assert [s.rate for s in found] == [16] * 3 + [32] * 2 + [64] * 2 + [128] * 3 + [256] * 5
    cutoffs = [2, 2.83, 4, 5.66, 8, 11.3, 16, 22.6, 32, 45.3, 64, 90.5, 128, 128, 128]
    np.testing.assert_allclose([s.cutoff for s in found], cutoffs, rtol=5e-3)
    sizes = [36] * 3 + [52] * 2 + [84] * 2 + [148] * 3 + [276] * 3 + [256] * 2
    assert [s.size for s in found] == sizes
    channels = [512] * 7 + [362, 256, 181, 128, 91, 64, 64, 3]
    assert [s.channels for s in found] == channels
    for i, s in enumerate(found):
        stop = 2**2.1 * (128 * 2**0.3 / 2**2.1) ** min(i / 12, 1)
        np.testing.assert_allclose(s.cutoff + s.half_width, max(stop, s.rate / 2))
    wide = nets.schedule(1024, 14, 2, 10, 32_768, 512, 3)
    assert [s.channels for s in wide] == [512] * 7 + [323, 203, 128, 81, 51, 32, 32, 3]


@pytest.mark.parametrize("radial", [False, True])
def test_filters_are_scipys(radial):
    """Of a layer that doubles the rate, with the incoming and the outgoing signal's bandwidth."""
    source, target = nets.schedule(256, 14, 2, 10, 16_384, 512, 3)[2:4]
    found = nets.filters(source, target, radial, False)
    assert (found.up, found.down, source.rate, target.rate) == (4, 2, 16, 32)
    up = signal.firwin(24, source.cutoff, width=2 * source.half_width, fs=64)
    np.testing.assert_allclose(found.up_kernel, up, atol=1e-6)
    down = signal.firwin(12, target.cutoff, width=2 * target.half_width, fs=64)
    if radial:
        beta = signal.kaiser_beta(signal.kaiser_atten(12, 2 * target.half_width / 32))
        window = np.kaiser(12, beta)
        at = (np.arange(12) - 5.5) / 64
        r = np.hypot(at[:, None], at[None])
        down = special.j1(2 * np.pi * target.cutoff * r) / r * np.outer(window, window)
        down /= down.sum()
    np.testing.assert_allclose(found.down_kernel, down, atol=1e-6)


@pytest.mark.parametrize("radial", [False, True])
def test_filtered_leaky_relu_is_scipys_up_and_down_sampling(radial):
    """In two dimensions, with the padding that keeps the centre: output p of size n' is at the input's p."""
    source = nets.Signal(8, 3.0, 1.5, 14, 2)
    target = nets.Signal(16, 5.0, 3.5, 20, 2)
    found = nets.filters(source, target, radial, False)
    x = np.random.default_rng(0).normal(size=(1, 14, 14, 2))
    y = nets.filtered_leaky_relu(jnp.asarray(x, jnp.float32), found, 20)
    up2 = np.outer(found.up_kernel, found.up_kernel) * found.up**2
    down2 = found.down_kernel if radial else np.outer(found.down_kernel, found.down_kernel)
    for c in range(2):
        spaced = np.zeros((56, 56))
        spaced[::4, ::4] = x[0, :, :, c]
        fine = signal.convolve2d(spaced, up2)
        fine = np.where(fine > 0, fine, 0.2 * fine) * np.sqrt(2)
        whole = signal.convolve2d(np.pad(fine, 40), down2)
        # Sample p of the input is at fine place 4 p + 11.5, that of the output at 2 p + 11.5 after the filter's 5.5.
        centre = 40 + 4 * 6.5 + 11.5 + 5.5
        first = centre - 2 * 9.5
        assert first == int(first)
        expected = whole[int(first) :: 2, int(first) :: 2][:20, :20]
        np.testing.assert_allclose(y[0, :, :, c], expected, atol=2e-5)


def test_a_constant_passes_through_the_nonlinearity():
    """Up and down sampling have a gain of 1."""
    source = nets.Signal(16, 4.0, 4.0, 40, 1)
    found = nets.filters(source, source, False, False)
    for value, expected in ((0.7, 0.7), (-0.7, -0.14)):
        y = nets.filtered_leaky_relu(jnp.full((1, 40, 40, 1), value), found, 20)
        np.testing.assert_allclose(y, np.sqrt(2) * expected, rtol=5e-3)


def test_input_is_the_formula(key):
    source = nets.Signal(16, 2.0, 6.0, 20, 5)
    module = nets.FourierInput(source)
    w = jax.random.normal(key, (2, 4))
    rng = np.random.default_rng(0)
    turn = 0.3
    move = np.array([[np.cos(turn), -np.sin(turn), 0.1], [np.sin(turn), np.cos(turn), -0.2]])
    transform = jnp.asarray(np.stack([move, 1.4 * move]), jnp.float32)
    variables = module.init(key, w, None)
    kernel = rng.normal(size=(4, 4))
    params = {**variables["params"], "transform_kernel": jnp.asarray(kernel, jnp.float32)}
    found = module.apply({**variables, "params": params}, w, transform)

    frequencies = np.float64(variables["fourier"]["frequencies"])
    phases = np.float64(variables["fourier"]["phases"])
    t = np.float64(w) @ kernel / 2 + [1, 0, 0, 0]
    t /= np.hypot(t[:, 0], t[:, 1])[:, None]
    at = (np.arange(20) + 0.5 - 10) / 16
    points = np.stack(np.meshgrid(at, at), axis=-1)  # (x, y) of rows and columns
    for b, scale in enumerate((1.0, 1.4)):
        p = points @ (scale * move[:, :2]).T + scale * move[:, 2] - t[b, 2:]
        p = p @ np.array([[t[b, 0], -t[b, 1]], [t[b, 1], t[b, 0]]]).T
        x = np.sin(2 * np.pi * (p @ frequencies.T + phases))
        above = scale * np.linalg.norm(frequencies, axis=1) - 2
        x = x * np.clip(1 - above / 6, 0, 1)
        np.testing.assert_allclose(
            found[b], x @ np.float64(params["kernel"]) / np.sqrt(5), atol=2e-4
        )
    # A style does not move it at the start, and a translation moves the signal to the right.
    np.testing.assert_array_equal(
        module.apply(variables, w, None)[0], module.apply(variables, w, None)[1]
    )
    right = module.apply(variables, w[:1], nets.translation(jnp.array([[2 / 16, 0.0]])))
    np.testing.assert_allclose(
        right[:, :, 2:], module.apply(variables, w[:1], None)[:, :, :-2], atol=1e-5
    )


def test_frequencies_are_uniform_in_the_disc(key):
    module = nets.FourierInput(nets.Signal(16, 2.0, 6.0, 1, 1000))
    fourier = jax.jit(module.init)(key, jnp.zeros((1, 1)), None)["fourier"]
    squares = np.sum(np.square(fourier["frequencies"]), axis=1) / 4
    np.testing.assert_allclose(np.sort(squares), np.linspace(0, 1, 1000), atol=0.06)
    np.testing.assert_allclose(np.mean(fourier["frequencies"], axis=0), 0.0, atol=0.1)
    np.testing.assert_allclose(np.sort(fourier["phases"]), np.linspace(-0.5, 0.5, 1000), atol=0.06)


def test_layer_is_its_formula(key):
    """With one kernel for each picture, in full padding."""
    source, target = nets.Signal(8, 2.0, 2.5, 12, 3), nets.Signal(8, 3.0, 2.0, 12, 4)
    layer = nets.Layer(source, target, 3)
    x, w = jax.random.normal(key, (2, 12, 12, 3)) * 2, jax.random.normal(key, (2, 5))
    variables = layer.init(key, x, w, None)
    params = jax.tree.map(lambda p: p + 0.1, variables["params"])
    variables = {"params": params, "magnitude": {"mean_square": jnp.float32(3.0)}}
    found, square = layer.apply(variables, x, w, 0.75)
    np.testing.assert_allclose(square, 0.75 * 3 + 0.25 * np.mean(np.square(x)), rtol=1e-5)

    x, w, params = np.asarray(x), np.asarray(w), jax.tree.map(np.asarray, params)
    style = w @ params["style"]["kernel"] / np.sqrt(5) + params["style"]["bias"]
    style = style / np.sqrt(np.mean(np.square(style)))
    kernel = (
        params["kernel"]
        / np.sqrt(np.mean(np.square(params["kernel"]), axis=(0, 1, 2)))[None, None, None]
    )
    y = []
    for picture, s in zip(x, style, strict=True):
        own = kernel * s[None, None, :, None]
        own = own / np.sqrt(np.sum(np.square(own), axis=(0, 1, 2)) + 1e-8)[None, None, None]
        full = np.zeros((14, 14, 4))
        padded = np.pad(picture, ((2, 2), (2, 2), (0, 0)))
        for m in range(3):
            for n in range(3):
                full += padded[m : m + 14, n : n + 14] @ own[m, n]
        y.append(full / np.sqrt(square) + params["bias"])
    filters = nets.filters(source, target, False, False)
    expected = nets.filtered_leaky_relu(jnp.asarray(np.stack(y), jnp.float32), filters, 12)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_layer_of_pictures_is_its_formula(key):
    last = nets.Signal(8, 4.0, 1.0, 8, 3)
    layer = nets.Layer(last, last, 1, picture=True)
    x, w = jax.random.normal(key, (2, 8, 8, 3)), jax.random.normal(key, (2, 5))
    variables = layer.init(key, x, w, None)
    params = jax.tree.map(lambda p: p + 0.1, variables["params"])
    found, _ = layer.apply({**variables, "params": params}, x, w, None)
    style = w @ params["style"]["kernel"] / np.sqrt(5) + params["style"]["bias"][None]
    expected = (x * style[:, None, None] / np.sqrt(3)) @ params["kernel"][0, 0] + params["bias"][
        None, None, None
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


# Equivariance ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generators():
    """configuration -> (random generator for 32 pixels whose layers' averages fit, w)."""

    def made(configuration):
        game = make(
            spec_of(32), configuration=configuration, layers=6, critical_layers=2, margin=10
        )
        player = game.players["generator"]
        generator = Network(player.module, jax.jit(player.init)(jax.random.key(0)))
        z = jax.random.normal(jax.random.key(1), (4, 16))
        w = jnp.repeat(generator(z, None, method="style")[:, None], 8, axis=1)
        measured = jax.jit(lambda generator, w: generator(w, 0.0, method="measured"))
        return generator.replace(magnitude=measured(generator, w)[1]), w

    return made


def decibels(generator, w, kind):
    @jax.jit
    def errors(generator):
        paint = partial(generator, w, method="paint")
        return jnp.sum(equivariance.errors(paint, jax.random.key(5), 4, kind), axis=0)

    squares, num = errors(generator)
    return 10 * np.log10(4 * num / squares)


@pytest.mark.slow
def test_pictures_of_t_translate_with_the_input(generators, monkeypatch):
    """With random weights, and no longer when the filters pass all frequencies: then detail sticks to pixels."""
    generator, w = generators("T")
    assert np.std(generator(w, method="paint")) > 0.1
    assert decibels(generator, w, "eq_t") > 60
    given = nets.filters

    def broken(*args):
        found = given(*args)
        if found.up_kernel is None:
            return found
        up, down = np.zeros_like(found.up_kernel), np.zeros_like(found.down_kernel)
        up[(len(up) - found.up) // 2 : (len(up) + found.up) // 2] = (
            1 / found.up
        )  # nearest neighbours
        down[len(down) // 2] = 1  # every second sample
        return found._replace(up_kernel=up, down_kernel=down)

    monkeypatch.setattr(nets, "filters", broken)
    assert decibels(generator, w, "eq_t") < 30


@pytest.mark.slow
def test_pictures_of_r_rotate_with_the_input_and_those_of_t_do_not(generators):
    rotating, w = generators("R")
    assert decibels(rotating, w, "eq_r") > 40
    assert decibels(rotating, w, "eq_t") > 60
    generator, w = generators("T")
    assert decibels(generator, w, "eq_r") < 30
    assert decibels(generator, w, "eq_t_frac") > 40


def test_a_shift_is_exact_by_whole_pixels_and_that_of_a_sine_by_others():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 8, 1)), jnp.float32)
    y, mask = resample.shift(x, jnp.array([[2.0, -1.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(y[0, :-1, 2:], x[0, 1:, :-2])
    np.testing.assert_array_equal(y[1], x[1])
    expected = np.zeros((9, 8), bool)
    expected[:-1, 2:] = True
    np.testing.assert_array_equal(mask[0, ..., 0], expected)
    assert mask[1].all()

    def wave(dx, dy):
        rows, columns = np.mgrid[:24, :24]
        return np.sin(0.5 * (columns - dx) + 0.3 * (rows - dy))[None, :, :, None]

    y, mask = resample.shift(jnp.asarray(wave(0, 0), jnp.float32), jnp.array([[1.3, -0.6]]))
    np.testing.assert_allclose(np.where(mask, y - wave(1.3, -0.6), 0), 0, atol=0.02)
    assert np.sum(mask[0, 2:18, 4:, 0]) >= 240
    assert not mask[0, :, :3].any()


def test_turning_keeps_low_frequencies_and_drops_those_outside_of_the_disc():
    rows, columns = np.mgrid[:48, :48] - 23.5

    def wave(angle, cycles):
        along = np.cos(angle) * columns + np.sin(angle) * rows
        return jnp.asarray(np.cos(2 * np.pi * cycles * along), jnp.float32)[None, :, :, None]

    y, mask = resample.turn(wave(0.2, 0.15), jnp.array([0.7]))
    assert 300 < int(mask.sum()) < 48**2 // 2
    np.testing.assert_allclose(np.where(mask, y - wave(0.9, 0.15), 0), 0, atol=3e-3)
    y, mask = resample.turn(wave(np.pi / 4, 0.6), jnp.array([0.0]))
    np.testing.assert_allclose(np.where(mask, y, 0), 0, atol=0.02)


# Losses by hand ----------------------------------------------------------------------------------------------------


class ByHand:
    """The losses of a conditional game from the formulas, with plain `apply` of the networks."""

    def __init__(self, game, params, variables, play):
        self.play, self.label, self.params, self.variables = (
            play,
            play.batch["label"],
            params,
            variables,
        )
        self.networks = {name: player.module for name, player in game.players.items()}
        self.own = {
            "params": params["generator"],
            **{name: variables["generator"][name] for name in ("fourier", "magnitude")},
        }
        z = jax.random.normal(play.rng("latent"), (8, 16))
        self.w = self.networks["generator"].apply(self.own, z, self.label, method="style")

    def paint(self, method, *args):
        w = jnp.broadcast_to(self.w[:, None], (8, 5, 16))
        return self.networks["generator"].apply(self.own, w, *args, method=method)

    def logits(self, pictures, purpose):
        key = self.play.rng(f"augmentation of {purpose}")
        p = self.variables["critic"]["augmentation"]["ada"].p
        shown = augment.ada(pictures, key, p, "b")
        return self.networks["critic"].apply({"params": self.params["critic"]}, shown, self.label)

    def critic_turn(self):
        pictures, magnitude = self.paint("measured", 0.5 ** (8 / 20_000))
        real, fake = self.logits(self.play.batch["image"], "real"), self.logits(pictures, "fake")
        loss = jnp.mean(jnp.log1p(jnp.exp(-real))) + jnp.mean(jnp.log1p(jnp.exp(fake)))
        return loss, {"magnitude": magnitude}

    def generator_turn(self):
        logits = self.logits(self.paint("paint"), "fake")
        average = 0.998 * self.variables["generator"]["average"]["style"] + 0.002 * jnp.mean(
            self.w, 0
        )
        return jnp.mean(jnp.log1p(jnp.exp(-logits))), {"average": {"style": average}}

    def r1_turn(self):
        slope = jax.grad(lambda x: jnp.sum(self.logits(x, "real")))(self.play.batch["image"])
        return 2 * 2.0 * jnp.mean(jnp.sum(slope**2, axis=(1, 2, 3))) / 2, {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["critic", "generator", "r1"])
def test_losses_gradients_and_state_are_those_by_hand(played, name):
    engine, state = played
    (turn,) = (turn for turn in engine.game.stages[0].turns if turn.name == name)
    (mover,) = turn.players
    batch, key = battery.batch(SPEC, 0, engine.game.stages[0], 0), jax.random.key(5)
    ada = augment.ada_start(0.9)
    variables = {**state.variables, "critic": {"augmentation": {"ada": ada}}}
    state = state.replace(variables=variables)

    def by_hand(params):
        params = {**state.params, mover: params}
        hand = ByHand(engine.game, params, state.variables, engine.play(state, batch, key))
        return getattr(hand, f"{name}_turn")()

    def found(params):
        play = engine.play(state, batch, key, {**state.params, mover: params})
        play = dataclasses.replace(play, batch_size=8)
        value = turn.loss(play).value
        return value, {name: moving.assigned for name, moving in play.moved.items()}

    gradient = lambda f: jax.jit(jax.value_and_grad(f, has_aux=True))(state.params[mover])  # noqa: E731
    (expected, assigned), slopes = gradient(by_hand)
    (value, moved), found_slopes = gradient(found)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    for one, other in zip(*map(jax.tree.leaves, (found_slopes, slopes)), strict=True):
        assert np.linalg.norm(one - other) <= 1e-3 * np.linalg.norm(other) + 1e-6
    new = moved.get("generator", {})
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), new, assigned)


def test_only_the_critics_turn_moves_the_layers_averages(played):
    moved = {}
    for players, before, after in battery.turns_apart(played[0], SPEC):
        same = battery.equal(*(s.variables["generator"]["magnitude"] for s in (before, after)))
        moved.setdefault(players, []).append(not same)
    assert moved == {("critic",): [True, False], ("generator",): [False]}


@pytest.mark.parametrize(("kimg", "width"), [(0.0, 10.0), (50.0, 7.5), (300.0, 0.0)])
def test_the_critic_of_r_sees_pictures_that_become_sharp(key, kimg, width):
    """All pictures, by taps 2^-(i / width)^2 up to 3 widths."""
    options = dataclasses.replace(SMALL, configuration="R", augmentation="off")
    model = stylegan3.StyleGAN3(options, SPEC, None)
    clock = clock_at(kimg)
    x = jax.random.normal(key, (2, 16, 16, 3))
    seen = model.apply_critic(Play({}, {}, key, clock, 2), lambda x, label: x, x, {}, "fake")
    reach = int(3 * width)
    taps = np.array([2.0 ** -((i / (width or 1)) ** 2) for i in range(-reach, reach + 1)])
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    for b in range(2):
        for c in range(3):
            whole = signal.convolve2d(x[b, :, :, c], kernel)
            expected = whole[reach : reach + 16, reach : reach + 16]
            np.testing.assert_allclose(seen[b, :, :, c], expected, atol=1e-5)


def clock_at(kimg):
    zero = jnp.int32(0)
    return Clock(zero, jnp.float32(kimg), zero, zero, jnp.float32(kimg))


def test_t_is_not_blurred(key):
    model = stylegan3.StyleGAN3(dataclasses.replace(SMALL, augmentation="off"), SPEC, None)
    x = jnp.ones((2, 16, 16, 3))
    seen = model.apply_critic(
        Play({}, {}, key, clock_at(0.0), 2), lambda x, label: x, x, {}, "real"
    )
    assert seen is x


def test_defaults_are_the_papers():
    options = stylegan3.Options()
    paper = dict(
        latent_dim=512, style_dim=512, mapping_layers=2, mapping_lr_multiplier=0.01, layers=14, critical_layers=2,
        margin=10, channel_base=32_768, channel_max=512, minibatch_std_group=4, batch_size=32,
        generator_learning_rate=0.0025, critic_learning_rate=0.002, beta1=0.0, beta2=0.99, r1_every=16, blur_kimg=200.0,
        magnitude_half_life_kimg=20.0, average_style_decay=0.998, ema_half_life_kimg=10.0, ema_ramp_up=0.05,
    )  # fmt: skip
    assert {name: getattr(options, name) for name in paper} == paper


# What every game must hold -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played():
    return battery.check_trains(make(conditional=True), SPEC, 3)


@pytest.fixture(scope="module")
def trained(played):
    """seed -> what a tool is given of the trained networks."""
    engine, state = played
    networks, clock = engine.game.networks(state), engine.game.clock(state.step)
    return lambda seed=0: Play(networks, {}, jax.random.key(seed), clock, 0)


def test_resumes_bit_for_bit(played):
    battery.check_resume(played[0], SPEC, 1, 3)


@pytest.mark.slow
def test_configuration_r_trains():
    game = make(configuration="R", r1_every=16)
    battery.check_trains(game, SPEC, 20)


@pytest.mark.slow
def test_recomputed_activations_change_neither_parameters_nor_gradients():
    changes = dict(augmentation="off", mapping_layers=1, batch_size=4)
    kept, again = (make(**changes, remat=remat) for remat in (False, True))
    battery.check_remat(kept, again, SPEC)


@pytest.mark.slow
def test_one_and_eight_devices_agree():
    battery.check_devices(make(augmentation="off", mapping_layers=1), SPEC, 2)


@pytest.mark.slow
def test_bfloat16_trains_without_nan():
    battery.check_trains(make(dtype="bfloat16", r1_every=16), SPEC, 300)


# Tools, outputs and scores -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_tools_of_styles_and_of_motion(played, trained):
    tools = played[0].game.tools
    assert set(tools) == {
        "truncation", "mixing", "interpolation", "projection", "translation", "rotation",
    }  # fmt: skip
    play = trained()
    film = tools["translation"](play, x=2 / 16, frames=4, columns=2, truncation=0.9, label=1)
    assert film.film
    assert film.pictures.shape == (4, 16, 32, 3)
    np.testing.assert_allclose(film.pictures[0], film.pictures[2], atol=1e-5)
    generator = play.networks["generator"]
    w = jnp.asarray(film.arrays["w"])
    shift = nets.translation(jnp.array([[2 / 16, 0.0]] * 2))
    expected = np.clip(generator(w, shift, method="paint"), -1, 1)
    np.testing.assert_allclose(film.pictures[1], np.concatenate(expected, axis=1), atol=1e-4)
    turned = tools["rotation"](play, angle=180.0, frames=2, columns=2, truncation=0.9, label=1)
    np.testing.assert_array_equal(turned.arrays["w"], film.arrays["w"])
    quarter = np.clip(generator(w, nets.rotation(jnp.full(2, np.pi / 2)), method="paint"), -1, 1)
    np.testing.assert_allclose(turned.pictures[1], np.concatenate(quarter, axis=1), atol=1e-4)


def test_a_rotation_is_clockwise(key):
    """What was right of the centre is below it after a quarter turn."""
    module = nets.FourierInput(nets.Signal(16, 2.0, 6.0, 16, 4))
    w = jnp.zeros((1, 4))
    variables = module.init(key, w, None)
    still = module.apply(variables, w, None)
    turned = module.apply(variables, w, nets.rotation(jnp.array([np.pi / 2])))
    np.testing.assert_allclose(turned, np.rot90(still, -1, axes=(1, 2)), atol=1e-4)
    np.testing.assert_allclose(turned[0, 12, 8], still[0, 7, 12], atol=1e-4)


@pytest.mark.slow
def test_protocols_measure_the_run(played):
    """The decibels of all errors together, and what the protocol states."""
    engine, state = played
    source = ArraySource(
        np.zeros((4, 16, 16, 3), np.uint8), np.zeros(4, np.int64), classes=("a", "b", "c")
    )
    assert protocol_of(engine.game, "eq_t50k").num_fake == 50_000
    evaluator = make_evaluator(source, "eq_t50k", num=6)
    result = evaluator(engine, state, 3)
    rows = make_output(engine, state, "eq_t", engine.key(0), 6, balanced(engine.game))
    assert rows.shape == (6, 2)
    squares, num = rows.sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(result["eq_t"], 10 * np.log10(4 * num / squares), rtol=1e-5)
    assert (result["better"], result["units"]) == ({"eq_t": "higher"}, {"eq_t": "dB"})
    assert result["protocol"]["num_real"] is None


def test_pictures_that_are_too_small_to_rotate_are_refused():
    """The filter's radius is 8 pixels."""
    still = lambda transform: jnp.ones((2, 16, 16, 1))  # noqa: E731
    rows = equivariance.errors(still, jax.random.key(0), 2, "eq_r")
    np.testing.assert_array_equal(rows, np.zeros((2, 2)))
    fake = Summary(2, np.dtype(np.float32), {}, {"features": np.asarray(rows)})
    with pytest.raises(ValueError, match="eq_r compares no pixel: the pictures are not larger"):
        SCORES["eq_r"].compute(None, fake, protocols.by_name("eq_r50k"))


def test_what_protocols_of_motion_cannot_measure_is_refused():
    still = stylegan2.game(
        stylegan2.Options(channel_base=64, channel_max=8, latent_dim=4, style_dim=4), spec_of(8)
    )
    with pytest.raises(ValueError, match="which this game's generator does not allow") as raised:
        protocol_of(still, "eq_r50k")
    assert raised.value.fixes[0] == {"train.protocol": "quick"}
    protocol_of(still, "quick")
    pictures = ArraySource(np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"it measures runs, not pictures; measure .*protocol=quick"
    ):
        make_evaluator(pictures, "eq_t50k", num=2, fake=pictures)
    mixed = protocols.adapted("eq_t50k", scores=("eq_t", "fd"))
    with pytest.raises(ValueError, match="measure different things, eq_t, samples"):
        output_of(mixed)


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "spec", "text"),
    [
        ({}, spec_of(24), "power of two pixels, from 8; .* are 24 x 24: set data.resolution=32"),
        (
            {"critical_layers": 3},
            SPEC,
            "grow in at least one of the 3 layers: set critical_layers=2",
        ),
        ({"layers": 1}, SPEC, "layers is 1, but it must be from 2 to 1000"),
        ({"configuration": "S"}, SPEC, "configuration is 'S', but it must be one of T, R"),
        ({"augmentation": "fixed"}, SPEC, "a fixed probability of 0 augments nothing"),
        ({"augmentation_groups": "bgc"}, spec_of(16, 4), "it changes colours, but the data has 4"),
        ({"blur": -1.0}, SPEC, "blur is -1.0, but it must be"),
        ({"conditional": True}, spec_of(16), "the data has no labels: set conditional=false"),
        ({"magnitude_half_life_kimg": 0.0}, SPEC, "magnitude_half_life_kimg is 0.0, but it must"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_a_sentence(changes, spec, text):
    battery.assert_refused(stylegan3.game, dataclasses.replace(SMALL, **changes), spec, text)


def test_points_are_refused():
    with pytest.raises(ValueError, match="stylegan3 needs a picture"):
        stylegan3.game(SMALL, Spec({"image": Field("points", (2,))}, 10))
