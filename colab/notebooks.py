"""Notebooks run as a reader runs them."""

import os
from pathlib import Path

FILES = sorted(Path(__file__).parent.glob("*.ipynb"))


def execute(
    notebook, folder: Path, more: dict[str, str] | None = None, timeout: int = 600
) -> list[str]:
    """Runs all cells in `folder`, and returns the types of the kernel's messages; raises on a cell that fails.

    Args:
      notebook: its outputs are replaced.
      folder: a new folder.
      more: environment variables.
      timeout: seconds that a cell may take.
    """
    from nbclient import NotebookClient

    received = []

    class Client(NotebookClient):
        def process_message(self, msg, cell, cell_index):
            received.append(msg["msg_type"])
            return super().process_message(msg, cell, cell_index)

    client = Client(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        # Widgets die with the kernel; without their state, a notebook shows their pictures.
        store_widget_state=False,
    )
    client.execute(env=environment(folder) | (more or {}))
    return received


def environment(folder: Path) -> dict[str, str]:
    """A reader's: one CPU device instead of the tests' eight, inline figures, no settings from the home directory."""
    others = ("MPLBACKEND", "JAXGAN_NOTEBOOK_STEPS")
    own = {name: value for name, value in os.environ.items() if name not in others}
    flags = [flag for flag in own.get("XLA_FLAGS", "").split() if "device_count" not in flag]
    return own | {
        "XLA_FLAGS": " ".join(flags),
        "JAX_PLATFORMS": "cpu",
        # A run that is continued compiles the same programs again.
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TMPDIR": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
