"""StyleGAN on CIFAR-10, from 8 to 32 pixels, with the paper's networks in full width.

Paper: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks", which has no
results for CIFAR-10: schedule, batches, learning rates and widths are those for faces.
Published: no FID for these settings.
Cost: 6 million images; a reduced width trains on a laptop's CPU
(--config.model.channel_max=64 --config.model.fade_kimg=60 --config.model.stable_kimg=60).
Command: jaxgan prepare cifar10 && jaxgan train --config stylegan_cifar10
"""


def get_config():
    return {
        "model": {"name": "stylegan"},
        "data": {"name": "tfds", "tfds_name": "cifar10", "flip": True},
        "train": {
            "steps": 77_400,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
