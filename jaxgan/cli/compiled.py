"""The cache of compiled programs: what one command has compiled, later ones read from disk.

JAX keeps the programs. Its own settings go first: a place in $JAX_COMPILATION_CACHE_DIR, a largest size in
$JAX_COMPILATION_CACHE_MAX_SIZE, and $JAX_ENABLE_COMPILATION_CACHE=false to keep none. Else they are in the folder
`compiled` of the user's cache (`jaxgan.weights.cache_folder`), which may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import warnings
from pathlib import Path
from typing import Any

MOST_BYTES = 4 * 2**30  # then the programs that were not used for longest are deleted
# The commands that compile; the others do not import JAX.
COMMANDS = ("train", "sample", "make", "evaluate", "diagnose", "lipschitz")


def use_cache() -> None:
    """Lets JAX keep compiled programs; call it before anything is compiled."""
    import jax

    config: Any = jax.config  # its settings are attributes that type checkers do not see
    if not config.jax_enable_compilation_cache or config.jax_compilation_cache_dir is not None:
        return
    if sys.platform == "darwin":
        return  # reading large CPU programs from the cache has crashed there (jaxlib 0.9)
    folder = place()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        warnings.warn(
            f"compiled programs cannot be kept in {folder} ({error.strerror or error}), so each command compiles"
            " its own; set JAXGAN_CACHE to a folder that can be written",
            stacklevel=2,
        )
        return
    config.update("jax_compilation_cache_dir", str(folder))
    # Training compiles some ten programs, of which the small ones take a second together.
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if config.jax_compilation_cache_max_size == -1:
        config.update("jax_compilation_cache_max_size", MOST_BYTES)


def place() -> Path:
    """The folder of programs that this version of JAX has compiled on a machine like this one."""
    from jaxlib.version import __version__

    from jaxgan.weights import cache_folder

    # A program for a CPU may use every instruction of it, and a home folder may belong to many machines.
    machine = hashlib.sha256(instructions().encode()).hexdigest()[:12]
    return cache_folder() / "compiled" / f"jaxlib-{__version__}-{machine}"


def instructions() -> str:
    """What distinguishes this CPU from others: its model, and the instructions that the system allows."""
    described = Path("/proc/cpuinfo")
    if not described.exists():
        return f"{platform.machine()} {platform.processor()}"
    fields = ("model name", "flags", "Features", "CPU part")
    lines = described.read_text().split("\n\n", 1)[0].splitlines()
    return "\n".join([platform.machine(), *(x for x in lines if x.startswith(fields))])
