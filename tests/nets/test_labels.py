"""Labels of other shapes, which would broadcast."""

import jax
import jax.numpy as jnp
import pytest

from jaxgan.nets.convnet import ConvCritic, ConvGenerator
from jaxgan.nets.resnet import ResNetCritic
from jaxgan.nets.stylegan2 import Critic

PICTURES, LATENTS = jnp.zeros((2, 8, 8, 3)), jnp.zeros((2, 5))
NETWORKS = (
    (ConvGenerator(8, 3, 4, num_classes=3), LATENTS),
    (ConvCritic(width=4, num_classes=3), PICTURES),
    (ResNetCritic((4,), 1, 3), PICTURES),
    (Critic(32, 4, num_classes=3, group_size=2), PICTURES),
)


@pytest.mark.parametrize(("network", "x"), NETWORKS, ids=lambda x: type(x).__name__)
def test_one_label_for_each_row(network, x):
    for label in (jnp.zeros((2, 1), int), jnp.zeros(1, int), jnp.zeros((), int), jnp.zeros((2, 3))):
        with pytest.raises(ValueError, match=r"but expected \(2\)\. \[labels are integers \[B\]"):
            jax.eval_shape(network.init, jax.random.key(0), x, label)
    with pytest.raises(ValueError, match=r"a conditional network needs labels, integers \[B\]"):
        jax.eval_shape(network.init, jax.random.key(0), x, None)
