"""`jaxgan.divergences`: of distributions and of samples, and the theory of GANs."""

import itertools

import jax
import numpy as np
import scipy.linalg
import scipy.optimize

from jaxgan import divergences
from table import Case

LOG2 = np.log(2.0)
KEY = jax.random.key(7)


def weights(rng, *shape):
    return np.float32(rng.uniform(0.5, 1.5, shape))


def pair(rng, batch):
    return weights(rng, batch, 5), weights(rng, batch, 5)


def normal(*shapes):
    def draw(rng, batch):
        return tuple(np.float32(rng.standard_normal((batch, *s))) for s in shapes)

    return draw


def normalised(p):
    return p / p.sum(-1, keepdims=True)


def of_normalised(f):
    return lambda p, q: f(normalised(p), normalised(q))


@of_normalised
def kl(p, q):
    return np.sum(p * np.log(p / q), -1)


@of_normalised
def jensen_shannon(p, q):
    """Lin's first form: the entropy of the mixture less the mean entropy."""

    def entropy(r):
        return -np.sum(r * np.log(r), -1)

    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


@of_normalised
def hellinger(p, q):
    """By the Bhattacharyya coefficient."""
    return np.sqrt(1 - np.sum(np.sqrt(p * q), -1))


@of_normalised
def chi_square(p, q):
    return np.sum(p**2 / q, -1) - 1


@of_normalised
def total_variation(p, q):
    return np.sum(np.maximum(p - q, 0), -1)


# name -> D_f by its definition, sum_k q_k f(p_k / q_k), with f-GAN's f (Table 1).
F = {
    "kl": lambda u: u * np.log(u),
    "reverse_kl": lambda u: -np.log(u),
    "pearson_chi_square": lambda u: (u - 1) ** 2,
    "squared_hellinger": lambda u: (np.sqrt(u) - 1) ** 2,
    "jensen_shannon": lambda u: -(u + 1) * np.log((1 + u) / 2) + u * np.log(u),
    "gan": lambda u: u * np.log(u) - (u + 1) * np.log(u + 1),
}
# g_f and f* (Table 2).
ACTIVATION = {
    "kl": lambda v: v,
    "reverse_kl": lambda v: -np.exp(-v),
    "pearson_chi_square": lambda v: v,
    "squared_hellinger": lambda v: 1 - np.exp(-v),
    "jensen_shannon": lambda v: np.log(2) - np.log(1 + np.exp(-v)),
    "gan": lambda v: -np.log(1 + np.exp(-v)),
}
CONJUGATE = {
    "kl": lambda t: np.exp(t - 1),
    "reverse_kl": lambda t: -1 - np.log(-t),
    "pearson_chi_square": lambda t: t**2 / 4 + t,
    "squared_hellinger": lambda t: t / (1 - t),
    "jensen_shannon": lambda t: -np.log(2 - np.exp(t)),
    "gan": lambda t: -np.log(1 - np.exp(t)),
}
# The v at which g_f(v) = f'(u), the best T where the ratio of the densities is u (Eq. 5).
OPTIMAL = {
    "kl": lambda u: 1 + np.log(u),
    "reverse_kl": lambda u: -np.log(1 / u),
    "pearson_chi_square": lambda u: 2 * (u - 1),
    "squared_hellinger": lambda u: -np.log(1 / np.sqrt(u)),
    "jensen_shannon": lambda u: np.log(u),
    "gan": lambda u: np.log(u),
}
# By hand: D_f of (1/2, 1/2) and (1/4, 3/4), where u is 2 and 2/3.
DIVERGENCE_BY_HAND = {
    "kl": 0.5 * np.log(4 / 3),
    "reverse_kl": 0.25 * np.log(27 / 16),
    "pearson_chi_square": 1 / 3,
    "squared_hellinger": 2 - np.sqrt(0.5) - np.sqrt(1.5),
    "jensen_shannon": 0.5 * np.log(4 / 3 * 4 / 5) + 0.25 * np.log(2 / 3) + 0.75 * np.log(6 / 5),
    "gan": 0.5 * np.log(2 / 3 * 2 / 5) + 0.25 * np.log(1 / 3) + 0.75 * np.log(3 / 5),
}
# At v = 0, t = -1 (for the conjugate) and u = 4 (for the best logits).
ACTIVATION_BY_HAND = dict(zip(F, (0.0, -1.0, 0.0, 0.0, 0.0, -LOG2), strict=True))
CONJUGATE_BY_HAND = {
    "kl": np.exp(-2),
    "reverse_kl": -1.0,
    "pearson_chi_square": -0.75,
    "squared_hellinger": -0.5,
    "jensen_shannon": -np.log(2 - np.exp(-1)),
    "gan": -np.log(1 - np.exp(-1)),
}
LOGITS_BY_HAND = dict(zip(F, (1 + 2 * LOG2, 2 * LOG2, 6.0, LOG2, 2 * LOG2, 2 * LOG2), strict=True))
# With all logits 0: g_f(0) - f*(g_f(0)).
BOUND_BY_HAND = {
    "kl": -np.exp(-1),
    "reverse_kl": 0.0,
    "pearson_chi_square": 0.0,
    "squared_hellinger": 0.0,
    "jensen_shannon": 0.0,
    "gan": -2 * LOG2,
}


