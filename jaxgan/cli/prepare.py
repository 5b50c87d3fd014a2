"""`jaxgan prepare`: writes any data as shards that are read fast; downloads TFDS image sets.

`jaxgan prepare NAME` downloads the TFDS set NAME. With `--out FOLDER`, the data that the options describe (as those of
`jaxgan train` do) are written into FOLDER, and NAME is short for the options of that TFDS set.
"""

from __future__ import annotations

import shlex
import sys

from jaxgan.cli.errors import user_errors
from jaxgan.options import OptionError


def add_arguments(parser) -> None:
    parser.add_argument(
        "name", nargs="?", help="a TFDS image set, such as cifar10; left out for other data"
    )
    parser.add_argument(
        "--data_dir",
        help="folder of TFDS sets, to which NAME is downloaded (default: that of TFDS, ~/tensorflow_datasets)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="folder to write all examples to, for the data source records; run it again to continue",
    )
    parser.add_argument(
        "--config",
        help="take the options of the data from this config: a name from `jaxgan list` or a .py file",
    )
    parser.epilog = (
        "The data are described as for `jaxgan train`: --out FOLDER --config.data.name=folder"
        " --config.data.path=pictures/ --config.data.resolution=256. The options are listed below."
    )


def explain(name: str | None, workdir: str | None, named: dict) -> list[str]:
    """The options of the data."""
    from jaxgan.cli.train import explain_sections

    del workdir
    return explain_sections("prepare", name, None, named, ("data",))


def run(args) -> int:
    if args.out is None:
        return download(args)
    from jaxgan import data
    from jaxgan.cli.progress import examples_progress

    try:
        with user_errors("prepare"):
            check_out(args)
            with examples_progress("reading") as show:
                source = open_source(args, show)
            print(f"jaxgan: {source.summary}", file=sys.stderr)
            split = chosen(args).data.split
            with examples_progress("writing") as show:
                data.write(source, args.out, split, show)
    except KeyboardInterrupt:
        print(
            "jaxgan: stopped; complete shards are kept, and the same command goes on",
            file=sys.stderr,
        )
        return 130
    print(f"{args.out} is ready. Train on it with:\n  {train_command(args)}")
    return 0


def download(args) -> int:
    """Downloads a TFDS set."""
    with user_errors("prepare"):
        if args.name is None:
            raise ValueError(
                "there is nothing to prepare: give NAME, a TFDS image set to download, or --out FOLDER and the data,"
                " such as --config.data.name=folder --config.data.path=PATH."
            )
        if args.config or args.named["config"]:
            raise ValueError(
                "--config and --config.data describe data to write, and need --out FOLDER; leave them out to download"
                f" {args.name} alone."
            )
        fetch(args)
    options = ["--config.data.name=tfds", f"--config.data.tfds_name={args.name}"]
    options += [f"--config.data.data_dir={args.data_dir}"] if args.data_dir else []
    print(
        f"{args.name} is ready. Train on it with:\n"
        f"  jaxgan train --config sngan_cifar10 {shlex.join(options)}"
    )
    return 0


def fetch(args) -> None:
    """Downloads the TFDS set NAME, unless it is there."""
    from jaxgan import data

    try:
        data.prepare(args.name, args.data_dir)
    except OptionError as error:
        raise error.in_words() from None
    except ConnectionError as error:
        raise ConnectionError(f"{error} to the folder that --data_dir names.") from error


def chosen(args):
    """The config whose data are to be written."""
    from jaxgan import config

    named = data_options(args)
    if args.name is not None:
        own = {"data.name": "tfds", "data.tfds_name": args.name}
        for key, value in (own | {"data.data_dir": args.data_dir or ""}).items():
            if key in named and named[key] != value:
                raise ValueError(
                    f"NAME is {args.name}, a TFDS set, but --config.{key} is {named[key]}; leave out one of them."
                )
            named[key] = value
    elif args.data_dir:
        raise ValueError(
            "--data_dir is the folder of TFDS sets; leave it out, or give NAME, such as cifar10."
        )
    return config.load(args.config or config.DEFAULT, [f"{k}={v}" for k, v in named.items()])


def data_options(args) -> dict[str, str]:
    """The options of the config in the command, all of which must be of the data."""
    named = dict(args.named["config"])
    for key in named:
        if not key.startswith("data."):
            raise ValueError(
                f"--config.{key} is no option of the data, and this command has only these; leave it out."
            )
    return named


def open_source(args, progress):
    """The data to write; a TFDS set that is given by its name is downloaded first, if it is not there."""
    from jaxgan import config

    described = chosen(args)
    try:
        return config.open_data(described, progress)
    except FileNotFoundError:
        if args.name is None:
            raise
    fetch(args)
    return config.open_data(described, progress)


def check_out(args) -> None:
    """Raises if the folder to write to is a part of the data, which would then hold other files."""
    from pathlib import Path

    place = getattr(chosen(args).data, "path", "")
    out, folder = Path(args.out).expanduser().resolve(), Path(place).expanduser().resolve()
    if place and out.is_relative_to(folder):
        raise ValueError(
            f"--out is {args.out}, a folder in the data themselves ({place}); choose one outside of them."
        )


def train_command(args) -> str:
    """A command that trains on what was written."""
    described = chosen(args)
    options = ["--config.data.name=records", f"--config.data.path={args.out}"]
    options += [f"--config.data.split={described.data.split}"] * (described.data.split != "train")
    # What is drawn anew each time is not written.
    for name in ("flip", "jitter"):
        if value := getattr(described.data, name, 0):
            options.append(f"--config.data.{name}={str(value).lower()}")
    return f"jaxgan train --config {shlex.join([args.config or 'CONFIG', *options])}"
