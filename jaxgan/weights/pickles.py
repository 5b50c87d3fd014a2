"""A pickle interpreter that can only build state dicts.

A pickle is a program: it may import any function by name and call it. This module only parses its
instructions (`pickletools.genops` executes none) and implements those that a state dict needs.
Names in a pickle are looked up in the tables below and never imported. An unsupported instruction
or name raises an error. Of a pickle of whole modules, where most names are unknown, the objects
become `Record`s of their attributes; of a checkpoint they may be left out as `Skipped`.
"""

import pickletools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from jaxgan.weights.numbers import BFLOAT16

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class Storage(NamedTuple):
    """A reference to consecutive numbers elsewhere in the file."""

    key: str
    dtype: str
    size: int  # in numbers, not bytes


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Record(dict):
    """The attributes of an object of a class that is not known here, without the class."""


class Skipped:
    """An object of a class that is not known here, without its arguments and contents."""

    def extend(self, items: Iterable) -> None:
        """Leaves out items that the pickle adds to a list or a set."""

    update = extend


class _Name(NamedTuple):
    """The meaning of a global name in a pickle: a builder, the dtype of a storage, or a class of records.

    An unknown name makes an object of `unknown`, with whatever arguments.
    """

    build: Callable | None = None
    dtype: str = ""
    is_record: bool = False
    unknown: type[Record] | type[Skipped] | None = None


def _tensor(storage, offset, shape, strides, *_) -> Tensor:
    return Tensor(storage, offset, shape, strides)


def _first(value, *_):
    return value


def _ordered_dict(items: list | None = None) -> dict:
    """Builds an empty dict or, as written by Python 2, a dict from a list of (key, value) pairs.

    It empties the list, so that a short pickle cannot copy a long list many times.
    """
    built = dict(items or ())
    if items:
        list.clear(items)
    return built


_BUILDERS: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch", "Size"): _first,
    ("torch._utils", "_rebuild_tensor"): _tensor,  # before PyTorch 0.4
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch.jit._pickle", "build_boollist"): _first,
    ("torch.jit._pickle", "build_doublelist"): _first,
    ("torch.jit._pickle", "build_intlist"): _first,
    ("torch.jit._pickle", "build_tensorlist"): _first,
    ("torch.jit._pickle", "restore_type_tag"): _first,
}

_PUSHES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
# Numbers and strings, which pickletools decodes.
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
}
# Further ones in pickles of objects of other classes: code as text, and storages.
_OBJECT_LITERALS = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINUNICODE8"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(
    file: BinaryIO,
    records: bool = False,
    storages: dict[str, Storage] | None = None,
    modules: Callable[[bytes], Storage] | None = None,
    skip_objects: bool = False,
) -> Any:
    """Builds the object of the pickle at the current position of the file.

    Args:
      file: read up to the end of the pickle, its STOP instruction.
      records: whether the pickle may contain objects of TorchScript classes, which become `Record`s.
      storages: a dict to which all referenced storages are added by key.
      modules: of a pickle of whole modules, the reader of a storage that is pickled as bytes. Objects of all classes
        and results of all functions that are not in the tables then become `Record`s.
      skip_objects: whether they become `Skipped` in a pickle of another kind, where they raise an error otherwise.

    Returns:
      Dicts, lists, tuples, numbers and strings, with a `Tensor` for every tensor.
    """
    try:
        return _run(file, records, {} if storages is None else storages, modules, skip_objects)
    except _Unsupported as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # an empty stack, a missing memo, an unhashable key, ...
        raise ValueError(f"its pickle is truncated or damaged ({error})") from error


class _Unsupported(Exception):
    """Raised when a pickle contains an instruction or a name that is not supported."""


