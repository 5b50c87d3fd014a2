"""pix2pix: parity with another implementation, what its parts are defined by, and what it refuses."""

import dataclasses
import functools
import re
import zlib
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery
from models.written_out import adam, check_turn, decoded, moves, purpose, softplus

from jaxgan import config, train
from jaxgan.engine import Engine
from jaxgan.game import Play
from jaxgan.models import pix2pix
from jaxgan.nets.patchgan import PatchCritic, receptive_field
from jaxgan.nets.unet import UNet
from jaxgan.schedules import Ema
from jaxgan.spec import Field, Spec


def pairs(height, width=None, image=3, condition=3):
    width = width or height
    return Spec(
        {
            "image": Field("image", (height, width, image)),
            "condition": Field("image", (height, width, condition)),
        },
        400,
    )


GOLDEN = {
    # Those of the PyTorch code (see `golden`), but for the biases in front of instance normalisation and a bias more at
    # the end of the 1x1 critic.
    ("pix2pix", pairs(256), ()): {"critic": 2_768_705, "generator": 54_413_955},
    ("pix2pix", pairs(128), ()): {"critic": 2_768_705, "generator": 41_828_995},
    ("pix2pix", pairs(192, 256), ()): {"critic": 2_768_705, "generator": 29_244_035},
    ("pix2pix", pairs(64), (("norm", "instance"),)): {"critic": 2_766_913, "generator": 29_244_035},
    ("pix2pix", pairs(32, 32, 1, 1), ()): {"critic": 2_764_609, "generator": 16_652_929},
    ("pix2pix", pairs(256), (("patch", 1),)): {"critic": 9_025, "generator": 54_413_955},
    ("pix2pix", pairs(256), (("patch", 16),)): {"critic": 139_585, "generator": 54_413_955},
    ("pix2pix", pairs(256), (("patch", 286),)): {"critic": 11_159_361, "generator": 54_413_955},
    ("pix2pix", pairs(256), (("conditional_critic", False),)): {
        "critic": 2_765_633,
        "generator": 54_413_955,
    },
    ("pix2pix", pairs(256), (("skips", False),)): {"critic": 2_768_705, "generator": 39_075_459},
}

SPEC = pairs(8, image=1)
TINY = pix2pix.Options(generator_width=4, critic_width=4, patch=16, batch_size=2)


def tiny(spec=SPEC, **changes):
    return pix2pix.game(dataclasses.replace(TINY, **changes), spec)


@pytest.fixture(scope="module")
def played():
    """(engine, state) after three rounds that are what every model's must be."""
    return battery.check_trains(tiny(), SPEC, rounds=3)


def initialised(module, *shape, seed=0):
    rngs = dict(zip(("params", "dropout"), jax.random.split(jax.random.key(seed)), strict=True))
    return jax.jit(module.init)(rngs, jnp.zeros(shape))


# Parity -------------------------------------------------------------------------------------------------------


def parameters(module, prefix, *shape):
    """Flax's parameters by the rule that the golden values were made with: from each one's name."""

    def by_name(path, leaf):
        name = "/".join((prefix, *(part.key for part in path)))
        drawn = np.random.default_rng(zlib.crc32(name.encode())).normal(size=leaf.shape)
        drawn = drawn.astype(np.float32)
        if name.endswith("kernel"):
            return drawn / np.float32(np.sqrt(np.prod(leaf.shape[:-1])))
        return np.float32(name.endswith("scale")) + np.float32(0.1) * drawn

    variables = jax.eval_shape(lambda: initialised(module, *shape))
    params = jax.tree_util.tree_map_with_path(by_name, variables["params"])
    return params, {"batch_stats": jax.tree.map(jnp.zeros_like, variables.get("batch_stats", {}))}


def unit(name, *shape):
    drawn = np.random.default_rng(zlib.crc32(name.encode())).uniform(-1, 1, shape)
    return drawn.astype(np.float32)


