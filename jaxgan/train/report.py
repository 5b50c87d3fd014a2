"""The reports of a run: metrics as JSON lines and TensorBoard events, grids of samples, a plot of the losses."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxgan.metrics.images import to_uint8
from jaxgan.spec import Batch
from jaxgan.train.events import Events

METRICS_FILE = "metrics.jsonl"
SMALLEST_GRID = (
    256  # pixels; smaller grids are enlarged by a whole number to be visible on a screen
)
MOST_LINES = 8  # lines in one panel that have their own colours and names


def replace_atomically(path: Path, write) -> None:
    """Calls `write(temporary path)` and renames the result to `path`: readers never get an incomplete file."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {path.parent} to put {path.name} into; create it first."
        )
    temporary = path.with_name(f".{path.name}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # on a full disk, half a file would keep it full
        raise


class Metrics:
    """Writes scalars per step to `metrics.jsonl` and to TensorBoard events in the same folder.

    Rows after `step`, which a killed run wrote after its last checkpoint, are removed on opening: the resumed run
    writes them again.
    """

    def __init__(self, workdir: Path, step: int):
        path = workdir / METRICS_FILE
        rows = [row for row in read_metrics(workdir) if row["step"] <= step]
        write_json_lines(path, rows)
        self._events = Events(workdir, step)
        self._file = path.open("a")

    def write(self, step: int, row: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **row}) + "\n")
        self._file.flush()
        self._events.write(step, row)

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            self._events.close()


def read_metrics(workdir: str | Path) -> list[dict[str, float]]:
    """The rows of a run's metrics, in order of step; an incomplete last line is skipped."""
    return read_json_lines(Path(workdir) / METRICS_FILE)


def read_json_lines(path: Path) -> list[dict]:
    """The rows of a file, none if there is no file; incomplete lines are skipped."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a file of rows, which takes the place of the one that is there."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    replace_atomically(path, lambda temporary: temporary.write_text(text))


def tile(images: np.ndarray, columns: int = 0, gap: int = 1) -> np.ndarray:
    """uint8 pictures [N, H, W, C] as one uint8 picture, row by row; with `columns` 0 about square."""
    num, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(num * height / width))
    rows = -(-num // columns)
    grid = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8
    )
    for i, image in enumerate(images):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        grid[y : y + height, x : x + width] = image
    return grid


def enlarged(images: np.ndarray) -> np.ndarray:
    """uint8 pictures [N, H, W, C], enlarged by a whole number if a side is below `SMALLEST_GRID`."""
    scale = max(1, -(-SMALLEST_GRID // min(images.shape[1:3])))
    return images if scale == 1 else images.repeat(scale, axis=1).repeat(scale, axis=2)


def side_by_side(*columns: np.ndarray) -> np.ndarray:
    """Joins sets of uint8 pictures [N, H, W, 1 or 3] side by side: [N, max H, sum of W + gaps, C].

    Smaller pictures are enlarged by the largest whole number that fits; the rest is white.
    """
    height = max(images.shape[1] for images in columns)
    channels = max(images.shape[3] for images in columns)
    parts = []
    for images in columns:
        scale = height // images.shape[1]
        images = images.repeat(scale, axis=1).repeat(scale, axis=2)
        images = images.repeat(channels // images.shape[3], axis=3)
        gap = ((0, 0), (0, height - images.shape[1]), (0, 1), (0, 0))
        parts.append(np.pad(images, gap, constant_values=255))
    return np.concatenate(parts, axis=2)[:, :, :-1]


def save_grid(
    path: str | Path,
    samples: np.ndarray,
    columns: int = 0,
    gap: int = 1,
    classes: Sequence[str] = (),
) -> None:
    """Saves a PNG: a grid of pictures (uint8 [N, H, W, C] or float in [-1, 1]), or a scatter plot of points [N, D].

    Args:
      path: the file.
      samples: the pictures or points.
      columns: number of columns; 0 for a grid that is about square.
      gap: pixels between two pictures.
      classes: names of the classes 0, 1, ... that the pictures have in turn. Where there is a row of all of them, each
        has a column, with its name above it.
    """
    path = Path(path)
    if samples.ndim == 2:
        replace_atomically(path, lambda p: _scatter(p, samples))
        return
    picture = grid(samples, columns, gap, classes)
    replace_atomically(path, lambda p: picture.save(p, format="PNG"))


def grid(
    samples: np.ndarray, columns: int = 0, gap: int = 1, classes: Sequence[str] = ()
) -> Image.Image:
    """The picture that `save_grid` saves of pictures."""
    images = samples if samples.dtype == np.uint8 else to_uint8(samples)
    titled = 0 < len(classes) <= len(images)
    (tiled,) = enlarged(tile(images, len(classes) if titled else columns, gap)[None])
    picture = Image.fromarray(tiled[..., 0] if tiled.shape[-1] == 1 else tiled)
    return with_titles(picture, classes) if titled else picture


def with_titles(picture: Image.Image, titles: Sequence[str]) -> Image.Image:
    """The picture with a title above each of its columns; all are turned to the side if one is too wide."""
    import matplotlib

    width = picture.width / len(titles)
    # Pillow's own font has only ASCII.
    font_file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    font = ImageFont.truetype(font_file, float(np.clip(width / 2, 10, 20)))
    sizes = [
        (math.ceil(right), math.ceil(bottom)) for _, _, right, bottom in map(font.getbbox, titles)
    ]
    widest, tallest = max(x for x, _ in sizes), max(y for _, y in sizes)
    turned = widest > width - 4
    strip = Image.new(picture.mode, (picture.width, (widest if turned else tallest) + 8), "white")
    for column, (title, (title_width, _)) in enumerate(zip(titles, sizes, strict=True)):
        text = Image.new("L", (title_width, tallest), 255)
        ImageDraw.Draw(text).text((0, 0), title, fill=0, font=font)
        text = text.rotate(90, expand=True) if turned else text
        left = round(column * width + (width - text.width) / 2)
        strip.paste(text.convert(picture.mode), (max(left, 0), strip.height - 4 - text.height))
    whole = Image.new(picture.mode, (picture.width, strip.height + picture.height))
    whole.paste(strip, (0, 0))
    whole.paste(picture, (0, strip.height))
    return whole


def save_pictures(
    folder: str | Path, batches: Iterable[Batch], classes: Sequence[str] = ()
) -> None:
    """Saves each picture of the batches as a PNG: `FOLDER/000000.png`, with classes `FOLDER/CLASS/000000.png`.

    Args:
      folder: created if missing.
      batches: {"image": uint8 [B, H, W, C], "label": int [B], if there are classes}.
      classes: names of the folders of the classes.
    """
    root, number = Path(folder), 0
    for batch in batches:
        for row, pixels in enumerate(batch["image"]):
            path = root / classes[batch["label"][row]] if classes else root
            path.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
            picture.save(path / f"{number:06d}.png")
            number += 1


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Saves arrays as an .npz file."""
    entries: dict[str, Any] = dict(
        arrays
    )  # NumPy's stub would take the names for keywords of `savez`

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **entries)

    replace_atomically(Path(path), write)


