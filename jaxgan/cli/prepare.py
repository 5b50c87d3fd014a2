"""`jaxgan prepare NAME`: downloads a TFDS image set and writes it as ArrayRecord, which trains without TensorFlow."""

from __future__ import annotations

import shlex

from jaxgan.cli.errors import user_errors
from jaxgan.options import OptionError


def add_arguments(parser) -> None:
    parser.add_argument("name", help="a TFDS image set, such as cifar10")
    parser.add_argument(
        "--data_dir",
        help="folder to write the set to (default: that of TFDS, ~/tensorflow_datasets)",
    )


def run(args) -> int:
    from jaxgan import data

    with user_errors("prepare"):
        try:
            data.prepare(args.name, args.data_dir)
        except OptionError as error:
            raise error.in_words() from None
        except ConnectionError as error:
            raise ConnectionError(f"{error} to the folder that --data_dir names.") from error
    options = ["--config.data.name=tfds", f"--config.data.tfds_name={args.name}"]
    options += [f"--config.data.data_dir={args.data_dir}"] if args.data_dir else []
    print(
        f"{args.name} is ready. Train on it with:\n"
        f"  jaxgan train --config sngan_cifar10 {shlex.join(options)}"
    )
    return 0
