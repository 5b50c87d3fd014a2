"""ProGAN on CelebA-HQ, from 4 to 1024 pixels: the paper's own run.

Paper: Karras et al. 2018, Appendix A.1: 800,000 pictures a stage, 13.6 million in all.
Data: 30,000 faces of 1024x1024, a folder or zip of pictures, with --config.data.path=...
Published: FID 7.79 (Karras et al. 2019, "A Style-Based Generator Architecture", Table 1, row A).
Cost: the paper's run took four days on eight V100. Batches of 3 fit one device; for eight devices, or
more memory, set "--config.model.batch_size=((4,64),(512,32),(1024,16))", with fewer rounds to train.
Memory: the last stage needs 23 GiB in the critic's turn, by `benchmarks/compile_for.py`: on a TPU v5e, with 16 GiB,
set --config.model.dtype=bfloat16 (14 GiB).
Scores: here the sliced Wasserstein distance uses 2,048 pictures, whose pixels take 13 GB of host
memory; the paper uses 16,384 (jaxgan evaluate --protocol swd16k_train).
Command: jaxgan train --config progressive_celebahq --config.data.path=celebahq.zip
"""


def get_config():
    return {
        "model": {"name": "progressive"},
        "data": {"name": "folder", "resolution": 1024, "flip": True},
        "train": {
            "steps": 1_464_288,
            "log_every": 100,
            "sample_every": 10_000,
            "checkpoint_every": 10_000,
            "grid": 16,
            "evaluate_every": 100_000,
            "protocol": "swd16k_train",
            "evaluate_num": 2_048,
        },
    }
