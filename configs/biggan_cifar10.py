"""BigGAN on CIFAR-10, class-conditional, 32x32, with the projection critic.

Paper: Brock et al. 2019, which has ImageNet only; networks and settings are PyTorch-StudioGAN's.
Published: FID 8.03 (10k against test, the best of 100,000 steps; PyTorch-StudioGAN's log of 2020).
Score: standing statistics, --options.batch_statistics=standing, are stated with every score.
Cost: about a day on one GPU.
Command: jaxgan prepare cifar10 && jaxgan train --config biggan_cifar10
(--config.model.conditioning=acgan, tac, adc, contrastive or multi_hinge are its relatives with other critics.)
"""


def get_config():
    return {
        "model": {
            "name": "biggan",
            "batch_size": 64,
            "critic_steps": 5,
            "critic_learning_rate": 2e-4,
            "generator_learning_rate": 2e-4,
            "beta1": 0.5,
            "epsilon": 1e-6,
            "orthogonal_weight": 0.0,
            # Decay 0.9999 per step from step 1000 on; a step has 320 real images.
            "ema_half_life_kimg": 2_218.0,
            "ema_start_kimg": 320.0,
        },
        "data": {"name": "tfds", "tfds_name": "cifar10", "flip": True},
        "train": {
            "steps": 100_000,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
