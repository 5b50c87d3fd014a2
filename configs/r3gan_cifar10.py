"""R3GAN on CIFAR-10, class-conditional, 32x32.

Paper: Huang et al. 2024, "The GAN is Dead; Long Live the GAN! A Modern GAN Baseline": the settings of CIFAR-10.
Published: FID 1.96 (the paper).
Convolutions above 4 x 4 pixels compute in bfloat16, as in the authors' settings (--config.model.dtype=float32).
Cost: 250 million real pictures for each player, four days on eight L40 according to the authors.
Command: jaxgan prepare cifar10 && jaxgan train --config r3gan_cifar10
"""


def get_config():
    return {
        "model": {
            "name": "r3gan",
            "conditional": True,
            "dtype": "bfloat16",
        },
        "data": {
            "name": "tfds",
            "tfds_name": "cifar10",
            "flip": True,
        },
        "train": {
            "steps": 488_281,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
