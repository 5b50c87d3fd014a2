"""MLflow: metrics, options and pictures of a run. Its client alone, mlflow-skinny, is enough to log to a server.

Its own variables say where: MLFLOW_TRACKING_URI (default: MLflow's own, the file mlflow.db in the current folder) and
MLFLOW_EXPERIMENT_NAME (default jaxgan). Pictures are artifacts, a folder for each output.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from jaxgan.options import flatten

MOST_PARAMS = 100  # in one request, as the servers have it


class Service:
    name = "mlflow"

    def open(self, workdir: Path, config: Mapping[str, Any], run: str | None) -> str:
        self._client = MlflowClient()
        if run is not None:
            self._client.update_run(run, status="RUNNING")
        else:
            run = self._new(workdir.resolve().name, config)
        self._id = run
        return run

    def _new(self, name: str, config: Mapping[str, Any]) -> str:
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "jaxgan")
        found = self._client.get_experiment_by_name(experiment)
        where = found.experiment_id if found else self._client.create_experiment(experiment)
        run = self._client.create_run(where, run_name=name).info.run_id
        params = [Param(option, str(value)) for option, value in flatten(config).items()]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(run, params=params[first : first + MOST_PARAMS])
        return run

    def metrics(self, step: int, row: Mapping[str, float]) -> None:
        now = int(1000 * time.time())  # of the entry; no duration is computed from it
        values = [Metric(name, value, now, step) for name, value in row.items()]
        self._client.log_batch(self._id, metrics=values)

    def picture(self, step: int, name: str, path: Path) -> None:
        self._client.log_artifact(self._id, str(path), name)

    def close(self) -> None:
        self._client.set_terminated(self._id)
