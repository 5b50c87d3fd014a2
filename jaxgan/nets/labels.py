"""The check of a network's labels."""

from __future__ import annotations

import chex
import jax


def check_labels(label: jax.Array | None, rows: int) -> None:
    """Raises unless labels are integers [rows]. Labels [B, 1] would broadcast to logits [B, B], and [1] to any B."""
    if label is None:
        raise ValueError("a conditional network needs labels, integers [B], one for each row.")
    chex.assert_shape(
        label,
        (rows,),
        custom_message="labels are integers [B], one for each row",
        include_default_message=False,
        exception_type=ValueError,
    )
