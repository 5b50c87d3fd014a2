"""StarGAN: parity with the authors' code, its turns written out, its domains, and what it refuses."""

import dataclasses
import re
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery
from models.written_out import adam, check_turn, decoded, moves, purpose, softplus

from jaxgan import data, draws, train
from jaxgan.engine import Engine
from jaxgan.game import Play
from jaxgan.models import stargan
from jaxgan.penalties import gradient
from jaxgan.schedules import Ema
from jaxgan.spec import Field, Spec
from jaxgan.train import loop, outputs

HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")


def labelled(side, number=3, channels=3, width=None):
    image = Field("image", (side, width or side, channels))
    return Spec({"image": image, "label": Field("label", number=number)}, 1000)


def attributed(side, names=HAIR, channels=3):
    field = Field("attributes", number=len(names), names=names)
    return Spec({"image": Field("image", (side, side, channels)), "attributes": field}, 1000)


GOLDEN = {
    # Those of the authors' networks.
    ("stargan", attributed(128), ()): {"critic": 44_762_048, "generator": 8_430_528},
    ("stargan", labelled(64, 8), (("critic_layers", 5),)): {
        "critic": 11_188_160,
        "generator": 8_439_936,
    },
}

SMALL = {
    "generator_width": 4,
    "blocks": 2,
    "critic_width": 4,
    "critic_layers": 3,
    "batch_size": 4,
    "critic_steps": 2,
}
DOMAINS = {"label": labelled(16), "attributes": attributed(16, ("Black_Hair", "Gray_Hair", "x"))}


def options(**changes):
    return stargan.Options(**SMALL | changes)


def tiny(domain="label", **changes):
    return stargan.game(options(**changes), DOMAINS[domain])


@pytest.fixture(scope="module")
def played():
    """(engine, state) after two rounds that are what every model's must be."""
    return battery.check_trains(tiny(), DOMAINS["label"], rounds=2)


# Parity -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    """Outputs, losses and gradients of `Generator` and `Discriminator` of model.py with the losses of solver.py, of
    yunjey/stargan at 94dd002e93a2863d9b987a937b85925b80f7a19f (MIT), in PyTorch 2.13: networks of width 4, two blocks
    and three halvings of the critic, on four pictures of 16 x 16 pixels. Parameters and pictures follow `parameters`
    and `unit`, the targets are those of `ORDER`, and the interpolates are drawn by `share`."""
    with np.load(Path(__file__).parent / "golden" / "stargan.npz") as file:
        return dict(file)


def drawn(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def unit(name, *shape):
    return drawn(name).uniform(-1, 1, shape).astype(np.float32)


def parameters(engine):
    """Parameters by the rule that the golden values were made with: from each one's name."""

    def by_name(path, leaf):
        name = "/".join(part.key for part in path)
        values = drawn(name).normal(size=leaf.shape).astype(np.float32)
        if name.endswith("kernel"):
            return values / np.float32(np.sqrt(np.prod(leaf.shape[:-1])))
        return np.float32(name.endswith("scale")) + np.float32(0.1) * values

    return jax.tree_util.tree_map_with_path(by_name, engine.state_shape.params)


ORDER = np.array([2, 0, 3, 1])
OWN = {
    "label": np.array([0, 2, 1, 1], np.int32),
    "attributes": np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]], np.int32),
}


def assert_close(ours, theirs, relative):
    np.testing.assert_allclose(ours, theirs, rtol=relative, atol=relative * np.abs(theirs).max())


def test_outputs_of_the_networks_are_the_authors(golden):
    engine = Engine(tiny())
    params, x = parameters(engine), unit("image", 4, 16, 16, 3)
    networks = engine.game.bind(params, {"critic": {}, "generator": {}})
    target = jax.nn.one_hot(OWN["label"][ORDER], 3)
    assert_close(jax.jit(networks["generator"])(x, target), golden["fake"], 1e-4)
    judged = jax.jit(networks["critic"])(x)
    assert_close(judged.logits, golden["logits"], 1e-4)
    assert_close(judged.domain, golden["domain"], 1e-4)


