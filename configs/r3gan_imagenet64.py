"""R3GAN on ImageNet, class-conditional, 64x64.

Paper: Huang et al. 2024, "The GAN is Dead; Long Live the GAN! A Modern GAN Baseline": the settings of ImageNet-64.
Published: FID 2.09 (the paper).
Convolutions above 4 x 4 pixels compute in bfloat16, as in the authors' settings (--config.model.dtype=float32).
Cost: a billion real pictures for each player. Where the batch of 4,096 does not fit,
--config.train.accumulate=16 computes it in sixteen parts.
Command: jaxgan prepare imagenet_resized/64x64 && jaxgan train --config r3gan_imagenet64
"""


def get_config():
    return {
        "model": {
            "name": "r3gan",
            "widths": 1536,
            "groups": 96,
            "conditional": True,
            "batch_size": 4096,
            "burn_in_kimg": 200_000.0,
            "gamma": (1.0, 0.1),
            "ema_half_life_kimg": (0.0, 50_000.0),
            "augmentation_p": (0.0, 0.4),
            "dtype": "bfloat16",
        },
        "data": {
            "name": "tfds",
            "tfds_name": "imagenet_resized/64x64",
            "flip": True,
        },
        "train": {
            "steps": 244_141,
            "log_every": 20,
            "sample_every": 1_000,
            "checkpoint_every": 1_000,
        },
    }
