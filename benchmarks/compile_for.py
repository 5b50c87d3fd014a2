"""Compiles every program of a config for devices that need not be there, and says what it would cost on them.

    pip install ".[tpu]"                          # brings the TPU compiler; no TPU is needed
    python benchmarks/compile_for.py sngan_cifar10 --platform tpu --topology v5e:2x2
    python benchmarks/compile_for.py stylegan2_256 --platform tpu --topology v5e:1x1 --set train.accumulate=4
    python benchmarks/compile_for.py --all --platform cuda            # an H100; pip install ".[cuda12]"
    python benchmarks/compile_for.py sngan_cifar10 --platform cpu --devices 8     # how the work is shared, in seconds

One line for each program: a turn of a stage, what enters a stage, the first state, samples. Memory, operations and
bytes are those of one device. "shared" is devices x (operations of one device) / (operations of the whole program): 1
where the devices share the work, their number where each does all of it; exact with `--platform cpu`, since other
compilers add operations of their own. "at least" is the time of a play by the chip's peaks: no program is faster.
"estimate" is the TPU compiler's own, in cycles.

Exit status: 0 where every program fits, 1 where one does not, 2 for what cannot be tried.

With `--all`, a config whose batch the devices cannot share is compiled for one of them.

`--platform cpu` compiles for CPU devices what an accelerator would compile, without what is written for CPUs only.
`--quick` compiles for TPUs ten times as fast, but estimates of time then mean nothing, and the compiler recomputes
nothing in order to fit: what fits so, fits.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import chips
import hlo

HOTTEST = 5
# How the TPU compiler says so: (needed, there).
OUT_OF_MEMORY = (
    r"Used ([\d.]+[KMG]) of ([\d.]+[KMG]) hbm",
    r"required for HLO temporaries \(([\d.]+[KMG])\) exceeds available HBM \(([\d.]+[KMG])\)",
)


class Row(NamedTuple):
    """What one program costs on one device; NaN where the compiler does not say."""

    program: str
    plays: float
    seconds: float  # to trace and to compile
    memory: float  # bytes: arguments, results and temporary ones
    flops: float
    whole_flops: float  # of the program before it is split over devices
    nbytes: float  # to and from the memory
    cycles: float
    collectives: dict[str, tuple[int, int]]  # kind: (times, bytes)
    hottest: list[hlo.Operation]
    error: str = ""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", help="names from `jaxgan list`, or files")
    parser.add_argument("--all", action="store_true", help="every config that comes with jaxgan")
    parser.add_argument("--platform", choices=("tpu", "cuda", "cpu"), default="tpu")
    parser.add_argument(
        "--topology", default="v5e:2x2", help="of TPUs: v5e:1x1, v5e:2x4, v5p:2x2x1, v6e:2x2"
    )
    parser.add_argument(
        "--devices", type=int, default=0, help="so many (cuda, cpu: 1; tpu: all of the topology)"
    )
    parser.add_argument("--set", nargs="*", default=[], help="section.key=value, for all configs")
    parser.add_argument("--only", default="", help="a regular expression of programs (0/critic)")
    parser.add_argument("--memory_gib", type=float, help="of a device, in place of the chip's own")
    parser.add_argument("--quick", action="store_true", help="see above")
    parser.add_argument("--hot", action="store_true", help=f"also the {HOTTEST} slowest operations")
    parser.add_argument("--out", help="a file to which each program is added as a JSON line")
    parser.add_argument(
        "--table", nargs="+", help="such files: shows their table and compiles nothing"
    )
    args = parser.parse_args(arguments)
    if not (args.configs or args.all or args.table):
        parser.error("name a config (see them with: jaxgan list), or give --all")
    return args


def prepare(args: argparse.Namespace) -> None:
    """What must be set before JAX is imported."""
    # Constants live on the CPU: devices that are not there hold none.
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # nothing on drivers that are not there
    if args.platform == "cpu":
        # Without LLVM's optimisations: they change no operation.
        flags = f"--xla_force_host_platform_device_count={args.devices or 1} --xla_backend_optimization_level=0"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    if args.platform == "tpu":
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # asks no metadata server
        if args.quick:
            os.environ["JAX_EXEC_TIME_OPTIMIZATION_EFFORT"] = "-1"
            os.environ["JAX_MEMORY_FITTING_EFFORT"] = "-1"


def open_devices(platform: str, topology: str = "", count: int = 0) -> list:
    """Devices to compile for; those of a CPU are the only ones that exist."""
    import jax
    from jax.experimental import topologies

    if platform == "cpu":
        return jax.devices()[: count or 1]
    if platform == "cuda":
        found = topologies.get_topology_desc(
            platform="cuda", target_config=chips.H100, topology=f"1x1x{count or 1}"
        )
        _know_gpus()
        return list(found.devices)
    version, _, layout = topology.partition(":")
    options: dict[str, Any] = {}
    if layout and math.prod(int(n) for n in layout.split("x")) == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    if version == "v4":
        options["chip_config_name"] = "megacore"
    found = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
    return list(found.devices)[: count or None]


def _know_gpus() -> None:
    """Without a GPU, JAX does not know that "gpu" is CUDA (its issue 23971)."""
    from jax._src import xla_bridge

    known = xla_bridge.canonicalize_platform
    xla_bridge.canonicalize_platform = lambda name: (
        "cuda" if name in ("gpu", "cuda") else known(name)
    )


def as_on_accelerators() -> None:
    """Makes JAX trace what other platforms than a CPU would run."""
    import jax

    jax.lax.platform_dependent = lambda *operands, default, **branches: default(*operands)


def open_engine(name: str, changes: list[str], devices: list):
    """(engine, spec of the data) of a config on devices."""
    import shipped

    from jaxgan import config
    from jaxgan.engine import Engine
    from jaxgan.train import mesh

    cfg = config.load(name, changes)
    spec = shipped.open_spec(name, cfg)
    run = config.make_run(cfg, spec)
    options = run.train_options
    engine = Engine(
        run.game,
        cfg.seed,
        mesh.mesh_of(devices, options.fsdp),
        mesh.state_sharding,
        options.accumulate,
    )
    engine.check_batches()
    return engine, spec


def measure(program) -> Row:
    """Compiles a program; what the compiler refuses is the row's error."""
    name, started = f"{program.stage}/{program.name}", time.perf_counter()
    nothing = Row(name, program.plays, *[math.nan] * 6, {}, [])
    try:
        lowered = program.lower()
        compiled = lowered.compile()
    except Exception as error:
        seconds = time.perf_counter() - started
        return nothing._replace(seconds=seconds, error=f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - started
    whole = _whole_flops(program, lowered)
    cost, text = compiled.cost_analysis() or {}, compiled.as_text()
    moved = defaultdict(lambda: (0, 0))
    for found in hlo.collectives(text):
        times, nbytes = moved[found.kind]
        moved[found.kind] = times + found.times, nbytes + found.times * found.nbytes
    operations = hlo.operations(text)
    return nothing._replace(
        seconds=seconds,
        memory=hlo.memory(compiled),
        flops=_counted(cost, "flops"),
        whole_flops=whole,
        nbytes=_counted(cost, "bytes accessed"),
        cycles=sum(o.cycles for o in operations) if operations else math.nan,
        collectives=dict(moved),
        hottest=operations[:HOTTEST],
    )


def _whole_flops(program, lowered) -> float:
    """Operations of a program before it is split over devices.

    What `jax.shard_map` splits counts for one device in the lowered program. Where a turn contains such parts, it is
    lowered once more without it.
    """
    import jax

    if program.shards > 1 or "manual_computation" not in lowered.as_text():
        return program.shards * hlo.flops(lowered)
    shard_map = jax.shard_map
    jax.clear_caches()  # they hold the traces with it
    jax.shard_map = lambda function, **_: function
    try:
        return hlo.flops(program.lower())
    finally:
        jax.shard_map = shard_map
        jax.clear_caches()


def _counted(cost: dict[str, float], name: str) -> float:
    """A number of a compiled program; what XLA does not know is missing or negative."""
    value = cost.get(name, math.nan)
    return value if value >= 0 else math.nan


def least_seconds(row: Row, chip: chips.Chip, devices: int) -> float:
    """The time of one play by the chip's peaks."""
    flops = row.whole_flops / devices if math.isnan(row.flops) else row.flops
    times = (flops / chip.bfloat16, row.nbytes / chip.bandwidth)
    return max((t for t in times if not math.isnan(t)), default=math.nan)


def complaint(row: Row, memory: float, kind: str) -> str:
    """A sentence where a program cannot run on the chip; empty where it can."""
    for found in OUT_OF_MEMORY:
        used = re.search(found, row.error)
        if used:
            return f"{row.program} needs {used.group(1)}iB, and a {kind} has {used.group(2)}iB"
    if row.error:
        return f"{row.program} does not compile: {row.error.splitlines()[0][:300]}"
    if row.memory > memory:
        return f"{row.program} needs {_size(row.memory)}, and a {kind} has {_size(memory)}"
    return ""


def ways_out(name: str, changes: list[str]) -> str:
    """What may make a config fit."""
    from jaxgan import config

    model = config.load(name, changes).model
    recompute = ""
    if hasattr(model, "remat") and not model.remat:
        recompute = "Recompute activations (--set model.remat=true). "
    return (
        f"{recompute}Split the batch (--set train.accumulate=2), give a smaller one (--set model.batch_size=...),"
        " compute in bfloat16 (--set model.dtype=bfloat16), or take more devices."
    )


def _size(nbytes: float) -> str:
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.1f} MiB"


