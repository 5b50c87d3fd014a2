"""The turns that models share, each against a computation by hand with `module.apply` and jnp."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from engine.small import adds_mean, counting, far, make_game, number, one_turn, same
from engine.small import play as play_rounds

from jaxgan import losses, turns
from jaxgan.engine import Engine
from jaxgan.game import Loss, Play, Stage, Turn
from jaxgan.nets.spectral import spectral_norm
from jaxgan.network import Network
from jaxgan.schedules import Clock, Ramp
from jaxgan.turns import CriticOutput, Examples, Scene

BATCH, CLASSES = 6, 3


class Critic(nn.Module):
    """Conditional, of spectrally normalised layers whose u moves."""

    @nn.compact
    def __call__(self, x, label):
        h = jnp.tanh(spectral_norm(nn.Dense)(4, name="hidden")(x))
        return jnp.sum(h * spectral_norm(nn.Embed)(CLASSES, 4, name="embed")(label), axis=1)


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z, label):
        h = nn.Dense(3, use_bias=False)(z) + nn.Embed(CLASSES, 3)(label)
        return nn.BatchNorm(use_running_average=False, momentum=0.5)(h)


def init(module, *args):
    """Variables whose u vectors are far from converged, so that an iteration changes them."""
    variables = dict(module.init(jax.random.key(0), *args))
    if "spectral" in variables:
        variables["spectral"] = jax.tree.map(lambda u: jnp.eye(len(u))[0], variables["spectral"])
    return variables


LABEL = jnp.array([0, 1, 2, 0, 1, 2])
X = jax.random.normal(jax.random.key(1), (BATCH, 3))
CRITIC = init(Critic(), X, LABEL)
GENERATOR = init(Generator(), jnp.zeros((2, 2)), LABEL[:2])
MODULES = (Critic(), Generator())
CLOCK = Clock(jnp.int32(3), jnp.float32(0.5), jnp.int32(0), jnp.int32(3), jnp.float32(0.5))


def a_play(critic=None, generator=None, modules=MODULES):
    networks = {
        "critic": Network(modules[0], CRITIC if critic is None else critic),
        "generator": Network(modules[1], GENERATOR if generator is None else generator),
    }
    batch = {"image": X, "label": LABEL}
    return Play(networks, batch, jax.random.key(7), CLOCK, BATCH, BATCH)


def real(play):
    return Examples(play.batch["image"], {"label": play.batch["label"]})


def fake(play, generator, real, multiple=1):
    """Of other labels than the real ones."""
    label = jnp.tile((real.given["label"] + 1) % CLASSES, multiple)
    z = turns.latents(play, multiple * play.num, 2)
    return Examples(generator(z, label), {"label": label})


def by_hand(multiple=1):
    """(pictures, labels, the generator's new statistics) of `fake`."""
    z = jax.random.normal(a_play().rng("latent"), (multiple * BATCH, 2))
    label = jnp.tile((LABEL + 1) % CLASSES, multiple)
    pictures, new = Generator().apply(GENERATOR, z, label, mutable=["batch_stats"])
    return pictures, label, new


def criticised(variables, x, label):
    return Critic().apply(variables, x, label)


def after_one_call(x, label):
    _, new = Critic().apply(CRITIC, x, label, mutable=["spectral"])
    return {**CRITIC, **new}


HINGE = {"adversarial": turns.critic_objective(losses.hinge)}


def assert_close(a, b, rtol=1e-5):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


# Losses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [1, 2])
def test_the_critics_loss_judges_each_half_under_its_own_labels(passes):
    play = a_play()
    value, metrics = turns.critic_loss(real, fake, HINGE, passes=passes)(play)
    pictures, label, _ = by_hand()
    # u moves with the first call of the turn, and once.
    moved = after_one_call(X, LABEL)
    on_real, on_fake = criticised(moved, X, LABEL), criticised(moved, pictures, label)
    assert_close(
        value, jnp.mean(jnp.maximum(0, 1 - on_real)) + jnp.mean(jnp.maximum(0, 1 + on_fake))
    )
    assert metrics.keys() == {"real", "fake", "gap"}
    assert_close(metrics["real"], jnp.mean(on_real))
    assert_close(metrics["fake"], jnp.mean(on_fake))
    assert_close(metrics["gap"], jnp.mean(on_real) - jnp.mean(on_fake))
    assert far(play.moved["critic"]["spectral"], moved["spectral"])[0] < 1e-6
    assert far(moved["spectral"], CRITIC["spectral"])[0] > 1e-3
    assert play.moved.keys() == {"critic"}  # the generator's batch statistics stay


def test_the_generator_gets_no_gradient_from_the_critics_loss():
    def value(params):
        play = a_play(generator={**GENERATOR, "params": params})
        return turns.critic_loss(real, fake, HINGE)(play).value

    gradient = jax.grad(value)(GENERATOR["params"])
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_terms_are_summed_and_judge_with_the_moved_critic_without_moving_it():
    def r1_by_hand(variables):
        g = jax.vmap(jax.grad(lambda x, y: criticised(variables, x[None], y[None])[0]))(X, LABEL)
        return 0.5 * jnp.mean(jnp.sum(g**2, axis=1))

    play = a_play()
    terms = {**HINGE, "r1": turns.weighted(4.0, turns.r1)}
    value, metrics = turns.critic_loss(real, fake, terms)(play)
    plain = a_play()
    adversarial, _ = turns.critic_loss(real, fake, HINGE)(plain)
    moved = after_one_call(X, LABEL)
    assert metrics.keys() == {"real", "fake", "gap", "r1"}
    assert_close(metrics["r1"], 4.0 * r1_by_hand(moved))
    assert_close(value, adversarial + metrics["r1"])
    assert same(play.moved["critic"].variables, plain.moved["critic"].variables)


def test_the_fakes_of_a_critics_turn_may_be_more_than_the_reals():
    def doubled(play, generator, real):
        return fake(play, generator, real, multiple=2)

    values = [turns.critic_loss(real, doubled, HINGE, passes=n)(a_play()) for n in (1, 2)]
    assert far(*values)[0] < 1e-5
    assert_close(
        values[0].metrics["real"], jnp.mean(criticised(after_one_call(X, LABEL), X, LABEL))
    )


class NormalisedCritic(nn.Module):
    @nn.compact
    def __call__(self, x, label):
        h = nn.BatchNorm(use_running_average=False, momentum=0.5)(nn.Dense(4, use_bias=False)(x))
        return jnp.sum(h * nn.Embed(CLASSES, 4)(label), axis=1)


@pytest.mark.parametrize("passes", [1, 2])
def test_batch_normalisation_is_of_one_batch_or_of_each_half(passes):
    module = NormalisedCritic()
    variables = init(module, X, LABEL)
    play = a_play(critic=variables, modules=(module, Generator()))
    _, metrics = turns.critic_loss(real, fake, HINGE, passes=passes)(play)
    pictures, label, _ = by_hand()
    statistics = {"mutable": ["batch_stats"]}
    if passes == 1:
        both = jnp.concatenate([X, pictures]), jnp.concatenate([LABEL, label])
        logits, new = module.apply(variables, *both, **statistics)
        on_real, on_fake = logits[:BATCH], logits[BATCH:]
    else:
        on_real, new = module.apply(variables, X, LABEL, **statistics)
        on_fake, new = module.apply({**variables, **new}, pictures, label, **statistics)
    assert_close(metrics["real"], jnp.mean(on_real))
    assert_close(metrics["fake"], jnp.mean(on_fake))
    assert far(play.moved["critic"]["batch_stats"], new["batch_stats"])[0] < 1e-6


def test_a_term_that_judges_again_leaves_batch_statistics_alone():
    def again(scene):
        return turns.mean_logit(scene.apply_critic(3 * X, {"label": LABEL})) + turns.r1(scene)

    module = NormalisedCritic()
    found = []
    for terms in (HINGE, {**HINGE, "again": again}):
        play = a_play(critic=init(module, X, LABEL), modules=(module, Generator()))
        turns.critic_loss(real, fake, terms)(play)
        found.append(play.moved["critic"].variables)
    assert same(*found)


def test_the_generators_loss_moves_its_own_statistics_and_nothing_of_the_critic():
    play = a_play()
    terms = {"adversarial": turns.generator_objective(losses.hinge), "two": lambda scene: 2.0}
    value, metrics = turns.generator_loss(real, fake, terms)(play)
    pictures, label, new = by_hand()
    assert_close(value, 2.0 - jnp.mean(criticised(CRITIC, pictures, label)))
    assert metrics == {"two": 2.0}
    assert play.moved.keys() == {"generator"}
    assert far(play.moved["generator"]["batch_stats"], new["batch_stats"])[0] < 1e-6


def test_a_relativistic_generator_compares_each_real_example_with_several_fakes():
    def doubled(play, generator, real):
        return fake(play, generator, real, multiple=2)

    terms = {"adversarial": turns.generator_objective(losses.relativistic_paired)}
    value, _ = turns.generator_loss(real, doubled, terms)(a_play())
    pictures, label, _ = by_hand(multiple=2)
    on_fake, on_real = criticised(CRITIC, pictures, label), criticised(CRITIC, X, LABEL)
    assert_close(value, jnp.mean(jax.nn.softplus(jnp.concatenate([on_real, on_real]) - on_fake)))


def shifting(calls):
    """An `apply_critic` that shifts the pictures by a number of their purpose, and records its calls."""

    def apply_critic(play, critic, pictures, given, purpose):
        calls.append(purpose)
        shift = {"both": 0.1, "real": 0.2, "fake": 0.3}[purpose]
        return critic(pictures + shift, **given)

    return apply_critic


@pytest.mark.parametrize(
    ("build", "purposes"),
    [
        (
            lambda apply_critic: turns.critic_loss(real, fake, HINGE, apply_critic=apply_critic),
            ["both"],
        ),
        (
            lambda apply_critic: turns.critic_loss(
                real, fake, HINGE, passes=2, apply_critic=apply_critic
            ),
            None,
        ),
        (
            lambda apply_critic: turns.generator_loss(
                real,
                fake,
                {"adversarial": turns.generator_objective(losses.hinge)},
                apply_critic=apply_critic,
            ),
            ["fake"],
        ),
    ],
)
def test_the_critic_is_called_by_apply_critic_and_only_on_what_terms_need(build, purposes):
    calls = []
    build(shifting(calls))(a_play())
    assert calls == (purposes or ["real", "fake"])


def test_apply_critic_decides_how_pictures_are_shown():
    _, metrics = turns.critic_loss(real, fake, HINGE, passes=2, apply_critic=shifting([]))(a_play())
    moved = after_one_call(X, LABEL)
    pictures, label, _ = by_hand()
    assert_close(metrics["real"], jnp.mean(criticised(moved, X + 0.2, LABEL)))
    assert_close(metrics["fake"], jnp.mean(criticised(moved, pictures + 0.3, label)))


@pytest.mark.parametrize("builder", [turns.critic_loss, turns.generator_loss])
def test_what_comes_after_the_terms_sets_state_and_adds_metrics(builder):
    def after(scene):
        critic = scene.play.moving("critic")
        critic.set(seen={"x": critic["seen"]["x"] + jnp.mean(scene.fake_output.logits)})
        return {"extra": jnp.float32(5)}

    play = a_play(critic={**CRITIC, "seen": {"x": jnp.float32(1)}})
    _, metrics = builder(real, fake, {}, after=after)(play)
    assert metrics["extra"] == 5
    assert play.moved["critic"].assigned.keys() == {"seen"}
    pictures, label, _ = by_hand()
    moved = after_one_call(X, LABEL) if builder is turns.critic_loss else CRITIC
    assert_close(
        play.moved["critic"]["seen"]["x"], 1 + jnp.mean(criticised(moved, pictures, label))
    )


def test_a_lazy_regulariser_is_weighted_by_its_interval():
    turn = turns.lazy("r1", "critic", turns.r1, 4, real, weight=3.0)
    assert (turn.players, turn.name, turn.every, turn.fresh_batch) == (("critic",), "r1", 4, False)
    play = a_play()
    value, metrics = turn.loss(play)
    gradients = jax.vmap(jax.grad(lambda x, y: criticised(CRITIC, x[None], y[None])[0]))(X, LABEL)
    penalty = 0.5 * jnp.mean(jnp.sum(gradients**2, axis=1))
    assert_close(metrics["penalty"], penalty)
    assert_close(value, 4 * 3.0 * penalty)
    assert play.moved == {}


def test_a_lazy_regulariser_judges_with_the_player_that_it_moves():
    play = a_play()
    play.networks["second"] = Network(
        Critic(), {**CRITIC, "params": jax.tree.map(lambda x: x[::-1], CRITIC["params"])}
    )
    turn = turns.lazy("mean", "second", lambda scene: turns.mean_logit(scene.real_output), 2, real)
    assert turn.players == ("second",)
    expected = jnp.mean(criticised(play.networks["second"].variables, X, LABEL))
    assert_close(turn.loss(play).metrics["penalty"], expected)
    assert abs(expected - jnp.mean(criticised(CRITIC, X, LABEL))) > 1e-3


def test_alternate_moves_the_critic_on_fresh_batches_then_the_generator():
    losses = [lambda play: Loss(0.0), lambda play: Loss(1.0)]
    (stage,) = turns.alternate(*losses, batch_size=32, critic_steps=5)
    assert (stage.batch_size, stage.images_per_round) == (32, 160)
    first, second = stage.turns
    assert (first.players, first.loss, first.repeat) == (("critic",), losses[0], 5)
    assert (second.players, second.loss, second.repeat) == (("generator",), losses[1], 1)
    assert first.fresh_batch
    assert not second.fresh_batch


# Terms ----------------------------------------------------------------------------------------------------


def plain(x, label):
    """A critic of the squares of its input whose weights depend on the label."""
    weight = jnp.array([1.0, -2.0, 3.0])[label]
    return weight * jnp.sum(x**2, axis=1) / 2


def scene_of(apply_critic, real, fake, play=None):
    def output(pictures, given, purpose="real"):
        found = apply_critic(pictures, **given)
        return found if isinstance(found, CriticOutput) else CriticOutput(found)

    return Scene(play or a_play(), output, real, fake)


FAKE_LABEL = jnp.array([2, 2, 0, 1, 0, 0])
REAL_EXAMPLES = Examples(X, {"label": LABEL})
FAKE_EXAMPLES = Examples(2 * X[::-1] + 1, {"label": FAKE_LABEL})


def test_r1_uses_the_labels_of_the_real_examples():
    scene = scene_of(plain, REAL_EXAMPLES, FAKE_EXAMPLES)
    weight = jnp.array([1.0, -2.0, 3.0])[LABEL]
    # The gradient of w x^2 / 2 is w x.
    assert_close(turns.r1(scene), jnp.mean(weight**2 * jnp.sum(X**2, axis=1)) / 2)


def test_r1_sums_patches_and_scales_and_is_by_all_pictures_of_a_list():
    def patches(pictures):
        large, small = pictures
        return [2.0 * large[:, :, None] * jnp.ones((1, 1, 2)), jnp.sum(small, axis=1)]

    reals = Examples([X, X[:, :2]])
    found = turns.r1(scene_of(patches, reals, reals))
    # Of each example: d/d large = 2 * 2 in three places, d/d small = 1 in two.
    assert_close(found, 0.5 * (3 * 16 + 2))


@pytest.mark.parametrize(("target", "one_sided"), [(1.0, False), (0.0, False), (4.0, True)])
def test_the_gradient_penalty_is_between_both_under_the_real_labels(target, one_sided):
    play = a_play()
    term = turns.gradient_penalty(target, one_sided)
    found = term(scene_of(plain, REAL_EXAMPLES, FAKE_EXAMPLES, play))
    alpha = jax.random.uniform(play.rng("penalty"), (BATCH, 1))
    between = X + alpha * (FAKE_EXAMPLES.pictures - X)
    norm = jnp.abs(jnp.array([1.0, -2.0, 3.0])[LABEL]) * jnp.linalg.norm(between, axis=1)
    excess = norm - target
    assert (excess < 0).any() or not one_sided
    expected = jnp.mean((jnp.maximum(excess, 0) if one_sided else excess) ** 2)
    assert_close(found, expected)


def head_scene(name, head):
    """Each side with the output of a head of its own."""
    scene = scene_of(None, REAL_EXAMPLES, FAKE_EXAMPLES)
    zeros = jnp.zeros(BATCH)
    scene.real_output = CriticOutput(zeros, {name: head(jax.random.key(1))})
    scene.fake_output = CriticOutput(zeros, {name: head(jax.random.key(2))})
    return scene


def test_projection_has_no_terms():
    assert turns.conditioning("projection") == turns.NO_TERMS


@pytest.mark.parametrize("generated", [False, True])
def test_an_auxiliary_classifier_is_taught_the_reals_or_both_halves_and_teaches_the_fakes(
    generated,
):
    found = turns.conditioning("acgan", 0.5, generated=generated)
    assert not found.replaces
    scene = head_scene("acgan", lambda key: jax.random.normal(key, (BATCH, CLASSES)))

    def entropy(output, label):
        return -jnp.mean(jax.nn.log_softmax(output.heads["acgan"])[jnp.arange(BATCH), label])

    on_real = entropy(scene.real_output, LABEL)
    on_fake = entropy(scene.fake_output, FAKE_LABEL)
    assert_close(found.critic["acgan"](scene), 0.5 * (on_real + float(generated) * on_fake))
    assert_close(found.generator["acgan"](scene), 0.5 * on_fake)


def test_contrastive_conditioning_is_of_the_reals_for_the_critic_and_of_the_fakes_for_the_generator():
    def head(key):
        return tuple(jax.random.normal(k, (BATCH, 5)) for k in jax.random.split(key))

    def by_hand(output, label):
        h, e = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in output.heads["contrastive"])
        own, each = jnp.exp(jnp.sum(h * e, axis=1)), jnp.exp(h @ h.T) * (1 - jnp.eye(BATCH))
        alike = (label[:, None] == label[None]).astype(jnp.float32)
        close_by = own + jnp.sum(each * alike, axis=1)
        return -jnp.mean(jnp.log(close_by / (own + jnp.sum(each, axis=1))))

    found = turns.conditioning("contrastive", Ramp(0.0, 4.0, over=1.0))  # 2 at this clock
    scene = head_scene("contrastive", head)
    assert_close(found.critic["contrastive"](scene), 2 * by_hand(scene.real_output, LABEL))
    assert_close(found.generator["contrastive"](scene), 2 * by_hand(scene.fake_output, FAKE_LABEL))


