"""The Fréchet distance of 2048-dimensional statistics: jaxgan's against `scipy.linalg.sqrtm` and a general eigensolver.

    python benchmarks/frechet_speed.py

`sqrtm` is the way of the original code and of pytorch-fid, the eigenvalues of S1 S2 that of torch-fidelity. The
features are like Inception's: not negative, their directions' deviations fading by a power law. The contestants
take turns, so that whatever else the machine does, it does to all. Beside the time there is that of the CPU; where
other work keeps the cores busy, `OMP_NUM_THREADS=1` makes it the fairer of the two.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--count", type=int, default=5000, help="examples of each set")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2, help="CPU cores that all of them may use")
    parser.add_argument("--eigenvalues", action="store_true", help="torch-fidelity's way too")
    return parser.parse_args()


def statistics_of(np, count: int, dim: int, scale: float, seed: int):
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, dim))).Q
    deviations = scale * np.arange(1, dim + 1) ** -0.7
    features = np.random.default_rng(seed).normal(size=(count, dim)) * deviations @ basis
    features = np.maximum(features + 0.02, 0)
    return features.mean(axis=0), np.cov(features, rowvar=False)


def by_root(mu1, sigma1, mu2, sigma2) -> float:
    import numpy as np
    import scipy.linalg

    cross = np.trace(scipy.linalg.sqrtm(sigma1 @ sigma2)).real
    return np.sum((mu1 - mu2) ** 2) + np.trace(sigma1) + np.trace(sigma2) - 2 * cross


def by_eigenvalues(mu1, sigma1, mu2, sigma2) -> float:
    import numpy as np

    cross = np.sqrt(np.linalg.eigvals(sigma1 @ sigma2).astype(complex)).real.sum()
    return np.sum((mu1 - mu2) ** 2) + np.trace(sigma1) + np.trace(sigma2) - 2 * cross


def measure(count: int, dim: int, repeats: int, others: dict) -> dict[str, dict[str, float]]:
    """{way: {"seconds", "cpu": medians, "value"}} of jaxgan's distance and of others."""
    import numpy as np

    from jaxgan.metrics import frechet_distance

    gaussians = (
        *statistics_of(np, count, dim, 1.0, 1),
        *statistics_of(np, count, dim, 1.2, 2),
    )
    ways = {"jaxgan": frechet_distance, **others}
    times, busy, values = {name: [] for name in ways}, {name: [] for name in ways}, {}
    for _ in range(repeats):
        for name, way in ways.items():
            time.sleep(0.05)  # the threads of the one before go to sleep
            start, start_busy = time.perf_counter(), time.process_time()
            values[name] = float(way(*gaussians))
            times[name].append(time.perf_counter() - start)
            busy[name].append(time.process_time() - start_busy)
    return {
        name: {
            "seconds": statistics.median(times[name]),
            "cpu": statistics.median(busy[name]),
            "value": values[name],
        }
        for name in ways
    }


def main():
    args = parse()
    cores = sorted(os.sched_getaffinity(0))[: args.cores]
    os.sched_setaffinity(0, cores)  # before the linear algebra counts them
    import numpy as np
    import scipy

    others = {"scipy sqrtm": by_root}
    if args.eigenvalues:
        others["numpy eigvals"] = by_eigenvalues
    found = measure(args.count, args.dim, args.repeats, others)
    print(
        f"numpy {np.__version__}, scipy {scipy.__version__}, {len(cores)} cores, {args.dim} features, "
        f"{args.count} examples, {args.repeats} repeats"
    )
    ours = found["jaxgan"]
    for name, of in found.items():
        print(
            f"{name:<14} {of['seconds']:8.2f} s {of['seconds'] / ours['seconds']:7.1f} x   CPU {of['cpu']:8.2f} s "
            f"{of['cpu'] / ours['cpu']:7.1f} x   distance {of['value']:.12f}"
        )
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
