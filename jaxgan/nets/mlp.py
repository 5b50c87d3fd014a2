"""Multi-layer perceptrons for points and small pictures."""

from __future__ import annotations

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


class MLPGenerator(nn.Module):
    """Latent [B, L] to samples [B, *shape]: `depth` hidden ReLU layers of `width` units, a linear output.

    Pictures go through a final tanh.
    """

    shape: tuple[int, ...]
    width: int = 256
    depth: int = 3
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array | None = None, train: bool = True):
        x = latent
        for i in range(self.depth):
            x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name=f"hidden{i}")(x))
        x = nn.Dense(math.prod(self.shape), dtype=self.dtype, name="output")(x)
        x = x.reshape(-1, *self.shape).astype(jnp.float32)
        return jnp.tanh(x) if len(self.shape) == 3 else x


class MLPCritic(nn.Module):
    """Samples [B, ...] to logits [B]: `depth` hidden leaky ReLU layers of `width` units.

    `kernel_norm` maps a layer class to the class that is used, for example `jaxgan.nets.spectral.spectral_norm`.
    """

    width: int = 256
    depth: int = 3
    leak: float = 0.2
    kernel_norm: Callable[[type], type] = lambda layer: layer
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None = None, train: bool = True):
        dense = self.kernel_norm(nn.Dense)
        x = x.reshape(x.shape[0], -1)
        for i in range(self.depth):
            x = nn.leaky_relu(dense(self.width, dtype=self.dtype, name=f"hidden{i}")(x), self.leak)
        return dense(1, dtype=self.dtype, name="output")(x)[:, 0].astype(jnp.float32)