COLUMNS = "{:<22} {:>9} {:>9} {:>9} {:>8} {:>7} {:>9} {:>9}  {}"


def show(row: Row, chip: chips.Chip, devices: int) -> None:
    def number(value: float, digits: int) -> str:
        return "-" if math.isnan(value) else f"{value:,.{digits}f}"

    shared = devices * row.flops / row.whole_flops if row.whole_flops else math.nan
    moved = (
        f"{kind} {times} x, {nbytes / 2**20:.2f} MiB"
        for kind, (times, nbytes) in row.collectives.items()
    )
    print(
        COLUMNS.format(
            row.program,
            number(row.seconds, 1),
            number(row.memory / 2**20, 0),
            number(row.flops / 1e9, 2),
            number(row.nbytes / 1e9, 2),
            number(shared, 2),
            number(1e3 * least_seconds(row, chip, devices), 3),
            number(1e3 * row.cycles / chip.clock, 3),
            "; ".join(moved),
        ),
        flush=True,
    )


def compile_config(name: str, args: argparse.Namespace, devices: list) -> list[dict]:
    """Shows every program of a config, and returns what `--out` receives of each."""
    engine, spec = open_engine(name, args.set, devices)
    kind = devices[0].device_kind
    chip = chips.find(kind)
    memory = chip.memory if args.memory_gib is None else args.memory_gib * 2**30
    print(f"\n{' '.join((name, *args.set))} on {len(devices)} x {kind}")
    print(
        COLUMNS.format(
            *("program", "compile s", "MiB", "GFLOP", "GB", "shared", "at least", "estimate ms"),
            "collectives",
        )
    )
    about = {"config": name, "set": args.set, "device": kind, "devices": len(devices)}
    found = []
    for program in engine.programs(spec):
        if not re.search(args.only, f"{program.stage}/{program.name}"):
            continue
        row = measure(program)
        show(row, chip, len(devices))
        if args.hot:
            for operation in row.hottest:
                print(
                    f"{'':24}{operation.cycles:>12,} cycles  {operation.source or operation.name}"
                )
        found.append(
            {
                **about,
                "batch": engine.game.stages[program.stage].batch_size,
                **row._asdict(),
                "least": least_seconds(row, chip, len(devices)),
                "problem": complaint(row, memory, kind),
            }
        )
        if args.out:
            with open(args.out, "a") as file:
                file.write(json.dumps(found[-1]) + "\n")
    return found


