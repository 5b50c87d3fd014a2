"""StyleGAN2 with ADA on handwritten digits: every part of the procedure, in minutes.

Paper: Karras et al. 2020, StyleGAN2 and ADA.
Data: scikit-learn's handwritten digits, 8x8, offline.
Expected: digits of all classes.
Cost: about five minutes on two CPU cores.
Command: jaxgan train --config stylegan2_digits
"""


def get_config():
    return {
        "model": {
            "name": "stylegan2",
            "latent_dim": 64,
            "style_dim": 64,
            "mapping_layers": 4,
            "channel_base": 1024,
            "channel_max": 128,
            "batch_size": 64,
            "r1_gamma": 0.05,
            "ema_half_life_kimg": 5.0,
            "augmentation_rise_kimg": 100.0,
        },
        "data": {"name": "digits"},
        "train": {"steps": 1_500, "log_every": 20, "sample_every": 300, "checkpoint_every": 500},
    }
