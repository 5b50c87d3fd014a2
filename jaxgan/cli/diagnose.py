"""`jaxgan diagnose`: tests a trained run for faults that scores do not show, and writes a page of results."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from jaxgan.cli import results
from jaxgan.cli.errors import user_errors
from jaxgan.cli.moved import add_data_arguments, notes, open_data
from jaxgan.cli.sample import add_run_arguments, check_generates

DIAGNOSES, ARRAYS = "diagnoses.jsonl", "diagnosis.npz"
PAGE = "diagnosis.html"
FEWEST = 100
BATCHES = 20  # fresh batches whose statistics are compared with the running ones
PAIRS = 24  # pairs of a sample and its nearest training example on the page
# Usual names of the split that is not trained on, in order of preference.
HELD_OUT = ("test", "validation", "valid", "val")


def add_arguments(parser) -> None:
    add_run_arguments(parser)
    parser.add_argument(
        "--num", type=int, default=5000, help="number of generated examples (default 5000)"
    )
    parser.add_argument(
        "--num_train",
        type=int,
        default=50_000,
        help="number of training examples that are searched for copies (default 50000, or all if fewer)",
    )
    parser.add_argument(
        "--held_out",
        help="split that was not trained on (default: test or validation, if there is one); none for no such split",
    )
    parser.add_argument(
        "--features",
        help="for pictures: random_conv (default), pixels or the name of a network; for points: points",
    )
    parser.add_argument(
        "--weights",
        help="file with the weights of the feature network, if they cannot be downloaded",
    )
    add_data_arguments(parser)
    parser.add_argument("--out", help=f"file of the page (default WORKDIR/{PAGE})")


class _Opened(NamedTuple):
    """The subject of a diagnosis: a run at a step, its data, and the features."""

    trained: Any
    engine: Any
    step: int
    state: Any
    source: Any
    held_out: Any  # None if there are no held-out data
    split: str | None  # name of the held-out split
    extractor: Any


def run(args) -> int:
    from pathlib import Path

    from jaxgan import train
    from jaxgan.cli.pages import diagnosis
    from jaxgan.metrics.diagnose import diagnose

    with user_errors("diagnose"):
        check_arguments(args)
        opened = _open(args)
    trained, engine, step, state, source, held_out, _, extractor = opened
    ema = not args.no_ema and bool(state.ema)
    samples = train.sample(engine, state, args.num, args.seed, ema)
    num_train = min(args.num_train, len(source))
    real, labels = features_and_labels(source, num_train, extractor, "real")
    unseen = None
    if held_out is not None:
        unseen, _ = features_and_labels(
            held_out, min(args.num_train, len(held_out)), extractor, "held-out"
        )
    with user_errors("diagnose"):
        found = diagnose(
            real,
            features_of([samples["image"]], args.num, extractor, "fake"),
            unseen,
            train_labels=labels,
            fake_labels=samples.get("label"),
            names=source.classes,
            seed=args.seed,
        )
    found += known_modes(source, samples["image"])
    found += batch_statistics(trained, engine, state, source, step, ema)

    num_held_out = 0 if unseen is None else len(unseen)
    protocol = _protocol(args, opened, num_train, num_held_out, ema)
    title = f"{trained.config.model_name}, step {step:,}"
    nearest = nearest_pairs(found[0], samples["image"], source, num_train)
    out = Path(args.out) if args.out else Path(args.workdir) / PAGE
    _write_page(out, title, found, nearest, protocol)
    show(f"{title}, {args.num:,} generated, {num_train:,} trained on", found)
    _write_row(Path(args.workdir) / DIAGNOSES, found, protocol)
    diagnosis.save(args.workdir, found, nearest)
    print(f"the page is {out}")
    return 0


def _open(args) -> _Opened:
    """Opens the run, its data and the features that the arguments select."""
    from jaxgan import config
    from jaxgan.cli.progress import weights_progress
    from jaxgan.metrics.features import default_features
    from jaxgan.metrics.networks import open_extractor
    from jaxgan.train.classes import pair_classes

    trained, engine, step, state = config.restore(args.workdir, args.step, best=args.best)
    check_generates(trained, args.workdir)
    source, held_out, split = open_splits(trained, args)
    shape = source.spec.shape
    if shape != trained.spec.shape:
        raise ValueError(
            f"the run was trained on examples of shape {trained.spec.shape}, but {source.summary} has"
            f" {shape}; give the data it was trained on."
        )
    if trained.game.num_classes is not None:
        source = pair_classes(source, trained.spec.fields["label"], f"the run in {args.workdir}")
    for line in notes(trained, args.workdir, source):
        print(f"jaxgan: {line}", file=sys.stderr)
    features = args.features or default_features(shape)
    extractor = open_extractor(features, shape, args.weights, progress=weights_progress)
    return _Opened(trained, engine, step, state, source, held_out, split, extractor)


def _protocol(args, opened: _Opened, num_train: int, num_held_out: int, ema: bool) -> dict:
    """The settings that determine the numbers, for JSON."""
    from jaxgan import __version__
    from jaxgan.metrics.compare import DATA, FINGERPRINT
    from jaxgan.metrics.diagnosis import ALPHA

    game, held_out = opened.trained.game, opened.held_out
    return {
        DATA: opened.source.summary,
        FINGERPRINT: opened.source.identity,
        "num_data": len(opened.source),
        "held_out": None if held_out is None else held_out.summary,
        "held_out_split": opened.split,
        "num_fake": args.num,
        "num_train": num_train,
        "num_held_out": num_held_out,
        "features": opened.extractor.name,
        "features_checksum": getattr(opened.extractor, "checksum", "not stated"),
        "alpha": ALPHA,
        "step": opened.step,
        "kimg": game.images(opened.step) / 1000,
        "seed": args.seed,
        "ema": ema,
        "labels": "none" if game.num_classes is None else "balanced",
        "jaxgan": __version__,
    }


def _write_page(out, title: str, found: list, nearest: dict, protocol: dict) -> None:
    from jaxgan import train
    from jaxgan.cli.pages import diagnosis

    page = diagnosis.page(f"Diagnosis of {title}", found, nearest, protocol)
    train.report.replace_atomically(out, lambda path: path.write_text(page, encoding="utf-8"))


def _write_row(file, found: list, protocol: dict) -> None:
    """Adds verdicts, numbers and protocol to the file, and shows them; see `results`."""
    result = {
        "verdicts": {answer.name: answer.verdict for answer in found},
        "numbers": {answer.name: answer.numbers for answer in found},
        "sentences": {answer.name: answer.sentence for answer in found},
        "protocol": protocol,
    }
    results.write(result, file)


def check_arguments(args) -> None:
    """Raises if an argument is invalid, before the run is opened."""
    from pathlib import Path

    for name, value in (("num", args.num), ("num_train", args.num_train)):
        if value < FEWEST:
            raise ValueError(f"--{name} is {value}; a diagnosis needs at least {FEWEST} examples.")
    if args.out and not Path(args.out).parent.is_dir():
        out = Path(args.out)
        raise FileNotFoundError(
            f"there is no folder {out.parent} to put {out.name} into; create it first."
        )


def show(title: str, found: list) -> None:
    """The verdicts as a table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for column in ("question", "verdict", "answer"):
        table.add_column(column)
    colours = {"red": "red", "amber": "yellow", "green": "green"}
    for answer in found:
        word = f"[bold {colours[answer.verdict]}]{answer.verdict}[/]"
        table.add_row(answer.name.replace("_", " "), word, answer.sentence)
    Console().print(table)


