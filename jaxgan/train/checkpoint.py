"""Checkpoints by Orbax, which no other module of jaxgan imports."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import re
import shutil
import warnings
from pathlib import Path

from orbax.checkpoint import v1 as ocp

from jaxgan.game import State


class Checkpoints:
    """The checkpoints of one run, `DIR/<step>`, saved asynchronously and atomically.

    Args:
      directory: created when the first checkpoint is saved.
      keep: number of latest checkpoints to keep.
      keep_every: rounds; checkpoints at multiples of it are never deleted. 0 for none.
    """

    def __init__(self, directory: str | Path, keep: int = 2, keep_every: int = 0):
        self.directory = Path(os.path.abspath(directory))
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
        with self._writing():
            self._checkpointer().save_async(step, state, force=True)

    def restore(self, shape: State, step: int | None = None) -> tuple[int, State] | None:
        """(step, state) of the latest checkpoint that can be read (or of `step`); None if there is none at all.

        If a checkpoint cannot be read, a warning names it, the one before it is restored, and the next `save` removes
        it. `shape` is `Engine.state_shape`: leaves are restored with its shardings, so a run may continue on another
        number of devices.
        """
        steps = self.steps() if step is None else [step]
        if step is not None and step not in self.steps():
            raise FileNotFoundError(
                f"{self.directory} has no checkpoint of step {step}; there are {self.steps() or 'none'}."
            )
        for candidate in reversed(steps):
            with _quiet():
                try:
                    return candidate, ocp.load(self.directory / str(candidate), shape)
                except (
                    Exception
                ) as error:  # Orbax has no common type for what a damaged file can raise
                    reason = _reason(error)
                gc.collect()  # deletes Orbax's unawaited coroutines, while their warnings are off
            self._unreadable.append(candidate)
            warnings.warn(
                f"the checkpoint of step {candidate} in {self.directory} cannot be read ({reason}); falling back to"
                " the one before.",
                stacklevel=2,
            )
        if steps:
            raise OSError(
                f"none of the checkpoints in {self.directory} can be read (steps {steps}); remove that folder to start"
                " again."
            )
        return None

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


def _reason(error: Exception) -> str:
    """Why Orbax could not restore or save a state, in a phrase."""
    text = str(error).strip() or type(error).__name__
    if of_system := re.search(r"([^:]+?) \[os_error_code=", text):
        return of_system[1].strip()
    if "tree structures do not match" in text:
        return "its state has another structure: it is of another model, or of an earlier version of jaxgan"
    return text.splitlines()[0][:200]


@contextlib.contextmanager
def _quiet():
    """Suppresses the traceback and the warning for each leaf that Orbax emits when a file is damaged."""
    loggers = [logging.getLogger(name) for name in ("asyncio", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
