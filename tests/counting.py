"""A game that costs nothing: one number, and a clock that its loss can see."""

import jax.numpy as jnp
import numpy as np
import optax
from numbers_only import Numbers

from jaxgan.data import ArraySource
from jaxgan.game import Game, Loss, Output, Player, Stage, Turn
from jaxgan.spec import Field, Spec
from jaxgan.train import Options


def quietly(sentence):
    del sentence


def counting_game(loss=lambda w, clock: -w, optimizer=None, samples=None):
    """`loss(w, rounds played)`; its samples are points, or what `samples(w, num, labels)` makes."""

    def turn(play):
        critic = play.moving("critic")
        clock = critic["clock"]["n"]
        value = loss(critic.params["w"], clock) + 0.0 * jnp.mean(play.batch["image"])
        critic.set(clock={"n": clock + 1})
        return Loss(value, {"clock": clock.astype(jnp.float32)})

    def make(play):
        w = play.networks["critic"].params["w"]
        if samples is None:
            return jnp.full((play.num, 2), w)
        return samples(w, play.num, play.batch["label"])

    collections = {"clock": {"n": jnp.int32(0)}}
    critic = Player(
        Numbers(w=jnp.float32(0)), (), optimizer or optax.sgd(1.0), collections=collections
    )
    output = Output(make, (2,)) if samples is None else Output(make, (8, 8, 1), ("label",))
    return Game(
        {"critic": critic},
        (Stage((Turn(("critic",), turn),), batch_size=4),),
        {"samples": output},
        Spec({"image": Field("points", (2,)), "label": Field("label", number=7)}, 16),
    )


SOURCE = ArraySource(np.zeros((16, 2), np.float32), np.arange(16) % 7)
QUICK = Options(steps=20, log_every=4, sample_every=50, checkpoint_every=5, grid=4, devices=1)
