"""Checkpoints by Orbax; nothing else in jaxgan knows of Orbax."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import warnings
from pathlib import Path

from orbax.checkpoint import v1 as ocp

from jaxgan.game import State


class Checkpoints:
    """The checkpoints of one run, `DIR/<step>`: saved while training goes on, whole or not at all.

    Args:
      directory: created when the first checkpoint is saved.
      keep: how many of the latest to keep.
      keep_every: rounds; those at multiples of it are kept for good. 0 for none.
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
                # What a killed process left half written.
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
        """Starts saving and returns as soon as the state may be donated; waits for the save before this one."""
        # Those that cannot be read would count among those to keep; and only such a one can be in the way.
        for old in (*self._unreadable, step):
            shutil.rmtree(self.directory / str(old), ignore_errors=True)
        self._unreadable = []
        self._checkpointer().save_async(step, state, force=True)

    def restore(self, shape: State, step: int | None = None) -> tuple[int, State] | None:
        """(step, state) of the latest checkpoint that can be read (or of `step`); None if there is none at all.

        A checkpoint that cannot be read is named in a warning, the one before it is taken, and the next `save` removes
        it. `shape` is `Engine.state_shape`: leaves are restored with the shardings it carries, so a run may continue
        on another number of devices.
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
                gc.collect()  # of the coroutines that Orbax began; each says that nobody awaited it
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
        """Waits until everything is on disk."""
        if self._open is not None:
            self._open.close()
            self._open = None


def _reason(error: Exception) -> str:
    """Why Orbax could not restore a state, in a phrase."""
    text = str(error).strip() or type(error).__name__
    if "tree structures do not match" in text:
        return (
            "its state has other parts: it is of another model, or of an earlier version of jaxgan"
        )
    return text.splitlines()[0][:200]


@contextlib.contextmanager
def _quiet():
    """Keeps Orbax from one traceback and one warning per leaf when a file is damaged: one sentence is enough."""
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
