"""ProGAN on CIFAR-10, unconditional, from 4 to 32 pixels.

Paper: Karras et al. 2018: the settings of CelebA-HQ, except for a gradient norm of 750.
Published: IS 8.80 (best run; the mean of ten is 8.56).
Length: the networks grow in 350,000 rounds of 16 pictures (800,000 pictures a stage, 5.6 million in
all); the paper does not state how much longer it trained. The sliced Wasserstein distance of 16,384
pictures is computed during training; it takes 3 GB of memory.
Command: jaxgan prepare cifar10 && jaxgan train --config progressive_cifar10
"""


def get_config():
    return {
        "model": {"name": "progressive", "penalty_target": 750.0},
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 350_000,
            "log_every": 100,
            "sample_every": 5_000,
            "checkpoint_every": 5_000,
            "evaluate_every": 25_000,
            "protocol": "swd16k_train",
        },
    }
