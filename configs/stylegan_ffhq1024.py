"""StyleGAN on FFHQ, from 8 to 1024 pixels: the paper's configuration F.

Paper: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks".
Data: 70,000 faces of 1024x1024, a folder or zip of pictures, with --config.data.path=...
Published: FID 4.40 (the paper's Table 1); perceptual path lengths 664.9 in z and 233.3 in w (full), 666.1 and 197.2
(end) in the README of the authors' code: jaxgan evaluate --workdir RUN --protocol ppl_w_full_faces.
Cost: 25 million images, six days and 14 hours on eight V100 (the same README). The batches are those of eight devices;
for one, set for example "--config.model.batch_size=((8,64),(16,32),(64,16),(256,8),(1024,4))", with more rounds.
Command: jaxgan train --config stylegan_ffhq1024 --config.data.path=ffhq.zip
"""


def get_config():
    return {
        "model": {"name": "stylegan"},
        "data": {
            "name": "folder",
            "resolution": 1024,
            "channels": 3,
            "labels": False,
            "flip": True,
        },
        "train": {
            "steps": 717_970,
            "log_every": 100,
            "sample_every": 5_000,
            "checkpoint_every": 5_000,
            "grid": 16,
        },
    }
