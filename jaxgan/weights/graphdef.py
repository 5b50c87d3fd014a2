"""A reader of the constants in a frozen TensorFlow graph (a serialised `GraphDef`).

It parses the protocol-buffer wire format (https://protobuf.dev/programming-guides/encoding) with the field
numbers of TensorFlow's graph.proto, node_def.proto, attr_value.proto, tensor.proto, tensor_shape.proto
and types.proto. The graph itself is not executed.
"""

import math
from collections.abc import Iterator

import numpy as np

from jaxgan.weights.archive import most_unpacked
from jaxgan.weights.numbers import BFLOAT16, bytes_of, decode, shape_of, shaped

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_NODE = 1  # of GraphDef
_NODE_NAME, _NODE_OP, _NODE_ATTR = 1, 2, 5  # of NodeDef
_KEY, _VALUE = 1, 2  # of an entry of a map
_ATTR_TENSOR = 8  # of AttrValue
_DTYPE, _SHAPE, _CONTENT = 1, 2, 4  # of TensorProto
_DIM, _UNKNOWN_RANK, _SIZE = 2, 3, 1  # of TensorShapeProto and its Dim

# DataType: (NumPy dtype, the field of TensorProto that lists the values, and their dtype in that field,
# which is None for varints).
_TYPES = {
    1: ("<f4", 5, "<f4"),
    2: ("<f8", 6, "<f8"),
    3: ("<i4", 7, None),
    4: ("u1", 7, None),
    5: ("<i2", 7, None),
    6: ("i1", 7, None),
    9: ("<i8", 10, None),
    10: ("?", 11, None),
    14: (BFLOAT16, 13, None),
    17: ("<u2", 7, None),
    19: ("<f2", 13, None),
    22: ("<u4", 16, None),
    23: ("<u8", 17, None),
}
_BITS = {"<f2": "<u2", BFLOAT16: "<u2"}  # half_val stores the bits of a number as an integer


def read(data: bytes) -> dict[str, np.ndarray]:
    """Returns every numeric constant by its node's name; skips other nodes and strings."""
    tensors, left = {}, most_unpacked(len(data))
    for number, node in _fields(memoryview(data)):
        if number != _NODE:
            continue
        name, constant = _constant(node)
        if constant is None:
            continue
        if name in tensors:
            raise ValueError(f"two nodes of its graph are called {name}")
        tensors[name], left = _tensor(name, constant, left)
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _constant(node) -> tuple[str, memoryview | int | None]:
    """Returns the name of a node and, if it is a constant, its TensorProto."""
    name, op, tensor = "", b"", None
    for number, value in _messages(node):
        if number == _NODE_NAME:
            name = str(_bytes(value), "utf-8")
        elif number == _NODE_OP:
            op = bytes(_bytes(value))
        elif number == _NODE_ATTR:
            entry = dict(_messages(value))
            if bytes(_bytes(entry.get(_KEY, b""))) == b"value" and _VALUE in entry:
                tensor = dict(_messages(entry[_VALUE])).get(_ATTR_TENSOR)
    return name, tensor if op == b"Const" else None


def _tensor(name: str, message, left: int) -> tuple[np.ndarray | None, int]:
    """Returns the array of a TensorProto (None if it is not numeric) and the remaining size limit in bytes."""
    fields: dict[int, list] = {}
    for number, value in _messages(message):
        fields.setdefault(number, []).append(value)
    kind = fields.get(_DTYPE, [0])[-1]
    if kind not in _TYPES:
        return None, left
    dtype, listed, wire = _TYPES[kind]
    shape = _shape(name, fields.get(_SHAPE, [b""])[-1])
    size = bytes_of(shape, dtype)
    left -= size
    if left < 0:
        raise ValueError(f"its constant {name} {list(shape)} is too large for the size of the file")
    content = _bytes(fields.get(_CONTENT, [b""])[-1])
    if len(content):
        return shaped(name, content, dtype, shape), left
    values = _values(fields.get(listed, []), dtype, wire)
    count = math.prod(shape)
    if len(values) > count:
        raise ValueError(f"its constant {name} {list(shape)} lists {len(values)} values")
    # tensor.proto: values that are not listed repeat the last one, or are zero if none is listed.
    tensor = np.full(count, values[-1] if len(values) else 0, values.dtype)
    tensor[: len(values)] = values
    return tensor.reshape(shape), left


def _shape(name: str, message) -> tuple[int, ...]:
    sizes = []
    for number, value in _messages(message):
        if number == _UNKNOWN_RANK and value:
            raise ValueError(f"the rank of its constant {name} is unknown")
        if number == _DIM:
            sizes.append(dict(_messages(value)).get(_SIZE, 0))
    return shape_of(sizes)


def _values(fields: list, dtype: str, wire: str | None) -> np.ndarray:
    """The values of a repeated field, packed or not."""
    if wire is not None:
        return decode(b"".join(bytes(_bytes(field)) for field in fields), wire)
    integers: list[int] = []
    for field in fields:
        integers.extend([field] if isinstance(field, int) else _varints(field))
    bits = np.array(integers, np.uint64).astype(_BITS.get(dtype, dtype))
    return decode(bits.tobytes(), dtype)


def _varints(packed: memoryview) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _varint(data, at: int) -> tuple[int, int]:
    """Returns the unsigned 64-bit integer that starts at `at`, and the position of its end."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("its graph is truncated or damaged")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise ValueError("its graph is damaged: an integer of over ten bytes")


def _fields(data) -> Iterator[tuple[int, int | memoryview]]:
    """Yields the number of each field of a message, and its value as an integer or as bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"its graph is damaged: there is no wire type {wire}")
        if not number or size > len(data) - at:
            raise ValueError("its graph is truncated or damaged")
        yield number, data[at : at + size]
        at += size


def _messages(value) -> Iterator[tuple[int, int | memoryview]]:
    return _fields(_bytes(value))


def _bytes(value):
    """Returns the value of a field that must hold bytes; raises an error if it is an integer."""
    if isinstance(value, int):
        raise ValueError("its graph is damaged: a field of bytes holds an integer")
    return value
