"""Times of several contestants that play alternately, and the memory that they took."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from on_device_steps.results import without_folders

# Plays so many times and waits for the last one to end.
Player = Callable[[int], None]


def alternate(
    players: Mapping[str, Player], seconds: float, blocks: int = 5
) -> dict[str, dict[str, float]]:
    """{name: {"ms": median, "least_ms": least}} of one play of each contestant.

    Each plays in blocks, without a pause between the plays of a block, and the contestants' blocks alternate: whatever
    else the machine does, it does to all. `seconds` is about how long all of it takes, warming up not counted.
    """
    for play in players.values():  # compile, allocate, warm up
        play(2)
    counts = {}
    for name, play in players.items():
        taken = _seconds(play, 1)
        counts[name] = max(1, math.ceil(seconds / blocks / len(players) / taken))
    times = {name: [] for name in players}
    for _ in range(blocks):
        for name, play in players.items():
            times[name].append(_seconds(play, counts[name]) / counts[name])
    return {
        name: {"ms": 1e3 * statistics.median(taken), "least_ms": 1e3 * min(taken)}
        for name, taken in times.items()
    }


def _seconds(play: Player, times: int) -> float:
    start = time.perf_counter()
    play(times)
    return time.perf_counter() - start


def peer(make: Callable[[], Any]) -> tuple[Any, str]:
    """(what `make()` returns, ""), or (None, why it failed): a peer that fails is no reason to stop."""
    try:
        return make(), ""
    except ModuleNotFoundError as error:
        return None, f"the package {error.name} is not installed here."
    except Exception as error:
        return None, without_folders(f"{type(error).__name__}: {error}")[:300]


def jax_memory() -> int | None:
    """Most bytes of the device that this process has used so far; None where the backend does not count."""
    import jax

    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def torch_memory() -> float | None:
    """Most MiB of the GPU that PyTorch has used in this process so far; None without a GPU."""
    import torch

    return mib(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


def resident(what: str) -> int:
    """Bytes of this process, on Linux: "VmRSS" now, "VmHWM" at most so far.

    `resource.getrusage` does not serve, since a process inherits the peak of the one that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return 1024 * int(line.split()[1])
    raise ValueError(what)


def mib(size: float | None) -> float | None:
    return None if size is None else size / 2**20
