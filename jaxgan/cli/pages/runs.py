"""Runs as they stand on the page of `jaxgan report`: everything is read from the files in their folders."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan.cli.lipschitz import CERTIFICATES
from jaxgan.cli.pages import diagnosis, number, plots, render
from jaxgan.cli.pages.plots import Line
from jaxgan.metrics.compare import differences, scores
from jaxgan.options import flatten
from jaxgan.train import workdir as workdirs
from jaxgan.train.evaluation import EVALUATIONS
from jaxgan.train.report import METRICS_FILE, read_json_lines

GRIDS = 16  # most pictures of one slider; of more, those that are spread evenly
# Ends of the names of metrics that are shown at once, and the titles of their plots for a single run.
FIRST = {"loss": "losses", "real": "logits", "fake": "logits", "gap": "gap"}
MOST_CURVES = 60


class Grid(NamedTuple):
    """A slider over the pictures of one output."""

    name: str
    pictures: list[Picture]


class Picture(NamedTuple):
    step: int
    address: str


class Run:
    """The files of a run's folder."""

    def __init__(self, folder: Path, label: str, name: str):
        self.folder, self.label, self.name = folder, label, name
        self.record = workdirs.read(folder)
        self.metrics = read_json_lines(folder / METRICS_FILE)
        self.evaluations = read_json_lines(folder / EVALUATIONS)
        self.certificates = read_json_lines(folder / CERTIFICATES)
        self.diagnosis = diagnosis.load(folder)

    @property
    def options(self) -> dict[str, Any]:
        """{"section.name": value}."""
        return flatten(self.record["config"])

    @property
    def step(self) -> int:
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    @cached_property
    def grids(self) -> list[Grid]:
        """Of each output that the run keeps pictures of."""
        found = []
        for latest in sorted(self.folder.glob("*.png")):
            files = sorted((self.folder / latest.stem).glob("*.png"))
            chosen = np.unique(np.linspace(0, len(files) - 1, GRIDS).round().astype(int))
            pictures = [
                Picture(int(files[i].stem), plots.address(files[i].read_bytes(), "png"))
                for i in (chosen if files else ())
                if files[i].stem.isdigit()
            ]
            if pictures:
                found.append(Grid(latest.stem, pictures))
        return found

    def line(self, metric: str, name: str = "") -> Line | None:
        """The curve of a metric; None if it has fewer than two finite values."""
        points = [(row["kimg"], row[metric]) for row in self.metrics if metric in row]
        return _line(name or metric, points)

    def score_line(self, score: str, name: str) -> Line | None:
        """The curve of a score."""
        points = [(e["measured"]["kimg"], e[score]) for e in self.evaluations if score in e]
        return _line(name, points)


def _line(name: str, points: Iterable[tuple[float, float]]) -> Line | None:
    array = np.array([point for point in points if np.isfinite(point[1])], np.float64)
    return None if len(array) < 2 else Line(name, array[:, 0], array[:, 1])


def open_runs(folders: Sequence[str]) -> list[Run]:
    """The runs in these folders, in this order.

    Raises:
      FileNotFoundError, ValueError: a folder holds no run, or is given twice.
    """
    paths = [Path(folder) for folder in folders]
    for i, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:i]]:
            raise ValueError(f"{path} is given twice; give each run once.")
        if not workdirs.holds_run(path):
            raise FileNotFoundError(
                f"there is no run in {path}; give the folder of a run, as of jaxgan train --workdir."
            )
    return [
        Run(path, label, f"run{i}")
        for i, (path, label) in enumerate(zip(paths, labels(paths), strict=True))
    ]


