"""Small sets in the memory of the devices: what crosses from the host is the numbers of a batch's examples.

The batches are bit for bit those of the host's pipeline. Each device holds the whole set, and takes its own rows of a
batch from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data import Batch, Pipeline
from jaxgan.data.pipeline import INDEX, MIRRORED
from jaxgan.engine import Engine
from jaxgan.options import OptionError

MOST_BYTES = 2**30  # of a set that is kept on the devices without being asked for

CHOICES = ("auto", "yes", "no")


def check_choice(choice: str, jitter: int) -> None:
    """Raises if examples are to be kept on the devices, but also cropped, which is done on the host."""
    if choice == "yes" and jitter:
        raise OptionError(
            "train.data_on_device",
            choice,
            "pictures are cropped on the host",
            {"train.data_on_device": "auto"},
            {"data.jitter": 0},
        )


def is_resident(choice: str, pipeline: Pipeline, platform: str) -> bool:
    """Whether the examples of a pipeline are kept on the devices.

    "auto" means accelerators, if the examples have at most `MOST_BYTES` and are not cropped.
    """
    check_choice(choice, pipeline.jitter)
    if choice == "auto":
        small = num_bytes(pipeline) <= MOST_BYTES
        return platform != "cpu" and small and not pipeline.jitter
    return choice == "yes"


def num_bytes(pipeline: Pipeline) -> int:
    """The bytes of all examples of a pipeline."""
    fields = pipeline.spec.fields.values()
    return pipeline.spec.size * sum(math.prod(f.shape) * f.dtype.itemsize for f in fields)


class Resident:
    """The examples of a pipeline on the devices of an engine."""

    def __init__(self, pipeline: Pipeline, engine: Engine):
        """Reads all examples, and copies them to the devices."""
        self.pipeline, self.engine = pipeline, engine
        parts: dict[str, list[np.ndarray]] = {}
        for batch in pipeline.examples():
            for name, values in batch.items():
                parts.setdefault(name, []).append(values)
        self.examples = {
            name: jax.make_array_from_process_local_data(engine.replicated, np.concatenate(values))
            for name, values in parts.items()
        }
        self._take = jax.jit(partial(_take, pipeline.spatial), out_shardings=engine.batch_sharding)

    def iterate(self, start: int, batch_size: int) -> _Batches:
        """As `Pipeline.iterate`, but the batches are on the devices. `close()` it after use."""
        return _Batches(self, self.pipeline.iterate(start, batch_size, plans=True))

    def batch(self, plan: Batch) -> dict[str, jax.Array]:
        """The batch of a plan."""
        rows = self.engine.put(plan)
        return self._take(self.examples, rows[INDEX], rows[MIRRORED])


class _Batches(Iterator[dict[str, jax.Array]]):
    def __init__(self, resident: Resident, plans):
        self.resident, self.plans = resident, plans

    def __next__(self) -> dict[str, jax.Array]:
        return self.resident.batch(next(self.plans))

    def close(self) -> None:
        self.plans.close()


def _take(spatial: tuple[str, ...], examples, index: jax.Array, mirrored: jax.Array):
    """The examples [B] at `index`; those that are mirrored are so in their fields of pixels."""
    batch = {name: jnp.take(x, index, axis=0, mode="clip") for name, x in examples.items()}
    for name in spatial:
        x = batch[name]
        flags = mirrored.reshape(-1, *[1] * (x.ndim - 1))
        batch[name] = jnp.where(flags, jnp.flip(x, axis=2), x)
    return batch
