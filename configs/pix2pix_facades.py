"""pix2pix at 256x256: the paper's training, on facades or any other folder of pairs.

Paper: Isola et al. 2017, Section 6.2: batches of one, resized to 286x286 and cropped at random, mirrored, no decay.
(Pictures of other sizes are first cropped to squares and resized to 256x256; the authors' code stretches them.)
Data: facades.tar.gz of http://efrosgans.eecs.berkeley.edu/pix2pix/datasets, unpacked where the command is run (400 for
training, photograph left and labels right); or --config.data.path: a folder or zip of pictures, each with A in its left
and B in its right half, or one with folders A and B. `pix2pix_digits` needs no files.
Expected: no number is published for facades. In the grids, a new facade has windows and balconies where its labels
place them.
Cost: 80,000 rounds of 96 GFLOP, 200 epochs of 400 pictures.
Command: jaxgan train --config pix2pix_facades
"""


def get_config():
    return {
        "model": {"name": "pix2pix"},
        "data": {
            "name": "pairs",
            "path": "facades",
            "direction": "BtoA",
            "resolution": 256,
            "channels": 3,
            "flip": True,
            "jitter": 30,
        },
        "train": {
            "steps": 80_000,
            "log_every": 50,
            "sample_every": 4_000,
            "checkpoint_every": 4_000,
        },
    }
