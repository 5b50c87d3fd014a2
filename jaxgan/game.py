"""Placeholder while the engine is written (DataSpec only)."""

from typing import NamedTuple


class DataSpec(NamedTuple):
    """What one example of a data source looks like: `shape` [H, W, C] or [D], classes if labelled, number of examples."""

    shape: tuple[int, ...]
    num_classes: int | None
    size: int
