"""Every conditioning of a critic in a game of `biggan`: one turn of each player, written out."""

import jax
import jax.numpy as jnp
import pytest
from models import battery, same_weights
from models.written_out import check_micro_batches, check_turn, decoded, purpose

from jaxgan.engine import Engine
from jaxgan.models import biggan
from jaxgan.nets.heads import CONDITIONINGS, Labels
from jaxgan.spec import Field, Spec

K, BATCH, LATENT, EMBEDDING = 3, 6, 4, 5
SPEC = Spec({"image": Field("image", (8, 8, 1)), "label": Field("label", number=K)}, 100)
TINY = {
    "latent_dim": LATENT, "width": 1, "critic_width": 2, "class_embedding_dim": 3, "batch_size": BATCH,
    "critic_steps": 1, "label_embedding_dim": EMBEDDING,
}  # fmt: skip


def make(**changes):
    return biggan.game(biggan.Options(**{**TINY, **changes}), SPEC)


# The heads: functions of the features h [B, F] and of the critic's parameters ---------------------------------


def normalised(params, name, leaf="kernel"):
    """A matrix, divided by its largest singular value."""
    return params[name][leaf] / jnp.linalg.norm(params[name][leaf], 2)


def dense(params, name, h):
    bias = params[name].get("bias")
    return h @ normalised(params, name) + (0 if bias is None else bias[None])


def adversarial(params, h):
    return dense(params, "output", h)[:, 0]


def projected(params, h, y):
    rows = normalised(params, "projection", "embedding")[y]
    return adversarial(params, h) + jnp.sum(rows * h, axis=1)


# The losses of RECIPES2's table, one example at a time --------------------------------------------------------


def entropy(scores, classes):
    each = [-s[c] + jnp.log(jnp.sum(jnp.exp(s))) for s, c in zip(scores, classes, strict=True)]
    return sum(each) / len(each)


def classify(params, h, y, name="classifier"):
    return entropy(dense(params, name, h), y)


def similarities(params, h, y):
    """(of the examples with each other, of each example with the proxy of its label)."""

    def unit(x):
        return x / jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True))

    e, p = unit(dense(params, "embedding", h)), unit(normalised(params, "proxy", "embedding")[y])
    return e @ e.T, jnp.sum(e * p, axis=1)


def contrastive(params, h, y):
    to_each, to_proxy = similarities(params, h, y)
    total, number = 0.0, len(h)
    for i in range(number):
        others = [k for k in range(number) if k != i]
        own = jnp.exp(to_proxy[i])
        same = sum(jnp.where(y[k] == y[i], jnp.exp(to_each[i, k]), 0) for k in others)
        total -= jnp.log((own + same) / (own + sum(jnp.exp(to_each[i, k]) for k in others)))
    return total / number


def d2d_ce(params, h, y, temperature=0.5, positive=0.98):
    to_each, to_proxy = similarities(params, h, y)
    total, number = 0.0, len(h)
    for i in range(number):
        own = jnp.exp(jnp.minimum(to_proxy[i] - positive, 0) / temperature)
        terms = jnp.exp(jnp.maximum(to_each[i] - (1 - positive), 0) / temperature)
        total -= jnp.log(own / (own + jnp.sum(jnp.where(y != y[i], terms, 0))))
    return total / number


def crammer_singer(scores, classes):
    each = []
    for s, c in zip(scores, classes, strict=True):
        others = jnp.where(jnp.arange(len(s)) == c, -jnp.inf, s)
        each.append(jnp.maximum(0, 1 + jnp.max(others) - s[c]))
    return sum(each) / len(each)


def hinge(of_real, of_fake):
    return jnp.mean(jnp.maximum(0, 1 - of_real)) + jnp.mean(jnp.maximum(0, 1 + of_fake))


def critic_loss(kind, p, h, y, g, z):
    """h, y of real pictures; g, z features and labels of generated ones."""
    if kind == "projection":
        return hinge(projected(p, h, y), projected(p, g, z))
    if kind == "multi_hinge":
        of_real, of_fake = dense(p, "classifier", h), dense(p, "classifier", g)
        return crammer_singer(of_real, y) + crammer_singer(of_fake, [K] * len(g))
    further = {
        "acgan": lambda: classify(p, h, y),
        "tac": lambda: classify(p, h, y) + classify(p, g, z, "twin"),
        "adc": lambda: classify(p, h, 2 * y) + classify(p, g, 2 * z + 1),
        "contrastive": lambda: contrastive(p, h, y),
        "d2d_ce": lambda: 0.5 * d2d_ce(p, h, y),
    }
    return hinge(adversarial(p, h), adversarial(p, g)) + further[kind]()


