"""What each turn of a config costs: seconds to compile, operations, temporary memory, time; and the size of the state.

    python benchmarks/procedures.py stylegan2_digits progressive_digits
    python benchmarks/procedures.py sngan_digits --set model.batch_size=16 --stages 3

Times are medians over plays on real batches of the config's data, whatever else the machine does; the load average is
printed for that. Compiling is timed with no cache.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import time


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="+", help="names from `jaxgan list`, or files")
    parser.add_argument("--set", nargs="*", default=[], help="section.key=value, for all of them")
    parser.add_argument("--plays", type=int, default=5, help="timed plays of each turn")
    parser.add_argument("--stages", type=int, default=0, help="only the first so many; 0 for all")
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
            inputs = (state, batch, engine.run_key, np.int32(0))
            start = time.perf_counter()
            compiled = engine.program(index, turn).lower(*inputs).compile()
            seconds = time.perf_counter() - start
            flops = (compiled.cost_analysis() or {}).get("flops", math.nan)
            memory = compiled.memory_analysis()
            temporary = math.nan if memory is None else memory.temp_size_in_bytes / 2**20
            times = []
            for play in range(args.plays + 1):
                start = time.perf_counter()
                state, _ = jax.block_until_ready(
                    compiled(state, batch, engine.run_key, np.int32(play))
                )
                times.append(time.perf_counter() - start)
            ms = 1000 * statistics.median(times[1:])
            print(
                f"{index:>5} {stage.batch_size:>5} {turn.name:<24} {seconds:>9.1f} {flops / 1e9:>9.3f}"
                f" {temporary:>8.1f} {ms:>9.1f}"
            )


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
