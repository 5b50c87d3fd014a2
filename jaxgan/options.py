"""Options: frozen dataclasses whose fields declare their meaning and their allowed values.

    @dataclasses.dataclass(frozen=True)
    class Options:
        batch_size: int = option(64, "real images of one critic step", least=1)
        optimizer: str = option("adam", "optimiser of the networks", choices=("adam", "rmsprop"))

A subclass may change a default by a plain `batch_size: int = 32`; meaning and limits stay. Values may be tuples.
A group of options is a dataclass in a field of another one; its fields have dotted names ("augmentation.p"). `check`
validates the values, `override` changes them by name, from text or Python values, and `describe` lists them for help
texts.

An invalid value raises an `OptionError`. It stores the names of options, so that a command line can replace them by
its flags. Names are relative to the section of an option; a name that starts with one of `SECTIONS`
("data.resolution") is complete.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import dataclasses
import difflib
import functools
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self

SECTIONS = ("model", "data", "train", "seed", "pictures")
MOST_WHOLE = 2**31 - 1  # of options without a limit of their own: programs count in int32
# Larger networks are mistakes, which would not be found before they have taken all memory or hours of tracing.
MOST_COMPONENTS, MOST_LAYERS = 2**16, 1000  # of a latent vector; of layers or blocks
MOST_SIDE = 2**13  # of pictures, in pixels
MOST_FLAGS = 8  # more options of one group are listed by their names alone
# Options of data sources that say where the data are stored: they may change after training.
PLACES = ("path", "table", "data_dir")

# Option name -> the flag that sets it, or None where there is none.
Flag = Callable[[str], str | None]


class OptionError(ValueError):
    """An invalid value of an option.

    Attributes:
      option: its name; None if the error is in several options together, or in the data.
      value: the invalid value.
      problem: what is wrong with it. It follows "OPTION is VALUE, but"; if `option` is None, it is a whole clause.
      fixes: alternative fixes, each a dict {option: value} of changes to make together.
      lead: words that introduce the fixes after the problem; they are left out where no fix has a flag.
      origin: the file that the value comes from, if any.

    >>> str(OptionError("heads", 3, "it must divide the width of 16", {"heads": 4}, {"width": 15}))
    'heads is 3, but it must divide the width of 16: set heads=4 or width=15.'
    """

    def __init__(
        self,
        option: str | None,
        value: Any,
        problem: str,
        *fixes: Mapping[str, Any],
        lead: str = "",
    ):
        super().__init__(option, value, problem, *fixes)
        self.option, self.value, self.problem, self.fixes = option, value, problem, fixes
        self.lead, self.origin = lead, ""

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self, flag: Flag | None = None, assign: Callable[[str], str] = str) -> str:
        """The error in one sentence.

        Args:
          flag: maps an option to the flag that sets it. Fixes with an option that has no flag are left out. If None,
            options keep their own names.
          assign: formats "NAME=VALUE" for the reader, for example with the quotation marks of a shell.
        """
        written, flag = text if flag else _python, flag or str
        ways = [
            " and ".join(assign(f"{flag(name)}={written(value)}") for name, value in fix.items())
            for fix in self.fixes
            if all(flag(name) for name in fix)
        ]
        fix = f"{self.lead}: set {' or '.join(ways)}" if ways else ""
        if self.option is None:
            return f"{self.problem}{fix}."
        return (
            f"{self._subject(self.option, flag)} is {_shown(self.value)}, but {self.problem}{fix}."
        )

    def _subject(self, option: str, flag: Flag) -> str:
        if self.origin:
            return f"{option} in {self.origin}"
        return flag(option) or option

    def changed(self, **attributes: Any) -> Self:
        """The same error with other attributes, as a new one with the same traceback."""
        error = copy.copy(self)
        error.__dict__.update(attributes)
        return error.with_traceback(self.__traceback__)

    def about(self, subject: str) -> Self:
        """The error as one of `subject`, for a reader who does not know the option.

        >>> str(OptionError("path", "x", "there is no such file", {"path": "FILE"}).about("the set x"))
        'the set x: there is no such file: set path=FILE.'
        """
        return self.changed(option=None, problem=f"{subject}: {self.problem}")

    def in_words(self, form: str = "{}") -> Self:
        """The error with the values of its fixes in words, for options that have no flag; `form` formats each value.

        >>> str(OptionError("name", "cifar01", "there is no such set", {"name": "cifar10"}).in_words())
        "name is 'cifar01', but there is no such set; the nearest is cifar10."
        """
        near = [form.format(value) for fix in self.fixes for value in fix.values()]
        words = f"; the nearest is {' or '.join(near)}" if near else ""
        return self.changed(problem=f"{self.problem}{words}", fixes=())

    def __reduce__(self):
        # The default calls the class with `args`, which are those of this class, not of one with other arguments.
        return _rebuilt, (type(self), self.args, self.__dict__)

    def move(self, section: str, origin: str = "") -> None:
        """Completes the names that are relative to a section."""
        if self.option is not None:
            self.option = _absolute(self.option, section)
        self.fixes = tuple(
            {_absolute(name, section): value for name, value in fix.items()} for fix in self.fixes
        )
        self.origin = self.origin or origin


def _rebuilt(cls: type[OptionError], args: tuple, attributes: dict[str, Any]) -> OptionError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(attributes)
    return error


class UnknownOption(OptionError):
    """The name of an option that does not exist.

    Attributes:
      known: the names of those that do.
      module: the model or data source that does not have it, if the option is one of others.
      owners: these others.
      chooser: the option that chooses the model or source; "" if its value is not to be changed.

    >>> str(UnknownOption("batchsize", ["batch_size", "beta1"]))
    'there is no option batchsize; did you mean batch_size?'
    """

    option: str

    def __init__(self, option: str, known: Iterable[str], value: Any = None):
        super().__init__(option, value, "there is no such option")
        self.known = tuple(known)
        self.module, self.owners, self.chooser = "", (), ""

    def sentence(self, flag: Flag | None = None, assign: Callable[[str], str] = str) -> str:
        flag = flag or str
        names = [name for name in self.known if flag(name)]
        # The name of an option of another module is no misspelling, unless it is very similar to one of this module.
        close = _nearest(self.option, names, 0.75 if self.owners else 0.6)
        if self.owners and not close:
            return self._of_others(flag)
        group = self.option.rpartition(".")[0]
        inside = [name for name in names if group and name.rpartition(".")[0] == group]
        listed = ", ".join(flag(name) or name for name in inside or names)
        if inside and len(inside) > MOST_FLAGS:
            listed = ", ".join(name.rpartition(".")[2] for name in inside)
        hint = f"there are {listed}." if names else "there are none here; leave it out."
        hint = f"did you mean {flag(close)}?" if close else hint
        return f"there is no option {self._subject(self.option, flag)}; {hint}"

    def _of_others(self, flag: Flag) -> str:
        more = f" and {len(self.owners) - 3} more" if len(self.owners) > 3 else ""
        which = self.owners[0] if len(self.owners) == 1 else "one of these"
        chooser = flag(self.chooser) if self.chooser else None
        return (
            f"{self._subject(self.option, flag)} is an option of {', '.join(self.owners[:3])}{more}, not of"
            f" {self.module}; leave it out{f', or choose {which} by {chooser}' if chooser else ''}."
        )

    def move(self, section: str, origin: str = "") -> None:
        super().move(section, origin)
        self.known = tuple(_absolute(name, section) for name in self.known)


def _absolute(name: str, section: str) -> str:
    known = name.partition(".")[0] in SECTIONS
    return name if known or not section else f"{section}.{name}"


def _nearest(name: str, known: list[str], cutoff: float) -> str | None:
    """The known name to suggest, if one is similar; `cutoff` as of `difflib`."""
    section, _, last = name.rpartition(".")
    # The most common mistake is a correct name in the wrong section.
    same = [k for k in known if k.rpartition(".")[2] == last]
    inside = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == section}
    close = [inside[k] for k in difflib.get_close_matches(last, inside, 1, cutoff)]
    close = same or close or ([] if inside else difflib.get_close_matches(name, known, 1, cutoff))
    return close[0] if close else None


@contextlib.contextmanager
def section(name: str, origin: str = "") -> Iterator[None]:
    """Context for code that names the options of a section by relative names; completes the names in its errors.

    Args:
      name: of the section.
      origin: the file that the values come from.
    """
    try:
        yield
    except OptionError as error:
        error.move(name, origin)
        raise


@dataclasses.dataclass(frozen=True)
class Option:
    """The declaration of an option.

    Attributes:
      default: its value unless it is set.
      meaning: a short description, with the unit.
      least, most: inclusive limits, of every number in a tuple.
      above, below: exclusive limits.
      choices: the allowed values, if they can be listed.
      empty: whether a tuple may be empty.
      kind: its type annotation; the type of the default if None.
    """

    default: Any
    meaning: str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple = ()
    empty: bool = False
    kind: Any = None

    def __post_init__(self):
        if self.kind is None:
            object.__setattr__(self, "kind", type(self.default))

    @property
    def words(self) -> str:
        """The type, in words."""
        return _words(self.kind)

    @property
    def allowed(self) -> str:
        """The allowed values, in words; "" if the type has no further limits.

        >>> Option(0.5, "a share", least=0, below=1).allowed
        'at least 0, below 1'
        """
        if self.choices:
            return f"one of {', '.join(map(_shown_choice, self.choices))}"
        if self.least is not None and self.most is not None:
            return f"from {_limit(self.least)} to {_limit(self.most)}"
        limits = (
            ("at least", self.least),
            ("above", self.above),
            ("at most", self.most),
            ("below", self.below),
        )
        return ", ".join(f"{words} {_limit(limit)}" for words, limit in limits if limit is not None)

    def coerce(self, value: Any, name: str) -> Any:
        """Converts `value`, text or a value of a config file, to the option's type, and checks its limits."""
        try:
            found = _coerce(value, self.kind)
        except (ValueError, TypeError, OverflowError):
            raise OptionError(
                name, value, f"it must be {_words(self.kind, 'a ')}", {name: self.default}
            ) from None
        self.check(found, name)
        return found

    def check(self, value: Any, name: str) -> None:
        """Raises an `OptionError` unless `value`, which must be of the option's type, is allowed."""
        leaves = _leaves_of(value)
        if not leaves and not self.empty:
            raise OptionError(name, value, "it needs at least one number", {name: self.default})
        for leaf in leaves:
            if isinstance(leaf, float) and not math.isfinite(leaf):
                raise OptionError(name, value, "it must be finite", {name: self.default})
            if isinstance(leaf, int) and self.most is None and abs(leaf) > MOST_WHOLE:
                problem = f"whole numbers are at most {MOST_WHOLE}"
                raise OptionError(name, value, problem, {name: self.default})
        if not all(map(self._allows, leaves)):
            raise OptionError(
                name, value, f"it must be {self.allowed}", {name: self._nearest(value)}
            )

    def _allows(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(value, str) or value is None:
            return True
        return not (
            (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )

    def _nearest(self, value: Any) -> Any:
        """The allowed value to suggest instead of `value`."""
        near = self._near(value)
        if isinstance(value, tuple):
            # A number without a nearest one becomes the default, which may be a tuple itself.
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                if _coerce(near, self.kind) == near and all(map(self._allows, _leaves_of(near))):
                    return near
            return self.default
        return near

    def _near(self, value: Any) -> Any:
        """`value` with each number replaced by the nearest allowed one, or by the default if there is none."""
        if isinstance(value, tuple):
            return tuple(map(self._near, value))
        if self._allows(value):
            return value
        if self.choices and isinstance(value, str):
            names = [choice for choice in self.choices if isinstance(choice, str)]
            close = difflib.get_close_matches(value, names, 1)
            return close[0] if close else self.default
        if self.choices:
            return min(self.choices, key=lambda choice: abs(choice - value))
        for limit, over in ((self.least, -1), (self.most, 1)):
            if limit is not None and (value - limit) * over > 0:
                return type(value)(limit)
        return self.default


def option(default: Any, meaning: str, **limits: Any) -> Any:
    """A field of a dataclass of options, with the limits of `Option`."""
    return dataclasses.field(
        default=default, metadata={"option": Option(default, meaning, **limits)}
    )


def declared(cls: type) -> Mapping[str, Option]:
    """{field: its declaration} of a dataclass of options: the declaration of the nearest base class, with the default
    of the class itself."""
    return _declared(cls)


@functools.cache
def _declared(cls: type) -> Mapping[str, Option]:
    hints, found = typing.get_type_hints(cls), {}
    for field in dataclasses.fields(cls):
        described = next(
            (
                fields[field.name].metadata["option"]
                for fields in (
                    base.__dict__.get("__dataclass_fields__", {}) for base in cls.__mro__
                )
                if field.name in fields and "option" in fields[field.name].metadata
            ),
            Option(None, ""),
        )
        default = None if field.default is dataclasses.MISSING else field.default
        found[field.name] = dataclasses.replace(described, default=default, kind=hints[field.name])
    return types.MappingProxyType(found)


class Row(NamedTuple):
    """An option in a help text: `value` is its current value, `default` its own default."""

    name: str
    kind: str
    value: Any
    default: Any
    allowed: str
    meaning: str


def describe(options: Any) -> tuple[Row, ...]:
    """All options, those of a group under dotted names.

    Args:
      options: a dataclass of options, or {name: `Option`}.
    """
    leaves = (
        ((name, found, found.default) for name, found in options.items())
        if isinstance(options, Mapping)
        else _walk(options)
    )
    return tuple(
        Row(name, found.words, value, found.default, found.allowed, found.meaning)
        for name, found, value in leaves
    )


def _walk(options: Any, own: Any = None, prefix: str = "") -> Iterator[tuple[str, Option, Any]]:
    """(dotted name, declaration with its default, value) of every option; `own` holds the defaults of a group."""
    for name, found in declared(type(options)).items():
        value = getattr(options, name)
        default = found.default if own is None else getattr(own, name)
        if dataclasses.is_dataclass(value):
            same = default if type(default) is type(value) else None
            yield from _walk(value, same, f"{prefix}{name}.")
        elif not found.meaning:
            kind = getattr(found.kind, "__name__", found.kind)
            raise TypeError(
                f"{type(options).__qualname__}.{name} is not declared as an option: write"
                f' {name}: {kind} = option({value!r}, "what it means").'
            )
        else:
            yield f"{prefix}{name}", dataclasses.replace(found, default=default), value


def check(options: Any) -> None:
    """Raises an `OptionError` for the first option whose value has another type or is outside its limits."""
    for name, found, value in _walk(options):
        # A value that needs conversion, such as text for a number, is invalid here.
        if found.coerce(value, name) != value:
            raise OptionError(
                name, value, f"it must be {_words(found.kind, 'a ')}", {name: found.default}
            )


def override(options: Any, changes: Mapping[str, Any]) -> Any:
    """`options` with other values, given by dotted name as text or as Python values.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Options:
    ...     sizes: tuple[int, ...] = option((8,), "pixels of each level", least=1)
    >>> override(Options(), {"sizes": "8,16"})
    Options(sizes=(8, 16))
    """
    for name, value in changes.items():
        options = _replaced(options, name.split("."), value, name, options)
    return options


def _replaced(options: Any, path: list[str], value: Any, name: str, whole: Any) -> Any:
    first, *rest = path
    found = declared(type(options))
    group = first in found and dataclasses.is_dataclass(getattr(options, first))
    # A group cannot be set as a whole, and a value has no fields.
    if first not in found or group != bool(rest):
        raise UnknownOption(name, (known for known, *_ in _walk(whole)), value)
    if not group:
        return dataclasses.replace(options, **{first: found[first].coerce(value, name)})
    new = _replaced(getattr(options, first), rest, value, name, whole)
    return dataclasses.replace(options, **{first: new})


def complete(given: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, Any]:
    """The given values, converted to the types of their options, and the defaults of the other options.

    >>> complete({"psi": "0.7"}, {"psi": Option(1.0, "truncation"), "rows": Option(4, "rows", least=1)})
    {'psi': 0.7, 'rows': 4}
    """
    for name, value in given.items():
        if name not in options:
            raise UnknownOption(name, options, value)
    return {
        name: found.coerce(given[name], name) if name in given else found.default
        for name, found in options.items()
    }


def to_dict(options: Any) -> dict[str, Any]:
    """Nested dicts, with lists for tuples, which JSON and YAML can hold; `override` accepts them after `flatten`."""
    return {
        field.name: to_dict(value) if dataclasses.is_dataclass(value) else _listed(value)
        for field in dataclasses.fields(options)
        for value in [getattr(options, field.name)]
    }


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"steps": 3}} as {"train.steps": 3}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def text(value: Any) -> str:
    """A value as it is written on a command line.

    >>> text(True), text((1, 2)), text(((4, 16), (256, 14)))
    ('true', '1,2', '(4,16),(256,14)')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(f"({text(v)})" if isinstance(v, tuple) else text(v) for v in value)
    return "none" if value is None else str(value)


def _python(value: Any) -> str:
    """A value as it is written in Python, except that text has no quotation marks."""
    return repr(value) if isinstance(value, tuple) else text(value)


def _shown(value: Any) -> str:
    """A value in a sentence."""
    return (repr(value) if value else "empty") if isinstance(value, str) else _python(value)


def _limit(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown_choice(value: Any) -> str:
    return text(value) or "empty"


def _listed(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_listed(item) for item in value]
    # JSON and YAML hold no NumPy numbers.
    return value.item() if hasattr(value, "item") else value


def _leaves_of(value: Any) -> list:
    return [leaf for v in value for leaf in _leaves_of(v)] if isinstance(value, tuple) else [value]


def _coerce(value: Any, kind: Any) -> Any:
    """`value` as `kind`; raises ValueError, TypeError or OverflowError if it cannot be converted."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        for one in arguments:
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                return _coerce(value, one)
        raise ValueError
    if origin is tuple:
        return _coerce_tuple(value, arguments)
    if kind is bool:
        word = str(value).lower()
        if word not in _TRUTHS:
            raise ValueError
        return _TRUTHS[word]
    if kind is types.NoneType:
        if value not in (None, "none"):
            raise ValueError
        return None
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
        raise TypeError
    if kind is int and isinstance(value, numbers.Integral):
        return int(value)
    if kind is int and not (isinstance(value, str) and value.lstrip("+-").isdigit()):
        if float(value) != int(float(value)):
            raise ValueError
        return int(float(value))
    if kind is str and not isinstance(value, str):
        raise TypeError
    return kind(value)


