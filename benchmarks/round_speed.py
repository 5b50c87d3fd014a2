"""A round of every model that has a PyTorch twin, side by side in one run: time, memory and utilisation.

    pip install ".[parity]" && python benchmarks/round_speed.py --out benchmarks/results/round_speed_cpu.json

All play at 32x32: `dcgan`, `sngan` and `wgan_gp` with the papers' widths, `stylegan2` with narrow layers. A round is
all critic steps and the generator's, of StyleGAN2 with its share of the lazy regularisers and the average of the
weights. The contestants play alternately, and the table gives medians: whatever else the machine does, it does to all.
Only on an otherwise idle machine do the milliseconds mean anything; the load average is kept for that.

PyTorch plays twice where the twin has both forms: as such (`torch`), its convolutions and resamplings as the papers
write them, and with jaxgan's own rewrites (`torch, rewritten`), which isolates what the frameworks cost from what the
algebra saves.

GFLOP are those of a round before a compiler changes it. Utilisation is their rate as a share of the peak rate of an
accelerator, or of the rate of a large float32 matrix product of jaxgan's on the same cores; rewrites save operations,
so that of two contestants the slower one can have the higher utilisation. Memory is the peak of a process of its own
that plays two rounds: of the accelerator's memory, or on a CPU what the resident memory grew by since the libraries
were imported.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

MODELS = ("dcgan", "sngan", "wgan_gp", "stylegan2")
BATCHES = 8  # different ones, drawn in turn


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds of each contestant")
    parser.add_argument("--batch", type=int, default=16, help="real images of one critic step")
    parser.add_argument("--cores", type=int, default=2, help="CPU cores that all of them may use")
    parser.add_argument("--compile", action="store_true", help="also play torch.compile'd twins")
    parser.add_argument("--out", type=Path, help="also write what was measured here, as JSON")
    parser.add_argument("--peak_of", default="", help=argparse.SUPPRESS)  # see `peak_memory`
    return parser.parse_args()


# The contestants ---------------------------------------------------------------------------------------------


class Contestant(NamedTuple):
    """What one of them plays.

    Attributes:
      turns: {turn: plays it once and waits}.
      shares: {turn: how often it is played in an average round}.
      parameters: number of those that are trained.
      gflop: of an average round.
    """

    turns: Mapping[str, Callable[[], None]]
    shares: Mapping[str, float]
    parameters: int
    gflop: float


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


def contestants(model: str, batch: int, compiled: bool) -> dict[str, Callable[[], Contestant]]:
    """{name: makes the contestant}."""
    if model == "stylegan2":
        forms = {"torch": {"compiled": False}, "torch, compiled": {"compiled": True}}
        ours, torchs = stylegan2_of_jaxgan, stylegan2_of_torch
    else:
        rewrites = (False, True) if model != "dcgan" else (False,)
        forms = {
            "torch" + ", rewritten" * again + ", compiled" * how: {
                "rewritten": again,
                "compiled": how,
            }
            for how in (False, True)
            for again in rewrites
        }
        ours, torchs = game_of_jaxgan, game_of_torch
    makers = {"jaxgan": lambda: ours(model, batch)}
    for name, form in forms.items():
        if compiled or not form["compiled"]:
            makers[name] = lambda form=form: torchs(model, batch, **form)
    return makers


def game_of_jaxgan(model: str, batch: int) -> Contestant:
    engine = jaxgan_engine(model, batch)
    gflop = gflop_of(engine, batch)
    play, parameters = jaxgan_player(engine)
    return Contestant({"round": play}, {"round": 1.0}, parameters, gflop)


def game_of_torch(model: str, batch: int, **form: bool) -> Contestant:
    play, parameters = torch_player(model, batch, **form, device=torch_device())
    gflop = counted({"round": play}, {"round": 1.0}) if not form["compiled"] else 0.0
    return Contestant({"round": play}, {"round": 1.0}, parameters, gflop)


def stylegan2_of_jaxgan(model: str, batch: int) -> Contestant:
    import stylegan2_speed

    options = stylegan2_options(batch)
    engine = stylegan2_speed.jaxgan_engine(options, 32)
    image = next(batches(batch))["image"]
    turns, parameters = stylegan2_speed.jaxgan_turns(engine, options, image)
    return Contestant(turns, stylegan2_speed.shares(options), parameters, gflop_of(engine, batch))


def stylegan2_of_torch(model: str, batch: int, compiled: bool) -> Contestant:
    import stylegan2_speed

    options = stylegan2_options(batch)
    image = next(batches(batch))["image"]
    turns, parameters = stylegan2_speed.torch_turns(options, 32, image, torch_device(), compiled)
    shares = stylegan2_speed.shares(options)
    return Contestant(turns, shares, parameters, 0.0 if compiled else counted(turns, shares))


def stylegan2_options(batch: int):
    import stylegan2_speed

    return stylegan2_speed.options_of(32, 0, batch, "float32")


def torch_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def gflop_of(engine, batch: int) -> float:
    """Of an average round of jaxgan's; compiles its programs."""
    from on_device_steps import playing

    programs = playing.lower(engine, 0, next(batches(batch)))
    return sum(found["gflop"] for found in playing.compile_all(programs).values())


