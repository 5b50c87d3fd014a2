"""StyleGAN3, configuration R, on your own pictures at 256x256: pictures that translate and rotate.

Paper: Karras et al. 2021, the settings of its ablation on FFHQ-U at this size.
Published: FID 4.50, EQ-T 66.7 dB, EQ-R 40.5 dB on FFHQ-U, without the adaptive augmentation that is on here.
Data: a folder or zip of pictures (--config.data.path=FOLDER), cut to squares and resized.
The critic's pictures are blurred for the first 400,000 images. The four largest sampling rates compute in bfloat16;
activations are recomputed in the backward pass.
Cost: 25 million images.
Command: jaxgan train --config stylegan3_r_256 --config.data.path=FOLDER
"""


def get_config():
    return {
        "model": {
            "name": "stylegan3",
            "channel_base": 16_384,
            "batch_size": 64,
            "critic_learning_rate": 0.0025,
            "r1_gamma": 1.0,
            "ema_half_life_kimg": 20.0,
            "dtype": "bfloat16",
            "remat": True,
            "configuration": "R",
            "blur_kimg": 400.0,
        },
        "data": {"name": "folder", "resolution": 256, "channels": 3, "labels": False, "flip": True},
        "train": {
            "steps": 390_625,
            "log_every": 20,
            "sample_every": 1000,
            "checkpoint_every": 1000,
        },
    }
