"""kill -9 at random moments: every restart continues, and the run ends where an uninterrupted one ends, bit for bit.

    python benchmarks/kill.py --kills 50 --out runs/kill [--minutes 30] [--config sngan] [--seed 0]

A tiny config is trained to its end once, and once more with a SIGKILL in each of its processes: a random time after a
random entry into one of the `PLACES` (a compilation, a round, a save, the thread that makes batches, an evaluation, a
grid of samples, a row of metrics), or a random time after its start. Then both runs are compared: each leaf of the last
state, each row of metrics, event of TensorBoard and evaluation (none missing, none twice), the grids, and the
checkpoints that are left. No kill may leave a process of its session behind. Prints a line for each kill; ends with
exit code 1 if anything differs. The kills stop after --minutes; the run is then finished without them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PATIENCE = 600  # seconds for anything that takes some
VICTIM = "--victim"  # followed by a `Kill` and the command line of jaxgan

SMALL = (
    *("model.generator_width=8", "model.critic_width=8", "model.batch_size=8"),
    *("train.devices=1", "train.grid=4", "train.log_every=5"),
)
CONFIGS = {
    "gan": ("gan_mixture2d", *SMALL, "model.depth=1"),
    "sngan": ("sngan_digits", *SMALL, "model.ema_half_life_kimg=1"),
}
RATES = ("images_per_second", "rounds_per_second", "data_wait")
START = "start"


class Kill(NamedTuple):
    """`count` signals, `seconds` after the `number`th entry into `place`."""

    place: str
    number: int
    seconds: float
    signal: int = signal.SIGKILL
    count: int = 1


# {place: (most entries before the kill, most seconds from the entry)}
PLACES = {
    START: (1, 8.0),
    "compile": (3, 0.3),
    "step": (60, 0.003),
    "save": (3, 0.03),
    "data": (60, 0.003),
    "evaluation": (2, 0.05),
    "report": (2, 0.05),
    "metrics": (20, 0.001),
}


def random_kill(rng: random.Random) -> Kill:
    """A place, an entry and a delay, all uniform."""
    place = rng.choice(list(PLACES))
    entries, seconds = PLACES[place]
    return Kill(place, rng.randint(1, entries), rng.uniform(0, seconds))


class Command:
    """`jaxgan train` of a tiny config into a workdir, in a process of its own.

    Args:
      workdir: of the run.
      base: name of the config, and changes of it.
      steps: of the whole run.
      checkpoint_every: rounds between two checkpoints; grids and evaluations come every fourth time.
      environment: in which it runs.
    """

    def __init__(
        self,
        workdir: Path,
        base: Sequence[str],
        steps: int,
        checkpoint_every: int,
        environment: dict[str, str],
    ):
        name, *changes = base
        changes += [f"train.steps={steps}", f"train.checkpoint_every={checkpoint_every}"]
        self.sample_every = 4 * checkpoint_every
        every = {"sample_every": self.sample_every, "evaluate_every": self.sample_every}
        changes += [f"train.{key}={value}" for key, value in every.items()]
        changes += ["train.evaluate_num=32"]
        self.arguments = ["train", "--config", name, "--workdir", str(workdir)]
        self.arguments += [f"--config.{change}" for change in changes]
        self.name, self.changes, self.steps, self.workdir = name, changes, steps, workdir
        self.environment = environment

    def start(self, *kill: str) -> subprocess.Popen:
        """The process, of a session of its own."""
        program = [__file__, VICTIM, *kill] if kill else ["-m", "jaxgan"]
        return subprocess.Popen(
            [sys.executable, *program, *self.arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self) -> str:
        """Lets it run to its end; returns what it said."""
        said, code = self._wait(self.start())
        if code:
            raise RuntimeError(f"ended with {code}: {said}")
        return said

    def killed(self, kill: Kill) -> tuple[str, bool]:
        """(what it said, whether it was killed before its end); raises if it ended in any other way."""
        child = self.start(kill.place, *(f"{value:g}" for value in kill[1:]))
        said, code = self._wait(child)
        # Of a signal that it handles, a process ends by itself.
        if code not in (0, -kill.signal, 128 + kill.signal):
            raise RuntimeError(f"ended with {code} by itself: {said}")
        if left := in_session(child.pid):
            raise RuntimeError(f"left processes behind: {left}")
        return said, code != 0

    def _wait(self, child: subprocess.Popen) -> tuple[str, int]:
        try:
            said = child.communicate(timeout=PATIENCE)[0]
        finally:
            child.kill()
        return said, child.returncode

    @property
    def half_written(self) -> list[str]:
        """Checkpoints that a kill left unfinished."""
        folder = self.workdir / "checkpoints"
        return [n for n in os.listdir(folder) if not n.isdigit()] if folder.is_dir() else []

    def summary(self) -> str:
        """What is on disk."""
        from jaxgan.train import Checkpoints, read_metrics

        rows = read_metrics(self.workdir)
        steps = Checkpoints(self.workdir / "checkpoints").steps()
        return f"at step {rows[-1]['step'] if rows else 0}, checkpoints {steps}, half {self.half_written}"

    def leaves(self) -> tuple[int, dict]:
        """(step, {path: array}) of the last checkpoint."""
        import jax
        import numpy as np

        from jaxgan import config

        _, _, step, state = config.restore(self.workdir)
        paths = jax.tree_util.tree_leaves_with_path(state)
        return step, {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in paths}


def in_session(session: int) -> list[str]:
    """Command names of the processes of a session, of systems with /proc; a dead one that waits for its parent counts
    as none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:  # it has just ended
            continue
        state, _, _, of = rest.split()[:4]
        if int(of) == session and state != "Z":
            found.append(name.partition("(")[2])
    return found


