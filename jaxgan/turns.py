"""Turns shared by the models: losses of critics and generators as sums of named terms, and lazy regularisers.

    real: Play -> Examples                          the real examples
    fake: (Play, generator, Examples) -> Examples   generated examples for these real examples
    Term: Scene -> scalar                           a term of the loss, logged under its name

A model defines `real`, `fake` and terms; its players are called "critic" and "generator". A loss of another form is
written as a function Play -> Loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan import draws, losses, penalties
from jaxgan.game import Loss, LossFn, Play, Player, Stage, State, Turn
from jaxgan.network import Network, PyTree
from jaxgan.schedules import Clock, Ramp, Schedule, at


class Examples(NamedTuple):
    """Real or generated examples.

    Attributes:
      pictures: [B, H, W, C], or a list with one such array per scale.
      given: keyword arguments of the critic, such as {"label": int32 [B]}.
      notes: intermediate results that terms use, such as {"mean": ..., "log_variance": ...} of an encoder.
    """

    pictures: PyTree
    given: Mapping[str, jax.Array] = {}
    notes: Mapping[str, Any] = {}


class CriticOutput(NamedTuple):
    """The output of a critic.

    Attributes:
      logits: [B, ...], or a list with one such array per scale.
      heads: outputs of additional heads by name.
      features: features of its layers: a list, or one list per scale.
    """

    logits: PyTree
    heads: Mapping[str, Any] = {}
    features: Any = ()


# (play, critic, pictures, given, purpose) -> logits or CriticOutput. `purpose` is "real", "fake" or "both" and can be
# part of the argument of `play.rng`.
CriticFn = Callable[[Play, Network, PyTree, Mapping[str, jax.Array], str], Any]


def apply_critic(
    play: Play, critic: Network, pictures: PyTree, given: Mapping[str, jax.Array], purpose: str
):
    """Applies the critic to unchanged pictures."""
    return critic(pictures, **given)


class Scene:
    """The argument of a term: one play with its examples.

    Attributes:
      play: see `Play`.
      real, fake: see `Examples`.
      apply_critic: (pictures, given, purpose) -> CriticOutput, with no change of state.
      real_output, fake_output: the critic's output for `real` and `fake`, computed when a term first uses it.
    """

    def __init__(self, play: Play, apply_critic: Callable, real: Examples, fake: Examples):
        self.play, self.apply_critic, self.real, self.fake = play, apply_critic, real, fake

    @cached_property
    def real_output(self) -> CriticOutput:
        return self.apply_critic(self.real.pictures, self.real.given, "real")

    @cached_property
    def fake_output(self) -> CriticOutput:
        return self.apply_critic(self.fake.pictures, self.fake.given, "fake")


Real = Callable[[Play], Examples]
Fake = Callable[[Play, Network, Examples], Examples]
Term = Callable[[Scene], jax.Array]
After = Callable[[Scene], Mapping[str, jax.Array] | None]


def critic_loss(
    real: Real,
    fake: Fake,
    terms: Mapping[str, Term],
    *,
    passes: int = 1,
    apply_critic: CriticFn = apply_critic,
    after: After | None = None,
) -> LossFn:
    """The critic's loss: the sum of the terms.

    Metrics are the means of the logits ("real", "fake"), their difference "gap", and each term except "adversarial".

    Args:
      real, fake, terms: see the module's docstring. The generator gets no gradient.
      passes: 1 applies the critic once, to real and generated examples in one batch; 2 applies it to each separately,
        so that batch normalisation uses separate statistics.
      apply_critic: function that applies the critic.
      after: called with the scene at the end, to set state (`play.moving("critic").set(...)`); may return metrics.
    """

    def loss(play: Play) -> Loss:
        critic, reals = play.moving("critic"), real(play)
        fakes = jax.lax.stop_gradient(fake(play, play.networks["generator"], reals))
        scene = Scene(play, _bound(apply_critic, play, critic), reals, fakes)
        if passes == 1:
            pictures = concatenate(reals.pictures, fakes.pictures)
            both = scene.apply_critic(
                pictures, concatenate(dict(reals.given), dict(fakes.given)), "both"
            )
            scene.real_output, scene.fake_output = split(both, _rows(reals.pictures))
        means = {"real": mean_logit(scene.real_output), "fake": mean_logit(scene.fake_output)}
        means["gap"] = means["real"] - means["fake"]
        scene.apply_critic = _bound(apply_critic, play, critic.frozen)
        return _total(scene, terms, means, after)

    return loss


def generator_loss(
    real: Real,
    fake: Fake,
    terms: Mapping[str, Term],
    *,
    apply_critic: CriticFn = apply_critic,
    after: After | None = None,
) -> LossFn:
    """The generator's loss: the sum of the terms. The critic is applied to real examples only if a term needs it.

    Args: as for `critic_loss`.
    """

    def loss(play: Play) -> Loss:
        reals = real(play)
        fakes = fake(play, play.moving("generator"), reals)
        scene = Scene(play, _bound(apply_critic, play, play.networks["critic"]), reals, fakes)
        return _total(scene, terms, {}, after)

    return loss


def lazy(
    name: str,
    player: str,
    term: Term,
    every: int,
    real: Real,
    *,
    weight: float = 1.0,
    apply_critic: CriticFn = apply_critic,
) -> Turn:
    """A turn with a regulariser on real examples, played every `every` rounds with its weight multiplied by `every`.

    Its metric "penalty" is the term without a weight.

    Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020), Section 3.1.
    """

    def loss(play: Play) -> Loss:
        scene = Scene(
            play, _bound(apply_critic, play, play.networks[player]), real(play), Examples(None)
        )
        value = term(scene)
        return Loss(every * weight * value, {"penalty": value})

    return Turn((player,), loss, name, every=every, fresh_batch=False)


def alternate(
    critic: LossFn, generator: LossFn, batch_size: int, critic_steps: int = 1
) -> tuple[Stage, ...]:
    """One stage: `critic_steps` turns of the critic, each on a fresh batch, then one turn of the generator."""
    turns = (
        Turn(("critic",), critic, repeat=critic_steps),
        Turn(("generator",), generator, fresh_batch=False),
    )
    return (Stage(turns, batch_size),)


def _bound(apply_critic: CriticFn, play: Play, critic: Network) -> Callable[..., CriticOutput]:
    def bound(pictures, given, purpose="real") -> CriticOutput:
        output = apply_critic(play, critic, pictures, given, purpose)
        return output if isinstance(output, CriticOutput) else CriticOutput(output)

    return bound


def _total(scene: Scene, terms: Mapping[str, Term], metrics, after) -> Loss:
    values = {name: term(scene) for name, term in terms.items()}
    value = jnp.asarray(sum(values.values()))
    logged = {name: x for name, x in values.items() if name != "adversarial"}
    more = None if after is None else after(scene)
    return Loss(value, {**metrics, **logged, **(more or {})})


# Terms ----------------------------------------------------------------------------------------------------


def weighted(weight: Schedule, term: Term) -> Term:
    """weight * term; the weight is a number or a schedule."""
    return lambda scene: at(weight, scene.play.clock) * term(scene)


def critic_objective(objective) -> Term:
    """The critic's loss of an objective in `jaxgan.losses`."""
    return lambda scene: objective.critic(scene.real_output.logits, scene.fake_output.logits)


