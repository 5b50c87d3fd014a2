"""GauGAN on ADE20K at 256x256: pictures from label maps of 150 labels, and one for pixels without a label.

Paper: Park et al. 2019, Section 4: batches of 32 on 8 GPUs, 200 epochs, learning rates that decay to 0 in the last 100,
pictures resized to 286 and cropped to 256 at random, mirrored.
Data: ADEChallengeData2016.zip of http://data.csail.mit.edu/places/ADEchallenge (20,210 pictures for training), unpacked
where the command is run.
Published: mIoU 38.5, pixel accuracy 79.9 (by UperNet101), FID 33.9.
The perceptual loss fetches the weights of VGG-19 from PyTorch's server (--config.model.perceptual_file=FILE).
Cost: 126,000 rounds; according to the authors, 8 V100 of 32 GB.
Command: jaxgan train --config spade_ade20k
"""


def get_config():
    return {
        "model": {
            "name": "spade",
            "doublings": 5,
            "decay_after": 63_156,
            "decay_steps": 63_156,
        },
        "data": {
            "name": "label_maps",
            "path": "ADEChallengeData2016",
            "map_folder": "annotations",
            "num_labels": 151,
            "resolution": 256,
            "channels": 3,
            "flip": True,
            "jitter": 30,
        },
        "train": {
            "steps": 126_312,
            "log_every": 50,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
