"""Checkpoints by Orbax, which no other module of jaxgan imports."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import logging
import os
import re
import shutil
import sys
import time
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jaxgan.data.source import listed
from jaxgan.game import State
from jaxgan.train import schema

# Errors of TensorStore and Orbax about a damaged or missing file.
DAMAGED = re.compile(
    "(OUT_OF_RANGE|NOT_FOUND|DATA_LOSS|FAILED_PRECONDITION|INVALID_ARGUMENT): |No valid PyTree|reading array index"
)
BROKEN = "its files are damaged or incomplete"
CHECKSUMS = "checksums"  # of the leaves, beside the record in the metadata of a checkpoint
LATE = 10  # seconds to wait for reads that are under way when another one fails


class Checkpoints:
    """The checkpoints of one run, `DIR/<step>`, saved asynchronously and atomically.

    Args:
      directory: created when the first checkpoint is saved.
      keep: number of latest checkpoints to keep.
      keep_every: rounds; checkpoints at multiples of it are never deleted. 0 for none.
      record: of the run, saved with each checkpoint: it tells a copied checkpoint from others.
    """

    def __init__(
        self,
        directory: str | Path,
        keep: int = 2,
        keep_every: int = 0,
        record: Mapping[str, Any] | None = None,
    ):
        self.directory = Path(os.path.abspath(directory))
        self._record = schema.stamped(record or {})
        policies = ocp.training.preservation_policies
        kept = [policies.LatestN(keep)]
        if keep_every:
            kept.append(policies.EveryNSteps(keep_every))
        self._preservation = policies.AnyPreservationPolicy(kept)
        self._open = None
        self._unreadable: list[int] = []

    def _checkpointer(self):
        if self._open is None:
            self._open = ocp.training.Checkpointer(
                self.directory,
                # The loop decides when to save.
                save_decision_policy=ocp.training.save_decision_policies.SpecificStepsPolicy(()),
                preservation_policy=self._preservation,
                # Incomplete checkpoints of a killed process.
                cleanup_tmp_directories=True,
            )
        return self._open

    def steps(self) -> list[int]:
        """Rounds of the finished checkpoints, ascending."""
        if not self.directory.is_dir():
            return []
        return sorted(
            int(d.name) for d in self.directory.iterdir() if d.is_dir() and d.name.isdigit()
        )

    def save(self, step: int, state: State) -> None:
        """Starts saving and returns as soon as the state may be donated; waits for the save before this one.

        Raises:
          OSError: this checkpoint or the one before it cannot be written.
        """
        # Unreadable checkpoints would count towards `keep`. If there is one of this very step, it is unreadable, too.
        for old in (*self._unreadable, step):
            shutil.rmtree(self.directory / str(old), ignore_errors=True)
        self._unreadable = []
        about = {**self._record, CHECKSUMS: _checksums(state)}
        with self._writing():
            self._checkpointer().save_async(step, state, force=True, custom_metadata=about)

    def restore(self, shape: State, step: int | None = None) -> tuple[int, State] | None:
        """(step, state) of the latest checkpoint that can be read (or of `step`); None if there is none at all.

        If a checkpoint cannot be read, a warning names it, the one before it is restored, and the next `save` removes
        it. `shape` is `Engine.state_shape`: leaves are restored with its shardings, so a run may continue on another
        number of devices.

        Raises:
          FileNotFoundError: there is no checkpoint of `step`.
          OSError: none can be read, or not that of `step`.
          NewerSchema: a later version of jaxgan wrote the checkpoint.
        """
        steps = self.steps()
        if step is not None and step not in steps:
            raise FileNotFoundError(
                f"{self.directory} has no checkpoint of step {step}; {_those(steps)}."
            )
        for candidate in reversed(steps if step is None else [step]):
            found = self._load(candidate, shape)
            if not isinstance(found, str):
                return candidate, found
            broken = (
                f"the checkpoint of step {candidate} in {self.directory} cannot be read ({found})"
            )
            if step is not None:
                raise OSError(f"{broken}; {_those([s for s in steps if s != step])}.")
            self._unreadable.append(candidate)
            last = candidate == steps[0]
            warnings.warn(
                f"{broken}." if last else f"{broken}; falling back to the one before.", stacklevel=2
            )
        if steps:
            raise OSError(
                f"none of the checkpoints in {self.directory} can be read (steps {_names(steps)}); remove that folder"
                " to start again."
            )
        return None

    def record(self, step: int) -> dict[str, Any]:
        """The record that was saved with a checkpoint; empty for one of a version that saved none."""
        return {key: value for key, value in self._about(step).items() if key != CHECKSUMS}

    def _about(self, step: int) -> dict[str, Any]:
        return ocp.metadata(self.directory / str(step)).custom_metadata or {}

    def _load(self, step: int, shape: State) -> State | str:
        """The state of a checkpoint, or why it cannot be read; raises `NewerSchema` for one of a later format."""
        with _quiet():
            try:
                what = f"the checkpoint of step {step} in {self.directory}"
                about = self._about(step)
                schema.check(what, about, "train into another workdir")
                state = ocp.load(self.directory / str(step), shape)
                stated, read = about.get(CHECKSUMS, {}), _checksums(state)
                # Other processes may hold other leaves than those that saved them.
                same = all(stated[name] == read[name] for name in stated.keys() & read.keys())
                return state if same else BROKEN
            except schema.NewerSchema:  # it is whole: nothing before it may take its place
                raise
            except Exception as error:  # Orbax has no common type for what a damaged file can raise
                reason = _reason(error)
            _end_reads()
        return reason

    def close(self) -> None:
        """Waits until everything is on disk; raises an OSError if a checkpoint cannot be written."""
        if self._open is not None:
            with self._writing():
                self._open.close()
            self._open = None

    @contextlib.contextmanager
    def _writing(self):
        """Makes one sentence of what Orbax raises, in whichever call, about a checkpoint that it cannot write."""
        try:
            yield
        except Exception as error:  # Orbax has no common type
            steps = self.steps()
            kept = f"which continues from step {steps[-1]:,}" if steps else "which starts anew"
            raise OSError(
                f"a checkpoint cannot be written to {self.directory} ({_reason(error)}); make room there, and run the"
                f" same again, {kept}"
            ) from error


def _checksums(state: State) -> dict[str, int]:
    """The CRC-32 of each leaf that this process holds.

    Orbax's files have none of large arrays: a wrong bit in one of them would be read as a number. One pass over the
    state, at some 1 GB/s.
    """
    return {
        jax.tree_util.keystr(path): zlib.crc32(np.asarray(leaf).tobytes())
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        if leaf.is_fully_addressable or leaf.is_fully_replicated
    }


def _names(steps: list[int]) -> str:
    return listed([str(step) for step in steps], 10)


def _those(steps: list[int]) -> str:
    """A clause that names the checkpoints that can be chosen.

    >>> _those([3]), _those([3, 6])
    ('there is that of step 3', 'there are those of steps 3, 6')
    """
    if not steps:
        return "there is none"
    first = "there are those of steps" if steps[1:] else "there is that of step"
    return f"{first} {_names(steps)}"


def _reason(error: Exception) -> str:
    """Why Orbax could not restore or save a state, in a phrase."""
    if isinstance(error, OSError) and error.errno is not None and error.errno != errno.ENOENT:
        return error.strerror or type(error).__name__
    text = str(error).strip() or type(error).__name__
    if of_system := re.search(r"([^:]+?) \[os_error_code=", text):
        return of_system[1].strip()
    if "tree structures do not match" in text:
        return "its state has another structure: it is of another model, or of an earlier version of jaxgan"
    if "RESOURCE_EXHAUSTED" in f"{text} {error.__cause__}":
        return "it does not fit into memory"
    if DAMAGED.search(text) or isinstance(error, (json.JSONDecodeError, FileNotFoundError)):
        return BROKEN
    return text.splitlines()[0][:200]


def _end_reads() -> None:
    """Waits until no read of Orbax is under way, and deletes those that failed.

    When one read fails, Orbax closes its event loop at once. The other reads still end, and what they print when they
    end or are deleted is suppressed only inside `_quiet`.
    """
    end = time.monotonic() + LATE
    gc.collect()
    while any(map(_is_read, gc.get_objects())) and time.monotonic() < end:
        time.sleep(0.05)
        gc.collect()


def _is_read(thing: Any) -> bool:
    # By its type: `isinstance` also asks the object itself, and a weak reference to a dead one raises an error then.
    return issubclass(type(thing), asyncio.Task) and "deserialize" in str(thing.get_coro())


@contextlib.contextmanager
def _quiet():
    """Suppresses the tracebacks and warnings, some for each leaf, that Orbax emits when a file is damaged."""
    disabled, hook = logging.root.manager.disable, sys.unraisablehook
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda raised: None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
    finally:
        sys.unraisablehook = hook
        logging.disable(disabled)
