"""The page of `jaxgan diagnose`: one HTML file without scripts or external resources."""

from __future__ import annotations

import base64
import html
import io
import math

import numpy as np

from jaxgan.metrics.diagnosis import VERDICTS, Diagnosis

# Each verdict has a word and a mark, so that it does not depend on colour.
WORDS = {"green": ("✓", "no fault found"), "amber": ("!", "look closer"), "red": ("✕", "fault found")}  # fmt: skip
QUESTIONS = {
    "memorisation": "Are training examples repeated?",
    "collapse": "Is there less variety than in the data?",
    "classes": "Are classes missing or confused?",
    "modes": "Are all known modes covered?",
    "batch_statistics": "Do the running batch statistics match fresh batches?",
}
BARS = 40  # largest number of classes in a plot; of more, those that differ most are drawn
FAKE, REAL = "#e8703a", "#4a86d8"  # visible on white and black, distinct without colour vision
GREY = "#8a8a8a"

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --soft: #5d6570; --line: #dfe3e8; --paper: #fbfbfc;
  --card: #ffffff; --green: #16703c; --green-bg: #e2f4e8; --amber: #8a5300; --amber-bg: #fdf0d5;
  --red: #b01e1e; --red-bg: #fde4e2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a2a9b3; --line: #33383f;
  --paper: #14161a; --card: #1c1f24; --green: #7fd79c; --green-bg: #173423; --amber: #f2c46d; --amber-bg: #3a2c10;
  --red: #ff9b93; --red-bg: #431b1a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 0; }
p { margin: .5rem 0; max-width: 46rem; }
.soft, figcaption, summary { color: var(--soft); font-size: .875rem; }
.head { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .75rem; }
.chip { display: inline-block; padding: .1rem .65rem; border-radius: 1rem; font-size: .8125rem;
  font-weight: 600; white-space: nowrap; border: 1px solid currentColor; }
.green { color: var(--green); background: var(--green-bg); }
.amber { color: var(--amber); background: var(--amber-bg); }
.red { color: var(--red); background: var(--red-bg); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  padding: 1.25rem; margin: 1.25rem 0; }
ul.verdicts { list-style: none; margin: 1.25rem 0; padding: 0; border: 1px solid var(--line);
  border-radius: .75rem; background: var(--card); }
ul.verdicts li { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .25rem 1rem;
  padding: .65rem 1.25rem; }
ul.verdicts li + li { border-top: 1px solid var(--line); }
a { color: inherit; text-underline-offset: .2em; }
figure { margin: 1rem 0 0; }
figure > img { display: block; width: 100%; max-width: 38rem; height: auto; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.25rem, 1fr)); gap: .9rem .75rem;
  margin-top: .75rem; }