def test_the_twin_and_discriminative_classifiers_are_those_of_the_losses():
    twin = head_scene("tac", lambda key: tuple(jax.random.normal(key, (2, BATCH, CLASSES))))
    double = head_scene("adc", lambda key: jax.random.normal(key, (BATCH, 2 * CLASSES)))

    def entropy(logits, label):
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(BATCH), label])

    found = turns.conditioning("tac", 2.0)
    (real, _), (fake, other) = twin.real_output.heads["tac"], twin.fake_output.heads["tac"]
    on_twin = entropy(other, FAKE_LABEL)
    assert_close(found.critic["tac"](twin), 2 * (entropy(real, LABEL) + on_twin))
    assert_close(found.generator["tac"](twin), 2 * (entropy(fake, FAKE_LABEL) - on_twin))

    found = turns.conditioning("adc")
    real, fake = double.real_output.heads["adc"], double.fake_output.heads["adc"]
    as_fake = entropy(fake, 2 * FAKE_LABEL + 1)
    assert_close(found.critic["adc"](double), entropy(real, 2 * LABEL) + as_fake)
    assert_close(found.generator["adc"](double), entropy(fake, 2 * FAKE_LABEL) - as_fake)


@pytest.mark.parametrize("temperature", [0.0, 0.25])
def test_data_to_data_cross_entropy_is_that_of_the_losses(temperature):
    def head(key):
        return tuple(jax.random.normal(k, (BATCH, 5)) for k in jax.random.split(key))

    found, scene = turns.conditioning("d2d_ce", temperature=temperature), head_scene("d2d_ce", head)
    for side, term in (("real", found.critic), ("fake", found.generator)):
        label = getattr(scene, side).given["label"]
        heads = getattr(scene, f"{side}_output").heads["d2d_ce"]
        assert_close(
            term["d2d_ce"](scene),
            0.5 * losses.d2d_ce(*heads, label, temperature=temperature or 0.5),
        )


