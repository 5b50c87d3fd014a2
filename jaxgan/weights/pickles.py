"""A pickle machine that can build a state dict and nothing else.

A pickle is a program: it may import any function by name and call it. Here its instructions are
only taken apart (`pickletools.genops` runs none), those that a state dict needs are carried out by
the code below, and everything that it names is looked up in the tables below and never imported.
An instruction or a name that is not there refuses the file.
"""

import pickletools
from collections.abc import Callable, Iterator
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
    """A run of numbers that lies elsewhere in the file."""

    key: str
    dtype: str
    size: int  # numbers


class Tensor(NamedTuple):
    """A view of a storage, in numbers and not in bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Record(dict):
    """The attributes of an object of a TorchScript class, without the class."""


class _Name(NamedTuple):
    """What a pickle may name: a function to build with, a storage's dtype, or a TorchScript class."""

    build: Callable | None = None
    dtype: str = ""
    is_record: bool = False


def _tensor(storage, offset, shape, strides, *_) -> Tensor:
    return Tensor(storage, offset, shape, strides)


def _first(value, *_):
    return value


def _ordered_dict(items: list | None = None) -> dict:
    """An empty dict, or as Python 2 writes it, one of (key, value) pairs.

    The pairs are moved and not copied, or a short pickle could copy a long list over and over.
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
# Numbers and texts as pickletools decodes them.
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(file: BinaryIO, records: bool = False, storages: dict[str, Storage] | None = None) -> Any:
    """What the pickle at the file's position builds; the file is left where the pickle ends.

    Args:
      file: read as far as the pickle's STOP.
      records: whether it may hold objects of TorchScript classes; they become `Record`s.
      storages: filled with every storage that it refers to, by key.

    Returns:
      Dicts, lists, tuples, numbers and texts, with a `Tensor` for every tensor.
    """
    try:
        return _run(file, records, {} if storages is None else storages)
    except _Refused as refused:
        raise ValueError(str(refused)) from None
    except Exception as error:  # an empty stack, a missing memo, an unhashable key, ...
        raise ValueError(f"its pickle is truncated or damaged ({error})") from error


class _Refused(Exception):
    """The pickle asks for something that no weights need."""


def _run(file: BinaryIO, records: bool, storages: dict[str, Storage]):
    stack: list = []
    marked: list[list] = []  # the stacks below each mark
    memo: dict[int, Any] = {}
    operations: Iterator[tuple[pickletools.OpcodeInfo, Any, Any]] = pickletools.genops(file)
    for opcode, argument, _ in operations:
        name = opcode.name
        if name in _LITERALS:
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
            stack.append(_named(argument.split(" ", 1), records))
        elif name == "STACK_GLOBAL":
            stack.append(_named(_pop(stack, 2), records))
        elif name == "BINPERSID":
            storage = _storage(stack.pop())
            storages[storage.key] = storage
            stack.append(storage)
        elif name in ("REDUCE", "NEWOBJ", "BUILD"):
            target, argument = _pop(stack, 2)
            stack.append(_BUILD[name](target, argument))
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise _Refused(
                f"its pickle has the instruction {name}, which no weights need; nothing of it was run"
            )


def _pop(stack: list, count: int) -> list:
    if len(stack) < count:
        raise IndexError("its stack is empty")
    items = stack[-count:]
    del stack[-count:]
    return items


def _gather(name: str, stack: list, items: list) -> None:
    """Makes a tuple of `items`, or adds them to the list or dict on the stack."""
    if name == "TUPLE":
        stack.append(tuple(items))
    elif name == "APPENDS":
        stack[-1].extend(items)
    else:
        stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _named(path: list[str], records: bool) -> _Name:
    """What [module, name] stand for."""
    module, name = path
    if (module, name) in _BUILDERS:
        return _Name(build=_BUILDERS[module, name])
    if module in ("torch", "torch.cuda") and name in STORAGES:
        return _Name(dtype=STORAGES[name])
    if records and module.split(".")[0] == "__torch__":
        return _Name(is_record=True)
    raise _Refused(
        f"its pickle asks for {module}.{name}, which no weights need and which may hide code; "
        "nothing of it was run"
    )


def _storage(reference: tuple) -> Storage:
    """The storage that ("storage", type, key, device, numbers[, view]) refers to."""
    kind, name, key, _, size, *view = reference
    if kind != "storage" or not name.dtype or type(size) is not int:
        raise TypeError(f"a reference to a {kind}")
    if any(view):
        raise _Refused("its storages are views of each other, which is not read here")
    return Storage(str(key), name.dtype, size)


def _reduce(function: _Name, arguments: tuple):
    build: Any = function.build  # None has no call either: `load` says that the file is damaged
    return build(*arguments)


def _new(name: _Name, arguments: tuple) -> Record:
    if not name.is_record or arguments:
        raise TypeError("an object of no TorchScript class")
    return Record()


def _set_state(target, state):
    """Sets the attributes of a record; those of other objects, such as dicts, are left out."""
    if isinstance(target, Record):
        target.update(state)
    return target


_BUILD: dict[str, Callable[[Any, Any], Any]] = {
    "REDUCE": _reduce,
    "NEWOBJ": _new,
    "BUILD": _set_state,
}
