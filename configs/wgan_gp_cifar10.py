"""WGAN-GP on CIFAR-10, ResNet, unconditional, 32x32.

Paper: Gulrajani et al. 2017.
Published: FID 22.29, IS 7.33 (50k against train; kwotsin/mimicry) to FID 16.95, IS 7.95
(w86763777/pytorch-gan-collections, with a generator of twice this width).
Cost: 100,000 rounds of 5 x 64 pictures; 10 h 49 min in PyTorch-StudioGAN's log (2020, GPU not
named).
Command: jaxgan prepare cifar10 && jaxgan train --config wgan_gp_cifar10
"""


def get_config():
    return {
        "model": {"name": "wgan_gp"},
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 100_000,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
