"""A few minutes on a GPU or TPU, turned into results: does everything run there, is it right, how fast is it?

    python benchmarks/on_device.py --minutes 9 --out runs/device
    python benchmarks/on_device.py --minutes 9 --out runs/device --only configs,speed_sngan
    python benchmarks/on_device.py --minutes 8 --out runs/rehearsal --tiny                  # on a CPU

The steps are in `on_device_steps/table.py`, in order of worth. Each runs in processes of its own and within a bound; a
step that raises, crashes or hangs is recorded, and the next one runs. After each part of a step a JSON line is
added to OUT/results.jsonl. Run again with the same --out (or with --earlier FILE), it does what is not done yet.
`benchmarks/README.md` says what each step measures and needs.
"""

from __future__ import annotations

import argparse
import platform
import signal
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]  # jaxgan of this checkout

from on_device_steps import results, runner, table, worker  # noqa: E402
from on_device_steps.task import Task  # noqa: E402

PACKAGES = ("jax", "jaxlib", "flax", "torch")


def parse(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="the whole ends within so many")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/on_device"), help="folder of the results"
    )
    parser.add_argument("--earlier", type=Path, help="results file whose steps are not run again")
    parser.add_argument("--only", default="", help="these steps: " + ",".join(table.NAMES))
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: a rehearsal, also on CPUs")
    parser.add_argument("--commit", default="", help="of the checkout, where it has no .git")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "jaxgan_on_device",
        help="folder of the compilation cache",
    )
    # Of the processes that the command starts:
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(args)


def commit() -> str:
    """Of this checkout, with "+" where files differ from it; "unknown" where there is no git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.check_output([*git, "rev-parse", "HEAD"], stderr=subprocess.DEVNULL)
        changed = subprocess.check_output([*git, "status", "--porcelain", "--untracked-files=no"])
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.decode().strip() + "+" * bool(changed.strip())


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def command(args: argparse.Namespace) -> str:
    """What decides about the results of the command line: no folders."""
    words = ["python", "benchmarks/on_device.py", "--minutes", f"{args.minutes:g}"]
    words += ["--only", args.only] if args.only else []
    return " ".join(words + ["--tiny"] * args.tiny)


def facts(args: argparse.Namespace) -> dict:
    """What every line states."""
    return {
        **runner.probe(args.cache),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
        "commit": args.commit or commit(),
        "command": command(args),
        "size": "tiny" if args.tiny else "full",
    }


def main() -> int:
    began, args = time.time(), parse()
    if args.task is not None:
        return worker.work(Task.load(args.task))
    known = facts(args)
    if known["platform"] == "cpu" and not args.tiny:
        print("JAX sees only a CPU here; rehearse with --tiny.", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    until = began + 60 * args.minutes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the processes of the step too
    settings = runner.Settings(
        args.out.resolve(), args.cache, until, known, args.earlier, args.tiny
    )
    statuses = runner.run(table.chosen(args.only), settings)
    print(", ".join(f"{step} {status}" for step, status in statuses.items()))
    print(args.out / results.FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
