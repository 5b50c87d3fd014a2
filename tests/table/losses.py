"""`jaxgan.losses`: the adversarial objectives, critic's and generator's side, and the losses beside them."""

import functools

import jax.numpy as jnp
import numpy as np

from jaxgan import losses
from table import PROPERTIES, Case


def normal(*shapes, scale=1.0):
    def draw(rng, batch):
        return tuple(np.float32(scale * rng.standard_normal((batch, *s))) for s in shapes)

    return draw


def log_sigmoid(x):
    return -np.logaddexp(0.0, -x)


def against_averages(real_term, fake_term):
    """E real_term(C(x) - E C(x')) + E fake_term(C(x') - E C(x))."""
    return lambda r, f: np.mean(real_term(r - f.mean())) + np.mean(fake_term(f - r.mean()))


# float64 NumPy, from the papers' own formulas: name -> (critic(real, fake), generator(real, fake)).
OBJECTIVES = {
    # max_D E log D(x) + E log(1 - D(G(z))); G minimises the second term.
    "minimax": (
        lambda r, f: -np.mean(log_sigmoid(r)) - np.mean(log_sigmoid(-f)),
        lambda r, f: np.mean(log_sigmoid(-f)),
    ),
    # The same critic; G maximises E log D(G(z)).
    "non_saturating": (
        lambda r, f: -np.mean(log_sigmoid(r)) - np.mean(log_sigmoid(-f)),
        lambda r, f: -np.mean(log_sigmoid(f)),
    ),
    "least_squares": (
        lambda r, f: 0.5 * np.mean((r - 1.0) ** 2) + 0.5 * np.mean(f**2),
        lambda r, f: 0.5 * np.mean((f - 1.0) ** 2),
    ),
    "wasserstein": (lambda r, f: np.mean(f) - np.mean(r), lambda r, f: -np.mean(f)),
    # SN-GAN, Eq. 16: max_D E min(0, -1 + D(x)) + E min(0, -1 - D(G(z))).
    "hinge": (
        lambda r, f: -np.mean(np.minimum(0, -1 + r)) - np.mean(np.minimum(0, -1 - f)),
        lambda r, f: -np.mean(f),
    ),
    # RSGAN: -E log sigmoid(C(x) - C(x')), and the same with both exchanged.
    "relativistic_paired": (
        lambda r, f: -np.mean(log_sigmoid(r - f)),
        lambda r, f: -np.mean(log_sigmoid(f - r)),
    ),
    # RaSGAN: D~(x) = sigmoid(C(x) - E C(x')); -E log D~(x) - E log(1 - D~(x')), then exchanged.
    "relativistic_average": (
        against_averages(lambda d: -log_sigmoid(d), lambda d: -log_sigmoid(-d)),
        against_averages(lambda d: -log_sigmoid(-d), lambda d: -log_sigmoid(d)),
    ),
    "relativistic_average_least_squares": (
        against_averages(lambda d: (d - 1) ** 2, lambda d: (d + 1) ** 2),
        against_averages(lambda d: (d + 1) ** 2, lambda d: (d - 1) ** 2),
    ),
    "relativistic_average_hinge": (
        against_averages(lambda d: np.maximum(0, 1 - d), lambda d: np.maximum(0, 1 + d)),
        against_averages(lambda d: np.maximum(0, 1 + d), lambda d: np.maximum(0, 1 - d)),
    ),
}

# At logits real = [2, 0], fake = [-1, 3]. s(x) = softplus: s(0) = 0.693147, s(-2) = 0.126928,
# s(-1) = 0.313262, s(1) = 1.313262, s(3) = 3.048587, s(-3) = 0.048587.
BY_HAND = {
    "minimax": ((0.126928 + 0.693147 + 0.313262 + 3.048587) / 2, -(0.313262 + 3.048587) / 2),
    "non_saturating": ((0.126928 + 0.693147 + 0.313262 + 3.048587) / 2, (1.313262 + 0.048587) / 2),
    "least_squares": ((1 + 1) / 4 + (1 + 9) / 4, (4 + 4) / 4),
    "wasserstein": (1.0 - 1.0, -1.0),
    "hinge": ((0 + 1) / 2 + (0 + 4) / 2, -1.0),
    # Differences 3 and -3.
    "relativistic_paired": ((0.048587 + 3.048587) / 2, (3.048587 + 0.048587) / 2),
    # Both averages are 1: real - 1 = [1, -1], fake - 1 = [-2, 2].
    "relativistic_average": (
        (0.313262 + 1.313262) / 2 + (0.126928 + 2.126928) / 2,
        (1.313262 + 0.313262) / 2 + (2.126928 + 0.126928) / 2,
    ),
    "relativistic_average_least_squares": ((0 + 4) / 2 + (1 + 9) / 2, (4 + 0) / 2 + (9 + 1) / 2),
    "relativistic_average_hinge": ((0 + 2) / 2 + (0 + 3) / 2, (2 + 0) / 2 + (3 + 0) / 2),
}


