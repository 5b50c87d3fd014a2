"""GauGAN: parity with another implementation, what its parts are defined by, and what it refuses."""

import dataclasses
import functools
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery
from models.written_out import adam, check_turn, decoded, moves, purpose

from jaxgan import train
from jaxgan.engine import Engine
from jaxgan.game import Play
from jaxgan.models import spade
from jaxgan.nets.patchgan import ScalesCritic, halved
from jaxgan.nets.spade import NORMS, Block, Encoder, Generator, glorot_002
from jaxgan.schedules import Ema
from jaxgan.spec import Field, Spec


def maps(height, width=None, labels=3, channels=1):
    size = (height, width or height)
    fields = {
        "image": Field("image", (*size, channels)),
        "label_map": Field("label_map", size, labels),
    }
    return Spec(fields, 400)


PLAIN = (("perceptual", "none"),)
CRITICS = {184: 5_904_514, 151: 5_836_930, 36: 5_601_410}
# Those of the authors' networks for COCO-Stuff, ADE20K and Cityscapes.
GOLDEN = {
    ("spade", maps(256, labels=184, channels=3), PLAIN): {
        "critic": CRITICS[184],
        "generator": 97_480_899,
    },
    ("spade", maps(256, labels=151, channels=3), PLAIN): {
        "critic": CRITICS[151],
        "generator": 96_492_483,
    },
    ("spade", maps(256, labels=151, channels=3), (*PLAIN, ("encoder", True))): {
        "critic": CRITICS[151],
        "generator": 111_942_595,
        "encoder": 10_463_424,
    },
    ("spade", maps(256, 512, labels=36, channels=3), (*PLAIN, ("doublings", 6))): {
        "critic": CRITICS[36],
        "generator": 93_048_003,
    },
}

SPEC = maps(16)
TINY = spade.Options(
    width=1,
    doublings=1,
    spade_hidden=4,
    latent_dim=3,
    critic_width=2,
    critic_layers=2,
    perceptual="none",
    batch_size=2,
)


def tiny(spec=SPEC, **changes):
    return spade.game(dataclasses.replace(TINY, **changes), spec)


@pytest.fixture(scope="module")
def played():
    """(engine, state) after three rounds that are what every model's must be."""
    return battery.check_trains(tiny(encoder=True), SPEC, rounds=3)


# Parity -------------------------------------------------------------------------------------------------------


def unit(name, *shape):
    drawn = np.random.default_rng(zlib.crc32(name.encode())).uniform(-1, 1, shape)
    return drawn.astype(np.float32)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_block_and_its_gradients_are_those_of_another_implementation(norm):
    """`SPADENetResBlock` of MONAI 1.6.1 (Apache-2.0) in PyTorch 2.13, with 5 hidden channels, on 8x8 pixels.

    As in the paper, and unlike MONAI, there is no normalisation after the convolutions of gain and bias, and the hidden
    activation is a ReLU. Its kernels are divided by their largest singular values.
    """
    with np.load(Path(__file__).parent / "golden" / "spade.npz") as file:
        golden = {k.split(":")[1]: file[k] for k in file if k.startswith(norm)}
    block = Block(4, "spade", norm, 5)
    labels = np.random.default_rng(zlib.crc32(b"labels")).integers(0, 3, (2, 16, 16))
    given = np.eye(3, dtype=np.float32)[labels], jnp.zeros((2, 1)), True
    x = unit("x", 2, 8, 8, 6)
    variables = jax.eval_shape(lambda: block.init(jax.random.key(0), x, *given))

    def by_name(path, leaf):
        name = "/".join(part.key for part in path)
        if name.endswith("bias"):
            return np.float32(0.1) * unit(name, *leaf.shape)
        return unit(name, *leaf.shape) / np.float32(np.sqrt(np.prod(leaf.shape[:-1])))

    params = jax.tree_util.tree_map_with_path(by_name, variables["params"])
    leading = {
        name: {"u": np.linalg.svd(params[name]["kernel"].reshape(-1, u["u"].shape[0]))[2][0]}
        for name, u in variables["spectral"].items()
    }
    state = {**jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), dict(variables))}
    state |= {"spectral": leading}
    state.pop("params")

    def total(params, x):
        y, _ = block.apply({"params": params, **state}, x, *given, mutable=["batch_stats"])
        return jnp.sum(y * unit("y", 2, 8, 8, 4)), y

    (by_params, by_x), y = jax.jit(jax.grad(total, (0, 1), has_aux=True))(params, x)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    close(y, golden.pop("y"))
    close(by_x, golden.pop("x"))
    assert len(golden) == 18
    for name, gradient in golden.items():
        norm_name, layer, leaf = name.split("/")
        close(by_params[norm_name][layer][leaf], gradient, err_msg=name)


