"""`jaxgan.penalties`, mostly on a critic of one hidden layer whose gradient is written out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import penalties
from table import Case
from table.losses import normal

KEY = jax.random.key(7)
D, H = 5, 7


def params(rng):
    return {
        "w1": np.float32(0.7 * rng.standard_normal((D, H))),
        "b1": np.float32(rng.standard_normal(H)),
        "w2": np.float32(rng.standard_normal(H)),
    }


def critic(p, x):
    """Smooth, with samples that do not mix: [B, D] -> [B]."""
    return jnp.tanh(x @ p["w1"] + p["b1"][None]) @ p["w2"]


def gradient(p, x):
    slope = 1 - np.tanh(x @ p["w1"] + p["b1"]) ** 2
    return (slope * p["w2"]) @ p["w1"].T


def network_and(count):
    def draw(rng, batch):
        return (params(rng), *normal(*[(D,)] * count)(rng, batch))

    return draw


def uniform(shape):
    return np.float64(jax.random.uniform(KEY, shape))


def between(real, fake):
    return real + uniform((len(real), 1)) * (fake - real)


def pull(gradients, target=1.0, one_sided=False):
    excess = np.linalg.norm(gradients, axis=1) - target
    return np.mean((np.maximum(excess, 0) if one_sided else excess) ** 2)


def half_square(gradients):
    return 0.5 * np.mean(np.sum(gradients**2, axis=1))


def noisy(x, variant):
    noise_key, alpha_key = jax.random.split(KEY)
    noise = {
        "gaussian": lambda: jax.random.normal(noise_key, x.shape),
        "uniform": lambda: jax.random.uniform(noise_key, x.shape, minval=-1.0),
        "positive": lambda: (
            jax.random.uniform(alpha_key, (len(x), 1)) * jax.random.uniform(noise_key, x.shape)
        ),
    }[variant]()
    return x + 0.5 * np.std(x) * np.float64(noise)


def noise_penalty(p, x, sigma=0.3):
    def logits(x):
        return np.tanh(x @ p["w1"] + p["b1"]) @ p["w2"]

    return np.mean((logits(x) - logits(x + sigma * standard_normal(x.shape))) ** 2)


def standard_normal(shape):
    return np.float64(jax.random.normal(KEY, shape))


# Where w1 x + b1 = 0 the critic's slope is w1 w2, here (3, 4, 0, 0, 0).
AT_ZERO = {"w1": np.eye(D, H), "b1": np.zeros(H), "w2": [3.0, 4.0, 0, 0, 0, 0, 0]}
ZEROS = np.zeros((2, D))


def gentle(count):
    """Of a third derivative that float32 differences can bear."""

    def draw(rng, batch):
        p, *samples = network_and(count)(rng, batch)
        return jax.tree.map(lambda w: np.float32(0.6) * w, p), *samples

    return draw


of_critic = partial(
    Case,
    shared=(0,),
    order=2,
    scales=(0.0, 1e4),
    scaled=(1, 2),
    bfloat16_rtol=0.1,  # the critic's own arithmetic
)


def with_critic(penalty, *args, **kwargs):
    return lambda p, *samples: penalty(partial(critic, p), *samples, *args, **kwargs)


def picture(p, w):
    return jnp.tanh(w @ p["w"] + p["b"][None]).reshape(-1, 2, 3, 2)


def path_length(p, w, mean):
    y = np.float64(jax.random.normal(KEY, (len(w), 2, 3, 2))).reshape(len(w), 12) / np.sqrt(6)
    slope = 1 - np.tanh(w @ p["w"] + p["b"]) ** 2
    lengths = np.linalg.norm((slope * y) @ p["w"].T, axis=1)
    mean = 0.9 * mean + 0.1 * lengths.mean()
    return np.mean((lengths - mean) ** 2), mean


def draw_mapped(rng, batch):
    weights = {
        "w": np.float32(rng.standard_normal((D, 12))),
        "b": np.float32(rng.standard_normal(12)),
    }
    return weights, *normal((D,))(rng, batch), np.float32(0.5)


def lecam(real, fake, state):
    """With the averages as they are after this batch; the reference of the state too."""
    batch = (real.mean(), fake.mean(), 1.0)
    seen = [0.99 * old + 0.01 * new for old, new in zip(state, batch, strict=True)]
    a_real, a_fake = seen[0] / seen[2], seen[1] / seen[2]
    value = np.mean((real - a_fake) ** 2) + np.mean((fake - a_real) ** 2)
    return value, penalties.LeCam(*seen)


def draw_lecam(rng, batch):
    state = penalties.LeCam(np.float32(0.3), np.float32(-0.2), np.float32(0.6))
    return *normal((), ())(rng, batch), state


def draw_kernels(rng, batch):
    del batch
    return (
        {
            "conv": {"kernel": np.float32(rng.standard_normal((3, 3, 2, 4)))},
            "dense": {"kernel": np.float32(rng.standard_normal((6, 3))), "bias": np.ones(3, "f4")},
        },
    )


def orthogonal(p, diagonal=False):
    total = 0.0
    for w in (p["conv"]["kernel"].reshape(18, 4), p["dense"]["kernel"]):
        for i in range(w.shape[1]):
            for j in range(w.shape[1]):
                if i != j or diagonal:
                    total += (w[:, i] @ w[:, j] - (i == j and diagonal)) ** 2
    return total


def draw_matrices(rng, batch):
    del batch
    matrices = [np.float32(rng.standard_normal(s)) for s in ((6, 4), (3, 5))]
    vectors = [np.float32(rng.standard_normal(w.shape[1])) for w in matrices]
    return matrices, [u / np.linalg.norm(u) for u in vectors]


def spectral_regularisation(matrices, vectors):
    return 0.5 * sum(np.sum((w @ u) ** 2) for w, u in zip(matrices, vectors, strict=True))


def best(logits):
    k = max(1, len(logits) // 2)
    return np.isin(np.arange(len(logits)), np.argsort(-logits)[:k])


NO_BATCH = {"one": "parameters have no batch", "devices": "parameters have no batch"}
SQUARES = normal((3,), (3,))

CASES = [
    *(
        of_critic(
            "penalties.gradient_penalty",
            network_and(2),
            lambda p, x, y, o=options: pull(gradient(p, between(x, y)), **o),
            hand=(((AT_ZERO, ZEROS, ZEROS), by_hand),),
            call=with_critic(penalties.gradient_penalty, KEY, **options),
            smooth=gentle(2),
            wrt=(0, 1, 2),
            variant=variant,
        )
        for variant, options, by_hand in (
            ("", {}, 16.0),
            ("one-sided, target 2", {"target": 2.0, "one_sided": True}, 9.0),
            ("zero-centred", {"target": 0.0}, 25.0),
        )
    ),
    of_critic(
        "penalties.max_gradient_penalty",
        network_and(2),
        lambda p, x, y: np.max(np.sum(gradient(p, between(x, y)) ** 2, axis=1)),
        hand=(((AT_ZERO, ZEROS, ZEROS), 25.0),),
        call=with_critic(penalties.max_gradient_penalty, KEY),
        smooth=gentle(2),
        wrt=(0, 1, 2),
    ),
    *(
        of_critic(
            "penalties.dragan",
            network_and(1),
            lambda p, x, v=variant: pull(gradient(p, noisy(x, v))),
            hand=(((AT_ZERO, ZEROS), 16.0),),
            call=with_critic(penalties.dragan, KEY, variant=variant),
            smooth=gentle(1),
            variant=variant,
            scaled=(1,),
        )
        for variant in ("gaussian", "uniform", "positive")
    ),
    of_critic(
        "penalties.r1",
        network_and(1),
        lambda p, x: half_square(gradient(p, x)),
        hand=(((AT_ZERO, ZEROS), 12.5),),
        call=with_critic(penalties.r1),
        wrt=(0, 1),
        smooth=gentle(1),
    ),
    of_critic(
        "penalties.r2",
        network_and(1),
        lambda p, x: half_square(gradient(p, x)),
        hand=(((AT_ZERO, ZEROS), 12.5),),
        call=with_critic(penalties.r2),
        wrt=(0, 1),
        smooth=gentle(1),
    ),
    of_critic(
        "penalties.r1_r2",
        network_and(2),
        lambda p, x, y: (half_square(gradient(p, x)), half_square(gradient(p, y))),
        hand=(((AT_ZERO, ZEROS, ZEROS), (12.5, 12.5)),),
        call=with_critic(penalties.r1_r2),
        smooth=gentle(2),
        wrt=(0, 1, 2),
    ),
    *(
        of_critic(
            f"penalties.{name}",
            network_and(1),
            noise_penalty,
            hand=(
                (
                    (AT_ZERO, ZEROS),
                    np.mean((np.tanh(0.3 * standard_normal((2, D))[:, :2]) @ [3.0, 4.0]) ** 2),
                ),
            ),
            # A step so large that its higher orders show; R1 itself is compared in test_penalties.py.
            call=with_critic(getattr(penalties, name), KEY, sigma=0.3),
            wrt=(0, 1),
            smooth=gentle(1),
            scaled=(1,),
            slow=True,
        )
        for name in ("approximate_r1", "approximate_r2")
    ),
    Case(
        "penalties.safe_norm",
        normal((3, 4)),
        lambda x: np.sqrt(np.sum(x**2, axis=(1, 2))),
        hand=((([[3.0, 4.0], [0.0, 0.0]],), [5.0, 0.0]),),
        order=2,
    ),
    Case(
        "penalties.path_length",
        draw_mapped,
        path_length,
        # An image that ignores w: lengths 0, so the mean shrinks to 0.9 and is all that is left.
        hand=((({"w": np.zeros((D, 12)), "b": np.ones(12)}, ZEROS, 1.0), (0.81, 0.9)),),
        call=lambda p, w, mean: penalties.path_length(partial(picture, p), w, mean, KEY, decay=0.9),
        wrt=(0, 1),
        shared=(0, 2),
        scaled=(1, 2),
        bfloat16_rtol=0.1,  # the generator's own arithmetic
        skip={"gradients": "the mean, which is returned too, carries none: see test_penalties.py"},
    ),
    Case(
        "penalties.lecam",
        draw_lecam,
        lecam,
        # From nothing: the averages are the batch's means, 1 and -2.
        hand=(
            (
                ([2.0, 0.0], [-1.0, -3.0], penalties.LeCam(0.0, 0.0, 0.0)),
                ((16 + 4) / 2 + (4 + 16) / 2, penalties.LeCam(0.01, -0.02, 0.01)),
            ),
        ),
        call=lambda real, fake, state: penalties.lecam(
            real, fake, jax.tree.map(lambda x: jnp.float32(x), state)
        ),
        wrt=(0, 1),
        shared=(2,),
        scaled=(0, 1),
        bfloat16_rtol=1e-2,  # the averages are given in bfloat16 too
        skip={"gradients": "the averages are constant to it: see test_penalties.py"},
    ),
    Case(
        "penalties.consistency",
        SQUARES,
        lambda a, b: np.mean((a - b) ** 2),
        hand=((([[1.0, 2.0]], [[1.0, 5.0]]), 4.5),),
        wrt=(0, 1),
        order=2,
    ),
    Case(
        "penalties.balanced_consistency",
        normal((), (), (), ()),
        lambda a, b, c, d: np.mean((a - b) ** 2) + np.mean((c - d) ** 2),
        hand=((([1.0], [0.0], [5.0], [3.0]), 5.0),),
        wrt=(0, 1, 2, 3),
        order=2,
    ),
    Case(
        "penalties.latent_consistency.critic",
        normal((), ()),
        lambda a, b: np.mean((a - b) ** 2),
        hand=((([1.0, 2.0], [1.0, 5.0]), 4.5),),
        wrt=(0, 1),
        order=2,
    ),
    Case(
        "penalties.latent_consistency.generator",
        SQUARES,
        lambda a, b: -np.mean((a - b) ** 2),
        hand=((([[1.0, 2.0]], [[1.0, 5.0]]), -4.5),),
        wrt=(0, 1),
        order=2,
    ),
    Case(
        "penalties.top_k",
        normal(()),
        best,
        hand=((([0.5, -1.0, 2.0, 2.0],), [False, False, True, True]),),
        call=lambda logits: penalties.top_k(logits, max(1, logits.shape[0] // 2)),
        skip={"gradients": "a mask has none"},
        wrt=(),
    ),
    Case(
        "penalties.clip_weights",
        draw_kernels,
        lambda p: jax.tree.map(lambda w: np.clip(w, -0.5, 0.5), p),
        hand=(
            (
                (
                    {
                        "conv": {"kernel": np.full((1, 1, 1, 1), -3.0)},
                        "dense": {"kernel": [[0.25]], "bias": [0.75]},
                    },
                ),
                {
                    "conv": {"kernel": np.full((1, 1, 1, 1), -0.5)},
                    "dense": {"kernel": [[0.25]], "bias": [0.5]},
                },
            ),
        ),
        call=lambda p: penalties.clip_weights(p, 0.5),
        keeps_dtype=True,
        shared=(0,),
        skip={**NO_BATCH, "gradients": "kinks at every limit: see test_penalties.py"},
    ),
    *(
        Case(
            "penalties.orthogonal",
            draw_kernels,
            partial(orthogonal, diagonal=diagonal),
            hand=(
                (
                    (
                        {
                            "conv": {"kernel": [[[[1.0, 1.0]]]]},
                            "dense": {"kernel": [[2.0]], "bias": [9.0]},
                        },
                    ),
                    # Gram matrices [[1, 1], [1, 1]] and [[4]].
                    11.0 if diagonal else 2.0,
                ),
            ),
            call=partial(penalties.orthogonal, diagonal=diagonal),
            order=2,
            variant="diagonal" if diagonal else "",
            shared=(0,),
            skip=NO_BATCH,
        )
        for diagonal in (False, True)
    ),
    Case(
        "penalties.spectral_regularisation",
        draw_matrices,
        spectral_regularisation,
        hand=((([[[0.0, 3.0]], [[4.0]]], [[0.0, 1.0], [1.0]]), 12.5),),
        shared=(0, 1),
        scaled=(0,),
        skip=NO_BATCH,
    ),
]
