"""The configs that come with jaxgan, with data of the right shape where their own are not at hand.

For what only needs shapes (compiling, timing, a few rounds on noise), not for training: the pictures are random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from jaxgan import config
from jaxgan.game import Stage
from jaxgan.spec import DataSpec

# Data that is downloaded or the user's own: {config: what one example looks like}. The sizes are the data sets' own,
# or those of the paper's.
SPECS = {
    "pix2pix_facades": DataSpec((256, 256, 3), None, 400, (256, 256, 3)),
    "progressive_celebahq": DataSpec((1024, 1024, 3), None, 30_000),
    "stylegan2_1024": DataSpec((1024, 1024, 3), None, 70_000),
    "stylegan2_256": DataSpec((256, 256, 3), None, 70_000),
    "stylegan2_32": DataSpec((32, 32, 3), None, 50_000),
    "vqgan_256": DataSpec((256, 256, 3), None, 70_000),
}
CIFAR10 = DataSpec((32, 32, 3), 10, 50_000)


def open_spec(name: str, cfg) -> DataSpec:
    """What one example of a config's data looks like; a ValueError says which data is neither here nor in SPECS."""
    if name in SPECS:
        return SPECS[name]
    if cfg.data_name == "tfds" and cfg.data.tfds_name == "cifar10":
        return CIFAR10
    return config.open_data(cfg).spec


def batches(spec: DataSpec, stage: Stage, seed: int = 0) -> Iterator[Mapping[str, np.ndarray]]:
    """Endless batches of random examples for a stage."""
    rng = np.random.default_rng(seed)
    shape = spec.shape
    if len(shape) == 3 and stage.resolution is not None:
        shape = (stage.resolution, stage.resolution, shape[2])
    while True:
        if len(shape) == 3:
            batch = {"image": rng.integers(0, 256, (stage.batch_size, *shape), np.uint8)}
        else:
            batch = {"image": rng.normal(size=(stage.batch_size, *shape)).astype(np.float32)}
        if spec.num_classes is not None:
            batch["label"] = rng.integers(0, spec.num_classes, stage.batch_size, np.int32)
        if spec.condition is not None:
            size = (stage.batch_size, *spec.condition)
            batch["condition"] = rng.integers(0, 256, size, np.uint8)
        yield batch
