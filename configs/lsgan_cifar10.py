"""LSGAN on CIFAR-10, unconditional, 32x32.

Paper: Mao et al. 2017.
Published: FID 40.22, IS 6.55 (50k against train, best checkpoint; PyTorch-StudioGAN). That run
diverged afterwards; here the learning rates fall to zero.
Cost: 100,000 rounds of 2 x 64 pictures.
Command: jaxgan prepare cifar10 && jaxgan train --config lsgan_cifar10
"""


def get_config():
    return {
        "model": {"name": "lsgan", "decay_steps": 100_000},
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 100_000,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
