"""`jaxgan sample`: draws samples from a trained run."""

from __future__ import annotations

from jaxgan.cli.errors import user_errors


def add_run_arguments(parser, required: bool = True) -> None:
    """The arguments that say which trained generator is meant."""
    parser.add_argument("--workdir", required=required, help="of a training run")
    parser.add_argument("--step", type=int, help="of the checkpoint (the latest)")
    parser.add_argument(
        "--best",
        action="store_true",
        help="the checkpoint that scored best in training (config.train.evaluate_every)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the latents (0)")
    parser.add_argument(
        "--no_ema",
        action="store_true",
        help="the weights as trained, not their average, if one is kept",
    )


def add_arguments(parser) -> None:
    add_run_arguments(parser)
    parser.add_argument("--num", type=int, default=64, help="how many (64)")
    parser.add_argument(
        "--out", default="samples.png", help="FILE.png: a grid; FILE.npz: arrays (samples.png)"
    )


def run(args) -> int:
    from pathlib import Path

    import numpy as np

    from jaxgan import config, train

    out = Path(args.out)
    with user_errors():
        if out.suffix not in (".png", ".npz"):
            raise ValueError(f"--out is {out}; it must end in .png (a grid) or .npz (arrays).")
        if args.num < 1:
            raise ValueError(f"--num is {args.num}; ask for at least one sample.")
        if not out.parent.is_dir():
            raise FileNotFoundError(
                f"there is no folder {out.parent} to put {out.name} into; create it first."
            )
        trained, engine, step, state = config.restore(args.workdir, args.step, best=args.best)
    samples = train.sample(engine, state, args.num, args.seed, ema=not args.no_ema)
    if out.suffix == ".png":
        columns = trained.game.num_classes or 0
        train.save_grid(out, samples["image"], columns)
    else:
        arrays = {"images": samples["image"]}
        if "label" in samples:
            arrays["labels"] = samples["label"]
        train.report.replace_atomically(out, lambda path: _savez(path, arrays, np))
    print(f"{args.num:,} samples of step {step:,} in {out}")
    return 0


def _savez(path, arrays, np) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)
