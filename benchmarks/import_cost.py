"""What `import jaxgan.losses` and its pure neighbours cost beside `import jax`, in fresh interpreters.

    python benchmarks/import_cost.py

The imports take turns, so that whatever else the machine does, it does to all; the table gives medians and their ratios
to `import jax`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

MODULES = ("jax", "jaxgan.losses", "jaxgan.penalties", "jaxgan.spectral", "jaxgan")


def seconds(module: str) -> float:
    """The time one import takes, without the interpreter's own start."""
    program = (
        f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    )
    return float(subprocess.check_output([sys.executable, "-c", program]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    repeats = parser.parse_args().repeats
    for module in MODULES:  # fill the file caches
        seconds(module)
    times = {module: [] for module in MODULES}
    for _ in range(repeats):
        for module in MODULES:
            times[module].append(seconds(module))
    jax = statistics.median(times["jax"])
    for module, taken in times.items():
        median = statistics.median(taken)
        print(f"import {module:<18} {1e3 * median:7.0f} ms  {median / jax:5.2f} of import jax")


if __name__ == "__main__":
    main()
