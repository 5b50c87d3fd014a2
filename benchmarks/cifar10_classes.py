"""Trains a config on CIFAR-10 for some minutes: curves of a Fréchet distance and, with labels, of class accuracy.

    python benchmarks/cifar10_classes.py CONFIG --minutes 30 --out FOLDER [model.width=16 ...]

Data and network are those of the step `training` of `on_device.py`: the 50,000 training pictures as JPEGs, and a
CIFAR-10 ResNet-56, both in the folder $JAXGAN_TEST_DATA. Its features give the Fréchet distance, which is no FID,
precision and recall; its logits give the class accuracy, the share of samples that it assigns to the class that they
were made for, of class-conditional models. The distances are of 5,000 samples against all pictures, the accuracy is of
2,000; weights are averaged, and there are equally many samples of each class. The network recognises 83 % of the test
pictures in this form.

The folder receives curve.jsonl (a line for each evaluation), statistics.jsonl (the last state with running and with
standing batch statistics), truncation.jsonl (precision and recall over truncation; both only for models with these
options) and classes.png (a class in each column, if there are classes).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from on_device_steps.training import FEATURES, find_files, stopping

from jaxgan import config, train
from jaxgan.metrics.protocols import Protocol

NUM, NUM_CLASSIFIED = 5_000, 2_000
TRUNCATIONS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def class_accuracy(evaluator, engine, state, options) -> dict[str, float]:
    """{"class_accuracy": of all classes, "class_accuracy_0": of class 0, ...}."""
    hits, asked = np.zeros(10), np.zeros(10)
    batches = train.iterate_samples(engine, state, NUM_CLASSIFIED, evaluator.seed, **options)
    for batch in batches:
        found = np.argmax(np.asarray(evaluator.extractor(batch["image"])["logits"]), axis=1)
        np.add.at(asked, batch["label"], 1)
        np.add.at(hits, batch["label"], found == batch["label"])
    each = hits / asked
    names = engine.game.spec["label"].names or range(10)
    return {
        "class_accuracy": float(each.mean()),
        **{f"class_accuracy_{name}": float(x) for name, x in zip(names, each, strict=True)},
    }


class Evaluator:
    """An evaluator for `Run.train` that adds the class accuracy and writes each result as a line of a file."""

    def __init__(self, source, network: Path, out: Path, scores=("fd", "pr"), **options):
        protocol = Protocol("cifar10_classes", scores, FEATURES, num_fake=NUM)
        self.of = train.make_evaluator(source, protocol, weights=network, options=options)
        self.protocol, self.out, self.start = self.of.protocol, out, time.monotonic()

    def __call__(self, engine, state, step: int) -> dict:
        result = self.of(engine, state, step)
        if engine.game.num_classes is not None:
            result |= class_accuracy(self.of, engine, state, self.of.options)
        numbers = {k: v for k, v in result.items() if isinstance(v, float)}
        line = {"minutes": (time.monotonic() - self.start) / 60, **result["measured"], **numbers}
        line |= self.of.options
        with self.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps({k: v for k, v in line.items() if "accuracy_" not in k}), flush=True)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("options", nargs="*", help="NAME=VALUE")
    args = parser.parse_intermixed_args()
    files, out = find_files(), args.out
    out.mkdir(parents=True, exist_ok=True)
    given = ["data.name=array", f"data.path={files['data']}", "data.flip=true", *args.options]
    cfg = config.load(args.config, given)
    source = config.open_data(cfg)
    run = config.make_run(cfg, source.spec)
    evaluator = Evaluator(source, files["network"], out / "curve.jsonl")
    with stopping(60 * args.minutes):
        result = run.train(source, out / "run", evaluator=evaluator)
    evaluator(result.engine, result.state, result.step)
    if {"truncation", "batch_statistics"} <= set(result.engine.game.outputs["samples"].options):
        for statistics in ("running", "standing"):
            Evaluator(
                source, files["network"], out / "statistics.jsonl", batch_statistics=statistics
            )(result.engine, result.state, result.step)
        for truncation in TRUNCATIONS:
            Evaluator(
                source,
                files["network"],
                out / "truncation.jsonl",
                truncation=truncation,
                batch_statistics="standing",
            )(result.engine, result.state, result.step)
    samples = train.sample(result.engine, result.state, 100)
    train.save_grid(out / "classes.png", samples["image"], 10)


if __name__ == "__main__":
    main()
