"""Every model: golden parameter counts, sources, configs, and one real round."""

import dataclasses
import importlib.util
import itertools
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery

from jaxgan import config, losses, models, spectral
from jaxgan.game import DataSpec, Engine

CIFAR = DataSpec((32, 32, 3), 10, 50_000)
DIGITS = DataSpec((8, 8, 1), 10, 1797)
POINTS = DataSpec((2,), 25, 100_000)


def picture(resolution):
    return DataSpec((resolution, resolution, 3), 10, 1000)


# (model, data, changed options) -> parameters of each player; those of models that have a test file of their own
# stand there, as its GOLDEN. The counts of published code are the same but
# for the biases in front of batch normalisation, which jaxgan leaves out (see CHANGELOG.md). PyTorch-StudioGAN's logs
# say, rounded: conditional SN-GAN 1.06 M and 4.30 M, DCGAN 2.93 M and (latent 128, as lsgan here) 3.81 M.
GOLDEN = {
    ("gan", CIFAR, ()): (5_130_001, 5_251_872),
    ("gan", POINTS, ()): (1_446_001, 1_564_802),
    ("dcgan", CIFAR, ()): (2_937_281, 3_582_531),
    ("lsgan", CIFAR, ()): (2_937_281, 3_811_907),
    ("wgan", CIFAR, ()): (2_937_281, 3_811_907),
    ("wgan", POINTS, ()): (132_609, 165_122),
    ("wgan_gp", CIFAR, ()): (1_053_825, 1_203_331),
    ("wgan_gp", POINTS, ()): (132_609, 165_122),
    ("sngan", CIFAR, ()): (1_053_824, 4_274_435),
    ("sngan", CIFAR, (("conditional", True),)): (1_055_104, 4_302_083),
    ("sngan", CIFAR, (("architecture", "conv"),)): (2_935_873, 3_811_907),
    ("sngan", DIGITS, ()): (739_584, 577_409),
    ("sngan", picture(16), ()): (758_656, 3_028_227),
    ("sngan", picture(48), ()): (10_141_440, 4_876_739),
    ("sngan", picture(64), ()): (10_141_440, 12_217_795),
    ("sngan", picture(128), ()): (29_017_856, 32_144_835),
    ("sngan", picture(128), (("conditional", True),)): (29_028_096, 32_233_539),
    ("sngan", POINTS, ()): (132_609, 165_122),
}
GOLDEN = {
    case: dict(zip(("critic", "generator"), numbers, strict=True))
    for case, numbers in GOLDEN.items()
}
for _name in models.names():
    if importlib.util.find_spec(f"models.test_{_name}"):
        GOLDEN |= importlib.import_module(f"models.test_{_name}").GOLDEN


def make(name, spec, changes=()):
    module = models.load(name)
    return module.game(module.Options(**dict(changes)), spec)


def counts(game):
    def count(player):
        shapes = jax.eval_shape(player.init, jax.random.key(0))
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))

    return {name: count(player) for name, player in game.players.items()}


@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_golden_parameter_counts(case):
    assert counts(make(*case)) == GOLDEN[case]


def test_every_model_has_golden_counts_a_source_and_configs():
    counted = {name for name, _, _ in GOLDEN}
    used = {config.load(name).model_name for name in config.names()}
    for name in models.names():
        docstring = models.load(name).__doc__
        assert name in counted, f"add {name} to GOLDEN"
        assert name in used, f"write configs/{name}_<dataset>.py"
        for heading in ("Paper", "Reference implementation", "Intended difference"):
            assert heading in docstring, f"{name}'s docstring lacks '{heading}'"
    assert counted == set(models.names())


def spec_of(data_name, data):
    """What a config's data look like, without reading any."""
    side = getattr(data, "resolution", 0)
    square = (side or 256, side or 256, 3)
    return {
        "digits": DataSpec((side or 8, side or 8, 1), 10, 1797),
        "mixture2d": POINTS,
        "tfds": CIFAR,
        "folder": DataSpec(square, None, 30_000),
        "picture": DataSpec((88, 132, 3), None, 1),
        "pairs": DataSpec(square, None, 400, square),
    }[data_name]


