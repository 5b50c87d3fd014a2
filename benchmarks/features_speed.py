"""Features of the original Inception per second, against torch-fidelity's, side by side in one run.

    pip install ".[parity]" && python benchmarks/features_speed.py

Both take uint8 pictures, resize them to 299x299 as TensorFlow 1 does, and compute pool3 and the logits
without bias, under the same random weights. The two play alternately, a batch each, and the table gives the median
and the minimum of each: whatever else the machine does, it does to both. Only on an otherwise idle machine do the
pictures per second mean anything; the load average is printed for that. With `--cores 1` the clock is the process's
own CPU time, which a busy machine hardly disturbs.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 299])
    parser.add_argument("--rounds", type=int, default=5, help="timed batches of each contestant")
    parser.add_argument("--batch", type=int, default=32, help="pictures of one batch")
    parser.add_argument("--cores", type=int, default=2, help="CPU cores that both may use")
    return parser.parse_args()


def torch_player(device: str = "cpu"):
    """torch-fidelity's network under random weights, and a function from pictures to its outputs."""
    if (tests := str(Path(__file__).parents[1] / "tests")) not in sys.path:
        sys.path.append(tests)
    from reference import torchvision_ready

    torchvision_ready()
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, tensors):
            """Leaves the weights at their random initial values."""

    with tempfile.NamedTemporaryFile(suffix=".pth") as empty:
        torch.save({}, empty.name)
        outputs = ["2048", "logits_unbiased"]
        net = Unloaded("port", outputs, feature_extractor_weights_path=empty.name)
    net.to(device)
    # Scores want float32, which is what jaxgan's network computes in.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def play(images):
        with torch.inference_mode():
            images = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
            return [x.cpu().numpy() for x in net(images)]

    return net, play


def jaxgan_player(net):
    """jaxgan's network under the weights of torch-fidelity's."""
    from jaxgan.nets.features import by_name

    weights = {name: tensor.cpu().numpy() for name, tensor in net.state_dict().items()}
    return extractor_player("inception", by_name("inception").convert(weights))


def extractor_player(name: str, variables):
    """A function from pictures to a feature network's outputs, resized as the network wants them."""
    import jax

    from jaxgan.metrics.resize import resize
    from jaxgan.nets.features import by_name

    net = by_name(name)
    variables = jax.device_put(variables)

    @jax.jit
    def outputs(variables, images):
        images = (
            images.astype("float32") if net.size is None else resize(images, net.size, net.resize)
        )
        of = net.apply(variables, images)
        return of["features"], of["logits"]

    return lambda images: [jax.device_get(x) for x in outputs(variables, images)]


def measure(players: dict, images, rounds: int, clock) -> dict[str, list[float]]:
    for play in players.values():  # compile, allocate, warm up
        play(images)
    times = {name: [] for name in players}
    for _ in range(rounds):
        for name, play in players.items():
            time.sleep(0.05)  # the threads of the one before go to sleep
            start = clock()
            play(images)
            times[name].append(clock() - start)
    return times


def main():
    args = parse()
    cores = sorted(os.sched_getaffinity(0))[: args.cores]
    os.sched_setaffinity(0, cores)  # before either library counts them
    clock = time.perf_counter if len(cores) > 1 else time.process_time
    import jax
    import numpy as np
    import torch

    torch.set_num_threads(len(cores))
    print(
        f"Python {platform.python_version()}, jax {jax.__version__} ({jax.default_backend()}), torch "
        f"{torch.__version__}, {len(cores)} cores, batch {args.batch}, {args.rounds} rounds"
    )
    net, port = torch_player()
    players = {"jaxgan": jaxgan_player(net), "torch-fidelity": port}
    row = "{:<10} {:<16} {:>16} {:>16} {:>16} {:>16}"
    head = ("pictures/s", "at best", "ratio (median)", "ratio (best)")
    print(row.format("pictures", "", *head))
    for size in args.sizes:
        shape = (args.batch, size, size, 3)
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        before = os.getloadavg()[0]
        times = measure(players, images, args.rounds, clock)
        median = {name: args.batch / statistics.median(t) for name, t in times.items()}
        best = {name: args.batch / min(t) for name, t in times.items()}
        for name in times:
            ratios = median["jaxgan"] / median[name], best["jaxgan"] / best[name]
            cells = f"{median[name]:.1f}", f"{best[name]:.1f}", *(f"{r:.2f}" for r in ratios)
            print(row.format(f"{size}x{size}", name, *cells), flush=True)
        print(f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