def differences(ours: Command, theirs: Command) -> list[str]:
    """What is not the same after the two runs; both must have ended."""
    from jaxgan.train import Checkpoints, read_evaluations, read_metrics

    (step, state), (_, expected) = ours.leaves(), theirs.leaves()
    found = [] if step == ours.steps else [f"ends at step {step} of {ours.steps}"]
    if state.keys() != expected.keys():
        found.append("the states have different leaves")
    found += [n for n in state if state[n].tobytes() != expected[n].tobytes()]

    def rows(command: Command) -> list[dict]:
        table = read_metrics(command.workdir)
        return [{name: value for name, value in row.items() if name not in RATES} for row in table]

    if rows(ours) != rows(theirs):
        found.append("the rows of metrics differ")
    for command in (ours, theirs):
        logged = [(n, row["step"]) for row in read_metrics(command.workdir) for n in row]
        counted = Counter((name, at) for name, at in logged if name not in ("step", "kimg"))
        twice = [key for key, times in counted.items() if times > 1]
        found += [f"{command.workdir.name} has metrics twice: {twice[:3]}"] if twice else []
        if scalars(command.workdir) != Counter((n, at) for n, at in logged if n != "step"):
            found.append(f"{command.workdir.name}: TensorBoard's events are not those of the rows")
    scores = [
        [(r["measured"]["step"], {k: v for k, v in r.items() if k != "measured"}) for r in results]
        for results in map(read_evaluations, (ours.workdir, theirs.workdir))
    ]
    if scores[0] != scores[1]:
        found.append("the evaluations differ")
    for name in ("checkpoints", "best"):
        steps = [Checkpoints(c.workdir / name).steps() for c in (ours, theirs)]
        if steps[0] != steps[1]:
            found.append(f"{name} has the steps {steps[0]}, not {steps[1]}")
    grids = [f"samples/{s:08d}.png" for s in range(0, step + 1, ours.sample_every)]
    for name in ("samples.png", *grids):
        if (ours.workdir / name).read_bytes() != (theirs.workdir / name).read_bytes():
            found.append(f"{name} differs")
    return found + [f"left half written: {name}" for name in ours.half_written]


def scalars(workdir: Path) -> Counter:
    """How often TensorBoard's files hold each (tag, step)."""
    from tensorboard.compat.proto.event_pb2 import Event

    from jaxgan.train import events

    found: Counter = Counter()
    for path in events.files(workdir):
        for _, content in events.records(path):
            event = Event.FromString(content)
            found.update((value.tag, event.step) for value in event.summary.value)
    return found


# The process that is killed ---------------------------------------------------------------------------------


def victim(kill: Kill, words: list[str]) -> int:
    """Runs the command line, and kills this process at the moment of `kill`."""
    if kill.place == START:
        _strike(kill)
    else:
        _arm(kill)
    from jaxgan.cli.main import main

    return main(words)


def _strike(kill: Kill) -> None:
    def strike() -> None:
        for again in range(kill.count):
            # The first of two must have been handled, or they count as one.
            time.sleep(0.1 if again else kill.seconds)
            os.kill(os.getpid(), kill.signal)

    threading.Thread(target=strike, daemon=True).start()


def _arm(kill: Kill) -> None:
    """Counts the entries into the place of `kill`, whichever thread makes them."""
    import jax

    from jaxgan import engine, train
    from jaxgan.data import Pipeline

    owner, name = {
        "compile": (jax.stages.Lowered, "compile"),
        "step": (engine.Engine, "round"),
        "save": (train.Checkpoints, "save"),
        "data": (Pipeline, "batch"),
        "evaluation": (train.Evaluator, "__call__"),
        "report": (train.report, "save_grid"),
        "metrics": (train.report.Metrics, "write"),
    }[kill.place]
    function, entries = getattr(owner, name), [0]

    def entered(*args, **options):
        entries[0] += 1
        if entries[0] == kill.number:
            _strike(kill)
        return function(*args, **options)

    setattr(owner, name, entered)


# The command ------------------------------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--config", choices=CONFIGS, default="gan")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> int:
    args = parse()
    until = time.monotonic() + 60 * args.minutes
    if any((args.out / name).exists() for name in ("straight", "killed")):
        raise SystemExit(f"{args.out} holds earlier runs; give another --out")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(args.out.absolute() / "compiled")
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    steps = 70 * args.kills + 100
    theirs, ours = (
        Command(args.out / name, CONFIGS[args.config], steps, 10, environment)
        for name in ("straight", "killed")
    )
    theirs.run()
    rng, places = random.Random(args.seed), Counter()
    while sum(places.values()) < args.kills and time.monotonic() < until:
        kill = random_kill(rng)
        _, hit = ours.killed(kill)
        if not hit:
            print("the run ended before it was killed", flush=True)
            break
        places[kill.place] += 1
        print(f"{kill.place} {kill.number} + {kill.seconds:.3f} s: {ours.summary()}", flush=True)
    ours.run()
    found = differences(ours, theirs)
    result = {"kills": sum(places.values()), "places": dict(places), "steps": steps}
    print(json.dumps({**result, "differences": found}))
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1:2] == [VICTIM]:
        place, number, seconds, kind, count = sys.argv[2:7]
        moment = Kill(place, int(number), float(seconds), int(kind), int(count))
        sys.exit(victim(moment, sys.argv[7:]))
    sys.exit(main())
