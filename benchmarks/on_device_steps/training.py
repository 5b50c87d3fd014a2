"""`sngan_cifar10` trained for the minutes left: samples, and a curve of a Fréchet distance.

Data are the 50,000 training pictures of CIFAR-10 in a pack of JPEGs ($JAXGAN_TEST_DATA/cifar10/cifar10_jpeg_train.npz),
features those of a CIFAR-10 ResNet-56 ($JAXGAN_TEST_DATA/nets/cifar10_resnet56.npz): a number named after them, and
no FID. A timer ends the run by a signal, after which it saves a checkpoint. OUT receives the sample grid and the plot
of the losses.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from on_device_steps import Skipped

VARIABLE = "JAXGAN_TEST_DATA"
FILES = {
    "data": "cifar10/cifar10_jpeg_train.npz",
    "network": "nets/cifar10_resnet56.npz",
}
FEATURES = "cifar10_resnet56"
END = 25.0  # seconds kept for the last evaluation and the files
EVERY = 1000  # rounds between evaluations
OPTIONS = (
    "train.log_every=100", f"train.sample_every={EVERY}", f"train.checkpoint_every={EVERY}",
    f"train.evaluate_every={EVERY}",
)  # fmt: skip
TINY = (
    "train.steps=4", "train.log_every=2", "train.sample_every=4", "train.checkpoint_every=4",
    "train.evaluate_every=2", "train.grid=4", "model.batch_size=2", "model.generator_width=4", "model.critic_width=4",
    "model.critic_steps=1",
)  # fmt: skip


def parts(task) -> list[str]:
    return ["sngan_cifar10"]


def run(part: str, task) -> dict:
    files = find_files()
    from jaxgan import config, train

    given = ["data.name=array", f"data.path={files['data']}", "data.labels=false"]
    cfg = config.load(part, [*given, *(TINY if task.tiny else OPTIONS)])
    source = config.open_data(cfg)
    run = config.make_run(cfg, source.spec)
    evaluator = make_evaluator(source, files["network"], task)
    # Not in OUT, whose files are to be few and small.
    workdir = Path(tempfile.mkdtemp(prefix="on_device_run_"))
    try:
        start = time.monotonic()
        with stopping(None if task.tiny else task.left() - END):
            result = run.train(source, workdir, evaluator=evaluator)
        seconds = time.monotonic() - start
        curve = list(result.evaluations)
        if not curve or curve[-1]["measured"]["step"] != result.step:
            curve.append(evaluator(result.engine, result.state, result.step))
        rows = train.read_metrics(workdir)
        keep(workdir, task.out, result)
    finally:
        shutil.rmtree(workdir, ignore_errors=True)
    rates = [row["images_per_second"] for row in rows if "images_per_second" in row]
    return {
        "steps": result.step,
        "kimg": result.engine.game.images(result.step) / 1000,
        "seconds": seconds,
        "images_per_second": sorted(rates)[len(rates) // 2] if rates else None,
        "curve": [point(of) for of in curve],
        "protocol": {k: curve[-1]["protocol"][k] for k in ("num_fake", "num_real", "features")},
    }


def find_files() -> dict[str, Path]:
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise Skipped(f"{VARIABLE}, the folder of the data, is not set.")
    files = {name: Path(folder) / file for name, file in FILES.items()}
    for file in files.values():
        if not file.is_file():
            raise Skipped(f"{VARIABLE} has no {file.relative_to(folder)}.")
    return files


def make_evaluator(source, network: Path, task):
    """Fréchet distance of 10,000 samples to all pictures; measured every `EVERY` rounds."""
    from jaxgan import train
    from jaxgan.metrics.protocols import Protocol

    num = 8 if task.tiny else 10_000
    protocol = Protocol(
        "on_device", ("fd",), FEATURES, num_fake=num, num_real=num if task.tiny else None
    )
    return train.make_evaluator(source, protocol, weights=network, cache=task.folder)


@contextlib.contextmanager
def stopping(seconds: float | None) -> Iterator[None]:
    """While entered: a timer that ends the run of this process after so many seconds; None for no timer."""
    if seconds is None:
        yield
        return
    before = signal.signal(signal.SIGTERM, _too_early)  # until the loop sets its own
    timer = threading.Timer(max(seconds, 0.1), os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)


def _too_early(number, frame):
    raise TimeoutError("the time was over before the first round.")


def point(evaluation: dict) -> dict[str, float]:
    """A point of the curve: step, thousands of images, and the score."""
    measured = evaluation["measured"]
    return {
        "step": measured["step"],
        "kimg": measured["kimg"],
        f"fd_{FEATURES}": evaluation[f"fd_{FEATURES}"],
    }


def keep(workdir: Path, out: Path, result) -> None:
    """A grid of samples of the last state, and the plot of the losses, in the folder of the results."""
    from jaxgan import train

    samples = train.sample(result.engine, result.state, 64, seed=0)["image"]
    train.save_grid(out / "training_samples.png", samples)
    if (workdir / "losses.png").exists():
        shutil.copyfile(workdir / "losses.png", out / "training_losses.png")
