"""SAGAN on CIFAR-10, class-conditional, 32x32.

Paper: Zhang et al. 2019, which has ImageNet only; the networks for 32 pixels are those of PyTorch-StudioGAN.
Published: FID 14.0 (10k against test, the best of 100,000 steps; PyTorch-StudioGAN's log of 2020).
Cost: hours on one GPU.
Command: jaxgan prepare cifar10 && jaxgan train --config sagan_cifar10
"""


def get_config():
    return {
        "model": {"name": "sagan", "batch_size": 64},
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 100_000,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