def counted(turns: Mapping[str, Callable[[], None]], shares: Mapping[str, float]) -> float:
    """The GFLOP of convolutions and matrix products of an average round in PyTorch."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    # PyTorch's own FlopCounterMode follows modules too, which fails where a loss calls autograd.grad.
    class Counter(TorchDispatchMode):
        flops = 0

        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            result = operation(*args, **(kwargs or {}))
            count = flop_registry.get(operation.overloadpacket)
            if count is not None:
                self.flops += count(*args, **(kwargs or {}), out_val=result)
            return result

    total = 0.0
    for name, play in turns.items():
        with Counter() as counter:
            play()
        total += shares[name] * counter.flops / 1e9
    return total


# Measuring ---------------------------------------------------------------------------------------------------


def measure(players: Mapping[str, Contestant], rounds: int) -> dict[str, dict[str, float]]:
    """{contestant: {"ms": median, "least_ms": least}} of an average round; they play each turn alternately."""
    for player in players.values():  # compile, allocate, warm up
        for play in player.turns.values():
            play(), play()
    found = {name: {"ms": 0.0, "least_ms": 0.0} for name in players}
    for turn, share in next(iter(players.values())).shares.items():
        times: dict[str, list[float]] = {name: [] for name in players}
        for _ in range(rounds):
            for name, player in players.items():
                time.sleep(0.05)  # the threads of the one before go to sleep
                start = time.perf_counter()
                player.turns[turn]()
                times[name].append(1e3 * (time.perf_counter() - start))
        for name, taken in times.items():
            found[name]["ms"] += share * statistics.median(taken)
            found[name]["least_ms"] += share * min(taken)
    return found


def peak_rate() -> float:
    """GFLOP a second that utilisation is a share of."""
    import chips
    import jax
    import jax.numpy as jnp

    if jax.default_backend() != "cpu":
        return chips.find(jax.devices()[0].device_kind).float32 / 1e9
    size = 2048
    product, a = jax.jit(jnp.matmul), jnp.ones((size, size))
    product(a, a).block_until_ready()
    times = []
    for _ in range(9):
        start = time.perf_counter()
        product(a, a).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / 1e9 / statistics.median(times)


def peak_memory(model: str, name: str, args: argparse.Namespace) -> float:
    """MiB, measured by this script in a process of its own."""
    command = [sys.executable, __file__, "--models", model, "--peak_of", name]
    command += ["--batch", str(args.batch), "--cores", str(args.cores)]
    command += ["--compile"] * args.compile
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return float(told.splitlines()[-1])


def print_peak(model: str, args: argparse.Namespace) -> None:
    """Makes one contestant, plays two rounds and prints the peak of the memory in MiB."""
    import jax.numpy as jnp
    import torch
    from on_device_steps import timing

    jnp.ones(1).block_until_ready(), torch.ones(1)
    before = timing.resident("VmHWM")
    player = contestants(model, args.batch, args.compile)[args.peak_of]()
    for play in (*player.turns.values(), *player.turns.values()):
        play()
    of_jax, of_torch = timing.mib(timing.jax_memory()), timing.torch_memory()
    if args.peak_of == "jaxgan" and of_jax is not None:
        print(of_jax)
    elif args.peak_of != "jaxgan" and of_torch is not None:
        print(of_torch)
    else:
        print(timing.mib(timing.resident("VmHWM") - before))


def play_model(model: str, rate: float, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """{contestant: what was measured of it}."""
    makers = contestants(model, args.batch, args.compile)
    players = {name: make() for name, make in makers.items()}
    if len(sizes := {player.parameters for player in players.values()}) > 1:
        raise SystemExit(f"the contestants of {model} differ in parameters: {sizes}")
    found = measure(players, args.rounds)
    images = args.batch * (1 if model == "stylegan2" else critic_steps(model))
    for name, player in players.items():
        of = found[name]
        of["images_per_second"] = 1e3 * images / of["ms"]
        if player.gflop:
            of["gflop"] = player.gflop
            of["utilisation"] = 1e3 * player.gflop / of["ms"] / rate
    players.clear()
    for name in makers:
        found[name]["peak_mib"] = peak_memory(model, name, args)
    return found


def critic_steps(model: str) -> int:
    import torch_twin

    return torch_twin.RULES[model].critic_steps


def machine(args: argparse.Namespace, cores: int, rate: float) -> dict:
    import jax
    import torch

    device = jax.devices()[0]
    return {
        "device": platform.machine() if device.platform == "cpu" else device.device_kind,
        "cores": cores,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "torch": torch.__version__,
        "batch": args.batch,
        "rounds": args.rounds,
        "peak_gflop_per_second": rate,
        "time": datetime.datetime.now().isoformat(timespec="seconds"),
    }


ROW = "{:<10} {:<22} {:>10} {:>10} {:>8} {:>10} {:>8} {:>12} {:>8}"


def main():
    args = parse()
    cores = sorted(os.sched_getaffinity(0))[: args.cores]
    os.sched_setaffinity(0, cores)  # before either library counts them
    if args.peak_of:
        print_peak(args.models[0], args)
        return
    with tempfile.TemporaryDirectory() as cache:
        # The processes that measure the memory load what this one compiles.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        import torch

        torch.set_num_threads(len(cores))
        rate = peak_rate()
        result = {"machine": machine(args, len(cores), rate), "models": {}}
        print(", ".join(f"{name} {value}" for name, value in result["machine"].items()))
        print(ROW.format("model", "", "median ms", "min ms", "ratio", "images/s", "GFLOP",
                         "utilisation", "MiB"))  # fmt: skip
        for model in args.models:
            before = os.getloadavg()[0]
            found = play_model(model, rate, args)
            for name, of in found.items():
                ratio = found["jaxgan"]["ms"] / of["ms"]
                cells = [f"{of['ms']:.0f}", f"{of['least_ms']:.0f}", f"{ratio:.2f}"]
                cells += [f"{of['images_per_second']:.1f}"]
                cells += (
                    [f"{of['gflop']:.1f}", f"{of['utilisation']:.2f}"]
                    if "gflop" in of
                    else ["", ""]
                )
                print(ROW.format(model, name, *cells, f"{of['peak_mib']:.0f}"), flush=True)
            load = [before, os.getloadavg()[0]]
            result["models"][model] = {"contestants": found, "load": load}
            print(f"{model}: load average {load[0]:.1f} before, {load[1]:.1f} after")
            if args.out:
                args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
