"""The CIFAR-10 table: every row trained from several seeds and scored alike, and mimicry's own code beside.

    python benchmarks/cifar10_table.py run sngan --seed 0 --out FOLDER
    python benchmarks/cifar10_table.py run sngan --seed 0 --out FOLDER --code mimicry --mimicry CHECKOUT
    python benchmarks/cifar10_table.py show             # writes the page and the curves

Data are the 50,000 training pictures as JPEGs, the network is a CIFAR-10 ResNet-56, both in $JAXGAN_TEST_DATA, as in
`cifar10_classes.py`: the scores are named after that network, and none is an FID. A score compares 5,000 samples with
all 50,000 pictures; of conditional models there are equally many samples of each class, and the class accuracy is the
share of 2,000 samples that the network assigns to the class that they were made for.

The settings are reduced to what a CPU can train (`ROWS`): they show how the systems compare with each other and with
other code early in training, not what they reach.

`run` continues a run that was stopped. Ctrl-C or `--minutes` stops it; the result so far is written to
benchmarks/results/cifar10/ROW_CODE_SEED.json, and its distances are shown; "Last" and "Best" are of runs that have been
played to the end. `final` is the last evaluation, `best` that of the lowest distance, which is biased, as it was
selected by its score. `seconds` are those of the rounds, without evaluations and checkpoints; in jaxgan's, compiling is
among them. Beside the result of seed 0 there is a grid of samples.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from cifar10_classes import NUM, Evaluator
from on_device_steps.training import FEATURES, find_files, stopping
from results_table import PAGE, ROOT, put, table

from jaxgan import config, train
from jaxgan.metrics.evaluate import evaluate
from jaxgan.metrics.protocols import Protocol
from jaxgan.train import report

RESULTS = ROOT / "benchmarks" / "results" / "cifar10"
EVERY = 250  # rounds between evaluations
GRID = 64  # samples in a picture
SHOWN = (250, 500, 1000)  # rounds with a column of their own
SCORES, DISTANCE, KERNEL = ("fd", "kd", "pr"), f"fd_{FEATURES}", f"kd_{FEATURES}"
CODES = ("jaxgan", "mimicry")


class Row(NamedTuple):
    """A row of the table: a shipped config, and how the reduced setting changes it."""

    config: str
    options: tuple[str, ...]
    rounds: int


def resnet(width: int, batch_size: int) -> tuple[str, ...]:
    """The setting of mimicry's networks: a generator of this width, a critic of half of it, a constant rate."""
    return (
        f"model.generator_width={width}",
        f"model.critic_width={width // 2}",
        f"model.batch_size={batch_size}",
        "model.generator_batch_multiple=1",
        "model.decay_steps=0",
    )


SMALL, WIDE = (
    resnet(32, 16),
    resnet(64, 32),
)  # a quarter of an hour on a core, and more than an hour
SMALL_SHORTCUTS, BILINEAR = "model.shortcut_init=pytorch", "model.upsampling=bilinear"
CONV = (
    "model.generator_width=32",
    "model.critic_width=32",
    "model.batch_size=64",
    "model.decay_steps=0",
)
ROWS = {
    "dcgan": Row("dcgan_cifar10", CONV, 2000),
    "lsgan": Row("lsgan_cifar10", CONV, 2000),
    "wgan": Row("wgan_cifar10", CONV, 2000),
    "wgan_gp": Row("wgan_gp_cifar10", (*SMALL, BILINEAR, SMALL_SHORTCUTS), 3000),
    "wgan_gp_glorot": Row("wgan_gp_cifar10", SMALL, 3000),
    "wgan_gp_glorot_wide": Row("wgan_gp_cifar10", (*WIDE, BILINEAR), 3000),
    "sngan": Row("sngan_cifar10", (*SMALL, SMALL_SHORTCUTS), 3000),
    "sngan_glorot": Row("sngan_cifar10", SMALL, 3000),
    "sngan_wide": Row("sngan_cifar10", (*WIDE, SMALL_SHORTCUTS), 3000),
    "sngan_conditional": Row("sngan_conditional_cifar10", (*SMALL, SMALL_SHORTCUTS), 3000),
}


# Running ----------------------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    """Trains a row, or goes on with it, and writes the result so far."""
    row = ROWS[args.row]
    workdir = args.out / f"{args.row}_{args.code}_{args.seed}"
    workdir.mkdir(parents=True, exist_ok=True)
    facts = (run_jaxgan if args.code == "jaxgan" else run_mimicry)(row, args, workdir)
    curve = facts["curve"]
    if not curve:
        print(f"stopped before round {EVERY}; the same command goes on", flush=True)
        return
    best = min(curve, key=lambda point: point[DISTANCE])
    result = {
        "row": args.row,
        "code": args.code,
        "seed": args.seed,
        **facts,
        "final": curve[-1],
        "best": best,
        "machine": machine(),
        "commit": commit(),
    }
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / f"{workdir.name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    if args.seed == 0:
        shutil.copyfile(workdir / "samples.png", path.with_suffix(".png"))
    print(f"{path}: {DISTANCE} {curve[-1][DISTANCE]:.2f} after {curve[-1]['step']:,} rounds")
    if not finished(result):
        print("stopped; the same command goes on", flush=True)


