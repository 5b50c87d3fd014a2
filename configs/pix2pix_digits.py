"""pix2pix on handwritten digits: from the outline of each to the digit.

Paper: Isola et al. 2017, whose edges2shoes this is on the smallest scale.
Data: scikit-learn's digits, enlarged to 32x32, and the outlines of their ink; offline. Which side of a line is ink, how
dark it is and how it fades are for the U-Net to find.
Expected: a mean absolute error (generator/l1) below 0.06, where black pictures have 0.6.
Cost: about two minutes on two CPU cores.
Command: jaxgan train --config pix2pix_digits
"""


def get_config():
    return {
        "model": {
            "name": "pix2pix",
            "generator_width": 16,
            "critic_width": 16,
            "patch": 16,
            "batch_size": 8,
        },
        "data": {"name": "pairs"},
        "train": {"steps": 1_000, "log_every": 20, "sample_every": 200, "checkpoint_every": 500},
    }
