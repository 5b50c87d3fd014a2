"""Regularisers of a tiny game: each loss against one computed by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery
from models.written_out import check_turn, decoded, purpose

from jaxgan import augment, conditional, regularisers
from jaxgan.engine import Engine
from jaxgan.options import OptionError, override
from jaxgan.spec import Field, Spec

SIDE, LATENT, BATCH = 4, 3, 8
SPEC = Spec({"image": Field("image", (SIDE, SIDE, 1))}, 16)  # an epoch is two batches
KEY = jax.random.key(7)


class Generator(nn.Module):
    @nn.compact
    def __call__(self, latent, label=None, train=True):
        return jnp.tanh(nn.Dense(SIDE**2)(latent)).reshape(-1, SIDE, SIDE, 1)


class Critic(nn.Module):
    """Not linear in the pictures, and not the same for moved ones."""

    @nn.compact
    def __call__(self, x, label=None, train=True):
        return nn.Dense(1)(jnp.tanh(nn.Dense(5)(x.reshape(len(x), -1))))[:, 0]


def engine_of(spec=SPEC, **changes):
    options = conditional.Options(
        conditional=False, latent_dim=LATENT, batch_size=BATCH, critic_steps=1, **changes
    )
    game = conditional.game(options, spec, generator=Generator(), critic=Critic())
    return Engine(game)


def start(engine):
    """(state, batch)."""
    return engine.init(), battery.batch(SPEC, 0, engine.game.stages[0], 0)


def make(params, latent):
    return Generator().apply({"params": params}, latent)


def judge(params, pictures):
    return Critic().apply({"params": params}, pictures)


def latents():
    return jax.random.normal(purpose(KEY, "latent"), (BATCH, LATENT))


def changed():
    return latents() + 0.03 * jax.random.normal(
        purpose(KEY, "change of the latent"), (BATCH, LATENT)
    )


def moved(pictures, side):
    """Flipped and shifted."""
    flip, shift = jax.random.split(purpose(KEY, f"consistency of {side}"))
    return augment.random_translate(augment.random_flip(pictures, flip), shift, mode="reflect")


def hinge(real, fake):
    return jnp.mean(jnp.maximum(0, 1 - real)) + jnp.mean(jnp.maximum(0, 1 + fake))


def square(a, b):
    return jnp.mean((a - b) ** 2)


def assert_turn(engine, state, batch, player, by_hand):
    """`by_hand`: (generator's parameters, critic's, real pictures) -> (loss, metrics) or (loss, metrics, new state)."""
    turn = next(t for t in engine.game.stages[0].turns if t.players == (player,))
    real = decoded(batch["image"])

    def of(mover):
        params = {**state.params, player: mover}
        value, metrics, *new = by_hand(params["generator"], params["critic"], real)
        return value, (new[0] if new else {}, metrics)

    check_turn(engine, turn, state, batch, KEY, of)


def consistency(g, d, real, kind):
    """(loss of the critic, metrics)."""
    fake = make(g, latents())
    on_real, on_fake = judge(d, real), judge(d, fake)
    terms = {}
    if kind != "zcr":
        terms["consistency"] = 2.0 * square(on_real, judge(d, moved(real, "real")))
    if kind in ("bcr", "icr"):
        terms["fake_consistency"] = 2.0 * square(on_fake, judge(d, moved(fake, "fake")))
    if kind in ("zcr", "icr"):
        # With larger weights than usual, since the term is small beside the others.
        terms["latent_consistency"] = 50.0 * square(on_fake, judge(d, make(g, changed())))
    return hinge(on_real, on_fake) + sum(terms.values()), terms


@pytest.mark.parametrize(
    "kind", [*(pytest.param(k, marks=pytest.mark.slow) for k in ("cr", "bcr", "zcr")), "icr"]
)
def test_consistency_of_both_players(kind):
    engine = engine_of(
        consistency=kind, consistency_weight=2.0, latent_consistency_weights=(50.0, 30.0)
    )
    state, batch = start(engine)
    assert_turn(engine, state, batch, "critic", lambda g, d, real: consistency(g, d, real, kind))

    def of_generator(g, d, real):
        value, metrics = -jnp.mean(judge(d, make(g, latents()))), {}
        if kind in ("zcr", "icr"):
            distance = square(make(g, latents()), make(g, changed()))
            metrics["latent_consistency"] = -30.0 * distance
            value = value - 30.0 * distance
        return value, metrics

    assert_turn(engine, state, batch, "generator", of_generator)


def test_the_default_weights_are_the_papers():
    options = regularisers.Options()
    assert (options.consistency_weight, options.latent_consistency_weights) == (10.0, (5.0, 0.5))
    assert options.latent_consistency_noise == 0.03
    assert (options.lecam_decay, options.top_k_share, options.top_k_decay) == (0.99, 0.5, 1.0)
    assert regularisers.terms(options) == ({}, {}, False)
    assert regularisers.kept(options, 100) is None
    assert regularisers.critic_state(options) == {}


# LeCam ----------------------------------------------------------------------------------------------------------


def test_lecam_by_hand_from_averages_that_have_moved_before():
    engine = engine_of(lecam_weight=0.7, lecam_decay=0.9)
    state, batch = start(engine)
    before = {"real": 0.4, "fake": -0.2, "weight": 0.3}
    before = {name: jnp.float32(x) for name, x in before.items()}
    state = state.replace(
        variables={**state.variables, "critic": {**state.variables["critic"], "lecam": before}}
    )

    def by_hand(g, d, real):
        on_real, on_fake = judge(d, real), judge(d, make(g, latents()))
        means = {"real": jnp.mean(on_real), "fake": jnp.mean(on_fake), "weight": jnp.float32(1)}
        new = {
            name: jax.lax.stop_gradient(0.9 * before[name] + 0.1 * mean)
            for name, mean in means.items()
        }
        of_real, of_fake = (new[side] / new["weight"] for side in ("real", "fake"))
        term = 0.7 * (square(on_real, of_fake) + square(on_fake, of_real))
        return hinge(on_real, on_fake) + term, {"lecam": term}, {"lecam": new}

    assert_turn(engine, state, batch, "critic", by_hand)


def test_lecam_moves_once_in_each_critic_step_and_starts_at_its_kimg():
    """Two critic steps of 8 images in each round; the penalty starts with round 1."""
    options = {"lecam_weight": 0.5, "lecam_decay": 0.5, "lecam_start_kimg": 0.016}
    options = conditional.Options(
        conditional=False, latent_dim=LATENT, batch_size=BATCH, critic_steps=2, **options
    )
    engine = Engine(conditional.game(options, SPEC, generator=Generator(), critic=Critic()))
    state, seen = engine.init(), []
    batches = battery.stream(engine.game, SPEC, 0)
    for step in range(2):
        state, metrics = engine.round(state, step, batches)
        seen.append(float(metrics["critic"]["critic/lecam"]))
        weight = state.variables["critic"]["lecam"]["weight"]
        np.testing.assert_allclose(weight, 1 - 0.5 ** (2 * (step + 1)), rtol=1e-6)
    assert seen[0] == 0 < seen[1]


# Top-k ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "number"),
    [(0, 8), (1, 8), (2, 5), (3, 5), (4, 3), (5, 3), (6, 2), (40, 2)],
)
def test_the_generator_learns_from_fewer_samples_in_each_epoch(step, number):
    """A factor of 0.7 every two rounds, down to a share of 0.3: of 8 samples 8, 5, 3 and 2."""
    engine = engine_of(top_k_decay=0.7, top_k_share=0.3)
    state, batch = start(engine)
    state = state.replace(step=jnp.int32(step))
    turn = engine.game.stages[0].turns[1]
    found = jax.jit(lambda state: turn.loss(engine.play(state, batch, KEY)).value)(state)
    logits = np.asarray(judge(state.params["critic"], make(state.params["generator"], latents())))
    np.testing.assert_allclose(found, -np.sort(logits)[-number:].mean(), rtol=1e-4)


# DiffAugment ----------------------------------------------------------------------------------------------------

POLICY = "color,translation,cutout"


def test_the_critic_sees_augmented_pictures_only():
    """In the critic's turn the real and the generated ones are one batch, so each has its own draws."""
    engine = engine_of(diff_augment=POLICY)
    state, batch = start(engine)

    def of_critic(g, d, real):
        both = jnp.concatenate([real, make(g, latents())])
        seen = augment.diff_augment(both, purpose(KEY, "augmentation of both"), POLICY)
        logits = judge(d, seen)
        return hinge(logits[:BATCH], logits[BATCH:]), {}

    def of_generator(g, d, real):
        made = make(g, latents())
        seen = augment.diff_augment(made, purpose(KEY, "augmentation of fake"), POLICY)
        return -jnp.mean(judge(d, seen)), {}

    assert_turn(engine, state, batch, "critic", of_critic)
    assert_turn(engine, state, batch, "generator", of_generator)


def test_the_same_picture_is_augmented_in_different_ways():
    options = regularisers.Options(diff_augment=POLICY)
    picture = jax.random.uniform(KEY, (1, SIDE, SIDE, 1))
    same = jnp.tile(picture, (4, 1, 1, 1))
    seen = np.asarray(regularisers.augmented(options, same, KEY))
    assert all(np.abs(seen[i] - seen[j]).max() > 1e-3 for i in range(4) for j in range(i))
    assert regularisers.augmented(regularisers.Options(), same, KEY) is same


def test_color_needs_pictures_of_one_or_three_channels():
    options = regularisers.Options(diff_augment="color,cutout")
    spec = Spec({"image": Field("image", (8, 8, 2))}, 1)
    with pytest.raises(
        OptionError, match=r"1 or 3 channels, .* have 2: set diff_augment=cutout"
    ) as e:
        regularisers.check(options, spec)
    for fix in e.value.fixes:
        regularisers.check(override(options, fix), spec)
