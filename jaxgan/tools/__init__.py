"""Tools: what a person makes with a trained game beside plain samples, such as a grid, a film, an edited picture.

A model file lists its tools in `Game.tools`, and `jaxgan make TOOL --workdir RUN` runs any of them: a tool needs no
code outside its model's. Those that models of one kind share are in `jaxgan.tools.latents` (latent spaces, styles),
`jaxgan.tools.codes` (autoencoders with a codebook) and `jaxgan.tools.pyramid` (networks that know one picture).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxgan.options import Option, OptionError, UnknownOption, complete

Value = int | float | str | bool


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
      options: {name: what is declared of it}.
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
        **options: Value,
    ) -> Made:
        """Checks what is given, fills in the defaults, and makes."""
        pictures = dict(pictures or {})
        for name in self.pictures:
            if name not in pictures:
                raise OptionError(
                    None, None, f"there is no picture '{name}'", {f"pictures.{name}": "FILE"}
                )
        known = [f"pictures.{name}" for name in (*self.pictures, *self.optional_pictures)]
        for name in pictures:
            if f"pictures.{name}" not in known:
                raise UnknownOption(f"pictures.{name}", known)
        return self.make(play, **pictures, **complete(options, self.options))