def bind(function, name):
    return lambda *arrays: function(name, *arrays)


def negative(rng, batch):
    """In the domain of every f*."""
    return (-0.1 - np.abs(normal((3,))(rng, batch)[0]),)


def f_divergence(name):
    return of_normalised(lambda p, q: np.sum(q * F[name](p / q), -1))


def f_bound(name):
    def bound(real, fake):
        t, t_fake = ACTIVATION[name](real), ACTIVATION[name](fake)
        return t.mean() - CONJUGATE[name](t_fake).mean()

    return bound


def f_gan_cases():
    for name in F:
        exponential = name in ("kl", "reverse_kl", "squared_hellinger")
        yield Case(
            "divergences.f_gan_divergence",
            pair,
            f_divergence(name),
            hand=((([[2.0, 2.0]], [[1.0, 3.0]]), [DIVERGENCE_BY_HAND[name]]),),
            variant=name,
            call=bind(divergences.f_gan_divergence, name),
            wrt=(0, 1),
            scales=(1e-6, 1e4),
        )
        yield Case(
            "divergences.f_gan_activation",
            normal((3,)),
            ACTIVATION[name],
            hand=((([[0.0]],), [[ACTIVATION_BY_HAND[name]]]),),
            variant=name,
            call=bind(divergences.f_gan_activation, name),
            order=2,
            # exp(-v) is part of the function, and float32 ends at exp(88).
            scales=(0.0, 10.0) if exponential else (0.0, 1e4),
        )
        yield Case(
            "divergences.f_gan_conjugate",
            negative,
            CONJUGATE[name],
            hand=((([[-1.0]],), [[CONJUGATE_BY_HAND[name]]]),),
            variant=name,
            call=bind(divergences.f_gan_conjugate, name),
            smooth=lambda rng, batch: (np.float32(-0.5 - rng.random((batch, 3))),),
            scales=(1e-3, 1e4),  # of reverse_kl and gan, 0 is the edge of the domain
        )
        yield Case(
            "divergences.f_gan_bound",
            normal((), ()),
            f_bound(name),
            hand=((([0.0, 0.0], [0.0, 0.0]), BOUND_BY_HAND[name]),),
            variant=name,
            call=bind(divergences.f_gan_bound, name),
            wrt=(0, 1),
            order=2,
            scales=(0.0, 10.0) if exponential else (0.0, 1e4),
        )
        yield Case(
            "divergences.f_gan_optimal_logits",
            pair,
            lambda p, q, name=name: OPTIMAL[name](p / q),
            hand=((([[4.0]], [[1.0]]), [[LOGITS_BY_HAND[name]]]),),
            variant=name,
            call=bind(divergences.f_gan_optimal_logits, name),
            wrt=(0, 1),
            scales=(0.0, 1e-30, 1e30),
        )


def quantiles(x, w, levels):
    order = np.argsort(x)
    ends = np.cumsum(w[order]) / w.sum()
    return x[order][np.minimum(np.searchsorted(ends, levels), len(x) - 1)]


def wasserstein_1d(x, y, a=None, b=None, p=1):
    """The integral of the quantiles' difference, each of its steps by the value in its middle."""
    a, b = (np.ones(len(z)) if w is None else w for z, w in ((x, a), (y, b)))
    ends = [np.cumsum(w[np.argsort(z)]) / w.sum() for z, w in ((x, a), (y, b))]
    levels = np.sort(np.concatenate([[0.0], *ends]))
    middle, width = (levels[1:] + levels[:-1]) / 2, np.diff(levels)
    gaps = np.abs(quantiles(x, a, middle) - quantiles(y, b, middle))
    return np.sum(width * gaps**p) ** (1 / p)


def spaced(rng, batch):
    """Neither ties nor crossings within reach of a finite difference."""
    return np.float32(rng.permutation(batch)), np.float32(0.4 + rng.permutation(batch))


