"""GauGAN on digits: pictures from label maps of paper and of the ink of each digit, with styles from other pictures.

Paper: Park et al. 2019; small networks, SPADE with 32 channels, no perceptual loss.
Data: scikit-learn's handwritten digits, enlarged to 32x32, and maps of paper and ink, offline.
Expected: ink where the map has ink, with the smooth edges of the originals; darkness and blur follow the style.
Cost: about nine minutes on two CPU cores; after the first 300 rounds the pictures follow their maps.
Command: jaxgan train --config spade_digits
Paint: jaxgan make paint --workdir RUN --pictures.label_map=MAP.png --options.samples=8
"""


def get_config():
    return {
        "model": {
            "name": "spade",
            "width": 4,
            "doublings": 3,
            "spade_hidden": 32,
            "encoder": True,
            "latent_dim": 16,
            "critic_width": 16,
            "critic_layers": 3,
            "perceptual": "none",
            "batch_size": 16,
        },
        "data": {"name": "label_maps"},
        "train": {"steps": 2_000, "log_every": 20, "sample_every": 250, "checkpoint_every": 500},
    }
