"""The original GAN (perceptrons) on CIFAR-10.

Paper: Goodfellow et al. 2014; the fully connected networks of its CIFAR-10 panel.
Published: no FID; the paper shows samples.
Cost: an hour on one GPU (estimate).
Command: jaxgan prepare cifar10 && jaxgan train --config gan_cifar10
"""


def get_config():
    return {
        "model": {"name": "gan"},
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 100_000,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