def spaced_weighted(rng, batch):
    x, y = spaced(rng, batch)
    return x, y, np.float32(1 + np.arange(batch)), np.float32(2.5 + np.arange(batch)[::-1] ** 2)


def weighted_numbers(rng, batch):
    return *normal((), ())(rng, batch), weights(rng, batch), weights(rng, batch)


def on_lines(x, y):
    directions = np.float64(jax.random.normal(KEY, (16, x.shape[1])))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    powers = [wasserstein_1d(x @ t, y @ t, p=2) ** 2 for t in directions]
    return np.sqrt(np.mean(powers))


def apart(rng, batch):
    x, y = normal((3,), (3,))(rng, batch)
    return x, y + np.float32(3.0)


def problem(rng, batch):
    """Weights [N], [4] and costs [N, 4]."""
    cost = np.float32(10 * rng.random((batch, 4)))
    return weights(rng, batch), weights(rng, 4), cost


def dual_programme(a, b, cost):
    """max f.a + g.b with f_i + g_j <= cost_ij, another linear programme than the one that is solved."""
    n, m = cost.shape
    constraints = np.zeros((n * m, n + m))
    for row, (i, j) in enumerate(itertools.product(range(n), range(m))):
        constraints[row, [i, n + j]] = 1.0
    objective = -np.concatenate([normalised(a), normalised(b)])
    found = scipy.optimize.linprog(objective, constraints, cost.ravel(), bounds=(None, None))
    return -found.fun


def scalings(a, b, cost, epsilon):
    """Sinkhorn's iteration as it was first written: u and v with P = u K v."""
    a, b, kernel = normalised(a), normalised(b), np.exp(-cost / epsilon)
    v = np.ones_like(b)
    for _ in range(2000):
        u = a / (kernel @ v)
        v = b / (kernel.T @ u)
    plan = u[:, None] * kernel * v
    entropy = np.sum(plan * np.log(plan / (a[:, None] * b)))
    return np.sum(plan * cost), np.sum(plan * cost) + epsilon * entropy


def distances(x, y):
    return np.array([[np.linalg.norm(u - v) for v in y] for u in x])


def debiased(x, y):
    def value(u, v):
        return scalings(np.ones(len(u)), np.ones(len(v)), distances(u, v) ** 2, 2.0)[1]

    return value(x, y) - value(x, x) / 2 - value(y, y) / 2


def energy(x, y):
    return np.sqrt(2 * distances(x, y).mean() - distances(x, x).mean() - distances(y, y).mean())


def discrepancy(kernel, unbiased):
    def mmd(x, y):
        def within(z):
            n = len(z)
            pairs = [(i, j) for i in range(n) for j in range(n) if i != j or not unbiased]
            return np.mean([kernel(z[i], z[j]) for i, j in pairs])

        return within(x) + within(y) - 2 * np.mean([kernel(u, v) for u in x for v in y])

    return mmd


MMD = {
    "gaussian": lambda u, v: np.exp(-np.sum((u - v) ** 2) / (2 * 1.5**2)),
    "cubic": lambda u, v: (u @ v / len(u) + 1) ** 3,
}
# Of {0, 2} and {1, 1}: k(0, 0), k(0, 2), k(2, 2); k(1, 1); k(0, 1), k(2, 1).
E2, E4 = np.exp(-1 / 4.5), np.exp(-4 / 4.5)
MMD_BY_HAND = {
    ("gaussian", False): (2 + 2 * E4) / 4 + 1 - 2 * E2,
    ("gaussian", True): E4 + 1 - 2 * E2,
    ("cubic", False): 128 / 4 + 8 - 28,
    ("cubic", True): 1 + 8 - 28,
}


def mmd_cases():
    for (kernel, unbiased), value in MMD_BY_HAND.items():
        alone = "the unbiased estimate needs two samples, and says so"
        yield Case(
            "divergences.mmd",
            normal((1,), (1,)) if kernel == "gaussian" else normal((3,), (3,)),
            discrepancy(MMD[kernel], unbiased),
            hand=((([[0.0], [2.0]], [[1.0], [1.0]]), value),),
            variant=f"{kernel}, {'unbiased' if unbiased else 'biased'}",
            call=lambda x, y, k=kernel, u=unbiased: divergences.mmd(
                x, y, k, bandwidth=1.5, unbiased=u
            ),
            wrt=(0, 1),
            order=2,
            skip={"one": alone} if unbiased else {},
        )


def gaussians(rng, batch):
    """Means and covariances in four dimensions, whatever the batch."""
    del batch
    factors = rng.standard_normal((2, 12, 4))
    cov1, cov2 = (np.float32(f.T @ f / 12) for f in factors)
    mean1, mean2 = np.float32(rng.standard_normal((2, 4)))
    return mean1, cov1, mean2, cov2