def _coerce_tuple(value: Any, kinds: tuple) -> tuple:
    if isinstance(value, str):
        try:
            value = ast.literal_eval(f"({value},)" if value.strip() else "()")
        except (ValueError, SyntaxError):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        # The outer brackets of the tuple are optional.
        if len(value) == 1 and isinstance(value[0], tuple | list):
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                return _coerce_tuple(value[0], kinds)
    if not isinstance(value, tuple | list):
        raise TypeError
    kinds = kinds[:1] * len(value) if kinds[1:] == (...,) else kinds
    if len(kinds) != len(value):
        raise ValueError
    return tuple(_coerce(item, kind) for item, kind in zip(value, kinds, strict=True))


_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_NAMES = {int: "whole number", float: "number", bool: "true or false", str: "text"}


def _words(kind: Any, article: str = "") -> str:
    """A type in words.

    >>> _words(int | tuple[tuple[int, float], ...], "a ")
    'a whole number or a tuple of (whole number, number)'
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(one, article) for one in arguments)
    if origin is tuple and arguments[1:] == (...,):
        inner = _words(arguments[0])
        plural = f"{inner}s" if inner.endswith("number") else inner
        return f"{article}tuple of {plural}"
    if origin is tuple:
        return f"({', '.join(map(_words, arguments))})"
    if kind is types.NoneType:
        return "none"
    return _NAMES[kind] if kind in (bool, str) else article + _NAMES[kind]
