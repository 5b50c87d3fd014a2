"""`jaxgan sample`: draws samples from a trained run."""

from __future__ import annotations

import shlex

from jaxgan.cli.errors import flags, seed, user_errors
from jaxgan.cli.explain import lines


def add_run_arguments(parser, required: bool = True) -> None:
    """Adds the arguments that select the trained networks of a run, and the seed."""
    parser.add_argument("--workdir", required=required, help="folder of a training run")
    parser.add_argument("--step", type=int, help="step of the checkpoint (default: the latest)")
    parser.add_argument(
        "--best",
        action="store_true",
        help="use the checkpoint with the best score in training (config.train.evaluate_every)",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="random seed of the latents (default 0)"
    )
    parser.add_argument(
        "--no_ema",
        action="store_true",
        help="use the weights of the last update instead of their moving average",
    )


def add_arguments(parser) -> None:
    add_run_arguments(parser)
    parser.add_argument("--num", type=int, default=64, help="number of samples (default 64)")
    parser.add_argument(
        "--out",
        default="samples.png",
        help="file to write: .png for a grid, .npz for arrays (default samples.png)",
    )
    parser.epilog = (
        "Sampling options of a model (truncation, temperature, ...) are set as --options.NAME=VALUE;"
        " with --workdir, those of the run are listed below."
    )


def explain(name: str | None, workdir: str | None, named: dict) -> list[str]:
    """The options of a run's sampling."""
    del name, named
    return sampling(workdir, "sample")


def sampling(workdir: str | None, command: str) -> list[str]:
    """The options of a run's outputs, as a command takes them."""
    from jaxgan import config, options

    if workdir is None:
        return []
    with user_errors(command):
        outputs = config.reopen(workdir).game.outputs
    found = []
    for name, output in outputs.items():
        rows = options.describe(output.options)
        if rows:
            found += [f"options of the {name} of {workdir}:", *lines(rows, flags(command))]
    return found or [f"the outputs of {workdir} have no options."]


def run(args) -> int:
    from pathlib import Path

    import numpy as np

    from jaxgan import config, tools, train

    out = Path(args.out)
    with user_errors("sample"):
        if out.suffix not in (".png", ".npz"):
            raise ValueError(f"--out is {out}; it must end in .png (a grid) or .npz (arrays).")
        if args.num < 1:
            raise ValueError(f"--num is {args.num}; ask for at least one sample.")
        check_folder(out)
        trained, engine, step, state = config.restore(args.workdir, args.step, best=args.best)
        check_generates(trained, args.workdir)
        options = tools.complete(args.named["options"], trained.game.outputs["samples"].options)
        samples = train.sample(engine, state, args.num, args.seed, not args.no_ema, **options)
    arrays = {"images": samples["image"]}
    if "label" in samples:
        arrays["labels"] = samples["label"]
        names = trained.spec["label"].names
        if names:
            arrays["label_names"] = np.array(names)
    with user_errors("sample"):
        if out.suffix == ".png":
            train.save_grid(out, samples["image"], trained.game.num_classes or 0)
        else:
            train.report.save_arrays(out, arrays)
    print(f"{args.num:,} samples of step {step:,} in {out}")
    return 0


def check_folder(out) -> None:
    """Raises if `out` is a folder, or if its parent folder does not exist."""
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; give the name of a file.")
    if not out.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {out.parent} to put {out.name} into; create it first."
        )


def check_generates(trained, workdir: str) -> None:
    """Raises unless the run's game makes samples; the message suggests its tools."""
    if "samples" not in trained.game.outputs:
        raise ValueError(
            f"{trained.config.model_name} makes no samples, only pictures from pictures; list the tools for yours:"
            f" jaxgan make list --workdir {shlex.quote(workdir)}"
        )
