"""WGAN with weight clipping on 25 Gaussians.

Data: 25 Gaussians on a 5x5 grid, a test for mode collapse. All mixture2d configs have the same
networks, number of rounds and batches of 256 points.
Cost: one to three minutes on two CPU cores.
Command: jaxgan train --config wgan_mixture2d
"""


def get_config():
    return {
        "model": {
            "name": "wgan",
            "batch_size": 256,
            "latent_dim": 32,
            "generator_width": 256,
            "critic_width": 256,
            "depth": 3,
            "beta1": 0.5,
            "beta2": 0.9,
            "ema_half_life_kimg": 50.0,
            "clip": 0.1,
            "critic_learning_rate": 1e-3,
            "generator_learning_rate": 1e-3,
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