def frechet(mean1, cov1, mean2, cov2):
    """With the matrix root of the product, as the formula is mostly written."""
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    return np.sum((mean1 - mean2) ** 2) + np.trace(cov1 + cov2 - 2 * root)


def symmetric_frechet(mean1, half1, mean2, half2):
    """Of S + S^T, which stay covariances however their entries are moved."""
    return divergences.frechet_distance(mean1, half1 + half1.T, mean2, half2 + half2.T)


DISJOINT = ([[1.0, 0.0]], [[0.0, 1.0]])
HALF = ([[1.0, 1.0]], [[4.0, 0.0]])  # (1/2, 1/2) and (1, 0)
DISCRETE = {"wrt": (0, 1), "order": 2, "scales": (1e-6, 1e4)}

CASES = [
    Case(
        "divergences.kl",
        pair,
        kl,
        hand=(((HALF[1], HALF[0]), [LOG2]), (HALF, [np.inf])),
        **DISCRETE,
    ),
    Case(
        "divergences.reverse_kl",
        pair,
        lambda p, q: kl(q, p),
        hand=((HALF, [LOG2]), ((HALF[1], HALF[0]), [np.inf])),
        **DISCRETE,
    ),
    Case(
        "divergences.jensen_shannon",
        pair,
        jensen_shannon,
        hand=(
            (DISJOINT, [LOG2]),
            (HALF, [0.5 * (0.5 * np.log(2 / 3) + 0.5 * LOG2 + np.log(4 / 3))]),
        ),
        **DISCRETE,
    ),
    Case(
        "divergences.jensen_shannon",
        pair,
        lambda p, q: jensen_shannon(p, q) / LOG2,
        hand=((DISJOINT, [1.0]),),
        variant="bits",
        call=lambda p, q: divergences.jensen_shannon(p, q, base="bits"),
        **DISCRETE,
    ),
    Case(
        "divergences.total_variation",
        pair,
        total_variation,
        hand=((DISJOINT, [1.0]), (HALF, [0.5])),
        smooth=lambda rng, batch: (
            np.float32([[4.0, 1.0, 2.0]] * batch),
            np.float32([[1.0, 3.0, 1.0]] * batch),
        ),
        **DISCRETE,
    ),
    Case(
        "divergences.hellinger",
        pair,
        hellinger,
        hand=((DISJOINT, [1.0]), (HALF, [np.sqrt(1 - np.sqrt(0.5))])),
        **DISCRETE,
    ),
    Case(
        "divergences.chi_square",
        pair,
        chi_square,
        hand=(((HALF[1], HALF[0]), [1.0]), (HALF, [np.inf])),
        **DISCRETE,
    ),
    Case(
        "divergences.wasserstein_1d",
        normal((), ()),
        wasserstein_1d,
        # 0 -> 1 and 4 -> 2: 1 and 2.
        hand=((([4.0, 0.0], [1.0, 2.0]), 1.5),),
        wrt=(0, 1),
        smooth=spaced,
    ),
    Case(
        "divergences.wasserstein_1d",
        weighted_numbers,
        lambda x, y, a, b: wasserstein_1d(x, y, a, b, p=2),
        # 1/4 of the mass goes from 0 to 1, 1/4 from 0 to 3, 1/2 from 4 to 3.
        hand=((([4.0, 0.0], [1.0, 3.0], [1.0, 1.0], [1.0, 3.0]), np.sqrt(1 / 4 + 9 / 4 + 1 / 2)),),
        variant="weighted, p = 2",
        call=lambda x, y, a, b: divergences.wasserstein_1d(x, y, a, b, p=2),
        wrt=(0, 1, 2, 3),
        smooth=spaced_weighted,
        scaled=(0, 1),
    ),
    Case(
        "divergences.sliced_wasserstein",
        normal((3,), (3,)),
        on_lines,
        # A shift by (3, 4) of the plane's points: 5 |cos|, whose mean square over all lines is 25 / 2; over
        # these sixteen it is what their directions say.
        hand=(
            (
                ([[0.0, 0.0], [1.0, 0.0]], [[3.0, 4.0], [4.0, 4.0]]),
                on_lines(np.zeros((1, 2)), np.array([[3.0, 4.0]])),
            ),
        ),
        call=lambda x, y: divergences.sliced_wasserstein(x, y, KEY, 16),
        wrt=(0, 1),
        smooth=apart,
    ),
    Case(
        "divergences.optimal_transport",
        problem,
        dual_programme,
        # 1/2 at 1, the rest of row 0 (1/4) at 3, row 1 (1/4) at 2.
        hand=((([3.0, 1.0], [2.0, 1.0, 1.0], [[1.0, 3.0, 9.0], [9.0, 9.0, 2.0]]), 1.75),),
        call=lambda a, b, cost: divergences.optimal_transport(a, b, cost).cost,
        wrt=(0, 1, 2),
        shared=(1,),
        scaled=(2,),
    ),
    Case(
        "divergences.sinkhorn",
        problem,
        lambda a, b, cost: scalings(a, b, cost, 3.0)[1],
        # Nothing to choose: all of the mass moves at 3.
        hand=((([2.0], [5.0], [[3.0]]), 3.0),),
        call=lambda a, b, cost: divergences.sinkhorn(a, b, cost, 3.0).value,
        wrt=(0, 1, 2),
        shared=(1,),
        scaled=(2,),
    ),
    Case(
        "divergences.sinkhorn",
        problem,
        lambda a, b, cost: scalings(a, b, cost, 3.0)[0],
        # Equal costs: the plan is a b^T.
        hand=((([1.0, 1.0], [1.0, 3.0], [[2.0, 2.0], [2.0, 2.0]]), 2.0),),
        variant="the plan's cost",
        call=lambda a, b, cost: divergences.sinkhorn(a, b, cost, 3.0).cost,
        wrt=(0, 1, 2),
        shared=(1,),
        scales=(0.0, 10.0),
        scaled=(2,),
    ),
    Case(
        "divergences.sinkhorn_divergence",
        normal((2,), (2,)),
        debiased,
        # Two shifts by (3, 4): 25.
        hand=((([[0.0, 0.0], [1.0, 0.0]], [[3.0, 4.0], [4.0, 4.0]]), 25.0),),
        call=lambda x, y: divergences.sinkhorn_divergence(x, y, 2.0),
        wrt=(0, 1),
        scales=(0.0, 10.0),
    ),
    Case(
        "divergences.pairwise_cost",
        normal((3,), (3,)),
        lambda x, y: distances(x, y) ** 2,
        hand=((([[0.0, 0.0]], [[3.0, 4.0]]), [[25.0]]),),
        wrt=(0, 1),
        order=2,
    ),
    Case(
        "divergences.pairwise_cost",
        normal((3,), (3,)),
        distances,
        hand=((([[0.0, 0.0]], [[3.0, 4.0]]), [[5.0]]),),
        variant="p = 1",
        call=lambda x, y: divergences.pairwise_cost(x, y, 1),
        wrt=(0, 1),
        smooth=apart,
        order=2,
    ),
    Case(
        "divergences.energy_distance",
        normal((3,), (3,)),
        energy,
        # {0, 2} and {1, 1}: 2 * 1 - 1 - 0.
        hand=((([[0.0], [2.0]], [[1.0], [1.0]]), 1.0),),
        wrt=(0, 1),
        smooth=apart,
    ),
    *mmd_cases(),
    Case(
        "divergences.frechet_distance",
        gaussians,
        frechet,
        # |m|^2 = 9 + 16, and sum (sqrt s1 - sqrt s2)^2 = 1 + 4.
        hand=(
            (
                (
                    [3.0, 0.0],
                    [[1.0, 0.0], [0.0, 9.0]],
                    [0.0, 4.0],
                    [[4.0, 0.0], [0.0, 1.0]],
                ),
                30.0,
            ),
        ),
        shared=(0, 1, 2, 3),
        wrt=(0, 1, 2, 3),
    ),
    Case(
        "divergences.optimal_critic",
        pair,
        lambda p, q: divergences.OptimalCritic(p / (p + q), np.log(p / q)),
        hand=(
            (
                ([[3.0, 2.0, 0.0]], [[1.0, 2.0, 0.0]]),
                divergences.OptimalCritic(
                    np.array([[0.75, 0.5, 0.5]]), np.array([[np.log(3), 0.0, 0.0]])
                ),
            ),
        ),
        wrt=(0, 1),
        order=2,
        scales=(0.0, 1e-30, 1e30),
    ),
    Case(
        "divergences.minimax_value",
        pair,
        # Goodfellow, Eq. 1, with D* in it.
        of_normalised(
            lambda p, q: np.sum(p * np.log(p / (p + q)) + q * np.log(1 - p / (p + q)), -1)
        ),
        hand=((DISJOINT, [0.0]), (([[1.0, 3.0]], [[1.0, 3.0]]), [-2 * LOG2])),
        **DISCRETE,
    ),
    *f_gan_cases(),
]
