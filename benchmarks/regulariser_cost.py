"""What StyleGAN2's regularisers cost: R1's turn beside the critic's and path length's beside the generator's.

    python benchmarks/regulariser_cost.py
    python benchmarks/regulariser_cost.py --forms

XLA counts the operations of every turn. A regulariser whose time grows over its player's plain turn by more than its
operations do runs on slow kernels somewhere: `excess` is the one ratio over the other, and should stay below 1.3. The
turns play alternately, so whatever else the machine does, it does to all; the load average is printed.

`--forms` compares the two forms of a modulated convolution instead: the image scaled before and after a convolution
that all share (`jaxgan.nets.modulated`), and a kernel for each image, as a grouped convolution; value, gradient, and
gradient of the squared gradient by the image.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time

PLAIN = {"r1": "critic", "path": "generator"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--width", type=int, default=64, help="channels of every layer")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--plays", type=int, default=9, help="timed plays of each turn")
    parser.add_argument("--augmentation", default="off", help="off, or fixed: ADA at p = 0.5")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--forms", action="store_true", help="the forms of a modulated convolution")
    return parser.parse_args()


def turns(args: argparse.Namespace) -> tuple[dict, dict]:
    """{turn: a function that plays it once and waits}, {turn: its GFLOP}."""
    import jax
    import numpy as np

    from jaxgan.engine import Engine
    from jaxgan.models import stylegan2
    from jaxgan.spec import Field, Spec

    options = stylegan2.Options(
        channel_base=args.width * args.resolution,
        channel_max=args.width,
        batch_size=args.batch,
        augmentation=args.augmentation,
        augmentation_p=0.5,
        dtype=args.dtype,
    )
    engine = Engine(
        stylegan2.game(
            options, Spec({"image": Field("image", (args.resolution, args.resolution, 3))}, 1000)
        )
    )
    state = engine.init()
    shape = (args.batch, args.resolution, args.resolution, 3)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    inputs = (engine.put({"image": image}), engine.run_key, np.int32(0))
    players, flops = {}, {}

    def player(compiled):
        def play():
            nonlocal state
            state, _ = jax.block_until_ready(compiled(state, *inputs))

        return play

    for turn in engine.game.stages[0].turns:
        compiled = engine.program(0, turn).lower(state, *inputs).compile()
        flops[turn.name] = (compiled.cost_analysis() or {}).get("flops", float("nan")) / 1e9
        players[turn.name] = player(compiled)
    return players, flops


def forms(args: argparse.Namespace) -> dict:
    import jax
    import jax.numpy as jnp

    from jaxgan.nets import modulated

    x, kernel, style = (
        jax.random.normal(jax.random.key(i), shape)
        for i, shape in enumerate(
            (
                (args.batch, args.resolution, args.resolution, args.width),
                (3, 3, args.width, args.width),
                (args.batch, args.width),
            )
        )
    )

    def grouped(x, kernel, style):
        k = kernel[None] * style[:, None, None, :, None]
        k = k * jax.lax.rsqrt(jnp.sum(jnp.square(k), axis=(1, 2, 3), keepdims=True) + 1e-8)
        b, h, w, c = x.shape
        x = jnp.moveaxis(x, 0, 2).reshape(1, h, w, b * c)
        k = jnp.moveaxis(k, 0, 3).reshape(3, 3, c, -1)
        layout = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=layout, feature_group_count=b
        )
        return jnp.moveaxis(y.reshape(h, w, b, -1), 2, 0)

    def orders(form):
        def value(x, kernel, style):
            return jnp.sum(jnp.square(form(x, kernel, style)))

        def squared_gradient(x, kernel, style):
            return jnp.sum(jnp.square(jax.grad(value)(x, kernel, style)))

        yield "value", jax.jit(value)
        yield "gradient", jax.jit(jax.grad(value, (0, 1, 2)))
        yield "second order", jax.jit(jax.grad(squared_gradient, (1, 2)))

    return {
        f"{name}, {order}": lambda program=program: jax.block_until_ready(program(x, kernel, style))
        for name, form in (("scaled", modulated.modulated_conv), ("grouped", grouped))
        for order, program in orders(form)
    }


def measure(players: dict, plays: int) -> dict[str, float]:
    """Median milliseconds of each."""
    times = {name: [] for name in players}
    for play in range(plays + 1):
        for name, player in players.items():
            start = time.perf_counter()
            player()
            if play:  # the first compiles and warms up
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(of) for name, of in times.items()}


def main() -> None:
    args = parse()
    import jax

    print(
        f"jax {jax.__version__} on {jax.devices()[0].device_kind}, Python {platform.python_version()},"
        f" {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {args.resolution}x{args.resolution}, width"
        f" {args.width}, batch {args.batch}, {args.dtype}"
    )
    if args.forms:
        times = measure(forms(args), args.plays)
        for order in ("value", "gradient", "second order"):
            scaled, grouped = times[f"scaled, {order}"], times[f"grouped, {order}"]
            print(
                f"{order:<14} scaled {scaled:8.1f} ms   grouped {grouped:8.1f} ms   {grouped / scaled:6.1f} times"
            )
        return
    players, flops = turns(args)
    times = measure(players, args.plays)
    print(
        f"{'turn':<12} {'ms':>8} {'GFLOP':>8} {'GFLOP/s':>8} {'time ratio':>11} {'FLOP ratio':>11} {'excess':>7}"
    )
    for name, ms in times.items():
        line = f"{name:<12} {ms:8.1f} {flops[name]:8.2f} {1000 * flops[name] / ms:8.1f}"
        if name in PLAIN:
            plain = PLAIN[name]
            ratios = ms / times[plain], flops[name] / flops[plain]
            line += f" {ratios[0]:11.2f} {ratios[1]:11.2f} {ratios[0] / ratios[1]:7.2f}"
        print(line)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
