"""Minibatch standard deviation: a feature that tells the critic how much the samples of a batch differ."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def minibatch_std(
    x: jax.Array, group_size: int = 4, num_features: int = 1, consecutive: bool = False
) -> jax.Array:
    """Appends to each image the standard deviation over its group of the batch, as constant channels.

    The batch is split into groups of `group_size` images (n, n + B / group_size, ...). The standard deviation over each
    group is computed for every pixel and channel. The channels are split into `num_features` equal parts, and the
    standard deviations are averaged over the pixels and over the channels of each part. Groups are formed in the global
    batch: under `jax.jit` with a sharded batch, the result does not depend on the number of devices.

    Args:
      x: [B, H, W, C], C a multiple of `num_features`.
      group_size: images in a group; the largest divisor of B up to this number is used. 0 for the whole batch.
      num_features: channels to append.
      consecutive: groups of images that follow each other (n, n + 1, ...). Each device then has whole groups, if the
        number of its images is a multiple of the group's, and exchanges nothing; otherwise it exchanges an array of the
        size of B / group_size images, which is small for the last layers of a critic only.

    Returns:
      [B, H, W, C + num_features] in the type of `x`.

    Source: Karras et al., Progressive Growing of GANs (2018), Section 3; groups and several features: StyleGAN2's.

    >>> x = jnp.array([1.0, 3.0, 4.0, 4.0]).reshape(4, 1, 1, 1)
    >>> minibatch_std(x, 2)[:, 0, 0, 1].tolist()  # of 1 and 4, 3 and 4
    [1.5, 0.5, 1.5, 0.5]
    >>> minibatch_std(x[:2], 2)[:, 0, 0, 1].tolist()
    [1.0, 1.0]
    """
    batch, height, width, channels = x.shape
    if num_features < 1 or channels % num_features:
        raise ValueError(
            f"{channels} channels cannot be cut into num_features={num_features} equal parts; give a divisor."
        )
    if group_size < 0:
        raise ValueError(f"a group has group_size={group_size} images; give 0 (all) or more.")
    size = min(group_size or batch, batch)
    while batch % size:
        size -= 1
    split = (batch // size, size) if consecutive else (size, batch // size)
    groups = x.astype(jnp.float32).reshape(
        *split, height, width, num_features, channels // num_features
    )
    # The gradient of the square root is infinite at zero, hence the constant.
    deviation = jnp.sqrt(jnp.var(groups, axis=int(consecutive)) + 1e-8)
    average = jnp.mean(deviation, axis=(1, 2, 4))  # [B / size, num_features]
    repeated = jnp.repeat(average, size, axis=0) if consecutive else jnp.tile(average, (size, 1))
    added = repeated[:, None, None, :]
    added = jnp.broadcast_to(added, (batch, height, width, num_features))
    return jnp.concatenate([x, added.astype(x.dtype)], axis=-1)