def plain(params):
    """Without what the reference lacks: its instance normalisation has no gain and no bias, its 1x1 critic's last
    convolution no bias."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.full_like(leaf, path[-1].key == "scale") if leaf.ndim == 1 else leaf,
        params,
    )


@pytest.fixture(scope="module")
def golden():
    """Outputs, losses and gradients of `UnetGenerator`, `NLayerDiscriminator`, `PixelDiscriminator` and `GANLoss`, of
    models/networks.py of taesungp/contrastive-unpaired-translation at b3ac297708dfb6f7589d04662277e53c0d579c27 (BSD),
    which has them from junyanz/pytorch-CycleGAN-and-pix2pix, in PyTorch 2.13: a U-Net of five halvings and width 4 on
    two pictures of 32 x 64 pixels, critics of width 4, no dropout; loss_D, loss_G and their gradients as
    models/pix2pix_model.py of the latter has them. Parameters and pictures follow `parameters` and `unit`."""
    with np.load(Path(__file__).parent / "golden" / "pix2pix.npz") as file:
        return dict(file)


def assert_close(ours, theirs, relative):
    np.testing.assert_allclose(ours, theirs, rtol=relative, atol=relative * np.abs(theirs).max())


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_generators_outputs_are_the_references(golden, norm):
    net = UNet(1, width=4, downs=5, norm=norm, dropout=0.0)
    params, state = parameters(net, "generator", 2, 32, 64, 3)
    params = params if norm == "batch" else {**plain(params), "up0": params["up0"]}
    apply = jax.jit(lambda params, x: net.apply({"params": params, **state}, x, mutable=True)[0])
    assert_close(apply(params, unit("condition", 2, 32, 64, 3)), golden[f"unet_{norm}"], 1e-4)


@pytest.mark.parametrize(
    ("norm", "layers", "side"),
    [("batch", 0, 16), ("batch", 1, 16), ("batch", 3, 32), ("batch", 5, 96), ("instance", 3, 32)],
)
def test_critics_outputs_are_the_references(golden, norm, layers, side):
    net = PatchCritic(4, layers, norm)
    params, state = parameters(net, "critic", 2, side, side, 4)
    if layers == 0 and norm == "batch":
        params["output"] = plain(params["output"])
    apply = jax.jit(lambda params, x: net.apply({"params": params, **state}, x, mutable=True)[0])
    ours = apply(params, unit(f"pair{side}", 2, side, side, 4))
    assert_close(ours, golden[f"critic_{norm}_{layers}"], 1e-4)


def test_losses_and_gradients_of_a_step_are_the_references(golden):
    options = dataclasses.replace(TINY, patch=70, dropout=0.0)
    game = pix2pix.game(options, pairs(32, 64, image=1))
    batch = {"condition": unit("condition", 2, 32, 64, 3), "image": unit("image", 2, 32, 64, 1)}
    made = {
        "critic": parameters(PatchCritic(4, 3), "critic", 2, 32, 64, 4),
        "generator": parameters(UNet(1, 4, 5, dropout=0.0), "generator", 2, 32, 64, 3),
    }
    params = {name: params for name, (params, _) in made.items()}
    variables = {name: state for name, (_, state) in made.items()}

    def playing(params):
        networks = game.bind(params, variables)
        return Play(networks, batch, jax.random.key(0), game.clock(0), num=2)

    def step(params):
        grads, found = {}, {}
        for turn in game.stages[0].turns:
            (player,) = turn.players

            def loss(mover, turn=turn, player=player):
                out = turn.loss(playing({**params, player: mover}))
                return out.value, {"loss": out.value, **out.metrics}

            grads[player], found[player] = jax.grad(loss, has_aux=True)(params[player])
        return grads, found

    grads, found = jax.jit(step)(params)
    critic, generator = found["critic"], found["generator"]
    ours = critic["loss"], generator["adversarial"], generator["l1"], generator["loss"]
    assert_close(np.stack(ours), golden["losses"], 1e-4)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        name = "/".join(part.key for part in path)
        norm = golden.pop(f"norm:{name}")
        np.testing.assert_allclose(np.linalg.norm(leaf), norm, rtol=1e-3, err_msg=name)
        some = np.ravel(leaf)[:: max(1, leaf.size // 16)]
        close = 1e-3 * norm / np.sqrt(leaf.size)
        np.testing.assert_allclose(some, golden[f"grad:{name}"], rtol=1e-3, atol=close)
    assert not [name for name in golden if name.startswith("norm:")]  # all were compared


# Its turns, written out ---------------------------------------------------------------------------------------


CRITIC, GENERATOR = (
    {
        "non_saturating": lambda real, fake: softplus(-real) + softplus(fake),
        "least_squares": lambda real, fake: (jnp.mean((real - 1) ** 2) + jnp.mean(fake**2)) / 2,
        "relativistic_average": lambda real, fake: (
            softplus(jnp.mean(fake) - real) + softplus(fake - jnp.mean(real))
        ),
    },
    {
        "non_saturating": lambda real, fake: softplus(-fake),
        "least_squares": lambda real, fake: jnp.mean((fake - 1) ** 2) / 2,
        "relativistic_average": lambda real, fake: (
            softplus(real - jnp.mean(fake)) + softplus(jnp.mean(real) - fake)
        ),
    },
)


def turns_by_hand(options, batch, key):
    """{player: (its parameters, the other's, all other collections) -> (loss, (new collections, metrics))}."""
    x, y = decoded(batch["condition"]), decoded(batch["image"])
    norm = "instance" if options.norm == "instance" else "batch"
    unet = UNet(1, 4, 3, norm, options.dropout)
    patch = PatchCritic(4, 1, norm)

    def logits(params, state, picture):
        seen = jnp.concatenate([x, picture], -1) if options.conditional_critic else picture
        return patch.apply({"params": params, **state}, seen, mutable=["batch_stats"])

    def translated(params, state):
        draw = {"dropout": purpose(key, "dropout")}
        return unet.apply({"params": params, **state}, x, mutable=["batch_stats"], rngs=draw)

    def critic(mover, other, state):
        fake, _ = translated(other, state["generator"])
        real, first = logits(mover, state["critic"], y)
        fake, second = logits(mover, first, fake)
        value = CRITIC[options.objective](real, fake) / 2
        return value, (second, {"real": jnp.mean(real), "fake": jnp.mean(fake)})

    def generator(mover, other, state):
        fake, new = translated(mover, state["generator"])
        judged, _ = logits(other, state["critic"], fake)
        real, _ = logits(other, state["critic"], y)
        adversarial = GENERATOR[options.objective](real, judged)
        l1 = jnp.mean(jnp.abs(fake - y))
        value = options.adversarial_weight * adversarial + options.l1_weight * l1
        return value, (new, {"adversarial": adversarial, "l1": l1})

    return {"critic": critic, "generator": generator}


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "batch_running", "adversarial_weight": 0.5, "l1_weight": 7.0, "dropout": 0.3},
        {"objective": "least_squares", "conditional_critic": False},
        pytest.param(
            {"objective": "relativistic_average", "norm": "instance", "adversarial_weight": 2.0},
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_a_turns_loss_gradient_and_state_are_those_written_out(changes):
    game = tiny(**changes)
    engine, key = Engine(game), jax.random.key(7)
    state, batch = engine.init(), battery.batch(SPEC, 0, game.stages[0], 5)
    by_hand = turns_by_hand(dataclasses.replace(TINY, **changes), batch, key)
    assert [turn.players for turn in game.stages[0].turns] == [("critic",), ("generator",)]
    assert [turn.fresh_batch for turn in game.stages[0].turns] == [True, False]
    for turn, other in zip(game.stages[0].turns, ("generator", "critic"), strict=True):
        (player,) = turn.players

        def loss(mover, player=player, other=other):
            return by_hand[player](mover, state.params[other], state.variables)

        check_turn(engine, turn, state, batch, key, loss)


def test_the_defaults_are_the_papers():
    """Section 3.3 and the appendix; the learning rate's linear decay is the PyTorch code's, with 0 here for none."""
    options = pix2pix.Options()
    stated = {
        "generator_width": 64,
        "critic_width": 64,
        "skips": True,
        "dropout": 0.5,
        "patch": 70,
        "conditional_critic": True,
        "norm": "batch",
        "objective": "non_saturating",
        "adversarial_weight": 1.0,
        "l1_weight": 100.0,
        "batch_size": 1,
        "learning_rate": 2e-4,
        "beta1": 0.5,
        "beta2": 0.999,
    }
    assert stated == {name: getattr(options, name) for name in stated}
    game = pix2pix.game(options, pairs(256))
    unet, critic = (game.players[name].module for name in ("generator", "critic"))
    assert (unet.features, unet.width, unet.downs, unet.norm, unet.dropout) == (
        3,
        64,
        8,
        "batch",
        0.5,
    )
    assert (critic.features, critic.layers, critic.norm) == (64, 3, "batch")
    for player in game.players.values():
        assert player.average is None
        found = moves(player.optimizer, game.clock(0))
        np.testing.assert_allclose(found, adam(2e-4, 0.5, 0.999), rtol=1e-5)


def test_the_generator_alone_is_averaged():
    players = tiny(ema_half_life_kimg=7.0).players
    assert players["critic"].average is None
    assert players["generator"].average == Ema(7.0, ramp_up=0.05)


# What defines it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch", [1, 16, 70, pytest.param(286, marks=pytest.mark.slow)])
def test_one_logit_sees_a_patch_of_so_many_pixels(patch):
    layers = pix2pix.PATCHES[patch]
    critic = PatchCritic(1, layers, norm="none")
    shape = (1, 384, 384, 2) if patch == 286 else (1, 160, 160, 2)
    network = initialised(critic, *shape)
    middle = critic.apply(network, jnp.zeros(shape)).shape[1] // 2
    x = jax.random.normal(jax.random.key(1), shape)
    seen = jax.jit(jax.grad(lambda x: critic.apply(network, x)[0, middle, middle]))(x)
    rows, columns = np.nonzero(np.asarray(seen).any(axis=(0, 3)))
    for positions in (rows, columns):
        assert positions.min() > 0
        assert positions.max() < shape[1] - 1
        assert positions.max() - positions.min() + 1 == patch == receptive_field(layers)


def test_a_shortcut_joins_each_two_layers_of_one_resolution():
    """With the bottleneck closed, what is seen of the input comes through the shortcuts, through any of them alone."""
    x = jax.random.normal(jax.random.key(1), (1, 16, 16, 3))
    for skips in (False, True):
        net = UNet(1, width=2, downs=4, dropout=0.0, skips=skips)
        params = jax.tree.map(np.array, initialised(net, *x.shape)["params"])
        apply = jax.jit(lambda params, net=net: net.apply({"params": params}, x, mutable=True)[0])
        params["up3"] = {"kernel": 0 * params["up3"]["kernel"]}
        assert (jnp.std(apply(params)) > 0) == skips
    for alone in (0, 1, 2):
        only = dict(params)
        for i in {0, 1, 2} - {alone}:
            # The encoder's features come first among those that a layer of the decoder sees.
            kernel = params[f"up{i}"]["kernel"].copy()
            kernel[:, :, : kernel.shape[2] // 2] = 0
            only[f"up{i}"] = {**params[f"up{i}"], "kernel": kernel}
        assert jnp.std(apply(only)) > 0, alone


@functools.cache
def engine_of(norm, dropout=TINY.dropout):
    """One for all tests, which compile its outputs once."""
    return Engine(tiny(norm=norm, dropout=dropout))


@functools.cache
def initial_state():
    """Without running statistics, which instance normalisation has not."""
    return engine_of("instance").init()


def shifted(state):
    """A state whose running statistics are those of other data."""
    generator = state.variables["generator"]
    statistics = jax.tree.map(lambda leaf: leaf + 3.0, generator["batch_stats"])
    other = {**generator, "batch_stats": statistics}
    return state.replace(variables={**state.variables, "generator": other})


def test_at_test_time_a_picture_is_normalised_by_itself_or_by_the_running_statistics(played):
    engine, state = played
    batch = battery.batch(SPEC, 0, engine.game.stages[0], 5)
    key = jax.random.key(0)
    made = train.transform(engine, state, batch, key)
    assert made.shape == (2, 8, 8, 1)
    assert made.dtype == jnp.float32
    # By itself: the pictures beside it make no difference.
    white = np.full_like(batch["condition"][1:], 255)
    other = {**batch, "condition": np.concatenate([batch["condition"][:1], white])}
    np.testing.assert_array_equal(train.transform(engine, state, other, key)[0], made[0])
    # Running statistics make a difference only if they are asked for.
    for norm in ("batch", "batch_running"):
        engine = engine_of(norm)
        one, another = (train.transform(engine, s, batch, key) for s in (state, shifted(state)))
        assert (norm == "batch") == bool((one == another).all())
        assert (norm == "batch") == bool(np.abs(one - made).max() < 1e-6)


@pytest.mark.parametrize("norm", pix2pix.NORMS)
def test_a_translation_at_test_time_is_the_unets_with_the_rows_own_dropout(norm, played):
    state = shifted(played[1])
    if norm == "instance":
        state = initial_state()
    batch, key = battery.batch(SPEC, 0, played[0].game.stages[0], 5), jax.random.key(0)
    made = train.transform(engine_of(norm), state, batch, key)
    net = UNet(1, 4, 3, "instance" if norm == "instance" else "batch")
    network = {"params": state.params["generator"], **state.variables["generator"]}
    drawn = purpose(jax.random.fold_in(key, 0), "dropout")  # of the first chunk of rows
    apply = jax.jit(
        lambda condition, draw: net.apply(
            network,
            condition,
            train=norm != "batch_running",
            rngs={"dropout": draw},
            mutable=["batch_stats"],
        )[0]
    )
    for row in range(2):
        one = apply(decoded(batch["condition"][row : row + 1]), jax.random.fold_in(drawn, row))
        np.testing.assert_allclose(made[row], one[0], rtol=1e-4, atol=1e-5)


def test_instance_and_batch_normalisation_of_one_picture_are_the_same():
    x = jax.random.normal(jax.random.key(1), (1, 16, 16, 3))
    batch, instance = (
        UNet(1, width=2, downs=3, norm=norm, dropout=0.0) for norm in ("batch", "instance")
    )
    network = jax.tree.map(lambda leaf: leaf + 0.1, initialised(batch, *x.shape))
    params = {
        name: leaf["statistics"] if name.endswith("norm") else leaf
        for name, leaf in network["params"].items()
    }
    np.testing.assert_allclose(
        jax.jit(instance.apply)({"params": params}, x),
        jax.jit(functools.partial(batch.apply, mutable=True))(network, x)[0],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("norm", pix2pix.NORMS)
def test_dropout_is_the_noise_and_a_key_draws_it(norm, played):
    engine = engine_of(norm)
    state = initial_state() if norm == "instance" else played[1]
    batch = battery.batch(SPEC, 0, engine.game.stages[0], 5)
    one, again, another = (
        train.transform(engine, state, batch, jax.random.key(k)) for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != another).mean() > 0.9
    # Two copies of one picture get draws of their own.
    twins = {**batch, "condition": np.repeat(batch["condition"][:1], 2, 0)}
    first, second = train.transform(engine, state, twins, jax.random.key(0))
    assert (first != second).mean() > 0.9
    silent = engine_of(norm, 0.0)
    one, another = (train.transform(silent, state, batch, jax.random.key(k)) for k in (0, 1))
    np.testing.assert_array_equal(one, another)


@pytest.mark.parametrize(
    ("layers", "sides"), [((0, 1, 2), [2, 4, 8]), ((1, 2, 3), [4, 8, 16]), ((), []), ((3, 6), [16])]
)
def test_dropout_is_in_the_layers_that_are_named(layers, sides):
    net, found = UNet(1, width=2, downs=5, dropout_layers=layers), []

    def record(call, args, kwargs, context):
        if isinstance(context.module, nn.Dropout):
            found.append(args[0].shape[1])
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(
            net.init,
            {"params": jax.random.key(0), "dropout": jax.random.key(1)},
            jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32),
        )
    assert found == sides


def test_the_learning_rate_stays_and_then_falls_to_zero():
    optimizer = pix2pix.Options(decay_after=10, decay_steps=10).adam(2e-4)
    params, moves = jnp.zeros(1), []
    for step in (0, 9, 15, 20, 25):
        with jax.numpy_dtype_promotion("standard"):  # as the engine calls it
            updates, _ = optimizer.update(
                jnp.ones(1), optimizer.init(params), params, clock=tiny().clock(step)
            )
        moves.append(-float(updates[0]))
    np.testing.assert_allclose(moves, [2e-4, 2e-4, 1e-4, 0.0, 0.0], rtol=1e-5, atol=1e-12)


def test_resume_is_bit_exact(played):
    battery.check_resume(played[0], SPEC, at=1, rounds=3)


@pytest.mark.slow
def test_one_and_eight_devices_agree():
    battery.check_devices(tiny(batch_size=8), SPEC, rounds=2)


@pytest.mark.slow
def test_bfloat16_trains():
    spec = pairs(32)
    options = pix2pix.Options(generator_width=16, critic_width=16, batch_size=2, dtype="bfloat16")
    battery.check_trains(pix2pix.game(options, spec), spec, rounds=500)


def test_a_run_is_opened_again_with_its_pairs(tmp_path):
    cfg = config.load("pix2pix_digits")
    spec = config.open_data(cfg).spec
    run = config.make_run(cfg, spec)
    train.workdir.claim(tmp_path, run.record)
    assert (
        config.reopen(tmp_path).spec
        == spec
        == dataclasses.replace(pairs(32, image=1, condition=1), size=1442)
    )


# The tool -----------------------------------------------------------------------------------------------------


def test_translate_shows_a_picture_of_any_size_beside_its_translations(played):
    engine, state = played
    tool, networks = engine.game.tools["translate"], engine.game.networks(state)

    def play(key):
        return Play(networks, {}, key, engine.game.clock(3), num=1)

    wide = unit("wide", 8, 24, 3)
    made = tool(play(jax.random.key(0)), {"condition": wide}, samples=3)
    assert made.pictures.shape == (4, 8, 24, 3)
    assert made.columns == 4
    np.testing.assert_array_equal(made.pictures[0], wide)
    assert (made.pictures[1] != made.pictures[2]).mean() > 0.9
    # A picture of the data becomes what the output "transforms" makes of it, whose chunks have keys of their own.
    batch, key = battery.batch(SPEC, 0, engine.game.stages[0], 5), jax.random.key(3)
    condition = np.asarray(decoded(batch["condition"][0]))
    made = tool(play(jax.random.fold_in(key, 0)), {"condition": condition})
    transformed = train.transform(engine, state, batch, key)[0]
    np.testing.assert_allclose(made.pictures[1], np.repeat(transformed, 3, -1), atol=1e-5)


def test_channels_are_brought_to_the_games():
    grey = np.full((2, 2, 1), 0.5, np.float32)
    np.testing.assert_array_equal(pix2pix.fit_channels(grey, 3), np.full((2, 2, 3), 0.5))
    red = np.float32([[[1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(pix2pix.fit_channels(red, 1), [[[0.299]]])


# What it refuses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "changes", "text"),
    [
        (
            Spec({"image": Field("image", (32, 32, 3)), "label": Field("label", number=10)}, 9),
            {},
            "pix2pix needs a picture 'condition' in each example, but the data has only 'image' (a picture of "
            "32x32x3) and 'label' (a label of 10): set data.name=pairs.",
        ),
        (
            Spec(
                {"image": Field("image", (64, 64, 3)), "condition": Field("image", (32, 32, 3))}, 9
            ),
            {},
            "the data pairs one of 32x32 with one of 64x64; bring both to one size.",
        ),
        (
            pairs(100),
            {},
            "pictures of 100x100 can be halved 2 times, which makes a shallow U-Net: set "
            "data.resolution=128 or downs=2.",
        ),
        (
            pairs(96, 128),
            {"generator_width": 0},
            "generator_width is 0, but it must be at least 1: set generator_width=1.",
        ),
        (
            pairs(96, 128),
            {"downs": 6},
            "downs is 6, but pictures of 96x128 can be halved 5 times: set downs=5 or downs=0 and data.resolution=128.",
        ),
        (
            pairs(64),
            {"patch": 286},
            "patch is 286, but such a critic has no logits for pictures of 64x64: set patch=142.",
        ),
        (pairs(64), {"patch": 71}, "patch is 71, but it must be one of 1, 16, 34, 70, 142"),
        (pairs(64), {"norm": "layer"}, "norm is 'layer', but it must be one of batch, batch_r"),
        (
            pairs(64),
            {"dropout": 1.0},
            "dropout is 1.0, but it must be at least 0, below 1",
        ),
        (pairs(64), {"dtype": "float16"}, "one of float32, bfloat16"),
    ],
)
def test_what_it_cannot_play_is_refused_by_a_sentence(spec, changes, text):
    battery.assert_refused(pix2pix.game, pix2pix.Options(**changes), spec, re.escape(text))


@pytest.mark.parametrize(
    ("picture", "options", "text"),
    [
        (
            np.zeros((30, 50, 3), np.float32),
            {},
            "the picture is 30x50, but this U-Net halves 3 times, so both sides must be multiples of 8 pixels; resize "
            "it to 32x48.",
        ),
        (
            np.zeros((16, 16, 3), np.float32),
            {"samples": 0},
            "samples is 0, but it must be at least 1: set samples=1.",
        ),
        (
            np.zeros((16, 16, 3), np.float32),
            {"columns": -1},
            "columns is -1, but it must be at least 0: set columns=0.",
        ),
    ],
)
def test_what_cannot_be_translated_is_refused_by_a_sentence(picture, options, text):
    play = Play({}, {}, jax.random.key(0), tiny().clock(0), num=1)
    with pytest.raises(ValueError, match=re.escape(text)):
        tiny().tools["translate"](play, {"condition": picture}, **options)


def test_a_batch_of_one_on_eight_devices_is_told_what_fits():
    with pytest.raises(
        ValueError, match=r"the batch of 1 cannot be split evenly over 8 devices: set"
    ):
        train.make_engine(
            pix2pix.game(pix2pix.Options(), pairs(64)), train.Options(), seed=0
        ).check_batches()


def test_a_unet_of_unknown_normalisation_or_odd_pictures():
    with pytest.raises(ValueError, match="a U-Net's norm is one of batch, instance, not 'layer'"):
        initialised(UNet(3, norm="layer"), 1, 256, 256, 3)
    text = "a U-Net that halves 3 times needs pictures whose sides are multiples of 8 pixels, not 12x16."
    with pytest.raises(ValueError, match=re.escape(text)):
        initialised(UNet(3, downs=3), 1, 12, 16, 3)
