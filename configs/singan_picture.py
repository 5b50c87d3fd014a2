"""SinGAN on a picture of your own, as in the paper.

Paper: Shaham et al. 2019: 250 pixels on the longer side, 2,000 rounds for each scale.
Data: --config.data.path=FILE; without it, scikit-learn's china.jpg. The number of scales depends on the shape of the
picture; `--dry_run` shows them as stages. Set --config.train.steps to 2,000 times their number.
Published: SIFID 0.09, the mean over 50 pictures of places, with torchvision's Inception; `single_image_fid` uses
another Inception.
Cost: 8 scales; a round of the coarsest takes 3 GFLOP, one of the finest 660.
Command: jaxgan train --config singan_picture --config.data.path=FILE
"""


def get_config():
    return {
        "model": {"name": "singan"},
        "data": {"name": "picture"},
        "train": {
            "steps": 16_000,
            "log_every": 20,
            "sample_every": 1_000,
            "checkpoint_every": 1_000,
            "grid": 9,
        },
    }
