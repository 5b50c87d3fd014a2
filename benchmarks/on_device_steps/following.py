"""A run of a few rounds on real data, as a process of its own: for trajectories and for resuming.

    python -m on_device_steps.following sngan_digits --rounds 5 --out trajectory.npz
    python -m on_device_steps.following sngan_digits --rounds 6 --save 3 --checkpoints DIR --out whole.npz
    python -m on_device_steps.following sngan_digits --rounds 6 --restore --checkpoints DIR --out resumed.npz

It writes every leaf of the last state as `leaf/...`, and of each round `round/K/...`, each as one vector: the metrics,
and the parameters and u vectors of each player.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

CONFIG, TINY_CONFIG = "sngan_digits", "sngan_mixture2d"
TINY_CHANGES = (
    "model.generator_width=8", "model.critic_width=8", "model.batch_size=4", "model.depth=1",
)  # fmt: skip


def config_of(tiny: bool) -> tuple[str, tuple[str, ...]]:
    """(config, changes) that the trajectories are of; with spectral normalisation, so that u vectors are among it."""
    return (TINY_CONFIG, TINY_CHANGES) if tiny else (CONFIG, ())


def start(arguments: list[str], environment: Mapping[str, str]) -> subprocess.Popen:
    """This module as a process, in the environment of the caller with changes."""
    return subprocess.Popen(
        [sys.executable, "-m", "on_device_steps.following", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    """Waits for a process, and raises with its last words if it failed."""
    _, words = process.communicate()
    if process.returncode:
        last = (words.strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"{last} (exit status {process.returncode})\n{words[-2000:]}")


def follow(name: str, changes: tuple[str, ...], rounds: int) -> dict[str, np.ndarray]:
    """What this module writes, of a run from the start."""
    engine, pipeline = _open(name, changes)
    state, stream, kept = engine.init(), _stream(engine, pipeline, 0), {}
    for step in range(rounds):
        state, of_turns = engine.round(state, step, stream)
        metrics = {name: float(x) for turn in of_turns.values() for name, x in turn.items()}
        in_order = np.array([metrics[name] for name in sorted(metrics)])
        for part, vector in (*_vectors(state), ("metrics/all", in_order)):
            kept[f"round/{step}/{part}"] = vector
    return {**kept, **_leaves(state)}


def resume(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """The leaves after `rounds` rounds: of a run that saves on its way, or of one that goes on from what was saved."""
    from jaxgan.train import Checkpoints

    engine, pipeline = _open(args.config, args.set)
    checkpoints, first = Checkpoints(args.checkpoints), 0
    if args.restore:
        first, state = checkpoints.restore(engine.state_shape)
    else:
        state = engine.init()
    stream = _stream(engine, pipeline, first)
    for step in range(first, args.rounds):
        state, _ = engine.round(state, step, stream)
        if step + 1 == args.save:
            checkpoints.save(args.save, state)
    checkpoints.close()
    return _leaves(state)


def _open(name: str, changes):
    from jaxgan import config, data
    from jaxgan.engine import Engine

    cfg = config.load(name, changes)
    source = config.open_data(cfg)
    return Engine(config.make_run(cfg, source.spec).game, seed=1), data.Pipeline(source, 1)


def _stream(engine, pipeline, first: int) -> Iterator[dict]:
    """The batches from round `first` on."""
    _, draw = engine.game.position(first)
    while True:
        yield pipeline.batch(draw, engine.game.stages[0].batch_size)
        draw += 1


def _vectors(state) -> Iterator[tuple[str, np.ndarray]]:
    import jax

    def vector(tree):
        return np.concatenate([np.ravel(np.array(x)) for x in jax.tree.leaves(tree)])

    for player, tree in state.params.items():
        yield f"params/{player}", vector(tree)
    for player, collections in state.variables.items():
        if "spectral" in collections:
            yield f"u/{player}", vector(collections["spectral"])


def _leaves(state) -> dict[str, np.ndarray]:
    import jax

    return {
        "leaf/" + jax.tree_util.keystr(path, simple=True, separator="/"): np.array(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--set", nargs="*", default=[], help="section.key=value")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--save", type=int, default=0, help="save after so many rounds")
    parser.add_argument("--restore", action="store_true", help="go on from what was saved")
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    found = resume(args) if args.checkpoints else follow(args.config, args.set, args.rounds)
    np.savez(args.out, **found)


if __name__ == "__main__":
    main()