# (scene, logits of the generated examples) -> boolean [B], those that a loss takes into account.
Keep = Callable[[Scene, jax.Array], jax.Array]


def generator_objective(objective, keep: Keep | None = None) -> Term:
    """The generator's loss of an objective in `jaxgan.losses`, of the examples that `keep` selects.

    With a relativistic objective and several generated examples per real one, each real example is compared with all of
    its generated examples.
    """

    def term(scene: Scene) -> jax.Array:
        fake = scene.fake_output.logits
        where = None if keep is None else keep(scene, fake)
        if not objective.compares:
            return objective.generator(fake, where=where)
        real = jax.tree.map(
            lambda r, f: jnp.tile(r, (f.shape[0] // r.shape[0], *[1] * (r.ndim - 1))),
            scene.real_output.logits,
            fake,
        )
        return objective.generator(fake, real, where=where)

    return term


def r1(scene: Scene) -> jax.Array:
    """`penalties.r1` at the real examples, with their labels; for a list of scales, of all scales together."""

    def score(pictures):
        """One number for each example: the sum of its logits."""
        logits = jax.tree.leaves(scene.apply_critic(pictures, scene.real.given).logits)
        return sum(jnp.sum(x.reshape(x.shape[0], -1), axis=1, dtype=jnp.float32) for x in logits)

    return penalties.r1(score, scene.real.pictures)


def gradient_penalty(
    target: float = 1.0, one_sided: bool = False, each_scale: bool = False
) -> Term:
    """`penalties.gradient_penalty` between real and generated examples, with the labels of the real ones."""
    return lambda scene: penalties.gradient_penalty(
        lambda x: scene.apply_critic(x, scene.real.given).logits,
        scene.real.pictures,
        scene.fake.pictures,
        scene.play.rng("penalty"),
        target,
        one_sided,
        each_scale=each_scale,
    )


class Terms(NamedTuple):
    """Terms of both players' losses.

    Attributes:
      critic, generator: terms by name.
      replaces: whether they replace the adversarial terms.
    """

    critic: Mapping[str, Term] = {}
    generator: Mapping[str, Term] = {}
    replaces: bool = False


NO_TERMS = Terms()


# {conditioning: usual weight of its terms}, as in PyTorch-StudioGAN.
CONDITIONING_WEIGHTS = {
    "projection": 0.0,
    "acgan": 1.0,
    "tac": 1.0,
    "adc": 1.0,
    "contrastive": 1.0,
    "d2d_ce": 0.5,
    "multi_hinge": 0.05,
}


def conditioning(
    name: str, weight: Schedule | None = None, temperature: float = 0.0, generated: bool = False
) -> Terms:
    """The terms for a way of conditioning the critic on labels; the critic has a head called `name`.

    L are the losses of `jaxgan.losses`, x real and x' generated examples.

        projection    no terms, since the labels are inputs of the logits
        acgan         critic: w CE(x); generator: w CE(x')
        tac           critic: w (CE(x) + CE_twin(x')); generator: w (CE(x') - CE_twin(x'))
        adc           critic: w (CE(x, 2 y) + CE(x', 2 y + 1)); generator: w (CE(x', 2 y) - CE(x', 2 y + 1))
        contrastive   critic: w L(x); generator: w L(x')
        d2d_ce        critic: w L(x); generator: w L(x')
        multi_hinge   critic: L(x, y) + L(x', K); generator: w L(x', y) + the distance of the mean features; these
                      replace the adversarial terms

    Similarities of contrastive and d2d_ce are between all examples of the batch, on all devices; with gradient
    accumulation, of the micro-batch.

    Args:
      name: of the conditioning.
      weight: w, a number or a schedule; None for the usual one.
      temperature: of contrastive and d2d_ce; 0 for the usual one.
      generated: acgan's critic also classifies generated examples, as in its paper.

    Sources: see `jaxgan.nets.heads`.
    """
    if name not in CONDITIONING_WEIGHTS:
        raise ValueError(
            f"there is no conditioning '{name}'; it is one of {', '.join(CONDITIONING_WEIGHTS)}."
        )
    if name == "projection":
        return NO_TERMS
    weight = CONDITIONING_WEIGHTS[name] if weight is None else weight
    if name == "multi_hinge":
        of_class = weighted(weight, on_head(name, losses.multiclass_hinge, "fake"))
        return Terms({name: _multi_hinge}, {name: of_class, "features": mean_features}, True)
    if name in ("tac", "adc"):
        critic, generator = _CLASSIFIERS[name]
        return Terms({name: weighted(weight, critic)}, {name: weighted(weight, generator)})
    sides = ("real", "fake") if generated else ("real",)
    loss = losses.auxiliary_classifier if name == "acgan" else _similarity(name, temperature)
    return Terms(
        {name: weighted(weight, on_head(name, loss, *sides))},
        {name: weighted(weight, on_head(name, loss, "fake"))},
    )


def _similarity(name: str, temperature: float) -> Callable[..., jax.Array]:
    """(head, label) -> the loss of contrastive or d2d_ce."""
    loss: Callable[..., jax.Array] = (
        losses.contrastive_2c if name == "contrastive" else losses.d2d_ce
    )
    scale = {"temperature": temperature} if temperature else {}
    return lambda head, label: loss(*head, label, **scale)


def _multi_hinge(scene: Scene) -> jax.Array:
    """Class K, the last one, means "generated"."""
    real, fake = (output.heads["multi_hinge"] for output in (scene.real_output, scene.fake_output))
    generated = jnp.full(fake.shape[:1], fake.shape[1] - 1, jnp.int32)
    return losses.multiclass_hinge(real, scene.real.given["label"]) + losses.multiclass_hinge(
        fake, generated
    )


def _twin_critic(scene: Scene) -> jax.Array:
    (real, _), (_, fake) = (o.heads["tac"] for o in (scene.real_output, scene.fake_output))
    return losses.twin_classifier.critic(
        real, scene.real.given["label"], fake, scene.fake.given["label"]
    )


def _twin_generator(scene: Scene) -> jax.Array:
    logits, twin = scene.fake_output.heads["tac"]
    return losses.twin_classifier.generator(logits, twin, scene.fake.given["label"])


def _discriminative_critic(scene: Scene) -> jax.Array:
    real, fake = (o.heads["adc"] for o in (scene.real_output, scene.fake_output))
    return losses.discriminative_classifier.critic(
        real, scene.real.given["label"], fake, scene.fake.given["label"]
    )


def _discriminative_generator(scene: Scene) -> jax.Array:
    return losses.discriminative_classifier.generator(
        scene.fake_output.heads["adc"], scene.fake.given["label"]
    )


# {conditioning: (critic's term, generator's term)}
_CLASSIFIERS: dict[str, tuple[Term, Term]] = {
    "tac": (_twin_critic, _twin_generator),
    "adc": (_discriminative_critic, _discriminative_generator),
}


def on_head(name: str, function: Callable[..., jax.Array], *sides: str) -> Term:
    """The sum of function(head, label) over the sides "real" and "fake"."""

    def term(scene: Scene) -> jax.Array:
        found = {
            "real": lambda: (scene.real_output, scene.real),
            "fake": lambda: (scene.fake_output, scene.fake),
        }
        total = jnp.float32(0.0)
        for side in sides:
            output, examples = found[side]()
            total = total + function(output.heads[name], examples.given["label"])
        return total

    return term


def feature_matching(scene: Scene) -> jax.Array:
    """The mean absolute difference of the critic's features of real and generated examples, over scales and layers.

    Source: Wang et al., High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (2018), Eq. 4.
    """
    real = jax.tree.leaves(jax.lax.stop_gradient(scene.real_output.features))
    fake = jax.tree.leaves(scene.fake_output.features)
    distances = [
        jnp.mean(jnp.abs(r - f), dtype=jnp.float32) for r, f in zip(real, fake, strict=True)
    ]
    return _mean(distances)


def mean_features(scene: Scene) -> jax.Array:
    """The mean absolute difference of the critic's mean features of real and generated examples."""
    real = jax.lax.stop_gradient(scene.real_output.features)
    return losses.mean_feature_distance(real, scene.fake_output.features)


def kl(scene: Scene) -> jax.Array:
    """KL(N(mean, exp(log_variance)) || N(0, I)) of the encoder in the notes of the generated examples.

    It is summed over dimensions and averaged over examples.
    """
    mean, log_variance = (scene.fake.notes[name] for name in ("mean", "log_variance"))
    each = jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance
    return 0.5 * jnp.mean(jnp.sum(each, axis=1))


def orthogonal(player: str, diagonal: bool = False, without: tuple[str, ...] = ()) -> Term:
    """`penalties.orthogonal` of a player's kernels, except for the parts of the network named in `without`.

    The kernels are the parameters themselves, before spectral normalisation.
    """

    def term(scene: Scene) -> jax.Array:
        params = scene.play.networks[player].params
        return penalties.orthogonal({k: v for k, v in params.items() if k not in without}, diagonal)

    return term


# Optimisers -----------------------------------------------------------------------------------------------


def scheduled(make: Callable[..., optax.GradientTransformation], **numbers: Schedule):
    """An optimiser with hyper-parameters that depend on the clock: `scheduled(optax.adam, learning_rate=Ramp(...))`.

    Args:
      make: (**numbers) -> an Optax transformation, the structure of whose state must not depend on them.
      **numbers: hyper-parameters as numbers or schedules.
    """
    moving = {name for name, value in numbers.items() if callable(value)}
    start = make(**{name: 0.0 if name in moving else value for name, value in numbers.items()})

    def update(updates, state, params=None, *, clock: Clock, **unused):
        now = {name: at(x, clock) if name in moving else x for name, x in numbers.items()}
        return make(**now).update(updates, state, params)

    return optax.GradientTransformationExtraArgs(start.init, update)


def decaying_adam(
    learning_rate: float, b1: float, b2: float, after: int, steps: int
) -> optax.GradientTransformation:
    """Adam whose learning rate is constant for `after` rounds and then falls linearly to 0 in `steps` rounds.

    With `steps` = 0 it stays constant.
    """
    rate: Schedule = learning_rate
    if steps:
        rate = Ramp(learning_rate, 0.0, steps, after, "step")
    return scheduled(optax.adam, learning_rate=rate, b1=b1, b2=b2)


def scale_by_clock(schedule: optax.Schedule, unit: str = "step"):
    """Scales updates by -schedule(step), where `step` is the round and not the number of this player's updates.

    A critic with five updates per round then has the same schedule as its generator.
    """

    def update(updates, state, params=None, *, clock: Clock, **unused):
        del params, unused
        rate = -schedule(getattr(clock, unit))
        return jax.tree.map(lambda u: u * jnp.asarray(rate, u.dtype), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def lazy_adam(
    learning_rate: float, b1: float, b2: float, every: int = 0
) -> optax.GradientTransformation:
    """Adam for a player with a regulariser every k = `every` rounds, and so with k + 1 steps in k rounds.

    Uses c lr, beta1^c and beta2^c with c = k / (k + 1), to keep the learning rate and decays per round. `every=0` is
    for a player without a regulariser.

    Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020), Appendix B.
    """
    c = every / (every + 1) if every else 1.0
    return optax.adam(c * learning_rate, b1**c, b2**c)


def reset_optimizers(players: Mapping[str, Player]) -> Callable[[State, Play], State]:
    """A function for `Stage.enter` that reinitialises the state of every optimiser."""

    def enter(state: State, play: Play) -> State:
        del play
        fresh = {
            name: player.optimizer.init(state.params[name])
            for name, player in players.items()
            if player.optimizer is not None
        }
        return state.replace(opt_state=fresh)

    return enter


# Trees ----------------------------------------------------------------------------------------------------


def concatenate(a: PyTree, b: PyTree) -> PyTree:
    """Concatenates the leaves along the batch axis."""
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a, b)


def split(tree: PyTree, rows: int) -> tuple[PyTree, PyTree]:
    """Splits the leaves into the first `rows` examples of the batch and the others."""
    return jax.tree.map(lambda x: x[:rows], tree), jax.tree.map(lambda x: x[rows:], tree)


def _rows(tree: PyTree) -> int:
    return len(jax.tree.leaves(tree)[0])


def mean_logit(output: CriticOutput) -> jax.Array:
    """The mean of the logits in float32, over scales too."""
    means = [jnp.mean(x, dtype=jnp.float32) for x in jax.tree.leaves(output.logits)]
    return _mean(means)


def _mean(values: list[jax.Array]) -> jax.Array:
    return sum(values[1:], start=values[0]) / len(values)


# Draws ----------------------------------------------------------------------------------------------------


def latents(play: Play, num: int, dim: int) -> jax.Array:
    """Standard normal latents, float32 [num, dim]."""
    return draws.normal(play.rng("latent"), (num, dim))


def labels(play: Play, num: int, classes: int) -> jax.Array:
    """Uniform labels, int32 [num]."""
    return draws.randint(play.rng("label"), (num,), 0, classes)
