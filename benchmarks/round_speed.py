"""One full round of `sngan` and `wgan_gp` at 32x32, paper widths, against a PyTorch twin, side by side in one run.

    pip install ".[parity]" && python benchmarks/round_speed.py

A round is five critic steps and one generator step (at twice the batch). The contestants play alternately, a
round each, and the table gives the median and the minimum of each: whatever else the machine does, it does to all. Only
on an otherwise idle machine do the milliseconds mean anything; the load average is printed for that.

PyTorch plays twice: as such (`torch`), the twin whose convolutions and resamplings follow each other as the papers
write them, and with jaxgan's own rewrites (`torch, rewritten`), which isolates what the frameworks cost from what
the algebra saves.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import time

BATCHES = 8  # different ones, drawn in turn


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["sngan", "wgan_gp"])
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of each contestant")
    parser.add_argument("--batch", type=int, default=16, help="real images of one critic step")
    parser.add_argument("--cores", type=int, default=2, help="CPU cores that all of them may use")
    parser.add_argument("--compile", action="store_true", help="also play torch.compile'd twins")
    return parser.parse_args()


def batches(batch_size: int):
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (batch_size, 32, 32, 3)
    pool = [{"image": rng.integers(0, 256, shape, dtype=np.uint8)} for _ in range(BATCHES)]
    return itertools.cycle(pool)


def jaxgan_engine(model: str, batch_size: int, **options):
    """The engine of a model at 32x32."""
    import importlib

    from jaxgan.engine import Engine
    from jaxgan.spec import Field, Spec

    module = importlib.import_module(f"jaxgan.models.{model}")
    options = module.Options(batch_size=batch_size, **options)
    return Engine(module.game(options, Spec({"image": Field("image", (32, 32, 3))}, 50_000)))


def jaxgan_player(engine):
    """A function that plays so many rounds and waits for the last, and the number of parameters it trains."""
    import jax

    data = batches(engine.game.stages[0].batch_size)
    state, steps = engine.init(), itertools.count()

    def play(rounds: int = 1):
        nonlocal state
        for _ in range(rounds):
            state, _ = engine.round(state, next(steps), data)
        jax.block_until_ready(state)

    return play, sum(p.size for p in jax.tree.leaves(state.params))


def torch_player(
    model: str, batch_size: int, rewritten: bool = False, compiled: bool = False, **how
):
    """As `jaxgan_player`; `how` are further arguments of `torch_twin.Game`."""
    import torch_twin

    game = torch_twin.Game(model, batch_size, rewritten, compiled, **how)
    data = batches(batch_size)

    def play(rounds: int = 1):
        for _ in range(rounds):
            losses = game.round(data)
        [loss.item() for loss in losses]

    return play, game.parameters()


def contestants(model: str, args: argparse.Namespace) -> dict:
    players = {"jaxgan": jaxgan_player(jaxgan_engine(model, args.batch))}
    for compiled in (False, True) if args.compile else (False,):
        for rewritten in (False, True):
            name = "torch" + ", rewritten" * rewritten + ", compiled" * compiled
            players[name] = torch_player(model, args.batch, rewritten, compiled)
    if len(sizes := {size for _, size in players.values()}) > 1:
        raise SystemExit(f"the contestants of {model} differ in parameters: {sizes}")
    return {name: play for name, (play, _) in players.items()}


def measure(players: dict, rounds: int) -> dict[str, list[float]]:
    for play in players.values():  # compile, allocate, warm up
        play(), play()
    times = {name: [] for name in players}
    for _ in range(rounds):
        for name, play in players.items():
            time.sleep(0.05)  # the threads of the one before go to sleep
            start = time.perf_counter()
            play()
            times[name].append(time.perf_counter() - start)
    return times


def main():
    args = parse()
    cores = sorted(os.sched_getaffinity(0))[: args.cores]
    os.sched_setaffinity(0, cores)  # before either library counts them
    import jax
    import torch

    torch.set_num_threads(len(cores))
    print(
        f"Python {platform.python_version()}, jax {jax.__version__} ({jax.default_backend()}), "
        f"torch {torch.__version__}, {len(cores)} cores, batch {args.batch}, {args.rounds} rounds"
    )
    row = "{:<10} {:<28} {:>10} {:>10} {:>14} {:>12}"
    print(row.format("model", "", "median ms", "min ms", "ratio (median)", "ratio (min)"))
    for model in args.models:
        before = os.getloadavg()[0]
        times = measure(contestants(model, args), args.rounds)
        median = {name: 1e3 * statistics.median(t) for name, t in times.items()}
        least = {name: 1e3 * min(t) for name, t in times.items()}
        for name in times:
            ratios = median["jaxgan"] / median[name], least["jaxgan"] / least[name]
            cells = f"{median[name]:.0f}", f"{least[name]:.0f}", *(f"{r:.2f}" for r in ratios)
            print(row.format(model, name, *cells), flush=True)
        print(f"{model}: load average {before:.1f} before, {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