def generator_of(name):
    objective = getattr(losses, name)
    return lambda real, fake: objective.generator(fake, real)


def off_the_hinges(rng, batch):
    del rng, batch
    return np.float32([0.3, -2.0, 4.0]), np.float32([0.5, -3.0, 1.7])


def objective_cases():
    for name, (critic, generator) in OBJECTIVES.items():
        arrays = ([2.0, 0.0], [-1.0, 3.0])
        critic_value, generator_value = BY_HAND[name]
        common = {"wrt": (0, 1), "order": 2, "smooth": off_the_hinges, "scales": (0.0, 1e4, -1e4)}
        for variant, draw, hand in (
            ("", normal((), (), scale=3.0), True),
            ("patches", normal((5, 4, 1), (5, 4, 1), scale=3.0), False),
        ):
            # Of maps only the formula; the rest is entry by entry, as of [B].
            skip = (
                {}
                if hand
                else dict.fromkeys(set(PROPERTIES) - {"reference", "one"}, "see the [B] case")
            )
            yield Case(
                f"losses.{name}.critic",
                draw,
                critic,
                hand=((arrays, critic_value),) if hand else (),
                variant=variant,
                skip=skip,
                **common,
            )
            yield Case(
                f"losses.{name}.generator",
                draw,
                generator,
                hand=((arrays, generator_value),) if hand else (),
                variant=variant,
                call=generator_of(name),
                skip=skip,
                **common,
            )


def classes(k):
    def draw(rng, batch):
        logits = 3 * rng.standard_normal((batch, k)).astype(np.float32)
        return logits, rng.integers(0, k, batch).astype(np.int32)

    return draw


def cross_entropy(logits, labels):
    chosen = logits[np.arange(len(labels)), labels]
    return np.mean(np.log(np.exp(logits).sum(1)) - chosen)


def crammer_singer(logits, labels):
    margins = []
    for row, y in zip(logits, labels, strict=True):
        margins.append(max(0.0, 1 - row[y] + np.delete(row, y).max()))
    return np.mean(margins)


def twice(draw):
    return lambda rng, batch: (*draw(rng, batch), *draw(rng, batch))


def two_heads(k):
    def draw(rng, batch):
        logits, labels = classes(k)(rng, batch)
        return logits, classes(k)(rng, batch)[0], labels

    return draw


def doubled(k):
    """2K logits for labels below K."""

    def draw(rng, batch):
        logits, labels = classes(2 * k)(rng, batch)
        return logits, labels % np.int32(k)

    return draw


def gaussian(mean, log_variance, codes):
    density = np.exp(-((codes - mean) ** 2) / (2 * np.exp(log_variance)))
    density /= np.sqrt(2 * np.pi * np.exp(log_variance))
    return np.mean(-np.log(density).sum(1))


def conditional_contrast(h, e, y, t=1.0):
    h, e = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (h, e))
    total = 0.0
    for i in range(len(h)):
        proxy = np.exp(h[i] @ e[i] / t)
        others = [k for k in range(len(h)) if k != i]
        pull = sum(np.exp(h[i] @ h[k] / t) for k in others if y[k] == y[i])
        push = sum(np.exp(h[i] @ h[k] / t) for k in others)
        total -= np.log((proxy + pull) / (proxy + push))
    return total / len(h)


def data_to_data(h, e, y, temperature=0.5, margin=0.98):
    """ReACGAN, Eq. 6, sample by sample."""
    h, e = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (h, e))
    total = 0.0
    for i in range(len(h)):
        attraction = np.exp(min(h[i] @ e[i] - margin, 0) / temperature)
        others = [k for k in range(len(h)) if y[k] != y[i]]
        over = [max(h[i] @ h[k] - (1 - margin), 0) for k in others]
        repulsion = sum(np.exp(x / temperature) for x in over)
        total -= np.log(attraction / (attraction + repulsion))
    return total / len(h)


