"""What a gradient penalty costs: its value and its gradient by the weights, against PyTorch, and the memory it takes.

    pip install ".[parity]" && python benchmarks/penalty_cost.py

The critic is that of `wgan_gp` at 32x32 (a ResNet of width 128), the same in PyTorch (channels last, its
convolutions and resamplings as the paper writes them). The contestants play alternately, so whatever else the
machine does, it does to all.

"kept" is what waits, once the penalty is known, for the backward pass by the weights (parameters not counted);
`checkpoint=True` recomputes it. "peak" is what XLA allocates for all intermediate results of value and gradient
together, when nothing else is computed beside the penalty. "GFLOP" is XLA's count of the operations of both.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import time
from functools import partial

PENALTIES = ("gradient_penalty", "r1", "r1_r2", "approximate_r1")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="timed calls of each contestant")
    parser.add_argument("--batch", type=int, default=16, help="real samples")
    parser.add_argument("--cores", type=int, default=2, help="CPU cores that all of them may use")
    return parser.parse_args()


def jaxgan_player(name: str, batch: int, checkpoint: bool = False):
    """A function that plays once and waits; the bytes that it keeps and allocates, and its operations."""
    import jax

    from jaxgan import penalties
    from jaxgan.models import wgan_gp
    from jaxgan.nets import backbones
    from jaxgan.spec import Field, Spec

    _, critic = backbones.networks(
        wgan_gp.Options(),
        Spec({"image": Field("image", (32, 32, 3))}, 50_000),
        model="wgan_gp",
        pictures="resnet",
        mean_pool=True,
    )
    keys = jax.random.split(jax.random.key(0), 4)
    real, fake = (jax.random.normal(k, (batch, 32, 32, 3)) for k in keys[:2])
    params = critic.init(keys[2], real, None, train=True)["params"]

    def logits(params, x):
        return critic.apply({"params": params}, x, None, train=True)

    def penalty(params):
        closure = partial(logits, params)
        if name == "gradient_penalty":
            return penalties.gradient_penalty(closure, real, fake, keys[3], checkpoint=checkpoint)
        if name == "r1":
            return penalties.r1(closure, real, checkpoint=checkpoint)
        if name == "approximate_r1":
            return penalties.approximate_r1(closure, real, keys[3], checkpoint=checkpoint)
        return sum(penalties.r1_r2(closure, real, fake, checkpoint=checkpoint))

    def size(tree):
        return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))

    kept = size(jax.eval_shape(lambda p: jax.vjp(penalty, p)[1], params)) - size(params)
    step = jax.jit(jax.value_and_grad(penalty)).lower(params).compile()
    peak = step.memory_analysis().temp_size_in_bytes
    operations = step.cost_analysis()["flops"]
    return lambda: jax.block_until_ready(step(params)), (
        kept / 2**20,
        peak / 2**20,
        operations / 1e9,
    )


def torch_player(name: str, batch: int):
    import torch
    import torch_twin

    critic = torch_twin.Critic(128, spectral=False).to(memory_format=torch.channels_last)
    real, fake = (
        torch.randn(batch, 3, 32, 32).to(memory_format=torch.channels_last) for _ in range(2)
    )

    def squares(x):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        return gradient.flatten(1).square().sum(1)

    def play():
        critic.zero_grad(set_to_none=True)
        if name == "gradient_penalty":
            between = torch.lerp(real, fake, torch.rand(batch, 1, 1, 1))
            loss = ((squares(between).sqrt() - 1) ** 2).mean()
        elif name == "r1":
            loss = 0.5 * squares(real).mean()
        elif name == "approximate_r1":
            loss = (critic(real) - critic(real + 0.01 * torch.randn_like(real))).square().mean()
        else:  # one double backward, as jaxgan's
            loss = squares(torch.cat([real, fake])).mean()
        loss.backward()

    return play


def measure(players: dict, repeats: int) -> dict[str, list[float]]:
    for play in players.values():
        play(), play()
    times = {name: [] for name in players}
    for _ in range(repeats):
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
        f"torch {torch.__version__}, {len(cores)} cores, batch {args.batch}, {args.repeats} repeats"
    )
    row = "{:<18} {:<20} {:>10} {:>8} {:>16} {:>9} {:>9} {:>6}"
    heads = "median ms", "min ms", "ratio (median)", "kept MiB", "peak MiB", "GFLOP"
    print(row.format("penalty", "", *heads))
    for name in PENALTIES:
        plain, costs = jaxgan_player(name, args.batch)
        checkpointed, less = jaxgan_player(name, args.batch, checkpoint=True)
        players = {
            "jaxgan": plain,
            "jaxgan, checkpoint": checkpointed,
            "torch": torch_player(name, args.batch),
        }
        known = {"jaxgan": costs, "jaxgan, checkpoint": less}
        times = measure(players, args.repeats)
        median = {player: 1e3 * statistics.median(t) for player, t in times.items()}
        for player, t in times.items():
            print(
                row.format(
                    name,
                    player,
                    f"{median[player]:.0f}",
                    f"{1e3 * min(t):.0f}",
                    f"{median[player] / median['torch']:.2f}",
                    *(f"{cost:.0f}" for cost in known.get(player, ())),
                    *[""] * (3 - len(known.get(player, ()))),
                ),
                flush=True,
            )
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
