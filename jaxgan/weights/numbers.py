"""Conversion of raw bytes in weight files to NumPy arrays."""

import math

import numpy as np

BFLOAT16 = "bfloat16"  # not a NumPy dtype


def item_size(dtype: str) -> int:
    """The size of one number in bytes."""
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def bytes_of(shape: tuple[int, ...], dtype: str) -> int:
    """The size of an array in its file, in bytes."""
    return math.prod(shape) * item_size(dtype)


def decode(raw, dtype: str) -> np.ndarray:
    """Returns the numbers of a buffer as a 1-D array in the machine's byte order.

    Little-endian bfloat16 is converted to float32 exactly: its bits are the upper half of the bits
    of that float32.

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
    """Returns `sizes` as a shape; raises an error if they are not integers of at least 0."""
    shape = tuple(sizes)
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"one of its tensors has the invalid shape {list(shape[:8])}")
    return shape


def shaped(name: str, raw, dtype: str, shape: tuple[int, ...], order="C") -> np.ndarray:
    """Returns the buffer `raw` as an array of the given shape; raises an error if its size differs."""
    if len(raw) != bytes_of(shape, dtype):
        raise ValueError(
            f"its tensor {name} {list(shape)} has {len(raw)} bytes, not {bytes_of(shape, dtype)}"
        )
    return decode(raw, dtype).reshape(shape, order=order)
