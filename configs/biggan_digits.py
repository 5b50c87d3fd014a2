"""BigGAN on handwritten digits: every part of the procedure, in minutes.

Paper: Brock et al. 2019.
Data: scikit-learn's handwritten digits, 8x8, offline.
Expected: digits of their class in each column.
Cost: about three minutes on two CPU cores.
Command: jaxgan train --config biggan_digits
(jaxgan make classes --workdir RUN shows a class in each row.)
"""


def get_config():
    return {
        "model": {
            "name": "biggan",
            "width": 16,
            "critic_width": 32,
            "latent_dim": 32,
            "class_embedding_dim": 32,
            "batch_size": 64,
            "critic_steps": 1,
            "critic_learning_rate": 4e-4,
            "generator_learning_rate": 2e-4,
            "ema_half_life_kimg": 10.0,
            "ema_start_kimg": 5.0,
        },
        "data": {"name": "digits"},
        "train": {"steps": 2_000, "log_every": 20, "sample_every": 250, "checkpoint_every": 500},
    }