@pytest.mark.parametrize("name", config.names())
def test_every_config_loads_and_its_docstring_names_its_command(name):
    cfg = config.load(name)
    assert config.describe(name).endswith((".", "GAN"))
    path = config.folder() / f"{name}.py"
    assert f"jaxgan train --config {name}" in path.read_text()
    spec = spec_of(cfg.data_name, cfg.data)
    run = config.make_run(cfg, spec)
    assert run.game.sample_shape == spec.shape


SMALL = {"generator_width": 16, "critic_width": 16, "batch_size": 8}


def batches(spec, batch_size):
    for k in itertools.count():
        rng = np.random.default_rng(k)
        if len(spec.shape) == 3:
            image = rng.integers(0, 256, (batch_size, *spec.shape), np.uint8)
        else:
            image = rng.normal(size=(batch_size, *spec.shape)).astype(np.float32)
        yield {
            "image": image,
            "label": rng.integers(0, spec.num_classes, batch_size).astype(np.int32),
        }


def play(name, spec, rounds=2, **changes):
    options = SMALL | changes
    engine = Engine(make(name, spec, tuple(options.items())), seed=3)
    state = engine.init()
    states, stream = [jax.device_get(state)], batches(spec, options["batch_size"])
    for step in range(rounds):
        state, metrics = engine.round(state, step, stream)
        states.append(jax.device_get(state))
    return engine, state, states, metrics


CASES = [
    ("gan", DIGITS, {}),
    ("gan", DIGITS, {"objective": "minimax"}),
    ("dcgan", DIGITS, {"critic_steps": 2}),
    ("lsgan", DIGITS, {}),
    ("wgan", DIGITS, {"critic_steps": 2}),
    ("wgan", POINTS, {"critic_steps": 2}),
    ("wgan_gp", DIGITS, {"critic_steps": 2}),
    ("sngan", DIGITS, {"critic_steps": 2}),
    ("sngan", DIGITS, {"critic_steps": 2, "conditional": True, "dtype": "bfloat16"}),
    ("sngan", DIGITS, {"critic_steps": 1, "architecture": "conv", "conditional": True}),
    (
        "sngan",
        DIGITS,
        {"critic_steps": 1, "objective": "relativistic_paired", "conditional": True},
    ),
    ("sngan", POINTS, {"objective": "relativistic_average_hinge"}),
]


@pytest.mark.parametrize(("name", "spec", "changes"), CASES)
def test_two_rounds_are_finite_traced_once_and_move_only_what_may_move(name, spec, changes):
    engine, state, states, metrics = play(name, spec, **changes)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states[-1]))
    assert all(np.isfinite(value) for turn in metrics.values() for value in turn.values())
    assert set(engine.traces().values()) == {1}
    for player in ("critic", "generator"):
        moved = jax.tree.map(
            lambda a, b: bool((a != b).any()), states[0].params[player], states[-1].params[player]
        )
        assert any(jax.tree.leaves(moved))
        assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(states[-1].params[player]))
    labels = None if engine.game.num_classes is None else np.arange(6, dtype=np.int32)
    samples = np.asarray(engine.sample(state, jax.random.key(0), 6, labels))
    assert samples.shape == (6, *spec.shape)
    assert samples.dtype == np.float32
    if len(spec.shape) == 3:
        assert np.abs(samples).max() <= 1


def only(engine, turn_name, state, spec, play_index=0):
    """The state after playing one turn of the first stage alone."""
    (turn,) = [t for t in engine.game.stages[0].turns if t.name == turn_name]
    batch = engine.put(next(batches(spec, SMALL["batch_size"])))
    # Copied: the program takes the state that it is given.
    state = jax.tree.map(jnp.copy, state)
    return engine.program(0, turn)(state, batch, engine.run_key, np.int32(play_index))[0]


