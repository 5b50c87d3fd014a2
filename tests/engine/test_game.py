"""Declarations: what is refused, where rounds lie, what a play and a batch hold."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from engine.small import adds_mean, make_game, number, one_turn, play

from jaxgan.engine import Engine
from jaxgan.game import Game, Loss, Play, Player, Stage, Turn, averaged_part, purpose_key
from jaxgan.network import Network
from jaxgan.spec import Field, Spec

LOSS = adds_mean()


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Turn((), LOSS, "empty"), "turn 'empty' has no players: name at least one"),
        (lambda: Turn(("critic",), LOSS, every=0), "every=0, repeat=1: both must be at least 1"),
        (lambda: Turn(("critic",), LOSS, repeat=0), "every=1, repeat=0: both must be at least 1"),
        (
            lambda: make_game({"critic": number()}, (Stage((Turn(("criic",), LOSS),), 2),)),
            "turn 'criic' moves 'criic', which is not a player of this game; the players are critic",
        ),
        (lambda: one_turn(LOSS, player=number(optimizer=None)), "'critic', which has no optimizer"),
        (
            lambda: one_turn(LOSS, fresh_batch=False),
            "the first turn of stage 0 must draw a batch in every round",
        ),
        (lambda: one_turn(LOSS, every=2), "the first turn of stage 0 must draw a batch in every"),
        (
            lambda: make_game({"critic": number()}, (Stage((), 2),)),
            "the first turn of stage 0 must draw a batch",
        ),
        (
            lambda: make_game({"critic": number()}, (Stage((Turn(("critic",), LOSS),) * 2, 2),)),
            "two turns of stage 0 have the same name",
        ),
        (
            lambda: make_game({"critic": number()}, (Stage((Turn(("critic",), LOSS),), 2),) * 2),
            "stage 0 ends at until=None, but a stage before the last must end after round 0",
        ),
        (
            lambda: make_game(
                {"critic": number()},
                tuple(Stage((Turn(("critic",), LOSS),), 2, until) for until in (5, 5, None)),
            ),
            "stage 1 ends at until=5, but a stage before the last must end after round 5",
        ),
        (
            lambda: Game({"critic": number()}, (Stage((Turn(("critic",), LOSS),), 2),), {}, None),
            "a game needs at least one output",
        ),
        (
            lambda: make_game(
                {"critic": number()}, (Stage((Turn(("critic",), LOSS),), 2),), shown=("balance",)
            ),
            "shown names the metric 'balance', but metrics are called TURN/METRIC, and the turns are critic",
        ),
    ],
)
def test_a_wrong_declaration_is_refused(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def test_whole_numbers_of_numpy_are_taken():
    turn = Turn(("critic",), LOSS, every=np.int64(2), repeat=np.int32(3))
    stage = Stage((turn,), np.int64(8), np.uint8(4), np.int16(16))
    found = (turn.every, turn.repeat, stage.batch_size, stage.until, stage.resolution)
    assert found == (2, 3, 8, 4, 16)
    assert all(type(x) is int for x in found)
    for name in ("every", "repeat"):
        with pytest.raises(ValueError, match=rf"turn 'critic' has {name}=1.5; give a whole number"):
            Turn(("critic",), LOSS, **{name: 1.5})
    with pytest.raises(ValueError, match=r"a stage has batch_size=8.0; give a whole number"):
        Stage((turn,), 8.0)


def test_a_turn_is_named_after_its_players():
    assert Turn(("critic",), LOSS).name == "critic"
    assert Turn(("encoder", "generator"), LOSS).name == "encoder+generator"
    assert Turn(("critic",), LOSS, "r1").name == "r1"


def lazy_game():
    """Stage 0: 3 batches of 4 a round. Stage 1: one of 2, and one more in every fourth round."""
    critic, last = Turn(("critic",), LOSS, repeat=3), Turn(("critic",), LOSS, "given", repeat=2)
    stages = (
        Stage((critic, dataclasses.replace(last, fresh_batch=False)), 4, until=2),
        Stage((Turn(("critic",), LOSS), Turn(("critic",), LOSS, "lazy", every=4)), 2),
    )
    return make_game({"critic": number()}, stages)


def test_stages_and_draws_follow_from_the_round():
    game = lazy_game()
    assert [game.stage_at(step) for step in (0, 1, 2, 9)] == [(0, 0), (0, 0), (1, 2), (1, 2)]
    # Draws count from the start of the stage; the lazy turn is played in rounds 4 and 8.
    assert [game.position(step) for step in range(10)] == [
        *((0, 0), (0, 3), (1, 0), (1, 1), (1, 2)),
        *((1, 4), (1, 5), (1, 6), (1, 7), (1, 9)),
    ]
    assert [game.images(step) for step in (0, 1, 2, 3, 5, 9)] == [0, 12, 24, 26, 32, 42]
    assert [stage.images_per_round for stage in game.stages] == [12, 2.5]


@pytest.mark.parametrize("step", [0, 1, 2, 3, 5, 9])
def test_the_clock_is_a_function_of_the_round_that_may_be_traced(step):
    game = lazy_game()
    clock = jax.jit(game.clock)(step)
    stage, start = game.stage_at(step)
    assert (int(clock.step), int(clock.stage), int(clock.stage_step)) == (step, stage, step - start)
    np.testing.assert_allclose(clock.kimg, game.images(step) / 1000, rtol=1e-6)
    in_stage = game.images(step) - game.images(start)
    np.testing.assert_allclose(clock.stage_kimg, in_stage / 1000, rtol=1e-6)
    assert [x.dtype for x in clock] == ["int32", "float32", "int32", "int32", "float32"]


def test_pictures_are_decoded_and_other_fields_are_left_alone():
    spec = Spec(
        {
            "image": Field("image", (2, 2, 1)),
            "label": Field("label", number=10),
            "condition": Field("image", (2, 2, 3)),
        },
        100,
    )
    levels = jnp.array([0, 51, 255], jnp.uint8)
    batch = spec.decode({"image": levels, "condition": levels, "label": jnp.array([3, 4])})
    np.testing.assert_allclose(batch["image"], [-1.0, -0.6, 1.0], atol=1e-6)
    assert batch["condition"].dtype == jnp.float32
    assert batch["label"].tolist() == [3, 4]
    assert spec.decode({"image": jnp.array([2.5])})["image"].tolist() == [2.5]


def test_a_player_is_initialised_with_its_modules_collections_and_further_ones():
    fixed = number(2.0, collections={"ada": {"p": jnp.float32(0.5)}})
    variables = fixed.init(jax.random.key(0))
    assert variables == {"params": {"w": 2.0}, "ada": {"p": 0.5}}
    drawn = number(collections=lambda key: {"start": {"x": jax.random.normal(key)}})
    values = [float(drawn.init(jax.random.key(i))["start"]["x"]) for i in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


class Draws:
    """An object in place of a Linen module: its parameter is the key that `init` was given."""

    def init(self, rngs):
        return {"params": {name: jax.random.normal(key) for name, key in rngs.items()}}

    def apply(self, variables, *, mutable):
        return variables["params"]["params"], {}


def test_players_are_initialised_from_keys_of_their_own():
    players = {name: Player(Draws(), (), optax.sgd(1.0)) for name in ("critic", "generator")}
    game = make_game(players, (Stage((Turn(("critic",), LOSS),), 2),))
    params, again, other = (Engine(game, seed=seed).init().params for seed in (1, 1, 2))
    values = [float(x) for x in jax.tree.leaves((params, other))]
    assert len(set(values)) == len(values) == 2 * 2 * 3  # also those for parameters and dropout
    assert params == again


def test_networks_are_the_averaged_ones_where_they_are_kept():
    players = {"critic": number(1.0), "generator": number(2.0, average=lambda clock, kimg: 0.5)}
    game = make_game(players, (Stage((Turn(("critic",), LOSS),), 2),))
    state = Engine(game).init()
    state = state.replace(ema={"generator": {"params": {"w": jnp.float32(7.0)}}})
    found = {name: float(network()) for name, network in game.networks(state).items()}
    assert found == {"critic": 1.0, "generator": 7.0}
    found = {name: float(network()) for name, network in game.networks(state, ema=False).items()}
    assert found == {"critic": 1.0, "generator": 2.0}


def test_an_average_is_of_parameters_and_batch_statistics():
    variables = {"batch_stats": {"mean": 1}, "spectral": {"u": 2}}
    assert averaged_part({"w": 0}, variables) == {"params": {"w": 0}, "batch_stats": {"mean": 1}}


def a_play(seed=0):
    networks = {"critic": Network(number().module, {"params": {"w": jnp.float32(1.0)}})}
    return Play(networks, {}, jax.random.key(seed), None, 4)


def test_random_numbers_of_a_play_have_a_purpose():
    play = a_play()
    values = [jax.random.normal(play.rng(name)) for name in ("latent", "label", "latent")]
    assert values[0] == values[2] != values[1]
    assert jax.random.normal(a_play(1).rng("latent")) != values[0]


def test_a_play_moves_one_network_of_a_player():
    play = a_play()
    assert play.moving("critic") is play.moving("critic") is play.moved["critic"]
    with pytest.raises(ValueError, match="there is no player 'critc'; the players are critic"):
        play.moving("critc")


def test_a_loss_has_no_metrics_unless_it_gives_some():
    assert Loss(1.0).metrics == {}


def test_keys_are_a_function_of_purpose_and_step():
    run_key = jax.random.key(0)
    keys = [purpose_key(run_key, *at) for at in (("a", 0), ("a", 1), ("b", 0), ("a", 0))]
    values = [float(jax.random.uniform(key)) for key in keys]
    assert values[0] == values[3]
    assert len(set(values)) == 3


def test_a_metric_to_show_that_a_turn_has_not_is_named_while_tracing():
    stages = (Stage((Turn(("critic",), LOSS),), 2),)
    game = make_game({"critic": number()}, stages, shown=("critic/k",))
    with pytest.raises(
        ValueError, match=r"'critic/k', but turn 'critic' has only critic/loss, critic/grad_norm"
    ):
        play(Engine(game), 1)
    game = dataclasses.replace(game, shown=("critic/loss",))
    assert "critic/loss" in play(Engine(game), 1)[1]["critic"]


def test_a_misspelt_player_or_field_is_told_those_that_there_are():
    given = Play({"critic": None}, {"image": jnp.zeros(3)}, None, None, 3)
    with pytest.raises(KeyError, match="there is no 'generator', only critic"):
        given.networks["generator"]
    with pytest.raises(KeyError, match="there is no 'label', only image"):
        given.batch["label"]
    assert given.batch.get("label") is None
    doubled = jax.jit(lambda batch: jax.tree.map(lambda x: x + 1, batch))(given.batch)
    assert doubled["image"].tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(KeyError, match="there is no 'label', only image"):
        doubled["label"]
