"""MSG-StyleGAN on FFHQ at 1024x1024: pictures of nine scales from the first step on.

Paper: Karnewar and Wang 2020, "MSG-GAN: Multi-Scale Gradients for Generative Adversarial Networks", with StyleGAN's
networks.
Data: 70,000 faces of 1024x1024, a folder or zip of pictures, with --config.data.path=...
Published: FID 5.80 (the authors' README); MSG-ProGAN, the model's defaults, has 8.36.
Cost: 25 million images. The batch of 32 is that of eight GPUs; on one, the authors use 4
(--config.model.batch_size=4 --config.train.steps=6250000).
Command: jaxgan train --config msg_gan_ffhq1024 --config.data.path=ffhq.zip
"""


def get_config():
    return {
        "model": {
            "name": "msg_gan",
            "architecture": "stylegan",
            "combine": "cat_lin",
            "batch_size": 32,
            "objective": "non_saturating",
            "penalty": "r1",
            "optimizer": "adam",
            "ema_half_life_kimg": 10.0,
        },
        "data": {
            "name": "folder",
            "resolution": 1024,
            "channels": 3,
            "labels": False,
            "flip": True,
        },
        "train": {
            "steps": 781_250,
            "log_every": 100,
            "sample_every": 5_000,
            "checkpoint_every": 5_000,
            "grid": 16,
        },
    }
