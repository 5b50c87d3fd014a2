"""Numbers and averages that follow the clock, against plain arithmetic."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine.small import adds_mean, counting, number, one_turn

from jaxgan import averaging
from jaxgan.engine import Engine
from jaxgan.schedules import Clock, Ema, PowerEma, Ramp, at


def clock(kimg=0.0, step=0, stage_kimg=0.0, stage_step=0, stage=0):
    return Clock(
        jnp.int32(step),
        jnp.float32(kimg),
        jnp.int32(stage),
        jnp.int32(stage_step),
        jnp.float32(stage_kimg),
    )


@pytest.mark.parametrize(
    ("ramp", "kimg", "value"),
    [
        (Ramp(2.0, 0.5, over=10.0), 0.0, 2.0),
        (Ramp(2.0, 0.5, over=10.0), 4.0, 1.4),
        (Ramp(2.0, 0.5, over=10.0), 10.0, 0.5),
        (Ramp(2.0, 0.5, over=10.0), 99.0, 0.5),
        (Ramp(0.0, 1.0, over=10.0, after=5.0), 5.0, 0.0),
        (Ramp(0.0, 1.0, over=10.0, after=5.0), 7.5, 0.25),
        (Ramp(0.0, 1.0, over=10.0, after=5.0), 20.0, 1.0),
        (Ramp(0.0, 4.0, over=10.0, shape="cosine"), 2.5, 4 * (0.5 - 0.5 * math.cos(math.pi / 4))),
        (Ramp(0.0, 4.0, over=10.0, shape="cosine"), 5.0, 2.0),
        (Ramp(0.0, 4.0, over=10.0, shape="cosine"), 11.0, 4.0),
        (Ramp(1.0, 3.0, over=0.0, after=5.0), 4.9, 1.0),
        (Ramp(1.0, 3.0, over=0.0, after=5.0), 5.0, 3.0),
        (Ramp(1.0, 3.0, over=0.0), 0.0, 3.0),
    ],
)
def test_a_ramp_moves_from_start_to_end(ramp, kimg, value):
    for found in (ramp(clock(kimg)), jax.jit(ramp)(clock(kimg))):
        np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-7)
        assert found.dtype == jnp.float32


@pytest.mark.parametrize("unit", ["kimg", "step", "stage_kimg", "stage_step"])
def test_a_ramp_counts_in_its_unit(unit):
    now = {"kimg": 9.0, "step": 9, "stage_kimg": 9.0, "stage_step": 9, unit: 3}
    assert Ramp(0.0, 1.0, over=6.0, unit=unit)(clock(**now)) == 0.5


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"over": 1.0, "unit": "images"}, "unit is 'images'; it is one of kimg, step, stage_kimg"),
        ({"over": 1.0, "shape": "square"}, "shape is 'square'; it is one of linear, cosine"),
        ({"over": -1.0}, "over is -1.0; the length of a ramp is 0 or more"),
    ],
)
def test_a_wrong_ramp_is_refused(fields, text):
    with pytest.raises(ValueError, match=text):
        Ramp(0.0, 1.0, **fields)


def test_a_schedule_is_a_number_or_a_function_of_the_clock():
    now = clock(kimg=4.0, step=7)
    values = [at(x, now) for x in (3, 0.25, Ramp(0.0, 1.0, over=8.0), lambda clock: clock.step)]
    assert [float(x) for x in values] == [3.0, 0.25, 0.5, 7.0]
    assert {(x.dtype.name, x.shape) for x in values} == {("float32", ())}


@pytest.mark.parametrize(
    ("average", "kimg", "half_life", "ramp_up", "start"),
    [
        (Ema(10.0), 3.0, 10.0, None, None),
        (Ema(10.0, ramp_up=0.05), 0.0, 10.0, 0.05, None),
        (Ema(10.0, ramp_up=0.05), 40.0, 10.0, 0.05, None),
        (Ema(10.0, ramp_up=0.05), 400.0, 10.0, 0.05, None),
        (Ema(10.0, start_kimg=5.0), 4.9, 10.0, None, 5.0),
        (Ema(10.0, start_kimg=5.0), 5.0, 10.0, None, 5.0),
        (Ema(Ramp(0.0, 8.0, over=4.0)), 1.0, 2.0, None, None),
    ],
)
def test_an_exponential_average_is_that_of_the_images_before_the_round(
    average, kimg, half_life, ramp_up, start
):
    found = average(clock(kimg), 0.064)
    expected = averaging.ema_decay(64, half_life, kimg, ramp_up, start)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    span = half_life if ramp_up is None else min(half_life, ramp_up * kimg)
    started = start is None or kimg >= start
    by_hand = 2 ** (-0.064 / span) if span and started else 0.0
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)


def test_a_power_average_counts_the_images_of_the_round_itself():
    average = PowerEma(0.1)
    assert average(clock(0.0), 0.064) == 0.0  # nothing of the initialisation stays
    found = average(clock(kimg=0.192), 0.064)
    np.testing.assert_allclose(found, averaging.power_decay(64, 0.256, 0.1), rtol=1e-5)
    exponent = averaging.power_gamma(0.1) + 1
    np.testing.assert_allclose(found, (1 - 0.25) ** exponent, rtol=1e-4)


@pytest.mark.parametrize("average", [Ema(0.05, ramp_up=2.0, start_kimg=0.02), PowerEma(0.2)])
def test_an_average_in_training_follows_the_images_of_whole_rounds(average):
    """Two critic batches of 8 images a round: averages are updated once a round, by 16 images."""
    engine = Engine(one_turn(adds_mean(), batch_size=8, repeat=2, player=number(average=average)))
    state, stream, expected = engine.init(), counting(8), 0.0
    for step in range(5):
        state, _ = engine.round(state, step, stream)
        kimg, w = 0.016 * step, float(state.params["critic"]["w"])
        decay = float(average(clock(kimg, step), 0.016))
        expected = decay * expected + (1 - decay) * w
        np.testing.assert_allclose(state.ema["critic"]["params"]["w"], expected, rtol=1e-4)
    assert decay > 0.1
    assert w == sum(range(10))
