"""A training loop of one's own: a GAN with R1 on a ring of points, with jaxgan's losses and nothing else of it.

python examples/own_loop.py --steps 2000
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jaxgan import divergences, losses, penalties


def init(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    shapes = zip(keys, sizes[:-1], sizes[1:], strict=True)
    return [
        (jax.random.normal(k, (m, n)) * (2 / m) ** 0.5, jnp.zeros((1, n))) for k, m, n in shapes
    ]


def mlp(params, x):
    for kernel, bias in params[:-1]:
        x = jax.nn.leaky_relu(x @ kernel + bias, 0.2)
    return x @ params[-1][0] + params[-1][1]


def ring(key, num):
    angle = 2 * jnp.pi * jax.random.uniform(key, (num,))
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)


def main(steps: int = 2000, batch: int = 256) -> float:
    params = {
        "critic": init(jax.random.key(0), (2, 64, 64, 1)),
        "generator": init(jax.random.key(1), (4, 64, 64, 2)),
    }
    adam = optax.adam(1e-3, b1=0.0, b2=0.99)
    moments = {name: adam.init(of) for name, of in params.items()}

    def critic_loss(critic, generator, key):
        keys = jax.random.split(key)
        real, fake = ring(keys[0], batch), mlp(generator, jax.random.normal(keys[1], (batch, 4)))

        def score(x):
            return mlp(critic, x)[:, 0]

        penalty = penalties.r1(score, real)
        return losses.non_saturating.critic(score(real), score(fake)) + 0.5 * penalty

    def generator_loss(generator, critic, key):
        fake = mlp(generator, jax.random.normal(key, (batch, 4)))
        return losses.non_saturating.generator(mlp(critic, fake)[:, 0])

    @partial(jax.jit, static_argnames="name")
    def update(params, moments, name, key):
        other = {"critic": "generator", "generator": "critic"}[name]
        loss = critic_loss if name == "critic" else generator_loss
        gradient = jax.grad(loss)(params[name], params[other], key)
        change, state = adam.update(gradient, moments[name])
        return params | {name: optax.apply_updates(params[name], change)}, moments | {name: state}

    for step in range(steps):
        key = jax.random.fold_in(jax.random.key(2), step)
        params, moments = update(params, moments, "generator" if step % 2 else "critic", key)
    fake = mlp(params["generator"], jax.random.normal(jax.random.key(3), (500, 4)))
    return float(divergences.energy_distance(ring(jax.random.key(4), 500), fake))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    print(f"energy distance to the ring: {main(parser.parse_args().steps):.3f}")
