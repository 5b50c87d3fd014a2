"""`jaxgan diagnose`: tests a trained run for faults that scores do not show, and writes a page of results."""

from __future__ import annotations

from jaxgan.cli.errors import user_errors
from jaxgan.cli.sample import add_run_arguments, check_generates

DIAGNOSES = "diagnoses.jsonl"
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
    parser.add_argument(
        "--data", help="path of the data (config.data.path), if it has changed since training"
    )
    parser.add_argument("--out", help=f"file of the page (default WORKDIR/{PAGE})")


def run(args) -> int:
    import json
    from pathlib import Path

    from jaxgan import __version__, config, train
    from jaxgan.cli import diagnosis_page
    from jaxgan.cli.progress import weights_progress
    from jaxgan.metrics.diagnose import diagnose
    from jaxgan.metrics.diagnosis import ALPHA
    from jaxgan.metrics.features import default_features
    from jaxgan.metrics.networks import open_extractor

    workdir = Path(args.workdir)
    out = Path(args.out) if args.out else workdir / PAGE
    with user_errors("diagnose"):
        check_arguments(args)
        trained, engine, step, state = config.restore(args.workdir, args.step, best=args.best)
        check_generates(trained, args.workdir)
        source, held_out, split = open_splits(trained, args.data, args.held_out)
        if source.spec.shape != trained.spec.shape:
            raise ValueError(
                f"the run was trained on examples of shape {trained.spec.shape}, but {source.summary} has"
                f" {source.spec.shape}; give the data it was trained on."
            )
        features = args.features or default_features(source.spec.shape)
        extractor = open_extractor(
            features, source.spec.shape, args.weights, progress=weights_progress
        )
    ema = not args.no_ema and bool(state.ema)
    samples = train.sample(engine, state, args.num, args.seed, ema)
    num_train = min(args.num_train, len(source))
    real, labels = look_at(source, num_train, extractor, "real")
    unseen = None
    if held_out is not None:
        unseen, _ = look_at(held_out, min(args.num_train, len(held_out)), extractor, "held-out")
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

    protocol = {
        "data": source.summary,
        "num_data": len(source),
        "held_out": None if held_out is None else held_out.summary,
        "held_out_split": split,
        "num_fake": args.num,
        "num_train": num_train,
        "num_held_out": 0 if unseen is None else len(unseen),
        "features": extractor.name,
        "features_checksum": getattr(extractor, "checksum", "not stated"),
        "alpha": ALPHA,
        "step": step,
        "kimg": trained.game.images(step) / 1000,
        "seed": args.seed,
        "ema": ema,
        "labels": "none" if trained.game.num_classes is None else "balanced",
        "jaxgan": __version__,
    }
    title = f"{trained.config.model_name}, step {step:,}"
    nearest = nearest_pairs(found[0], samples["image"], source, num_train)
    page = diagnosis_page.page(title, found, nearest, protocol)
    train.report.replace_atomically(out, lambda path: path.write_text(page, encoding="utf-8"))

    show(f"{title}, {args.num:,} generated, {num_train:,} trained on", found)
    result = {
        "verdicts": {answer.name: answer.verdict for answer in found},
        "numbers": {answer.name: answer.numbers for answer in found},
        "protocol": protocol,
    }
    print(json.dumps(result))
    with (workdir / DIAGNOSES).open("a") as file:
        file.write(json.dumps(result) + "\n")
    print(f"the page is {out}")
    return 0


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


def open_splits(trained, path: str | None, held_out: str | None):
    """(the training data of the run, the held-out data or None, the name of the held-out split or None)."""
    from jaxgan import config

    changes, trained_on = {"path": path} if path else {}, trained.config.data.split
    source = config.open_data(trained.config, **changes)
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
            other = config.open_data(trained.config, split=split, **changes)
        except (ValueError, OSError):
            if held_out:
                raise
            continue
        if held_out or len(other) >= FEWEST:
            return source, other, split
    return source, None, None


def features_of(batches, num: int, extractor, kind: str):
    """The features of the first `num` examples: float32 [num, D]."""
    from jaxgan.metrics.summary import Wanted, summarise

    wanted = Wanted(arrays=frozenset(["features"]))
    return summarise(batches, extractor, num, kind, wanted).arrays["features"]


def look_at(source, num: int, extractor, kind: str):
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
    stage = trained.game.stages[trained.game.stage_at(step)[0]]
    pipeline = data.Pipeline(source, trained.config.seed, resolution=stage.resolution)
    batches = (pipeline.batch(draw, stage.batch_size) for draw in range(BATCHES))
    fresh = fresh_statistics(engine, state, step, "generator", batches, ema)
    networks = trained.game.networks(state, ema)
    running = running_statistics(networks["generator"]) if fresh else {}
    return [statistics_drift(running, fresh)]
