"""WGAN with weight clipping on handwritten digits.

Data: scikit-learn's handwritten digits, 8x8, offline.
Cost: a few minutes on two CPU cores.
Command: jaxgan train --config wgan_digits
"""


def get_config():
    return {
        "model": {
            "name": "wgan",
            "batch_size": 64,
            "generator_width": 32,
            "critic_width": 32,
            "clip": 0.05,
            "ema_half_life_kimg": 10.0,
        },
        "data": {"name": "digits"},
        "train": {"steps": 2_000, "log_every": 20, "sample_every": 250, "checkpoint_every": 500},
    }
