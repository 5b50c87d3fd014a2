"""R3GAN on three stacked digits, a set of 1,000 known modes: R1 and R2 against R1 alone.

Paper: Huang et al. 2024, "The GAN is Dead; Long Live the GAN! A Modern GAN Baseline", Section 2, its experiment on
StackedMNIST.
Data: three of scikit-learn's handwritten digits as the channels of one picture, 8x8, offline.
Published on StackedMNIST: 1,000 modes and a divergence of 0.078 from the uniform distribution with this loss and both
penalties, 693 and 0.927 with the non-saturating loss; with R1 alone both diverge.
Measured (one seed, 5,000 samples of the averaged generator after 2,000 rounds): 667 modes and a divergence of 0.92 with
R1 and R2, 528 and 1.25 with R1 alone, which did not diverge in this time.
Compare: --config.model.penalties=r1 --workdir runs/r1, and --config.model.objective=non_saturating --workdir
runs/non_saturating. `jaxgan diagnose --workdir RUN` counts the modes.
Command: jaxgan train --config r3gan_stacked_digits
"""


def get_config():
    return {
        "model": {
            "name": "r3gan",
            "latent_dim": 64,
            "widths": 64,
            "groups": 8,
            "blocks": 1,
            "batch_size": 64,
            "burn_in_kimg": 70.0,
            "gamma": (0.05, 0.005),
            "learning_rate": (2e-3, 2e-4),
            "ema_half_life_kimg": (0.0, 2.0),
            "augmentation_p": (0.0, 0.0),
        },
        "data": {
            "name": "stacked_digits",
        },
        "train": {
            "steps": 2_000,
            "log_every": 20,
            "sample_every": 250,
            "checkpoint_every": 500,
        },
    }
