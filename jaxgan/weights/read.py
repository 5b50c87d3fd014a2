"""Any weight file to arrays, by what is in it and not by what it is called."""

import hashlib
from pathlib import Path

import numpy as np

from jaxgan.weights import graphdef, npz, safetensors, torch_stream, torch_zip
from jaxgan.weights.archive import Zip, member_of_tar

TAR, TORCH, NPZ = "a gzipped tar archive", "a PyTorch file", "an npz archive"
SAFETENSORS, GRAPH = "a safetensors file", "a frozen TensorFlow graph"


# The kinds in which no publisher here gives weights: such a file is somebody's own conversion.
UNPUBLISHED = (NPZ, SAFETENSORS)


def kind_of_file(path: str | Path) -> str:
    """What a file is, by its content: "a PyTorch file", "an npz archive", ... or "damaged"."""
    try:
        return kind_of(bytes_of_file(path))
    except ValueError:
        return "damaged"


def load_file(path: str | Path) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of a file that is nobody's published one, and its SHA-256.

    Args:
      path: a PyTorch, TorchScript, safetensors or npz file or a frozen TensorFlow graph. Nothing
        in it is executed.

    Returns:
      ({tensor name: read-only array}, 64 hexadecimal digits).
    """
    data = bytes_of_file(path)
    return read(data, str(path)), hashlib.sha256(data).hexdigest()


def bytes_of_file(path: str | Path) -> bytes:
    """What is in a file, all of it at once: what is hashed is then what is read."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    return path.read_bytes()


def read(data: bytes, where: str, member: str = "") -> dict[str, np.ndarray]:
    """The tensors of a file's bytes by their names, as read-only arrays.

    bfloat16 comes back as float32. `member` is the frozen graph to read in a tar archive.

    Raises:
      ValueError: with `where` and what is wrong with it, whatever the bytes are.
    """
    try:
        kind = kind_of(data)
        if kind == TAR:
            if not member:
                raise ValueError("it is an archive; unpack it and give the file in it")
            data = member_of_tar(data, member)
            kind = GRAPH
        tensors = _READERS[kind](data) if kind in _READERS else None
    except ValueError as error:
        raise ValueError(f"{where} cannot be read: {error}") from error
    except Exception as error:  # whatever damaged bytes lead the readers to
        text = f"{where} cannot be read: it is damaged ({type(error).__name__}: {error})"
        raise ValueError(text) from error
    if tensors is None:
        raise ValueError(f"{where} holds no weights: it is {kind}")
    if not tensors:
        raise ValueError(f"{where} holds no tensors")
    for tensor in tensors.values():  # Some share their memory, with each other or with the file.
        tensor.flags.writeable = False
    return tensors


def kind_of(data: bytes) -> str:
    """What the bytes are, by their first ones: "a PyTorch file", "a web page", ...

    >>> kind_of(b"<!DOCTYPE html><title>404"), kind_of(b"")
    ('a web page', 'empty')
    """
    if not data:
        return "empty"
    if data.startswith(b"\x1f\x8b"):
        return TAR
    if data.startswith(b"PK\x03\x04"):
        names = Zip(data).names()
        if any(torch_zip.is_data(name) for name in names):
            return TORCH
        return NPZ if any(name.endswith(".npy") for name in names) else "some other zip archive"
    if torch_stream.is_stream(data):
        return TORCH
    if safetensors.is_safetensors(data):
        return SAFETENSORS
    if data[:1024].lstrip(b"\xef\xbb\xbf\t\n\r ").startswith(b"<"):
        return "a web page"
    if data.startswith(b"\x80"):
        return "a pickle that PyTorch did not write"
    if data.startswith(b"\n"):  # field 1, of bytes: a graph's first node
        return GRAPH
    return "of no known kind"


def _torch(data: bytes) -> dict[str, np.ndarray]:
    reader = torch_stream if torch_stream.is_stream(data) else torch_zip
    return reader.read(data)


_READERS = {
    TORCH: _torch,
    NPZ: npz.read,
    SAFETENSORS: safetensors.read,
    GRAPH: graphdef.read,
}
