"""Scores of a folder of pictures against another one, with a protocol of one's own and a confidence interval.

    python examples/measure_folder.py REAL FAKE --resolution 32

The features need no download; the Fréchet distance in them is no FID. The command line has more:
`jaxgan evaluate --real REAL --fake FAKE --protocol clean_fid50k_train`.
"""

import argparse
import json

import numpy as np

from jaxgan.data import open_source
from jaxgan.metrics import extractor_for, frechet_interval
from jaxgan.metrics.evaluate import evaluate
from jaxgan.metrics.protocols import Protocol


def read(folder: str, resolution: int) -> np.ndarray:
    source = open_source("folder", path=folder, resolution=resolution, channels=3, labels=False)
    return source.gather(np.arange(len(source)))["image"]


def main(real: str, fake: str, resolution: int = 32, neighbours: int = 3) -> dict:
    pictures = {"real": read(real, resolution), "fake": read(fake, resolution)}
    extractor = extractor_for(pictures["real"].shape[1:], "random_conv")
    protocol = Protocol(
        "mine",
        ("fd", "pr"),
        extractor.name,
        num_real=len(pictures["real"]),
        num_fake=len(pictures["fake"]),
        nearest_k=neighbours,
    )
    result = evaluate([pictures["real"]], [pictures["fake"]], extractor, protocol)
    features = {name: np.asarray(extractor(x)["features"]) for name, x in pictures.items()}
    interval = frechet_interval(features["real"], features["fake"], level=0.9)
    return {**result, "interval": [interval.low, interval.high]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real")
    parser.add_argument("fake")
    parser.add_argument("--resolution", type=int, default=32)
    args = parser.parse_args()
    print(json.dumps(main(args.real, args.fake, args.resolution), indent=2, default=float))
