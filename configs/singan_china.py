"""SinGAN on a photograph of scikit-learn at a reduced size.

Paper: Shaham et al. 2019. The picture is scikit-learn's china.jpg (danielbuechele, CC BY 2.0) at 80 x 53 pixels.
Expected: new arrangements of the temple, its trees and the sky, with patches of 11 pixels as in the photograph.
Cost: a few minutes on two CPU cores.
Command: jaxgan train --config singan_china
"""


def get_config():
    return {
        "model": {"name": "singan", "steps_per_scale": 300},
        "data": {"name": "picture", "max_side": 80},
        "train": {
            "steps": 1_200,
            "log_every": 10,
            "sample_every": 300,
            "checkpoint_every": 300,
            "grid": 9,
        },
    }
