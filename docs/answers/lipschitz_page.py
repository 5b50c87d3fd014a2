"""Bounds of the critic: momentum, clipping, penalties, spectral norms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import divergences, losses, penalties, spectral
from jaxgan.nets.mlp import MLPCritic
from jaxgan.nets.norm import BatchNorm


def momentum():
    """A linear critic w x against a generator at theta, real samples at 0: Wasserstein losses, updates in turn."""

    def critic_loss(w, theta):
        return losses.wasserstein.critic(w * jnp.zeros(1), w * theta[None])

    def generator_loss(theta, w):
        return losses.wasserstein.generator(w * theta[None])

    def play(beta):
        def round_(state, _):
            w, theta, w_moved, theta_moved = state
            slope = jax.grad(critic_loss)(w, theta)
            w_moved = beta * w_moved - 0.3 * slope
            # Is the step in the direction of descent?
            agrees = -jnp.sign(w_moved * slope)
            w = w + w_moved
            theta_moved = beta * theta_moved - 0.3 * jax.grad(generator_loss)(theta, w)
            theta = theta + theta_moved
            return (w, theta, w_moved, theta_moved), (w, theta, agrees)

        zero, start = jnp.zeros(()), jnp.ones(())
        return jax.lax.scan(round_, (start, start, zero, zero), length=100)[1]

    betas = jnp.array([-0.3, 0.0, 0.5, 0.8])
    w, theta, agrees = jax.jit(jax.vmap(play))(betas)
    return {
        "beta": betas,
        "distance": jnp.sqrt(w**2 + theta**2),
        "path": {"w": w[:, :60], "theta": theta[:, :60]},
        "ascending": jnp.mean(agrees < 0, axis=1),
    }


def draw_momentum(figure, numbers):
    left, right = figure.subplots(1, 2)
    for i, beta in enumerate(numbers["beta"]):
        if abs(beta) < 0.6:
            left.plot(numbers["path"]["theta"][i], numbers["path"]["w"][i], label=f"beta {beta:g}")
        right.semilogy(numbers["distance"][i], label=f"beta {beta:g}")
    left.set(xlabel="theta", ylabel="w", title="60 rounds, from (1, 1)", aspect="equal")
    left.set(xlim=(-4, 4), ylim=(-4, 4))
    right.set(xlabel="round", title="distance from the equilibrium")
    right.legend()


def _ring(key, num, radius):
    angle = jax.random.uniform(key, (num,)) * 2 * jnp.pi
    return radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)


def _trained(limit):
    """A critic of two rings after 300 steps of RMSProp: clipped to `limit`, or under the gradient penalty if None.

    Returns its parameters and, for each step, the cosine of the step that RMSProp asked for and the step made.
    """
    critic = MLPCritic(width=32, depth=3)
    params = critic.init(jax.random.key(0), jnp.zeros((1, 2)))
    optimizer = optax.rmsprop(2e-3)

    def loss(params, key):
        real, fake = _ring(key, 128, 2.0), _ring(jax.random.fold_in(key, 1), 128, 1.0)
        score = partial(critic.apply, params)
        value = losses.wasserstein.critic(score(real), score(fake))
        if limit is None:
            value += 10.0 * penalties.gradient_penalty(score, real, fake, key)
        return value

    def step(state, key):
        params, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(params, key), moments)
        asked = optax.apply_updates(params, updates)
        made = asked if limit is None else penalties.clip_weights(asked, limit)
        moved = jax.tree.map(jnp.subtract, made, params)
        return (made, moments), optax.tree.vdot(updates, moved) / (
            optax.tree.norm(updates) * optax.tree.norm(moved) + 1e-12
        )

    if limit is not None:
        params = penalties.clip_weights(params, limit)
    keys = jax.random.split(jax.random.key(1), 300)
    (params, _), cosines = jax.jit(partial(jax.lax.scan, step))(
        (params, optimizer.init(params)), keys
    )
    return params, cosines


def clipping():
    """The three faults of clipping: direction, distribution of the weights, gradients by depth."""
    limit = 0.1
    (clipped, cosines), (free, _) = _trained(limit), _trained(None)

    def kernels(params):
        return np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params) if leaf.ndim == 2])

    weights = {"clipped": kernels(clipped), "penalty": kernels(free)}
    edges = {"clipped": np.linspace(-limit, limit, 22), "penalty": np.linspace(-1.2, 1.2, 22)}
    shares = {
        name: np.histogram(np.clip(w, edges[name][0], edges[name][-1]), edges[name])[0] / len(w)
        for name, w in weights.items()
    }
    at_bound = np.mean(np.abs(weights["clipped"]) > 0.999 * limit)

    return {
        "cosine": cosines,
        "edges": edges,
        "shares": shares,
        "at_bound": at_bound,
        "gradients": {f"{bound:g}": _gradients_by_layer(bound) for bound in (0.02, 0.1, 0.3)},
    }


def _gradients_by_layer(bound, width=64, depth=12):
    """Norms of a critic's gradient by its hidden layers, the last first, when all weights are at +-bound."""
    signs = jax.random.rademacher(jax.random.key(0), (depth, width, width)).astype(jnp.float32)

    def layer(x, w):
        return jax.nn.leaky_relu(x @ w, 0.2), None

    def critic(x, kernels):
        return jax.lax.scan(layer, x, kernels)[0].sum()

    x = jax.random.normal(jax.random.key(1), (width,))
    norms = []
    for i in range(depth):
        hidden = jax.lax.scan(layer, x, bound * signs[:i])[0]
        norms.append(jnp.linalg.norm(jax.grad(critic)(hidden, bound * signs[i:])))
    return jnp.stack(norms[::-1])