def show_table(rows: list[dict]) -> None:
    """A Markdown table of programs from `compile_config`: one line for each config on its devices."""
    print(
        "\n| Config | Devices | Largest program | Its batch | Memory of a device | It takes | Fits |"
    )
    print("|---|---|---|---|---|---|---|")
    runs = defaultdict(list)
    for row in rows:
        runs[row["config"], *row["set"], row["device"], row["devices"]].append(row)
    for (*words, device, devices), run in runs.items():
        largest = max(run, key=lambda row: (not math.isnan(row["memory"]), row["memory"]))
        problems = [row["problem"] for row in run if row["problem"]]
        print(
            f"| `{' '.join(words)}` | {devices} x {device} | {largest['program']} | {largest['batch']}"
            f" | {_size(largest['memory'])} | {_at_least(largest['least'])}"
            f" | {'no: ' + '; '.join(problems) if problems else 'yes'} |"
        )


def _at_least(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"at least {1e3 * seconds:.2f} ms"


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.table:
        lines = (line for file in args.table for line in Path(file).read_text().splitlines())
        show_table([json.loads(line) for line in lines])
        return 0
    prepare(args)
    from jaxgan import config

    if args.platform == "cpu":
        as_on_accelerators()
    try:
        devices = open_devices(args.platform, args.topology, args.devices)
    except Exception as error:
        extra = {"tpu": "tpu", "cuda": "cuda12"}[args.platform]
        print(
            f'no compiler for {args.platform} here; install it with: pip install ".[{extra}]"'
            f" ({type(error).__name__}: {str(error).splitlines()[0][:200]})",
            file=sys.stderr,
        )
        return 2
    rows = []
    for name in config.names() if args.all else args.configs:
        try:
            rows += compile_config(name, args, devices)
        except ValueError as error:
            print(f"{name} cannot be tried on {len(devices)} devices: {error}", file=sys.stderr)
            if not args.all:
                return 2
            rows += compile_config(name, args, devices[:1])
    if args.all or len(args.configs) > 1:
        show_table(rows)
    problems = [row for row in rows if row["problem"]]
    for row in problems:
        print(
            f"{row['config']} does not fit: {row['problem']}. {ways_out(row['config'], row['set'])}"
        )
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
