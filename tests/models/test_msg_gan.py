"""`msg_gan`: networks by their equations, losses and penalties by hand, parity with the reference."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery
from models.same_weights import by_rule, close_to_scale
from models.written_out import check_turn, purpose

from jaxgan import losses, resample, train
from jaxgan.engine import Engine
from jaxgan.game import Play
from jaxgan.models import msg_gan, stylegan
from jaxgan.nets.equalised import leaky_relu
from jaxgan.nets.norm import pixel_norm
from jaxgan.spec import Field, Spec
from jaxgan.train.outputs import make_output


def picture(side, channels=3):
    return Spec({"image": Field("image", (side, side, channels))}, 1000)


REFERENCE = (("combine", "lin_cat"), ("minibatch_std", "last"), ("minibatch_std_group", 0))
GOLDEN = {
    # The reference's networks; below, in the order of their tables, other ways of combining and StyleGAN's networks.
    ("msg_gan", picture(32), REFERENCE): {"critic": 17_184_001, "generator": 20_719_628},
    ("msg_gan", picture(64), REFERENCE): {"critic": 18_364_161, "generator": 22_490_383},
    ("msg_gan", picture(256), REFERENCE): {"critic": 18_733_185, "generator": 23_044_309},
    ("msg_gan", picture(1024), REFERENCE): {"critic": 18_756_321, "generator": 23_079_115},
}

TINY = picture(8, 1)
SMALL = {"latent_dim": 4, "channel_base": 64, "channel_max": 6, "batch_size": 4}


def make(spec=TINY, **changes):
    return msg_gan.game(msg_gan.Options(**{**SMALL, **changes}), spec)


# Parity ------------------------------------------------------------------------------------------------------

LEVELS, BATCH = 5, 4


@functools.cache
def parity_game():
    """Levels of 4 to 64 pixels, the last with half of the channels."""
    options = {"latent_dim": 8, "channel_base": 256, "channel_max": 8}
    return msg_gan.game(msg_gan.Options(**options, **dict(REFERENCE)), picture(64))


def parity_params():
    """{player: parameters by rule}."""

    def of_player(name, player):
        def leaf(path, x):
            size = 0.3 if path[-1].key == "bias" else 1.0
            return np.float32(size) * by_rule(f"{name}{jax.tree_util.keystr(path)}", x.shape)

        shapes = jax.eval_shape(player.init, jax.random.key(0))["params"]
        return jax.tree_util.tree_map_with_path(leaf, shapes)

    return {name: of_player(name, player) for name, player in parity_game().players.items()}


def latent():
    return by_rule("latent", (BATCH, 8))


def real_pyramid():
    real = np.tanh(by_rule("real", (BATCH, 64, 64, 3)))
    sides = [4 << k for k in range(LEVELS)]
    return [real.reshape(BATCH, s, 64 // s, s, 64 // s, 3).mean(axis=(2, 4)) for s in sides]


def test_the_reference_has_the_same_outputs_losses_and_gradients():
    """akanimax/BMSG-GAN at 863b1f3, PyTorch 2.13, depth 5 and latent size 8.

    Its networks were given the parameters of `parity_params`, and latents scaled to length sqrt(8); the losses are its
    `RelativisticAverageHingeGAN`. Of pictures above 16 pixels the file holds every second or fourth pixel.
    """
    with np.load(Path(__file__).parent / "golden" / "msg_gan.npz") as file:
        golden = dict(file)
    params, game = parity_params(), parity_game()
    generator, critic = (game.players[p].module for p in ("generator", "critic"))
    real = real_pyramid()

    def paint(params):
        return generator.apply({"params": params}, latent())

    def judge(params, pictures):
        return critic.apply({"params": params}, pictures)

    fake = jax.jit(paint)(params["generator"])
    for k, found in enumerate(fake):
        step = max(1, 2**k // 4)
        np.testing.assert_allclose(found[:, ::step, ::step], golden[f"fake{k}"], atol=1e-4)
    logits = jax.jit(judge)(params["critic"], real)
    np.testing.assert_allclose(logits, golden["logits"], rtol=1e-4, atol=1e-4)
    objective = losses.relativistic_average_hinge

    def critic_loss(params):
        return objective.critic(judge(params, real), judge(params, fake))

    def generator_loss(of_generator):
        of_critic = params["critic"]
        return objective.generator(judge(of_critic, paint(of_generator)), judge(of_critic, real))

    for player, loss in (("critic", critic_loss), ("generator", generator_loss)):
        value, slopes = jax.jit(jax.value_and_grad(loss))(params[player])
        np.testing.assert_allclose(value, golden[f"{player}_loss"], rtol=1e-4)
        still = [
            jax.tree_util.keystr(path)
            for path, slope in jax.tree_util.tree_leaves_with_path(slopes)
            if np.abs(slope).max() < 1e-6
        ]
        # Only differences of logits enter the losses.
        assert still == (["['output']['bias']"] if player == "critic" else [])
        close_to_scale(slopes, golden, player)


# The networks ------------------------------------------------------------------------------------------------


def layer(params, x, gain=2.0**0.5):
    """An equalised convolution or dense layer."""
    kernel = params["kernel"] * np.float32(gain / np.prod(params["kernel"].shape[:-1]) ** 0.5)
    y = resample.conv(x, kernel) if kernel.ndim == 4 else x @ kernel
    bias = params.get("bias", jnp.zeros(kernel.shape[-1]))
    return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def active(x):
    return leaky_relu(x, 1.0)


def generator_by_hand(params, z):
    """Pictures of 4 x 4 and more pixels."""
    z = z * z.shape[1] ** 0.5 / jnp.linalg.norm(z, axis=1, keepdims=True)
    x = layer(params["dense"], z).reshape(len(z), 4, 4, -1) + params["bias"][None, None, None]
    x = pixel_norm(active(layer(params["conv"], active(x))))
    pictures, k = [layer(params["to_rgb0"], x)], 1
    while f"block{k}" in params:
        for name in ("conv0", "conv1"):
            x = resample.upsample_nearest(x) if name == "conv0" else x
            x = pixel_norm(active(layer(params[f"block{k}"][name], x)))
        pictures.append(layer(params[f"to_rgb{k}"], x))
        k += 1
    return pictures


def with_deviation(x, group):
    """Each group of consecutive images with the mean over pixels and channels of its standard deviation."""
    added = [
        jnp.full((*g.shape[:3], 1), jnp.mean(jnp.sqrt(jnp.var(g, axis=0) + 1e-8)))
        for g in jnp.split(x, len(x) // group)
    ]
    return jnp.concatenate([x, jnp.concatenate(added)], axis=-1)


def critic_by_hand(params, pictures, combine="simple", every=True, group=4):
    x = None
    for k in reversed(range(len(pictures))):
        if x is None:
            x = layer(params[f"from_rgb{k}"], pictures[k])
        elif combine == "simple":
            x = jnp.concatenate([pictures[k], x], axis=-1)
        elif combine == "lin_cat":
            x = jnp.concatenate([layer(params[f"from_rgb{k}"], pictures[k]), x], axis=-1)
        else:
            joined = jnp.concatenate([pictures[k], x], axis=-1)
            x = layer(params[f"from_rgb{k}"], joined, gain=1.0)
        x = with_deviation(x, group) if every or k == 0 else x
        if k:
            x = active(layer(params[f"block{k}"]["conv0"], x))
            x = resample.avg_pool(active(layer(params[f"block{k}"]["conv1"], x)))
    x = active(layer(params["conv"], x)).reshape(len(x), -1)
    return layer(params["output"], active(layer(params["dense"], x)))[:, 0]


def random_params(game, player):
    params = game.players[player].init(jax.random.key(5))["params"]
    return jax.tree_util.tree_map_with_path(
        lambda path, x: x + 0.3 * by_rule(jax.tree_util.keystr(path), x.shape), params
    )


@pytest.mark.parametrize(
    ("combine", "std"),
    [
        ("cat_lin", "last"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("lin_cat", "every"), ("simple", "every"))
        ),
    ],
)
def test_the_networks_are_those_of_the_equations(combine, std):
    """Levels of 4, 8 and 16 pixels, of 6, 6 and 4 channels; two groups of the minibatch deviation."""
    game = make(picture(16, 1), combine=combine, minibatch_std=std, minibatch_std_group=2)
    params = {player: random_params(game, player) for player in game.players}
    z = by_rule("z", (4, 4))

    @jax.jit
    def both(params):
        pictures = game.players["generator"].module.apply({"params": params["generator"]}, z)
        logits = game.players["critic"].module.apply({"params": params["critic"]}, pictures)
        by_hand = generator_by_hand(params["generator"], z)
        judged = critic_by_hand(params["critic"], by_hand, combine, std == "every", 2)
        return (pictures, logits), (by_hand, judged)

    found, expected = both(params)
    assert [x.shape for x in found[0]] == [(4, side, side, 1) for side in (4, 8, 16)]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected
    )


# Losses ------------------------------------------------------------------------------------------------------


def pyramid(batch):
    real = batch["image"].astype(np.float32) / np.float32(127.5) - np.float32(1)
    return [real.reshape(4, 4, 2, 4, 2, 1).mean(axis=(2, 4)), real]


def penalty_by_hand(judge, real, fake, share, kind, each):
    points = real
    if kind == "gradient":
        points = [r + share * (f - r) for r, f in zip(real, fake, strict=True)]
    slopes = jax.grad(lambda pictures: jnp.sum(judge(pictures)))(points)
    squares = [jnp.sum(g**2, axis=(1, 2, 3)) for g in slopes]
    squares = squares if each else [sum(squares)]
    if kind == "gradient":
        return sum(jnp.mean((jnp.sqrt(s) - 1) ** 2) for s in squares) / len(squares)
    return sum(0.5 * jnp.mean(s) for s in squares) / len(squares)


def hinge(x):
    return jnp.mean(jnp.maximum(x, 0.0))


LOSSES = [
    ("wasserstein", "gradient", "each"),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            ("wasserstein", "gradient", "together"),
            ("non_saturating", "r1", "each"),
            ("non_saturating", "r1", "together"),
            ("relativistic_average_hinge", "none", "each"),
        )
    ),
]


@pytest.mark.parametrize(("objective", "kind", "scales"), LOSSES)
def test_losses_by_hand(objective, kind, scales):
    """The first turns of both players, at weights that differ from the defaults."""
    options = {"objective": objective, "penalty": kind, "penalty_scales": scales}
    engine = Engine(make(**options, penalty_weight=3.0, drift_weight=0.2))
    state = engine.init()
    data = battery.batch(TINY, 0, engine.game.stages[0], 0)
    key = jax.random.key(9)
    z = jax.random.normal(purpose(key, "latent"), (4, 4))
    share = jax.random.uniform(purpose(key, "penalty"), (4, 1, 1, 1))
    of_critic, of_generator = (state.params[p] for p in ("critic", "generator"))
    real = pyramid(data)

    def values(r, f):
        if objective == "wasserstein":
            return jnp.mean(f) - jnp.mean(r), -jnp.mean(f)
        if objective == "non_saturating":
            plus = jax.nn.softplus
            return jnp.mean(plus(-r)) + jnp.mean(plus(f)), jnp.mean(plus(-f))
        r, f = r - jnp.mean(f), f - jnp.mean(r)
        return hinge(1 - r) + hinge(1 + f), hinge(1 + r) + hinge(1 - f)

    def critic_loss(params):
        fake = generator_by_hand(of_generator, z)
        judge = functools.partial(critic_by_hand, params)
        r, f = judge(real), judge(fake)
        terms = {}
        if kind != "none":
            each = scales == "each"
            terms["penalty"] = 3.0 * penalty_by_hand(judge, real, fake, share, kind, each)
        if objective == "wasserstein":
            terms["drift"] = 0.2 * jnp.mean(r**2)
        metrics = {"real": jnp.mean(r), "fake": jnp.mean(f), **terms}
        return values(r, f)[0] + sum(terms.values()), ({}, metrics)

    def generator_loss(params):
        fake = generator_by_hand(params, z)
        r, f = critic_by_hand(of_critic, real), critic_by_hand(of_critic, fake)
        apart = jnp.mean(jnp.abs(fake[0] - resample.avg_pool(fake[1])))
        return values(r, f)[1], ({}, {"disagreement": apart})

    turns = engine.game.stages[0].turns
    for turn, by_hand in zip(turns, (critic_loss, generator_loss), strict=True):
        check_turn(engine, turn, state, data, key, by_hand)


def test_the_players_draw_latents_of_their_own():
    """A turn's key depends on its name."""
    engine = Engine(make())
    first, second = engine.game.stages[0].turns
    assert first.name != second.name
    assert first.fresh_batch
    assert not second.fresh_batch


