"""MSG-GAN on CIFAR-10, 32x32: four scales, with the reference's critic, loss and optimiser.

Paper: Karnewar and Wang 2020, "MSG-GAN: Multi-Scale Gradients for Generative Adversarial Networks".
Settings: those of akanimax/BMSG-GAN: relativistic average hinge, Adam, pictures joined to the activations after a 1x1
convolution, minibatch standard deviation of the whole batch in the last block.
Published: Inception scores of 7.92 to 8.63 for learning rates from 0.001 to 0.01.
Cost: 6 million images; a reduced width trains on a laptop's CPU (--config.model.channel_max=64).
Command: jaxgan prepare cifar10 && jaxgan train --config msg_gan_cifar10
"""


def get_config():
    return {
        "model": {
            "name": "msg_gan",
            "combine": "lin_cat",
            "minibatch_std": "last",
            "minibatch_std_group": 0,
            "batch_size": 32,
            "objective": "relativistic_average_hinge",
            "penalty": "none",
            "optimizer": "adam",
            "ema_half_life_kimg": 22.0,
        },
        "data": {"name": "tfds", "tfds_name": "cifar10", "flip": True},
        "train": {
            "steps": 187_500,
            "log_every": 100,
            "sample_every": 2_000,
            "checkpoint_every": 2_000,
        },
    }
