"""A reader of the `torch.save` format before PyTorch 1.6, a sequence of pickles and storages.

A file contains, in this order: three pickles with a magic number, the version of the protocol and
properties of the machine; the pickled object; the pickled list of its storages' keys; and each storage,
as a count of numbers (int64) and the numbers.
"""

import io
import struct
from typing import Any

import numpy as np

from jaxgan.weights import pickles
from jaxgan.weights.archive import most_unpacked
from jaxgan.weights.numbers import item_size
from jaxgan.weights.pickles import Storage
from jaxgan.weights.tensors import arrays_of

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read(data: bytes, skip_objects: bool = False) -> dict[str, np.ndarray]:
    """Returns every tensor by its name in the state dict; names in nested dicts are joined by dots.

    With `skip_objects` the file may hold objects of other classes, which are left out.
    """
    tree, raw = parse(data, skip_objects)
    return arrays_of(tree, lambda storage: raw[storage.key], most_unpacked(len(data)))


def parse(data: bytes, skip_objects: bool = False) -> tuple[Any, dict[str, memoryview]]:
    """(the pickled object, {key of a storage: its bytes})."""
    file = io.BytesIO(data)
    if pickles.load(file) != _MAGIC:
        raise ValueError("its magic number is not PyTorch's")
    protocol = pickles.load(file)
    if protocol != _PROTOCOL:
        raise ValueError(f"its PyTorch protocol is {protocol}; only {_PROTOCOL} is supported")
    machine = pickles.load(file)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("its numbers are big-endian, which is not supported")
    storages: dict[str, Storage] = {}
    tree = pickles.load(file, storages=storages, skip_objects=skip_objects)
    keys = pickles.load(file)
    if sorted(keys) != sorted(storages):
        raise ValueError("its storages differ from those that its tensors refer to")
    raw, at = {}, file.tell()
    for key in keys:
        storage = storages[key]
        start, end = at + 8, at + 8 + storage.size * item_size(storage.dtype)
        if end > len(data):
            raise ValueError(f"it is truncated: it ends inside its storage {key}")
        (count,) = struct.unpack_from("<q", data, at)
        if count != storage.size:
            raise ValueError(f"its storage {key} has {count} numbers, not {storage.size}")
        raw[key] = memoryview(data)[start:end]
        at = end
    return tree, raw


def is_stream(data: bytes) -> bool:
    """Whether the data starts with a pickle of the magic number, in any pickle protocol."""
    return data.startswith(b"\x80") and _MAGIC.to_bytes(10, "little") in data[:32]
