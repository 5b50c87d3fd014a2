"""SN-GAN on CIFAR-10, the paper's plain CNN, unconditional, 32x32.

Paper: Miyato et al. 2018, Table 3, setting with Adam(2e-4, 0.5, 0.999) and one critic step.
Published: FID 17.81, IS 7.84 (50k against train; w86763777/pytorch-gan-collections); the paper's
29.3 is 5k samples against 10k.
Cost: 100,000 rounds of 64 pictures.
Command: jaxgan prepare cifar10 && jaxgan train --config sngan_cnn_cifar10
"""


def get_config():
    return {
        "model": {
            "name": "sngan",
            "architecture": "conv",
            "objective": "non_saturating",
            "critic_steps": 1,
            "beta1": 0.5,
            "beta2": 0.999,
            "decay_steps": 100_000,
        },
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 100_000,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
