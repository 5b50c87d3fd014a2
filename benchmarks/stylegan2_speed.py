"""A round of StyleGAN2 with its lazy regularisers, against a PyTorch twin (`stylegan2_twin.py`), in one run.

    pip install ".[parity]" && python benchmarks/stylegan2_speed.py
    python benchmarks/stylegan2_speed.py --resolution 256 --batch 32 --dtype bfloat16    # on a GPU

The turns of both play alternately. A round costs the critic's and the generator's turn and the average of the weights,
and a sixteenth of R1's and a quarter of path length's turn: the last line. On a GPU the twin also plays with its
networks compiled. No augmentation: that of ADA is a matter of its own.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time


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


def jaxgan_turns(options, resolution: int, image) -> tuple[dict, int]:
    """{turn: plays once and waits}, parameters."""
    import jax
    import numpy as np

    from jaxgan import averaging
    from jaxgan.game import DataSpec, Engine
    from jaxgan.models import stylegan2

    engine = Engine(stylegan2.game(options, DataSpec((resolution, resolution, 3), None, 1000)))
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

    game = stylegan2_twin.Game(options, resolution, device, compiled)
    image = torch.from_numpy(image).to(device)

    def player(play):
        def run():
            play(image)
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    names = ("critic", "r1", "generator", "path", "average")
    return {name: player(getattr(game, f"play_{name}")) for name in names}, game.parameters()


def main() -> None:
    args = parse()
    # Both libraries on one GPU: neither may take all of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax
    import numpy as np

    try:
        import torch
    except ImportError:
        torch = None
    from jaxgan.models import stylegan2

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    base = args.channel_base or (16_384 if args.resolution >= 256 else 1024)
    options = stylegan2.Options(
        channel_base=base,
        batch_size=args.batch,
        dtype=args.dtype,
        augmentation="off",
        ema_ramp_up=0.0,
    )
    shape = (args.batch, args.resolution, args.resolution, 3)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    players = {"jaxgan": lambda: jaxgan_turns(options, args.resolution, image)}
    if torch is not None:
        if device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        given = options, args.resolution, image, device
        players["torch"] = lambda: torch_turns(*given, False)
        if device == "cuda":
            players["compiled"] = lambda: torch_turns(*given, True)
    if args.only:
        players = {name: players[name] for name in args.only.split(",")}
    print(
        f"jax {jax.__version__}, torch {getattr(torch, '__version__', 'none')}, Python {platform.python_version()} on"
        f" {jax.devices()[0].device_kind}, load {os.getloadavg()[0]:.1f}; {args.resolution}x{args.resolution},"
        f" channel_base {base}, batch {args.batch}, {args.dtype}"
    )
    turns, sizes = {}, set()
    for name, make in players.items():
        start = time.perf_counter()
        turns[name], number = make()
        for play in turns[name].values():  # compiles
            play()
            play()
        sizes.add(number)
        print(f"{name}: {number:,} parameters, ready after {time.perf_counter() - start:.0f} s")
    if len(sizes) > 1:
        raise SystemExit(f"the contestants differ in parameters: {sizes}")
    times = {}
    for turn in ("critic", "r1", "generator", "path", "average"):
        of = {name: [] for name in turns}
        for _ in range(args.plays):
            for name in turns:
                start = time.perf_counter()
                turns[name][turn]()
                of[name].append(1000 * (time.perf_counter() - start))
        times[turn] = {name: statistics.median(values) for name, values in of.items()}
    share = {"r1": 1 / options.r1_every, "path": 1 / options.path_every}
    times["round"] = {
        name: sum(share.get(turn, 1) * times[turn][name] for turn in times) for name in turns
    }
    print(f"{'median ms':<12}" + "".join(f"{name:>12}" for name in turns))
    for turn, row in times.items():
        print(f"{turn:<12}" + "".join(f"{ms:>12.1f}" for ms in row.values()))
    rates = (1000 * args.batch / times["round"][name] for name in turns)
    print(f"{'images/s':<12}" + "".join(f"{rate:>12.1f}" for rate in rates))
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
