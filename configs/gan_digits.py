"""The original GAN (perceptrons) on handwritten digits.

Data: scikit-learn's handwritten digits, 8x8, offline.
Cost: a minute on two CPU cores.
Command: jaxgan train --config gan_digits
"""


def get_config():
    return {
        "model": {
            "name": "gan",
            "batch_size": 64,
            "generator_width": 256,
            "critic_width": 256,
            "ema_half_life_kimg": 10.0,
        },
        "data": {"name": "digits"},
        "train": {"steps": 4_000, "log_every": 20, "sample_every": 250, "checkpoint_every": 500},
    }
