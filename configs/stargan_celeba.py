"""StarGAN at 128x128: five attributes of CelebA's faces, as in the paper.

Paper: Choi et al. 2018, Section 5.2: black, blond and brown hair, male, young; 200,000 steps of the critic, 40,000 of
the generator, in the last half of which the learning rates fall to 0.
Data: the folder or zip img_align_celeba and its table list_attr_celeba.txt, from
https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, where the command is run. Pictures of 178x218 are cut to the central
178x178 and resized to 128x128, mirrored with probability 1/2.
Published: no number for CelebA but a user study, in which StarGAN's translations were preferred.
Cost: 200,000 critic steps of 16 pictures, about a day on one GPU according to the paper.
Command: jaxgan train --config stargan_celeba
(TFDS's copy: jaxgan prepare celeb_a, then --config.data.name=tfds --config.data.tfds_name=celeb_a with these options.
Other faces or attributes: --config.data.path=FOLDER --config.data.table=TABLE --config.data.attributes=NAME,NAME)
"""


def get_config():
    return {
        "model": {"name": "stargan"},
        "data": {
            "name": "attributes",
            "path": "img_align_celeba",
            "table": "list_attr_celeba.txt",
            "attributes": ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"),
            "resolution": 128,
            "flip": True,
        },
        "train": {
            "steps": 40_000,
            "log_every": 20,
            "sample_every": 1_000,
            "checkpoint_every": 2_000,
        },
    }
