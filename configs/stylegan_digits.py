"""StyleGAN on handwritten digits: from 8 to 16 pixels in minutes.

Paper: Karras et al. 2019, with much narrower networks, a shorter training and a higher learning rate.
Data: scikit-learn's handwritten digits, 8x8 enlarged to 16x16, offline.
Expected: legible digits; the sliced Wasserstein distance of patches falls from 0.16 in the middle of the fade to 0.017
(between the two halves of the data it is 0.010). Path lengths in w are half of those in z (2.7 and 5.2 in the features
of --features random_conv, with --protocol ppl_w_full and ppl_z_full and --num 2000).
Cost: about eight minutes on two CPU cores.
Command: jaxgan train --config stylegan_digits
"""


def get_config():
    return {
        "model": {
            "name": "stylegan",
            "latent_dim": 64,
            "style_dim": 64,
            "mapping_layers": 4,
            "channel_base": 512,
            "channel_max": 64,
            "batch_size": 32,
            "learning_rate": 0.002,
            "fade_kimg": 16.0,
            "stable_kimg": 24.0,
            "r1_gamma": 1.0,
            "ema_half_life_kimg": 5.0,
        },
        "data": {"name": "digits", "resolution": 16},
        "train": {
            "steps": 2_500,
            "log_every": 50,
            "sample_every": 250,
            "checkpoint_every": 500,
            "evaluate_every": 500,
            "protocol": "swd16k_train",
            "evaluate_num": 1_000,
        },
    }
