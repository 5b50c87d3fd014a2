"""A reader of pickles of whole PyTorch modules, as NVIDIA's programs write them, without running the code in them.

Such a file is a plain pickle of nested objects. Those of PyTorch modules have their tensors in `_parameters` and
`_buffers`, and the modules inside them in `_modules`. The bytes of each storage are a stream of `torch.save` inside the
pickle.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxgan.weights import pickles, torch_stream
from jaxgan.weights.archive import most_unpacked
from jaxgan.weights.pickles import Storage, Tensor
from jaxgan.weights.tensors import arrays_of

Setting = int | float | str | bool | None
# A pickle may contain an object many times, or inside itself.
_DEEPEST, _MOST_MODULES = 32, 100_000


def read(data: bytes, where: str) -> tuple[dict[str, np.ndarray], dict[str, Setting]]:
    """({name: tensor}, {name: attribute that is a number or text}) of all modules in a dict of modules.

    Names are those of a state dict after the key of the module: "G_ema.mapping.fc0.weight".

    Raises:
      ValueError: the bytes cannot be read, for whatever reason; the message names `where` and the reason.
    """
    raw: dict[str, memoryview] = {}

    def storage_of(content: bytes) -> Storage:
        inner, found = torch_stream.parse(content)
        if not isinstance(inner, Storage):
            raise ValueError("its storages are not storages")
        key = str(len(raw))
        raw[key] = found[inner.key]
        return inner._replace(key=key)

    try:
        tree = pickles.load(io.BytesIO(data), modules=storage_of)
        tensors, settings = {}, {}
        for name, value in _attributes(tree):
            if isinstance(value, Tensor):
                tensors[name] = value
            else:
                settings[name] = value
        arrays = arrays_of(tensors, lambda storage: raw[storage.key], most_unpacked(len(data)))
    except ValueError as error:
        raise ValueError(f"{where} cannot be read: {error}") from error
    except Exception as error:  # damaged bytes can raise any error
        text = f"{where} cannot be read: it is damaged ({type(error).__name__}: {error})"
        raise ValueError(text) from error
    return arrays, settings


def is_pickle(data: bytes) -> bool:
    """Whether the data start like a pickle that is no stream of `torch.save`."""
    return (
        data[:1] == b"\x80"
        and data[1:2] in b"\x02\x03\x04\x05"
        and not torch_stream.is_stream(data)
    )


def _attributes(tree: Any) -> Iterator[tuple[str, Tensor | Setting]]:
    """(name, value) of the tensors and plain attributes of all modules below a dict of modules."""
    named = tree.items() if isinstance(tree, dict) else ()
    below = [(str(name), part, 0) for name, part in named if _is_module(part)]
    if not below:
        raise ValueError(
            "it holds no PyTorch modules by name; files of NVIDIA's TensorFlow programs must first be converted by"
            " their legacy.py"
        )
    visited = 0
    while below:
        path, module, depth = below.pop()
        visited += 1
        if depth == _DEEPEST or visited > _MOST_MODULES:
            raise ValueError("its modules are nested too deeply")
        for name, value in module.items():
            if isinstance(value, Setting):
                yield f"{path}.{name}", value
        for kind in ("_parameters", "_buffers"):
            for name, value in module.get(kind, {}).items():
                if isinstance(value, Tensor):
                    yield f"{path}.{name}", value
        below += [
            (f"{path}.{name}", part, depth + 1)
            for name, part in module["_modules"].items()
            if _is_module(part)
        ]


def _is_module(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("_modules"), dict)
