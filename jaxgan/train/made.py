"""Runs the tools of a trained game, and saves their results."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan.data import label_maps
from jaxgan.data import pictures as decoding
from jaxgan.data.encoded import reason_of
from jaxgan.engine import Engine
from jaxgan.game import Game, Play, State
from jaxgan.metrics.images import to_uint8
from jaxgan.tools import Made, Tool, Value
from jaxgan.train.film import FORMATS as FILMS
from jaxgan.train.film import FPS, check_film, save_film
from jaxgan.train.report import save_arrays, save_grid

FORMATS = (".png", *FILMS, ".npz")


def make(
    engine: Engine,
    state: State,
    tool: str,
    *,
    seed: int = 0,
    ema: bool = True,
    pictures: Mapping[str, np.ndarray] | None = None,
    options: Mapping[str, Value] | None = None,
) -> Made:
    """Runs a tool of the engine's game with the networks of a state, and returns its result.

    Args:
      engine: of the game.
      state: trained or initial.
      tool: its name, one of `engine.game.tools`.
      seed: of all random numbers that the tool draws.
      ema: with averaged weights, where they are kept.
      pictures: {name: float32 [H, W, C] in [-1, 1]}, which `read_picture` reads from files; of label maps int32
        [H, W], by `read_label_map`.
      options: {name: value}; the tool's defaults for the others.
    """
    game, found = engine.game, find(engine.game, tool)
    play = Play(game.networks(state, ema), {}, jax.random.key(seed), game.clock(state.step), 0)
    return found(play, pictures, **(options or {}))


def find(game: Game, tool: str) -> Tool:
    """The game's tool of that name."""
    if tool not in game.tools:
        close = difflib.get_close_matches(tool, game.tools, 1)
        listed = f"there are {', '.join(game.tools)}." if game.tools else "this game has none."
        hint = f"did you mean '{close[0]}'?" if close else listed
        raise ValueError(f"there is no tool '{tool}'; {hint}")
    return game.tools[tool]


def read_picture(path: str | Path, channels: int = 0) -> np.ndarray:
    """Reads a picture in its own size: float32 [H, W, channels] in [-1, 1]; 0 for 1 channel if it is grey, else 3."""
    pixels = _read(path, "picture", decoding.decode)
    return decoding.to_channels(pixels, channels).astype(np.float32) / np.float32(127.5) - 1


def read_label_map(path: str | Path) -> np.ndarray:
    """Reads the indices of a label map, int32 [H, W], from a PNG of grey levels or with a palette."""
    mode, found = _read(path, "label map", label_maps.decode)
    if mode not in label_maps.INDEXED:
        raise ValueError(
            f"{path} is a picture of colours (mode {mode}), but a label map has one index for each pixel; save it as a"
            " PNG of grey levels, or with a palette."
        )
    return found.astype(np.int32)


def _read(path: str | Path, what: str, decode: Callable[[Any], Any]) -> Any:
    """The contents of a file, decoded."""
    path = Path(path).expanduser()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the file of a {what}.")
    if not path.is_file():
        raise FileNotFoundError(f"there is no {what} {path}; give the file of one.")
    try:
        with path.open("rb") as file:
            return decode(file)
    except Exception as error:  # Pillow's decoders raise errors of many types
        raise ValueError(f"{path} cannot be read as a {what} ({reason_of(error)}).") from error


def save_made(path: str | Path, made: Made, fps: int = FPS) -> None:
    """Saves the result of a tool in the format of the suffix of `path`.

    .png is a grid of its pictures; .gif, .webp and .mp4 are a film of them; .npz holds them as "pictures" (uint8
    [N, H, W, C]), and its arrays.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending == ".npz":
        save_arrays(path, {"pictures": to_uint8(np.asarray(made.pictures)), **made.arrays})
    elif ending == ".png":
        save_grid(path, np.asarray(made.pictures), made.columns)
    else:
        save_film(path, np.asarray(made.pictures), fps)


def check_path(path: str | Path, fps: int = FPS) -> None:
    """Raises the errors of `save_made` about `path` and `fps`, before anything is made."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"{path} must end in .png (a grid), {', '.join(FILMS)} (a film) or .npz (arrays)."
        )
    if path.suffix.lower() in FILMS:
        check_film(path, fps)
