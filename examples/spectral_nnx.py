"""Spectral normalisation in Flax NNX: u is a variable of its own kind, which moves once per critic step.

python examples/spectral_nnx.py --steps 200
"""

import argparse

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxgan import losses, spectral


class Leading(nnx.Variable):
    """The u vector of a kernel: no parameter, so no gradient and no optimiser changes it."""


class SpectralLinear(nnx.Module):
    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        kernel = nnx.initializers.lecun_normal()(rngs.params(), (inputs, outputs))
        self.kernel, self.bias = nnx.Param(kernel), nnx.Param(jnp.zeros((1, outputs)))
        self.u = Leading(spectral.init_u(rngs.params(), kernel))

    def iterate(self):
        self.u[...] = spectral.power_iteration(self.kernel[...], self.u[...])

    def __call__(self, x):
        return (
            x @ spectral.normalised_kernel(self.kernel[...], self.u[...], "dense") + self.bias[...]
        )


class Critic(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.hidden, self.output = SpectralLinear(2, 64, rngs), SpectralLinear(64, 1, rngs)

    def __call__(self, x):
        return self.output(nnx.leaky_relu(self.hidden(x), 0.2))[:, 0]


@nnx.jit
def step(critic, optimizer, real, fake):
    for layer in (critic.hidden, critic.output):
        layer.iterate()  # once per step of the critic; calls below leave u alone
    loss, gradient = nnx.value_and_grad(lambda c: losses.hinge.critic(c(real), c(fake)))(critic)
    optimizer.update(critic, gradient)
    return loss


def main(steps: int = 200) -> tuple[float, float]:
    critic = Critic(nnx.Rngs(0))
    optimizer = nnx.Optimizer(critic, optax.adam(1e-2), wrt=nnx.Param)
    for i in range(steps):
        real, fake = jax.random.normal(jax.random.fold_in(jax.random.key(0), i), (2, 128, 2))
        loss = step(critic, optimizer, real + 3.0, fake)
    kernel = critic.hidden.kernel[...] / spectral.sigma(
        critic.hidden.kernel[...], critic.hidden.u[...]
    )
    return float(loss), float(jnp.linalg.norm(kernel, 2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    print(
        "loss {:.3f}, norm of the normalised kernel {:.4f}".format(*main(parser.parse_args().steps))
    )
