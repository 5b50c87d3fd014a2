"""StyleGAN2 with ADA on CIFAR-10, class-conditional, 32x32: the settings tuned for it.

Paper: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", Section 4.3 and Appendix D: no
path length regularisation, no style mixing, a mapping network of two layers (none for the critic's labels), a critic
without residual connections.
Published: FID 2.42, IS 10.14 (the paper's abstract; best of several runs).
Cost: 100 million images, on two GPUs in ADA's code.
Command: jaxgan prepare cifar10 && jaxgan train --config stylegan2_cifar10
(--config.train.evaluate_every=20000 --config.train.protocol=fid50k_train evaluates during training.)
"""


def get_config():
    return {
        "model": {
            "name": "stylegan2",
            "conditional": True,
            "mapping_layers": 2,
            "critic_mapping_layers": 0,
            "critic": "plain",
            "minibatch_std_group": 32,
            "batch_size": 64,
            "learning_rate": 0.0025,
            "r1_gamma": 0.01,
            "path_weight": 0.0,
            "mixing": 0.0,
            "ema_half_life_kimg": 500.0,
        },
        "data": {"name": "tfds", "tfds_name": "cifar10"},
        "train": {
            "steps": 1_562_500,
            "log_every": 100,
            "sample_every": 5_000,
            "checkpoint_every": 5_000,
        },
    }
