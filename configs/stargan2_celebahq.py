"""StarGAN v2 at 256x256: women and men of CelebA-HQ.

Paper: Choi et al. 2020, Section 4. The paper's generator of faces also has high-pass skip connections under masks from
a network for facial landmarks, which jaxgan does not have; here it is that of the config stargan2_afhq, whose style
changes the whole picture. --config.model.high_pass=1 adds these connections without masks.
Data: 30,000 faces of 1024x1024 in the folders train/female, train/male, val/female and val/male, unpacked as celeba_hq
where the command is run, or --config.data.path=FOLDER. Pictures are resized to 256x256, cropped and mirrored as in
stargan2_afhq.
Published: FID 13.7 and LPIPS 0.452 with latents, FID 23.8 and LPIPS 0.388 with references, with the masks (README of
the authors' code).
Scores: as for stargan2_afhq.
Cost: 100,000 rounds, three days on one V100 according to the authors.
Command: jaxgan train --config stargan2_celebahq
"""


def get_config():
    return {
        "model": {"name": "stargan2"},
        "data": {
            "name": "folder",
            "path": "celeba_hq",
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