def test_a_multi_class_hinge_takes_the_place_of_the_adversarial_terms():
    found = turns.conditioning("multi_hinge", 0.3)
    assert found.replaces
    scene = head_scene("multi_hinge", lambda key: jax.random.normal(key, (BATCH, CLASSES + 1)))
    h = np.asarray(jax.random.normal(jax.random.key(3), (2, BATCH, 6)))
    scene.real_output = scene.real_output._replace(features=h[0])
    scene.fake_output = scene.fake_output._replace(features=h[1])

    def hinge(output, label):
        head = np.asarray(output.heads["multi_hinge"])
        others = [np.delete(row, y).max() for row, y in zip(head, label, strict=True)]
        return np.mean(np.maximum(0, 1 - head[np.arange(BATCH), label] + others))

    generated = np.full(BATCH, CLASSES)
    expected = hinge(scene.real_output, LABEL) + hinge(scene.fake_output, generated)
    assert_close(found.critic["multi_hinge"](scene), expected)
    assert_close(found.generator["multi_hinge"](scene), 0.3 * hinge(scene.fake_output, FAKE_LABEL))
    distance = np.mean(np.abs(h[0].mean(0) - h[1].mean(0)))
    assert_close(found.generator["features"](scene), distance)


def test_an_unknown_conditioning_is_refused():
    with pytest.raises(
        ValueError,
        match=r"no conditioning 'acgna'; it is one of projection, acgan, tac, adc, contr",
    ):
        turns.conditioning("acgna")


