"""A reader of PyTorch's zip archives: those of `torch.save` since PyTorch 1.6, and TorchScript's.

A folder of any name contains data.pkl, one file data/<key> for each storage and, in newer archives,
byteorder. A TorchScript archive also contains code/ and constants.pkl. Its data.pkl describes the
module as an object of a class in that code. The reader ignores the code, as the names of the attributes
are those of the state dict.
"""

import io

import numpy as np

from jaxgan.weights import pickles
from jaxgan.weights.archive import Zip
from jaxgan.weights.tensors import arrays_of


def read(data: bytes, skip_objects: bool = False) -> dict[str, np.ndarray]:
    """Returns every tensor by its name in the state dict; names in nested dicts are joined by dots.

    With `skip_objects` the file may hold objects of other classes, which are left out.
    """
    archive = Zip(data)
    roots = [name.removesuffix("data.pkl") for name in archive.names() if is_data(name)]
    if len(roots) != 1:
        raise ValueError("its zip archive has more than one data.pkl")
    root = roots[0]
    order = f"{root}byteorder"
    if order in archive.names() and archive.read(order) != b"little":
        raise ValueError("its numbers are big-endian, which is not supported")
    scripted = f"{root}constants.pkl" in archive.names()
    skip_objects = skip_objects and not scripted
    program = io.BytesIO(archive.read(f"{root}data.pkl"))
    tree = pickles.load(program, records=scripted, skip_objects=skip_objects)
    return arrays_of(tree, lambda storage: archive.read(f"{root}data/{storage.key}"), archive.most)


def is_data(name: str) -> bool:
    """Whether `name` is that of the pickle of a PyTorch archive."""
    return name.split("/")[1:] == ["data.pkl"]
