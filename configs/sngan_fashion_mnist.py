"""SN-GAN with projection critic on Fashion-MNIST, class-conditional, 32x32: small networks, for a CPU.

Data: 60,000 pictures of clothes in ten classes, 28x28, resized; downloaded by TensorFlow Datasets.
Expected: samples of which a classifier of real pictures finds four in five in the intended class (see the README).
Cost: about a quarter of an hour of one CPU core.
Command: jaxgan prepare fashion_mnist && jaxgan train --config sngan_fashion_mnist
"""


def get_config():
    return {
        "model": {
            "name": "sngan",
            "conditional": True,
            "batch_size": 32,
            "critic_steps": 1,
            "generator_width": 32,
            "critic_width": 32,
            "generator_batch_multiple": 1,
            # The critic's shortcuts and the generator's first pictures are fainter than by Glorot's initialiser.
            "shortcut_init": "pytorch",
            "critic_learning_rate": 4e-4,
            "generator_learning_rate": 2e-4,
            "decay_steps": 0,
            "ema_half_life_kimg": 5.0,
        },
        "data": {"name": "tfds", "tfds_name": "fashion_mnist", "resolution": 32},
        "train": {
            "steps": 4_000,
            "log_every": 50,
            "sample_every": 500,
            "checkpoint_every": 500,
            "grid": 80,
        },
    }
