"""SN-GAN with projection critic on CIFAR-10, class-conditional, 32x32.

Paper: Miyato and Koyama 2018.
Published: FID 10.84, IS 8.25 (50k against train; cGAN-PD of kwotsin/mimicry).
Cost: as sngan_cifar10.
Command: jaxgan prepare cifar10 && jaxgan train --config sngan_conditional_cifar10
"""


def get_config():
    return {
        "model": {"name": "sngan", "conditional": True},
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 50_000,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