@pytest.mark.parametrize("kind", ["label", pytest.param("attributes", marks=pytest.mark.slow)])
def test_losses_and_gradients_of_a_step_are_the_authors(golden, kind, monkeypatch):
    monkeypatch.setattr(draws, "permuted", lambda key, x: x[ORDER])
    share = unit("alpha", 4, 1, 1, 1) / 2 + np.float32(0.5)
    monkeypatch.setattr(gradient, "_alpha", lambda key, x: share)
    engine = Engine(tiny(kind))
    game, params = engine.game, parameters(engine)
    batch = {"image": unit("image", 4, 16, 16, 3), kind: OWN[kind]}
    named = {"critic": ("loss", "classification", "penalty")}
    named["generator"] = ("loss", "classification", "cycle")
    variables = {"critic": {}, "generator": {}}
    for turn in game.stages[0].turns:
        (player,) = turn.players

        def loss(mover, turn=turn, player=player):
            networks = game.bind({**params, player: mover}, variables)
            play = Play(networks, batch, jax.random.key(0), game.clock(0), num=4)
            out = turn.loss(play)
            return out.value, {"loss": out.value, **out.metrics}

        grads, found = jax.jit(jax.grad(loss, has_aux=True))(params[player])
        ours = np.stack([found[name] for name in named[player]])
        assert_close(ours, golden[f"{kind}/{player}"], 1e-3)
        for path, leaf in jax.tree_util.tree_leaves_with_path({player: grads}):
            name = "/".join(part.key for part in path)
            norm = golden[f"{kind}/norm:{name}"]
            np.testing.assert_allclose(np.linalg.norm(leaf), norm, rtol=1e-3, err_msg=name)
            some = np.ravel(leaf)[:: max(1, leaf.size // 8)]
            close = 1e-3 * norm / np.sqrt(leaf.size)
            expected = golden[f"{kind}/grad:{name}"]
            np.testing.assert_allclose(some, expected, rtol=1e-3, atol=close, err_msg=name)


def test_the_parity_covers_every_parameter(golden):
    shapes = Engine(tiny()).state_shape.params
    paths = jax.tree_util.tree_leaves_with_path(shapes)
    names = {"/".join(part.key for part in path) for path, _ in paths}
    assert names == {name[11:] for name in golden if name.startswith("label/norm:")}


# Its turns, written out ---------------------------------------------------------------------------------------


def turns_by_hand(options, kind, networks, batch, key):
    """{player: (its parameters, the other's) -> (loss, ({}, metrics))}, with one picture at a time in the penalty."""
    generator, critic = networks
    x, own = decoded(batch["image"]), batch[kind]
    order = jax.random.permutation(purpose(key, "target"), len(x))
    target = jnp.stack([own[i] for i in order])

    def vector(domain):
        return domain.astype(jnp.float32) if kind == "attributes" else jnp.eye(3)[domain]

    def classified(logits, domain):
        if kind == "attributes":
            signs = (2 * domain - 1).astype(np.float32)
            return 3 * softplus(-signs * logits)
        picked = jnp.take_along_axis(logits, domain[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - picked)

    def critic_turn(mover, other):
        made = generator.apply({"params": other}, x, vector(target))
        real, fake = (critic.apply({"params": mover}, pictures) for pictures in (x, made))
        share = jax.random.uniform(purpose(key, "penalty"), (len(x), 1, 1, 1))
        between = x + share * (made - x)
        total = jnp.sum if options.penalty_of == "sum" else jnp.mean
        slope = jax.vmap(jax.grad(lambda y: total(critic.apply({"params": mover}, y[None])[0])))
        norms = jnp.sqrt(jnp.sum(slope(between) ** 2, axis=(1, 2, 3)))
        classification = classified(real.domain, own)
        penalty = jnp.mean((norms - 1) ** 2)
        value = jnp.mean(fake.logits) - jnp.mean(real.logits)
        value = value + options.domain_weight * classification + options.penalty_weight * penalty
        metrics = {"real": jnp.mean(real.logits), "fake": jnp.mean(fake.logits)}
        return value, ({}, {**metrics, "classification": classification, "penalty": penalty})

    def generator_turn(mover, other):
        made = generator.apply({"params": mover}, x, vector(target))
        judged = critic.apply({"params": other}, made)
        cycle = jnp.mean(jnp.abs(generator.apply({"params": mover}, made, vector(own)) - x))
        classification = classified(judged.domain, target)
        value = -jnp.mean(judged.logits) + options.domain_weight * classification
        metrics = {"cycle": cycle, "classification": classification}
        return value + options.cycle_weight * cycle, ({}, metrics)

    return {"critic": critic_turn, "generator": generator_turn}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("label", {"domain_weight": 0.7, "cycle_weight": 3.0, "penalty_weight": 2.0}),
        ("attributes", {"penalty_of": "mean"}),
    ],
)
@pytest.mark.slow
def test_a_turns_loss_and_gradient_are_those_written_out(kind, changes):
    game, key = tiny(kind, **changes), jax.random.key(7)
    engine = Engine(game)
    state, batch = engine.init(), battery.batch(game.spec, 0, game.stages[0], 5)
    networks = [game.players[name].module for name in ("generator", "critic")]
    by_hand = turns_by_hand(options(**changes), kind, networks, batch, key)
    assert [turn.players for turn in game.stages[0].turns] == [("critic",), ("generator",)]
    assert [turn.fresh_batch for turn in game.stages[0].turns] == [True, False]
    assert [turn.repeat for turn in game.stages[0].turns] == [2, 1]
    for turn, other in zip(game.stages[0].turns, ("generator", "critic"), strict=True):
        (player,) = turn.players

        def loss(mover, player=player, other=other):
            return by_hand[player](mover, state.params[other])

        check_turn(engine, turn, state, batch, key, loss)


def test_targets_are_the_batchs_own_domains_on_any_number_of_devices():
    model = stargan.StarGAN(options(batch_size=8), DOMAINS["attributes"])
    own = np.arange(24, dtype=np.int32).reshape(8, 3)
    made = []
    for devices in (1, 8):
        engine = train.make_engine(tiny("attributes"), train.Options(devices=devices), seed=0)

        def targets(batch, key, engine=engine):
            play = Play({}, batch, key, engine.game.clock(0), num=8)
            return model.targets(play)

        sharded = engine.put({"attributes": own})
        made.append(np.asarray(jax.jit(engine._on_mesh(targets))(sharded, jax.random.key(1))))
    np.testing.assert_array_equal(*made)
    assert not (made[0] == own).all()
    np.testing.assert_array_equal(made[0][made[0][:, 0].argsort()], own)


def test_the_defaults_are_the_papers():
    """Section 5.1 and the authors' main.py; 200,000 steps of the critic are 40,000 rounds."""
    defaults = stargan.Options()
    stated = {
        "generator_width": 64,
        "downs": 2,
        "blocks": 6,
        "critic_width": 64,
        "critic_layers": 6,
        "domain_weight": 1.0,
        "cycle_weight": 10.0,
        "penalty_weight": 10.0,
        "penalty_of": "sum",
        "batch_size": 16,
        "critic_steps": 5,
    }
    assert stated == {name: getattr(defaults, name) for name in stated}
    game = stargan.game(defaults, attributed(128))
    for player in game.players.values():
        assert player.average is None
        found = [moves(player.optimizer, game.clock(step))[0] for step in (0, 30_000, 40_000)]
        np.testing.assert_allclose(found, [1e-4, 5e-5, 0.0], rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(
            moves(player.optimizer, game.clock(0)), adam(1e-4, 0.5, 0.999), rtol=1e-5
        )


def test_each_player_has_its_learning_rate_and_the_generator_an_average():
    game = tiny(critic_learning_rate=0.5, decay_steps=0, ema_half_life_kimg=7.0)
    rates = {name: moves(p.optimizer, game.clock(0))[0] for name, p in game.players.items()}
    assert rates == {
        "critic": pytest.approx(0.5, rel=1e-5),
        "generator": pytest.approx(1e-4, rel=1e-5),
    }
    assert game.players["generator"].average == Ema(7.0, ramp_up=0.05)
    assert game.players["critic"].average is None


@pytest.mark.slow
def test_resume_is_bit_exact(played):
    battery.check_resume(played[0], DOMAINS["label"], at=1, rounds=2)


@pytest.mark.slow
def test_attributes_train_and_one_and_eight_devices_agree():
    battery.check_devices(tiny("attributes", batch_size=8), DOMAINS["attributes"], rounds=2)


@pytest.mark.slow
def test_bfloat16_trains():
    game = tiny(dtype="bfloat16", generator_width=16, critic_width=16)
    battery.check_trains(game, DOMAINS["label"], rounds=100)


# Translations -------------------------------------------------------------------------------------------------


def digits_engine(**changes):
    source = data.open_source("digits", resolution=16)
    small = {"generator_width": 2, "critic_width": 2, "blocks": 0, "downs": 1, "critic_layers": 1}
    game = stargan.game(options(**small | changes), source.spec)
    return Engine(game), source


def test_a_translation_is_the_generators_and_every_domain_but_its_own_is_a_target():
    engine, source = digits_engine()
    state, output = engine.init(), engine.game.outputs["translations"]
    given = outputs.given_for(output, source, 40)
    batch = given(np.arange(40))
    assert batch.keys() == {"image", "label", "target"}
    assert (batch["target"] != batch["label"]).all()
    assert set(batch["target"]) == set(range(10))
    after = (batch["target"] - batch["label"] - 1) % 10
    np.testing.assert_array_equal(after, np.arange(40) % 9)
    made = train.transform(engine, state, batch, jax.random.key(0), output="translations")
    generator = engine.game.networks(state)["generator"]
    expected = jax.jit(generator)(
        decoded(batch["image"]), np.eye(10, dtype=np.float32)[batch["target"]]
    )
    np.testing.assert_allclose(made, expected, atol=1e-5)
    grid = loop.output_grid(engine, state, "translations", batch)
    assert grid.shape == (40, 16, 33, 1)
    assert (grid[:, :, :16] == batch["image"]).all()
    # Rows of one example have one target.
    twice = outputs.given_for(output, source, 40, per_example=2)(np.arange(40))
    np.testing.assert_array_equal(twice["target"][::2], twice["target"][1::2])
    np.testing.assert_array_equal(twice["image"][::2], twice["image"][1::2])


def test_the_programs_of_outputs_are_lowered_from_shapes_alone():
    engine, source = digits_engine()
    (program,) = [p for p in engine.programs(source.spec) if p.name == "translations"]
    assert "tensor<100x16x16x1xui8>" in program.lower().as_text()


def test_attributes_are_inverted_and_colours_of_hair_exclude_each_other():
    model = stargan.StarGAN(stargan.Options(), attributed(16))
    own = jnp.array([[1, 0, 0, 1, 0]] * 5)  # black hair, male
    changed = model.change(own, jnp.arange(5)).tolist()
    assert changed == [
        [1, 0, 0, 1, 0],  # black again
        [0, 1, 0, 1, 0],
        [0, 0, 1, 1, 0],
        [1, 0, 0, 0, 0],
        [1, 0, 0, 1, 1],
    ]
    free = stargan.StarGAN(stargan.Options(exclusive=()), attributed(16))
    assert free.change(own, jnp.arange(5))[1].tolist() == [1, 1, 0, 1, 0]


def test_the_sheet_has_every_picture_in_every_domain(played):
    engine, state = played
    pictures = {"image": unit("a", 16, 24, 3), "image3": unit("b", 16, 24, 3)}
    made = train.make(engine, state, "domains", pictures=pictures)
    assert made.columns == 4
    assert made.pictures.shape == (8, 16, 24, 3)
    np.testing.assert_array_equal(made.pictures[[0, 4]], np.stack([*pictures.values()]))
    generator = jax.jit(engine.game.networks(state)["generator"])
    for row, picture in enumerate(pictures.values()):
        expected = generator(np.stack([picture] * 3), np.eye(3, dtype=np.float32))
        np.testing.assert_allclose(made.pictures[4 * row + 1 : 4 * row + 4], expected, atol=1e-5)
    assert made.arrays["translations"].shape == (2, 3, 16, 24, 3)


def test_the_sheet_of_attributes_changes_those_that_the_critic_finds():
    engine = Engine(tiny("attributes", blocks=0, downs=1, critic_layers=1))
    state = engine.init()
    networks = engine.game.networks(state)
    picture = unit("a", 16, 16, 3)
    made = train.make(engine, state, "domains", pictures={"image": picture})
    found = np.asarray(networks["critic"](picture[None]).domain[0] > 0)
    third = np.float32([found[0], found[1], not found[2]])
    first = np.float32([True, False, found[2]])
    expected = networks["generator"](np.stack([picture] * 2), np.stack([first, third]))
    np.testing.assert_allclose(made.pictures[[1, 3]], expected, atol=1e-5)


@pytest.mark.slow
def test_a_run_shows_translations_beside_their_examples(tmp_path):
    engine, source = digits_engine(critic_steps=1)
    options = train.Options(steps=1, sample_every=1, log_every=1, devices=1)
    train.train(engine.game, source, tmp_path, options, log=lambda sentence: None)
    assert {path.name for path in tmp_path.glob("*.png")} == {"losses.png", "translations.png"}
    assert len([*(tmp_path / "translations").iterdir()]) == 2


# What it refuses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "changes", "text"),
    [
        (
            Spec({"image": Field("image", (16, 16, 3))}, 9),
            {},
            "stargan translates between domains, which are the labels or attributes of the data, and these have none;"
            " give a folder with one folder for each domain, or choose other data: set data.name=digits and"
            " data.labels=true or data.name=attributes.",
        ),
        (
            labelled(16, 1),
            {},
            "stargan translates between domains, and the data has only one class; give a folder with one folder for"
            " each of two or more domains, or choose other data: set data.name=digits",
        ),
        (
            labelled(100),
            {"critic_layers": 6},
            "critic_layers is 6, but the critic then needs sides that are multiples of 64 pixels, and the data has"
            " 100x100: set critic_layers=2 or data.resolution=128.",
        ),
        (
            labelled(64, width=50),
            {"downs": 2, "critic_layers": 1},
            "downs is 2, but the generator then needs sides that are multiples of 4 pixels, and the data has 64x50: set"
            " downs=1 or data.resolution=48.",
        ),
        (labelled(9), {}, "downs is 2, but the generator then needs sides"),
        (
            labelled(64),
            {"penalty_of": "max"},
            "penalty_of is 'max', but it must be one of sum, mean",
        ),
        (labelled(64), {"dtype": "float16"}, "one of float32, bfloat16"),
        (
            Spec({"image": Field("points", (2,)), "label": Field("label", number=3)}, 9),
            {},
            "stargan needs a picture 'image' in each example",
        ),
    ],
)
def test_what_it_cannot_play_is_refused_by_a_sentence(spec, changes, text):
    battery.assert_refused(stargan.game, stargan.Options(**changes), spec, re.escape(text))


@pytest.mark.parametrize(
    ("domain", "pictures", "text"),
    [
        (
            "label",
            {"image": np.zeros((18, 16, 3), np.float32)},
            "the picture is 18x16, but this generator halves 2 times, so both sides must be multiples of 4 pixels;"
            " resize it to 16x16.",
        ),
        (
            "attributes",
            {"image": np.zeros((32, 32, 3), np.float32)},
            "the picture is 32x32, but the critic, which finds its attributes, was trained on 16x16; resize it to that",
        ),
        (
            "label",
            {
                "image": np.zeros((16, 16, 3), np.float32),
                "image2": np.zeros((8, 16, 3), np.float32),
            },
            "the picture 'image2' is 8x16, but 'image' is 16x16, and the pictures of one sheet have one size; resize"
            " 'image2' to 16x16.",
        ),
        ("label", {}, "the picture 'image' is missing: set pictures.image=FILE."),
    ],
)
def test_what_cannot_be_translated_is_refused_by_a_sentence(domain, pictures, text):
    game = tiny(domain)
    play = Play({}, {}, jax.random.key(0), game.clock(0), num=1)
    with pytest.raises(ValueError, match=re.escape(text)):
        game.tools["domains"](play, pictures)


def test_a_network_refuses_pictures_that_it_cannot_halve():
    generator = stargan.Generator(3, 4)
    text = "a generator that halves 2 times needs pictures whose sides are multiples of 4 pixels, not 10x8."
    with pytest.raises(ValueError, match=re.escape(text)):
        generator.init(jax.random.key(0), jnp.zeros((1, 10, 8, 3)), jnp.zeros((1, 2)))


def test_labels_of_attributes_are_of_the_attributes():
    """If the data has both, the attributes are the domains."""
    both = dataclasses.replace(DOMAINS["attributes"])
    both = both.with_fields({"label": Field("label", number=7)})
    assert stargan.StarGAN(options(), both).name == "attributes"
