"""`r3gan`: its networks, losses, penalties and schedules against the formulas, written out in NumPy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery
from models.written_out import decoded, purpose

from jaxgan import augment, draws
from jaxgan.engine import Engine
from jaxgan.models import r3gan
from jaxgan.schedules import at
from jaxgan.spec import Field, Spec


def spec_of(side, channels=3, classes=10):
    fields = {
        "image": Field("image", (side, side, channels)),
        "label": Field("label", number=classes),
    }
    return Spec(fields, 1000)


IMAGENET = (("conditional", True), ("widths", 1536), ("groups", 96))
# The published models have these sizes; in millions the paper says 23.058 and 23.010 for 256 pixels.
GOLDEN = {
    ("r3gan", spec_of(32), ()): {"critic": 20_683_776, "generator": 20_732_160},
    ("r3gan", spec_of(32), (("conditional", True),)): {
        "critic": 21_280_512,
        "generator": 20_781_952,
    },
    ("r3gan", spec_of(64), ()): {"critic": 22_381_440, "generator": 22_429_824},
    ("r3gan", spec_of(256), ()): {"critic": 23_009_568, "generator": 23_057_952},
    ("r3gan", spec_of(32, classes=1000), IMAGENET): {
        "critic": 86_548_992,
        "generator": 82_914_304,
    },
    ("r3gan", spec_of(64, classes=1000), IMAGENET): {
        "critic": 107_205_120,
        "generator": 103_570_432,
    },
}

SPEC = spec_of(16, 1, 3)
# Stages of 4, 8 and 16 pixels; a change of width at one of them, and a stage of two blocks.
OPTIONS = {
    "latent_dim": 4, "widths": (8, 8, 4), "groups": (4, 2, 2), "blocks": (1, 2, 1), "conditional": True,
    "label_dim": 3, "batch_size": 4, "burn_in_kimg": 0.04, "gamma": (2.0, 0.2), "learning_rate": (2e-3, 5e-4),
    "ema_half_life_kimg": (0.0, 0.1), "augmentation_p": (0.0, 0.0),
}  # fmt: skip
ROUNDS = 10  # of the burn-in: 40 pictures in batches of 4


def make(spec=SPEC, **changes):
    return r3gan.game(r3gan.Options(**{**OPTIONS, **changes}), spec)


@pytest.fixture(scope="module")
def engine():
    return Engine(make())


def trained(state, seed=0):
    """The state with kernels and biases as after training: the last kernels of the blocks are zero at the start."""
    rng = np.random.default_rng(seed)

    def leaf(path, x):
        name = path[-1].key
        fan_in = np.prod(x.shape[:-1])
        size = 0.3 if name.startswith("bias") else 1.0 if x.ndim == 3 else fan_in**-0.5
        return jnp.asarray(size * rng.normal(size=x.shape), jnp.float32)

    params = {
        player: jax.tree_util.tree_map_with_path(leaf, tree)
        for player, tree in state.params.items()
    }
    return state.replace(params=params)


# The networks in NumPy ----------------------------------------------------------------------------------------


def float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def padded(x):
    return np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def grouped(x, kernel, groups):
    """Each output channel is a sum over taps and over the inputs of its group."""
    h, w, outputs = *x.shape[1:3], kernel.shape[3]
    c, o = x.shape[3] // groups, outputs // groups
    y, x = np.zeros((*x.shape[:3], outputs)), padded(x)
    for out in range(outputs):
        first = c * (out // o)
        for m in range(3):
            for n in range(3):
                y[..., out] += x[:, m : m + h, n : n + w, first : first + c] @ kernel[m, n, :, out]
    return y


def grouped_back(g, kernel, groups):
    """The gradient with respect to x of the sum of g * grouped(x, kernel, groups)."""
    h, w, outputs = g.shape[1:]
    c, o = kernel.shape[2], outputs // groups
    x = np.zeros((g.shape[0], h + 2, w + 2, c * groups))
    for out in range(outputs):
        first = c * (out // o)
        for m in range(3):
            for n in range(3):
                x[:, m : m + h, n : n + w, first : first + c] += (
                    g[..., out, None] * kernel[m, n, :, out]
                )
    return x[:, 1:-1, 1:-1]


def down_matrix(n):
    """[n / 2, n]: every second pixel of an image filtered by [1, 3, 3, 1] / 8, with one zero at each end."""
    matrix = np.zeros((n // 2, n))
    for i in range(n // 2):
        for tap, weight in enumerate((1, 3, 3, 1)):
            if 0 <= 2 * i + tap - 1 < n:
                matrix[i, 2 * i + tap - 1] = weight / 8
    return matrix


def up_matrix(n):
    """[2n, n]: each pixel adds [1, 3, 3, 1] / 4 to four pixels of the line of twice the length."""
    matrix = np.zeros((2 * n, n))
    for i in range(n):
        for tap, weight in enumerate((1, 3, 3, 1)):
            if 0 <= 2 * i + tap - 1 < 2 * n:
                matrix[2 * i + tap - 1, i] = weight / 4
    return matrix


def resampled(x, matrix):
    return np.einsum("hi,wj,bijc->bhwc", matrix, matrix, x)


def block(p, x, groups):
    """(value, its pullback)"""
    first, last = p["conv0"]["kernel"][0, 0], p["conv2"]["kernel"][0, 0]
    y = x @ first + p["bias0"]
    z = grouped(np.where(y > 0, y, 0.2 * y), p["conv1"]["kernel"], groups) + p["bias1"]

    def back(g):
        inner = (g @ last.T) * np.where(z > 0, 1.0, 0.2)
        inner = grouped_back(inner, p["conv1"]["kernel"], groups) * np.where(y > 0, 1.0, 0.2)
        return g + inner @ first.T

    return x + np.where(z > 0, z, 0.2 * z) @ last, back


def generator(p, z, label):
    z = np.concatenate([z, p["embed"]["kernel"][label]], axis=1)
    x = p["basis"][None] * (z @ p["linear"]["kernel"])[:, None, None]
    for stage, (groups, blocks) in enumerate(
        zip(OPTIONS["groups"], OPTIONS["blocks"], strict=True)
    ):
        if stage:
            if f"stage{stage}_width" in p:
                x = x @ p[f"stage{stage}_width"]["kernel"][0, 0]
            x = resampled(x, up_matrix(x.shape[1]))
        for i in range(blocks):
            x, _ = block(p[f"stage{stage}_block{i}"], x, groups)
    return x @ p["output"]["kernel"][0, 0]


def critic(p, x, label):
    """(logits [B], gradients of each with respect to its picture)"""
    backs = [lambda g: g @ p["input"]["kernel"][0, 0].T]
    x = x @ p["input"]["kernel"][0, 0]
    for stage in (2, 1, 0):
        for i in range(OPTIONS["blocks"][stage]):
            x, back = block(p[f"stage{stage}_block{i}"], x, OPTIONS["groups"][stage])
            backs.append(back)
        if stage:
            matrix = down_matrix(x.shape[1])
            x = resampled(x, matrix)
            backs.append(lambda g, matrix=matrix: resampled(g, matrix.T))
            if f"stage{stage}_width" in p:
                kernel = p[f"stage{stage}_width"]["kernel"][0, 0]
                x = x @ kernel
                backs.append(lambda g, kernel=kernel: g @ kernel.T)
    basis = p["basis"][:, :, 0]
    embedded = p["embed"]["kernel"][label]
    logits = np.sum(np.sum(x * basis, axis=(1, 2)) @ p["linear"]["kernel"] * embedded, axis=1)
    g = (embedded @ p["linear"]["kernel"].T)[:, None, None] * basis
    for back in reversed(backs):
        g = back(g)
    return logits, g


def softplus(x):
    return np.mean(np.logaddexp(x, 0.0))


def critic_loss(p, real, fake, label, gamma):
    """(value, R1, R2), each penalty with its half."""
    real_logits, real_slopes = critic(p, real, label)
    fake_logits, fake_slopes = critic(p, fake, label)
    r1, r2 = (np.mean(np.sum(g**2, axis=(1, 2, 3))) / 2 for g in (real_slopes, fake_slopes))
    return softplus(fake_logits - real_logits) + gamma * (r1 + r2), r1, r2


def generator_loss(p, critic_params, z, real, label):
    fake = generator(p, z, label)
    return softplus(critic(critic_params, real, label)[0] - critic(critic_params, fake, label)[0])


def check_slopes(loss, params, gradient):
    """Central differences in float64 along a random direction of each leaf."""
    leaves, structure = jax.tree.flatten(float64(params))
    rng, size = np.random.default_rng(1), 1e-6
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for i, (path, found) in enumerate(zip(paths, jax.tree.leaves(gradient), strict=True)):
        direction = rng.normal(size=leaves[i].shape)
        ends = [
            loss(jax.tree.unflatten(structure, [*leaves[:i], leaves[i] + s * direction, *leaves[i + 1 :]]))
            for s in (-size, size)
        ]  # fmt: skip
        expected = (ends[1] - ends[0]) / (2 * size)
        scale = np.linalg.norm(found) * np.linalg.norm(direction) + 1e-4
        np.testing.assert_allclose(
            np.sum(np.float64(found) * direction) / scale, expected / scale, atol=2e-5, err_msg=path
        )


KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def scene(engine):
    """(state, batch, the decoded real pictures, the labels, z)"""
    state = trained(engine.init())
    # In the third round of ten: gamma is neither its first nor its last value.
    state = state.replace(step=jnp.int32(3))
    batch = battery.batch(SPEC, 0, engine.game.stages[0], 0)
    z = np.float64(draws.normal(purpose(KEY, "latent"), (4, OPTIONS["latent_dim"])))
    return state, batch, np.float64(decoded(batch["image"])), batch["label"], z


def loss_and_gradient(engine, turn, state, batch):
    (player,) = turn.players

    def loss(params):
        found = turn.loss(engine.play(state, batch, KEY, {**state.params, player: params}))
        return found.value, found.metrics

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(state.params[player])


def test_networks_are_the_formulas(engine, scene):
    state, _, real, label, z = scene
    networks = engine.game.networks(state, ema=False)
    fake = jax.jit(lambda z: networks["generator"](z, label))(np.float32(z))
    expected = generator(float64(state.params["generator"]), z, label)
    np.testing.assert_allclose(fake, expected, atol=2e-5 * np.abs(expected).max())
    logits = jax.jit(lambda x: networks["critic"](x, label))(np.float32(real))
    expected, _ = critic(float64(state.params["critic"]), real, label)
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


def test_the_critics_loss_penalties_and_gradient_are_the_formulas(engine, scene):
    state, batch, real, label, z = scene
    fake = generator(float64(state.params["generator"]), z, label)
    gamma = 0.2 + 1.8 * (1 + np.cos(np.pi * 3 / ROUNDS)) / 2

    def by_hand(params):
        return critic_loss(params, real, fake, label, gamma)

    turn = engine.game.stages[0].turns[0]
    (value, metrics), gradient = loss_and_gradient(engine, turn, state, batch)
    expected, r1, r2 = by_hand(float64(state.params["critic"]))
    np.testing.assert_allclose(metrics["gamma"], gamma, rtol=1e-5)
    np.testing.assert_allclose(metrics["r1"], r1, rtol=1e-4)
    np.testing.assert_allclose(metrics["r2"], r2, rtol=1e-4)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    # A penalty that were left out, or had the labels of the other half, would show.
    assert min(gamma * r1, gamma * r2) > 0.01 * expected
    check_slopes(lambda params: by_hand(params)[0], state.params["critic"], gradient)


def test_the_generators_loss_and_gradient_are_the_formulas(engine, scene):
    state, batch, real, label, z = scene
    against = float64(state.params["critic"])

    def by_hand(params):
        return generator_loss(params, against, z, real, label)

    turn = engine.game.stages[0].turns[1]
    (value, _), gradient = loss_and_gradient(engine, turn, state, batch)
    np.testing.assert_allclose(value, by_hand(float64(state.params["generator"])), rtol=1e-4)
    check_slopes(by_hand, state.params["generator"], gradient)


def test_r1_alone_has_no_r2(scene):
    state, batch, real, label, z = scene
    fake = generator(float64(state.params["generator"]), z, label)
    game = make(penalties="r1")
    turn = game.stages[0].turns[0]
    (value, metrics), _ = loss_and_gradient(Engine(game), turn, state, batch)
    whole, r1, r2 = critic_loss(float64(state.params["critic"]), real, fake, label, gamma=1.0)
    assert "r2" not in metrics
    np.testing.assert_allclose(metrics["r1"], r1, rtol=1e-4)
    alone = whole - r1 - r2 + float(metrics["gamma"]) * r1
    np.testing.assert_allclose(value, alone, rtol=1e-4)


@pytest.mark.slow
def test_penalties_are_of_the_pictures_before_augmentation(scene):
    """As d/dx of the critic of the augmented picture; in the middle of the ramp, p is half of its last value."""
    state, batch, real, label, _ = scene
    state = state.replace(step=jnp.int32(ROUNDS // 2))
    engine = Engine(make(augmentation_p=(0.0, 0.8)))
    turn = engine.game.stages[0].turns[0]
    (_, metrics), _ = loss_and_gradient(engine, turn, state, batch)
    networks = engine.game.networks(state, ema=False)
    latent = draws.normal(purpose(KEY, "latent"), (4, OPTIONS["latent_dim"]))

    @jax.jit
    def expected():
        pictures = jnp.concatenate([jnp.float32(real), networks["generator"](latent, label)])

        def total(x):
            key, options = purpose(KEY, "augmentation of both"), r3gan.AUGMENTATION
            x = augment.ada(x, key, jnp.float32(0.4), "bgcfnc", options)
            return jnp.sum(networks["critic"](x, np.tile(label, 2)))

        slopes = jax.grad(total)(pictures)
        return jnp.sum(jnp.square(slopes), axis=(1, 2, 3))

    squares = expected()
    np.testing.assert_allclose(metrics["r1"], np.mean(squares[:4]) / 2, rtol=1e-4)
    np.testing.assert_allclose(metrics["r2"], np.mean(squares[4:]) / 2, rtol=1e-4)
    plain = critic(float64(state.params["critic"]), real, label)[1]
    assert abs(np.mean(np.sum(plain**2, axis=(1, 2, 3))) / np.mean(squares[:4]) - 1) > 0.01


def test_multipliers_of_the_augmentation():
    """One for geometry and cutout, a half for colours, none for filters and noise."""
    half = {"brightness", "contrast", "luma_flip", "hue", "saturation"}
    expected = {name: 0.5 if name in half else 1.0 for name in augment.AdaOptions._fields}
    assert r3gan.AUGMENTATION._asdict() == expected | {"bands": 0.0, "noise": 0.0}


# Initial values -----------------------------------------------------------------------------------------------


def test_initial_values_and_the_only_biases(scene):
    _, batch, *_ = scene
    widths, blocks = (96, 96, 64), (2, 1, 1)
    engine = Engine(make(widths=widths, blocks=blocks, groups=4, label_dim=64, latent_dim=64))
    state = engine.init()
    scale = np.sqrt(2 / 1.04) * sum(blocks) ** -0.25
    for player, params in state.params.items():
        gains = {"embed": 96**-0.5 if player == "critic" else 1.0, "conv0": scale, "conv1": scale}
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            names, leaf = [key.key for key in path], np.float64(leaf)
            if names[-1] in ("bias0", "bias1") or "conv2" in names:
                assert not leaf.any(), names
                assert "block" in names[0]
                continue
            assert names[-1] in ("kernel", "basis")
            # The generator's basis is a tensor of the picture, [4, 4, C], and not a filter.
            learned = player == "generator" and names == ["basis"]
            fan_in = 1 if learned else np.prod(leaf.shape[:-1])
            deviation = np.sqrt(np.mean(leaf**2)) * np.sqrt(fan_in) / gains.get(names[-2:][0], 1.0)
            assert abs(deviation - 1) < 4 / np.sqrt(2 * leaf.size), (player, names, deviation)
    # With a last kernel of zero, the convolutions before it have no gradient yet.
    for turn in engine.game.stages[0].turns:
        _, gradient = loss_and_gradient(engine, turn, state, batch)
        first = gradient["stage1_block0"]
        assert not any(np.any(x) for x in jax.tree.leaves([first["conv0"], first["conv1"]]))
        assert np.any(first["conv2"]["kernel"])


# Schedules ----------------------------------------------------------------------------------------------------


def test_all_schedules_follow_one_cosine_of_the_critics_pictures():
    """The clock's kimg count the pictures of both players and would be twice as fast."""
    options = r3gan.Options(batch_size=500, burn_in_kimg=20.0)
    model = r3gan.R3GAN(options, spec_of(32), None)
    game = r3gan.game(options, spec_of(32))
    assert float(game.clock(20).kimg) == 20.0
    shares = {0: 0.0, 10: (1 - np.cos(np.pi / 4)) / 2, 20: 0.5, 40: 1.0, 100: 1.0}
    for ends in ("gamma", "learning_rate", "beta2", "ema_half_life_kimg", "augmentation_p"):
        start, end = getattr(options, ends)
        for step, share in shares.items():
            value = at(model.ramp((start, end)), game.clock(step))
            np.testing.assert_allclose(value, start + (end - start) * share, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("player", ["critic", "generator"])
def test_adam_has_the_present_rate_and_beta2(engine, player):
    """Three updates, in rounds 0, 5 and 12, against Algorithm 1 of Kingma and Ba (2015)."""
    optimizer = engine.game.players[player].optimizer
    params = {"kernel": jnp.zeros(2)}
    state, second, rng = optimizer.init(params), np.zeros(2), np.random.default_rng(0)
    for count, (step, share) in enumerate(((0, 0.0), (5, 0.5), (12, 1.0)), start=1):
        slope = rng.normal(size=2)
        with jax.numpy_dtype_promotion("standard"):  # as in the engine
            update, state = optimizer.update(
                {"kernel": jnp.float32(slope)}, state, params, clock=engine.game.clock(step)
            )
        rate, beta2 = 2e-3 + (5e-4 - 2e-3) * share, 0.9 + 0.09 * share
        second = beta2 * second + (1 - beta2) * slope**2
        # beta1 is 0, so the mean of gradients is the gradient.
        expected = -rate * slope / (np.sqrt(second / (1 - beta2**count)) + 1e-8)
        np.testing.assert_allclose(update["kernel"], expected, rtol=1e-5)


def test_the_average_starts_as_a_copy_and_has_the_half_life_of_the_schedule(engine):
    average = engine.game.players["generator"].average
    images = engine.game.stages[0].images_per_round
    assert images == 8  # a batch for each player
    for step, share in ((0, 0.0), (5, 0.5), (30, 1.0)):
        decay = average(engine.game.clock(step), images / 1000)
        expected = 0.5 ** (4 / (100 * share)) if share else 0.0
        np.testing.assert_allclose(decay, expected, rtol=1e-5)
    assert make(ema_half_life_kimg=(0.0, 0.0)).players["generator"].average is None


# Training -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played():
    """(engine, state) after three rounds."""
    return battery.check_trains(make(), SPEC, rounds=3)


def test_trains_and_resumes_bit_for_bit(played):
    battery.check_resume(played[0], SPEC, at=1, rounds=3)


def test_each_player_has_a_real_batch_of_its_own(played):
    """A round is the critic's turn on one batch and the generator's on the next."""
    engine, _ = played
    stage = engine.game.stages[0]
    one, other = (battery.batch(SPEC, 0, stage, draw) for draw in range(2))
    whole, _ = engine.round(engine.init(), 0, iter([one, other]))
    state = engine.init()
    for turn, batch in zip(stage.turns, (one, other), strict=True):
        program = engine.program(0, turn)
        state = program(state, engine.put(batch), engine.run_key, np.int32(0))[0]
    jax.tree.map(np.testing.assert_array_equal, whole.params, state.params)
    # With the critic's batch the generator would learn something else.
    again, _ = engine.round(engine.init(), 0, iter([one, one]))
    pairs = zip(jax.tree.leaves(again.params), jax.tree.leaves(whole.params), strict=True)
    assert any(np.any(a != b) for a, b in pairs)


def test_samples_have_the_given_labels_and_range(played):
    engine, state = played
    state = state.replace(ema={"generator": {"params": trained(state).params["generator"]}})
    label = jnp.array([0, 1, 2], jnp.int32)
    play = engine.play(state, {"image": np.zeros((3, 16, 16, 1), np.uint8), "label": label}, KEY)
    generator_params = float64(state.params["generator"])
    z = np.float64(draws.normal(purpose(KEY, "latent"), (3, OPTIONS["latent_dim"])))
    found = engine.game.outputs["samples"].make(play)
    expected = np.clip(generator(generator_params, z, np.array([0, 1, 2])), -1, 1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_unconditional_game_needs_no_labels():
    spec = Spec({"image": Field("image", (8, 8, 3))}, 100)
    game = make(spec, widths=4, groups=1, blocks=1, conditional=False)
    assert game.outputs["samples"].needs == ()
    battery.check_trains(game, spec, rounds=1)


@pytest.mark.slow
def test_only_the_largest_sizes_have_low_precision():
    """The stage of 4 x 4 pixels, parameters, pictures and logits are float32."""
    game = make(dtype="bfloat16")
    engine = Engine(game)
    params = engine.init().params
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    label = np.zeros(2, np.int32)
    inputs = {"critic": np.zeros((2, 16, 16, 1)), "generator": np.zeros((2, 4))}
    for player, x in inputs.items():
        y, seen = game.players[player].module.apply(
            {"params": params[player]}, np.float32(x), label, capture_intermediates=True
        )
        assert y.dtype == jnp.float32
        blocks = {
            name: found["__call__"][0].dtype
            for name, found in seen["intermediates"].items()
            if "block" in name
        }
        assert len(blocks) == 4
        for name, dtype in blocks.items():
            assert dtype == (jnp.float32 if name.startswith("stage0") else jnp.bfloat16), name


@pytest.mark.slow
def test_recomputed_activations_change_nothing():
    small, spec = {"widths": 4, "groups": 2, "blocks": 1}, spec_of(8, 1, 3)
    battery.check_remat(make(spec, **small), make(spec, **small, remat=True), spec)


@pytest.mark.slow
def test_one_and_eight_devices_agree():
    battery.check_devices(make(batch_size=8, augmentation_p=(0.2, 0.5)), SPEC, rounds=3)


@pytest.mark.slow
def test_trains_with_augmentation():
    battery.check_trains(make(augmentation_p=(0.2, 0.5)), SPEC, rounds=3)


@pytest.mark.slow
def test_bfloat16_trains_for_500_rounds():
    battery.check_trains(make(dtype="bfloat16", augmentation_p=(0.2, 0.5)), SPEC, rounds=500)


# Options ------------------------------------------------------------------------------------------------------


def test_stages_have_the_papers_widths_and_groups():
    found = r3gan.stages(r3gan.Options(), 256)
    assert found["widths"] == (768, 768, 768, 768, 384, 192, 96)
    assert found["groups"] == (96, 96, 96, 96, 48, 24, 12)
    assert found["blocks"] == (2,) * 7
    assert r3gan.stages(r3gan.Options(widths=44), 8)["groups"] == (1, 1)  # 5 does not divide 88


@pytest.mark.parametrize(
    ("changes", "spec", "text"),
    [
        (
            {"widths": (8, 8)}, SPEC,
            "there are 3 stages, with feature maps of 4, 8, 16 pixels: set widths=(8, 8, 8)",
        ),
        ({"groups": (2,) * 5}, SPEC, "set groups=(2, 2, 2)"),
        ({"blocks": (1, 2)}, SPEC, "set blocks=(1, 2, 2)"),
        (
            {"groups": 3}, SPEC,
            "groups is 3, but they must divide the 16, 16, 8 channels inside of the blocks: set groups=1",
        ),
        ({"groups": (4, 3, 16)}, SPEC, "set groups=(4, 1, 8)"),
        ({}, spec_of(12), "from 8; those of the data are 12 x 12: set data.resolution=16"),
        ({}, spec_of(4), "those of the data are 4 x 4: set data.resolution=8"),
        ({"conditional": True}, Spec({"image": Field("image", (16, 16, 3))}, 9), "the data has no labels"),
        (
            {"augmentation_p": (0.0, 0.5)}, spec_of(16, 4),
            "the data has 4 channels, not 1 or 3: set augmentation_p=(0.0, 0.0)",
        ),
        ({"beta2": (0.9, 1.0)}, SPEC, "beta2"),
        ({"penalties": "r2"}, SPEC, "penalties is 'r2', but it must be one of r1+r2, r1"),
        ({"gamma": (-1.0, 0.0)}, SPEC, "gamma"),
    ],
)  # fmt: skip
def test_errors_name_a_way_out_that_works(changes, spec, text):
    options = r3gan.Options(**{**OPTIONS, **changes})
    battery.assert_refused(r3gan.game, options, spec, re.escape(text))


def test_points_are_refused():
    spec = Spec({"image": Field("points", (2,))}, 10)
    with pytest.raises(ValueError, match="r3gan needs"):
        r3gan.game(r3gan.Options(), spec)


def test_defaults_are_the_papers_for_cifar10():
    options = r3gan.Options()
    paper = dict(
        latent_dim=64, blocks=2, expansion=2, label_dim=64, objective="relativistic_paired", penalties="r1+r2",
        batch_size=512, burn_in_kimg=20_000.0, gamma=(0.05, 0.005), learning_rate=(2e-4, 5e-5), beta1=0.0,
        beta2=(0.9, 0.99), ema_half_life_kimg=(0.0, 5000.0), augmentation_p=(0.0, 0.55), dtype="float32",
    )  # fmt: skip
    assert {name: getattr(options, name) for name in paper} == paper
