"""What the process of a step is told: the step, its bound, and the facts that every line of results states."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Task:
    """One step, as the process that runs it sees it.

    Attributes:
      step: name of the step.
      module: the step's module.
      out: folder of the results.
      folder: of this call of the step, for files that the step needs only while it runs.
      until: when the step's time is over, in seconds since the epoch.
      facts: what every line of the results states: device, platform, versions, commit, command, size.
      tiny: sizes for a rehearsal on a CPU.
      done: parts that need no second run.
      options: of the step.
      process: number of the process; more than 0 after one that died or was ended.
    """

    step: str
    module: str
    out: Path
    folder: Path
    until: float
    facts: dict[str, Any]
    tiny: bool = False
    done: tuple[str, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    process: int = 0

    def left(self) -> float:
        """Seconds that the step still has."""
        return self.until - time.time()

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self), default=str))

    @classmethod
    def load(cls, path: Path) -> Task:
        fields = json.loads(path.read_text())
        return cls(
            **{
                **fields,
                "out": Path(fields["out"]),
                "folder": Path(fields["folder"]),
                "done": tuple(fields["done"]),
            }
        )
