"""Commands that run in several processes together: how these find each other, and what is said if one is lost.

JAX ends a process by `abort()` when another one of its run cannot be reached, while it connects or later. No Python
code runs after that. So the command runs in a child process, and its parent, which never imports JAX, waits for it,
passes signals on, and states in one sentence what happened.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

from jaxgan.cli.errors import BAD_INPUT, UserError

DETECT = "detect"  # the value of --distributed without an address

# Seconds.
CONNECT = 300  # in which all processes must have connected
HEARTBEAT = 40  # without a sign of life, after which a process counts as lost
LEAVE = 10  # in which a process that has failed waits for the others to end as well

LOST = 3  # exit code

GIVE = "give --distributed HOST:PORT --processes N --process I in each of the N processes"
_CONNECTED = b"1"


def add_arguments(parser) -> None:
    parser.add_argument(
        "--distributed",
        nargs="?",
        const=DETECT,
        metavar="HOST:PORT",
        help="run in several processes, started by the same command on each machine; JAX finds them by itself on Cloud"
        " TPU, under SLURM and Open MPI, and in an indexed Kubernetes job. Elsewhere, give the address of process 0",
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="number of processes, with --distributed HOST:PORT",
    )
    parser.add_argument(
        "--process", type=int, metavar="I", help="number of this process, from 0 to N - 1"
    )


def check(args) -> bool:
    """Whether the command is to run in several processes.

    Raises:
      UserError: the arguments that say so are incomplete or wrong.
    """
    address = getattr(args, "distributed", None)
    count, index = getattr(args, "processes", None), getattr(args, "process", None)
    if address is None:
        if count is not None or index is not None:
            raise UserError(f"--processes and --process need the address of process 0: {GIVE}.")
        return False
    if address != DETECT:
        host, _, port = address.rpartition(":")
        if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 2**16:
            raise UserError(
                f"--distributed is {address}, but it must be the host and a free port of process 0, such as"
                " 10.0.0.1:8476."
            )
    if count is None or index is None:
        if address == DETECT and count is index:
            return True
        missing = "--processes" if count is None else "--process"
        raise UserError(f"{missing} is missing: {GIVE}.")
    if not 0 <= index < count:
        raise UserError(
            f"--process is {index} and --processes {count}, but the processes are numbered from 0 to N - 1: {GIVE}."
        )
    return True


def supervised(command: str) -> socket.socket:
    """Forks, and returns in the child, which is to run the command; the parent waits and ends with its exit code.

    Call it before JAX is imported: its threads do not survive a fork.

    Returns:
      the child's connection to its parent.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child:
        theirs.close()
        sys.exit(_wait_for(child, ours, command))
    ours.close()
    # In a group of its own, a signal to the parent's group (Ctrl-C) reaches it once, from the parent.
    os.setpgid(0, 0)
    threading.Thread(target=_end_with, args=(theirs,), daemon=True).start()
    return theirs


def _wait_for(child: int, ours: socket.socket, command: str) -> int:
    """The exit code of the child, after it has ended; says so if JAX has ended it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: os.kill(child, number))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGABRT:
        ours.setblocking(False)
        connected = False
        with contextlib.suppress(OSError):
            connected = ours.recv(1) == _CONNECTED
        print(f"jaxgan: {lost(command, connected)}", file=sys.stderr)
        return LOST
    if code < 0:  # the kernel ends the largest process if memory runs out, for example
        print(f"jaxgan: ended by {signal.Signals(-code).name}", file=sys.stderr)
    return code if code >= 0 else 128 - code


def _end_with(parent: socket.socket) -> None:
    """Ends this process when its parent has ended, which kill -9 gives no time to pass it on."""
    try:
        parent.recv(1)
    finally:  # an error as well: the connection is reset if the parent has not read all
        os._exit(128 + signal.SIGKILL)


def lost(command: str, connected: bool) -> str:
    """What is said after JAX has ended this process."""
    if connected:
        again = "continues from the last checkpoint" if command == "train" else "starts anew"
        return (
            "JAX has ended this process, most likely because another one of the command has ended or cannot be reached"
            f" (see above); run the same command in all processes again, which {again}."
        )
    return (
        f"the processes did not find each other within {CONNECT} seconds (JAX says why above); start the same command"
        " in all of them, with the address of process 0 that the others can reach, and each number once:"
        " --distributed HOST:PORT --processes N --process I."
    )


def run(args, command: Callable[..., int], parent: socket.socket | None = None) -> int:
    """Calls `command(args)`, after connecting with the other processes if there are some; returns its exit code.

    Args:
      args: of the command line.
      command: the command.
      parent: what `supervised` has returned; None if this process does not end with the command.
    """
    if not check(args):
        return command(args)
    import jax

    _connect(args)
    if parent is None:
        return command(args)
    if args.command != "train":
        # JAX took the signal for its notice of preemption, which only the training loop asks for.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent.send(_CONNECTED)
    code = 1
    try:
        code = command(args)
    except UserError:
        code = BAD_INPUT
        raise
    except jax.errors.JaxRuntimeError:
        # A failed operation of all devices may mean that another process is lost. Then JAX ends this one soon.
        time.sleep(HEARTBEAT + 5)
        raise
    finally:
        if code:
            # At its end, JAX waits for all processes. Others may wait for this one in an operation.
            leave = threading.Timer(LEAVE, os._exit, (code,))
            leave.daemon = True
            leave.start()
    return code


def _connect(args) -> None:
    import jax

    address = None if args.distributed == DETECT else args.distributed
    host = (address or "").rpartition(":")[0]
    try:
        jax.distributed.initialize(
            address,
            args.processes,
            args.process,
            cluster_detection_method="deactivate" if address else None,
            initialization_timeout=CONNECT,
            heartbeat_timeout_seconds=HEARTBEAT,
            # On all interfaces otherwise.
            coordinator_bind_address=address if host in ("localhost", "127.0.0.1") else None,
        )
    except ValueError:
        raise UserError(
            "JAX finds no cluster here: --distributed alone works on Cloud TPU, under SLURM and Open MPI, and in an"
            f" indexed Kubernetes job; elsewhere {GIVE}."
        ) from None
    except (RuntimeError, OSError) as error:
        raise UserError(f"JAX cannot connect the processes ({error}); {GIVE}.") from error
