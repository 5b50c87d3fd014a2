"""Meshes and shardings: data parallel over all devices, with parameters split over some of them on request."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgan.draws import BATCH_AXES
from jaxgan.options import OptionError

# Smaller arrays are cheaper to replicate than to gather.
SMALLEST_SPLIT = 2**16


def make_mesh(devices: int = 0, fsdp: int = 1) -> Mesh:
    """A mesh of axes ("data", "fsdp") over the first `devices` devices (0: all devices of all processes).

    Batches are split over both axes, parameters over "fsdp" (see `state_sharding`).
    """
    available = jax.devices()
    count = devices or len(available)
    if count > len(available):
        raise OptionError(
            "train.devices",
            count,
            f"JAX has {len(available)}",
            {"train.devices": len(available)},
        )
    return mesh_of(available[:count], fsdp)


def mesh_of(devices: Sequence[jax.Device], fsdp: int = 1) -> Mesh:
    """A mesh of axes ("data", "fsdp") over these devices, which need not exist (`jax.experimental.topologies`)."""
    count = len(devices)
    if count % fsdp:
        raise OptionError(
            "train.fsdp",
            fsdp,
            f"it must divide the {count} devices",
            {"train.fsdp": math.gcd(fsdp, count)},
        )
    # Auto axes: under the default, Explicit ones, ordinary Linen networks fail.
    return jax.make_mesh(
        (count // fsdp, fsdp),
        BATCH_AXES,
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices,
    )


def state_sharding(shapes, mesh: Mesh):
    """Shardings for a tree of shapes: large arrays split along their largest divisible axis over "fsdp"."""
    parts = mesh.shape["fsdp"]

    def choose(leaf):
        spec: list[str | None] = [None] * len(leaf.shape)
        splittable = [i for i, n in enumerate(leaf.shape) if n % parts == 0]
        if parts > 1 and splittable and np.prod(leaf.shape) >= SMALLEST_SPLIT:
            spec[max(splittable, key=lambda i: leaf.shape[i])] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(choose, shapes)
