"""`jaxgan.averaging`: numbers are drawn as arrays, one entry for each element of the batch."""

import numpy as np

from jaxgan import averaging
from table import Case

LINEAR = 0.5**0.5 / 3  # the relative standard deviation of a profile that grows linearly, gamma = 1
UNIFORM = 12**-0.5  # and of a constant one, gamma = 0
STORED = [(1.0, 0.05), (2.0, 0.1), (2.0, 0.05)]


def gamma(sigma_rel):
    """By bisection of the standard deviation of p(tau) = (gamma + 1) tau^gamma, from its first two moments."""
    low, high = 0.0, 1000.0
    for _ in range(100):
        g = (low + high) / 2
        mean, square = (g + 1) / (g + 2), (g + 1) / (g + 3)
        low, high = (g, high) if (square - mean**2) ** 0.5 > sigma_rel else (low, g)
    return g


def decays(images, half_life, seen):
    half_life = np.minimum(half_life, 0.05 * seen)
    return np.where(seen >= 2.0, 0.5 ** (images / (1000 * half_life)), 0.0)


def draw_decays(rng, b):
    images, half_life = rng.integers(1, 200, b), rng.uniform(0.1, 5.0, b)
    return np.float32(images), np.float32(half_life), np.float32(rng.uniform(1.0, 50.0, b))


def update(average, new, decay):
    return {name: decay * average[name] + (1 - decay) * new[name] for name in average}


def draw_update(rng, b):
    trees = [
        {"w": np.float32(rng.normal(size=(b, 3))), "b": np.float32(rng.normal(size=b))}
        for _ in range(2)
    ]
    return (*trees, np.float32(0.75))


def power(images, seen):
    return (1 - images / (1000 * np.maximum(seen, images / 1000))) ** (gamma(0.1) + 1)


def inner(a, b):
    """The integral of two profiles' product over the common part of their runs."""
    (t, g), (u, h) = a, b
    n = g + h + 1
    return (g + 1) * (h + 1) * min(t, u) ** n / n / t ** (g + 1) / u ** (h + 1)


def fitted(values):
    profiles = [(t, gamma(s)) for t, s in STORED]
    gram = [[inner(a, b) for b in profiles] for a in profiles]
    return values @ np.linalg.solve(gram, [inner(a, (1.5, 0.0)) for a in profiles])


def fitted_here(values):
    return values @ np.float32(averaging.posthoc_weights(STORED, 1.5, UNIFORM)).astype(values.dtype)


def combined(a, b, c):
    return {"w": -0.5 * a["w"] + 0.25 * b["w"] + 1.25 * c["w"]}


CASES = [
    Case(
        "averaging.ema_decay",
        draw=draw_decays,
        call=lambda n, h, seen: averaging.ema_decay(n, h, seen, ramp_up=0.05, start_kimg=2.0),
        reference=decays,
        hand=(((500.0, 10.0, 10.0), 0.5), ((500.0, 10.0, 1.0), 0.0), ((1000.0, 0.5, 99.0), 0.25)),
        wrt=(0, 1, 2),
        smooth=lambda rng, b: (
            np.float32(rng.uniform(500, 900, b)),
            np.float32(rng.uniform(1.0, 2.0, b)),
            np.float32(rng.uniform(60.0, 90.0, b)),
        ),
        bfloat16_rtol=1e-4,
    ),
    Case(
        "averaging.ema_update",
        draw=draw_update,
        reference=update,
        hand=(
            (
                ({"w": [[1.0]], "b": [2.0]}, {"w": [[3.0]], "b": [-2.0]}, 0.75),
                {"w": [[1.5]], "b": [1.0]},
            ),
        ),
        wrt=(0, 1, 2),
        order=2,
        scaled=(0, 1),
        shared=(2,),
        keeps_dtype=True,
        bfloat16_rtol=1e-2,
    ),
    Case(
        "averaging.power_gamma",
        draw=lambda rng, b: (np.float32(rng.normal(size=b)),),
        call=lambda x: x * averaging.power_gamma(LINEAR),
        reference=lambda x: x * gamma(LINEAR),
        hand=((([3.0],), [3.0]),),
        keeps_dtype=True,
        bfloat16_rtol=1e-2,
    ),
    Case(
        "averaging.power_decay",
        draw=lambda rng, b: (
            np.float32(rng.integers(1, 200, b)),
            np.float32(rng.uniform(0.2, 5.0, b)),
        ),
        call=lambda images, seen: averaging.power_decay(images, seen, 0.1),
        reference=power,
        # 6.937 in place of the paper's 6.94.
        hand=((([500.0], [0.5]), [0.0]), (([500.0], [1.0]), [0.5**7.9372036])),
        wrt=(0, 1),
        smooth=lambda rng, b: (
            np.float32(rng.uniform(1, 9, b)),
            np.float32(rng.uniform(0.5, 1.0, b)),
        ),
        rtol=1e-4,
    ),
    Case(
        "averaging.posthoc_weights",
        draw=lambda rng, b: (np.float32(rng.normal(size=(b, 3))),),
        call=fitted_here,
        reference=fitted,
        rtol=1e-4,
        keeps_dtype=True,
        bfloat16_rtol=2e-2,
        skip={"hand": "three weights at once; the other case has one"},
    ),
    Case(
        "averaging.posthoc_weights",
        variant="one stored",
        draw=lambda rng, b: (np.float32(rng.normal(size=(b, 1))),),
        call=lambda x: x * averaging.posthoc_weights([(2.0, LINEAR)], 1.0, UNIFORM).item(),
        reference=lambda x: x * inner((2, 1), (1, 0)) / inner((2, 1), (2, 1)),
        # tau / 2 on [0, 2] for 1 on [0, 1]: (1/4) / (2/3).
        hand=((([[1.0]],), [[3 / 8]]),),
        keeps_dtype=True,
        bfloat16_rtol=1e-2,
    ),
    Case(
        "averaging.posthoc_average",
        draw=lambda rng, b: tuple({"w": np.float32(rng.normal(size=(b, 2)))} for _ in range(3)),
        call=lambda *trees: averaging.posthoc_average(trees, [-0.5, 0.25, 1.25]),
        reference=combined,
        hand=((({"w": [[2.0]]}, {"w": [[4.0]]}, {"w": [[8.0]]}), {"w": [[10.0]]}),),
        wrt=(0, 1, 2),
        order=2,
        keeps_dtype=True,
        bfloat16_rtol=1e-2,
    ),
]
