"""The memory that training needs by `jaxgan.train.memory`, beside what a run of the same programs used.

    python benchmarks/memory.py sngan_digits --set model.batch_size=1024
    python benchmarks/memory.py --shipped --out benchmarks/results/memory_cpu.jsonl

Each config runs in a process of its own: it compiles all programs of the first stage, then makes the first state, plays
`ROUNDS` rounds and makes samples.

On an accelerator, "used" is the allocator's peak. A CPU has no such counter. There "used" is the growth of the
process's resident memory: its peak during the run (VmHWM, reset by /proc/self/clear_refs after compilation) less
what is resident before the first state, once the freed memory of the compiler has been given back to the system
(malloc_trim). Programs run one after the other (no asynchronous dispatch), and freed memory returns to the system at
once, as far as malloc can be told so.

What is no buffer of XLA's is counted too: threads, Python, and the scratch space of the CPU's convolutions, which XLA
does not report. A 3x3 convolution of 32 MiB of activations to as many took 82 MiB in place of 32, and one whose
gradients are taken 178 in place of 96 (JAX 0.10.2, two cores). So only networks of dense layers can be compared on a
CPU; `CONVOLUTIONS` shows how far the others are apart.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from on_device_steps.timing import resident

ROUNDS = 3
# Large enough that a few MiB do not matter: {name: changes}.
DENSE = {
    "gan_mixture2d": ("model.generator_width=2048", "model.critic_width=2048", "model.depth=3"),
    "wgan_mixture2d": (
        "model.batch_size=16384",
        "model.generator_width=512",
        "model.critic_width=512",
    ),
    "wgan_gp_mixture2d": ("model.batch_size=16384", "model.critic_width=512"),
    "sngan_mixture2d": ("model.batch_size=16384", "model.critic_width=512"),
    "gan_digits": (
        "model.batch_size=8192",
        "model.generator_width=1024",
        "model.critic_width=1024",
    ),
}
CONVOLUTIONS = {
    "dcgan_digits": ("model.batch_size=4096",),
    "sngan_digits": ("model.batch_size=1024",),
}
ENVIRONMENT = {
    "JAX_CPU_ENABLE_ASYNC_DISPATCH": "false",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**16),
}


def give_back() -> None:
    """Returns freed memory to the system, and begins a new peak."""
    import gc

    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def compare(name: str, changes: list[str]) -> dict:
    """The row of one config, which is run in this process."""
    import itertools

    import jax

    from jaxgan import config
    from jaxgan.cli.train import prepare
    from jaxgan.data import Pipeline
    from jaxgan.game import SAMPLES
    from jaxgan.train import memory, outputs

    # The samples come out of a program for all devices; memory is that of one.
    run, source, engine = prepare(config.load(name, ["train.devices=1", *changes]))
    shown = [n for n in engine.game.outputs if n == SAMPLES]
    needs: dict[str, float] = {}

    def note(program, compiled):
        needs[program.name] = memory.of_program(engine, program, compiled, source.spec)

    engine.on_compiled = note
    started = time.perf_counter()
    engine.compile_ahead(source.spec, 0, shown)
    for _, compiled in engine._compiling.values():
        compiled.result()
    seconds = time.perf_counter() - started
    stage = engine.game.stages[0]
    pipeline = Pipeline(source, 0, resolution=stage.resolution, **run.augmentation)
    pipeline.batch(0, stage.batch_size)  # what the host reads once is not the programs' memory
    on_cpu = engine.platform == "cpu"
    if on_cpu:
        give_back()
    before = resident("VmRSS") if on_cpu else 0
    state = engine.init()
    batches = (pipeline.batch(draw, stage.batch_size) for draw in itertools.count())
    for step in range(ROUNDS):
        state, metrics = engine.round(state, step, batches)
        jax.block_until_ready(metrics)
    for output in shown:
        num = engine.chunk_rows(output)
        given = outputs.given_for(engine.game.outputs[output], source, num)
        next(engine.make(state, output, engine.key(0), num, given))
    jax.block_until_ready(state)
    used = (
        resident("VmHWM") - before
        if on_cpu
        else (jax.local_devices()[0].memory_stats() or {})["peak_bytes_in_use"]
    )
    largest = max(needs, key=lambda n: needs[n])
    return {
        "config": name,
        "set": changes,
        "device": jax.devices()[0].device_kind,
        "largest": largest,
        "state": memory.size(engine.state_shape).device,
        "predicted": needs[largest],
        "used": used,
        "compile_seconds": seconds,
    }


def show(row: dict) -> None:
    mib = {key: row[key] / 2**20 for key in ("state", "predicted", "used")}
    print(
        f"{' '.join((row['config'], *row['set'])):<75} {row['largest']:<10} state {mib['state']:7.1f}"
        f"  predicted {mib['predicted']:7.1f}  used {mib['used']:7.1f} MiB"
        f"  predicted/used {row['predicted'] / row['used']:.2f}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*")
    parser.add_argument(
        "--shipped", action="store_true", help="the configs of `DENSE` and `CONVOLUTIONS`"
    )
    parser.add_argument("--set", nargs="*", default=[], help="section.key=value")
    parser.add_argument("--out", help="a file to which each row is added as a JSON line")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # the child
    args = parser.parse_args()
    if args.here:
        print(json.dumps(compare(args.configs[0], args.set)))
        return 0
    todo = {name: args.set for name in args.configs} | (
        DENSE | CONVOLUTIONS if args.shipped else {}
    )
    for name, changes in todo.items():
        command = [sys.executable, __file__, name, "--here", "--set", *changes]
        found = subprocess.run(
            command, stdout=subprocess.PIPE, env=os.environ | ENVIRONMENT, check=True
        )
        row = json.loads(found.stdout.decode().splitlines()[-1])
        show(row)
        if args.out:
            with open(args.out, "a") as file:
                file.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
