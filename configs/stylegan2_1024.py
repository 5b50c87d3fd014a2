"""StyleGAN2 on your own pictures at 1024x1024: the paper's configuration F.

Paper: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", Sections 2 to 4 and Appendix B. The
paper has no augmentation; ADA adds it for small sets (--config.model.augmentation=off turns it off).
Convolutions compute in bfloat16, those of the paper in float32 (--config.model.dtype=float32).
Data: a folder or zip of pictures (--config.data.path=FOLDER), cut to squares and resized.
Published: FID 2.84 on FFHQ (the paper's Table 1).
Memory: four pictures a chip fit a TPU v5e, so the batch of 32 needs eight: R1's turn takes 13.7 of 16 GiB by
`benchmarks/compile_for.py`. One H100 of 80 GB takes the whole batch (44.4 GiB).
Cost: 25 million images; 154 to 162 s per thousand on one V100 according to ADA's README.
Command: jaxgan train --config stylegan2_1024 --config.data.path=FOLDER
"""


def get_config():
    return {
        "model": {"name": "stylegan2", "ema_ramp_up": 0.0, "dtype": "bfloat16"},
        "data": {
            "name": "folder",
            "resolution": 1024,
            "channels": 3,
            "labels": False,
            "flip": True,
        },
        "train": {
            "steps": 781_250,
            "log_every": 20,
            "grid": 16,
            "sample_every": 1_000,
            "checkpoint_every": 1_000,
        },
    }