def off_the_margins(rng, batch):
    """Embeddings whose cosines are at least 0.1 from the margins, 0.7 and 0.98 and their complements."""
    for _ in range(1000):
        h, e, y = embeddings(rng, batch)
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (h, e))
        pairs = (a @ a.T)[y[:, None] != y[None]]
        away = np.abs(np.sum(a * b, axis=1)[:, None] - [0.7, 0.98]).min()
        if len(pairs) and min(away, np.abs(pairs[:, None] - [0.3, 0.02]).min()) > 0.1:
            return h, e, y
    raise AssertionError("no such embeddings were found")


def embeddings(rng, batch):
    h, e = normal((5,), (5,))(rng, batch)
    return h, e, rng.integers(0, 3, batch).astype(np.int32)


def attributes(number):
    """Logits, and attributes of which each is 0 or 1."""

    def draw(rng, batch):
        logits = np.float32(rng.standard_normal((batch, number)))
        return logits, rng.integers(0, 2, (batch, number)).astype(np.int32)

    return draw


def layers(x):
    return [x, jnp.tanh(x[:, :2])]


def absolute(a, b):
    return np.mean(np.abs(a - b))


def square(a, b):
    return np.mean((a - b) ** 2)


def unequal_pictures(rng, batch):
    """Away from the kink of |a - b|."""
    a, b = PICTURES(rng, batch)
    return a + np.float32(0.1) * np.sign(a - b), b


def unequal_means(rng, batch):
    """Away from the kink of the absolute value."""
    a, b = normal((2, 3), (2, 3))(rng, batch)
    return a + np.float32(0.1) * np.sign(a.mean(0) - b.mean(0)), b


LN2 = np.log(2.0)
PICTURES = normal((4, 4, 3), (4, 4, 3))
PAIR = ([[[[1.0, 2.0, 0.0]]]], [[[[0.0, 5.0, 0.0]]]])  # differences 1, -3, 0

