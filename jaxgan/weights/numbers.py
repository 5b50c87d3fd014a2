"""Raw numbers of the published formats as NumPy arrays."""

import math

import numpy as np

BFLOAT16 = "bfloat16"  # which NumPy lacks


def item_size(dtype: str) -> int:
    """Bytes of one number."""
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def bytes_of(shape: tuple[int, ...], dtype: str) -> int:
    """How many bytes an array takes in its file."""
    return math.prod(shape) * item_size(dtype)


def decode(raw, dtype: str) -> np.ndarray:
    """All numbers of a buffer, in one dimension, in the machine's byte order.

    Little-endian bfloat16 comes back as float32, which holds each of its values exactly: its bits
    are the upper half of that float32's.

    >>> decode(bytes([0x80, 0x3F, 0x20, 0xC0]), "bfloat16")
    array([ 1. , -2.5], dtype=float32)
    """
    if dtype == BFLOAT16:
        numbers = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        numbers = np.frombuffer(raw, dtype)
        numbers = numbers.astype(numbers.dtype.newbyteorder("="), copy=False)
    return numbers


def shape_of(sizes) -> tuple[int, ...]:
    """`sizes` as a shape, if it is one."""
    shape = tuple(sizes)
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"a tensor of it has the shape {list(shape[:8])}")
    return shape


def shaped(name: str, raw, dtype: str, shape: tuple[int, ...], order="C") -> np.ndarray:
    """The array of that shape which fills the buffer `raw`."""
    if len(raw) != bytes_of(shape, dtype):
        raise ValueError(
            f"its tensor {name} {list(shape)} has {len(raw)} bytes, not {bytes_of(shape, dtype)}"
        )
    return decode(raw, dtype).reshape(shape, order=order)