def open_splits(trained, args):
    """(the training data of the run, the held-out data or None, the name of the held-out split or None)."""
    held_out, trained_on = args.held_out, trained.config.data.split
    source = open_data(trained, args)
    if held_out == "none" or (held_out is None and trained_on == "all"):
        return source, None, None
    if held_out == trained_on:
        raise ValueError(
            f"--held_out is {held_out}, which the run was trained on; name another split, or none."
        )
    for split in (held_out,) if held_out else HELD_OUT:
        if split == trained_on:
            continue
        try:
            other = open_data(trained, args, split=split)
        except (ValueError, OSError):
            if held_out:
                raise
            continue
        if held_out or len(other) >= FEWEST:
            return source, other, split
    return source, None, None


def features_of(batches, num: int, extractor, kind: str):
    """The features of the first `num` examples: float32 [num, D]."""
    from jaxgan.metrics.summary import Needs, summarise

    needs = Needs(arrays=frozenset(["features"]))
    return summarise(batches, extractor, num, kind, needs).arrays["features"]


def features_and_labels(source, num: int, extractor, kind: str):
    """(features, labels or None) of `source.spread(num)`, read once."""
    import numpy as np

    labels = []

    def batches():
        for batch in source.spread(num):
            labels.append(batch.get("label"))
            yield batch

    features = features_of(batches(), num, extractor, kind)
    return features, None if labels[0] is None else np.concatenate(labels)


