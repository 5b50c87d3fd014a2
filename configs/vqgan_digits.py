"""VQGAN on handwritten digits: 4x4 codes of a codebook of 64, then a small class-conditional transformer.

Paper: Esser et al. 2021; its method at a size that trains on a laptop.
Data: scikit-learn's handwritten digits, 8x8, offline.
Expected: reconstructions at 24.7 dB; all codes are used, with a perplexity of 60 of 64; samples of the requested class.
The critic separates pictures from reconstructions until its loss trains the autoencoder; then it no longer can, at 8x8
pixels.
Cost: about four minutes on two busy CPU cores.
Command: jaxgan train --config vqgan_digits
"""


def get_config():
    return {
        "model": {
            "name": "vqgan",
            "channels": 32,
            "channel_multiples": (1, 2),
            "blocks": 1,
            "attention_resolutions": (),
            "groups": 8,
            "latent_channels": 32,
            "codes": 64,
            "code_dim": 8,
            "codebook_init": "data",
            "revive_after": 20,
            "perceptual": "none",
            "adversarial_weight": 0.1,
            "critic_width": 32,
            "critic_layers": 1,
            "batch_size": 64,
            "learning_rate_per_image": 2e-5,
            "critic_from": 0,
            "adversarial_from": 500,
            "transformer_from": 1_000,
            "conditional": True,
            "layers": 3,
            "heads": 4,
            "width": 128,
            "context": 16,
            "dropout": 0.2,
            "transformer_batch_size": 64,
            "transformer_learning_rate_per_image": 1e-5,
        },
        "data": {"name": "digits"},
        "train": {"steps": 2_500, "log_every": 50, "sample_every": 500, "checkpoint_every": 500},
    }
