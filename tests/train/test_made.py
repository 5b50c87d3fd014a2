"""Running a tool: the key and the networks that it is given."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import transforming

from jaxgan import train
from jaxgan.engine import Engine
from jaxgan.schedules import Ema
from jaxgan.spec import Field, Spec
from jaxgan.tools import Made, Tool


def test_a_tool_is_given_the_key_of_the_seed_and_averaged_networks_if_they_are_asked_for():
    def show(play):
        gain, draw = play.networks["generator"].params["gain"], jax.random.normal(play.key)
        numbers = {"gain": float(gain), "draw": float(draw)}
        return Made(np.zeros((1, 8, 8, 1), np.float32), numbers=numbers)

    game = transforming.game(
        transforming.Options(), Spec({"image": Field("image", (8, 8, 1))}, 100)
    )
    averaged = dataclasses.replace(game.players["generator"], average=Ema(1.0))
    players = {**game.players, "generator": averaged}
    engine = Engine(dataclasses.replace(game, players=players, tools={"show": Tool(show, "")}))
    state = engine.init()
    state = state.replace(ema=jax.tree.map(jnp.zeros_like, state.ema))
    for seed, ema, gain in ((0, True, 0.0), (7, True, 0.0), (7, False, 0.5)):
        made = train.make(engine, state, "show", seed=seed, ema=ema)
        draw = float(jax.random.normal(jax.random.key(seed)))
        assert made.numbers == {"gain": gain, "draw": draw}
