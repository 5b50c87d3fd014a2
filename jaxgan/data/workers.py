"""Worker processes that make batches, by Grain."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import grain
from absl import flags

from jaxgan.data.source import Batch
from jaxgan.options import OptionError

# Batches that each worker makes ahead.
AHEAD = 2
DIED = "Worker process was terminated unexpectedly"  # how Grain's message begins


class WorkerDied(OptionError):
    """A worker process ended by itself."""

    def __init__(self, reason: str):
        problem = (
            f"a worker process that reads the data has died ({reason}); perhaps the system ran out of memory. The same"
            " command goes on from the last checkpoint, with fewer workers or with threads"
        )
        super().__init__(None, None, problem, {"train.data_workers": 0})


class Workers:
    """The elements of a dataset in their order, made by worker processes. `close` it after use."""

    def __init__(self, batches: grain.MapDataset[Batch], number: int):
        # Grain reads a flag of its own on the way, which absl allows only once flags are parsed.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        # One thread in each: the processes are what runs side by side.
        one = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
        options = grain.MultiprocessingOptions(num_workers=number, per_worker_buffer_size=AHEAD)
        dataset = batches.to_iter_dataset(one).mp_prefetch(options, worker_init_fn=_start)
        self._iterator = iter(dataset)
        self._iterator.start_prefetch()

    def __iter__(self) -> Workers:
        return self

    def __next__(self) -> Batch:
        try:
            return next(self._iterator)
        except RuntimeError as error:
            if not str(error).startswith(DIED):
                raise
            raise WorkerDied(str(error).partition("with ")[2].partition(".")[0]) from error

    def close(self) -> None:
        """Ends the processes."""
        self._iterator.close()


def _start(worker: int, count: int) -> None:
    """Called in each worker process before it makes batches."""
    del worker, count
    # Ctrl-C reaches all processes of a terminal, but the run finishes its round, for which it needs batches.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A process that is killed cannot stop its workers, which Grain would leave waiting for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "called in a worker process"
    parent.join()
    os._exit(1)
