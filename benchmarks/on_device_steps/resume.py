"""Train 2N rounds; train N, save, and in a new process restore and train N: is every leaf the same, bit for bit?

The new process compiles anew, without the compilation cache, so it may choose other kernels. "plain" is with JAX's
defaults; "deterministic" with XLA_FLAGS=--xla_gpu_deterministic_ops=true, which fixes them and the order of sums.
"""

from __future__ import annotations

import os

import numpy as np

from on_device_steps import following

FLAG = "--xla_gpu_deterministic_ops=true"


def parts(task) -> list[str]:
    return ["plain"] if task.facts["platform"] != "gpu" else ["plain", "deterministic"]


def run(part: str, task) -> dict:
    import jaxgan.config  # noqa: F401 - what is missing for it is told here

    name, changes = following.config_of(task.tiny)
    half = 2 if task.tiny else 10
    environment = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    if part == "deterministic":
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}".strip()
    given = [name, "--rounds", str(2 * half), "--checkpoints", str(task.folder / part)]
    given += ["--set", *changes] if changes else []
    files = {}
    for kind, how in (("whole", ["--save", str(half)]), ("resumed", ["--restore"])):
        files[kind] = task.folder / f"{part}-{kind}.npz"
        process = following.start([*given, *how, "--out", str(files[kind])], environment)
        following.finish(process)
    with np.load(files["whole"]) as whole, np.load(files["resumed"]) as resumed:
        found = compare(dict(whole), dict(resumed))
    return {"config": name, "rounds": 2 * half, "flags": environment.get("XLA_FLAGS", ""), **found}


def compare(whole: dict, resumed: dict) -> dict:
    """How many leaves differ in any bit, and by how much at most, relative to the leaf's norm."""
    if whole.keys() != resumed.keys():
        raise ValueError(f"the leaves differ: {sorted(whole.keys() ^ resumed.keys())}")
    distances = {}
    for name, leaf in whole.items():
        if leaf.tobytes() != resumed[name].tobytes():
            gap = np.linalg.norm(np.ravel(leaf - resumed[name]))
            distances[name] = float(gap / max(np.linalg.norm(np.ravel(leaf)), 1e-12))
    worst = max(distances, key=distances.get, default=None)
    return {
        "leaves": len(whole),
        "different": len(distances),
        "bit_for_bit": not distances,
        **({"worst": worst, "distance": distances[worst]} if worst else {}),
    }
