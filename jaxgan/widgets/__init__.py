"""Widgets for notebooks: sliders and menus, and a picture of a trained run that follows them.

    widgets.walk(result.engine, result.state)

Each widget calls the same functions as `jaxgan make` and `jaxgan sample`, with the values of its controls, so that a
picture can be made again without it. They need the extra `notebooks` (ipywidgets and, to paint, anywidget).
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxgan.data import Source
from jaxgan.data.pictures import colours
from jaxgan.engine import Engine
from jaxgan.game import LATENT_GUIDED, REFERENCE, REFERENCE_GUIDED, TARGET, State
from jaxgan.options import UnknownOption
from jaxgan.tools import Made, Value
from jaxgan.train import make, sample, transform
from jaxgan.train.made import find

if TYPE_CHECKING:
    from jaxgan.widgets.panel import Panel

__all__ = ["paint", "references", "sizes", "truncation", "walk"]

SEEDS = 99  # the largest seed of a slider
# How to install what the modules import; the extra `notebooks` of pyproject.toml has the same.
INSTALL = {
    "ipywidgets": 'pip install "ipywidgets>=7.7"',
    "anywidget": 'pip install "anywidget>=0.9.13"',
}


def walk(
    engine: Engine,
    state: State,
    *,
    frames: int = 20,
    ema: bool = True,
    **options: Value,
) -> Panel:
    """Pictures on the way between the latents of two seeds, by the tool "interpolation".

    Controls: `start` and `end`, the seeds, and `t`, the share of the way.

    Args:
      engine: of a game with a latent space.
      state: trained.
      frames: number of steps of the way; all are made when a seed changes.
      ema: with averaged weights, where they are kept.
      options: further options of the tool, such as `label` or `truncation`.
    """

    @functools.lru_cache(maxsize=16)
    def film(start: int, end: int) -> Made:
        chosen: Any = {**options, "seeds": (start, end), "frames": frames, "loop": False}
        return make(engine, state, "interpolation", ema=ema, options=chosen)

    panel = _module("panel")
    return panel.Panel(
        lambda start, end, t: (film(start, end).pictures[round(t * frames)][None], 1),
        {
            "start": panel.whole(0, SEEDS, 0),
            "end": panel.whole(0, SEEDS, 1),
            "t": panel.share(0.0, 1.0, 0.5, 1 / max(frames, 1), continuous_update=True),
        },
    )


def truncation(
    engine: Engine, state: State, *, num: int = 16, ema: bool = True, **options: Value
) -> Panel:
    """Samples at a truncation, as `jaxgan sample --options.truncation` makes them.

    Controls: `truncation` and `seed`. What truncation means is the model's: StyleGAN's psi, from 0, or the limit of the
    components of BigGAN's latent, above 0.

    Args:
      engine: of a game whose samples have the option "truncation".
      state: trained.
      num: number of samples.
      ema: with averaged weights, where they are kept.
      options: further options of the samples.

    Raises:
      UnknownOption: the samples have no such option.
    """
    output = engine.game.outputs.get("samples")
    known = output.options if output else {}
    if "truncation" not in known:
        raise UnknownOption("truncation", known)
    limit = known["truncation"].above == 0
    panel = _module("panel")
    return panel.Panel(
        lambda truncation, seed: (
            sample(engine, state, num, seed, ema, truncation=truncation, **options)["image"],
            0,
        ),
        {
            "truncation": panel.share(0.05 if limit else 0.0, 2.0 if limit else 1.5, 0.7, 0.05),
            "seed": panel.whole(0, SEEDS, 0),
        },
    )


def sizes(engine: Engine, state: State, *, most: float = 3.0) -> Panel:
    """Random pictures of a pyramid that was trained on one picture, in any size, by the tool "sample".

    Controls: `height` and `width`, multiples of those of the training picture; `scale_from`, the scale into which the
    training picture is injected, 0 for none; `seed`. Each new size is compiled, which takes some seconds.

    Args:
      engine: of a game with the tool, such as that of `singan`.
      state: trained.
      most: the largest multiple.
    """
    top = int(find(engine.game, "sample").options["scale_from"].most or 0)
    panel = _module("panel")

    def made(seed: int, **options: Value) -> tuple[np.ndarray, int]:
        found = make(engine, state, "sample", seed=seed, options={"num": 1, **options})
        return found.pictures, 1

    return panel.Panel(
        made,
        {
            "height": panel.share(0.5, most, 1.0, 0.25),
            "width": panel.share(0.5, most, 1.5, 0.25),
            "scale_from": panel.whole(0, top, 0),
            "seed": panel.whole(0, SEEDS, 0),
        },
    )


def paint(
    engine: Engine,
    state: State,
    label_map: np.ndarray | None = None,
    *,
    samples: int = 1,
    ema: bool = True,
) -> Panel:
    """A label map to paint on with the mouse, and pictures of it by the tool "paint".

    Controls: `label_map` is the canvas, whose trait `pixels` holds the map; `seed` is that of the styles. Label and
    brush are chosen on the canvas.

    Args:
      engine: of a game of label maps, such as that of `spade`.
      state: trained.
      label_map: the map to begin with, int [H, W]; label 0 everywhere if None.
      samples: number of pictures, each in a style of its own.
      ema: with averaged weights, where they are kept.

    Raises:
      ValueError: there are more labels than a canvas has colours.
    """
    game = engine.game
    options = {"samples": samples} if "samples" in find(game, "paint").options else {}
    field = game.spec["label_map"]
    number, most = field.number or 0, len(colours())
    if number > most:
        raise ValueError(
            f"the data have {number} labels, but a canvas paints {most} at most; give a map without a canvas:"
            ' jaxgan.train.make(engine, state, "paint", pictures={"label_map": map}).'
        )
    given = np.zeros(game.spec.shape[:2], np.uint8) if label_map is None else label_map
    panel, canvas = _module("panel"), _module("canvas")

    def made(label_map: np.ndarray, seed: int) -> tuple[np.ndarray, int]:
        pictures = {"label_map": label_map.astype(np.int32)}
        found = make(engine, state, "paint", seed=seed, ema=ema, pictures=pictures, options=options)
        return found.pictures, found.columns

    return panel.Panel(
        made,
        {
            "label_map": canvas.Canvas(
                given, colours()[:number], field.names or tuple(map(str, range(number)))
            ),
            "seed": panel.whole(0, SEEDS, 0),
        },
    )


def references(engine: Engine, state: State, source: Source, *, ema: bool = True) -> Panel:
    """A picture translated to another domain, in the style of a latent or of a reference picture.

    Controls: `picture`, the number of an example; `guide`, "latent" or "reference"; with a latent, `domain` and `seed`;
    with a reference, `reference`, the number of an example, whose label is the domain. Shown are the picture, the
    reference if there is one, and the translation by the output of that name.

    Args:
      engine: of a game with both outputs, such as that of `stargan2`.
      state: trained.
      source: of the pictures, with labels.
      ema: with averaged weights, where they are kept.

    Raises:
      ValueError: the game has no such outputs.
    """
    guides = LATENT_GUIDED, REFERENCE_GUIDED
    if missing := [name for name in guides if name not in engine.game.outputs]:
        raise ValueError(
            f"this model has no output {missing[0]!r}, only {', '.join(engine.game.outputs)}; take a run of a"
            " translator with styles, such as stargan2."
        )
    label = engine.game.spec["label"]
    names = label.names or tuple(map(str, range(label.number or 0)))
    panel, last = _module("panel"), len(source) - 1

    def made(picture: int, guide: str, domain: int, seed: int, reference: int):
        examples = source.gather(np.array([picture, reference]))
        image, given = np.split(examples["image"], 2)
        by_latent = guide == LATENT_GUIDED
        target = np.array([domain if by_latent else examples["label"][1]], np.int32)
        batch = {"image": image, TARGET: target, REFERENCE: given}
        drawn = transform(engine, state, batch, jax.random.key(seed), ema, guide)
        shown = image if by_latent else examples["image"]
        return np.concatenate([shown / np.float32(127.5) - 1, drawn]), 3 - by_latent

    return panel.Panel(
        made,
        {
            "picture": panel.whole(0, last, 0),
            "guide": panel.menu({guide: guide for guide in guides}),
            "domain": panel.menu({name: i for i, name in enumerate(names)}),
            "seed": panel.whole(0, SEEDS, 0),
            "reference": panel.whole(0, last, min(1, last)),
        },
    )


def _module(name: str) -> Any:
    """A module of this package; what it needs is imported no earlier."""
    try:
        return importlib.import_module(f"jaxgan.widgets.{name}")
    except ModuleNotFoundError as error:
        if error.name not in INSTALL:
            raise
        raise ModuleNotFoundError(
            f"this widget needs the package {error.name}, which is not installed ({INSTALL[error.name]}); the extra"
            " 'notebooks' of jaxgan brings it.",
            name=error.name,
        ) from None