CASES = [
    *objective_cases(),
    Case(
        "losses.by_name",
        normal((), (), scale=3.0),
        OBJECTIVES["hinge"][0],
        hand=((([2.0, 0.0], [-1.0, 3.0]), 2.5),),
        call=lambda real, fake: losses.by_name("hinge").critic(real, fake),
        smooth=off_the_hinges,
    ),
    Case(
        "losses.attribute_classifier",
        attributes(3),
        lambda logits, present: np.mean(
            np.sum(
                -present * log_sigmoid(logits) - (1 - present) * log_sigmoid(-logits),
                axis=1,
            )
        ),
        hand=((([[0.0, LN2]], [[1, 0]]), LN2 + np.log(3.0)),),
    ),
    Case(
        "losses.auxiliary_classifier",
        classes(4),
        cross_entropy,
        hand=((([[0.0, LN2]], [1]), np.log(1.5)),),
    ),
    Case(
        "losses.categorical_code",
        classes(3),
        cross_entropy,
        hand=((([[0.0, LN2]], [0]), np.log(3.0)),),
    ),
    Case(
        "losses.multiclass_hinge",
        classes(4),
        crammer_singer,
        hand=((([[1.0, 3.0], [5.0, 0.0]], [0, 0]), 1.5),),
    ),
    Case(
        "losses.gaussian_code",
        normal((3,), (3,), (3,)),
        gaussian,
        hand=((([[0.0]], [[np.log(4.0)]], [[2.0]]), 0.5 * (np.log(2 * np.pi) + np.log(4.0) + 1)),),
        wrt=(0, 1, 2),
        scaled=(0,),  # a variance of e^10000 is none
    ),
    Case(
        "losses.feature_matching",
        normal((2, 3), (2, 3)),
        lambda a, b: np.sum((a.mean(0) - b.mean(0)) ** 2),
        hand=((([[1.0], [3.0]], [[4.0]]), 4.0),),
        wrt=(0, 1),
    ),
    Case(
        "losses.paired_feature_matching",
        PICTURES,
        absolute,
        hand=((PAIR, 4 / 3),),
        wrt=(0, 1),
        smooth=unequal_pictures,
    ),
    Case(
        "losses.perceptual",
        normal((3,), (3,)),
        lambda a, b: 0.5 * square(a, b) + 2 * square(np.tanh(a[:, :2]), np.tanh(b[:, :2])),
        hand=((([[1.0, 0.0]], [[0.0, 0.0]]), 0.5 * 0.5 + 2.0 * np.tanh(1.0) ** 2 / 2),),
        call=lambda a, b: losses.perceptual(layers, a, b, weights=(0.5, 2.0)),
        wrt=(0, 1),
        bfloat16_rtol=1e-2,  # the features are the caller's
    ),
    Case(
        "losses.cycle",
        PICTURES,
        absolute,
        hand=((PAIR, 4 / 3),),
        wrt=(0, 1),
        smooth=unequal_pictures,
    ),
    Case(
        "losses.identity",
        PICTURES,
        absolute,
        hand=((PAIR, 4 / 3),),
        wrt=(0, 1),
        smooth=unequal_pictures,
    ),
    Case("losses.vq_codebook", PICTURES, square, hand=((PAIR, 10 / 3),), wrt=(1,)),
    Case("losses.vq_commitment", PICTURES, square, hand=((PAIR, 10 / 3),), wrt=(0,)),
    Case(
        "losses.contrastive_2c",
        embeddings,
        conditional_contrast,
        # Both of one class, at a right angle, each on its proxy: nothing to push away.
        hand=(((np.eye(2), np.eye(2), [0, 0]), 0.0),),
        wrt=(0, 1),
    ),
    *(
        Case(
            "losses.d2d_ce",
            embeddings,
            functools.partial(data_to_data, **options),
            hand=by_hand,
            call=functools.partial(losses.d2d_ce, **options) if options else None,
            wrt=(0, 1),
            smooth=off_the_margins,
            variant=variant,
        )
        for variant, options, by_hand in (
            (
                "",
                {},
                (
                    # Of one class: nothing to push away, however far from the proxies.
                    ((np.eye(2), -np.eye(2), [0, 0]), 0.0),
                    # Of two, at a right angle, each on its proxy: both are inside the margins.
                    ((np.eye(2), np.eye(2), [0, 1]), LN2),
                    # Of two, on top of each other, at a right angle to the proxies: exponents -1.96 and 1.96.
                    (
                        ([[1.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [0.0, 1.0]], [0, 1]),
                        np.log(np.exp(1.96) + np.exp(-1.96)) + 1.96,
                    ),
                ),
            ),
            (
                "its own margin",
                {"temperature": 0.1, "margin": 0.7},
                # Exponents min(0 - 0.7, 0) / 0.1 and max(1 - 0.3, 0) / 0.1.
                (
                    (
                        ([[1.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [0.0, 1.0]], [0, 1]),
                        np.log(np.exp(7.0) + np.exp(-7.0)) + 7.0,
                    ),
                ),
            ),
        )
    ),
    Case(
        "losses.twin_classifier.critic",
        twice(classes(4)),
        lambda real, y, twin, z: cross_entropy(real, y) + cross_entropy(twin, z),
        hand=((([[0.0, LN2]], [1], [[0.0, LN2]], [0]), np.log(1.5) + np.log(3.0)),),
        wrt=(0, 2),
    ),
    Case(
        "losses.twin_classifier.generator",
        two_heads(4),
        lambda fake, twin, y: cross_entropy(fake, y) - cross_entropy(twin, y),
        hand=((([[0.0, LN2]], [[LN2, 0.0]], [1]), np.log(1.5) - np.log(3.0)),),
        wrt=(0, 1),
    ),
    Case(
        "losses.discriminative_classifier.critic",
        twice(doubled(3)),
        lambda real, y, fake, z: cross_entropy(real, 2 * y) + cross_entropy(fake, 2 * z + 1),
        # Probabilities (1, 1, 2, 1) / 5 of (0 real, 0 generated, 1 real, 1 generated).
        hand=(
            (
                ([[0.0, 0.0, LN2, 0.0]], [1], [[0.0, 0.0, LN2, 0.0]], [0]),
                np.log(5 / 2) + np.log(5.0),
            ),
        ),
        wrt=(0, 2),
    ),
    Case(
        "losses.discriminative_classifier.generator",
        doubled(3),
        lambda fake, y: cross_entropy(fake, 2 * y) - cross_entropy(fake, 2 * y + 1),
        hand=((([[9.0, 9.0, 2.0, 5.0], [0.0, 1.0, 9.0, 9.0]], [1, 0]), (3.0 + 1.0) / 2),),
    ),
    Case(
        "losses.mean_feature_distance",
        normal((2, 3), (2, 3)),
        lambda a, b: np.mean(np.abs(a.mean(0) - b.mean(0))),
        hand=((([[1.0, 0.0], [3.0, 0.0]], [[4.0, 6.0]]), (2.0 + 6.0) / 2),),
        wrt=(0, 1),
        smooth=unequal_means,
    ),
]