def labels(paths: Sequence[Path]) -> list[str]:
    """Short names of folders: their last parts, as many as are needed to tell them apart.

    >>> labels([Path("a/x"), Path("b/x"), Path("b/y")])
    ['a/x', 'b/x', 'b/y']
    """
    parts = [path.resolve().parts for path in paths]
    for number_of in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-number_of:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def page(runs: Sequence[Run]) -> str:
    """The whole page."""
    curves = _curves(runs)
    values = {
        "title": f"Report of {runs[0].label}" if len(runs) == 1 else f"Report of {len(runs)} runs",
        "runs": runs,
        "overview": _overview(runs),
        "any_grids": any(run.grids for run in runs),
        "curves": [figure for first, figure in curves if first],
        "more_curves": [figure for first, figure in curves if not first][:MOST_CURVES],
        "scores": _scores(runs),
        "certificates": [_certificate(run) for run in runs if run.certificates],
        "diagnosed": [run for run in runs if run.diagnosis],
        "options": _options(runs),
        "missing": _missing(runs),
    }
    parts = (
        ("overview", "Overview", True),
        ("pictures", "Pictures", values["any_grids"]),
        ("curves", "Curves", values["curves"]),
        ("scores", "Scores", values["scores"]),
        ("lipschitz", "Lipschitz constant", values["certificates"]),
        ("diagnosis", "Diagnosis", values["diagnosed"]),
        ("config", "Config", True),
        ("missing", "What else can be shown", values["missing"]),
    )
    contents = [(name, text) for name, text, there in parts if there]
    return render("report", **values, contents=contents)


# The parts of the page ---------------------------------------------------------------------------------------