# StyleGAN's networks -----------------------------------------------------------------------------------------

STYLED = {
    "architecture": "stylegan", "style_dim": 4, "mapping_layers": 2, "mapping_lr_multiplier": 0.1,
    "combine": "cat_lin", "objective": "non_saturating", "penalty": "r1", "optimizer": "adam",
}  # fmt: skip


def test_the_styled_generator_has_stylegans_layers_and_pictures_at_every_level():
    """With the same variables, the picture of each level is that of StyleGAN's synthesis."""
    options = {"style_dim": 4, "mapping_layers": 2, "channel_base": 64, "channel_max": 6}
    other = stylegan.game(stylegan.Options(latent_dim=4, **options), picture(16, 1))
    game = make(picture(16, 1), **STYLED)
    variables = game.players["generator"].init(jax.random.key(2))
    theirs = other.players["generator"].init(jax.random.key(2))
    assert jax.tree.structure(variables) == jax.tree.structure(theirs)
    w = by_rule("w", (2, 6, 4))
    module, reference = game.players["generator"].module, other.players["generator"].module

    @jax.jit
    def both(variables):
        ours = module.apply(variables, w, "constant", method="scales")
        paint = functools.partial(reference.apply, variables, w, "constant", method="paint")
        return ours, [paint(level) for level in range(3)]

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *both(variables)
    )


