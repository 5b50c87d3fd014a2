"""SN-GAN on handwritten digits: the first thing to try.

Data: scikit-learn's handwritten digits, 8x8, offline.
Cost: two to three minutes on two CPU cores.
Command: jaxgan train --config sngan_digits
"""


def get_config():
    return {
        "model": {
            "name": "sngan",
            "batch_size": 64,
            "critic_steps": 2,
            "generator_width": 64,
            "critic_width": 64,
            "generator_batch_multiple": 1,
            "decay_steps": 0,
            "ema_half_life_kimg": 10.0,
        },
        "data": {"name": "digits"},
        "train": {"steps": 2_000, "log_every": 20, "sample_every": 250, "checkpoint_every": 500},
    }
