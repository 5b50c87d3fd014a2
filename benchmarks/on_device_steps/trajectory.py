"""A run's first rounds on the device against those on the CPU: are they the same up to rounding?

The parts differ in the precision of float32 matrix products and convolutions on the device: "highest" is float32, and
"default" what XLA takes if nothing is said (TF32 on NVIDIA's devices, bfloat16 passes on TPUs). The CPU's is float32.
"""

from __future__ import annotations

import functools
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from on_device_steps import following


def parts(task) -> list[str]:
    return ["highest", "default"]


def run(part: str, task) -> dict:
    name, changes = following.config_of(task.tiny)
    rounds = 2 if task.tiny else 5
    path = task.folder / "cpu.npz"
    reference = start_reference(path, name, changes, rounds)
    import jax

    with jax.default_matmul_precision("float32" if part == "highest" else "default"):
        here = following.follow(name, changes, rounds)
    reference.result()
    with np.load(path) as there:
        return {"config": name, "rounds": rounds, **compare(here, dict(there))}


@functools.cache
def start_reference(path, name: str, changes: tuple[str, ...], rounds: int) -> Future:
    """The same run on the CPU; once for all parts, beside the device's. Its result waits for `path`."""
    arguments = [name, "--rounds", str(rounds), "--out", str(path)]
    arguments += ["--set", *changes] if changes else []
    process = following.start(arguments, {"JAX_PLATFORMS": "cpu"})
    return ThreadPoolExecutor(1).submit(following.finish, process)


def compare(here: dict, there: dict) -> dict:
    """Relative distances |here - there| / |there|, by kind and round: the largest over players."""
    distances: dict[str, dict[str, float]] = {}
    for name, vector in there.items():
        if not name.startswith("round/"):
            continue
        _, step, kind, _ = name.split("/", 3)
        norm = max(float(np.linalg.norm(vector)), 1e-6)
        distance = float(np.linalg.norm(here[name] - vector)) / norm
        of_kind = distances.setdefault(kind, {})
        of_kind[step] = max(distance, of_kind.get(step, 0.0))
    return {"distance": distances}
