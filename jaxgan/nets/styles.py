"""The mapping network of style-based models, from latents and labels to styles w.

Sources: Karras et al., A Style-Based Generator Architecture for GANs (2019), Figure 1 and Appendix C; Karras et al.,
Training GANs with Limited Data (2020), Appendix D, for conditioning on a class.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.equalised import EqualisedDense, leaky_relu
from jaxgan.nets.labels import one_hot
from jaxgan.nets.norm import pixel_norm


class Mapping(nn.Module):
    """Latent z [B, L], or None, and label int32 [B], or None, to w [B, features], float32.

    z and an embedding of the label go through `layers` dense layers with leaky ReLUs, whose learning rate is
    `lr_multiplier` times that of the other layers.

    Before the layers, z and an affine embedding of the label are each scaled to unit mean square and concatenated. If
    `joint`, as in StyleGAN's code, the embedding is a standard normal matrix without bias, as wide as z, and the
    concatenation is scaled to unit mean square as a whole.
    """

    features: int
    layers: int = 8
    lr_multiplier: float = 0.01
    num_classes: int | None = None
    joint: bool = False

    @nn.compact
    def __call__(self, z: jax.Array | None, label: jax.Array | None) -> jax.Array:
        x = self.joined(z, label) if self.joint else self.separate(z, label)
        for i in range(self.layers):
            dense = EqualisedDense(
                self.features, lr_multiplier=self.lr_multiplier, name=f"dense{i}"
            )
            x = leaky_relu(dense(x))
        return x

    def separate(self, z: jax.Array | None, label: jax.Array | None) -> jax.Array:
        given = [] if z is None else [pixel_norm(z.astype(jnp.float32))]
        if self.num_classes is not None:
            embed = EqualisedDense(self.features, name="embed")
            given.append(pixel_norm(embed(one_hot(label, self.num_classes))))
        return jnp.concatenate(given, axis=-1)

    def joined(self, z: jax.Array | None, label: jax.Array | None) -> jax.Array:
        if z is None:
            raise ValueError("a joint mapping needs a latent, beside which it places the label.")
        x = z.astype(jnp.float32)
        if self.num_classes is not None:
            shape = (self.num_classes, z.shape[-1])
            table = self.param("embedding", nn.initializers.normal(1.0), shape, jnp.float32)
            x = jnp.concatenate([x, one_hot(label, self.num_classes) @ table], axis=-1)
        return pixel_norm(x)
