"""DCGAN on CIFAR-10, unconditional, 32x32.

Paper: Radford, Metz and Chintala 2016.
Published: FID 42.72, IS 6.01 (50k samples against train; w86763777/pytorch-gan-collections, these
hyper-parameters).
Cost: 100,000 rounds of 128 pictures.
Command: jaxgan prepare cifar10 && jaxgan train --config dcgan_cifar10
"""


def get_config():
    return {
        "model": {"name": "dcgan"},
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 100_000,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