def source_rows(source, num: int, rows):
    """The examples `rows` of `source.spread(num)`: [len(rows), ...]; no others are kept in memory."""
    import numpy as np

    taken, start = {}, 0
    for batch in source.spread(num):
        images = batch["image"]
        for row in rows:
            if start <= row < start + len(images):
                taken[int(row)] = images[row - start].copy()
        start += len(images)
    return np.stack([taken[int(row)] for row in rows])


def nearest_pairs(memorisation, images, source, num_train: int):
    """The fakes with the smallest distances to a training example, each with that example, in order of distance.

    Each training example occurs once before any repeats: otherwise one that is copied often would fill the page.
    """
    import numpy as np

    distance, index = memorisation.evidence["distance"], memorisation.evidence["index"]
    order = np.argsort(distance, kind="stable")
    _, first = np.unique(index[order], return_index=True)
    first.sort()
    order = np.concatenate([order[first], np.delete(order, first)])[:PAIRS]
    nearer = np.searchsorted(np.sort(memorisation.evidence["reference"]), distance[order])
    return {
        "fake": images[order],
        "train": source_rows(source, num_train, index[order]),
        "distance": distance[order],
        "reference_nearer": nearer / len(memorisation.evidence["reference"]),
    }


def known_modes(source, samples) -> list:
    """The mode coverage, for data with known modes: a mixture of Gaussians, or stacked digits."""
    import numpy as np

    from jaxgan.metrics.classes import assign_classes
    from jaxgan.metrics.modes import mode_coverage, nearest_modes

    if hasattr(source, "centers"):
        modes = nearest_modes(samples, source.centers, source.std)
        return [mode_coverage(modes, len(source.centers))]
    if hasattr(source, "digits"):
        known = source.digits.reshape(len(source.digits), -1).astype(np.float32)
        channels = np.moveaxis(samples, -1, 0).reshape(3, len(samples), -1).astype(np.float32)
        spelled = [assign_classes(known, source.digit_labels, x) for x in channels]
        return [mode_coverage(100 * spelled[0] + 10 * spelled[1] + spelled[2], 1000)]
    return []


def batch_statistics(trained, engine, state, source, step: int, ema: bool) -> list:
    """Compares the generator's running batch statistics with those of fresh batches."""
    from jaxgan import data
    from jaxgan.metrics.drift import statistics_drift
    from jaxgan.train.batch_statistics import fresh_statistics, running_statistics

    if "generator" not in state.params:
        return []
    index, _ = trained.game.stage_at(step)
    stage = trained.game.stages[index]
    pipeline = data.Pipeline(source, trained.config.seed, resolution=stage.resolution, stage=index)
    batches = (pipeline.batch(draw, stage.batch_size) for draw in range(BATCHES))
    fresh = fresh_statistics(engine, state, step, "generator", batches, ema)
    networks = trained.game.networks(state, ema)
    running = running_statistics(networks["generator"]) if fresh else {}
    return [statistics_drift(running, fresh)]