def _figure(width: float, height: float):
    # Matplotlib's object interface: no global state, no display, safe beside a notebook's own figures.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _scatter(path: Path, points: np.ndarray) -> None:
    figure = _figure(5, 5)
    axes = figure.subplots()
    axes.scatter(
        points[:, 0], points[:, 1] if points.shape[1] > 1 else 0 * points[:, 0], s=2, alpha=0.5
    )
    axes.set_aspect("equal", adjustable="datalim")
    figure.savefig(path, format="png", dpi=100)


def plot_metrics(
    workdir: str | Path,
    rows: list[dict[str, float]] | None = None,
    shown: tuple[str, ...] = (),
):
    """A Matplotlib figure of a run, against kimg: each turn's loss, the critics' mean logits if there are any, and the
    metrics named in `shown`.

    If there are more than `MOST_LINES` names, those that differ only in a number (the critics of a pyramid's scales,
    which are trained one after the other) share a colour.
    """
    rows = read_metrics(workdir) if rows is None else rows
    names = sorted({name for row in rows for name in row})
    logits = [n for n in names if re.fullmatch(r"critic_?\d*/(real|fake)", n)]
    panels = [("loss", [n for n in names if n.endswith("/loss")])]
    panels += [("critic's logits", logits)] if logits else []
    panels += [(name, [name]) for name in shown if name in names]
    figure = _figure(max(9, 4.5 * len(panels)), 3.2)
    for axes, (title, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _plot_lines(axes, lines, rows)
        axes.set_title(title)
        axes.set_xlabel("kimg (thousands of real images)")
    return figure


def _plot_lines(axes, names: list[str], rows: list[dict[str, float]]) -> None:
    families: dict[str, list[str]] = {}
    for name in names:
        family = name if len(names) <= MOST_LINES else re.sub(r"\d+", "*", name)
        families.setdefault(family, []).append(name)
    for i, (family, members) in enumerate(families.items()):
        for j, name in enumerate(members):
            points = [(row["kimg"], row[name]) for row in rows if name in row]
            # Matplotlib's legend leaves out labels that begin with "_".
            label = family if j == 0 else f"_{name}"
            axes.plot(*zip(*points, strict=True), color=f"C{i}", label=label, linewidth=1)
    if names:
        axes.legend(fontsize="small" if len(families) > 4 else None)


def save_plot(workdir: Path, shown: tuple[str, ...] = ()) -> None:
    """Writes `losses.png` into the workdir, a plot of the losses and of the metrics in `shown`."""
    figure = plot_metrics(workdir, shown=shown)
    replace_atomically(workdir / "losses.png", lambda p: figure.savefig(p, format="png", dpi=100))