@pytest.mark.slow
def test_the_styled_form_takes_r1_of_each_scale_and_tracks_the_mean_style():
    engine = Engine(make(**STYLED))
    state, key = engine.init(), jax.random.key(9)
    data = battery.batch(TINY, 0, engine.game.stages[0], 0)
    generator, critic = (engine.game.players[p].module for p in ("generator", "critic"))
    z, real = jax.random.normal(purpose(key, "latent"), (4, 4)), pyramid(data)

    def paint(params):
        given = {"params": params, **state.variables["generator"]}
        w = generator.apply(given, z, method="style")
        rngs = {"noise": purpose(key, "noise")}
        return generator.apply(given, w, "random", method="scales", rngs=rngs), w

    def judge(params, pictures):
        return critic.apply({"params": params}, pictures)

    def critic_loss(params):
        fake, _ = paint(state.params["generator"])
        slopes = jax.grad(lambda x: jnp.sum(judge(params, x)))(real)
        squares = sum(jnp.mean(jnp.sum(g**2, axis=(1, 2, 3))) for g in slopes)
        penalty = 10 / 2 * squares / 2
        plus = jax.nn.softplus
        value = jnp.mean(plus(-judge(params, real))) + jnp.mean(plus(judge(params, fake)))
        return value + penalty, ({}, {"penalty": penalty})

    def generator_loss(params):
        fake, w = paint(params)
        value = jnp.mean(jax.nn.softplus(-judge(state.params["critic"], fake)))
        average = {"style": 0.005 * jnp.mean(w, axis=0)}
        return value, ({**state.variables["generator"], "average": average}, {})

    turns = engine.game.stages[0].turns
    for turn, by_hand in zip(turns, (critic_loss, generator_loss), strict=True):
        check_turn(engine, turn, state, data, key, by_hand)


