"""Tools: what a person makes with a trained game beside plain samples, such as a grid, a film, an edited picture.

A model file lists its tools in `Game.tools`, and `jaxgan make TOOL --workdir RUN` runs any of them: a tool needs no
code outside its model's. Those that models of one kind share are in `jaxgan.tools.latents` (latent spaces, styles),
`jaxgan.tools.codes` (autoencoders with a codebook) and `jaxgan.tools.pyramid` (networks that know one picture).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Option = int | float | str | bool


class Made(NamedTuple):
    """What a tool returns.

    Attributes:
      pictures: float [N, H, W, C] in [-1, 1].
      columns: of the grid that they are shown in; 0 makes it about square.
      film: the pictures are the frames of a film, in this order.
      numbers: what a person wants to be told.
      arrays: what may be used further (latents, codes): saved beside the pictures.
    """

    pictures: np.ndarray
    columns: int = 0
    film: bool = False
    numbers: Mapping[str, float] = {}
    arrays: Mapping[str, np.ndarray] = {}


@dataclasses.dataclass(frozen=True)
class Tool:
    """Something that a person makes with a trained game.

    Attributes:
      make: (play, **arguments) -> Made, with a `jaxgan.game.Play` of the trained networks, a key and the clock. The
        arguments are the options (all of them) and the pictures (those that are given), each a float32 [H, W, C] in
        [-1, 1]. It compiles what it needs itself, and is called outside of `jax.jit`.
      help: one line for the terminal.
      options: {name: default}.
      pictures: names of the pictures that it needs.
      optional_pictures: names of those that it can do without.
      channels: of its pictures; 0 for as many as the game's samples have.
    """

    make: Callable[..., Made]
    help: str
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    pictures: tuple[str, ...] = ()
    optional_pictures: tuple[str, ...] = ()
    channels: int = 0

    def __call__(
        self,
        play: Any,
        pictures: Mapping[str, np.ndarray] | None = None,
        /,
        **options: Option,
    ) -> Made:
        """Checks what is given, fills in the defaults, and makes."""
        pictures = dict(pictures or {})
        for name in self.pictures:
            if name not in pictures:
                raise ValueError(
                    f"there is no picture '{name}'; give it with --pictures.{name}=FILE."
                )
        check_names("picture", pictures, (*self.pictures, *self.optional_pictures), "--pictures.")
        return self.make(play, **pictures, **complete(options, self.options))


class Checked(dict):
    """Defaults of options with a check of their values: (**options) -> None, which raises for impossible ones.

    `complete` calls it, so that it sees numbers; an output is given tracers for its floats.
    """

    def __init__(self, defaults: Mapping[str, Option], check: Callable[..., None]):
        super().__init__(defaults)
        self.check = check


def complete(given: Mapping[str, Any], defaults: Mapping[str, Option]) -> dict[str, Option]:
    """The options given, each as the type of its default, and the defaults of the others; see `Checked`.

    >>> complete({"truncation": "0.7"}, {"truncation": 1.0, "columns": 4})
    {'truncation': 0.7, 'columns': 4}
    """
    check_names("option", given, tuple(defaults), "--options.")
    options = {name: _as(name, given.get(name, value), value) for name, value in defaults.items()}
    if isinstance(defaults, Checked):
        defaults.check(**options)
    return options


def at_least(least: int, **options: int) -> None:
    """Raises for the first option below `least`: how many pictures, rows or steps there are to be."""
    for name, value in options.items():
        if value < least:
            raise ValueError(f"--options.{name} is {value}; it must be at least {least}.")


def check_names(what: str, given: Mapping[str, Any], known: tuple[str, ...], flag: str) -> None:
    """Raises unless all names that are given are known."""
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            listed = f"there are {', '.join(known)}" if known else "it has none"
            hint = f"did you mean '{flag}{close[0]}'?" if close else f"{listed}."
            raise ValueError(f"there is no {what} '{flag}{name}'; {hint}")


def _as(name: str, value: Any, default: Option) -> Option:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    wanted = type(default)
    try:
        if wanted is bool:
            return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
        if wanted is int and float(value) != int(float(value)):
            raise ValueError
        if wanted is float and not math.isfinite(float(value)):
            raise ValueError
        return wanted(float(value)) if wanted is int else wanted(value)
    except (ValueError, KeyError, TypeError, OverflowError):
        raise ValueError(
            f"--options.{name} is {value!r}, but it must be {words[wanted]} (such as {default!r})."
        ) from None
