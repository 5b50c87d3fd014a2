"""ReACGAN on CIFAR-10: BigGAN's networks with data-to-data cross-entropy in place of projection, 32x32.

Paper: Kang et al. 2021, "Rebooting ACGAN"; networks and settings are PyTorch-StudioGAN's.
Published: FID 3.87 (50k against train; PyTorch-StudioGAN).
Cost: about a day on one GPU.
Command: jaxgan prepare cifar10 && jaxgan train --config biggan_d2d_ce_cifar10
"""


def get_config():
    return {
        "model": {
            "name": "biggan",
            "conditioning": "d2d_ce",
            "batch_size": 128,
            "critic_steps": 5,
            "critic_learning_rate": 2.8284e-4,
            "generator_learning_rate": 2.8284e-4,
            "beta1": 0.5,
            "epsilon": 1e-6,
            "orthogonal_weight": 0.0,
            # Decay 0.9999 per step from step 1000 on; a step has 640 real images.
            "ema_half_life_kimg": 4_436.0,
            "ema_start_kimg": 640.0,
        },
        "data": {"name": "tfds", "tfds_name": "cifar10", "flip": True},
        "train": {
            "steps": 100_000,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
