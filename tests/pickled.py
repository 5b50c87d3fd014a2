"""Pickles of whole modules as NVIDIA's programs write them, with the code of the classes beside the attributes."""

import pickle
import sys
import types


class Persistent:
    """A module with parameters, buffers and modules inside it; the functions of the program make it when it is read."""

    def __init__(self, class_name, parameters=(), buffers=(), modules=(), **attributes):
        self.class_name = class_name
        self.state = {
            **attributes,
            "training": False,
            "_parameters": dict(parameters),
            "_buffers": dict(buffers),
            "_modules": dict(modules),
        }

    def __reduce__(self):
        meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise SystemExit('this code must not run')",
            "class_name": self.class_name,
            "state": self.state,
        }
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


def nested(tensors, buffers=(), **attributes):
    """A `Persistent` of {dotted name: tensor}; the tensors whose last names are in `buffers` are such."""
    own = {name: tensor for name, tensor in tensors.items() if "." not in name}
    inside = {}
    for name, tensor in tensors.items():
        first, dot, rest = name.partition(".")
        if dot:
            inside.setdefault(first, {})[rest] = tensor
    return Persistent(
        "Network",
        {name: tensor for name, tensor in own.items() if name not in buffers},
        {name: tensor for name, tensor in own.items() if name in buffers},
        {name: nested(part, buffers, **attributes) for name, part in inside.items()},
        **attributes,
    )


def write(path, content, monkeypatch):
    """Pickles `content` beside a stand-in for NVIDIA's package, which reading must not import."""

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the code in the pickle was called")

    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "torch_utils", package)
        context.setitem(sys.modules, "torch_utils.persistence", module)
        path.write_bytes(pickle.dumps(content))
