"""Controls beside a picture that follows them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
import numpy as np

from jaxgan.train import report

Shown = tuple[
    np.ndarray, int
]  # pictures, uint8 or float in [-1, 1] [N, H, W, C], and the columns of their grid


class Panel(ipywidgets.VBox):
    """Controls, and below them a grid of pictures that is made anew when one of them changes.

    In a page without a kernel, such as a stored notebook, its picture is shown alone.

    Attributes:
      controls: {name: widget}.
      picture: the grid, a PNG in the attribute `value`.
      message: why the values of the controls make no picture; empty if they do.
    """

    def __init__(
        self, make: Callable[..., Shown], controls: Mapping[str, ipywidgets.DOMWidget]
    ) -> None:
        """
        Args:
          make: called with the value of each control, by name; a ValueError of it is shown as a message, except in
            this call.
          controls: widgets with an attribute `value`.
        """
        self._make, self.controls = make, dict(controls)
        self.picture, self.message = ipywidgets.Image(format="png"), ipywidgets.Label()
        for name, control in self.controls.items():
            control.description = name.replace("_", " ")
        self._show()
        super().__init__([*self.controls.values(), self.message, self.picture])
        for control in self.controls.values():
            control.observe(self._follow, "value")

    def _follow(self, change: Any) -> None:
        try:
            self._show()
        except ValueError as error:
            self.message.value = str(error)

    def _show(self) -> None:
        pictures, columns = self._make(**{n: c.value for n, c in self.controls.items()})
        file = io.BytesIO()
        report.grid(np.asarray(pictures), columns).save(file, format="PNG")
        self.picture.value, self.message.value = file.getvalue(), ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.controls)})"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        picture = base64.b64encode(self.picture.value).decode()
        return None if bundle is None else {**bundle, "image/png": picture}


def whole(least: int, most: int, value: int) -> ipywidgets.IntSlider:
    """A slider of whole numbers."""
    return ipywidgets.IntSlider(value, least, most, continuous_update=False)


def share(
    least: float, most: float, value: float, step: float, continuous_update: bool = False
) -> ipywidgets.FloatSlider:
    """A slider of numbers; with `continuous_update`, pictures follow while it is dragged."""
    return ipywidgets.FloatSlider(
        value, min=least, max=most, step=step, continuous_update=continuous_update
    )


def menu(values: Mapping[str, Any]) -> ipywidgets.Dropdown:
    """A menu of named values, the first of them chosen."""
    return ipywidgets.Dropdown(options=list(values.items()))
