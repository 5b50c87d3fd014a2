"""StyleGAN2 with ADA on your own pictures at 32x32, with all regularisers: an afternoon on one GPU.

Paper: Karras et al. 2020, StyleGAN2 and ADA; the weight of R1 is that of ADA's reference code, 0.0002 r^2 / batch.
Data: a folder or zip of pictures (--config.data.path=FOLDER), cut to squares and resized.
Cost: 5 million images.
Command: jaxgan train --config stylegan2_32 --config.data.path=FOLDER
"""


def get_config():
    return {
        "model": {
            "name": "stylegan2",
            "channel_base": 16_384,
            "channel_max": 256,
            "batch_size": 64,
            "learning_rate": 0.0025,
            "r1_gamma": 0.0032,
            "ema_half_life_kimg": 20.0,
        },
        "data": {"name": "folder", "resolution": 32, "channels": 3, "labels": False},
        "train": {
            "steps": 78_125,
            "log_every": 50,
            "sample_every": 1_000,
            "checkpoint_every": 1_000,
        },
    }