def test_spectral_u_moves_in_the_critics_turn_only_and_once_in_it():
    engine, state, _, _ = play("sngan", DIGITS, rounds=1, critic_steps=1)
    after_generator = only(engine, "generator", state, DIGITS)
    jax.tree.map(
        np.testing.assert_array_equal,
        state.variables,
        {**after_generator.variables, "generator": state.variables["generator"]},
    )
    after_critic = only(engine, "critic", state, DIGITS)
    for block, layer in (("block0", "conv0"), ("block1", "conv1")):
        kernel = state.params["critic"][block][layer]["kernel"]
        u = state.variables["critic"]["spectral"][block][layer]["u"]
        once = spectral.leading_vector(spectral.flatten_kernel(kernel, "conv"), u)
        moved = after_critic.variables["critic"]["spectral"][block][layer]["u"]
        np.testing.assert_allclose(moved, once, rtol=1e-5, atol=1e-6)
        assert not np.array_equal(moved, u)


HUNDRED_ROUNDS = """
import jax, numpy as np
from jaxgan import config, spectral
from jaxgan.data import Pipeline
from jaxgan.game import Engine

cfg = config.load("sngan_digits")
source = config.open_data(cfg)
engine = Engine(config.make_run(cfg, source.spec).game)
state, stream = engine.init(), Pipeline(source, 0).iterate(0, cfg.model.batch_size)
for step in range(100):
    state, _ = engine.round(state, step, stream)
stream.close()
leaves = jax.tree_util.tree_leaves_with_path(state.variables["critic"]["spectral"])
assert len(leaves) == 8
for path, u in leaves:
    kernel = state.params["critic"]
    for part in path[:-1]:
        kernel = kernel[part.key]
    kernel = kernel["kernel"]
    w = spectral.flatten_kernel(kernel, "conv" if kernel.ndim == 4 else "dense")
    largest = np.linalg.svd(np.float64(w), compute_uv=False)[0]
    stored = float(spectral.sigma(w, u))
    assert abs(stored / largest - 1) < 1e-3, (path, stored, largest)
    # The next critic step divides by this one.
    used = float(spectral.sigma(w, spectral.leading_vector(w, u)))
    assert abs(used / largest - 1) < 1e-3, (path, used, largest)
"""


def test_sigma_is_the_svds_after_a_hundred_rounds_of_the_default_config():
    """As a person runs it: the suite's own way of compiling gives another trajectory."""
    child = subprocess.run(
        [sys.executable, "-c", HUNDRED_ROUNDS],
        env=dict(os.environ, XLA_FLAGS=""),
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr[-2000:]


def test_batch_statistics_move_in_their_own_networks_turn_only():
    engine, state, _, _ = play("dcgan", DIGITS, rounds=1)

    def moved(after, player):
        same = jax.tree.map(
            lambda a, b: bool((a == b).all()), state.variables[player], after.variables[player]
        )
        return not all(jax.tree.leaves(same))

    after_critic, after_generator = (
        only(engine, t, state, DIGITS) for t in ("critic", "generator")
    )
    assert moved(after_critic, "critic")
    assert not moved(after_critic, "generator")
    assert moved(after_generator, "generator")
    assert not moved(after_generator, "critic")


def test_generator_batch_is_a_multiple_of_the_critics():
    """Seen in the running mean of the linear layer's successor: it is the mean over all latents of the turn."""
    for multiple in (1, 2):
        engine = Engine(
            make("sngan", DIGITS, (*SMALL.items(), ("generator_batch_multiple", multiple)))
        )
        turn = engine.game.stages[0].turns[1]
        batch = {"image": jax.ShapeDtypeStruct((8, 8, 8, 1), np.uint8)}
        lowered = engine.program(0, turn).lower(
            engine.state_shape, batch, engine.run_key, jax.ShapeDtypeStruct((), np.int32)
        )
        assert f"tensor<{8 * multiple}x128xf32>" in lowered.as_text()


def test_wgan_clips_kernels_and_nothing_else():
    _, state, _, _ = play("wgan", DIGITS, rounds=2, critic_steps=2, clip=0.003)
    checked = set()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params["critic"]):
        name = path[-1].key
        checked.add(name)
        largest = float(jnp.abs(leaf).max())
        if name == "kernel":
            assert 0.0029 < largest <= 0.003 * (1 + 1e-6)
    assert state.params["critic"]["same0_norm"]["statistics"]["scale"].min() > 0.9
    assert {"kernel", "scale"} <= checked


