"""What `sagan` adds to the games of a critic and a generator, and its networks against another implementation."""

from pathlib import Path

import numpy as np
import pytest
from models import battery, same_weights

from jaxgan.engine import Engine
from jaxgan.models import sagan
from jaxgan.spec import Field, Spec

CLASSES = 3
SPEC = Spec({"image": Field("image", (32, 32, 3)), "label": Field("label", number=CLASSES)}, 100)
# Attention of the critic at 8x8, as the other implementation has it.
OPTIONS = {
    "latent_dim": 8, "generator_width": 16, "critic_width": 16, "batch_size": 4, "critic_attention": 8
}  # fmt: skip


def make(spec=SPEC, **changes):
    return sagan.game(sagan.Options(**{**OPTIONS, **changes}), spec)


@pytest.fixture(scope="module")
def engine():
    return Engine(make())


# Where attention is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "sides", "channels"),
    [(8, (8, 4), (16, 16)), (32, (16, 16), (16, 16)), (64, (32, 32), (32, 16)), (128, (32, 32), (32, 16))],
)  # fmt: skip
def test_attention_follows_the_blocks_of_its_side(side, sides, channels):
    """At 128 pixels after the generator's third block and the critic's second, as in the authors' code."""
    spec = Spec({"image": Field("image", (side, side, 3)), "label": Field("label", number=9)}, 1)
    width = {64: 256, 128: 128}.get(side, 16)
    options = sagan.Options(generator_width=width, critic_width=width, latent_dim=4)
    assert sagan.attention(options, side) == sides
    shapes = Engine(sagan.game(options, spec)).state_shape.params
    found = [shapes[p]["attention"]["output"]["kernel"].shape for p in ("generator", "critic")]
    assert (found[0][-1], found[1][-1]) == channels
    assert all("gamma" in shapes[player]["attention"] for player in ("generator", "critic"))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("generator_attention", 12, "the feature maps have sides of 8, 16, 32: set generator_attention=8"),
        ("critic_attention", 32, "the feature maps have sides of 16, 8: set critic_attention=16"),
    ],
)  # fmt: skip
def test_a_side_that_no_feature_map_has_is_refused(name, value, text):
    battery.assert_refused(sagan.game, sagan.Options(**{name: value}), SPEC, text)
    fix = text.rpartition("set ")[2].split("=")
    make(**{fix[0]: int(fix[1])})


def test_data_without_labels_or_of_another_size_is_refused():
    spec = Spec({"image": Field("image", (32, 32, 3))}, 1)
    battery.assert_refused(
        sagan.game, sagan.Options(), spec, "the data has no labels: set conditional=false"
    )
    spec = Spec({"image": Field("image", (40, 40, 3)), "label": Field("label", number=9)}, 1)
    battery.assert_refused(sagan.game, sagan.Options(), spec, "not 40: set data.resolution=32")


def test_defaults_are_those_of_the_paper():
    options = sagan.Options()
    paper = dict(
        latent_dim=128, conditional=True, batch_size=256, critic_steps=1, generator_batch_multiple=1,
        critic_learning_rate=4e-4, generator_learning_rate=1e-4, beta1=0.0, beta2=0.9, decay_steps=0,
        ema_half_life_kimg=0.0, dequantise=False, objective="hinge",
    )  # fmt: skip
    assert {name: getattr(options, name) for name in paper} == paper


# Training ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_u_moves_in_a_players_own_turn_alone_and_gamma_moves_first(engine):
    """At the start only gamma of an attention block has a gradient."""
    turns = list(battery.turns_apart(engine, SPEC))
    battery.check_u_moves_in_own_turns(turns)
    for (mover,), start, end in turns:
        before, after = (state.params[mover]["attention"] for state in (start, end))
        moved = {name for name in before if not battery.equal(before[name], after[name])}
        assert moved == {"gamma"}


DIGITS = Spec({"image": Field("image", (8, 8, 1)), "label": Field("label", number=3)}, 100)
SMALL = {"generator_width": 8, "critic_width": 8, "critic_attention": 0}


@pytest.mark.slow
def test_trains_and_resumes_bit_for_bit():
    engine, _ = battery.check_trains(make(DIGITS, **SMALL), DIGITS, rounds=3)
    battery.check_resume(engine, DIGITS, at=1, rounds=3)


@pytest.mark.slow
def test_one_and_eight_devices_agree():
    battery.check_devices(make(DIGITS, **SMALL | {"batch_size": 8}), DIGITS, rounds=3)


@pytest.mark.slow
def test_bfloat16_trains_for_500_rounds():
    battery.check_trains(make(DIGITS, **SMALL, dtype="bfloat16"), DIGITS, rounds=500)


def test_kernels_of_both_players_are_normalised(engine):
    """All but those of the conditional batch normalisation."""
    assert not battery.not_normalised(engine, "critic")
    found = battery.not_normalised(engine, "generator")
    assert len(found) == 12  # gain and bias of two layers in three blocks
    assert all(path[1].startswith("norm") for path in found)


# Parity -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_reference_has_the_same_outputs_losses_and_gradients(engine):
    """kwotsin/mimicry at a7fda06c4aff1e6af8dc4c4a35ed6636e434c766, `nets/sagan/sagan_32.py`, PyTorch 2.13.

    Its networks of width 16 were given the parameters of `same_weights.ruled`, no bias where ours have none (before
    batch normalisation), and singular vectors that had converged. Two things were changed in it to what the authors'
    code does: its generator upsamples bilinearly, here by nearest neighbours, and the first ReLU of a block of its
    critic works in place, so that the shortcut takes its result instead of the block's input. Its losses are those of
    its class `GANLoss` with "hinge".
    """
    with np.load(Path(__file__).parent / "golden" / "sagan.npz") as file:
        golden = dict(file)
    same_weights.check_networks(engine, golden, CLASSES)
