"""What each turn of a config costs: seconds to compile, operations, temporary memory, time; and the size of the state.

    python benchmarks/procedures.py stylegan2_digits progressive_digits
    python benchmarks/procedures.py sngan_digits --set model.batch_size=16 --stages 3
    python benchmarks/procedures.py sngan_digits --operations 20

Times are medians over plays on real batches of the config's data, whatever else the machine does; the load average is
printed for that. Compiling is timed with no cache.

With `--operations N`, a further play is traced, and the N operations of the program that took longest are shown, with
the rate of the convolutions and matrix products in them. Operations that run at the same time share the cores, so the
sum of their times may exceed that of the play.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import itertools
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import hlo


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="+", help="names from `jaxgan list`, or files")
    parser.add_argument("--set", nargs="*", default=[], help="section.key=value, for all of them")
    parser.add_argument("--plays", type=int, default=5, help="timed plays of each turn")
    parser.add_argument("--stages", type=int, default=0, help="only the first so many; 0 for all")
    parser.add_argument("--operations", type=int, default=0, help="show the slowest of a play")
    return parser.parse_args()


def measure(name: str, args: argparse.Namespace) -> None:
    import jax
    import numpy as np

    from jaxgan import config, data
    from jaxgan.engine import Engine

    cfg = config.load(name, args.set)
    source = config.open_data(cfg)
    game = config.make_run(cfg, source.spec).game
    engine = Engine(game)
    state = engine.init()
    size = sum(x.nbytes for x in jax.tree.leaves(state)) / 2**20
    params = {p: sum(x.size for x in jax.tree.leaves(t)) for p, t in state.params.items()}
    print(f"\n{name}: {cfg.model_name} on {source.summary}; state {size:,.1f} MiB")
    print(f"parameters: {sum(params.values()):,} in {len(params)} players")
    print(
        f"{'stage':>5} {'batch':>5} {'turn':<24} {'compile s':>9} {'GFLOP':>9} {'MiB':>8} {'ms':>9}"
    )
    for index, stage in enumerate(game.stages[: args.stages or None]):
        pipeline = data.Pipeline(source, index, resolution=stage.resolution)
        batch = engine.put(pipeline.batch(0, stage.batch_size))
        for turn in stage.turns:
            start = time.perf_counter()
            lowered = engine.program(index, turn).lower(state, batch, engine.run_key, np.int32(0))
            compiled = lowered.compile()
            seconds = time.perf_counter() - start
            flops = (compiled.cost_analysis() or {}).get("flops", math.nan)
            memory = compiled.memory_analysis()
            temporary = math.nan if memory is None else memory.temp_size_in_bytes / 2**20
            plays = itertools.count()

            def play(compiled=compiled, batch=batch, plays=plays):
                nonlocal state
                number = np.int32(next(plays))
                state, _ = jax.block_until_ready(compiled(state, batch, engine.run_key, number))

            print(
                f"{index:>5} {stage.batch_size:>5} {turn.name:<24} {seconds:>9.1f} {flops / 1e9:>9.3f}"
                f" {temporary:>8.1f} {median_ms(play, args.plays):>9.1f}"
            )
            if args.operations:
                show_operations(compiled.as_text(), durations(play), args.operations)


def median_ms(play: Callable[[], None], plays: int) -> float:
    times = []
    for _ in range(plays + 1):
        start = time.perf_counter()
        play()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[1:])


def durations(play: Callable[[], None]) -> dict[str, float]:
    """{operation of the program: seconds}, of one play."""
    import jax

    found: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            play()
        (file,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    for event in events:
        if "dur" in event and "hlo_op" in event.get("args", {}):
            found[event["args"]["hlo_op"]] += event["dur"] / 1e6  # microseconds
    return found


def show_operations(text: str, seconds: dict[str, float], most: int) -> None:
    """Prints the slowest operations of a program, given its optimised HLO and the seconds of each."""
    work, sources = hlo.multiplications(text), hlo.sources(text)
    known = {name: took for name, took in seconds.items() if name in work}
    products = sum(took for name, took in known.items() if work[name] > 0)
    print(
        f"        {1000 * sum(known.values()):.1f} ms in {len(known)} operations, {1000 * products:.1f} of them in"
        f" convolutions and matrix products of {sum(work.values()) / 1e9:.1f} GFLOP"
    )
    for name in sorted(known, key=known.__getitem__, reverse=True)[:most]:
        took = known[name]
        rate = f"{work[name] / took / 1e9:6.0f} GFLOP/s" if work[name] > 0 else " " * 14
        print(f"{1000 * took:>15.1f} ms {rate}  {name}: {sources[name]}")


def main() -> None:
    args = parse()
    import jax

    device = jax.devices()[0]
    print(
        f"JAX {jax.__version__} on {device.device_kind}, Python {platform.python_version()}, {os.cpu_count()} cores,"
        f" load {os.getloadavg()[0]:.1f}"
    )
    for name in args.configs:
        measure(name, args)


if __name__ == "__main__":
    main()
