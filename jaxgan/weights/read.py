"""Reads weight files of all supported kinds; the content determines the kind, not the file name."""

import functools
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from jaxgan.weights import npz, torch_stream, torch_zip
from jaxgan.weights.archive import Zip
from jaxgan.weights.numbers import BFLOAT16, shaped

TORCH, NPZ, SAFETENSORS = "a PyTorch file", "an npz archive", "a safetensors file"

# Kinds that no file in `PUBLISHED` has: such a file is a user's own conversion.
UNPUBLISHED = (NPZ, SAFETENSORS)


def kind_of_file(path: str | Path) -> str:
    """Returns the kind of a file by its content: "a PyTorch file", "an npz archive", ... or "damaged"."""
    try:
        return kind_of(bytes_of_file(path))
    except ValueError:
        return "damaged"


def load_file(path: str | Path) -> tuple[dict[str, np.ndarray], str]:
    """Loads the tensors of a file that is not in `PUBLISHED`, and computes its SHA-256.

    Args:
      path: a PyTorch, TorchScript, safetensors or npz file. No code in it is executed.

    Returns:
      ({tensor name: read-only array}, 64 hexadecimal digits).
    """
    data = bytes_of_file(path)
    return read(data, str(path)), hashlib.sha256(data).hexdigest()


def bytes_of_file(path: str | Path) -> bytes:
    """Reads a whole file at once, so that the bytes that are hashed are those that are parsed."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    return path.read_bytes()


def read(data: bytes, where: str, skip_objects: bool = False) -> dict[str, np.ndarray]:
    """Parses the bytes of a weight file into read-only arrays by tensor name.

    bfloat16 is converted to float32.

    Args:
      data: the bytes.
      where: the file, for messages.
      skip_objects: whether a PyTorch file may hold objects of other classes beside its tensors, as checkpoints of
        training programs do; they are left out, and nothing in them is executed. Otherwise they raise an error.

    Raises:
      ValueError: the bytes cannot be read, for whatever reason; the message names `where` and the reason.
    """
    readers: dict[str, Callable[[bytes], dict[str, np.ndarray]]] = {
        TORCH: functools.partial(_torch, skip_objects=skip_objects),
        NPZ: npz.read,
        SAFETENSORS: _safetensors,
    }
    try:
        kind = kind_of(data)
        tensors = readers[kind](data) if kind in readers else None
    except ValueError as error:
        raise ValueError(f"{where} cannot be read: {error}") from error
    except Exception as error:  # damaged bytes can raise any error in the readers
        text = f"{where} cannot be read: it is damaged ({type(error).__name__}: {error})"
        raise ValueError(text) from error
    if tensors is None:
        raise ValueError(
            f"{where} holds no weights: it is {kind}, not {TORCH}, {SAFETENSORS} or {NPZ}"
        )
    if not tensors:
        raise ValueError(f"{where} holds no tensors")
    for tensor in tensors.values():  # Some share memory with each other or with the file.
        tensor.flags.writeable = False
    return tensors


def kind_of(data: bytes) -> str:
    """Returns the kind of a file by its first bytes: "a PyTorch file", "a web page", ...

    >>> kind_of(b"<!DOCTYPE html><title>404"), kind_of(b"")
    ('a web page', 'empty')
    """
    if not data:
        return "empty"
    if data.startswith(b"\x1f\x8b"):
        return "a gzipped file"
    if data.startswith(b"PK\x03\x04"):
        names = Zip(data).names()
        if any(torch_zip.is_data(name) for name in names):
            return TORCH
        return NPZ if any(name.endswith(".npy") for name in names) else "some other zip archive"
    if torch_stream.is_stream(data):
        return TORCH
    if _is_safetensors(data):
        return SAFETENSORS
    if data[:1024].lstrip(b"\xef\xbb\xbf\t\n\r ").startswith(b"<"):
        return "a web page"
    if data.startswith(b"\x80"):
        return "a pickle that PyTorch did not write"
    if data.startswith(b"\n"):  # field 1, of bytes: a graph's first node
        return "a TensorFlow graph"
    return "of no known kind"


def _torch(data: bytes, skip_objects: bool) -> dict[str, np.ndarray]:
    reader = torch_stream if torch_stream.is_stream(data) else torch_zip
    return reader.read(data, skip_objects)


def _is_safetensors(data: bytes) -> bool:
    """Whether the data starts like a safetensors file: the length of a JSON header, then its brace."""
    if len(data) < 9:
        return False
    (length,) = struct.unpack_from("<Q", data)
    return data[8:9] == b"{" and 2 <= length <= max(len(data) - 8, 100_000_000)


# The NumPy reader of the safetensors package does not support bfloat16, so only its parser is used.
_SAFETENSORS_DTYPES = {
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


def _safetensors(data: bytes) -> dict[str, np.ndarray]:
    try:
        entries = deserialize(data)
    except SafetensorError as error:
        raise ValueError(f"it is damaged ({error})") from error
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS_DTYPES:
            raise ValueError(f"its tensor {name} has the unsupported dtype {entry['dtype']}")
        dtype, shape = _SAFETENSORS_DTYPES[entry["dtype"]], tuple(entry["shape"])
        tensors[name] = shaped(name, entry["data"], dtype, shape)
    return tensors
