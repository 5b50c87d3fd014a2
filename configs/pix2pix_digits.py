"""pix2pix on handwritten digits: from the outline of a digit to the digit.

Paper: Isola et al. 2017; a small version of its edges2shoes.
Data: scikit-learn's digits, enlarged to 32x32, and the outlines of their ink; offline. The U-Net must infer which side
of a line is ink, how dark it is and how it fades.
Expected: on digits that were not trained on, a mean absolute error of about 0.07 (black pictures have 0.62), and the
smooth edges of the originals. Batches of 8 with instance normalisation, which is the same in training and in test.
Cost: about a minute on two CPU cores.
Command: jaxgan train --config pix2pix_digits
"""


def get_config():
    return {
        "model": {
            "name": "pix2pix",
            "generator_width": 16,
            "critic_width": 16,
            "patch": 16,
            "norm": "instance",
            "batch_size": 8,
        },
        "data": {"name": "pairs"},
        "train": {"steps": 1_000, "log_every": 20, "sample_every": 200, "checkpoint_every": 500},
    }
