"""Pictures as addresses that hold their own data, and Matplotlib's figures in the colours of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgan.cli.pages import MOST

# Legible on white and black, distinct without colour vision (Okabe and Ito 2008, the blue lighter).
COLOURS = ("#2b8cd6", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a")
REAL, FAKE = "#4a86d8", "#e8703a"
INK = "#010203"  # stands for the colour of the page's text
POINTS = 600  # of a line in a plot; of more, neighbours are averaged
_STYLE = (
    "<style>svg{color:#1c1f24;font-family:system-ui,sans-serif}"
    "@media (prefers-color-scheme:dark){svg{color:#e8eaed}}</style>"
)


class Figure(NamedTuple):
    """A plot on a page: the address of its picture, and what it shows in words."""

    address: str
    caption: str


class Line(NamedTuple):
    """A line of a plot: its name, and its points [N], [N]."""

    name: str
    x: np.ndarray
    y: np.ndarray


def png(write: Callable[[io.BytesIO], Any]) -> str:
    """The address of the PNG that `write` writes."""
    buffer = io.BytesIO()
    write(buffer)
    return address(buffer.getvalue(), "png")


def address(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def picture(image: np.ndarray) -> str:
    """The address of a picture, uint8 [H, W, 1 or 3]."""
    from PIL import Image

    pixels = image[..., 0] if image.shape[-1] == 1 else image
    return png(lambda buffer: Image.fromarray(pixels).save(buffer, format="PNG"))


def figure(height: float, columns: int = 1, width: float = 5.2) -> tuple[Any, Any]:
    """A Matplotlib figure and its axes, to be given to `shown`."""
    from matplotlib.figure import Figure as Drawn

    drawn = Drawn(figsize=(width, height), layout="constrained")
    axes = drawn.subplots(1, columns, squeeze=False)[0]
    for each in axes:
        each.tick_params(colors=INK, labelsize=8)
        for side, spine in each.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(INK)
        for label in (each.xaxis.label, each.yaxis.label):
            label.set_color(INK)
            label.set_fontsize(9)
    return drawn, axes


def shown(drawn: Any, caption: str) -> Figure:
    """The figure as it stands on a page."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jaxgan"}):
        drawn.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    _, tag, rest = buffer.getvalue().partition("<svg")
    opening, close, rest = rest.partition(">")
    text = f"{tag}{opening}{close}{_STYLE}{rest}".replace(INK, "currentColor")
    return Figure(address(text.encode(), "svg+xml"), caption)


def legend(axes: Any, columns: int = 2) -> None:
    axes.legend(
        frameon=False, fontsize=8, labelcolor=INK, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1),
        borderaxespad=0,
    )  # fmt: skip


def bars(
    axes: Any,
    names: Sequence[str],
    series: Sequence[tuple[str, Any, str]],
    *,
    marked: np.ndarray | None = None,
) -> None:
    """A bar plot: for each name, one bar of each series (label, values, colour); the `marked` names are bold."""
    width = 0.8 / len(series)
    where = np.arange(len(names))
    for i, (label, values, colour) in enumerate(series):
        axes.bar(
            where + (i - (len(series) - 1) / 2) * width, values, width, color=colour, label=label
        )
    axes.set_xticks(where, [plain(name) for name in names])
    if len(names) > 12 or max(map(len, names)) > 4:
        axes.tick_params(axis="x", labelrotation=90)
    for at in np.flatnonzero(marked if marked is not None else []):
        axes.get_xticklabels()[at].set_fontweight("bold")
    axes.margins(x=0.01)
    if len(series) > 1:
        legend(axes)


def plain(text: str) -> str:
    """Text that Matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def lines(title: str, given: Sequence[Line | None], x_label: str = "kimg") -> Figure:
    """Curves with a legend, if there is more than one. Each place has its colour, whether or not it has a line."""
    whole, (axes,) = figure(2.4)
    drawn = [line for line in given if line is not None]
    for i, line in enumerate(given):
        if line is None:
            continue
        x, y = thinned(line.x), thinned(line.y)
        dot = "." if len(x) < 30 else ""
        colour, dash = COLOURS[i % len(COLOURS)], ("-", "--", ":")[i // len(COLOURS) % 3]
        axes.plot(x, y, dash, color=colour, linewidth=1.2, marker=dot, label=plain(line.name))
    axes.set_xlabel(x_label)
    axes.set_title(title, fontsize=10, color=INK, loc="left", pad=8 if len(drawn) < 2 else 20)
    if len(drawn) > 1:
        legend(axes, columns=min(len(drawn), 3))
    ends = ", ".join(f"{line.name} {line.y[-1]:.3g}" for line in drawn[:MOST])
    return shown(whole, f"{title} by {x_label}; last: {ends}")


def thinned(values: np.ndarray) -> np.ndarray:
    """At most `POINTS` values: each the average of as many neighbours; those left over at the end are left out."""
    each = -(-len(values) // POINTS)
    return values if each < 2 else values[: len(values) // each * each].reshape(-1, each).mean(1)
