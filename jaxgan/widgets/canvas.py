"""A canvas for label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets


class Canvas(anywidget.AnyWidget):
    """A label map that is painted with the mouse, a pen or a finger.

    Attributes:
      value: the map, uint8 [height, width]; assigning one repaints the canvas.
      pixels: the map's bytes, row by row, which the browser shares.
      labels: names of the labels.
      colours: their colours, as "#rrggbb".
      label: the label that is painted.
      brush: width of the brush in pixels of the map.
    """

    _esm = Path(__file__).with_name("canvas.js")
    pixels = traitlets.Bytes().tag(sync=True)
    height = traitlets.Int().tag(sync=True)
    width = traitlets.Int().tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    colours = traitlets.List(traitlets.Unicode()).tag(sync=True)
    label = traitlets.Int(1).tag(sync=True)
    brush = traitlets.Int(3).tag(sync=True)
    description = traitlets.Unicode().tag(sync=True)
    value = traitlets.Any()

    def __init__(self, value: np.ndarray, colours: np.ndarray, labels: Sequence[str]) -> None:
        """
        Args:
          value: the map to begin with, [H, W].
          colours: uint8 [number of labels, 3].
          labels: their names.
        """
        height, width = value.shape
        super().__init__(
            height=height,
            width=width,
            labels=list(labels),
            colours=["#" + bytes(colour).hex() for colour in colours],
            label=min(1, len(labels) - 1),
            value=np.asarray(value, np.uint8),
        )

    @traitlets.validate("value")
    def _as_map(self, proposal) -> np.ndarray:
        return np.asarray(proposal["value"], np.uint8)

    @traitlets.observe("value")
    def _share(self, change) -> None:
        self.pixels = change["new"].tobytes()

    @traitlets.observe("pixels")
    def _painted(self, change) -> None:
        painted = np.frombuffer(change["new"], np.uint8).reshape(self.height, self.width)
        if self.value is None or not np.array_equal(painted, self.value):
            self.value = painted
