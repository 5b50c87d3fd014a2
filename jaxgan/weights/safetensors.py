"""safetensors: eight bytes of length, a JSON header, and the numbers.

https://github.com/huggingface/safetensors#format
"""

import json
import struct

import numpy as np

from jaxgan.weights.numbers import BFLOAT16, shape_of, shaped

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": BFLOAT16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


def is_safetensors(data: bytes) -> bool:
    """Whether the first bytes say that these are safetensors."""
    if len(data) < 9:
        return False
    (length,) = struct.unpack_from("<Q", data)
    return data[8:9] == b"{" and 2 <= length <= max(len(data) - 8, 100_000_000)


def read(data: bytes) -> dict[str, np.ndarray]:
    """Every tensor by its name."""
    (length,) = struct.unpack_from("<Q", data)
    if length > len(data) - 8:
        raise ValueError("it is truncated: it ends inside its header")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
    except (ValueError, RecursionError) as error:
        raise ValueError("its header is not JSON") from error
    numbers = memoryview(data)[8 + length :]
    header.pop("__metadata__", None)
    return {name: _tensor(name, entry, numbers) for name, entry in header.items()}


def _tensor(name: str, entry: dict, numbers: memoryview) -> np.ndarray:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"its tensor {name} is of {entry['dtype']}, which is not read here")
    dtype, shape = _DTYPES[entry["dtype"]], shape_of(entry["shape"])
    start, end = shape_of(entry["data_offsets"])
    if end > len(numbers):
        raise ValueError(f"it is truncated: its tensor {name} ends behind the end of the file")
    return shaped(name, numbers[start:end], dtype, shape)
