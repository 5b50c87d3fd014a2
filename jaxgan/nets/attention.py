"""The attention block of SAGAN and BigGAN.

Paper: Zhang et al. 2019, "Self-Attention Generative Adversarial Networks", Eq. 1 to 3. The authors' code
(brain-research/self-attention-gan) differs from the text, and other implementations follow the code, as this one does:
keys and values are pooled, values have half of the channels, and the weights of one query sum to 1 over the keys.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.conv import Conv
from jaxgan.nets.init import glorot


class SelfAttention(nn.Module):
    """x + gamma o(softmax(q(x) k(x)^T) v(x)) over the pixels of a picture, [B, H, W, C] to the same; H and W are even.

    q, k, v and o are 1x1 convolutions without bias, to C / 8, C / 8, C / 2 and C channels; k and v are max-pooled, 2x2.
    The logits are not divided by a root, and the softmax is computed in float32. gamma is one number and starts at 0,
    so the block starts as the identity; of its parameters only gamma has a gradient then.
    """

    kernel_norm: Callable[[type], type]
    kernel_init: nn.initializers.Initializer = glorot
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        conv = partial(
            self.kernel_norm(Conv),
            kernel_size=(1, 1),
            use_bias=False,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
        )
        few, half = max(1, channels // 8), max(1, channels // 2)
        query = conv(few, name="query")(x).reshape(batch, height * width, few)
        key = max_pool(conv(few, name="key")(x)).reshape(batch, -1, few)
        value = max_pool(conv(half, name="value")(x)).reshape(batch, -1, half)
        logits = jnp.einsum("bqc,bkc->bqk", query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
        y = jnp.einsum("bqk,bkc->bqc", weights, value).reshape(batch, height, width, half)
        y = conv(channels, name="output")(y)
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        return x + gamma.astype(y.dtype) * y


def max_pool(x: jax.Array) -> jax.Array:
    """The largest value of each 2x2 square, [B, 2 H, 2 W, C] to [B, H, W, C]; differentiable to any order.

    >>> print(max_pool(jnp.arange(8.0).reshape(1, 2, 4, 1)).ravel())
    [5. 7.]
    """
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
