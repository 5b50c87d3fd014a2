"""The configs that come with jaxgan, with data of the right shape where their own are not at hand.

For what only needs shapes (compiling, timing, a few rounds on noise), not for training: the pictures are random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from jaxgan import config
from jaxgan.game import Stage
from jaxgan.spec import Field, Spec

# Data that is downloaded or the user's own: {config: what one example looks like}. The sizes are the data sets' own,
# or those of the paper's.
IMAGENET_128 = Spec(
    {"image": Field("image", (128, 128, 3)), "label": Field("label", number=1000)}, 1_281_167
)
SPECS = {
    "biggan_deep_imagenet128": IMAGENET_128,
    "biggan_imagenet128": IMAGENET_128,
    "msg_gan_ffhq1024": Spec({"image": Field("image", (1024, 1024, 3))}, 70_000),
    "pix2pix_facades": Spec(
        {"image": Field("image", (256, 256, 3)), "condition": Field("image", (256, 256, 3))}, 400
    ),
    "progressive_celebahq": Spec({"image": Field("image", (1024, 1024, 3))}, 30_000),
    "r3gan_ffhq256": Spec({"image": Field("image", (256, 256, 3))}, 70_000),
    "r3gan_ffhq64": Spec({"image": Field("image", (64, 64, 3))}, 70_000),
    "r3gan_imagenet32": Spec(
        {"image": Field("image", (32, 32, 3)), "label": Field("label", number=1000)}, 1_281_167
    ),
    "r3gan_imagenet64": Spec(
        {"image": Field("image", (64, 64, 3)), "label": Field("label", number=1000)}, 1_281_167
    ),
    "sngan_fashion_mnist": Spec(
        {"image": Field("image", (32, 32, 1)), "label": Field("label", number=10)}, 60_000
    ),
    "spade_ade20k": Spec(
        {"image": Field("image", (256, 256, 3)), "label_map": Field("label_map", (256, 256), 151)},
        20_210,
    ),
    "stargan2_afhq": Spec(
        {"image": Field("image", (256, 256, 3)), "label": Field("label", number=3)}, 14_630
    ),
    "stargan2_celebahq": Spec(
        {"image": Field("image", (256, 256, 3)), "label": Field("label", number=2)}, 28_000
    ),
    "stargan_celeba": Spec(
        {
            "image": Field("image", (128, 128, 3)),
            "attributes": Field(
                "attributes",
                number=5,
                names=("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"),
            ),
        },
        162_770,
    ),
    "stylegan2_1024": Spec({"image": Field("image", (1024, 1024, 3))}, 70_000),
    "stylegan2_256": Spec({"image": Field("image", (256, 256, 3))}, 70_000),
    "stylegan2_32": Spec({"image": Field("image", (32, 32, 3))}, 50_000),
    "stylegan_ffhq1024": Spec({"image": Field("image", (1024, 1024, 3))}, 70_000),
    "stylegan3_r_256": Spec({"image": Field("image", (256, 256, 3))}, 70_000),
    "stylegan3_t_256": Spec({"image": Field("image", (256, 256, 3))}, 70_000),
    "vqgan_256": Spec({"image": Field("image", (256, 256, 3))}, 70_000),
}
CIFAR10 = Spec({"image": Field("image", (32, 32, 3)), "label": Field("label", number=10)}, 50_000)


def open_spec(name: str, cfg) -> Spec:
    """What one example of a config's data looks like; a ValueError says which data is neither here nor in SPECS."""
    if name in SPECS:
        return SPECS[name]
    if cfg.data_name == "tfds" and cfg.data.tfds_name == "cifar10":
        return CIFAR10
    return config.open_data(cfg).spec


def batches(spec: Spec, stage: Stage, seed: int = 0) -> Iterator[Mapping[str, np.ndarray]]:
    """Endless batches of random examples for a stage."""
    rng = np.random.default_rng(seed)
    while True:
        yield spec.at(stage.resolution).random(stage.batch_size, rng)
