"""SN-GAN on 25 Gaussians.

Data: 25 Gaussians on a 5x5 grid, to look at mode collapse. All mixture2d configs have equal
networks and equally many
rounds of 256 points a batch.
Cost: under a minute on two CPU cores.
Command: jaxgan train --config sngan_mixture2d
"""


def get_config():
    return {
        "model": {
            "name": "sngan",
            "batch_size": 256,
            "latent_dim": 32,
            "generator_width": 128,
            "critic_width": 128,
            "depth": 3,
            "generator_batch_multiple": 1,
            "decay_steps": 0,
            "critic_learning_rate": 5e-4,
            "generator_learning_rate": 5e-4,
        },
        "data": {"name": "mixture2d", "modes": 25, "layout": "grid"},
        "train": {
            "steps": 5_000,
            "log_every": 50,
            "sample_every": 500,
            "checkpoint_every": 2_500,
            "grid": 2_000,
        },
    }