def run_jaxgan(row: Row, args: argparse.Namespace, workdir: Path) -> dict[str, Any]:
    """The facts of a row that jaxgan has trained, to its end or until it was stopped."""
    files = find_files()
    given = ["data.name=array", f"data.path={files['data']}", f"seed={args.seed}"]
    given += [f"train.steps={row.rounds}", "train.log_every=50"]
    given += [f"train.{every}={EVERY}" for every in ("evaluate_every", "checkpoint_every")]
    given += [f"train.grid={GRID}"]
    cfg = config.load(row.config, [*given, *row.options])
    source = config.open_data(cfg)
    evaluator = Evaluator(source, files["network"], workdir / "curve.jsonl", SCORES)
    with stopping(60 * args.minutes if args.minutes else None):
        played = config.make_run(cfg, source.spec)
        result = played.train(source, workdir / "run", evaluator=evaluator)
    shutil.copyfile(workdir / "run" / "samples.png", workdir / "samples.png")
    return {
        "config": row.config,
        "options": list(row.options),
        "rounds": result.step,
        "kimg": result.engine.game.images(result.step) / 1000,
        "seconds": seconds_of(report.read_metrics(workdir / "run")),
        "curve": [
            {"step": e["measured"]["step"], **numbers(e, ("class_accuracy_",))}
            for e in train.read_evaluations(workdir / "run")
        ],
    }


def seconds_of(metrics: list[dict[str, float]]) -> float:
    """The seconds of all rounds in rows of metrics."""
    seconds, before = 0.0, 0.0
    for row in metrics:
        if "rounds_per_second" in row:
            seconds += (row["step"] - before) / row["rounds_per_second"]
            before = row["step"]
    return seconds


def numbers(result: dict[str, Any], without: tuple[str, ...] = ()) -> dict[str, float]:
    """The scores of a result."""
    return {k: v for k, v in result.items() if isinstance(v, float) and not k.startswith(without)}


def run_mimicry(row: Row, args: argparse.Namespace, workdir: Path) -> dict[str, Any]:
    """As `run_jaxgan`, of mimicry's code."""
    import mimicry_twin

    files = find_files()
    cfg = config.load(row.config, ["data.name=array", f"data.path={files['data']}", *row.options])
    model = cfg.model
    source = config.open_data(cfg)
    judge = make_judge(source, files["network"])
    peer = mimicry_twin.Peer(
        args.mimicry,
        cfg.model_name,
        source,
        (model.generator_width, model.critic_width),
        model.batch_size,
        args.seed,
        workdir / "peer.pt",
    )
    curve, start = peer.curve, time.monotonic()
    while peer.step < row.rounds:
        if args.minutes and time.monotonic() - start > 60 * args.minutes:
            break
        peer.play(EVERY)
        scores = numbers(judge(peer.samples(NUM)))
        curve.append({"step": peer.step, **scores})
        peer.save()
        print(json.dumps(curve[-1]), flush=True)
    report.save_grid(workdir / "samples.png", peer.samples(GRID))
    return {
        "config": f"{cfg.model_name} of mimicry",
        "options": list(row.options),
        "rounds": peer.step,
        "kimg": peer.step * model.critic_steps * model.batch_size / 1000,
        "seconds": peer.seconds,
        "curve": curve,
    }


def finished(result: dict[str, Any]) -> bool:
    return result["rounds"] >= ROWS[result["row"]].rounds


def make_judge(source, network: Path):
    """A function from pictures, uint8 [N, 32, 32, 3], to the result of the same protocol as of jaxgan's rows."""
    protocol = Protocol("cifar10_table", SCORES, FEATURES, num_fake=NUM)
    evaluator = train.make_evaluator(source, protocol, weights=network)
    real = evaluator.real()

    def judge(pictures: np.ndarray) -> dict[str, Any]:
        return evaluate(real, np.array_split(pictures, 50), evaluator.extractor, evaluator.protocol)

    return judge