def test_minimax_and_non_saturating_differ_in_the_generators_loss_only():
    _, _, _, m_a = play("gan", DIGITS, rounds=1, objective="minimax")
    _, _, _, m_b = play("gan", DIGITS, rounds=1, objective="non_saturating")
    assert m_a["critic"]["critic/loss"] == m_b["critic"]["critic/loss"]
    assert m_a["generator"]["generator/loss"] < 0 < m_b["generator"]["generator/loss"]


@pytest.mark.parametrize("objective", ["hinge", "relativistic_average_hinge"])
def test_the_generator_of_an_objective_that_compares_sees_real_samples(objective):
    game = make("sngan", DIGITS, (*SMALL.items(), ("objective", objective)))
    state = Engine(game).init()
    one, other = itertools.islice(batches(DIGITS, SMALL["batch_size"]), 2)
    loss = game.stages[0].turns[1].loss
    values = [loss(state.params, state.variables, b, jax.random.key(1)).value for b in (one, other)]
    assert (values[0] != values[1]) == losses.by_name(objective).compares


def test_learning_rates_reach_zero_after_decay_steps():
    _, _, states, _ = play("gan", DIGITS, rounds=4, decay_steps=3)
    before, after = states[3], states[4]
    # Equal but for the last bit, in which two programs may differ.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), before.params, after.params
    )
    assert not np.array_equal(
        states[2].params["critic"]["output"]["kernel"], before.params["critic"]["output"]["kernel"]
    )


@pytest.mark.parametrize(
    ("name", "spec", "changes", "text"),
    [
        (
            "sngan",
            picture(100),
            {},
            "pictures of 8, 16, 32, 48, 64, 128 pixels, not 100: set data.resolution=128",
        ),
        (
            "dcgan",
            picture(100),
            {},
            "4 times a power of two pixels, not 100: set data.resolution=64",
        ),
        (
            "sngan",
            DataSpec((32, 48, 3), None, 9),
            {},
            r"square pictures, but one example of the data has shape \(32, 48, 3\)",
        ),
        (
            "sngan",
            POINTS,
            {"architecture": "resnet"},
            "set architecture=mlp",
        ),
        ("sngan", CIFAR, {"architecture": "transformer"}, "be one of auto, mlp, conv, resnet"),
        (
            "sngan",
            DataSpec((32, 32, 3), None, 9),
            {"conditional": True},
            "the data gives no labels",
        ),
        ("gan", CIFAR, {"conditional": True}, "has no conditional form"),
        ("gan", CIFAR, {"objective": "hinge"}, "one of minimax, non_saturating"),
        ("sngan", CIFAR, {"objective": "hing"}, "set objective=hinge"),
        ("wgan", CIFAR, {"clip": 0.0}, "clip is 0.0, but it must be above 0: set clip=0.01"),
        ("sngan", CIFAR, {"dtype": "float16"}, "one of float32, bfloat16"),
        ("sngan", CIFAR, {"optimizer": "sgd"}, "one of adam, rmsprop"),
    ],
)
def test_what_a_model_cannot_make_is_refused_by_a_sentence(name, spec, changes, text):
    module = models.load(name)
    battery.refused(module.game, module.Options(**changes), spec, text)


def test_unknown_model_says_did_you_mean():
    with pytest.raises(ValueError, match=r"model.name is 'sgan', .*: set model.name=sngan"):
        models.load("sgan")


def test_options_are_documented_defaults_of_one_dataclass():
    for name in models.names():
        options = models.load(name).Options
        assert dataclasses.is_dataclass(options)
        assert all(
            type(value) in (int, float, str, bool)
            for value in dataclasses.asdict(options()).values()
        )
