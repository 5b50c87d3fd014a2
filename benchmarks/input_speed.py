"""Pictures per second of the data pipeline on one CPU core, from prepared records, against tf.data in the same run.

    pip install ".[tfds]" && python benchmarks/input_speed.py

Random pictures with labels are written twice, with the same bytes in each record: as a prepared set
(`jaxgan.data.write`) and as a TFRecord file, which tf.data can read. Each contestant reads, decodes, shuffles and
batches them in a process of its own, pinned to the same core as the others:

- records: `Pipeline.iterate` over the data source "records", read at each access, in an order that is a new permutation
  of the whole set in each epoch.
- in memory: the same over a set that was read into memory, as sets of up to 1 GiB are.
- tf.data: TFRecordDataset, shuffle, map, batch, prefetch; the decoding and prefetching with AUTOTUNE. It shuffles
  within a buffer, by default of 1,000 pictures.
- tf.data, batch first: the same with the batching before the decoding, which then decodes whole batches.

They play alternately, an epoch each. The rate is that of the CPU time of the whole process, from the end of one of its
epochs to the end of the next, so that what is prefetched in between counts too. A busy machine disturbs it less than
the time on the clock. At the end: the memory of the process that reads records, after each epoch.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

OURS, IN_MEMORY = "records", "in memory"
TF, TF_BATCHES = "tf.data", "tf.data, batch first"
CONTESTANTS = (OURS, IN_MEMORY, TF, TF_BATCHES)
TFRECORDS = "set.tfrecord"


class Job(NamedTuple):
    """What a contestant reads.

    Attributes:
      folder: of the prepared set, with the file `TFRECORDS` beside it.
      size: side of the pictures.
      count: their number.
      batch: examples in a batch.
      shuffle: pictures in tf.data's buffer.
      core: the CPU core.
    """

    folder: str
    size: int
    count: int
    batch: int
    shuffle: int
    core: int


class Epoch(NamedTuple):
    """An epoch: CPU seconds, and the bytes of the process in memory at its end."""

    cpu: float
    resident: int


def write(job: Job) -> None:
    """Writes the pictures in both forms."""
    import numpy as np

    from jaxgan.data import ArraySource, shards

    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (job.count, job.size, job.size, 3), np.uint8)
    source = ArraySource(pictures, np.arange(job.count) % 10)
    shards.write(source, job.folder)
    if not find_spec("tensorflow"):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    table = np.empty(1, shards.record_type(source.spec))
    with tf.io.TFRecordWriter(str(Path(job.folder) / TFRECORDS)) as writer:
        for i in range(job.count):
            for name, value in source.gather(np.array([i])).items():
                table[name] = value
            writer.write(table.tobytes())


def of_jaxgan(job: Job, in_memory: bool) -> Iterator[dict]:
    """Batches of the pipeline, without end."""
    from jaxgan.data import Pipeline, encoded, open_source

    encoded.CACHE_BYTES = 2**40 if in_memory else 0
    return Pipeline(open_source("records", path=job.folder), seed=0).iterate(0, job.batch)


def of_tensorflow(job: Job, batch_first: bool) -> Iterator[dict]:
    """Batches of tf.data, without end."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    shape, pixels = (job.size, job.size, 3), job.size**2 * 3

    def decode(record):
        raw = tf.io.decode_raw(record, tf.uint8)
        label = tf.bitcast(raw[..., pixels:], tf.int32)
        return {"image": tf.reshape(raw[..., :pixels], (*record.shape, *shape)), "label": label}

    examples = tf.data.TFRecordDataset(str(Path(job.folder) / TFRECORDS)).repeat()
    examples = examples.shuffle(job.shuffle, seed=0)
    if batch_first:
        examples = examples.batch(job.batch, drop_remainder=True).map(decode, tf.data.AUTOTUNE)
    else:
        examples = examples.map(decode, tf.data.AUTOTUNE).batch(job.batch, drop_remainder=True)
    return examples.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def contest(name: str, job: Job, connection) -> None:
    """The process of a contestant: plays an epoch for each message, and answers with an `Epoch`."""
    os.sched_setaffinity(0, {job.core})
    ours = name in (OURS, IN_MEMORY)
    batches = of_jaxgan(job, name == IN_MEMORY) if ours else of_tensorflow(job, name == TF_BATCHES)
    rows = sum(next(batches)["image"].shape[0] for _ in range(4))  # warm up
    assert rows == 4 * job.batch
    connection.send(None)
    ended = time.process_time()
    while connection.recv():
        began = ended
        for _ in range(job.count // job.batch):
            next(batches)
        ended = time.process_time()
        connection.send(Epoch(ended - began, resident()))


def measure(job: Job, names: list[str], epochs: int) -> dict[str, list[Epoch]]:
    """The epochs of each contestant, which play in turn."""
    context = multiprocessing.get_context("spawn")
    pipes = {name: context.Pipe() for name in names}
    players = {
        name: context.Process(target=contest, args=(name, job, other), daemon=True)
        for name, (_, other) in pipes.items()
    }
    for name, player in players.items():
        player.start()
        pipes[name][1].close()  # so that the end of the child ends `recv`
        pipes[name][0].recv()
    found: dict[str, list[Epoch]] = {name: [] for name in names}
    for _, name in itertools.product(range(epochs), names):
        pipes[name][0].send(True)
        found[name].append(pipes[name][0].recv())
    for name, player in players.items():
        pipes[name][0].send(False)
        player.join()
    return found


def show(job: Job, found: dict[str, list[Epoch]]) -> None:
    """Prints the rates, the ratios, and the memory."""
    row = "{:<10} {:<22} {:>14} {:>14} {:>14}"
    head = ("us a picture", "pictures/s", "ratio")
    print(row.format("pictures", "", *head))
    cpu = {name: statistics.median(e.cpu for e in epochs) for name, epochs in found.items()}
    shown = job.count // job.batch * job.batch
    for name in found:
        each = cpu[name] / shown
        cells = f"{each * 1e6:.1f}", f"{1 / each:,.0f}", f"{cpu[name] / cpu[OURS]:.2f}"
        print(row.format(f"{job.size}x{job.size}", name, *cells))
    print("ratio: the rate of records, divided by that of the row")
    memory = " ".join(f"{e.resident / 2**20:.0f}" for e in found[OURS])
    print(f"MiB in memory after each epoch of records: {memory}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 256])
    parser.add_argument("--mib", type=int, default=256, help="MiB of pictures of each size")
    parser.add_argument("--batch", type=int, default=64, help="examples in a batch")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of each contestant")
    parser.add_argument("--shuffle", type=int, default=1000, help="pictures in tf.data's buffer")
    args = parser.parse_args()
    core = max(os.sched_getaffinity(0))
    names = [name for name in CONTESTANTS if find_spec("tensorflow") or name in (OURS, IN_MEMORY)]
    print(f"Python {platform.python_version()}, {platform.machine()}, core {core}; {names=}")
    for size in args.sizes:
        before = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            count = args.mib * 2**20 // (3 * size**2)
            job = Job(folder, size, count, args.batch, args.shuffle, core)
            write(job)
            show(job, measure(job, names, args.epochs))
        print(f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