def test_feature_matching_is_a_mean_over_layers_and_scales_without_a_gradient_to_the_reals():
    def term(a, b):
        scene = scene_of(None, REAL_EXAMPLES, FAKE_EXAMPLES)
        scene.real_output = CriticOutput(None, features=[[a, 2 * a], [a[:1]]])
        scene.fake_output = CriticOutput(None, features=[[b, b], [b[:1]]])
        return turns.feature_matching(scene)

    a, b = X, X[::-1] * 3
    means = [jnp.mean(jnp.abs(x)) for x in (a - b, 2 * a - b, (a - b)[:1])]
    assert_close(term(a, b), sum(means) / 3)
    by_real, by_fake = jax.grad(term, argnums=(0, 1))(a, b)
    assert not jnp.any(by_real)
    assert jnp.any(by_fake)


def test_kl_is_a_sum_over_dimensions_and_a_mean_over_examples():
    mean, log_variance = X, X[::-1] / 2
    notes = {"mean": mean, "log_variance": log_variance}
    found = turns.kl(scene_of(None, REAL_EXAMPLES, Examples(X, notes=notes)))
    each = [
        sum((m * m + np.exp(v) - v - 1) / 2 for m, v in zip(*row, strict=True))
        for row in zip(np.asarray(mean), np.asarray(log_variance), strict=True)
    ]
    assert_close(found, np.mean(each))
    zeros = {name: jnp.zeros((2, 4)) for name in notes}
    assert turns.kl(scene_of(None, REAL_EXAMPLES, Examples(X, notes=zeros))) == 0


