"""WGAN with weight clipping on CIFAR-10, unconditional, 32x32.

Paper: Arjovsky, Chintala and Bottou 2017.
Published: FID 40.03, IS 6.62 (50k against train; w86763777/pytorch-gan-collections, whose settings
this config has: Adam, clip 0.1, one critic step). The paper's settings (RMSProp, clip 0.01, five
steps) are the model's defaults.
Cost: 100,000 rounds of 128 pictures.
Command: jaxgan prepare cifar10 && jaxgan train --config wgan_cifar10
"""


def get_config():
    return {
        "model": {
            "name": "wgan",
            "latent_dim": 100,
            "batch_size": 128,
            "critic_steps": 1,
            "optimizer": "adam",
            "critic_learning_rate": 2e-4,
            "generator_learning_rate": 2e-4,
            "decay_steps": 100_000,
            "clip": 0.1,
        },
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 100_000,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
