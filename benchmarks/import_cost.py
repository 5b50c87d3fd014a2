"""What `import jaxgan.losses` and its pure neighbours cost beside `import jax`, in fresh interpreters.

    python benchmarks/import_cost.py

The imports take turns, so that whatever else the machine does, it does to all; the table gives medians and their ratios
to `import jax`. The package must have its byte code, as an installed one has (PYTHONDONTWRITEBYTECODE unset).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

PURE = "from jaxgan import losses, penalties, spectral, divergences"
IMPORTS = (
    "import jax",
    "import jaxgan.losses",
    PURE,
    f"{PURE}, averaging, resample, augment",
    "import jaxgan",
)


def seconds(statement: str) -> float:
    """The time one import takes, without the interpreter's own start."""
    program = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return float(subprocess.check_output([sys.executable, "-c", program]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    repeats = parser.parse_args().repeats
    for statement in IMPORTS:  # fill the file caches
        seconds(statement)
    times = {statement: [] for statement in IMPORTS}
    for _ in range(repeats):
        for statement in IMPORTS:
            times[statement].append(seconds(statement))
    jax = statistics.median(times["import jax"])
    for statement, taken in times.items():
        median = statistics.median(taken)
        print(f"{1e3 * median:7.0f} ms  {median / jax:5.2f}  {statement}")


if __name__ == "__main__":
    main()