def generator_loss(kind, p, h, y, g, z):
    del y
    if kind == "projection":
        return -jnp.mean(projected(p, g, z))
    if kind == "multi_hinge":
        distance = jnp.mean(jnp.abs(jnp.mean(h, axis=0) - jnp.mean(g, axis=0)))
        return 0.05 * crammer_singer(dense(p, "classifier", g), z) + distance
    further = {
        "acgan": lambda: classify(p, g, z),
        "tac": lambda: classify(p, g, z) - classify(p, g, z, "twin"),
        "adc": lambda: classify(p, g, 2 * z) - classify(p, g, 2 * z + 1),
        "contrastive": lambda: contrastive(p, g, z),
        "d2d_ce": lambda: 0.5 * d2d_ce(p, g, z),
    }
    return -jnp.mean(adversarial(p, g)) + further[kind]()


# The game ------------------------------------------------------------------------------------------------------


def features(critic, params, spectral, pictures):
    """h, from the critic with a classifier for its head, of which h does not depend."""
    width = params["block2"]["conv1"]["bias"].shape[0]
    head = {"kernel": jnp.ones((width, K + 1)), "bias": jnp.zeros(K + 1)}
    known = {
        "params": {**params, "classifier": head},
        "spectral": {**spectral, "classifier": {"u": jnp.ones(K + 1)}},
    }
    classifies = critic.clone(labels=Labels(K, "multi_hinge"))
    return classifies.apply(known, pictures, jnp.zeros(len(pictures), jnp.int32), True).features


def turns_by_hand(engine, kind, state, batch, key):
    """{player: (its parameters) -> (loss, (its new collections, metrics))}."""
    generator, critic = (engine.game.players[name].module for name in ("generator", "critic"))
    real, y = decoded(batch["image"]), batch["label"]
    latent = jax.random.normal(purpose(key, "latent"), (len(y), LATENT))
    z = jax.random.randint(purpose(key, "label"), (len(y),), 0, K)
    others = state.variables

    def made(params):
        known = {"params": params, **others["generator"]}
        return generator.apply(known, latent, z, True, mutable=["batch_stats", "spectral"])

    def judged(params, pictures):
        return features(critic, params, others["critic"]["spectral"], pictures)

    def of_critic(params):
        fake, _ = made(state.params["generator"])
        h, g = judged(params, real), judged(params, fake)
        known = {"params": params, **others["critic"]}
        _, new = critic.apply(known, real, y, True, mutable=["spectral"])
        return critic_loss(kind, params, h, y, g, z), (new, {})

    def of_generator(params):
        fake, new = made(params)
        judge = state.params["critic"]
        h, g = judged(judge, real), judged(judge, fake)
        return generator_loss(kind, judge, h, y, g, z), (new, {})

    return {"critic": of_critic, "generator": of_generator}


def set_up(kind, accumulate=1):
    """(engine, state, batch)."""
    game = make(conditioning=kind, orthogonal_weight=0.0)
    engine = Engine(game, accumulate=accumulate)
    return engine, same_weights.state_by_rule(engine), battery.batch(SPEC, 0, game.stages[0], 0)


@pytest.mark.slow  # test_turns.py has the numbers, and a toy the shapes of the heads
@pytest.mark.parametrize("kind", CONDITIONINGS)
def test_the_losses_of_both_turns_are_those_written_out(kind):
    engine, state, batch = set_up(kind)
    key = jax.random.key(7)
    by_hand = turns_by_hand(engine, kind, state, batch, key)
    for turn in engine.game.stages[0].turns:
        (player,) = turn.players
        check_turn(engine, turn, state, batch, key, by_hand[player])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["projection", "contrastive"])
def test_with_two_micro_batches_the_state_moves_once(kind):
    """Similarities are between the examples of a micro-batch."""
    engine, state, batch = set_up(kind, accumulate=2)
    for turn in engine.game.stages[0].turns:
        (player,) = turn.players

        def by_hand(micro, key, player=player):
            return turns_by_hand(engine, kind, state, micro, key)[player]

        check_micro_batches(engine, turn, state, batch, by_hand)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["contrastive", "d2d_ce", "multi_hinge"])
def test_one_and_eight_devices_compare_the_same_examples(kind):
    """With one example on each device there would be nothing to compare it with."""
    battery.check_devices(make(conditioning=kind, batch_size=8), SPEC, rounds=2)
