"""What the machine is: memory, cores, packages, and the rates that its device reaches."""

from __future__ import annotations

import os
from importlib import metadata

import chips

from on_device_steps import timing

# What jaxgan and the benchmarks import.
PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "numpy", "scipy", "scikit-learn", "pillow",
    "matplotlib", "rich", "tensorboard", "clu", "grain", "array_record", "torch", "torchvision",
    "torch-fidelity",
)  # fmt: skip


def parts(task) -> list[str]:
    return ["machine", "rates"]


def run(part: str, task) -> dict:
    return machine() if part == "machine" else rates(task)


def machine() -> dict:
    import jax

    device = jax.devices()[0]
    memory = device.memory_stats() or {}
    return {
        "devices": jax.device_count(),
        "memory_mib": timing.mib(memory.get("bytes_limit")),
        "cores": os.cpu_count(),
        "platform_version": device.client.platform_version.splitlines()[0],
        "packages": {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def rates(task) -> dict:
    """TFLOP/s of large matrix products, GB/s of a large copy (read and written): ceilings for all that follows."""
    import jax
    import jax.numpy as jnp

    size = 128 if task.tiny else 8192
    seconds = 0.05 if task.tiny else 0.5
    found = {}
    for dtype in ("bfloat16", "float32"):
        x = jax.random.normal(jax.random.key(0), (size, size), dtype)
        ms = _time(jax.jit(lambda x: x @ x), x, seconds)
        flops = 2 * size**3
        found[f"{dtype}_tflops"] = flops / ms / 1e9
        most = chips.utilisation(flops, ms / 1e3, task.facts["device"], dtype)
        found[f"{dtype}_of_peak"] = most
    x = jnp.zeros((size, 4 * size), jnp.float32)
    found["copy_gb_per_s"] = 2 * x.nbytes / _time(jax.jit(lambda x: x + 1), x, seconds) / 1e6
    return found


def _time(program, x, seconds: float) -> float:
    import jax

    def play(times: int) -> None:
        for _ in range(times):
            y = program(x)
        jax.block_until_ready(y)

    return timing.alternate({"": play}, seconds)[""]["ms"]
