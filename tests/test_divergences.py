"""What single divergences promise, and parity with SciPy, POT and scikit-learn; the battery for all is in
`test_table.py`.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from jax.test_util import check_grads
from scipy.spatial.distance import jensenshannon
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from table.divergences import gaussians, pair, problem, scalings, weighted_numbers

from jaxgan import divergences, losses
from jaxgan.divergences.transport import _directions
from jaxgan.metrics import frechet_distance as frechet_distance_for_scores

DISCRETE = ("kl", "reverse_kl", "jensen_shannon", "total_variation", "hellinger", "chi_square")
P, Q = np.float32([0.5, 0.5, 0.0, 0.0]), np.float32([0.25, 0.0, 0.75, 0.0])


def draw(sampler, batch=8, seed=0):
    return sampler(np.random.default_rng(seed), batch)


def samples(n, m, dimensions, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dimensions)).astype(np.float32)
    return x, (1.3 * rng.standard_normal((m, dimensions)) + 0.4).astype(np.float32)


def assert_close(found, expected, rtol=1e-5, atol=0.0):
    np.testing.assert_allclose(np.float64(found), expected, rtol=rtol, atol=atol)


def doubles(*arrays):
    return tuple(np.float64(a) for a in arrays)


def shares(w):
    return np.float64(w) / np.float64(w).sum()


# As programs: one for each shape, where operations by themselves would be compiled one by one. Weights are traced, so
# that they are not checked; what is refused is below.
STATIC = {
    "jensen_shannon": "base",
    "wasserstein_1d": "p",
    "sliced_wasserstein": ("n_projections", "p"),
    "pairwise_cost": "p",
    "sinkhorn": ("tolerance", "max_iterations"),
    "sinkhorn_divergence": ("p", "max_iterations"),
    "mmd": ("kernel", "unbiased"),
    **dict.fromkeys(("f_gan_bound", "f_gan_divergence", "f_gan_optimal_logits"), "name"),
    **dict.fromkeys(("f_gan_activation", "f_gan_conjugate"), "name"),
}
programs = SimpleNamespace(
    **{
        name: jax.jit(getattr(divergences, name), static_argnames=STATIC.get(name, ()))
        for name in (
            *DISCRETE,
            *STATIC,
            *("optimal_transport", "energy_distance", "frechet_distance"),
            *("optimal_critic", "minimax_value"),
        )
    }
)


# --- Discrete distributions


def test_discrete_divergences_are_scipys():
    p, q = draw(pair, 100)
    p64, q64 = (w / w.sum(-1, keepdims=True) for w in doubles(p, q))
    assert_close(programs.kl(p, q), scipy.special.rel_entr(p64, q64).sum(-1))
    assert_close(programs.reverse_kl(p, q), scipy.stats.entropy(q64, p64, axis=-1))
    for base, number in (("nats", np.e), ("bits", 2)):
        expected = jensenshannon(p64, q64, base=number, axis=-1) ** 2
        assert_close(programs.jensen_shannon(p, q, base), expected, atol=1e-7)


def test_zeros_are_exact():
    assert_close(programs.jensen_shannon(P, Q), jensenshannon(P, Q) ** 2)
    assert programs.kl(P, Q) == programs.reverse_kl(P, Q) == np.inf
    assert programs.chi_square(P, Q) == np.inf
    mixture = (P + Q) / 2
    assert_close(programs.kl(P, mixture), scipy.special.rel_entr(P, mixture).sum())
    assert_close(programs.chi_square(P, mixture), np.sum((P - mixture)[:3] ** 2 / mixture[:3]))
    assert_close(programs.hellinger(P, Q) ** 2, 1 - np.sqrt(0.5 * 0.25))
    assert_close(programs.total_variation(P, Q), 0.75)


@pytest.mark.parametrize("name", DISCRETE)
def test_gradients_at_zeros_are_finite_where_the_value_is(name):
    with_gradients = jax.jit(jax.value_and_grad(getattr(divergences, name), (0, 1)))
    for p, q in ((P, (P + Q) / 2), ((P + Q) / 2, P), (P, Q), (P, P)):
        value, grads = with_gradients(p, q)
        assert not np.isnan(value)
        if np.isfinite(value):
            assert np.isfinite(grads).all()


@pytest.mark.parametrize("name", DISCRETE)
def test_a_distribution_is_at_no_divergence_from_itself_and_weights_need_no_sum(name):
    divergence = getattr(programs, name)
    p, q = draw(pair)
    assert not divergence(p, p).any()
    assert_close(divergence(7 * p, 0.1 * q), divergence(p, q), 1e-4, 1e-7)


def test_jensen_shannon_is_symmetric_and_bounded():
    p, q = draw(pair, 100)
    assert_close(programs.jensen_shannon(p, q), programs.jensen_shannon(q, p), 1e-6)
    apart = np.eye(2, dtype=np.float32)
    assert programs.jensen_shannon(apart[0], apart[1], "bits") == 1.0
    assert_close(programs.jensen_shannon(apart[0], apart[1]), np.log(2.0), 1e-7)
    assert (programs.jensen_shannon(p, q, "bits") <= 1.0).all()


def test_on_disjoint_supports_only_wasserstein_has_a_slope():
    """After Arjovsky et al., Wasserstein GAN (2017), Example 1; uniform distributions, in cells of 1/8."""
    edges = jnp.arange(-8.0, 41.0) / 8.0
    centres = (edges[1:] + edges[:-1]) / 2

    def shifted(theta):
        return jnp.diff(jnp.clip(edges, theta, theta + 1.0))

    def slopes(divergence):
        f = lambda theta: divergence(shifted(0.0), shifted(theta))  # noqa: E731
        return jax.jit(jax.value_and_grad(f))(2.3)

    def earth_mover(p, q):
        return programs.wasserstein_1d(centres, centres, p, q)

    for name, value in (("jensen_shannon", np.log(2)), ("total_variation", 1), ("hellinger", 1)):
        found, slope = slopes(getattr(divergences, name))
        assert_close(found, value, 1e-6)
        assert_close(slope, 0.0, atol=1e-6)
    found, slope = slopes(earth_mover)
    assert_close(found, 2.3)
    assert_close(slope, 1.0)


def test_negative_weights_are_nan_where_they_cannot_be_refused():
    bad = jnp.array([0.5, 0.7, -0.2])
    good = jnp.ones(3)
    assert all(np.isnan(jax.jit(getattr(divergences, n))(bad, good)) for n in DISCRETE)
    assert all(np.isnan(jax.jit(getattr(divergences, n))(good, bad)) for n in DISCRETE)
    assert np.isnan(jax.jit(divergences.wasserstein_1d)(good, good, bad))
    assert np.isnan(jax.jit(divergences.optimal_transport)(good, bad, jnp.ones((3, 3))).cost)
    assert np.isnan(jax.jit(divergences.optimal_critic)(good, bad).probability).all()


def test_what_is_known_is_checked_under_jit_too():
    """A closed-over constant is an array, but what is computed of it there is a tracer."""
    bad, good = jnp.array([0.5, -0.2]), jnp.ones(2)
    assert_close(jax.jit(lambda p: divergences.kl(p, good))(good), 0.0)
    with pytest.raises(ValueError, match=r"q has the value -0\.2"):
        jax.jit(lambda p: divergences.kl(p, bad))(good)


# --- Transport


@pytest.mark.parametrize(("n", "m"), [(8, 8), (300, 211), (1, 50), (64, 16)])
def test_wasserstein_1d_is_scipys(n, m):
    x, y = (z[:, 0] for z in samples(n, m, 1))
    assert_close(programs.wasserstein_1d(x, y), scipy.stats.wasserstein_distance(*doubles(x, y)))
    _, _, a, _ = draw(weighted_numbers, n)
    _, _, _, b = draw(weighted_numbers, m, 1)
    expected = scipy.stats.wasserstein_distance(*doubles(x, y, a, b))
    assert_close(programs.wasserstein_1d(x, y, a, b), expected)
    expected = scipy.stats.wasserstein_distance(*doubles(x, y), u_weights=np.float64(a))
    assert_close(programs.wasserstein_1d(x, y, a), expected)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_repeating_a_sample_is_weighting_it(p):
    x, y = (z[:, 0] for z in samples(5, 7, 1))
    times = np.array([1, 2, 0, 3, 1])
    repeated = programs.wasserstein_1d(np.repeat(x, times), y, p=p)
    assert_close(programs.wasserstein_1d(x, y, np.float32(times), p=p), repeated, 1e-6)


@pytest.mark.parametrize("p", [1, 1.5, 2])
def test_equal_samples_are_at_distance_zero_with_gradient_zero(p):
    x, _ = samples(6, 1, 3)
    distance = lambda z: programs.wasserstein_1d(z[:, 0], x[::-1, 0], p=p)  # noqa: E731
    sliced = lambda z: programs.sliced_wasserstein(z, x[::-1], jax.random.key(0), 8, p)  # noqa: E731
    for f in (distance, sliced, lambda z: programs.energy_distance(z, x)):
        value, grad = jax.jit(jax.value_and_grad(f))(x)
        assert_close(value, 0.0, atol=1e-3)  # the root of rounding
        assert np.isfinite(grad).all()
    value, grad = jax.jit(jax.value_and_grad(distance))(x)
    assert value == 0.0
    assert not grad.any()


def test_exact_transport_is_scipys():
    x, y = samples(12, 9, 2)
    _, _, a, _ = draw(weighted_numbers, 12)
    _, _, _, b = draw(weighted_numbers, 9, 1)
    cost = programs.pairwise_cost(x, y, 1)
    expected = scipy.stats.wasserstein_distance_nd(*doubles(x, y, a, b))
    assert_close(programs.optimal_transport(a, b, cost).cost, expected)
    expected = scipy.stats.wasserstein_distance_nd(*doubles(x, y))
    assert_close(programs.optimal_transport(None, None, cost).cost, expected)


@pytest.mark.parametrize("equal", [True, False], ids=["assignment", "linear programme"])
def test_the_potentials_prove_the_plan_optimal(equal):
    x, y = samples(20, 20, 3)
    a, b = (None, None) if equal else draw(weighted_numbers, 20)[2:]
    cost = np.asarray(programs.pairwise_cost(x, y))
    found = programs.optimal_transport(a, b, cost)
    a, b = (np.full(20, 1 / 20), np.full(20, 1 / 20)) if equal else (shares(a), shares(b))
    assert (found.plan >= 0).all()
    assert_close(found.plan.sum(1), a, 1e-5)
    assert_close(found.plan.sum(0), b, 1e-5)
    slack = cost - found.f[:, None] - found.g[None, :]
    assert slack.min() > -1e-5
    assert np.abs(np.where(found.plan > 0, slack, 0.0)).max() < 1e-5
    assert_close(found.f @ a + found.g @ b, found.cost)


def test_the_gradient_of_exact_transport_is_its_plan_and_potentials():
    a, b, cost = draw(problem)
    value = lambda *arrays: programs.optimal_transport(*arrays).cost  # noqa: E731
    found = programs.optimal_transport(a, b, cost)
    to_a, to_b, to_cost = jax.jit(jax.grad(value, (0, 1, 2)))(a, b, cost)
    assert_close(to_cost, found.plan, 1e-6)
    # Less their means: the weights are divided by their sums.
    assert_close(to_a, (found.f - found.f @ shares(a)) / a.sum(), 1e-4, 1e-5)
    assert_close(to_b, (found.g - found.g @ shares(b)) / b.sum(), 1e-4, 1e-5)


def test_exact_transport_on_a_line_is_the_sorted_one():
    x, y = samples(30, 30, 1)
    found = programs.optimal_transport(None, None, programs.pairwise_cost(x, y, 1))
    assert_close(found.cost, programs.wasserstein_1d(x[:, 0], y[:, 0]))


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_exact_transport_has_no_unit(scale):
    a, b, cost = draw(problem)
    found = programs.optimal_transport(a, b, np.float32(scale) * cost).cost
    assert_close(found / scale, programs.optimal_transport(a, b, cost).cost)


def test_costs_that_are_no_numbers_give_nan():
    cost = np.float32([[0.0, np.inf], [1.0, 2.0]])
    assert all(np.isnan(x).all() for x in programs.optimal_transport(None, None, cost))


@pytest.mark.parametrize("epsilon", [5.0, 0.5, 0.1])
def test_sinkhorn_is_its_matrix_scaling(epsilon):
    a, b, cost = draw(problem)
    cost = cost / 10
    found = programs.sinkhorn(a, b, cost, epsilon)
    expected_cost, expected_value = scalings(*doubles(a, b, cost), epsilon)
    assert_close(found.cost, expected_cost)
    assert_close(found.value, expected_value)
    assert found.error <= 1e-6
    assert_close(found.plan.sum(0), shares(b))
    assert np.abs(found.plan.sum(1) - shares(a)).sum() <= 2e-6


def test_sinkhorn_says_when_it_has_not_converged():
    found = programs.sinkhorn(*draw(problem), epsilon=0.05, max_iterations=3)
    assert found.iterations == 3
    assert found.error > 1e-3
    assert_close(found.error, np.abs(found.plan.sum(1) - shares(draw(problem)[0])).sum(), 1e-3)


def test_sinkhorn_becomes_exact_as_epsilon_vanishes():
    a, b, cost = draw(problem)
    exact = programs.optimal_transport(a, b, cost).cost
    above = [programs.sinkhorn(a, b, cost, e).cost - exact for e in (3.0, 1.0, 0.1)]
    assert above[0] > above[1] > above[2] > -1e-5
    assert_close(above[2], 0.0, atol=1e-2 * float(exact))


def _with_gradients(f):
    return jax.jit(jax.value_and_grad(f, (0, 1, 2, 3), has_aux=True))


def test_gradients_of_sinkhorn_are_those_of_its_iterations():
    a, b, cost = (jnp.asarray(x) for x in draw(problem))

    def unrolled(a, b, cost, epsilon):
        a, b = a / a.sum(), b / b.sum()

        def once(f, _):
            g = -epsilon * jax.nn.logsumexp((f[:, None] - cost) / epsilon, 0, a[:, None])
            return -epsilon * jax.nn.logsumexp((g[None, :] - cost) / epsilon, 1, b[None, :]), g

        f, g = jax.lax.scan(once, jnp.zeros_like(a), length=200)
        g = g[-1]
        plan = a[:, None] * b[None, :] * jnp.exp((f[:, None] + g[None, :] - cost) / epsilon)
        return jnp.sum(jnp.square(plan)), plan

    def implicit(*arrays):
        plan = programs.sinkhorn(*arrays, tolerance=1e-7).plan
        return jnp.sum(jnp.square(plan)), plan

    arguments = (a, b, cost, jnp.float32(2.0))
    (value, plan), grads = _with_gradients(implicit)(*arguments)
    (expected, _), wanted = _with_gradients(unrolled)(*arguments)
    assert_close(value, expected)
    for found, other in zip(grads, wanted, strict=True):
        assert_close(found, other, 1e-3, 1e-5 * np.abs(other).max())
    to_cost = jax.jit(jax.grad(lambda c: divergences.sinkhorn(a, b, c, 2.0).value))(cost)
    assert_close(to_cost, plan, 1e-4)


def test_second_derivatives_of_the_sinkhorn_value():
    a, b, cost = (jnp.asarray(x) for x in draw(problem, 3))
    value = lambda a, c: programs.sinkhorn(a, b, c, 3.0, tolerance=1e-7).value  # noqa: E731
    check_grads(jax.jit(value), (a, cost), 2, modes=["fwd", "rev"], eps=3e-2, rtol=2e-2, atol=2e-3)


def test_weights_of_zero_take_no_part_in_transport():
    a, b, cost = draw(problem)
    a[2] = b[1] = 0.0
    rows, columns = a > 0, b > 0
    for solve in (
        programs.optimal_transport,
        lambda *arrays: programs.sinkhorn(*arrays, epsilon=2.0),
    ):
        whole, part = solve(a, b, cost), solve(a[rows], b[columns], cost[rows][:, columns])
        assert_close(whole.cost, part.cost)
        assert_close(np.asarray(whole.plan)[rows][:, columns], part.plan, 1e-4, 1e-6)
        grads = jax.jit(jax.grad(lambda *x, s=solve: s(*x).cost, (0, 1, 2)))(a, b, cost)
        assert all(np.isfinite(g).all() for g in grads)


def test_the_debiased_divergence_vanishes_for_equal_samples_only():
    x, y = samples(10, 14, 2)
    assert_close(programs.sinkhorn_divergence(x, x[::-1], 1.0), 0.0, atol=1e-5)
    assert programs.sinkhorn_divergence(x, y, 1.0) > 0.05

    # The entropic cost alone does not: it would have the samples shrink.
    @jax.jit
    def value(z):
        return divergences.sinkhorn(None, None, divergences.pairwise_cost(x, z), 5.0).value

    assert value(0.5 * x) < value(x)


def test_the_debiased_divergence_lies_between_transport_and_energy():
    x, y = samples(10, 10, 2)
    blunt = programs.sinkhorn_divergence(x, y, 1e4, p=1)
    assert_close(blunt, programs.energy_distance(x, y) ** 2 / 2, 1e-2)
    exact = programs.optimal_transport(None, None, programs.pairwise_cost(x, y)).cost
    assert_close(programs.sinkhorn_divergence(x, y, 1e-2), exact, 1e-2)


def test_transport_is_pots():
    ot = pytest.importorskip("ot")
    x, y = samples(40, 30, 3)
    _, _, a, _ = draw(weighted_numbers, 40)
    _, _, _, b = draw(weighted_numbers, 30, 1)
    a64, b64 = shares(a), shares(b)
    cost = programs.pairwise_cost(x, y, 1)
    cost64 = ot.dist(*doubles(x, y), metric="euclidean")
    assert_close(programs.optimal_transport(a, b, cost).cost, ot.emd2(a64, b64, cost64))
    equal = programs.optimal_transport(None, None, cost[:30]).cost
    assert_close(equal, ot.emd2([], [], cost64[:30]))

    for epsilon in (1.0, 0.1):
        found = programs.sinkhorn(a, b, cost, epsilon)
        limits = {"numItermax": 100_000, "stopThr": 1e-12}
        plan = ot.sinkhorn(a64, b64, cost64, epsilon, method="sinkhorn_log", **limits)
        assert_close(found.plan, plan, 1e-4, 1e-5 * plan.max())
        assert_close(found.cost, np.sum(plan * cost64))
        solved = ot.solve(cost64, a64, b64, reg=epsilon, reg_type="KL", max_iter=100_000, tol=1e-12)
        assert_close(found.value, solved.value)

    key = jax.random.key(3)
    lines = np.float64(_directions(key, 50, 3)).T
    for p in (1, 2):
        found = programs.sliced_wasserstein(x, y, key, 50, p, a, b)
        expected = ot.sliced_wasserstein_distance(*doubles(x, y), a64, b64, p=p, projections=lines)
        assert_close(found, expected)
        one = ot.wasserstein_1d(np.float64(x[:, 0]), np.float64(y[:, 0]), a64, b64, p=p)
        assert_close(programs.wasserstein_1d(x[:, 0], y[:, 0], a, b, p), one ** (1 / p))


def test_a_shift_under_sliced_wasserstein():
    x, _ = samples(20, 1, 8)
    shift = np.float32([3.0] + [0.0] * 7)
    found = programs.sliced_wasserstein(x, x + shift, jax.random.key(0), 20_000)
    assert_close(found, 3 / np.sqrt(8), 2e-2)


# --- Kernels and Gaussians


def test_energy_distance_is_scipys():
    x, y = samples(300, 211, 1)
    expected = scipy.stats.energy_distance(np.float64(x[:, 0]), np.float64(y[:, 0]))
    assert_close(programs.energy_distance(x, y), expected)


@pytest.mark.parametrize("unbiased", [False, True])
def test_mmd_is_that_of_scikit_learns_kernels(unbiased):
    x, y = samples(200, 150, 4)

    def expected(kernel):
        def within(z):
            gram = kernel(z, z)
            n = len(z)
            return (gram.sum() - np.trace(gram)) / (n * (n - 1)) if unbiased else gram.mean()

        x64, y64 = doubles(x, y)
        return within(x64) + within(y64) - 2 * kernel(x64, y64).mean()

    cubic = lambda u, v: polynomial_kernel(u, v, degree=3, gamma=1 / 4, coef0=1)  # noqa: E731
    assert_close(programs.mmd(x, y, "cubic", unbiased=unbiased), expected(cubic))
    gaussian = lambda u, v: rbf_kernel(u, v, gamma=1 / (2 * 0.7**2))  # noqa: E731
    assert_close(programs.mmd(x, y, bandwidth=0.7, unbiased=unbiased), expected(gaussian))


@pytest.mark.parametrize(("n", "dimensions"), [(40, 4), (500, 64), (20, 64)])
def test_frechet_distance_is_the_one_for_scores(n, dimensions):
    """The last has fewer samples than dimensions, hence singular covariances."""
    x, y = samples(n, n, dimensions)
    moments = [m for z in (x, y) for m in (z.mean(0), np.cov(z.T).astype(np.float32))]
    assert_close(programs.frechet_distance(*moments), frechet_distance_for_scores(*moments))


def test_equal_gaussians_are_at_distance_zero():
    mean, cov, _, _ = draw(gaussians)
    assert_close(programs.frechet_distance(mean, cov, mean, cov), 0.0, atol=1e-5)


@pytest.mark.parametrize("rank", [3, 1])
def test_gradient_of_frechet_where_eigenvalues_are_equal(rank):
    """The identity, and its corner, where differentiating an eigendecomposition gives NaN."""
    cov1 = np.diag(np.arange(3) < rank).astype(np.float32)
    cov2, mean = 4 * cov1, np.zeros(3, np.float32)
    gradient = jax.jit(jax.grad(divergences.frechet_distance, (1, 3)))
    to1, to2 = (np.asarray(x) for x in gradient(mean, cov1, mean, cov2))
    # sum (sqrt s1 - sqrt s2)^2 of commuting covariances: 1 - sqrt(s2 / s1), and the other way round.
    corner = np.ix_(range(rank), range(rank))
    assert_close(to1[corner], -1.0 * np.eye(rank), atol=1e-6)
    assert_close(to2[corner], 0.5 * np.eye(rank), atol=1e-6)
    assert np.isfinite(to1).all()
    assert np.isfinite(to2).all()


def test_gradient_of_frechet_against_the_one_for_scores():
    mean1, cov1, mean2, cov2 = draw(gaussians)
    direction = np.diag([1.0, -0.5, 2.0, 0.3]) + 0.1
    found = jax.jit(jax.grad(divergences.frechet_distance, 1))(mean1, cov1, mean2, cov2)
    step = 1e-5
    up, down = (
        frechet_distance_for_scores(mean1, cov1 + s * direction, mean2, cov2) for s in (step, -step)
    )
    assert_close(np.sum(found * direction), (up - down) / (2 * step), 1e-4)


# --- Theory


def test_the_minimax_value_is_that_of_the_optimal_critic():
    p, q = draw(pair)
    best = programs.optimal_critic(shares(p[0]), shares(q[0]))
    value = programs.f_gan_bound("gan", best.logits, best.logits, p[0], q[0])
    assert_close(programs.minimax_value(p[0], q[0]), value)
    assert_close(jax.nn.sigmoid(best.logits), best.probability)
    equal = programs.f_gan_bound("gan", best.logits, best.logits)
    assert_close(equal, -losses.minimax.critic(best.logits, best.logits))


def test_no_critic_beats_the_optimal_one():
    p, q = (shares(w) for w in draw(pair, 1, seed=5))
    best = programs.optimal_critic(p[0], q[0]).logits
    value = lambda c: programs.f_gan_bound("gan", c, c, p[0], q[0])  # noqa: E731
    assert_close(jax.jit(jax.grad(value))(best), 0.0, atol=1e-7)
    assert np.linalg.eigvalsh(jax.jit(jax.hessian(value))(best)).max() < 0


def test_the_optimal_critic_of_vanishing_and_huge_densities():
    real, fake = np.float32([3e-37, 3e38, 1.0, 0.0]), np.float32([1e-37, 1e38, 0.0, 1.0])
    for best in (divergences.optimal_critic(real, fake), programs.optimal_critic(real, fake)):
        assert_close(best.probability, [0.75, 0.75, 1.0, 0.0], 1e-6)
        assert_close(best.logits, [np.log(3), np.log(3), np.inf, -np.inf], 1e-4)


@pytest.mark.parametrize("name", divergences.F_GAN_NAMES)
def test_the_variational_bound_meets_the_divergence_at_the_best_critic_only(name):
    bound = jax.jit(jax.value_and_grad(lambda c, p, q: divergences.f_gan_bound(name, c, c, p, q)))
    for seed in range(5):
        p, q = (shares(w[0]) for w in draw(pair, 1, seed))
        best = np.asarray(programs.f_gan_optimal_logits(name, p, q))
        exact = programs.f_gan_divergence(name, p, q)
        value, slope = bound(best, p, q)
        assert_close(value, exact, 1e-5, 1e-6)
        assert_close(slope, 0.0, atol=1e-6)
        for other in np.random.default_rng(seed).standard_normal((5, 5)).astype(np.float32):
            assert bound(best + other, p, q)[0] < exact - 1e-3


@pytest.mark.parametrize("name", ["squared_hellinger", "jensen_shannon", "gan", "kl"])
def test_the_bound_meets_the_divergence_where_a_density_is_zero(name):
    p, q = np.float32([0.5, 0.5, 0.0]), np.float32([0.25, 0.25, 0.5])
    best = programs.f_gan_optimal_logits(name, p, q)
    assert best[2] == -np.inf
    found = programs.f_gan_bound(name, best, best, p, q)
    assert_close(found, programs.f_gan_divergence(name, p, q), 1e-5)


@pytest.mark.parametrize("name", divergences.F_GAN_NAMES)
def test_the_bound_composes_activation_and_conjugate(name):
    real, fake = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    t = programs.f_gan_activation(name, fake)
    expected = (
        programs.f_gan_activation(name, real).mean() - programs.f_gan_conjugate(name, t).mean()
    )
    assert_close(programs.f_gan_bound(name, real, fake), expected)
    # f* and f are conjugate: f*(f'(u)) = u f'(u) - f(u), here at u = 1, where f = D_f(P || P).
    one = programs.f_gan_activation(name, programs.f_gan_optimal_logits(name, 1.0, 1.0))
    itself = programs.f_gan_divergence(name, np.ones(1), np.ones(1))
    assert_close(programs.f_gan_conjugate(name, one), one - itself, 1e-5, 1e-6)


# --- What is refused

VECTOR, ROWS = jnp.ones(3), jnp.ones((3, 2))


@pytest.mark.parametrize("name", [*DISCRETE, "minimax_value"])
def test_what_is_no_pair_of_distributions_is_refused(name):
    divergence = getattr(divergences, name)
    p, q = ("p_real", "p_fake") if name == "minimax_value" else ("p", "q")
    with pytest.raises(ValueError, match=rf"{p} has shape \(3,\) and {q} \(3, 2\); give both"):
        divergence(VECTOR, ROWS)
    with pytest.raises(
        ValueError, match=rf"{p} has shape \(\), which is not that of a distribution"
    ):
        divergence(1.0, 1.0)
    with pytest.raises(
        ValueError, match=rf"{p} has shape \(0,\), which is not that of a distribution"
    ):
        divergence(jnp.ones(0), jnp.ones(0))
    with pytest.raises(ValueError, match=rf"{q} has the value -0.5; densities and weights are 0"):
        divergence(VECTOR, jnp.array([1.0, -0.5, 0.5]))
    with pytest.raises(ValueError, match=rf"{p} has the value nan; densities and weights"):
        divergence(jnp.array([1.0, jnp.nan, 0.5]), VECTOR)
    with pytest.raises(ValueError, match=rf"{q} sums to 0.0 along its last axis; a distribution"):
        divergence(ROWS, jnp.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]))
    with pytest.raises(ValueError, match=rf"{p} sums to inf along its last axis"):
        divergence(jnp.array([jnp.inf, 1.0, 1.0]), VECTOR)


KEY = jax.random.key(0)
COST = jnp.ones((3, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: divergences.jensen_shannon(VECTOR, VECTOR, base="bit"),
            "base is 'bit'; choose one of nats, bits",
        ),
        (
            lambda: divergences.wasserstein_1d(ROWS, VECTOR),
            r"x has shape \(3, 2\); give numbers \[N\] with N >= 1 .*sliced_wasserstein",
        ),
        (
            lambda: divergences.wasserstein_1d(VECTOR, jnp.ones(0)),
            r"y has shape \(0,\); give numbers",
        ),
        (lambda: divergences.wasserstein_1d(VECTOR, VECTOR, p=0.5), "p is 0.5; give a finite"),
        (lambda: divergences.wasserstein_1d(VECTOR, VECTOR, p=float("inf")), "p is inf; give"),
        (
            lambda: jax.jit(divergences.wasserstein_1d)(VECTOR, VECTOR, p=2),
            "p is a .*Tracer; give a Python number, not a traced value",
        ),
        (
            lambda: divergences.wasserstein_1d(VECTOR, VECTOR, jnp.ones(2)),
            r"x_weights has shape \(2,\) for 3 samples; give \[3\], one weight each",
        ),
        (
            lambda: divergences.wasserstein_1d(VECTOR, VECTOR, None, -VECTOR),
            "y_weights has the value -1.0; densities and weights are 0 or more",
        ),
        (
            lambda: divergences.wasserstein_1d(VECTOR, VECTOR, 0 * VECTOR),
            "x_weights sums to 0.0 along",
        ),
        (
            lambda: divergences.sliced_wasserstein(VECTOR, ROWS, KEY),
            r"x has shape \(3,\); give samples \[N, D\]",
        ),
        (
            lambda: divergences.sliced_wasserstein(ROWS, jnp.ones((0, 2)), KEY),
            r"y has shape \(0, 2\); give samples",
        ),
        (
            lambda: divergences.sliced_wasserstein(ROWS, jnp.ones((3, 4)), KEY),
            "x has 2 dimensions and y 4; give samples of equal dimension",
        ),
        (
            lambda: divergences.sliced_wasserstein(ROWS, ROWS, KEY, 0),
            "n_projections is 0; give a whole number of 1 or more",
        ),
        (
            lambda: divergences.optimal_transport(None, None, VECTOR),
            r"cost has shape \(3,\); give \[N, M\] with N, M >= 1",
        ),
        (
            lambda: divergences.optimal_transport(VECTOR, VECTOR, COST),
            r"b has shape \(3,\) for 2 samples; give \[2\]",
        ),
        (
            lambda: divergences.sinkhorn(None, None, jnp.ones((0, 2)), 1.0),
            r"cost has shape \(0, 2\); give \[N, M\] with N, M >= 1",
        ),
        (
            lambda: divergences.sinkhorn(None, None, COST, 0.0),
            "epsilon is 0.0; give a finite number above 0",
        ),
        (
            lambda: divergences.sinkhorn(None, None, COST, 1.0, tolerance=-1e-3),
            "tolerance is -0.001; give a finite number above 0",
        ),
        (
            lambda: divergences.sinkhorn(None, None, COST, 1.0, max_iterations=0),
            "max_iterations is 0; give a finite number of 1 or more",
        ),
        (
            lambda: divergences.sinkhorn_divergence(ROWS, ROWS, 1.0, p=3),
            "p is 3; it must be 1 or 2, for which the divergence is positive",
        ),
        (lambda: divergences.pairwise_cost(ROWS, ROWS, 0), "p is 0; give a finite number of 1"),
        (
            lambda: divergences.energy_distance(VECTOR, VECTOR),
            r"x has shape \(3,\); give samples \[N, D\] with N, D >= 1, pictures as rows",
        ),
        (
            lambda: divergences.mmd(ROWS, ROWS, "polynomial"),
            "kernel is 'polynomial'; choose one of gaussian, cubic",
        ),
        (
            lambda: divergences.mmd(ROWS, ROWS, bandwidth=-1.0),
            "bandwidth is -1.0; give a finite number above 0",
        ),
        (
            lambda: divergences.mmd(ROWS, ROWS[:1], unbiased=True),
            "x and y hold 3 and 1 samples; the unbiased estimate compares each with another one",
        ),
        (
            lambda: divergences.frechet_distance(VECTOR, ROWS, VECTOR, jnp.eye(3)),
            r"mean1 has shape \(3,\) and cov1 \(3, 2\); give \[D\] and \[D, D\]",
        ),
        (
            lambda: divergences.frechet_distance(VECTOR, jnp.eye(3), jnp.ones(2), jnp.eye(2)),
            r"mean1 has shape \(3,\) and mean2 \(2,\); give Gaussians of equal dimension",
        ),
        (
            lambda: divergences.optimal_critic(VECTOR, ROWS),
            r"p_real has shape \(3,\) and p_fake \(3, 2\); give both",
        ),
        (
            lambda: divergences.optimal_critic(VECTOR, -VECTOR),
            "p_fake has the value -1.0; densities and weights are 0 or more",
        ),
        (
            lambda: divergences.f_gan_bound("pearson_chi_squared", VECTOR, VECTOR),
            "there is no f-GAN divergence named 'pearson_chi_squared'; did you mean 'pearson_chi_square'",
        ),
        (
            lambda: divergences.f_gan_activation("zzz", VECTOR),
            "there is no f-GAN divergence named 'zzz'; choose one of kl, reverse_kl, pearson_chi",
        ),
        (
            lambda: divergences.f_gan_bound("kl", VECTOR, ROWS),
            r"real_logits have shape \(3,\) and fake_logits \(3, 2\); only the batch sizes",
        ),
        (
            lambda: divergences.f_gan_bound("kl", jnp.ones(0), VECTOR),
            r"real_logits has shape \(0,\), which is not a batch; give \[B, ...\]",
        ),
        (
            lambda: divergences.f_gan_bound("kl", VECTOR, VECTOR, fake_weights=jnp.ones(2)),
            r"fake_weights has shape \(2,\) for 3 samples; give \[3\]",
        ),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