# Its turns, written out ---------------------------------------------------------------------------------------


def networks(options):
    """Generator, critic and encoder of `TINY` with changes."""
    return (
        Generator(1, 1, 1, options.norm, options.spade_norm, 4, jnp.float32),
        ScalesCritic(2, 2, 2, glorot_002, jnp.float32),
        Encoder(3, 2, dtype=jnp.float32),
    )


def hinge(real, fake):
    """Of the critic; mean over scales."""
    each = [jnp.mean(nn(1 - r)) + jnp.mean(nn(1 + f)) for r, f in zip(real, fake, strict=True)]
    return sum(each) / len(each)


def nn(x):
    return jnp.maximum(x, 0)


def judged(module, params, state, label_map, picture, mutable=()):
    seen = jnp.concatenate([label_map, picture], -1)
    return module.apply({"params": params, **state}, seen, mutable=list(mutable))


def test_the_turns_are_those_written_out():
    game, key = tiny(), jax.random.key(7)
    engine = Engine(game)
    state, batch = engine.init(), battery.batch(SPEC, 0, game.stages[0], 5)
    generator, critic, _ = networks(TINY)
    x, m = decoded(batch["image"]), np.eye(3, dtype=np.float32)[batch["label_map"]]
    old = state.variables

    def painted(params):
        variables = {"params": params, **old["generator"]}
        return generator.apply(variables, None, m, mutable=["batch_stats", "spectral"])

    def generators(mover):
        fake, new = painted(mover)
        (logits, _, ours), _ = judged(critic, state.params["critic"], old["critic"], m, fake)
        (_, _, theirs), _ = judged(critic, state.params["critic"], old["critic"], m, x)
        value = -sum(jnp.mean(scale) for scale in logits) / 2
        # The sum over the two layers, averaged over the two scales.
        layers = jax.tree.map(lambda a, b: jnp.mean(jnp.abs(a - b)), ours, theirs)
        features = 10.0 * sum(jax.tree.leaves(layers)) / 2
        return value + features, (new, {"features": features})

    def critics(mover):
        fake, _ = painted(state.params["generator"])
        seen = np.concatenate([m, m]), jnp.concatenate([x, fake])
        (logits, _, _), new = judged(critic, mover, old["critic"], *seen, mutable=["spectral"])
        real, fake = ([scale[rows] for scale in logits] for rows in (slice(2), slice(2, 4)))
        return hinge(real, fake), (new, {})

    turns = game.stages[0].turns
    assert [turn.players for turn in turns] == [("generator",), ("critic",)]
    assert [turn.fresh_batch for turn in turns] == [True, False]
    for turn, by_hand in zip(turns, (generators, critics), strict=True):
        check_turn(engine, turn, state, batch, key, by_hand)


@pytest.mark.slow
def test_the_encoder_learns_with_the_generator(played):
    engine, state = played
    key, batch = jax.random.key(7), battery.batch(SPEC, 0, engine.game.stages[0], 5)
    _, _, encoder = networks(TINY)
    x = decoded(batch["image"])
    turn, _ = engine.game.stages[0].turns
    assert turn.players == ("generator", "encoder")
    play = engine.play(state, batch, key, state.params)
    loss = turn.loss(play)
    variables = {"params": state.params["encoder"], **state.variables["encoder"]}
    (mean, log_variance), new = encoder.apply(variables, x, mutable=["spectral"])
    jax.tree.map(np.testing.assert_array_equal, play.moved["encoder"].state, new)
    each = np.exp(log_variance) + np.square(mean) - 1 - log_variance
    np.testing.assert_allclose(loss.metrics["kl"], 0.05 * 0.5 * each.sum(1).mean(), rtol=1e-5)


