"""Random numbers for a batch, split over the devices as the batch is.

    draws.normal(key, (num, latent_dim))      the numbers of jax.random.normal, one row for each example

Arrays computed from a replicated key are replicated: with `jax.random`, each device would draw the latents of the whole
batch, and compute everything that follows for the whole batch. These functions draw the same numbers from the same key,
but constrain the sharding of their first axis, which counts examples: each device of the current mesh draws only its
own rows. `jaxgan.engine.Engine` sets the current mesh while it traces a turn. Without a mesh these functions equal
those of `jax.random`.

The numbers do not depend on the devices: JAX's generator computes each one from its position alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

BATCH_AXES = ("data", "fsdp")  # axes of a mesh that a batch is split over


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers, float32 `shape` = [B, ...].

    >>> normal(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """
    return _drawn(partial(jax.random.normal, dtype=jnp.float32), key, shape)


def uniform(
    key: jax.Array, shape: tuple[int, ...], minval: float = 0.0, maxval: float = 1.0
) -> jax.Array:
    """Uniform numbers in [minval, maxval), float32 `shape` = [B, ...]."""
    draw = partial(jax.random.uniform, dtype=jnp.float32, minval=minval, maxval=maxval)
    return _drawn(draw, key, shape)


def randint(key: jax.Array, shape: tuple[int, ...], minval, maxval) -> jax.Array:
    """Uniform whole numbers from `minval` to `maxval` - 1, int32 `shape` = [B, ...]."""
    draw = partial(jax.random.randint, minval=minval, maxval=maxval, dtype=jnp.int32)
    return _drawn(draw, key, shape)


def bernoulli(key: jax.Array, p, shape: tuple[int, ...]) -> jax.Array:
    """True with probability `p`, boolean `shape` = [B, ...]."""
    return uniform(key, shape) < jnp.asarray(p, jnp.float32)


def permuted(key: jax.Array, x: jax.Array) -> jax.Array:
    """The rows of `x` [B, ...] in a random order, each of them once.

    Rows move between devices, so `x` should be small: labels and not pictures.
    """
    order = jax.random.permutation(key, x.shape[0])
    return over_devices(jnp.take(x, order, axis=0))


def _drawn(draw: Callable[..., jax.Array], key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """`draw(key, shape=shape)`, its rows split over the devices.

    On a CPU the same numbers are drawn as one row: XLA unrolls the generator over a last axis of few elements, and it
    takes several times as long to compile.
    """

    def as_a_row(key):
        return draw(key, shape=(math.prod(shape),)).reshape(shape)

    drawn = jax.lax.platform_dependent(key, cpu=as_a_row, default=partial(draw, shape=shape))
    return over_devices(drawn)


def over_devices(x: jax.Array) -> jax.Array:
    """`x` [B, ...] with its rows split over the current mesh; `x` itself if there is none.

    `jax.set_mesh(mesh)` and `jax.sharding.use_abstract_mesh` set the current mesh. Rows are split over its axes that
    are named in `BATCH_AXES` and have the type Auto. With fewer rows than devices nothing is split.
    """
    axes = axes_of_rows(x.shape[0])
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes)) if axes else x


def axes_of_rows(rows: int) -> tuple[str, ...]:
    """The axes of the current mesh that a batch of that many rows is split over; empty if it is not split."""
    mesh = jax.sharding.get_abstract_mesh()
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    axes = tuple(name for name, kind in kinds if name in BATCH_AXES and kind == AxisType.Auto)
    devices = math.prod(mesh.shape[name] for name in axes)
    return () if devices == 1 or rows < devices else axes
