"""BigGAN-deep on ImageNet at 128x128: the paper's own run.

Paper: Brock et al. 2019, Appendix B, Tables 7 to 9: bottleneck blocks, the whole latent in every block.
Data: TFDS prepares imagenet2012 from archives that you download yourself.
Published: FID 5.7, IS 124.5, without truncation (Table 2).
Cost: as `biggan_imagenet128`.
Command: jaxgan prepare imagenet2012 && jaxgan train --config biggan_deep_imagenet128
"""


def get_config():
    return {
        "model": {
            "name": "biggan",
            "variant": "deep",
            "ema_start_kimg": 81_920.0,
            "dtype": "bfloat16",
        },
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