@pytest.mark.slow
def test_the_styled_form_has_the_tools_of_styles_and_of_scales():
    engine = Engine(make(**STYLED), seed=3)
    state = engine.init()
    names = {"scales", "truncation", "mixing", "interpolation", "projection"}
    assert set(engine.game.tools) == names
    made = train.make(engine, state, "scales", options={"num": 2})
    assert made.pictures.shape == (4, 8, 8, 1)
    mixed = train.make(engine, state, "mixing", options={"rows": 2, "columns": 2})
    assert mixed.pictures.shape[1:] == (8, 8, 1)
    flat = make_output(
        engine, state, "samples", jax.random.key(0), 3, truncation=0.0, noise="constant"
    )
    assert np.ptp(flat, axis=0).max() < 1e-6


# Training and outputs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def started():
    engine = Engine(make(picture(16, 1), ema_half_life_kimg=0.02), seed=3)
    return engine, engine.init()


@pytest.mark.slow
def test_trains_finite_and_resumes_bit_for_bit():
    game = make(picture(16, 1), ema_half_life_kimg=0.02)
    engine, _ = battery.check_trains(game, game.spec, 2)
    battery.check_resume(engine, game.spec, 1, 3)


def test_samples_and_scales_are_of_the_averaged_generator(started):
    engine, state = started
    key, averaged = jax.random.key(4), battery.host(state).ema["generator"]["params"]
    rows = engine.chunk_rows("samples")

    def pictures(output):
        chunk = jax.random.fold_in(key, 0)
        z = jax.random.normal(purpose(chunk, "latent"), (engine.chunk_rows(output), 4))
        return [x[:3] for x in jax.jit(generator_by_hand)(averaged, z)]

    assert rows >= 3
    samples = make_output(engine, state, "samples", key, 3)
    np.testing.assert_allclose(samples, np.clip(pictures("samples")[-1], -1, 1), atol=1e-4)
    scales = make_output(engine, state, "scales", key, 3)
    assert scales.shape == (3, 16, 48, 1)
    for k, small in enumerate(pictures("scales")):
        times = 4 >> k
        expected = np.clip(small, -1, 1).repeat(times, axis=1).repeat(times, axis=2)
        np.testing.assert_allclose(scales[:, :, 16 * k : 16 * (k + 1)], expected, atol=1e-4)


