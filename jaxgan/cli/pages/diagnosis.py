"""The findings of `jaxgan diagnose` as they stand on a page, and the file that keeps them for a later page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan.cli.diagnose import ARRAYS, DIAGNOSES
from jaxgan.cli.pages import MOST, plots, render
from jaxgan.cli.pages.plots import FAKE, INK, REAL, Figure, bars, figure, legend, shown
from jaxgan.metrics.diagnosis import VERDICTS, Diagnosis
from jaxgan.train.report import read_json_lines, save_arrays

# Each verdict has a word and a mark, so that it does not depend on colour.
WORDS = {"green": ("✓", "no fault found"), "amber": ("!", "look closer"), "red": ("✕", "fault found")}  # fmt: skip
QUESTIONS = {
    "memorisation": "Are training examples repeated?",
    "collapse": "Is there less variety than in the data?",
    "classes": "Are classes missing or confused?",
    "modes": "Are all known modes covered?",
    "batch_statistics": "Do the running batch statistics match fresh batches?",
}


class Pair(NamedTuple):
    """A generated example and its nearest training example: the addresses of their pictures, and their distance."""

    fake: str
    real: str
    distance: str


class Section(NamedTuple):
    """A diagnosis as it stands on a page."""

    name: str
    question: str
    verdict: str
    mark: str
    words: str
    sentence: str
    figures: list[Figure]
    pairs: list[Pair]
    numbers: dict[str, Any]


def page(title: str, found: list[Diagnosis], nearest: Mapping, protocol: dict) -> str:
    """The whole page of a diagnosis; `title` is that of the run, and for the others see `view`."""
    return render("diagnosis", title=title, diagnosis=view(found, nearest, protocol))


def view(found: list[Diagnosis], nearest: Mapping[str, np.ndarray], protocol: dict) -> dict:
    """What the template of the findings needs.

    Args:
      found: the diagnoses, memorisation first.
      nearest: the fakes nearest to training examples: "fake" and "train" [K, ...], "distance" [K], and
        "reference_nearer" [K], the share of the reference set that is nearer to a training example.
      protocol: the settings of the diagnosis.
    """
    worst = max((answer.verdict for answer in found), key=VERDICTS.index)
    faults = sum(answer.verdict == "red" for answer in found)
    return {
        "opening": {
            "red": f"{faults} of {len(found)} questions found a fault.",
            "amber": "No fault, but something to look at more closely.",
            "green": "No fault was found.",
        }[worst],
        "worst": worst,
        "sections": [_section(answer, nearest, protocol) for answer in found],
        "protocol": protocol,
    }


def save(workdir: str | Path, found: list[Diagnosis], nearest: Mapping[str, np.ndarray]) -> None:
    """Keeps the arrays of the last row of the run's diagnoses."""
    arrays = {f"{d.name}.{key}": value for d in found for key, value in d.evidence.items()}
    arrays |= {f"nearest.{key}": value for key, value in nearest.items()}
    rows = np.array(len(read_json_lines(Path(workdir) / DIAGNOSES)))
    save_arrays(Path(workdir) / ARRAYS, {**arrays, "rows": rows})


def load(workdir: str | Path) -> dict | None:
    """The `view` of the run's last diagnosis; None without one, or without its arrays."""
    rows, file = read_json_lines(Path(workdir) / DIAGNOSES), Path(workdir) / ARRAYS
    if not rows or "sentences" not in rows[-1] or not file.exists():
        return None
    with np.load(file, allow_pickle=False) as arrays:
        of: dict[str, dict[str, np.ndarray]] = {}
        for name in arrays.files:
            part, _, key = name.partition(".")
            of.setdefault(part, {})[key] = arrays[name]
    if int(of["rows"][""]) != len(rows):
        return None
    last = rows[-1]
    found = [
        Diagnosis(name, verdict, last["numbers"][name], last["sentences"][name], of.get(name, {}))
        for name, verdict in last["verdicts"].items()
    ]
    return view(found, of["nearest"], last["protocol"])


def _section(answer: Diagnosis, nearest: Mapping[str, np.ndarray], protocol: dict) -> Section:
    figures: list[Figure] = []
    pairs: list[Pair] = []
    if answer.name == "memorisation":
        figures = [_distances(answer, protocol)]
        if nearest["fake"].ndim == 4:
            pairs = _pairs(nearest, protocol)
        elif nearest["fake"].shape[1] > 1:
            figures.append(_nearest_points(nearest))
    elif answer.name == "collapse":
        figures = _diversity(answer)
    elif answer.name == "classes":
        figures = [_classes(answer)]
    elif answer.name == "modes":
        figures = [_modes(answer)]
    elif answer.evidence:
        figures = [_drift(answer)]
    return Section(
        answer.name,
        QUESTIONS[answer.name],
        answer.verdict,
        *WORDS[answer.verdict],
        answer.sentence,
        figures,
        pairs,
        answer.numbers,
    )


# Figures ---------------------------------------------------------------------------------------------------


def _reference(protocol: dict) -> str:
    return "held-out" if protocol["num_held_out"] else "training (to each other)"


