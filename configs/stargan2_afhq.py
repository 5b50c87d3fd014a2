"""StarGAN v2 at 256x256: AFHQ's cats, dogs and wild animals, or any folder with one folder for each domain.

Paper: Choi et al. 2020, Section 4.
Data: AFHQ (the paper's, v1, 512x512 JPEG: 14,630 for training and 1,500 for tests) with the folders train/cat,
train/dog, train/wild and test/cat, ..., unpacked as afhq where the command is run, or --config.data.path=FOLDER.
Pictures are resized to 256x256, enlarged by up to an eighth and cropped back at random (the authors crop half of them,
to 0.8 to 1 of their area), and mirrored.
Published: FID 16.2 and LPIPS 0.450 with latents, FID 19.8 and LPIPS 0.432 with references, means over the three
domains, of the average networks after 100,000 rounds of 8 pictures (README of the authors' code).
Scores: jaxgan evaluate --workdir RUN --protocol stargan2_latent, or stargan2_reference; see there for differences.
Cost: 100,000 rounds, three days on one V100 according to the authors.
Command: jaxgan train --config stargan2_afhq
"""


def get_config():
    return {
        "model": {"name": "stargan2", "diversity_weight": 2.0},
        "data": {
            "name": "folder",
            "path": "afhq",
            "resolution": 256,
            "channels": 3,
            "flip": True,
            "jitter": 32,
        },
        "train": {
            "steps": 100_000,
            "log_every": 20,
            "sample_every": 1_000,
            "checkpoint_every": 2_000,
        },
    }
