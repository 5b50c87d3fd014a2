"""A round of StyleGAN2 with its lazy regularisers, against a PyTorch twin (`stylegan2_twin.py`), in one run.

    pip install ".[parity]" && python benchmarks/stylegan2_speed.py
    python benchmarks/stylegan2_speed.py --resolution 256 --batch 32 --dtype bfloat16    # on a GPU

The turns of both play alternately. A round costs the critic's and the generator's turn and the average of the weights,
and a sixteenth of R1's and a quarter of path length's turn: the last line. On a GPU the twin also plays with its
networks compiled. No augmentation: that of ADA is a matter of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import time
from importlib import metadata

TURNS = ("critic", "r1", "generator", "path", "average")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument(
        "--channel_base", type=int, default=0, help="0: 16384 from 256 on, else 1024"
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--plays", type=int, default=7, help="timed plays of each turn")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only", default="", help="play no others: jaxgan, torch, compiled")
    return parser.parse_args()


def options_of(resolution: int, channel_base: int, batch: int, dtype: str, **more):
    """The game's options; `channel_base` 0 is 16384 from 256 pixels on, else 1024."""
    from jaxgan.models import stylegan2

    return stylegan2.Options(
        channel_base=channel_base or (16_384 if resolution >= 256 else 1024),
        batch_size=batch,
        dtype=dtype,
        augmentation="off",
        ema_ramp_up=0.0,
        **more,
    )


def pictures(resolution: int, batch: int):
    import numpy as np

    shape = (batch, resolution, resolution, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def jaxgan_engine(options, resolution: int):
    from jaxgan.engine import Engine
    from jaxgan.models import stylegan2
    from jaxgan.spec import Field, Spec

    return Engine(
        stylegan2.game(options, Spec({"image": Field("image", (resolution, resolution, 3))}, 1000))
    )


def jaxgan_turns(engine, options, image) -> tuple[dict, int]:
    """{turn: plays once and waits}, parameters."""
    import jax
    import numpy as np

    from jaxgan import averaging

    state = engine.init()
    batch = engine.put({"image": image})
    number = sum(x.size for x in jax.tree.leaves(state.params))

    def player(program):
        def play():
            nonlocal state
            state, _ = jax.block_until_ready(program(state, batch, engine.run_key, np.int32(0)))

        return play

    def average(state):
        decay = averaging.ema_decay(options.batch_size, options.ema_half_life_kimg)
        live = {"params": state.params["generator"]}
        ema = averaging.ema_update(state.ema["generator"], live, decay)
        return state.replace(ema={"generator": ema})

    program = jax.jit(average, donate_argnums=0)

    def play_average():
        nonlocal state
        state = jax.block_until_ready(program(state))

    turns = {turn.name: player(engine.program(0, turn)) for turn in engine.game.stages[0].turns}
    return {**turns, "average": play_average}, number


def torch_turns(options, resolution: int, image, device: str, compiled: bool) -> tuple[dict, int]:
    import stylegan2_twin
    import torch

    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    game = stylegan2_twin.Game(options, resolution, device, compiled)
    image = torch.from_numpy(image).to(device)

    def player(play):
        def run():
            play(image)
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    return {name: player(getattr(game, f"play_{name}")) for name in TURNS}, game.parameters()


def measure(turns: dict[str, dict], plays: int, options) -> dict[str, dict[str, float]]:
    """{turn, and "round": {contestant: median ms}}; the contestants play each turn alternately."""
    times = {}
    for turn in TURNS:
        of = {name: [] for name in turns}
        for _ in range(plays):
            for name in turns:
                start = time.perf_counter()
                turns[name][turn]()
                of[name].append(1000 * (time.perf_counter() - start))
        times[turn] = {name: statistics.median(values) for name, values in of.items()}
    share = shares(options)
    rounds = {name: sum(share[turn] * times[turn][name] for turn in TURNS) for name in turns}
    return {**times, "round": rounds}


def shares(options) -> dict[str, float]:
    """{turn: how often it is played in an average round}."""
    lazy = {"r1": 1 / options.r1_every, "path": 1 / options.path_every}
    return {turn: lazy.get(turn, 1.0) for turn in TURNS}


def contestants(args: argparse.Namespace, options, device: str) -> dict:
    """{name: makes its turns}."""
    image = pictures(args.resolution, args.batch)

    def ours():
        return jaxgan_turns(jaxgan_engine(options, args.resolution), options, image)

    def theirs(compiled: bool):
        return torch_turns(options, args.resolution, image, device, compiled)

    players = {"jaxgan": ours}
    if importlib.util.find_spec("torch"):
        players["torch"] = lambda: theirs(False)
        if device == "cuda":
            players["compiled"] = lambda: theirs(True)
    return {name: players[name] for name in args.only.split(",")} if args.only else players


def main() -> None:
    args = parse()
    # Both libraries on one GPU: neither may take all of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    options = options_of(args.resolution, args.channel_base, args.batch, args.dtype)
    version = metadata.version("torch") if importlib.util.find_spec("torch") else "none"
    print(
        f"jax {jax.__version__}, torch {version}, Python {platform.python_version()} on"
        f" {jax.devices()[0].device_kind}, load {os.getloadavg()[0]:.1f}; {args.resolution}x{args.resolution},"
        f" channel_base {options.channel_base}, batch {args.batch}, {args.dtype}"
    )
    turns, sizes = {}, set()
    for name, make in contestants(args, options, device).items():
        start = time.perf_counter()
        turns[name], number = make()
        for play in turns[name].values():  # compiles
            play()
            play()
        sizes.add(number)
        print(f"{name}: {number:,} parameters, ready after {time.perf_counter() - start:.0f} s")
    if len(sizes) > 1:
        raise SystemExit(f"the contestants differ in parameters: {sizes}")
    times = measure(turns, args.plays, options)
    print(f"{'median ms':<12}" + "".join(f"{name:>12}" for name in turns))
    for turn, row in times.items():
        print(f"{turn:<12}" + "".join(f"{ms:>12.1f}" for ms in row.values()))
    rates = (1000 * args.batch / times["round"][name] for name in turns)
    print(f"{'images/s':<12}" + "".join(f"{rate:>12.1f}" for rate in rates))
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
