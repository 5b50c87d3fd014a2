"""The description of the data that a model trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Batch = Mapping[str, Any]


class DataSpec(NamedTuple):
    """The specification of a data source.

    `shape` is the shape of an example: (H, W, C) for pictures, (D,) for points. `num_classes` is None without labels.
    `size` is the number of examples. `condition` is the shape (H, W, C) of the picture that each example is paired with
    ("condition" in a batch), or None without pairs.
    """

    shape: tuple[int, ...]
    num_classes: int | None
    size: int
    condition: tuple[int, ...] | None = None

    def decode(self, batch: Batch) -> dict[str, jax.Array]:
        """The batch with uint8 pictures converted to float32 in [-1, 1]; all other fields are unchanged.

        >>> DataSpec((2,), None, 10).decode({"image": jnp.array([[0, 255]], jnp.uint8)})["image"].tolist()
        [[-1.0, 1.0]]
        """
        return {
            name: x.astype(jnp.float32) / 127.5 - 1.0 if x.dtype == jnp.uint8 else x
            for name, x in batch.items()
        }