def machine() -> dict[str, Any]:
    """What the seconds depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = jax.devices()[0]
    return {
        "device": platform.machine() if device.platform == "cpu" else device.device_kind,
        "cores": cores,
        "jax": jax.__version__,
        "python": platform.python_version(),
    }


def commit() -> str:
    call = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()


# Showing ----------------------------------------------------------------------------------------------------


def show(args: argparse.Namespace) -> None:
    """Writes the table of all results, and the curves of distances."""
    results = [json.loads(path.read_text()) for path in sorted(args.results.glob("*.json"))]
    if not results:
        raise SystemExit(
            f"there are no results in {args.results}; make one with `run {next(iter(ROWS))}`"
        )
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in sorted(results, key=lambda r: (list(ROWS).index(r["row"]), r["code"])):
        groups.setdefault((result["row"], result["code"]), []).append(result)
    text = [HEADER, table(HEADS, [cells(*item) for item in groups.items()])]
    pictures = ["", "![Distance by round](curves.png)", ""]
    for row, code in groups:
        if (file := args.results / f"{row}_{code}_0.png").exists():
            pictures += [f"`{row}`, {code}, seed 0:", "", f"![samples]({file.name})", ""]
    (args.results / "README.md").write_text("\n".join([*text, *pictures]))
    plot(args.results / "curves.png", groups)
    if args.results == RESULTS:
        curves = f"![Distance by round](../{(RESULTS / 'curves.png').relative_to(ROOT)})"
        block = "\n".join([*text, "", curves])
        PAGE.write_text(put("cifar10", block, PAGE.read_text()))
    print("\n".join(text))


HEADER = """Reduced widths and few rounds; see `benchmarks/cifar10_table.py`. Distances are means of the seeds and, in
brackets, the lowest and the highest; the kernel distance is that of KID, in these features; accuracy is in percent. No
number is an FID. The seconds are of runs beside other work on the same machine: `round_speed.py` compares speeds.
"""
HEADS = ["Row", "Code", "Seeds", "kimg", *(f"{step:,}" for step in SHOWN), "Last", "Best", "Kernel distance, last",
         "Accuracy", "Seconds a round", "Cores", "Commit"]  # fmt: skip


def cells(name: tuple[str, str], results: list[dict[str, Any]]) -> list[str]:
    """A row of the table: the results of all seeds."""
    ended = [r for r in results if finished(r)]
    at = {
        step: [p[DISTANCE] for r in results for p in r["curve"] if p["step"] == step]
        for step in SHOWN
    }
    final = [r["final"] for r in ended]
    accuracy = [f["class_accuracy"] for f in final if "class_accuracy" in f]
    return [
        *(f"`{part}`" if part in ROWS else part for part in name),
        str(len(results)),
        f"{max(r['kimg'] for r in results):.0f}",
        *(spread(values) for values in at.values()),
        spread([f[DISTANCE] for f in final]),
        spread([r["best"][DISTANCE] for r in ended]),
        spread([f[KERNEL] for f in final]),
        spread([100 * x for x in accuracy]),
        f"{np.mean([r['seconds'] / r['rounds'] for r in results]):.2f}",
        ", ".join(sorted({str(r["machine"]["cores"]) for r in results})),
        ", ".join(sorted({r["commit"] for r in results})),
    ]


def spread(values: list[float]) -> str:
    """Mean, lowest and highest."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def plot(path: Path, groups: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    """The distance by round, a panel for each row, a line for each seed, a colour for each code."""
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys(name for name, _ in groups))
    figure = Figure(figsize=(3.2 * len(rows), 3), layout="constrained")
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, rows, strict=True):
        for code, colour in zip(CODES, ("tab:blue", "tab:orange"), strict=True):
            for i, result in enumerate(groups.get((name, code), ())):
                points = [(p["step"], p[DISTANCE]) for p in result["curve"]]
                panel.plot(*zip(*points, strict=True), color=colour, label="" if i else code)
        panel.set(title=name, xlabel="round", xscale="log", yscale="log")
        panel.legend()
    panels[0].set_ylabel(DISTANCE)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run", help="train a row and write its result")
    running.set_defaults(call=run)
    running.add_argument("row", choices=tuple(ROWS))
    running.add_argument("--seed", type=int, default=0)
    running.add_argument("--out", type=Path, required=True, help="folder of the runs")
    running.add_argument("--minutes", type=float, default=0.0, help="0 for no limit")
    running.add_argument("--code", choices=CODES, default="jaxgan")
    running.add_argument("--mimicry", type=Path, help="checkout of kwotsin/mimicry")
    commands.add_parser("show", help="write the page and the curves").set_defaults(call=show)
    args = parser.parse_args()
    if args.call is run and args.code == "mimicry" and args.mimicry is None:
        parser.error("--code mimicry needs a checkout of kwotsin/mimicry; give --mimicry FOLDER")
    args.call(args)


if __name__ == "__main__":
    main()
