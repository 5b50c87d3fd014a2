"""Weights & Biases: metrics, options and pictures of a run. `wandb login` comes first.

Its own variables say where: WANDB_PROJECT (default jaxgan), WANDB_ENTITY, WANDB_MODE=offline for a log in the folder of
the run that `wandb sync` sends later.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb


class Service:
    name = "wandb"

    def open(self, workdir: Path, config: Mapping[str, Any], run: str | None) -> str:
        run = run or uuid.uuid4().hex[:12]
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "jaxgan"),
            name=workdir.resolve().name,
            id=run,
            resume="allow",
            dir=workdir,
            config=dict(config),
            # The terminal shows a progress bar, which would fill the log of the service.
            settings=wandb.Settings(console="off"),
        )
        return run

    def metrics(self, step: int, row: Mapping[str, float]) -> None:
        self._run.log(dict(row), step=step)

    def picture(self, step: int, name: str, path: Path) -> None:
        self._run.log({name: wandb.Image(str(path))}, step=step)

    def close(self) -> None:
        self._run.finish()
