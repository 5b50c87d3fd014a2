"""BigGAN on ImageNet at 128x128: the paper's own run.

Paper: Brock et al. 2019, Table 1: batches of 2048, width 96, shared embedding, latents for every block, orthogonal
regularisation.
Data: TFDS prepares imagenet2012 from archives that you download yourself.
Published: FID 8.51, IS 99.31, without truncation (Table 1).
Cost: one to two days on 128 to 512 TPU v3 cores in the paper. On fewer devices accumulate gradients:
--config.train.accumulate=8 normalises by the statistics of 256 images, as the author's PyTorch code does.
Command: jaxgan prepare imagenet2012 && jaxgan train --config biggan_imagenet128
(--config.data.resolution=64 or 256 trains the paper's other networks.)
"""


def get_config():
    return {
        "model": {"name": "biggan", "ema_start_kimg": 81_920.0, "dtype": "bfloat16"},
        "data": {
            "name": "tfds",
            "tfds_name": "imagenet2012",
            "resolution": 128,
            "channels": 3,
            "flip": True,
        },
        "train": {
            "steps": 250_000,
            "log_every": 50,
            "sample_every": 1_000,
            "checkpoint_every": 1_000,
        },
    }
