"""Several processes that run JAX together on this machine."""

import os
import socket
import subprocess
import sys


def one_device() -> str:
    """XLA_FLAGS for a child process: the suite's, which compile quickly, without its eight devices."""
    flags = os.environ["XLA_FLAGS"].split()
    return " ".join(flag for flag in flags if "device_count" not in flag)


def command_environment(cache_dir) -> dict[str, str]:
    """The environment of a child process that runs a command: one CPU device, compiled programs in a cache."""
    return dict(
        os.environ,
        JAX_PLATFORMS="cpu",
        XLA_FLAGS=one_device(),
        JAX_COMPILATION_CACHE_DIR=str(cache_dir),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )


def run_processes(code: str, folder, count: int = 2, devices: int = 2) -> None:
    """Runs `code` in `count` processes of so many devices, with arguments port, index, folder; all must end well."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = f"{one_device()} --xla_force_host_platform_device_count={devices}"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(port), str(index), str(folder)],
            env=dict(os.environ, JAX_PLATFORMS="cpu", XLA_FLAGS=flags),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(count)
    ]
    try:
        outputs = [child.communicate(timeout=500)[0] for child in children]
    finally:
        for child in children:
            child.kill()
    for child, output in zip(children, outputs, strict=True):
        assert child.returncode == 0, output[-3000:]
