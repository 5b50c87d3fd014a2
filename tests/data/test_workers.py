"""Worker processes: the batches of threads, bit for bit; no process is left behind; a dead one ends the run."""

import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from jaxgan.cli.errors import sentence
from jaxgan.data import Pipeline, WorkerDied, encoded, open_source, write

DIED = r"has died \(exit code -9\); perhaps the system ran out of memory\. The same command goes on"

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")


def workers():
    """The process numbers of this process's Grain workers."""
    return {int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if _is_worker(path)}


def _is_worker(path):
    try:
        parent = int(path.read_text().rpartition(")")[2].split()[1])
        command = (path.parent / "cmdline").read_bytes()
    except (OSError, IndexError, ValueError):
        return False
    return parent == os.getpid() and b"spawn_main" in command


def alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def records(tmp_path, monkeypatch):
    """A pipeline over a set that is read at each access."""
    write(open_source("digits"), tmp_path)
    monkeypatch.setattr(encoded, "CACHE_BYTES", 0)
    return Pipeline(open_source("records", path=str(tmp_path)), seed=5, flip=True, jitter=2)


def test_batches_are_those_of_threads_and_a_dead_worker_ends_it(records):
    batches = records.iterate(40, 32, workers=2)
    try:
        for draw in range(40, 52):  # into the next epoch
            batch, expected = next(batches), records.batch(draw, 32)
            assert batch.keys() == expected.keys()
            for name in batch:
                np.testing.assert_array_equal(batch[name], expected[name])
                assert batch[name].dtype == expected[name].dtype
        began = workers()
        assert len(began) == 2
        os.kill(min(began), signal.SIGKILL)
        with pytest.raises(WorkerDied, match=DIED) as e:
            use_up(batches)
    finally:
        batches.close()
    wait_until(lambda: not workers() & began)
    (fix,) = e.value.fixes
    assert sentence(e.value, "train").endswith("set --config.train.data_workers=0.")
    again = records.iterate(52, 32, workers=fix["train.data_workers"])  # the way out
    np.testing.assert_array_equal(next(again)["image"], records.batch(52, 32)["image"])
    again.close()


def use_up(batches):
    """Takes what was made before, and more."""
    for _ in range(100):
        next(batches)


LOST = """
import sys, time
from jaxgan.data import Pipeline, encoded, open_source
encoded.CACHE_BYTES = 0
if __name__ == "__main__":
    batches = Pipeline(open_source("records", path=sys.argv[1]), seed=0).iterate(0, 8, workers=2)
    next(batches)
    print("running", flush=True)
    time.sleep(600)
"""


def test_no_worker_outlives_a_killed_run(records, tmp_path):
    script = tmp_path / "lost.py"
    script.write_text(LOST)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout.readline() == "running\n"
        children = Path(f"/proc/{child.pid}/task").glob("*/children")
        left = {int(number) for path in children for number in path.read_text().split()}
        assert len(left) >= 2
        child.kill()
    wait_until(lambda: not any(map(alive, left)))


def test_a_set_in_memory_has_no_workers():
    batches = Pipeline(open_source("digits"), seed=0).iterate(0, 8, workers=2)
    next(batches)
    assert not workers()
    batches.close()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_other_sources_can_be_sent_to_workers(kind, save_pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(encoded, "CACHE_BYTES", 0)
    root, _ = save_pictures("cat/a.png", "dog/b.png")
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for path in root.rglob("*.png"):
                archive.write(path, path.relative_to(root))
        root = tmp_path / "set.zip"
    pipeline = Pipeline(open_source("folder", path=str(root)), seed=0)
    sent = pickle.loads(cloudpickle.dumps(pipeline))  # as Grain does
    for name, values in pipeline.batch(3, 2).items():
        np.testing.assert_array_equal(sent.batch(3, 2)[name], values)
