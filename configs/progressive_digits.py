"""ProGAN on handwritten digits: from 4 to 16 pixels in minutes.

Paper: Karras et al. 2018, with much narrower networks and a shorter training.
Data: scikit-learn's handwritten digits, 8x8 enlarged to 16x16, offline.
Expected: legible digits; the sliced Wasserstein distance of patches falls from 0.078 at 4 pixels to
0.013 (between the two halves of the data it is 0.010).
Cost: about four minutes on two CPU cores.
Command: jaxgan train --config progressive_digits
"""


def get_config():
    return {
        "model": {
            "name": "progressive",
            "latent_dim": 64,
            "channel_base": 512,
            "channel_max": 64,
            "batch_size": 32,
            "fade_kimg": 16.0,
            "stable_kimg": 16.0,
            "ema_half_life_kimg": 5.0,
        },
        "data": {"name": "digits", "resolution": 16},
        "train": {
            "steps": 3_000,
            "log_every": 50,
            "sample_every": 250,
            "checkpoint_every": 500,
            "evaluate_every": 500,
            "protocol": "swd16k_train",
            "evaluate_num": 1_000,
        },
    }
