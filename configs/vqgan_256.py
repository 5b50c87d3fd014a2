"""VQGAN on a folder of pictures at 256x256: the paper's f16 with 1,024 codes, and its transformer of 24 layers.

Paper: Esser et al. 2021, Section 4; taming-transformers' imagenet_vqgan.yaml, faceshq_transformer.yaml. Pictures are
cropped at the centre and mirrored half of the time; the authors crop ImageNet at random and do not mirror it.
Published: rFID 7.94, of reconstructions of ImageNet's validation set (CompVis/taming-transformers, f16/1024).
Data: any pictures; --config.model.conditional=true with classes in sub-folders.
Needs: VGG-16 and LPIPS's heads, downloaded at the start, or --config.model.perceptual_file=vgg16.pth,heads.pth.
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