.pairs div { font-size: .75rem; color: var(--soft); line-height: 1.35; }
.pairs span { display: flex; gap: 3px; margin-bottom: .2rem; }
.pairs img { width: calc(50% - 2px); aspect-ratio: 1; object-fit: contain; image-rendering: pixelated;
  border-radius: 3px; background: var(--line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; margin-top: .5rem; }
td { padding: .25rem 1.5rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:last-child { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; padding-right: 0; }
summary { cursor: pointer; margin-top: 1rem; }
"""


def page(title: str, found: list[Diagnosis], nearest: dict[str, np.ndarray], protocol: dict) -> str:
    """The whole page.

    Args:
      title: of the run.
      found: the diagnoses, memorisation first.
      nearest: the fakes nearest to training examples: "fake" and "train" [K, ...], "distance" [K], and
        "reference_nearer" [K], the share of the reference set that is nearer to a training example.
      protocol: the settings of the diagnosis.
    """
    worst = max((answer.verdict for answer in found), key=VERDICTS.index)
    faults = sum(answer.verdict == "red" for answer in found)
    opening = {
        "red": f"{faults} of {len(found)} questions found a fault.",
        "amber": "No fault, but something to look at more closely.",
        "green": "No fault was found.",
    }[worst]
    shares = (
        f"{protocol['num_fake']:,} generated examples. Trained on {protocol['data']}"
        + (
            f" ({protocol['num_train']:,} searched)"
            if protocol["num_train"] < protocol["num_data"]
            else ""
        )
        + (
            f". Held out: {protocol['held_out']}"
            if protocol["num_held_out"]
            else ". Nothing held out"
        )
    )
    verdicts = "".join(
        f'<li><a href="#{answer.name}">{QUESTIONS[answer.name]}</a>{_chip(answer.verdict)}</li>'
        for answer in found
    )
    sections = "".join(_section(answer, nearest, protocol) for answer in found)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Diagnosis: {html.escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>Diagnosis of {html.escape(title)}</h1><p class="soft">{html.escape(shares)}.</p>'
        f'<p>{opening}</p><ul class="verdicts">{verdicts}</ul>{sections}'
        f"<section><h2>How it was measured</h2>"
        f"<p>A fault is red if its test is significant, with a false-alarm rate of {protocol['alpha']:g} for each "
        "question, and it is large enough to matter. It is amber if it is significant but small. Distances are between "
        f"<em>{html.escape(protocol['features'])}</em> features, and depend on what these represent.</p>"
        f"{_table(protocol)}</section></main></body></html>\n"
    )


def _chip(verdict: str) -> str:
    mark, words = WORDS[verdict]
    return f'<span class="chip {verdict}">{mark} {verdict}: {words}</span>'


def _section(answer: Diagnosis, nearest: dict[str, np.ndarray], protocol: dict) -> str:
    drawn = ""
    if answer.name == "memorisation":
        drawn = _distances(answer, protocol) + _pairs(nearest, protocol)
    elif answer.name == "collapse":
        drawn = _diversity(answer)
    elif answer.name == "classes":
        drawn = _classes(answer)
    elif answer.name == "modes":
        drawn = _modes(answer)
    elif answer.evidence:
        drawn = _drift(answer)
    return (
        f'<section id="{answer.name}"><div class="head"><h2>{QUESTIONS[answer.name]}</h2>'
        f"{_chip(answer.verdict)}</div><p>{html.escape(answer.sentence)}</p>{drawn}"
        f"<details><summary>All numbers</summary>{_table(answer.numbers)}</details></section>"
    )


def _table(numbers: dict) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name.replace('_', ' '))}</td><td>{html.escape(_text(value))}</td></tr>"
        for name, value in numbers.items()
    )
    return f'<div class="scroll"><table>{rows}</table></div>'


def _text(value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, list) and not value):
        return "none"
    if isinstance(value, list):
        more = f" and {len(value) - BARS:,} more" if len(value) > BARS else ""
        return ", ".join(map(str, value[:BARS])) + more
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# Pictures --------------------------------------------------------------------------------------------------


def _uri(write) -> str:
    buffer = io.BytesIO()
    write(buffer)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _picture(image: np.ndarray) -> str:
    from PIL import Image

    pixels = image[..., 0] if image.shape[-1] == 1 else image
    return _uri(lambda buffer: Image.fromarray(pixels).save(buffer, format="PNG"))


def _figure(height: float, columns: int = 1):
    """A Matplotlib figure and its axes: a transparent background, and a grey that is legible on white and on black."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for each in axes:
        each.patch.set_alpha(0)
        each.tick_params(colors=GREY, labelsize=8)
        for side, spine in each.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(GREY)
        for label in (each.xaxis.label, each.yaxis.label):
            label.set_color(GREY)
            label.set_fontsize(9)
    return figure, axes


def _shown(figure, caption: str) -> str:
    uri = _uri(lambda buffer: figure.savefig(buffer, format="png", dpi=160))
    caption = html.escape(caption)
    return f'<figure><img src="{uri}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def _legend(axes) -> None:
    axes.legend(
        frameon=False, fontsize=8, labelcolor=GREY, ncols=2, loc="lower left", bbox_to_anchor=(0, 1),
        borderaxespad=0,
    )  # fmt: skip


def _reference(protocol: dict) -> str:
    return "held-out" if protocol["num_held_out"] else "training (to each other)"


def _distances(answer: Diagnosis, protocol: dict) -> str:
    fake, reference = answer.evidence["distance"], answer.evidence["reference"]
    figure, (axes,) = _figure(2.2)
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
    _legend(axes)
    return _shown(
        figure,
        "Copies have small distances. Without copies, the generated curve coincides with the other one or lies to its"
        " right.",
    )


def _pairs(nearest: dict[str, np.ndarray], protocol: dict) -> str:
    what = _reference(protocol)
    if nearest["fake"].ndim != 4:
        return _nearest_points(nearest)
    pairs = "".join(
        f'<div><span><img src="{_picture(fake)}" alt="generated"><img src="{_picture(real)}" alt="training"></span>'
        f"{distance:.3g}<br>{share:.1%} of {what} nearer</div>"
        for fake, real, distance, share in zip(
            nearest["fake"],
            nearest["train"],
            nearest["distance"],
            nearest["reference_nearer"],
            strict=True,
        )
    )
    return (
        "<figure><figcaption>Generated examples (left) beside their nearest training examples (right), in order of "
        "distance; pairs that repeat a training example come last.</figcaption>"
        f'<div class="pairs">{pairs}</div></figure>'
    )


def _nearest_points(nearest: dict[str, np.ndarray]) -> str:
    fake, real = nearest["fake"], nearest["train"]
    if fake.shape[1] < 2:
        return ""
    figure, (axes,) = _figure(3.2)
    axes.plot(
        np.stack([fake[:, 0], real[:, 0]]),
        np.stack([fake[:, 1], real[:, 1]]),
        color=GREY,
        linewidth=0.5,
    )
    axes.scatter(real[:, 0], real[:, 1], s=40, facecolors="none", edgecolors=REAL, label="training")
    axes.scatter(fake[:, 0], fake[:, 1], s=10, color=FAKE, label="generated")
    _legend(axes)
    return _shown(figure, f"The {len(fake)} generated points that are nearest to a training point.")


def _bars(axes, names, series, *, marked=None) -> None:
    """A bar plot: for each name, one bar of each series (label, values, colour)."""
    width = 0.8 / len(series)
    where = np.arange(len(names))
    for i, (label, values, colour) in enumerate(series):
        axes.bar(
            where + (i - (len(series) - 1) / 2) * width, values, width, color=colour, label=label
        )
    axes.set_xticks(where, names)
    if len(names) > 12 or max(map(len, names)) > 4:
        axes.tick_params(axis="x", labelrotation=90)
    for at in np.flatnonzero(marked if marked is not None else []):
        axes.get_xticklabels()[at].set_fontweight("bold")
    axes.margins(x=0.01)
    if len(series) > 1:
        _legend(axes)


def _worst(order: np.ndarray) -> np.ndarray:
    """The indices of the classes to draw: the first `BARS` of `order`, ascending."""
    return np.sort(order[:BARS])


def _drawn(shown: int, total: int) -> str:
    return "" if shown == total else f" Only the {shown} of {total:,} that differ most are drawn."


def _diversity(answer: Diagnosis) -> str:
    names, spread, rank = (answer.evidence[name] for name in ("classes", "spread", "rank"))
    if not len(names):
        return ""
    chosen = _worst(np.argsort(np.minimum(spread, rank)))
    figure, (axes,) = _figure(2.1)
    series = (("spread", spread[chosen], FAKE), ("effective rank", rank[chosen], REAL))
    _bars(axes, [str(name) for name in names[chosen]], series)
    axes.axhline(1, color=GREY, linewidth=1)
    axes.axhline(0.75, color=GREY, linewidth=1, linestyle=":")
    axes.set_ylim(0, max(1.2, min(2.0, float(max(spread.max(), rank.max())) * 1.05)))
    axes.set_ylabel("generated / real")
    return _shown(
        figure,
        "Variety inside each class, generated / real: 1 is equal; a value below the dotted line is red if significant."
        + _drawn(len(chosen), len(names)),
    )


def _classes(answer: Diagnosis) -> str:
    real, fake = answer.evidence["real"], answer.evidence["fake"]
    names, sure = answer.evidence["names"], answer.evidence["sure"]
    chosen = _worst(np.argsort(-np.abs(real - fake) - 2 * sure, kind="stable"))
    figure, (axes,) = _figure(2.1)
    series = (("real", real[chosen], REAL), ("generated", fake[chosen], FAKE))
    _bars(axes, [str(name) for name in names[chosen]], series, marked=sure[chosen])
    conditional = answer.numbers["conditional"]
    axes.set_ylabel("share of the label's class" if conditional else "share of all")
    caption = (
        "For each label, the share that is classified as such, by the same classifier for both sets."
        if conditional
        else "Share of each class, by the same classifier for both sets."
    )
    return _shown(
        figure, caption + " Bold: significantly different." + _drawn(len(chosen), len(real))
    )


def _modes(answer: Diagnosis) -> str:
    counts = answer.evidence["counts"]
    figure, (axes,) = _figure(2.0)
    axes.bar(np.arange(len(counts)), np.sort(counts)[::-1], 1.0, color=FAKE)
    axes.axhline(counts.sum() / len(counts), color=GREY, linewidth=1, linestyle=":")
    axes.set_xlabel("modes, the most frequent first")
    axes.set_ylabel("samples")
    return _shown(figure, "Samples of each mode; the dotted line is an equal share.")


def _drift(answer: Diagnosis) -> str:
    layers = [str(name) for name in answer.evidence["layers"]]
    figure, both = _figure(1.2 + 0.28 * min(len(layers), BARS), 2)
    where = np.arange(len(layers))[:BARS]
    for axes, kind, title in (
        (both[0], "mean", "mean, in standard deviations"),
        (both[1], "variance", "log of variance"),
    ):
        axes.barh(where, answer.evidence[kind][:BARS], 0.6, color=FAKE, label="running averages")
        axes.scatter(
            answer.evidence[f"{kind}_batches"][:BARS], where, marker="|", s=120, color=REAL,
            label="farthest fresh batch",
        )  # fmt: skip
        axes.invert_yaxis()
        axes.set_xlabel(title)
        axes.set_yticks(where, layers[:BARS] if kind == "mean" else [""] * len(where))
    _legend(both[0])
    return _shown(
        figure,
        "Distance of each layer's running statistics from the average of fresh batches, beside the distance of the "
        f"farthest of {math.floor(answer.numbers['fresh_batches'])} fresh batches.",
    )
