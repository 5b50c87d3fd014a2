"""StyleGAN3, configuration T, on handwritten digits that move smoothly with the network's input.

Paper: Karras et al. 2021; a small network.
Data: scikit-learn's handwritten digits, 8x8, enlarged to 16x16, offline.
Expected: digits of all classes.
Cost: about ten minutes on two CPU cores.
Command: jaxgan train --config stylegan3_digits
"""


def get_config():
    return {
        "model": {
            "name": "stylegan3",
            "latent_dim": 64,
            "style_dim": 64,
            "layers": 6,
            "margin": 6,
            "channel_base": 512,
            "channel_max": 64,
            "batch_size": 32,
            "r1_gamma": 0.05,
            "ema_half_life_kimg": 5.0,
            "augmentation_rise_kimg": 100.0,
            "magnitude_half_life_kimg": 2.0,
        },
        "data": {"name": "digits", "resolution": 16},
        "train": {"steps": 2_000, "log_every": 20, "sample_every": 400, "checkpoint_every": 500},
    }
