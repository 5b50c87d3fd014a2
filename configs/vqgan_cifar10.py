"""VQGAN on CIFAR-10, 32x32: 8x8 codes of a codebook of 256, then a small class-conditional transformer.

Paper: Esser et al. 2021; nothing is published at this size.
Expected: after 1,000 rounds of the first phase (critic from 500, its loss from 700) 1,000 pictures of the test split
are reconstructed at 22.0 dB; all codes are used, with a perplexity of 226 of 256. The autoencoder alone reaches 23.0 dB
on training pictures after 1,200 rounds. (Measured on a lossy copy of CIFAR-10.)
Cost: rounds of 35 + 14 GFLOP (autoencoder, critic) and of 30 (transformer).
Command: jaxgan prepare cifar10 && jaxgan train --config vqgan_cifar10
"""


def get_config():
    return {
        "model": {
            "name": "vqgan",
            "channels": 32,
            "channel_multiples": (1, 2, 2),
            "blocks": 1,
            "attention_resolutions": (),
            "groups": 8,
            "latent_channels": 64,
            "codes": 256,
            "code_dim": 16,
            "codebook_init": "data",
            "revive_after": 20,
            "perceptual": "none",
            "adversarial_weight": 0.2,
            "critic_width": 32,
            "critic_layers": 2,
            "batch_size": 32,
            "learning_rate_per_image": 2e-5,
            "critic_from": 1_500,
            "adversarial_from": 2_000,
            "transformer_from": 3_000,
            "conditional": True,
            "layers": 4,
            "heads": 4,
            "width": 128,
            "context": 64,
            "dropout": 0.1,
            "transformer_batch_size": 64,
            "transformer_learning_rate_per_image": 1.5e-5,
        },
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 6_000,
            "log_every": 50,
            "sample_every": 1_500,
            "checkpoint_every": 1_500,
        },
    }
