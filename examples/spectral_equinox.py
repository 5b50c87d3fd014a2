"""Spectral normalisation of an Equinox network from outside: any pytree of kernels, and a pytree of their u vectors.

pip install equinox && python examples/spectral_equinox.py --steps 200
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from jaxgan import losses, spectral


def is_linear(node):
    return isinstance(node, eqx.nn.Linear)


def kernels(network):
    """The kernels [inputs, outputs] of all linear layers; Equinox stores them transposed."""
    layers = jax.tree.leaves(network, is_leaf=is_linear)
    return [layer.weight.T for layer in layers if is_linear(layer)]


def weights(network):
    return [
        layer.weight for layer in jax.tree.leaves(network, is_leaf=is_linear) if is_linear(layer)
    ]


def normalised(network, us):
    """The network with each kernel divided by sigma, differentiable by the kernels."""
    new = [
        spectral.normalised_kernel(w, u, "dense").T
        for w, u in zip(kernels(network), us, strict=True)
    ]
    return eqx.tree_at(weights, network, new)


@eqx.filter_jit
def step(critic, us, moments, adam, real, fake):
    us = [spectral.power_iteration(w, u) for w, u in zip(kernels(critic), us, strict=True)]

    def loss(critic):
        score = jax.vmap(normalised(critic, us))
        return losses.hinge.critic(score(real), score(fake))

    value, gradient = eqx.filter_value_and_grad(loss)(critic)
    updates, moments = adam.update(gradient, moments)
    return eqx.apply_updates(critic, updates), us, moments, value


def main(steps: int = 200) -> tuple[float, float]:
    critic = eqx.nn.MLP(2, "scalar", 64, 2, jax.nn.leaky_relu, key=jax.random.key(0))
    us = [spectral.init_u(jax.random.key(i), w) for i, w in enumerate(kernels(critic))]
    adam = optax.adam(1e-2)
    moments = adam.init(eqx.filter(critic, eqx.is_array))
    for i in range(steps):
        real, fake = jax.random.normal(jax.random.fold_in(jax.random.key(1), i), (2, 128, 2))
        critic, us, moments, value = step(critic, us, moments, adam, real + 3.0, fake)
    first = kernels(normalised(critic, us))[0]
    return float(value), float(jnp.linalg.norm(first, 2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    print(
        "loss {:.3f}, norm of the normalised kernel {:.4f}".format(*main(parser.parse_args().steps))
    )
