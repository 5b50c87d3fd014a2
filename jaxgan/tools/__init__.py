"""Tools: functions of a trained game other than plain sampling, such as a grid, a film or an edited picture.

A model lists its tools in `Game.tools`, and `jaxgan make TOOL --workdir RUN` runs any of them; no other code is needed.
Tools that several models share are in `jaxgan.tools.latents` (latent spaces, styles), `jaxgan.tools.codes`
(autoencoders with a codebook) and `jaxgan.tools.pyramid` (networks trained on one picture).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan.options import Option, OptionError, UnknownOption, complete

Value = int | float | str | bool
LIST = "list"  # in place of a tool's name it lists the tools


def compiled(function: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
    """function(*arrays, **options), compiled once: options that are floats are traced, so new values do not recompile.

    Args:
      function: the same object in each call, or equal to it: a function or method, not one defined in the caller.
      *arrays: trees of arrays.
      **options: other options than floats are static, and must be hashable.
    """
    floats = {
        name: np.float32(value) for name, value in options.items() if isinstance(value, float)
    }
    static = tuple(sorted((k, v) for k, v in options.items() if k not in floats))
    return _program(function, static)(*arrays, **floats)


# A program refers to networks by their modules; their weights are arguments.
@functools.lru_cache(maxsize=64)
def _program(function: Callable[..., Any], static: tuple) -> Callable[..., Any]:
    return jax.jit(functools.partial(function, **dict(static)))


class Made(NamedTuple):
    """The result of a tool.

    Attributes:
      pictures: float [N, H, W, C] in [-1, 1].
      columns: columns of the grid of pictures; 0 for an about square grid.
      film: whether the pictures are the frames of a film, in this order.
      numbers: {name: number}, printed after the tool has run.
      arrays: {name: array} for further use, such as latents or codes, saved with the pictures.
    """

    pictures: np.ndarray
    columns: int = 0
    film: bool = False
    numbers: Mapping[str, float] = {}
    arrays: Mapping[str, np.ndarray] = {}


@dataclasses.dataclass(frozen=True)
class Tool:
    """A function of a trained game.

    Attributes:
      make: (play, **arguments) -> Made. `play` is a `jaxgan.game.Play` with the trained networks, a key and the clock.
        The arguments are all options and the given pictures, each float32 [H, W, C] in [-1, 1] if it is no label map.
        It is called outside `jax.jit` and compiles its own functions.
      help: one line for the terminal.
      options: {name: Option}.
      pictures: names of the required pictures.
      optional_pictures: names of the optional pictures.
      channels: channels of the given pictures; 0 for as many as the game's samples have.
      label_maps: names among both that are label maps, int32 [H, W], and not pictures.
      walk: (play) -> `latents.Walk`, the latent spaces in which the tool moves, for scores of these spaces; None for a
        tool without any.
    """

    make: Callable[..., Made]
    help: str
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    pictures: tuple[str, ...] = ()
    optional_pictures: tuple[str, ...] = ()
    channels: int = 0
    label_maps: tuple[str, ...] = ()
    walk: Callable[[Any], Any] | None = None

    def __call__(
        self,
        play: Any,
        pictures: Mapping[str, np.ndarray] | None = None,
        /,
        **options: Value,
    ) -> Made:
        """Checks the arguments, adds the defaults, and calls `make`."""
        pictures = dict(pictures or {})
        for name in self.pictures:
            if name not in pictures:
                raise OptionError(
                    None, None, f"the picture '{name}' is missing", {f"pictures.{name}": "FILE"}
                )
        known = [f"pictures.{name}" for name in (*self.pictures, *self.optional_pictures)]
        for name in pictures:
            if f"pictures.{name}" not in known:
                raise UnknownOption(f"pictures.{name}", known)
        return self.make(play, **pictures, **complete(options, self.options))