def test_orthogonal_regularisation_is_of_the_kernels_of_the_player():
    kernels = [leaf for leaf in jax.tree.leaves(GENERATOR["params"]) if leaf.ndim > 1]
    expected = 0.0
    for kernel in kernels:
        gram = kernel.T @ kernel
        expected += jnp.sum((gram - jnp.diag(jnp.diag(gram))) ** 2)
    found = turns.orthogonal("generator")(scene_of(plain, REAL_EXAMPLES, FAKE_EXAMPLES))
    assert_close(found, expected)
    gradient = jax.grad(
        lambda params: turns.orthogonal("generator")(
            scene_of(None, None, None, a_play(generator={**GENERATOR, "params": params}))
        )
    )(GENERATOR["params"])
    assert any(jnp.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_a_weight_may_follow_the_clock():
    scene = scene_of(plain, REAL_EXAMPLES, FAKE_EXAMPLES)
    for weight, value in ((2.5, 2.5), (Ramp(0.0, 4.0, over=1.0), 2.0)):
        assert_close(turns.weighted(weight, lambda scene: jnp.float32(3))(scene), 3 * value)


# Optimisers -----------------------------------------------------------------------------------------------


def clock_at(step, kimg=0.0):
    return CLOCK._replace(step=jnp.int32(step), kimg=jnp.float32(kimg))


def updated(optimizer, moves, clocks):
    """Parameters after these gradients at these clocks."""
    params = {"w": jnp.float32(1.0)}
    state = optimizer.init(params)
    optimizer = optax.with_extra_args_support(optimizer)
    with jax.numpy_dtype_promotion("standard"):
        for gradient, clock in zip(moves, clocks, strict=True):
            updates, state = optimizer.update(
                {"w": jnp.float32(gradient)}, state, params, clock=clock
            )
            params = optax.apply_updates(params, updates)
    return float(params["w"])


def test_the_numbers_of_a_scheduled_optimiser_follow_the_clock():
    rate, b2 = Ramp(0.1, 0.2, over=1.0), Ramp(0.5, 0.9, over=1.0)
    scheduled = turns.scheduled(optax.adam, learning_rate=rate, b1=0.0, b2=b2, eps=1e-5)
    found = updated(scheduled, (3.0, 1.0), (clock_at(0, kimg=0.0), clock_at(1, kimg=0.5)))
    # Adam of b1 = 0 by hand: rate g / (sqrt(v / (1 - b2^t)) + eps).
    v = 0.5 * 9.0
    expected = 1.0 - 0.1 * 3.0 / ((v / 0.5) ** 0.5 + 1e-5)
    v = 0.7 * v + 0.3 * 1.0
    expected -= 0.15 * 1.0 / ((v / (1 - 0.7**2)) ** 0.5 + 1e-5)
    assert_close(found, expected)
    plain = turns.scheduled(optax.adam, learning_rate=0.1, b1=0.0, b2=0.5)
    clocks = (clock_at(0), clock_at(9))
    assert_close(
        updated(plain, (3.0, 1.0), clocks), updated(optax.adam(0.1, 0.0, 0.5), (3.0, 1.0), clocks)
    )


@pytest.mark.parametrize(("unit", "total"), [("step", 5 * (1.0 + 0.5)), ("kimg", 5 * (1.0 + 0.99))])
def test_a_schedule_by_the_clock_counts_rounds_and_not_moves(unit, total):
    def loss(play):
        return Loss(-play.networks["critic"]())

    schedule = optax.linear_schedule(1.0, 0.0, 2)  # 0.01 kimg a round
    player = number(optimizer=turns.scale_by_clock(schedule, unit))
    engine = Engine(one_turn(loss, batch_size=2, repeat=5, player=player))
    state, _ = play_rounds(engine, 2)
    assert_close(state.params["critic"]["w"], total, rtol=1e-2)


def test_lazy_adam_makes_a_step_more_in_as_many_rounds():
    c = 4 / 5
    for every, same_as in (
        (4, optax.adam(c * 0.1, 0.5**c, 0.9**c)),
        (0, optax.adam(0.1, 0.5, 0.9)),
    ):
        found = updated(turns.lazy_adam(0.1, 0.5, 0.9, every), (3.0, 1.0), (CLOCK, CLOCK))
        assert_close(found, updated(same_as, (3.0, 1.0), (CLOCK, CLOCK)))


def test_optimisers_start_anew_when_a_stage_is_entered():
    players = {
        "critic": number(1.0, optimizer=optax.adam(0.1)),
        "frozen": number(2.0, optimizer=None),
    }
    stage = Stage((Turn(("critic",), adds_mean()),), 2)
    second = dataclasses.replace(stage, enter=turns.reset_optimizers(players))
    engine = Engine(make_game(players, (dataclasses.replace(stage, until=3), second)))
    state, _ = play_rounds(engine, 3, stream=counting(2, start=1))
    assert int(state.opt_state["critic"][0].count) == 3
    before = float(state.params["critic"]["w"])
    state, _ = engine.round(state, 3, counting(2, start=1))
    assert int(state.opt_state["critic"][0].count) == 1
    assert_close(state.params["critic"]["w"], before + 0.1)  # Adam's first step is its rate
    assert state.opt_state.keys() == {"critic"}


# Trees and draws ------------------------------------------------------------------------------------------


def test_batches_are_joined_and_split_leaf_by_leaf():
    a, b = ({"x": jnp.full((n, 2), n), "list": [jnp.full(n, n)]} for n in (2, 3))
    both = turns.concatenate(a, b)
    assert both["x"][:, 0].tolist() == both["list"][0].tolist() == [2, 2, 3, 3, 3]
    first, second = turns.split(both, 2)
    assert same(first, a)
    assert same(second, b)


def test_the_mean_logit_is_over_examples_patches_and_scales_in_float32():
    logits = [jnp.array([1.0, 3.0], jnp.bfloat16), jnp.full((2, 2, 2), 5.0, jnp.bfloat16)]
    found = turns.mean_logit(CriticOutput(logits))
    assert (found.dtype, float(found)) == (jnp.float32, 3.5)


def test_latents_and_labels_are_drawn_for_their_purpose():
    play = a_play()
    z = turns.latents(play, 1000, 4)
    assert same(z, jax.random.normal(play.rng("latent"), (1000, 4)))
    label = turns.labels(play, 1000, 5)
    assert label.dtype == jnp.int32
    assert set(label.tolist()) == set(range(5))
    assert same(label, jax.random.randint(play.rng("label"), (1000,), 0, 5))


def test_outputs_of_a_scene_are_computed_once_when_they_are_needed():
    calls = []

    def apply_critic(pictures, label):
        calls.append(len(pictures))
        return plain(pictures, label)

    scene = scene_of(apply_critic, REAL_EXAMPLES, FAKE_EXAMPLES)
    assert calls == []
    term = turns.critic_objective(losses.wasserstein)
    first = term(scene)
    assert_close(
        first, jnp.mean(plain(*_args(FAKE_EXAMPLES))) - jnp.mean(plain(*_args(REAL_EXAMPLES)))
    )
    assert term(scene) == first
    assert len(calls) == 2


def _args(examples):
    return examples.pictures, examples.given["label"]
