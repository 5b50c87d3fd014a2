"""StyleGAN3, configuration T, on handwritten digits that move smoothly with the network's input.

Paper: Karras et al. 2021; a small network.
Data: scikit-learn's handwritten digits, 8x8, enlarged to 16x16, offline.
Expected: strokes after 130 rounds. EQ-T is 55 dB before training; with --config.model.margin=10 it is 90 dB, at about
twice the cost.
Cost: about ten minutes on two CPU cores.
Command: jaxgan train --config stylegan3_digits
"""


def get_config():
    return {
        "model": {
            "name": "stylegan3",
            "latent_dim": 64,
            "style_dim": 64,
            "layers": 5,
            "margin": 6,
            "channel_base": 512,
            "channel_max": 48,
            "critic_learning_rate": 0.0025,
            "r1_gamma": 0.05,
            "augmentation": "off",
            "ema_half_life_kimg": 2.0,
            "magnitude_half_life_kimg": 2.0,
        },
        "data": {"name": "digits", "resolution": 16},
        "train": {"steps": 1_200, "log_every": 20, "sample_every": 200, "checkpoint_every": 400},
    }