def _distances(answer: Diagnosis, protocol: dict) -> Figure:
    fake, reference = answer.evidence["distance"], answer.evidence["reference"]
    drawn, (axes,) = figure(2.2)
    together = np.concatenate([fake, reference])
    top = np.quantile(together, 0.995) * 1.02 or 1.0
    edges = np.linspace(0, top, 61)
    for values, colour, name in (
        (reference, REAL, _reference(protocol)),
        (fake, FAKE, "generated"),
    ):
        weights = np.full(len(values), 1 / len(values))
        how = {"bins": edges, "weights": weights, "color": colour}
        axes.hist(np.minimum(values, top), histtype="stepfilled", alpha=0.25, **how)
        axes.hist(np.minimum(values, top), histtype="step", linewidth=1.5, label=name, **how)
    axes.set_xlabel("distance to the nearest training example")
    axes.set_ylabel("share of examples")
    legend(axes)
    return shown(
        drawn,
        "Copies have small distances. Without copies, the generated curve coincides with the other one or lies to its"
        " right.",
    )


def _pairs(nearest: Mapping[str, np.ndarray], protocol: dict) -> list[Pair]:
    what = _reference(protocol)
    columns = (nearest[name] for name in ("fake", "train", "distance", "reference_nearer"))
    return [
        Pair(
            plots.picture(fake),
            plots.picture(real),
            f"{distance:.3g}; {share:.1%} of {what} nearer",
        )
        for fake, real, distance, share in zip(*columns, strict=True)
    ]


def _nearest_points(nearest: Mapping[str, np.ndarray]) -> Figure:
    fake, real = nearest["fake"], nearest["train"]
    drawn, (axes,) = figure(3.2)
    axes.plot(
        np.stack([fake[:, 0], real[:, 0]]),
        np.stack([fake[:, 1], real[:, 1]]),
        color=INK,
        linewidth=0.5,
    )
    axes.scatter(real[:, 0], real[:, 1], s=40, facecolors="none", edgecolors=REAL, label="training")
    axes.scatter(fake[:, 0], fake[:, 1], s=10, color=FAKE, label="generated")
    legend(axes)
    return shown(drawn, f"The {len(fake)} generated points that are nearest to a training point.")


def _worst(order: np.ndarray) -> np.ndarray:
    """The indices of the classes to draw: the first `MOST` of `order`, ascending."""
    return np.sort(order[:MOST])


def _some(number: int, total: int) -> str:
    return "" if number == total else f" Only the {number} of {total:,} that differ most are drawn."


def _diversity(answer: Diagnosis) -> list[Figure]:
    names, spread, rank = (answer.evidence[name] for name in ("classes", "spread", "rank"))
    if not len(names):
        return []
    chosen = _worst(np.argsort(np.minimum(spread, rank)))
    drawn, (axes,) = figure(2.1)
    series = (("spread", spread[chosen], FAKE), ("effective rank", rank[chosen], REAL))
    bars(axes, [str(name) for name in names[chosen]], series)
    axes.axhline(1, color=INK, linewidth=1)
    axes.axhline(0.75, color=INK, linewidth=1, linestyle=":")
    axes.set_ylim(0, max(1.2, min(2.0, float(max(spread.max(), rank.max())) * 1.05)))
    axes.set_ylabel("generated / real")
    caption = "Variety inside each class, generated / real: 1 is equal; below the dotted line it is red if significant."
    return [shown(drawn, caption + _some(len(chosen), len(names)))]


def _classes(answer: Diagnosis) -> Figure:
    real, fake = answer.evidence["real"], answer.evidence["fake"]
    names, sure = answer.evidence["names"], answer.evidence["sure"]
    chosen = _worst(np.argsort(-np.abs(real - fake) - 2 * sure, kind="stable"))
    drawn, (axes,) = figure(2.1)
    series = (("real", real[chosen], REAL), ("generated", fake[chosen], FAKE))
    bars(axes, [str(name) for name in names[chosen]], series, marked=sure[chosen])
    conditional = answer.numbers["conditional"]
    axes.set_ylabel("share of the label's class" if conditional else "share of all")
    caption = (
        "For each label, the share that is classified as such, by the same classifier for both sets."
        if conditional
        else "Share of each class, by the same classifier for both sets."
    )
    return shown(drawn, caption + " Bold: significantly different." + _some(len(chosen), len(real)))


def _modes(answer: Diagnosis) -> Figure:
    counts = answer.evidence["counts"]
    drawn, (axes,) = figure(2.0)
    axes.bar(np.arange(len(counts)), np.sort(counts)[::-1], 1.0, color=FAKE)
    axes.axhline(counts.sum() / len(counts), color=INK, linewidth=1, linestyle=":")
    axes.set_xlabel("modes, the most frequent first")
    axes.set_ylabel("samples")
    return shown(drawn, "Samples of each mode; the dotted line is an equal share.")


def _drift(answer: Diagnosis) -> Figure:
    layers = [str(name) for name in answer.evidence["layers"]]
    drawn, both = figure(1.2 + 0.28 * min(len(layers), MOST), 2)
    where = np.arange(len(layers))[:MOST]
    for axes, kind, title in (
        (both[0], "mean", "mean, in standard deviations"),
        (both[1], "variance", "log of variance"),
    ):
        axes.barh(where, answer.evidence[kind][:MOST], 0.6, color=FAKE, label="running averages")
        axes.scatter(
            answer.evidence[f"{kind}_batches"][:MOST], where, marker="|", s=120, color=REAL,
            label="farthest fresh batch",
        )  # fmt: skip
        axes.invert_yaxis()
        axes.set_xlabel(title)
        axes.set_yticks(where, layers[:MOST] if kind == "mean" else [""] * len(where))
    legend(both[0])
    return shown(
        drawn,
        "Distance of each layer's running statistics from the average of fresh batches, beside the distance of the "
        f"farthest of {math.floor(answer.numbers['fresh_batches'])} fresh batches.",
    )