def test_the_tools_show_scales_and_a_film(started):
    engine, state = started
    made = train.make(engine, state, "scales", options={"num": 3})
    assert (made.pictures.shape, made.columns) == ((9, 16, 16, 1), 3)
    small, half, full = (made.pictures[k::3] for k in range(3))
    np.testing.assert_array_equal(small, small[:, ::4, ::4].repeat(4, axis=1).repeat(4, axis=2))
    np.testing.assert_array_equal(half, half[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))
    assert (full[:, ::2] != full[:, 1::2]).any()
    assert len(np.unique(full, axis=0)) == 3
    film = train.make(engine, state, "interpolation", options={"points": 2, "frames": 2})
    assert film.pictures.shape == (4, 16, 16, 1)


@pytest.mark.parametrize(
    ("side", "shown"), [(8, (8, 16)), (20, (20, 60)), (512, (256, 2048)), (320, (160, 1120))]
)
def test_very_large_pictures_are_reduced_in_the_output_of_all_scales(side, shown):
    output = make(picture(side)).outputs["scales"]
    assert output.shape == (*shown, 3)
    if side == 320:
        game = make(picture(side))
        shapes = Engine(game).state_shape

        def made(params):
            networks = game.bind(params, {"critic": {}, "generator": {}})
            return output.make(Play(networks, {}, jax.random.key(0), game.clock(0), 2))

        assert jax.eval_shape(made, shapes.params).shape == (2, *output.shape)


@pytest.mark.slow
def test_eight_devices_do_the_same():
    game = make(
        picture(16, 1), batch_size=16, objective="relativistic_average_hinge", penalty="none"
    )
    battery.check_devices(game, game.spec, 2)


@pytest.mark.slow
def test_recomputed_activations_change_neither_parameters_nor_gradients():
    battery.check_remat(make(), make(remat=True), TINY)


@pytest.mark.slow
def test_bfloat16_trains_for_300_rounds_without_nan():
    game = make(picture(16, 1), dtype="bfloat16", batch_size=8)
    state, seen = battery.play(Engine(game, seed=3), game.spec, 300)
    assert all(np.isfinite(value) for metrics in seen for value in metrics.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(battery.host(state)))


@pytest.mark.parametrize(
    ("spec", "changes", "text"),
    [
        (
            picture(100),
            {},
            "^msg_gan makes square pictures of 4, 5, 6 or 7 times .* set data.resolution=128",
        ),
        (
            Spec({"image": Field("points", (2,))}, 9),
            {},
            "^msg_gan needs a picture 'image' in each example",
        ),
        (
            TINY,
            {"combine": "cat"},
            "combine is 'cat', but it must be one of simple, lin_cat, cat_lin",
        ),
        (
            TINY,
            {"penalty": "none"},
            "penalty is 'none', but the objective wasserstein needs a critic whose gradient is limited:"
            " set penalty=gradient or objective=relativistic_average_hinge",
        ),
        (TINY, {"penalty_scales": "top"}, "one of each, together"),
        (TINY, {"batch_size": 0}, "batch_size is 0, but it must be at least 1"),
    ],
)
def test_options_and_data_that_do_not_fit_raise(spec, changes, text):
    battery.assert_refused(msg_gan.game, msg_gan.Options(**changes), spec, text)
