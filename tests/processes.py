"""Several processes that run JAX together on this machine."""

import os
import socket
import subprocess
import sys
import time

from kill import in_session


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


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


class Together:
    """A command of jaxgan in several processes on this machine, which write to the files FOLDER/0.log, FOLDER/1.log.

    As a context, it leaves no process behind.

    Args:
      arguments: of the command, without those that say how the processes find each other.
      environment: of `command_environment`.
      folder: of the logs.
      devices: of each process.
      program: what runs the command.
    """

    def __init__(
        self, arguments, environment, folder, count=2, devices=2, program=("-m", "jaxgan")
    ):
        flags = f"{environment['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
        address = f"127.0.0.1:{free_port()}"
        folder.mkdir(exist_ok=True)
        self.logs = [folder / f"{index}.log" for index in range(count)]
        self.children = []
        for index, log in enumerate(self.logs):
            among = ["--distributed", address, "--processes", str(count), "--process", str(index)]
            with log.open("w") as file:
                child = subprocess.Popen(
                    [sys.executable, *program, *map(str, arguments), *among],
                    env=environment | {"XLA_FLAGS": flags},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.children.append(child)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for child in self.children:
            child.kill()
            child.wait()
        deadline = time.monotonic() + 10
        while left := [name for child in self.children for name in in_session(child.pid)]:
            assert time.monotonic() < deadline, f"left processes behind: {left}"
            time.sleep(0.1)

    def said(self, index: int) -> str:
        return self.logs[index].read_text()

    def finish(self) -> list[str]:
        """Waits for the end of all, which must be good; returns what each has said."""
        with self:
            codes = [child.wait(timeout=500) for child in self.children]
        said = [self.said(index) for index in range(len(self.children))]
        assert not any(codes), (codes, *(text[-3000:] for text in said))
        return said


def run_processes(code: str, folder, count: int = 2, devices: int = 2) -> None:
    """Runs `code` in `count` processes of so many devices, with arguments port, index, folder; all must end well."""
    port = free_port()
    flags = f"{one_device()} --xla_force_host_platform_device_count={devices}"
    # JAX listens on all interfaces otherwise.
    bind = f"127.0.0.1:{port}"
    here = dict(os.environ, JAX_PLATFORMS="cpu", XLA_FLAGS=flags, JAX_COORDINATOR_BIND_ADDRESS=bind)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(port), str(index), str(folder)],
            env=here,
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