def test_the_defaults_are_the_papers():
    options = spade.Options()
    game = spade.game(
        dataclasses.replace(options, perceptual="none"), maps(256, labels=151, channels=3)
    )
    generator, critic = (game.players[name].module for name in ("generator", "critic"))
    assert (generator.width, generator.doublings, generator.hidden) == (64, 5, 128)
    assert (generator.norm, generator.plain) == ("spade", "batch")
    assert (critic.features, critic.layers, critic.scales) == (64, 4, 2)
    assert options.objective == "hinge"
    assert (options.feature_weight, options.perceptual_weight, options.kl_weight) == (10, 10, 0.05)
    for name, rate in (("generator", 1e-4), ("critic", 4e-4)):
        found = moves(game.players[name].optimizer, game.clock(0))
        np.testing.assert_allclose(found, adam(rate, 0.0, 0.9), rtol=1e-5)


def test_the_learning_rates_decay_together():
    game = tiny(decay_after=10, decay_steps=10)
    for name, rate in (("generator", 1e-4), ("critic", 4e-4)):
        for step, share in ((10, 1.0), (15, 0.5), (20, 0.0)):
            found = moves(game.players[name].optimizer, game.clock(step))[0]
            np.testing.assert_allclose(found, share * rate, rtol=1e-5, atol=1e-12)


def test_the_generator_alone_is_averaged():
    players = tiny(ema_half_life_kimg=7.0, encoder=True).players
    assert players["critic"].average is None
    assert players["generator"].average == Ema(7.0, ramp_up=0.05)


# What defines it ----------------------------------------------------------------------------------------------


def test_the_label_map_decides_pixel_by_pixel(played):
    """A changed label changes the picture where it is; the style changes all of it."""
    engine, state = played
    # The first gains and biases are near 0.
    large = jax.tree.map(lambda x: 30 * x, state.params["generator"])
    state = state.replace(params={**state.params, "generator": large})
    network = engine.game.networks(state)["generator"]
    model = spade.Spade(dataclasses.replace(TINY, encoder=True), SPEC, 1)
    paint = jax.jit(model.paint)
    label_map = np.zeros((1, 16, 16), np.uint8)
    other = label_map.copy()
    other[0, :3, :3] = 2
    z = np.ones((1, 3), np.float32)
    one, changed, styled = (
        paint(network, *x) for x in ((z, label_map), (z, other), (-z, label_map))
    )
    far = np.abs(one - changed)[0, :, :, 0]
    assert far[:3, :3].max() > 1e-2
    # Convolutions of later blocks see changed features farther away, but not those beyond their receptive fields.
    assert far[:4, :4].mean() > 2 * far[12:, 12:].mean()
    assert (np.abs(one - styled) > 0).mean() > 0.9


@pytest.mark.parametrize("norm", NORMS)
def test_every_normalisation_uses_the_label_map(norm):
    """With SPADE or AdaIN it enters by the normalisations; otherwise, and with AdaIN too, as an input."""
    net = Generator(1, 1, 1, norm, hidden=4)
    one = np.zeros((1, 16, 16, 3), np.float32)
    one[..., 0] = 1
    other = np.roll(one, 1, axis=-1)
    variables = net.init(jax.random.key(0), None, one)
    made = [net.apply(variables, None, m, mutable=True)[0] for m in (one, other)]
    assert made[0].shape == (1, 16, 16, 1)
    assert np.abs(made[0] - made[1]).max() > 0


@pytest.mark.parametrize("sides", [(5, 8), (8, 5), (1, 2)])
def test_pictures_are_halved_by_the_means_of_windows(sides):
    x = unit("picture", 1, *sides, 2)
    found = halved(x)
    for i in range(found.shape[1]):
        for j in range(found.shape[2]):
            window = x[0, max(0, 2 * i - 1) : 2 * i + 2, max(0, 2 * j - 1) : 2 * j + 2]
            np.testing.assert_allclose(found[0, i, j], window.mean((0, 1)), rtol=1e-5, atol=1e-6)


