"""WGAN-GP on handwritten digits.

Data: scikit-learn's handwritten digits, 8x8, offline.
Cost: a few minutes on two CPU cores.
Command: jaxgan train --config wgan_gp_digits
"""


def get_config():
    return {
        "model": {
            "name": "wgan_gp",
            "batch_size": 64,
            "critic_steps": 3,
            "generator_width": 64,
            "critic_width": 64,
            "generator_batch_multiple": 1,
            "decay_steps": 0,
            "ema_half_life_kimg": 10.0,
        },
        "data": {"name": "digits"},
        "train": {"steps": 2_000, "log_every": 20, "sample_every": 250, "checkpoint_every": 500},
    }
