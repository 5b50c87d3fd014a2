"""StarGAN v2: its networks and turns written out, references from the batch, its tools, and what it refuses."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from models import battery
from models.written_out import decoded, moves, purpose, softplus

from jaxgan import data, train
from jaxgan.engine import Engine
from jaxgan.game import Play
from jaxgan.models import stargan2
from jaxgan.nets import stargan2 as nets
from jaxgan.schedules import Ema
from jaxgan.spec import Field, Spec
from jaxgan.train import loop, outputs


def spec_of(side, number=2, channels=3, names=()):
    label = Field("label", number=number, names=names)
    return Spec({"image": Field("image", (side, side, channels)), "label": label}, 1000)


GOLDEN = {
    # The published ones: AFHQ, and CelebA-HQ but for the shortcuts of the decoder that the published generator has and
    # does not use.
    ("stargan2", spec_of(256, 3), ()): {
        "critic": 20_852_803,
        "generator": 33_892_995,
        "mapping": 3_259_072,
        "style_encoder": 20_949_760,
    },
    ("stargan2", spec_of(256, 2), (("high_pass", 1.0),)): {
        "critic": 20_852_290,
        "generator": 43_467_395 - 64 * 128 - 128 * 256 - 256 * 512,
        "mapping": 2_438_272,
        "style_encoder": 20_916_928,
    },
    ("stargan2", spec_of(8), (("width", 4), ("mapping_width", 8))): {
        "critic": 1_638,
        "generator": 11_555,
        "mapping": 1_936,
        "style_encoder": 2_772,
    },
}

SPEC = spec_of(8, 3, names=("cat", "dog", "wild"))
SMALL = {
    "latent_dim": 3,
    "style_dim": 4,
    "mapping_width": 5,
    "width": 4,
    "width_max": 6,
    "batch_size": 4,
}


def options(**changes):
    return stargan2.Options(**SMALL | changes)


def tiny(**changes):
    return stargan2.game(options(**changes), SPEC)


@pytest.fixture(scope="module")
def engine():
    return Engine(tiny(), seed=3)


@pytest.fixture(scope="module")
def state(engine):
    """A state whose biases and gains are not 0 and 1, as copies."""
    return jax.tree.map(
        lambda x: (
            x + 0.1 * np.random.default_rng(0).normal(size=x.shape).astype(x.dtype)
            if x.dtype == np.float32
            else x
        ),
        battery.host(engine.init()),
    )


# Networks, written out from the tables of the paper's appendix, in float64 ----------------------------------------


def lrelu(x):
    return np.where(x > 0, x, 0.2 * x)


def conv(x, p):
    """Zero padding, and the kernel at every pixel."""
    kernel = np.float64(p["kernel"])
    k = kernel.shape[0]
    h, w = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (k // 2,) * 2, (k // 2,) * 2, (0, 0)))
    total = sum(padded[:, i : i + h, j : j + w] @ kernel[i, j] for i in range(k) for j in range(k))
    return total + np.float64(p.get("bias", 0.0))


def pooled(x):
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def doubled(x):
    return x.repeat(2, 1).repeat(2, 2)


def normalised(x):
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5)


def instance_norm(x, p):
    return normalised(x) * p["scale"] + p["bias"]


def adain(x, style, p):
    made = style @ np.float64(p["style"]["kernel"]) + p["style"]["bias"]
    gain, bias = np.split(made[:, None, None], 2, axis=-1)
    return (1 + gain) * normalised(x) + bias


def block(x, p, down, norm):
    """normalisation, activation, convolution, pooling, the same again; and the shortcut, pooled last."""
    side = conv(x, p["shortcut"]) if "shortcut" in p else x
    side = pooled(side) if down else side
    h = conv(lrelu(instance_norm(x, p["norm0"]) if norm else x), p["conv0"])
    h = pooled(h) if down else h
    h = conv(lrelu(instance_norm(h, p["norm1"]) if norm else h), p["conv1"])
    return (h + side) / np.sqrt(2)


def style_block(x, style, p, up, shortcut=True):
    side = doubled(x) if up else x
    side = conv(side, p["shortcut"]) if "shortcut" in p else side
    h = lrelu(adain(x, style, p["norm0"]))
    h = conv(doubled(h) if up else h, p["conv0"])
    h = conv(lrelu(adain(h, style, p["norm1"])), p["conv1"])
    return (h + side) / np.sqrt(2) if shortcut else h


def laplacian(x):
    """8 times the pixel less its eight neighbours, those outside being 0."""
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = x.shape[1:3]
    around = sum(wide[:, i : i + h, j : j + w] for i in range(3) for j in range(3))
    return 8 * x - (around - x)


def generator_by_hand(p, x, style, downs, high_pass=0.0):
    h, before = conv(x, p["from_picture"]), {}
    for i in range(downs):
        before[i] = h
        h = block(h, p[f"encode{i}"], True, True)
    for i in range(2):
        h = block(h, p[f"middle{i}"], False, True)
    for i in range(2):
        h = style_block(h, style, p[f"style{i}"], False, not high_pass)
    for i in reversed(range(downs)):
        h = style_block(h, style, p[f"decode{i}"], True, not high_pass)
        if high_pass and i in (1, 2, 3):
            h = h + laplacian(before[i]) / high_pass
    return conv(lrelu(instance_norm(h, p["norm"])), p["to_picture"])


def heads_by_hand(p, x, domain, downs):
    h = conv(x, p["from_picture"])
    for i in range(downs):
        h = block(h, p[f"block{i}"], True, False)
    flat = lrelu(h).reshape(len(x), -1)
    h = lrelu(flat @ np.float64(p["whole"]["kernel"]) + p["whole"]["bias"])
    kernels, biases = p["heads"]["kernel"], p["heads"]["bias"]
    return np.stack([row @ kernels[k] + biases[k] for row, k in zip(h, domain, strict=True)])


def mapping_by_hand(p, latent, domain):
    rows = []
    for h, k in zip(np.float64(latent), domain, strict=True):
        for i in range(4):
            h = np.maximum(h @ p[f"shared{i}"]["kernel"] + p[f"shared{i}"]["bias"], 0)
        for i in range(3):
            h = np.maximum(h @ p[f"own{i}"]["kernel"][k] + p[f"own{i}"]["bias"][k], 0)
        rows.append(h @ p["output"]["kernel"][k] + p["output"]["bias"][k])
    return np.stack(rows)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_networks_are_those_written_out(engine, state):
    networks = engine.game.networks(state, ema=False)
    x, style, latent = normal(4, 8, 8, 3), normal(4, 4), normal(4, 3)
    domain = np.array([2, 0, 1, 2], np.int32)
    params = jax.tree.map(np.float64, state.params)
    for ours, theirs in (
        (
            jax.jit(networks["generator"])(x, style),
            generator_by_hand(params["generator"], np.float64(x), style, 1),
        ),
        (
            jax.jit(networks["mapping"])(latent, domain),
            mapping_by_hand(params["mapping"], latent, domain),
        ),
        (
            jax.jit(networks["style_encoder"])(x, domain),
            heads_by_hand(params["style_encoder"], np.float64(x), domain, 1),
        ),
        (
            jax.jit(networks["critic"])(x, domain),
            heads_by_hand(params["critic"], np.float64(x), domain, 1),
        ),
    ):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.slow
def test_high_pass_skips_are_at_a_half_a_quarter_and_an_eighth():
    net = nets.Generator(3, (2, 3, 4, 4, 4), high_pass=0.7)
    x, style = normal(2, 32, 32, 3), normal(2, 4)
    params = net.init(jax.random.key(0), x, style)["params"]
    params = jax.tree.map(lambda a: a + 0.1 * normal(*a.shape, seed=1), params)
    assert not any("shortcut" in params[f"decode{i}"] for i in range(4))
    ours = jax.jit(net.apply)({"params": params}, x, style)
    theirs = generator_by_hand(jax.tree.map(np.float64, params), np.float64(x), style, 4, 0.7)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


def test_a_domain_out_of_range_is_nan():
    every = jnp.arange(6.0).reshape(2, 3, 1)
    assert nets.of_domain(every, jnp.array([2, 0]))[:, 0].tolist() == [2.0, 3.0]
    assert np.isnan(nets.of_domain(every, jnp.array([3, -1]))).all()


# Its turns, written out ---------------------------------------------------------------------------------------


def both_references(key, label):
    """Pairs of rows for each row, one by one."""
    order_key, pair_key = jax.random.split(key)
    order = np.asarray(jax.random.permutation(order_key, len(label)))
    drawn = np.asarray(jax.random.uniform(pair_key, (len(label), len(label))))
    pairs = []
    for row, first in enumerate(order):
        others = [j for j in range(len(label)) if label[j] == label[first] and j != first]
        pairs.append((first, max(others, key=lambda j, row=row: drawn[row, j], default=first)))
    return np.array(pairs)


def losses_by_hand(engine, batch, key, guide, weights):
    """(critic's, generator's): all parameters -> (loss, metrics)."""
    modules = {name: player.module for name, player in engine.game.players.items()}
    x, label = decoded(batch["image"]), batch["label"]
    pairs = both_references(purpose(key, "reference"), label)
    target = label[pairs[:, 0]]

    def apply(params, name, *inputs):
        return modules[name].apply({"params": params[name]}, *inputs)

    def style(params, which):
        if guide == "reference":
            return apply(params, "style_encoder", x[pairs[:, which]], target)
        z = jax.random.normal(purpose(key, ("latent", "other latent")[which]), (len(x), 3))
        return apply(params, "mapping", z, target)

    def critic(params):
        def score(picture, domain):
            return apply(params, "critic", picture[None], domain[None])[0, 0]

        made = apply(params, "generator", x, style(params, 0))
        made = jax.lax.stop_gradient(made)
        real, fake = (
            jnp.stack([score(p, d) for p, d in zip(pictures, domains, strict=True)])
            for pictures, domains in ((x, label), (made, target))
        )
        slopes = jax.vmap(jax.grad(score))(x, label)
        r1 = jnp.mean(jnp.sum(slopes**2, axis=(1, 2, 3))) / 2
        value = softplus(-real) + softplus(fake) + weights["r1"] * r1
        return value, {"r1": r1, "real": jnp.mean(real), "fake": jnp.mean(fake)}

    def generator(params):
        chosen = style(params, 0)
        made = apply(params, "generator", x, chosen)
        apart = apply(params, "generator", x, style(params, 1))
        own = apply(params, "style_encoder", x, label)
        found = apply(params, "style_encoder", made, target)
        parts = {
            "adversarial": softplus(-apply(params, "critic", made, target)),
            "style": jnp.mean(jnp.abs(found - chosen)),
            "cycle": jnp.mean(jnp.abs(apply(params, "generator", made, own) - x)),
            "diversity": jnp.mean(jnp.abs(made - jax.lax.stop_gradient(apart))),
        }
        return sum(weights[name] * part for name, part in parts.items()), parts

    return critic, generator


@pytest.mark.slow
@pytest.mark.parametrize("guide", stargan2.GUIDES)
def test_a_turns_loss_and_gradient_are_those_written_out(guide):
    changes = {"r1_weight": 2.0, "style_weight": 0.7, "cycle_weight": 3.0, "diversity_weight": 1.5}
    engine, key = Engine(tiny(**changes, diversity_steps=8)), jax.random.key(7)
    state = engine.init()
    state = state.replace(step=jnp.int32(6))  # a quarter of the weight is left
    batch = battery.batch(SPEC, 0, engine.game.stages[0], 5)
    batch["label"] = np.array([0, 2, 0, 0], np.int32)
    weights = {"r1": 2.0, "adversarial": 1.0, "style": 0.7, "cycle": 3.0, "diversity": -1.5 / 4}
    by_hand = losses_by_hand(engine, batch, key, guide, weights)
    turns = {turn.name: turn for turn in engine.game.stages[0].turns}
    for side, expected in zip(("critic", "generator"), by_hand, strict=True):
        turn = turns[f"{side}_{guide}"]

        def ours(movers, turn=turn):
            play = engine.play(state, batch, key, {**state.params, **movers})
            out = turn.loss(play)
            return out.value, dict(out.metrics)

        def theirs(movers, expected=expected):
            return expected({**state.params, **movers})

        movers = {name: state.params[name] for name in turn.players}
        (value, metrics), gradient = jax.jit(jax.value_and_grad(ours, has_aux=True))(movers)
        (value_, metrics_), gradient_ = jax.jit(jax.value_and_grad(theirs, has_aux=True))(movers)
        np.testing.assert_allclose(value, value_, rtol=1e-4)
        for name, number in metrics_.items():
            np.testing.assert_allclose(metrics[name], number, rtol=1e-3, atol=1e-5, err_msg=name)
        for player in turn.players:
            norm = optax.tree.norm(gradient_[player])
            assert norm > 1e-6, player
            far = optax.tree.norm(jax.tree.map(jnp.subtract, gradient[player], gradient_[player]))
            assert far < 1e-3 * norm, (player, far, norm)


EVERYTHING = ("generator", "mapping", "style_encoder")
MOVERS = [("critic",), ("critic",), EVERYTHING, ("generator",)]


def test_four_turns_on_one_batch_have_a_float32_loss(engine):
    turns = engine.game.stages[0].turns
    assert [turn.name for turn in turns] == [
        *("critic_latent", "critic_reference"),
        *("generator_latent", "generator_reference"),
    ]
    assert [turn.fresh_batch for turn in turns] == [True, False, False, False]
    assert [turn.players for turn in turns] == MOVERS
    batch = jax.tree.map(jnp.asarray, battery.batch(SPEC, 0, engine.game.stages[0], 0))
    for turn in turns:

        def loss(state, key, turn=turn):
            return turn.loss(engine.play(state, batch, key))

        value, metrics = jax.eval_shape(loss, engine.state_shape, engine.key_shape)
        assert {x.shape for x in (value, *metrics.values())} == {()}
        assert value.dtype == jnp.float32


@pytest.mark.slow
def test_it_trains_and_resumes_and_guided_by_references_the_generator_moves_alone():
    engine, _ = battery.check_trains(tiny(), SPEC, rounds=2)
    battery.check_resume(engine, SPEC, at=1, rounds=2)
    moved = []
    for _, before, after in battery.turns_apart(engine, SPEC):
        moved.append(
            tuple(
                name
                for name in before.params
                if not battery.equal(before.params[name], after.params[name])
            )
        )
    assert moved == MOVERS


# References ---------------------------------------------------------------------------------------------------


def test_references_are_two_pictures_of_one_domain_and_each_is_used_once():
    label = np.array([0, 1, 1, 2, 0, 1, 1, 0], np.int32)
    seen = set()
    for seed in range(200):
        key = jax.random.key(seed)
        first, second = map(np.asarray, jax.jit(stargan2.references)(key, label))
        assert sorted(first) == list(range(8))
        assert (label[first] == label[second]).all()
        alone = label[first] == 2
        assert (first[alone] == second[alone]).all()
        assert (first[~alone] != second[~alone]).all()
        np.testing.assert_array_equal(both_references(key, label), np.stack([first, second], 1))
        seen |= {(int(a), int(b)) for a, b in zip(first, second, strict=True)}
    # Every ordered pair of a domain: 3 x 2, 4 x 3 and the lone one.
    assert len(seen) == 6 + 12 + 1


# Schedules and defaults ---------------------------------------------------------------------------------------


def test_the_diversity_fades_out_and_is_never_negative():
    model = stargan2.StarGAN2(options(diversity_weight=2.0, diversity_steps=10), SPEC)
    clock = model.game().clock
    weights = [float(model.diversity_weight(clock(step))) for step in (0, 5, 9, 10, 11, 1000)]
    np.testing.assert_allclose(weights, [2.0, 1.0, 0.2, 0.0, 0.0, 0.0], atol=1e-6)
    assert min(weights) == 0.0
    constant = stargan2.StarGAN2(options(diversity_weight=2.0, diversity_steps=0), SPEC)
    assert constant.diversity_weight == 2.0


def test_the_defaults_are_the_papers():
    """Section 4 and the appendix; 0.999 for each round of 8 is a half-life of 693 rounds."""
    defaults = stargan2.Options()
    stated = {
        "latent_dim": 16,
        "style_dim": 64,
        "r1_weight": 1.0,
        "style_weight": 1.0,
        "cycle_weight": 1.0,
        "diversity_weight": 1.0,
        "diversity_steps": 100_000,
        "batch_size": 8,
        "weight_decay": 1e-4,
        "high_pass": 0.0,
    }
    assert stated == {name: getattr(defaults, name) for name in stated}
    game = stargan2.game(defaults, spec_of(256))
    assert game.stages[0].images_per_round == 8
    for name, player in game.players.items():
        rate = 1e-6 if name == "mapping" else 1e-4
        assert (player.average is None) == (name == "critic")
        if player.average is not None:
            assert player.average == Ema(5.542)
            np.testing.assert_allclose(player.average(game.clock(10), 0.008), 0.999, rtol=1e-6)
        # The parameter is 0, so nothing decays.
        np.testing.assert_allclose(moves(player.optimizer, game.clock(0))[0], rate, rtol=1e-4)


def test_weights_decay_inside_adam():
    """g + 1e-2 w is what Adam is given: its first step has the size of the learning rate, whatever the weight."""
    optimizer = stargan2.StarGAN2(options(weight_decay=1e-2, beta2=0.9), SPEC).optimizer(0.1)
    params = {"kernel": jnp.array([4.0, -4.0])}
    with jax.numpy_dtype_promotion("standard"):  # as in the engine
        updates, state = optimizer.update({"kernel": jnp.zeros(2)}, optimizer.init(params), params)
        gradient = {"kernel": jnp.array([-0.08, 0.0])}
        second, _ = optimizer.update(gradient, state, params)
    np.testing.assert_allclose(updates["kernel"], [-0.1, 0.1], rtol=1e-4)
    # beta1 is 0: the second step is g + 0.04 = -0.04 over the root of the mean square, which is 0.04.
    np.testing.assert_allclose(second["kernel"], [0.1, 0.1], rtol=1e-4)


@pytest.mark.slow
def test_one_and_eight_devices_agree():
    battery.check_devices(tiny(batch_size=16), SPEC, rounds=2)


@pytest.mark.slow
def test_high_pass_and_bfloat16_train():
    game = tiny(high_pass=1.0, dtype="bfloat16", width=8)
    battery.check_trains(game, SPEC, rounds=20)


# Outputs and tools --------------------------------------------------------------------------------------------


def digits():
    source = data.open_source("digits", resolution=8)
    return stargan2.game(options(), source.spec), source


@pytest.mark.slow
@pytest.mark.parametrize("name", ["latent", "reference"])
def test_outputs_are_the_generators_in_the_styles_of_latents_and_references(name):
    game, source = digits()
    engine = Engine(game)
    state, key = engine.init(), jax.random.key(3)
    networks = game.networks(state)
    batch = outputs.given_for(game.outputs[name], source, 12, per_example=3)(np.arange(12))
    assert (batch["target"] != batch["label"]).all()
    made = train.transform(engine, state, batch, key, output=name)
    if name == "latent":
        # The rows of the first chunk have these latents.
        drawn = purpose(jax.random.fold_in(key, 0), "latent")
        latent = jax.random.normal(drawn, (engine.chunk_rows(name), 3))[:12]
        style = jax.jit(networks["mapping"])(latent, batch["target"])
    else:
        every = source.gather(np.arange(len(source)))
        pairs = zip(every["image"], every["label"], strict=True)
        label_of = {picture.tobytes(): label for picture, label in pairs}
        found = [picture.tobytes() for picture in batch["reference"]]
        assert [label_of[picture] for picture in found] == batch["target"].tolist()
        assert len(set(found)) > 6  # another one for each row
        style = jax.jit(networks["style_encoder"])(decoded(batch["reference"]), batch["target"])
    expected = np.clip(jax.jit(networks["generator"])(decoded(batch["image"]), style), -1, 1)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    grid = loop.output_grid(engine, state, name, batch)
    assert grid.shape == (12, 8, 17 if name == "latent" else 26, 1)


def tool(engine, state, name, pictures, **options):
    return train.make(engine, state, name, ema=False, pictures=pictures, options=options)


@pytest.mark.slow
def test_the_sheet_of_references_has_sources_in_rows_and_references_in_columns(engine, state):
    pictures = {name: normal(8, 8, 3, seed=i) for i, name in enumerate(("image", "image2"))}
    pictures |= {
        name: normal(8, 8, 3, seed=5 + i)
        for i, name in enumerate(("reference", "reference2", "reference3"))
    }
    made = tool(engine, state, "references", pictures, domains=("dog", 0, "wild"))
    assert made.columns == 4
    sheet = made.pictures.reshape(3, 4, 8, 8, 3)
    assert (sheet[0, 0] == 1).all()
    np.testing.assert_array_equal(sheet[0, 2], pictures["reference2"])
    np.testing.assert_array_equal(sheet[2, 0], pictures["image2"])
    networks = engine.game.networks(state, ema=False)
    style = networks["style_encoder"](pictures["reference3"][None], jnp.array([2]))
    expected = jnp.clip(networks["generator"](pictures["image2"][None], style), -1, 1)
    np.testing.assert_allclose(sheet[2, 3], expected[0], atol=1e-5)
    same = tool(engine, state, "references", pictures, domains=("dog",))
    np.testing.assert_array_equal(same.pictures[5], made.pictures[5])


@pytest.mark.slow
def test_the_sheet_of_domains_and_the_film_between_styles(engine, state):
    pictures = {"image": normal(8, 8, 3)}
    made = tool(engine, state, "domains", pictures, columns=3)
    assert made.columns == 4
    sheet = made.pictures.reshape(3, 4, 8, 8, 3)
    np.testing.assert_array_equal(sheet[:, 0], np.stack([pictures["image"]] * 3))
    networks = engine.game.networks(state, ema=False)
    style = networks["mapping"](made.arrays["z"][1:2], jnp.array([2]))
    np.testing.assert_allclose(made.arrays["styles"].reshape(3, 3, 4)[2, 1], style[0], atol=1e-6)
    expected = jnp.clip(networks["generator"](pictures["image"][None], style), -1, 1)
    np.testing.assert_allclose(sheet[2, 2], expected[0], atol=1e-5)
    film = tool(engine, state, "interpolation", pictures, domain="wild", points=3, frames=4)
    assert film.film
    assert film.pictures.shape == (9, 8, 8, 3)
    pictures |= {"reference": normal(8, 8, 3, seed=1), "reference2": normal(8, 8, 3, seed=2)}
    film = tool(engine, state, "interpolation", pictures, domain=1, frames=2)
    ends = networks["style_encoder"](
        np.stack([pictures["reference"], pictures["reference2"]]), jnp.array([1, 1])
    )
    expected = [ends[0], (ends[0] + ends[1]) / 2, ends[1]]
    np.testing.assert_allclose(film.arrays["styles"], expected, atol=1e-5)


# What it refuses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "changes", "text"),
    [
        (
            Spec({"image": Field("image", (16, 16, 3))}, 9),
            {},
            "stargan2 translates between domains, which are the labels of the data, and these have none; give a folder"
            " with one folder for each domain, or choose other data: set data.name=digits and data.labels=true.",
        ),
        (
            spec_of(16, 1),
            {},
            "stargan2 translates between domains, and the data has only one class; give a folder",
        ),
        (
            spec_of(100),
            {},
            "stargan2 translates square pictures of a power of two pixels, from 8; those of the data are 100 x 100: set"
            " data.resolution=128.",
        ),
        (
            spec_of(32),
            {"downs": 5},
            "downs is 5, but pictures of 32 pixels can be halved 4 times, to 2: set downs=4.",
        ),
        (
            spec_of(32),
            {"batch_size": 1},
            "batch_size is 1, but it must be at least 2: set batch_size=2.",
        ),
        (
            Spec({"image": Field("points", (2,)), "label": Field("label", number=3)}, 9),
            {},
            "stargan2 needs a picture 'image' in each example",
        ),
    ],
)
def test_what_it_cannot_play_is_refused_by_a_sentence(spec, changes, text):
    battery.assert_refused(stargan2.game, stargan2.Options(**changes), spec, re.escape(text))


PICTURE = np.zeros((8, 8, 3), np.float32)


@pytest.mark.parametrize(
    ("name", "pictures", "options", "text"),
    [
        (
            "references",
            {"image": PICTURE, "reference": PICTURE},
            {"domains": ("dgo",)},
            "domains is 'dgo', but there is no such domain among cat, dog, wild: set domains=dog.",
        ),
        (
            "references",
            {"image": PICTURE, "reference": PICTURE, "reference2": PICTURE},
            {},
            "domains is (), but each of the 2 references needs its domain, one of cat, dog, wild: set"
            " domains=('cat', 'cat').",
        ),
        (
            "references",
            {"image": PICTURE, "reference": PICTURE},
            {"domains": (3,)},
            "domains is 3, but there is no such domain among cat, dog, wild: set domains=cat.",
        ),
        (
            "interpolation",
            {"image": PICTURE, "reference": PICTURE},
            {},
            "a film from style to style needs two references or more, or none for those of random latents: set"
            " pictures.reference2=FILE.",
        ),
        (
            "domains",
            {"image": np.zeros((8, 16, 3), np.float32)},
            {},
            "the picture 'image' is 8x16, but the networks were trained on 8x8; resize it to that.",
        ),
    ],
)
def test_what_cannot_be_translated_is_refused_by_a_sentence(name, pictures, options, text):
    game = tiny()
    play = Play({}, {}, jax.random.key(0), game.clock(0), num=1)
    with pytest.raises(ValueError, match=re.escape(text)) as raised:
        game.tools[name](play, pictures, **options)
    assert "\n" not in str(raised.value)


def test_networks_refuse_pictures_of_another_size():
    encoder = nets.PictureHeads(2, 4, (2, 2, 2))
    text = "a network that halves 2 times to 4x4 needs pictures of 16x16, not 8x8."
    with pytest.raises(ValueError, match=re.escape(text)):
        encoder.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), jnp.zeros(1, jnp.int32))
