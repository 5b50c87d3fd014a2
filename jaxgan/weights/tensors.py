"""Conversion of the objects in a PyTorch pickle to arrays with the names of a state dict."""

import math
from collections.abc import Callable

import numpy as np

from jaxgan.weights.numbers import bytes_of, decode, item_size, shape_of
from jaxgan.weights.pickles import Storage, Tensor

# Limits on a tree, as a pickle may contain an object many times, or inside itself.
_DEEPEST, _MOST_NODES = 64, 1_000_000


def arrays_of(
    tree, storage_bytes: Callable[[Storage], memoryview], most: int
) -> dict[str, np.ndarray]:
    """Returns every tensor of `tree` as an array; tensors of one storage share its memory.

    Args:
      tree: the result of `pickles.load`.
      storage_bytes: a function that returns the raw bytes of a storage.
      most: maximum size of one tensor in bytes, as strides of 0 allow a small file to state a huge one.
    """
    storages: dict[Storage, np.ndarray] = {}

    def numbers(storage: Storage) -> np.ndarray:
        if storage not in storages:
            raw = storage_bytes(storage)
            if len(raw) != storage.size * item_size(storage.dtype):
                raise ValueError(
                    f"its storage {storage.key} of {storage.size} numbers has {len(raw)} bytes"
                )
            storages[storage] = decode(raw, storage.dtype)
        return storages[storage]

    return {name: _array(name, tensor, numbers, most) for name, tensor in flatten(tree).items()}


def flatten(tree) -> dict[str, Tensor]:
    """Returns every tensor of nested dicts, lists and tuples by its path, joined by dots.

    >>> tensor = Tensor(None, 0, (), ())
    >>> list(flatten({"epoch": 3, "model": {"conv.bias": tensor, "list": [tensor, tensor]}}))
    ['model.conv.bias', 'model.list.0', 'model.list.1']
    """
    found: dict[str, Tensor] = {}
    below, visited = [("", tree, 0)], 0
    while below:
        path, node, depth = below.pop()
        visited += 1
        if isinstance(node, Tensor):
            if path in found:
                raise ValueError(f"two of its tensors are called {path}")
            found[path] = node
        elif isinstance(node, dict | list | tuple) and not isinstance(node, Storage):
            if depth == _DEEPEST:
                raise ValueError(f"its dicts are nested deeper than {_DEEPEST}")
            if visited + len(below) + len(node) > _MOST_NODES:
                raise ValueError(f"its dicts hold more than {_MOST_NODES:,} objects")
            items = node.items() if isinstance(node, dict) else enumerate(node)
            children = [(f"{path}.{key}" if path else str(key), at, depth + 1) for key, at in items]
            below.extend(reversed(children))
    return found


def _array(name: str, tensor: Tensor, numbers: Callable, most: int) -> np.ndarray:
    storage, offset, shape, strides = tensor
    if not isinstance(storage, Storage):
        raise ValueError(f"its tensor {name} has no storage")
    shape, strides, (offset,) = shape_of(shape), shape_of(strides), shape_of([offset])
    if len(shape) != len(strides):
        raise ValueError(f"its tensor {name} {list(shape)} has the strides {list(strides)}")
    flat = numbers(storage)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= len(flat):
        raise ValueError(f"its tensor {name} {list(shape)} reaches beyond its storage")
    if bytes_of(shape, storage.dtype) > most:
        raise ValueError(f"its tensor {name} {list(shape)} is too large for the size of the file")
    steps = tuple(stride * flat.itemsize for stride in strides)
    if not math.prod(shape):
        return np.empty(shape, flat.dtype)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)