def test_transforms_are_of_the_label_maps_and_guided_ones_in_the_style_of_the_picture(played):
    engine, state = played
    batch, key = battery.batch(SPEC, 0, engine.game.stages[0], 5), jax.random.key(0)
    model = spade.Spade(dataclasses.replace(TINY, encoder=True), SPEC, 1)
    found = engine.game.networks(state)
    made = train.transform(engine, state, batch, key)
    assert made.shape == (2, 16, 16, 1)
    guided = train.transform(engine, state, batch, key, output="guided")
    mean, _ = found["encoder"](decoded(batch["image"]))
    expected = model.paint(found["generator"], mean, batch["label_map"])
    np.testing.assert_allclose(guided, expected, rtol=1e-4, atol=1e-5)
    drawn = purpose(jax.random.fold_in(key, 0), "latent")
    latent = jax.random.normal(drawn, (engine.chunk_rows("transforms"), 3))[:2]
    expected = model.paint(found["generator"], latent, batch["label_map"])
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)
    assert "guided" not in tiny().outputs


def test_painting_a_label_map(played):
    engine, state = played
    tool, networks = engine.game.tools["paint"], engine.game.networks(state)
    play = Play(networks, {}, jax.random.key(0), engine.game.clock(3), num=1)
    label_map = np.zeros((16, 16), np.int32)
    label_map[4:] = 2
    made = tool(play, {"label_map": label_map}, samples=3)
    assert made.pictures.shape == (3, 16, 16, 1)
    assert made.columns == 3
    assert (made.pictures[0] != made.pictures[1]).mean() > 0.9
    style = unit("style", 16, 16, 1)
    made = tool(play, {"label_map": label_map, "style": style}, samples=3)
    mean, _ = networks["encoder"](style[None])
    model = spade.Spade(dataclasses.replace(TINY, encoder=True), SPEC, 1)
    expected = model.paint(networks["generator"], mean, label_map[None])
    np.testing.assert_allclose(made.pictures, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        (
            {"label_map": np.full((16, 16), 3)},
            "index 3, but the network knows 3 labels, from 0 to 2",
        ),
        ({"label_map": np.zeros((8, 16), int)}, "is 8x16, but the network was trained on 16x16"),
        (
            {"label_map": np.zeros((16, 16), int), "style": np.zeros((8, 8, 1))},
            "is 8 x 8, but the network was trained on 16 x 16",
        ),
    ],
)
def test_what_cannot_be_painted_is_refused_by_a_sentence(picture, text):
    game = tiny(encoder=True)
    play = Play({}, {}, jax.random.key(0), game.clock(0), num=1)
    with pytest.raises(ValueError, match=text):
        game.tools["paint"](play, picture)


@pytest.mark.parametrize(
    ("spec", "changes", "text"),
    [
        (Spec({"image": Field("image", (16, 16, 1))}, 9), {}, "needs a label map 'label_map'"),
        (maps(16), {"doublings": 5}, "doublings is 5, .* of the data are 16x16: set doublings=4"),
        (maps(17), {}, "are 17x17"),
        (maps(16), {"norm": "spectral"}, "norm is 'spectral', .* spade, adain, batch"),
        (maps(16), {"perceptual": "vgg"}, "perceptual is 'vgg'"),
        (maps(16), {"critic_layers": 1}, "critic_layers"),
    ],
)
def test_what_it_cannot_be_trained_on_is_refused_with_a_way_out(spec, changes, text):
    options = dataclasses.replace(TINY, **changes)
    battery.assert_refused(spade.game, options, spec, text)


# The battery --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_is_resumed_bit_for_bit(played):
    battery.check_resume(played[0], SPEC, at=1, rounds=3)


@pytest.mark.slow
def test_eight_devices_follow_the_trajectory_of_one():
    # Real and generated pictures share the label map, so the gradients of the critic's kernels for it cancel.
    game = battery.descending(tiny(batch_size=8, encoder=True))
    battery.check_devices(game, SPEC, rounds=3)


@pytest.mark.slow
def test_bfloat16_trains():
    options = dataclasses.replace(TINY, width=4, encoder=True, dtype="bfloat16")
    game = spade.game(options, SPEC)
    battery.check_trains(game, SPEC, rounds=500)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS[1:])
def test_every_normalisation_trains(norm):
    battery.check_trains(tiny(norm=norm, encoder=True), SPEC, rounds=2)
