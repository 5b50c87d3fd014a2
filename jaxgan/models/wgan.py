"""WGAN with weight clipping.

Paper: Arjovsky, Chintala and Bottou 2017, "Wasserstein GAN", Algorithm 1: RMSProp at 5e-5, five critic steps, weights
clipped to [-0.01, 0.01]. Reference implementation: martinarjovsky/WassersteinGAN.

Only kernels are clipped, not the scales and biases of batch normalisation.

Intended differences: the networks, as in `jaxgan.models.dcgan` (a multi-layer perceptron for points, without batch
normalisation); five critic steps in all rounds, without 100 at the start.
"""

from __future__ import annotations

import dataclasses

import jax
import optax

from jaxgan import adversarial, penalties
from jaxgan.game import Game
from jaxgan.nets import backbones
from jaxgan.options import check, option
from jaxgan.spec import Spec


@dataclasses.dataclass(frozen=True)
class Options(backbones.Options, adversarial.Options):
    optimizer: str = "rmsprop"
    critic_learning_rate: float = 5e-5
    generator_learning_rate: float = 5e-5
    clip: float = option(0.01, "the critic's kernels are clipped to [-clip, clip]", above=0)
    leak: float = 0.2


def clip_kernels(limit: float) -> optax.GradientTransformation:
    """Clips updates so that updated kernels are in [-limit, limit], up to one unit in the last place of float32."""

    def update(updates, state, params):
        new = optax.apply_updates(params, updates)

        def shorten(path, update, param, new):
            if path[-1].key != "kernel":
                return update
            return penalties.clip_weights(new, limit) - param

        return jax.tree_util.tree_map_with_path(shorten, updates, params, new), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def game(options: Options, spec: Spec) -> Game:
    check(options)
    generator, critic = backbones.networks(
        options,
        spec,
        model="wgan",
        pictures="conv",
        num_classes=adversarial.classes(options, spec),
        batch_norm_critic=True,
        dtype=adversarial.compute_dtype(options),
    )
    return adversarial.two_player(
        options,
        spec,
        generator=generator,
        critic=critic,
        objective="wasserstein",
        passes=2,
        project_critic=clip_kernels(options.clip),
    )