def _run(
    file: BinaryIO,
    records: bool,
    storages: dict[str, Storage],
    modules: Callable | None,
    skip_objects: bool,
):
    unknown = Record if modules else Skipped if skip_objects else None
    stack: list = []
    marked: list[list] = []  # the stacks below each mark
    memo: dict[int, Any] = {}
    operations: Iterator[tuple[pickletools.OpcodeInfo, Any, Any]] = pickletools.genops(file)
    for opcode, argument, _ in operations:
        name = opcode.name
        if name in _LITERALS or (unknown and name in _OBJECT_LITERALS):
            stack.append(argument)
        elif name in _PUSHES:
            stack.append(_PUSHES[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            marked.append(stack)
            stack = []
        elif name in ("TUPLE", "APPENDS", "SETITEMS"):
            items, stack = stack, marked.pop()
            _gather(name, stack, items)
        elif name in _TUPLES:
            stack.append(tuple(_pop(stack, _TUPLES[name])))
        elif name in ("APPEND", "SETITEM"):
            items = _pop(stack, 1 if name == "APPEND" else 2)
            _gather(f"{name}S", stack, items)
        elif name == "GLOBAL":
            stack.append(_named(argument.split(" ", 1), records, modules, unknown))
        elif name == "STACK_GLOBAL":
            stack.append(_named(_pop(stack, 2), records, modules, unknown))
        elif name == "BINPERSID":
            storage = _storage(stack.pop())
            storages[storage.key] = storage
            stack.append(storage)
        elif name in ("REDUCE", "NEWOBJ", "BUILD"):
            target, argument = _pop(stack, 2)
            stack.append(_BUILD[name](target, argument))
        elif unknown and name == "EMPTY_SET":
            stack.append([])
        elif unknown and name == "ADDITEMS":
            items, stack = stack, marked.pop()
            stack[-1].extend(items)
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise _Unsupported(
                f"its pickle has the instruction {name}, which state dicts do not need; no code in it was run"
            )


def _pop(stack: list, count: int) -> list:
    if len(stack) < count:
        raise IndexError("its stack is empty")
    items = stack[-count:]
    del stack[-count:]
    return items


def _gather(name: str, stack: list, items: list) -> None:
    """Pushes a tuple of `items`, or adds them to the list or dict on top of the stack."""
    if name == "TUPLE":
        stack.append(tuple(items))
    elif name == "APPENDS":
        stack[-1].extend(items)
    else:
        stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _named(
    path: list[str],
    records: bool,
    modules: Callable | None,
    unknown: type[Record] | type[Skipped] | None,
) -> _Name:
    """Looks up the global name [module, name]; an unknown one raises unless there is a class `unknown` for it."""
    module, name = path
    if modules and (module, name) == ("torch.storage", "_load_from_bytes"):
        return _Name(build=modules)
    if modules and (module, name) == ("torch_utils.persistence", "_reconstruct_persistent_obj"):
        return _Name(build=_persistent)
    if (module, name) in _BUILDERS:
        return _Name(build=_BUILDERS[module, name])
    if module in ("torch", "torch.cuda") and name in STORAGES:
        return _Name(dtype=STORAGES[name])
    if unknown or (records and module.split(".")[0] == "__torch__"):
        return _Name(is_record=True, unknown=unknown)
    raise _Unsupported(
        f"its pickle refers to {module}.{name}, which state dicts do not need and which may run code; "
        "no code in it was run"
    )


def _storage(reference: tuple) -> Storage:
    """The storage of a reference ("storage", type, key, device, size[, view])."""
    kind, name, key, _, size, *view = reference
    if kind != "storage" or not name.dtype or type(size) is not int:
        raise TypeError(f"a reference to a {kind}")
    if any(view):
        raise _Unsupported("its storages are views of each other, which is not supported")
    return Storage(str(key), name.dtype, size)


def _persistent(meta: dict) -> Record:
    """An object of a class whose code is in the pickle beside its attributes, as NVIDIA's programs write it."""
    return Record(meta["state"])


def _reduce(function: _Name | Skipped, arguments: tuple):
    if isinstance(function, Skipped):
        return function
    if function.unknown:
        return function.unknown()
    build: Any = function.build  # if None, the call fails and `load` reports a damaged file
    return build(*arguments)


def _new(name: _Name | Skipped, arguments: tuple) -> Record | Skipped:
    if isinstance(name, Skipped):
        return name
    if not name.is_record or (arguments and not name.unknown):
        raise TypeError("an object that is not of a TorchScript class")
    return (name.unknown or Record)()


def _set_state(target, state):
    """Sets the attributes of a record; ignores those of other objects, such as dicts."""
    if isinstance(target, Record) and isinstance(state, dict):
        target.update(state)
    return target


_BUILD: dict[str, Callable[[Any, Any], Any]] = {
    "REDUCE": _reduce,
    "NEWOBJ": _new,
    "BUILD": _set_state,
}
