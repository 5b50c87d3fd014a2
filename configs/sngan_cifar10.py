"""SN-GAN on CIFAR-10, ResNet, hinge, unconditional, 32x32.

Paper: Miyato et al. 2018, Tables 2 and 4.
Published: FID 14.21 (50k against train, 50,000 rounds; GongXinyuu/sngan.pytorch) to 16.77 (100,000
rounds, generator batch 64; kwotsin/mimicry); the paper's 21.7 is 5k samples against 10k.
Cost: 50,000 rounds of 5 x 64 pictures; 9 h 23 min for 100,000 in PyTorch-StudioGAN's log (2020, GPU
not named).
Command: jaxgan prepare cifar10 && jaxgan train --config sngan_cifar10
"""


def get_config():
    return {
        "model": {"name": "sngan"},
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 50_000,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
