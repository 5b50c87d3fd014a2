"""VQGAN, f16 with 1024 codes, on pictures of 256x256 in a folder: the paper's.

Paper: Esser et al. 2021, Section 4 and appendix; taming-transformers' imagenet_vqgan.yaml.
Published: reconstructions of ImageNet's validation set at FID 7.94 (CompVis/taming-transformers, f16/1024).
Cost: one round needs the memory of 12 pictures through 71 million parameters and VGG-16; the reference trained
on several GPUs for days. The critic's loss counts from round 250,001 there, and the critic starts with it.
The transformer is that of the class-conditional ImageNet model in kind, not in size: 24 layers of 1024, batch 16.
Command: jaxgan train --config vqgan_256 --config.data.path=FOLDER
"""


def get_config():
    return {
        "model": {"name": "vqgan", "dtype": "bfloat16"},
        "data": {"name": "folder", "resolution": 256, "flip": True},
        "train": {
            "steps": 1_000_000,
            "log_every": 100,
            "sample_every": 5_000,
            "checkpoint_every": 5_000,
        },
    }
