"""Taking tensors out of a published file, with a sentence for what does not fit."""

from collections.abc import Mapping, Sequence

import numpy as np


def take(tensors: Mapping[str, np.ndarray], name: str, shape: Sequence[int]) -> np.ndarray:
    """The tensor called `name` as float32, if it is there and has that shape."""
    if name not in tensors:
        raise ValueError(
            f"the weights have no tensor {name!r}: this is a file of another network (it starts "
            f"with {', '.join(map(repr, list(tensors)[:3]))})"
        )
    tensor = np.asarray(tensors[name])
    if tensor.shape != tuple(shape):
        raise ValueError(
            f"the tensor {name!r} has shape {list(tensor.shape)}, but this network needs "
            f"{list(shape)}: this is a file of another network"
        )
    return tensor.astype(np.float32)
