"""`jaxgan sample`: draws samples from a trained run."""

from __future__ import annotations

import difflib
import re
import shlex

from jaxgan.cli.errors import flags, seed, user_errors
from jaxgan.cli.explain import lines

MOST_PIXELS = 2**28  # of a grid


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
        "--label", help="class of all samples, by name or number (default: all classes in turn)"
    )
    parser.add_argument(
        "--out",
        default="samples.png",
        help="file to write: .png for a grid, .npz for arrays; or a folder for a PNG of each sample, in folders of"
        " classes if there are any (default samples.png)",
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

    from jaxgan import config, tools, train
    from jaxgan.train.outputs import class_names

    out = Path(args.out)
    with user_errors("sample"):
        check_out(out, args.out)
        if args.num < 1:
            raise ValueError(f"--num is {args.num}; ask for at least one sample.")
        trained, engine, step, state = config.restore(args.workdir, args.step, best=args.best)
        check_generates(trained, args.workdir)
        if out.suffix == ".png":
            check_grid(args.num, trained.game)
        if not out.suffix and not trained.game.spec.pictures:
            raise ValueError(
                f"--out is {args.out}, a folder for pictures, but this run makes points; give a file that ends in .npz."
            )
        game, names = trained.game, class_names(trained.game)
        label = None if args.label is None else class_number(args.label, game)
        options = tools.complete(args.named["options"], game.outputs["samples"].options)
        wanted = (engine, state, args.num, args.seed, not args.no_ema, label)
        if not out.suffix:
            batches = train.iterate_samples(*wanted, **options)
            train.report.save_pictures(out, batches, folders_of(names))
        else:
            samples = train.sample(*wanted, **options)
            if out.suffix == ".png":
                train.save_grid(out, samples["image"], classes=names if label is None else ())
            else:
                train.report.save_arrays(out, arrays_of(samples, game))
    print(f"{args.num:,} samples of step {step:,} in {args.out}")
    return 0


def arrays_of(samples, game) -> dict:
    """Samples as the arrays of a file that the data source `array` reads."""
    import numpy as np

    arrays = {"images": samples["image"]}
    if "label" in samples:
        arrays["labels"] = samples["label"]
        if game.spec["label"].names:
            arrays["label_names"] = np.array(game.spec["label"].names)
    return arrays


def folders_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of folders for classes: their own, without characters that folders should not have; else numbers.

    >>> folders_of(("cat", "n/a")), folders_of(("a?", "a/"))
    (('cat', 'n_a'), ('0', '1'))
    """
    safe = tuple(re.sub(r"[^\w +-]", "_", name) for name in names)
    return safe if len(set(safe)) == len(safe) else tuple(map(str, range(len(names))))


def class_number(text: str, game) -> int:
    """The label that `--label` names, by name or number."""
    from jaxgan.data.source import composed, listed
    from jaxgan.train.outputs import class_names

    names, text = class_names(game), composed(text)
    if not names:
        raise ValueError(
            f"--label is {text}, but this model is not conditioned on labels; leave it out."
        )
    if text in names:
        return names.index(text)
    if text.isdigit() and int(text) < len(names):
        return int(text)
    close = difflib.get_close_matches(text, names, 1)
    hint = f"did you mean {close[0]}?" if close else f"the classes are {listed(names, 20)}."
    raise ValueError(
        f"--label is {text}, but this run has no such class, by name or by number from 0 to {len(names) - 1}; {hint}"
    )


def check_out(out, given: str) -> None:
    """Raises unless samples can be written to `--out`."""
    if out.suffix in (".png", ".npz"):
        check_folder(out)
        return
    if out.suffix:
        raise ValueError(
            f"--out is {given}; it must end in .png (a grid) or .npz (arrays), or be a folder (a PNG of each sample),"
            " such as samples."
        )
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        what = "a file" if out.is_file() else "a folder with files in it"
        raise FileExistsError(f"--out is {given}, which is {what}; choose a new folder.")
    if not out.is_dir():
        check_folder(out)


def check_folder(out) -> None:
    """Raises if `out` is a folder, or if its parent folder does not exist."""
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; give the name of a file.")
    if not out.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {out.parent} to put {out.name} into; create it first."
        )


def check_grid(num: int, game) -> None:
    """Raises if a grid of so many pictures is too large for one PNG."""
    if not game.spec.pictures:
        return
    height, width, _ = game.spec.shape
    most = MOST_PIXELS // (height * width)
    if num > most:
        raise ValueError(
            f"--num is {num:,}, but a grid holds at most {most:,} pictures of {height}x{width}; give a smaller number,"
            " or a folder for the pictures, as --out samples."
        )


def check_generates(trained, workdir: str) -> None:
    """Raises unless the run's game makes samples; the message suggests its tools."""
    if "samples" not in trained.game.outputs:
        raise ValueError(
            f"{trained.config.model_name} makes no samples, only pictures from pictures; list the tools for yours:"
            f" jaxgan make list --workdir {shlex.quote(workdir)}"
        )
