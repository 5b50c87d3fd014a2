"""MSG-GAN on handwritten digits: pictures of 4, 8 and 16 pixels from the first step on, in minutes.

Paper: Karnewar and Wang 2020, with much narrower networks and the reference's loss (relativistic hinge, Adam).
Data: scikit-learn's handwritten digits, 8x8 enlarged to 16x16, offline.
Expected: legible digits; the sliced Wasserstein distance of patches falls from 0.042 after 500 rounds to 0.015 after
2,000 (between the two halves of the data it is 0.010). The three scales of a latent show the same digit.
Cost: about six minutes on two CPU cores.
Command: jaxgan train --config msg_gan_digits
"""


def get_config():
    return {
        "model": {
            "name": "msg_gan",
            "latent_dim": 64,
            "channel_base": 512,
            "channel_max": 64,
            "batch_size": 32,
            "objective": "relativistic_average_hinge",
            "penalty": "none",
            "optimizer": "adam",
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
