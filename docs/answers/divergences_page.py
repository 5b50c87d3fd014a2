"""Divergences of distributions whose probabilities are known."""

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from jaxgan import divergences

ONES = jnp.linspace(0.0, 1.0, 101)  # the probability of the first of two outcomes
GRID = jnp.linspace(-6.0, 6.0, 241)


def kl_and_js():
    """Left: p = (t, 1 - t) against q = (0.9, 0.1). Right: the Gaussian that is nearest to a mixture of two, in each."""
    p, q = jnp.stack([ONES, 1 - ONES], axis=1), jnp.array([0.9, 0.1])
    of_p = {"KL(p || q)": divergences.kl, "KL(q || p)": divergences.reverse_kl}
    curves = {name: jax.vmap(f, (0, None))(p, q) for name, f in of_p.items()}
    curves["JS(p, q)"] = jax.vmap(divergences.jensen_shannon, (0, None))(p, q)
    curves["JS(q, p)"] = jax.vmap(divergences.jensen_shannon, (None, 0))(q, p)

    target = 0.6 * norm.pdf(GRID, -2.0, 0.6) + 0.4 * norm.pdf(GRID, 2.0, 0.6)
    target = target / target.sum()
    means, deviations = jnp.meshgrid(jnp.linspace(-3, 3, 61), jnp.linspace(0.4, 3, 53))
    means, deviations = means.ravel(), deviations.ravel()

    def gaussian(mean, deviation):
        density = norm.pdf(GRID, mean, deviation) + 1e-30
        return density / density.sum()

    candidates = jax.vmap(gaussian)(means, deviations)
    nearest = {}
    for name, divergence in (
        ("KL(p || q)", divergences.kl),
        ("KL(q || p)", divergences.reverse_kl),
        ("JS(p, q)", divergences.jensen_shannon),
    ):
        best = jnp.argmin(jax.vmap(divergence, (None, 0))(target, candidates))
        nearest[name] = [float(means[best]), float(deviations[best])]
    return {"curves": curves, "target": target, "nearest": nearest}


def draw_kl_and_js(figure, numbers):
    left, right = figure.subplots(1, 2)
    for name, curve in numbers["curves"].items():
        left.plot(ONES, curve, "--" if name == "JS(q, p)" else "-", label=name)
    left.axhline(float(jnp.log(2)), color="grey", linewidth=0.8)
    left.set(xlabel="t", title="p = (t, 1 - t), q = (0.9, 0.1)", ylim=(-0.05, 2.5))
    left.text(0.02, 0.74, "log 2", color="grey")
    left.legend()
    right.fill_between(GRID, numbers["target"], alpha=0.3, label="p")
    for name, (mean, deviation) in numbers["nearest"].items():
        density = norm.pdf(GRID, mean, deviation)
        right.plot(GRID, density / density.sum(), label=f"least {name}")
    right.set(title="the nearest Gaussian q", xlabel="x", yticks=[])
    right.legend()


def optimal_critic():
    """D* of two Gaussians; the value of the game by the formula, and by gradient ascent of the critic's objective."""
    shifts = jnp.array([4.0, 3.0, 2.0, 1.5, 1.0, 0.5, 0.0])
    grid = jnp.linspace(-5.0, 9.0, 141)
    real = norm.pdf(grid)
    real = real / real.sum()
    fakes = jax.vmap(lambda shift: norm.pdf(grid, shift))(shifts)
    fakes = fakes / fakes.sum(axis=1, keepdims=True)
    value = jax.vmap(divergences.minimax_value, (None, 0))(real, fakes)

    def bound(logits, fake):  # the objective of a critic with a logit of its own for each x
        return divergences.f_gan_bound("gan", logits, logits, real, fake)

    def ascend(fake):
        def step(logits, _):
            # Divided by the density, since the gradient at an x is proportional to it.
            slope = jax.grad(bound)(logits, fake) / (real + fake)
            return logits + 2.0 * slope, None

        return bound(jax.lax.scan(step, jnp.zeros(grid.shape), length=400)[0], fake)

    shown = [1, 4, 6]
    return {
        "grid": grid,
        "real": real,
        "fakes": fakes[jnp.array(shown)],
        "shown": shifts[jnp.array(shown)],
        "critics": jnp.stack(
            [divergences.optimal_critic(real, fakes[i]).probability for i in shown]
        ),
        "shifts": shifts,
        "value": value,
        "ascended": jax.vmap(ascend)(fakes),
    }


def draw_optimal_critic(figure, numbers):
    *axes, last = figure.subplots(1, 4)
    for axis, shift, fake, critic in zip(
        axes, numbers["shown"], numbers["fakes"], numbers["critics"], strict=True
    ):
        axis.fill_between(
            numbers["grid"], [10 * p for p in numbers["real"]], alpha=0.3, label="p_r"
        )
        axis.fill_between(numbers["grid"], [10 * p for p in fake], alpha=0.3, label="p_g")
        axis.plot(numbers["grid"], critic, "black", label="D*")
        axis.set(title=f"shift {shift:g}", ylim=(0, 1.02), xlabel="x")
    axes[0].legend()
    last.plot(numbers["shifts"], numbers["value"], label="2 JS - 2 log 2")
    last.plot(numbers["shifts"], numbers["ascended"], "o", label="critic after ascent")
    last.axhline(-2 * float(jnp.log(2)), color="grey", linewidth=0.8)
    last.text(2.0, -1.37, "-2 log 2", color="grey")
    last.set(title="value of the game", xlabel="shift")
    last.legend(loc="center right")


def disjoint_supports():
    """Distances of two uniform distributions of width 1 at 0 and at theta, and their slopes in theta."""
    thetas = jnp.linspace(-3.0, 3.0, 120)  # 0 and 1 are not among them

    def masses(theta):
        edges = jnp.sort(jnp.stack([jnp.zeros(()), jnp.ones(()), theta, theta + 1]))
        p, q = (jnp.diff(jnp.clip(edges, left, left + 1)) for left in (jnp.zeros(()), theta))
        return p, q, (edges[1:] + edges[:-1]) / 2

    distances = {
        "Jensen-Shannon": lambda p, q, x: divergences.jensen_shannon(p, q),
        "total variation": lambda p, q, x: divergences.total_variation(p, q),
        "Wasserstein-1": lambda p, q, x: divergences.wasserstein_1d(x, x, p, q),
    }
    found = {}
    for name, distance in distances.items():
        both = jax.vmap(jax.value_and_grad(lambda t, d=distance: d(*masses(t))))
        values, slopes = jax.jit(both)(thetas)
        found[name] = {"value": values, "slope": slopes}
    return {"theta": thetas, "distances": found}


def draw_disjoint_supports(figure, numbers):
    axes = figure.subplots(1, 2)
    for axis, which in zip(axes, ("value", "slope"), strict=True):
        for name, curves in numbers["distances"].items():
            axis.plot(numbers["theta"], curves[which], label=name)
        axis.set(xlabel="theta", title=f"{which} of each distance")
    axes[0].legend()
