"""Labels out of range give NaN in every network that takes labels, and those of other shapes are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.models.progressive import generator_input
from jaxgan.nets import stylegan2
from jaxgan.nets.convnet import ConvCritic, ConvGenerator
from jaxgan.nets.heads import Labels
from jaxgan.nets.norm import BatchNorm
from jaxgan.nets.resnet import ResNetCritic, ResNetGenerator
from jaxgan.nets.spectral import spectral_norm

LATENT, PICTURE = np.ones((3, 4), np.float32), np.ones((3, 8, 8, 2), np.float32)


def networks(classes):
    mapping = stylegan2.Mapping(4, layers=1, num_classes=classes)
    return {
        "batch_norm": (BatchNorm(classes), LATENT, {"train": False}),
        "conv_generator": (ConvGenerator(8, 2, 2, num_classes=classes), LATENT, {"train": False}),
        "conv_critic": (
            ConvCritic(width=2, num_classes=classes, kernel_norm=spectral_norm),
            PICTURE,
            {"train": False},
        ),
        "resnet_generator": (
            ResNetGenerator(4, 2, (2,), 2, num_classes=classes),
            LATENT,
            {"train": False},
        ),
        "resnet_critic": (ResNetCritic((2,), 1, Labels(classes)), PICTURE, {"train": False}),
        "stylegan2_mapping": (mapping, LATENT, {}),
        "stylegan2_critic": (
            stylegan2.Critic(16, 4, num_classes=classes, mapping_layers=1),
            PICTURE,
            {},
        ),
    }


@pytest.mark.parametrize("classes", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", networks(3))
def test_a_label_out_of_range_gives_nan(name, classes):
    module, x, options = networks(classes)[name]
    right = jnp.zeros((3,), jnp.int32)
    variables = jax.jit(module.init)(jax.random.key(0), x, right)
    apply = jax.jit(lambda label: module.apply(variables, x, label, **options))
    expected = np.asarray(apply(right))
    assert np.isfinite(expected).all()
    with pytest.raises(ValueError, match="a conditional network needs labels"):
        module.apply(variables, x, None, **options)
    for wrong in (-1, classes, -classes - 1):
        found = np.asarray(apply(right.at[1].set(wrong)))
        assert np.isnan(found[1]).all()
        np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


def test_a_label_out_of_range_gives_nan_in_the_input_of_progressive():
    found = generator_input(jnp.asarray(LATENT), jnp.array([0, -1, 2]), 2)
    np.testing.assert_array_equal(found[0], [1, 1, 1, 1, 1, 0])
    assert np.isnan(found[1:, 4:]).all()


PICTURES, LATENTS = jnp.zeros((2, 8, 8, 3)), jnp.zeros((2, 5))
NETWORKS = (
    (ConvGenerator(8, 3, 4, num_classes=3), LATENTS),
    (ConvCritic(width=4, num_classes=3), PICTURES),
    (ResNetCritic((4,), 1, Labels(3)), PICTURES),
    (stylegan2.Critic(32, 4, num_classes=3, group_size=2), PICTURES),
)


@pytest.mark.parametrize(("network", "x"), NETWORKS, ids=lambda x: type(x).__name__)
def test_one_label_for_each_row(network, x):
    for label in (jnp.zeros((2, 1), int), jnp.zeros(1, int), jnp.zeros((), int), jnp.zeros((2, 3))):
        with pytest.raises(ValueError, match=r"but expected \(2\)\. \[labels are integers \[B\]"):
            jax.eval_shape(network.init, jax.random.key(0), x, label)
    with pytest.raises(ValueError, match=r"a conditional network needs labels, integers \[B\]"):
        jax.eval_shape(network.init, jax.random.key(0), x, None)
