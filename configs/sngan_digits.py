"""SN-GAN on handwritten digits: the first thing to try.

Data: scikit-learn's handwritten digits, 8x8, offline.
Expected: samples of all ten classes, which a classifier of real digits recognises with high
confidence (see the README).
Cost: about two minutes on two CPU cores.
Command: jaxgan train --config sngan_digits
"""


def get_config():
    return {
        "model": {
            "name": "sngan",
            "latent_dim": 32,
            "batch_size": 64,
            "critic_steps": 1,
            "generator_width": 64,
            "critic_width": 32,
            "generator_batch_multiple": 1,
            "critic_learning_rate": 8e-4,
            "generator_learning_rate": 8e-4,
            "beta1": 0.5,
            "beta2": 0.99,
            "dequantise": False,
            "decay_steps": 0,
            "ema_half_life_kimg": 10.0,
        },
        "data": {"name": "digits"},
        "train": {"steps": 2_400, "log_every": 20, "sample_every": 300, "checkpoint_every": 600},
    }
