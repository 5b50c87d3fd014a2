"""SAGAN on handwritten digits, class-conditional.

Data: scikit-learn's handwritten digits, 8x8, offline.
Cost: about four minutes on two CPU cores; digits of their class can be read by then.
Command: jaxgan train --config sagan_digits
"""


def get_config():
    return {
        "model": {
            "name": "sagan",
            "latent_dim": 32,
            "batch_size": 64,
            "generator_width": 64,
            "critic_width": 64,
            "ema_half_life_kimg": 10.0,
        },
        "data": {"name": "digits"},
        "train": {"steps": 2_000, "log_every": 20, "sample_every": 250, "checkpoint_every": 500},
    }
