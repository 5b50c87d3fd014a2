"""A reader of NumPy's npz archives that rejects the pickles they may contain."""

import io

import numpy as np

from jaxgan.weights.archive import Zip
from jaxgan.weights.numbers import shape_of, shaped

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read(data: bytes) -> dict[str, np.ndarray]:
    """Returns every numeric array by its name; skips arrays of strings."""
    archive = Zip(data)
    arrays = {
        name.removesuffix(".npy"): _array(name, archive.read(name))
        for name in archive.names()
        if name.endswith(".npy")
    }
    return {name: array for name, array in arrays.items() if array is not None}


def _array(name: str, data: memoryview) -> np.ndarray | None:
    # Not `np.load`, which allocates memory for whatever shape a header states.
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its array {name} has the unknown version {version}")
    shape, fortran_order, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError(
            f"its array {name} holds Python objects, which need pickle to be read; "
            "no code in it was run"
        )
    if dtype.kind not in "biufc":
        return None
    numbers = data[file.tell() :]
    return shaped(name, numbers, dtype.str, shape_of(shape), "F" if fortran_order else "C")
