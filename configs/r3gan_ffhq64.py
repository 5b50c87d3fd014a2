"""R3GAN on faces, or on your own pictures, at 64x64.

Paper: Huang et al. 2024, "The GAN is Dead; Long Live the GAN! A Modern GAN Baseline": the settings of FFHQ-64.
Data: FFHQ, or another folder or zip of pictures (--config.data.path=FOLDER), cut to squares and resized. For other
pictures than FFHQ's, tune gamma.
Published: FID 1.95 on FFHQ (the paper).
Convolutions at the four largest sizes compute in bfloat16, as in the authors' settings (--config.model.dtype=float32).
Cost: 100 million real pictures for each player; the published length is unknown to us. Where the batch
of 256 does not fit, --config.train.accumulate=8 computes it in eight parts.
Command: jaxgan train --config r3gan_ffhq64 --config.data.path=FOLDER
"""


def get_config():
    return {
        "model": {
            "name": "r3gan",
            "batch_size": 256,
            "gamma": (2.0, 0.2),
            "ema_half_life_kimg": (0.0, 500.0),
            "augmentation_p": (0.0, 0.3),
            "dtype": "bfloat16",
        },
        "data": {
            "name": "folder",
            "resolution": 64,
            "channels": 3,
            "labels": False,
            "flip": True,
        },
        "train": {
            "steps": 390_625,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