def _overview(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """(what, of each run) rows."""

    def last(run: Run, name: str) -> str:
        return number(run.metrics[-1][name]) if run.metrics and name in run.metrics[-1] else ""

    def typical(run: Run, name: str) -> str:
        values = [row[name] for row in run.metrics if name in row]
        return number(statistics.median(values)) if values else ""

    rows: dict[str, Callable[[Run], str]] = {
        "model": lambda run: str(run.record["config"]["model"]["name"]),
        "data": lambda run: str(run.record.get(workdirs.SUMMARY, "")),
        "rounds": lambda run: f"{run.step:,} of {run.record['config']['train']['steps']:,}",
        "kimg": lambda run: last(run, "kimg"),
        "images per second, median": lambda run: typical(run, "images_per_second"),
        "share of a round spent waiting for data, median": lambda run: typical(run, "data_wait"),
        "diagnosis": lambda run: run.diagnosis["opening"] if run.diagnosis else "",
        "last change": _last_change,
        "environment": _environment,
    }
    found = [(name, [of(run) for run in runs]) for name, of in rows.items()]
    return [(name, values) for name, values in found if any(values)]


def _last_change(run: Run) -> str:
    file = run.folder / METRICS_FILE
    if not file.exists():
        return ""
    when = datetime.datetime.fromtimestamp(file.stat().st_mtime)
    return when.isoformat(sep=" ", timespec="minutes")


def _environment(run: Run) -> str:
    """The versions and devices with which the run was started last."""
    known = {"jaxgan": run.record.get("jaxgan", ""), **run.record.get(workdirs.ENVIRONMENT, {})}
    return ", ".join(f"{name} {value}" for name, value in known.items() if value)


def _curves(runs: Sequence[Run]) -> list[tuple[bool, plots.Figure]]:
    """(whether it is among the first, plot) of all metrics and scores: of one run several lines in a plot, else one
    line for each run."""
    names = list(dict.fromkeys(name for run in runs for row in run.metrics for name in row))
    names = [name for name in names if name not in ("step", "kimg") and "eval/" not in name]
    found: list[tuple[bool, str, list[Line | None]]] = []
    for score in dict.fromkeys(name for run in runs for e in run.evaluations for name in scores(e)):
        drawn = [run.score_line(score, run.label) for run in runs]
        found.append(("deviation" not in score, score, drawn))
    if len(runs) == 1:
        (run,) = runs
        titles = {name: FIRST.get(end := name.rpartition("/")[2], end) for name in names}
        for title in dict.fromkeys((*FIRST.values(), *titles.values())):
            of = [name for name in names if titles[name] == title]
            found.append((title in FIRST.values(), title, [run.line(name) for name in of]))
    else:
        for name in names:
            of_runs = [run.line(name, run.label) for run in runs]
            found.append((name.rpartition("/")[2] in FIRST, name, of_runs))
    return [
        (first, plots.lines(title.replace("_", " "), drawn))
        for first, title, drawn in found
        if any(line is not None for line in drawn)
    ]


def _scores(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A table for each protocol: the last result of each run, and the best one of evaluations during training."""
    groups: list[list[tuple[Run, dict]]] = []
    for run in runs:
        for result in run.evaluations:
            for group in groups:
                if not differences(group[0][1]["protocol"], result["protocol"]):
                    group.append((run, result))
                    break
            else:
                groups.append([(run, result)])
    return [_score_table(group) for group in groups]


def _score_table(group: list[tuple[Run, dict]]) -> dict[str, Any]:
    last = {run.name: (run, result) for run, result in group}  # later ones replace earlier ones
    protocol = group[0][1]["protocol"]
    names = list(dict.fromkeys(name for _, result in last.values() for name in scores(result)))
    rows = []
    for name in names:
        values = [result.get(name) for _, result in last.values()]
        better = group[0][1].get("better", {}).get(name, "")
        known = [value for value in values if value is not None and np.isfinite(value)]
        best = (min if better == "lower" else max)(known) if better and len(known) > 1 else None
        cells = [
            {
                "text": "" if value is None else number(value),
                "best": value is not None and value == best,
            }
            for value in values
        ]
        rows.append({"name": f"{name} ({better} is better)" if better else name, "cells": cells})
    heads = [f"{run.label}, step {result['measured']['step']:,}" for run, result in last.values()]
    return {
        "name": f"Protocol {protocol.get('name', 'custom')}",
        "sentence": f"{protocol['num_fake']:,} generated and {protocol['num_real']:,} real examples"
        f" ({protocol['data']}), features {protocol['features']}. The last result of each run.",
        "heads": heads,
        "rows": rows,
        "protocol": protocol,
    }


def _certificate(run: Run) -> dict[str, Any]:
    """The run's last bounds of its critic's Lipschitz constant."""
    last = run.certificates[-1]
    layers, protocol = last["layers"], last["protocol"]
    drawn, (axes,) = plots.figure(1.0 + 0.25 * len(layers))
    where = np.arange(len(layers))
    flattened = [layer["flattened_norm"] or np.nan for layer in layers]
    axes.barh(
        where, [layer["operator_norm"] for layer in layers], 0.6, color=plots.REAL, label="layer"
    )
    axes.scatter(
        flattened, where, marker="|", s=120, color=plots.FAKE, label="its flattened kernel"
    )
    axes.invert_yaxis()
    axes.set_yticks(
        where, [plots.plain(name) for name in _short([layer["name"] for layer in layers])]
    )
    plots.legend(axes)
    return {
        "label": run.label,
        "sentence": f"At step {protocol['step']:,} the constant of {protocol['player']} is between"
        f" {last['lower']:.4g} and {last['upper']:.4g}. The upper bound holds for all inputs, except with probability"
        f" {protocol['failure']:.1g}.",
        "figure": plots.shown(drawn, "Largest singular value of each layer"),
        "heads": list(layers[0]),
        "rows": [list(layer.values()) for layer in layers],
    }


def _short(names: Sequence[str]) -> list[str]:
    """Paths without the part before their first / that they have in common."""
    starts = {name.partition("/")[0] for name in names}
    return [name.partition("/")[2] or name for name in names] if len(starts) == 1 else list(names)


def _options(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Tables of options: of several runs first those that differ."""
    given = [run.options for run in runs]
    names = list(dict.fromkeys(name for options in given for name in options))
    rows = {
        name: [number(options[name]) if name in options else "" for options in given]
        for name in names
    }
    if len(runs) == 1:
        return [{"title": "All options", "open": False, "rows": list(rows.items())}]
    different = [(name, values) for name, values in rows.items() if len(set(values)) > 1]
    same = [(name, values) for name, values in rows.items() if len(set(values)) == 1]
    tables = [
        {"title": "Options that differ", "open": True, "rows": different},
        {"title": "Options that agree", "open": False, "rows": same},
    ]
    return [table for table in tables if table["rows"]]


def _missing(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """(what the page lacks, the command that adds it)."""
    wanted: Mapping[str, tuple[str, Callable[[Run], Any]]] = {
        "evaluate": ("Scores", lambda run: run.evaluations),
        "diagnose": ("A diagnosis", lambda run: run.diagnosis),
        "lipschitz": ("Bounds of the critic's Lipschitz constant", lambda run: run.certificates),
    }
    return [
        (
            f"{what} of {run.label}" if len(runs) > 1 else what,
            f"jaxgan {command} --workdir {run.folder}",
        )
        for run in runs
        for command, (what, there) in wanted.items()
        if not there(run)
    ]