def draw_clipping(figure, numbers):
    first, second, third = figure.subplots(1, 3)
    first.plot(numbers["cosine"])
    first.set(
        title="step made against step asked for", xlabel="step", ylabel="cosine", ylim=(0, 1.02)
    )
    for name, share in numbers["shares"].items():
        edges = np.array(numbers["edges"][name])
        middles = (edges[1:] + edges[:-1]) / 2 / edges[-1]
        second.step(middles, share, where="mid", label=name)
    second.set(title="weights, relative to the range", xlabel="weight", ylabel="share")
    second.legend()
    for bound, norms in numbers["gradients"].items():
        third.semilogy(range(1, len(norms) + 1), norms, "o-", markersize=3, label=f"clip {bound}")
    third.set(title="gradient at each layer", xlabel="layers below the output")
    third.legend()


def interpolates():
    """Slopes of an optimal critic between samples; how outputs depend on the other samples of the batch."""
    real = _ring(jax.random.key(0), 60, 2.0)
    fake = 0.4 * jax.random.normal(jax.random.key(1), (60, 2))
    cost = divergences.pairwise_cost(real, fake, p=1)
    best = divergences.optimal_transport(None, None, cost)
    # f(x) - f*(y) for the potentials f and g = -f* of the dual problem.
    slopes = (best.f[:, None] + best.g[None]) / cost
    coupled = jnp.argmax(best.plan, axis=1)

    def dependence(score, x):
        jacobian = jax.jacobian(score)(x)  # [output, input, coordinate]
        return jnp.linalg.norm(jacobian, axis=-1)

    x = jax.random.normal(jax.random.key(2), (8, 2))
    plain = MLPCritic(width=16, depth=2)
    params = plain.init(jax.random.key(3), x)
    statistics = BatchNorm()
    variables = statistics.init(jax.random.key(4), x)

    def normalised(x):
        y, _ = statistics.apply(variables, x, train=True, mutable=["batch_stats"])
        return plain.apply(params, y)

    rows = jnp.arange(len(real))
    return {
        "real": real,
        "fake": fake,
        "coupled": coupled,
        "slope_coupled": slopes[rows, coupled],
        "slope_others": slopes[rows, (coupled + 1) % len(fake)],
        "without": dependence(partial(plain.apply, params), x),
        "with": dependence(normalised, x),
    }


def draw_interpolates(figure, numbers):
    first, second, third, fourth = figure.subplots(1, 4)
    real, fake = np.array(numbers["real"]), np.array(numbers["fake"])
    pairs = fake[np.array(numbers["coupled"])]
    first.plot(*np.stack([real, pairs], axis=1).T, color="lightgrey", linewidth=0.8, zorder=0)
    first.scatter(*real.T, s=8, label="real")
    first.scatter(*fake.T, s=8, label="generated")
    first.set(title="optimal transport", aspect="equal", xticks=[], yticks=[])
    first.legend(fontsize=7, loc="upper left")
    bins = np.linspace(0, 1.05, 22)
    second.hist(numbers["slope_others"], bins, alpha=0.6, label="other pairs")
    second.hist(numbers["slope_coupled"], bins, alpha=0.6, label="coupled pairs")
    second.set(title="slope of the optimal critic", xlabel="slope along the line")
    second.legend(loc="upper left")
    for axis, name in ((third, "without"), (fourth, "with")):
        axis.imshow(numbers[name], cmap="Greys", vmin=0)
        axis.set(title=f"|dC(x_i) / dx_j|, {name} BN", xlabel="j", ylabel="i")


def power_iteration():
    """Left: how many products find sigma. Right: the norm of a convolution whose flattened kernel has norm 1."""
    errors = {}
    for seed, shape in enumerate([(3, 3, 16, 32), (3, 3, 64, 64)]):
        w = spectral.flatten_kernel(jax.random.normal(jax.random.key(seed), shape), "conv")
        largest = jnp.linalg.svd(w, compute_uv=False)[0]
        u = spectral.init_u(jax.random.key(9), w, n_steps=0)

        def step(u, _, w=w):
            u = spectral.power_iteration(w, u)
            return u, spectral.sigma(w, u)

        sigmas = jax.jit(partial(jax.lax.scan, step, length=64))(u)[1]
        errors[f"kernel {'x'.join(map(str, shape))}"] = jnp.maximum(1 - sigmas / largest, 1e-7)
    norms = {}
    for size, stride in ((1, 1), (2, 2), (3, 1), (4, 2), (5, 1)):
        kernel = jax.random.normal(jax.random.key(size), (size, size, 4, 4))
        matrix = spectral.flatten_kernel(kernel, "conv")
        kernel = kernel / jnp.linalg.norm(matrix, 2)
        norms[f"{size}x{size}, stride {stride}"] = spectral.conv_norm(
            kernel, (12, 12), strides=stride, n_steps=24
        )
    return {"errors": errors, "norms": norms}


def draw_power_iteration(figure, numbers):
    left, right = figure.subplots(1, 2)
    for name, error in numbers["errors"].items():
        left.loglog(range(1, len(error) + 1), error, label=name)
    left.set(xlabel="power iterations", title="1 - estimate / largest singular value")
    left.legend()
    right.barh(list(numbers["norms"]), list(numbers["norms"].values()))
    right.axvline(1.0, color="black", linewidth=0.8)
    right.set(title="norm of the convolution, flattened kernel of norm 1")
