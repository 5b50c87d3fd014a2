"""pix2pix at 256x256: the paper's training, on facades or any other folder of pairs.

Paper: Isola et al. 2017, Section 6.2: batches of one, resized to 286x286 and cropped at random, mirrored, no decay.
(Pictures of other sizes are first cropped to squares and resized to 256x256; the authors' code stretches them.)
Data: --config.data.path is a folder or zip of pictures, each with A in its left and B in its right half, as in the
authors' sets (facades: 400 for training, photograph left and labels right), or one with folders A and B.
Expected: no number is published for facades. In the grids, a new facade has windows and balconies where its labels
place them.
Cost: 80,000 rounds of 96 GFLOP, 200 epochs of 400 pictures.
Command: jaxgan train --config pix2pix_facades --config.data.path=FOLDER
"""


def get_config():
    return {
        "model": {"name": "pix2pix"},
        "data": {
            "name": "pairs",
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
