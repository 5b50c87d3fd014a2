"""Loggers: services and programs that follow a run, beside the files in its folder.

A logger is any object with the attributes and methods of `Logger`; `jaxgan.train.train` takes them as `loggers`. Two
come with jaxgan, by name in the option `train.loggers`: `wandb` (Weights & Biases) and `mlflow`, which need the
packages of these names.

A run that was stopped or killed continues the logger's run when it is trained on. What it plays again after its last
checkpoint was logged before, and services cannot take anything back; so a `Relay` passes each metric of a step, and
each picture, on once. `loggers.json` in the folder of the run states up to which step that is.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from jaxgan.options import OptionError
from jaxgan.train.report import replace_atomically

# {module of this package: how to install what it needs}
INSTALL = {
    "mlflow": 'pip install "mlflow-skinny>=3.5"',
    "wandb": 'pip install "wandb>=0.25"',
}
NAMES = tuple(INSTALL)
FILE = "loggers.json"


class Logger(Protocol):
    """What follows a run. Its methods are called by one process only, in the order of steps.

    An error in `open` ends the run before it begins. One in `metrics` or `picture` is reported once, and the run goes
    on; what could not be passed on is lost to the logger, but not to the files of the run.
    """

    name: str  # no two loggers of a run have the same one

    def open(self, workdir: Path, config: Mapping[str, Any], run: str | None) -> str:
        """Begins a run, or continues the run `run`; returns what identifies it.

        Args:
          workdir: the folder of the run.
          config: the options by section, as in `config.json`; empty for a game without a config.
          run: what `open` has returned for this folder before; None if it was never called for it.
        """

    def metrics(self, step: int, row: Mapping[str, float]) -> None:
        """Takes metrics after `step` rounds, with names such as "critic/loss"; a step may have several rows."""

    def picture(self, step: int, name: str, path: Path) -> None:
        """Takes a PNG file made after `step` rounds; `name` is that of the output, such as "samples"."""

    def close(self) -> None:
        """Ends the log of this process, once everything has been passed on."""


def load(name: str) -> Logger:
    """The logger of a module of this package; raises an `OptionError` if the package that it needs is not installed."""
    try:
        return importlib.import_module(f"jaxgan.train.loggers.{name}").Service()
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        problem = f"the package {name} is not installed ({INSTALL[name]}); files are always written"
        raise OptionError("train.loggers", name, problem, {"train.loggers": ()}) from None


class Relay:
    """A context in which metrics and pictures are passed on to the loggers of a run: of each name, a step once."""

    def __init__(
        self,
        loggers: Iterable[Logger],
        workdir: Path,
        config: Mapping[str, Any],
        log: Callable[[str], None],
    ):
        self._loggers, self._log = list(loggers), log
        self._file, self._failed = workdir / FILE, set[str]()
        names = [logger.name for logger in self._loggers]
        if len(set(names)) < len(names):
            raise ValueError(f"the loggers of a run need different names; got {', '.join(names)}.")
        # {logger: {"run": what `open` returned, "steps": {metric or picture: the last step that was passed on}}}
        self._known: dict[str, dict[str, Any]] = {}
        if self._loggers and self._file.exists():
            self._known = json.loads(self._file.read_text())
        for i, logger in enumerate(self._loggers):
            known = self._known.setdefault(logger.name, {"run": None, "steps": {}})
            try:
                known["run"] = logger.open(workdir, config, known["run"])
            except Exception as error:
                for opened in self._loggers[:i]:
                    self._try(opened, opened.close)
                raise ValueError(
                    f"the logger {logger.name} could not begin ({type(error).__name__}: {error}); correct that, or"
                    " train without it."
                ) from error
            self._remember()

    def metrics(self, step: int, row: Mapping[str, float]) -> None:
        """Passes on what is new in the row."""

        def give(logger: Logger, new: set[str]) -> None:
            logger.metrics(step, {name: value for name, value in row.items() if name in new})

        self._pass_on(step, set(row), give)

    def picture(self, step: int, name: str, path: Path) -> None:
        """Passes the picture on if it is new."""
        self._pass_on(step, {name}, lambda logger, _: logger.picture(step, name, path))

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *error) -> None:
        """Closes all loggers, also after an error of one of them, which is reported."""
        for logger in self._loggers:
            self._try(logger, logger.close)

    def _pass_on(
        self, step: int, names: set[str], give: Callable[[Logger, set[str]], None]
    ) -> None:
        for logger in self._loggers:
            steps = self._known[logger.name]["steps"]
            new = {name for name in names if step > steps.get(name, -1)}
            if new and self._try(logger, lambda: give(logger, new)):  # noqa: B023
                steps.update(dict.fromkeys(new, step))
        if self._loggers:
            self._remember()

    def _try(self, logger: Logger, call: Callable[[], None]) -> bool:
        try:
            call()
        except Exception as error:
            if logger.name not in self._failed:
                self._failed.add(logger.name)
                self._log(
                    f"the logger {logger.name} failed ({type(error).__name__}: {error}); the run goes on, and its own"
                    " files have everything"
                )
            return False
        return True

    def _remember(self) -> None:
        text = json.dumps(self._known)
        replace_atomically(self._file, lambda temporary: temporary.write_text(text))
