"""StarGAN on handwritten digits: every digit into every other one.

Paper: Choi et al. 2018; small networks, and the ten digits as domains.
Data: scikit-learn's handwritten digits, enlarged to 16x16, offline.
Expected: digits of the target's class: a classifier of real digits saw it in 99 % of 360 translations of test digits.
Cost: about five minutes on two CPU cores.
Command: jaxgan train --config stargan_digits
"""


def get_config():
    return {
        "model": {
            "name": "stargan",
            "generator_width": 32,
            "blocks": 3,
            "critic_width": 32,
            "critic_layers": 3,
            "decay_after": 500,
            "decay_steps": 500,
            "generator_learning_rate": 2e-4,
            "critic_learning_rate": 2e-4,
        },
        "data": {"name": "digits", "resolution": 16},
        "train": {"steps": 1_000, "log_every": 20, "sample_every": 200, "checkpoint_every": 500},
    }
