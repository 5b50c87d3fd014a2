"""StyleGAN2 with ADA on your own pictures at 256x256: half the channels, as in the paper at this size.

Paper: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", Appendix D.
Data: a folder or zip of pictures (--config.data.path=FOLDER), cut to squares and resized.
Convolutions compute in bfloat16; ADA's code uses half precision only at its four highest resolutions.
Memory: activations are recomputed in the backward pass, so that the batch of 64 fits one TPU v5e: 15.3 of its 16 GiB in
the critic's turn, by `benchmarks/compile_for.py`. If there is more memory (an eighth of the batch on each of eight
chips), --config.model.remat=false avoids the recomputation.
Cost: 25 million images; 21.6 to 24.2 s per thousand at this size on one V100 according to ADA's README.
Command: jaxgan train --config stylegan2_256 --config.data.path=FOLDER
"""


def get_config():
    return {
        "model": {
            "name": "stylegan2",
            "channel_base": 16_384,
            "minibatch_std_group": 8,
            "batch_size": 64,
            "learning_rate": 0.0025,
            "r1_gamma": 1.0,
            "ema_half_life_kimg": 20.0,
            "ema_ramp_up": 0.0,
            "dtype": "bfloat16",
            "remat": True,
        },
        "data": {
            "name": "folder",
            "resolution": 256,
            "channels": 3,
            "labels": False,
            "flip": True,
        },
        "train": {
            "steps": 390_625,
            "log_every": 20,
            "sample_every": 1_000,
            "checkpoint_every": 1_000,
        },
    }
