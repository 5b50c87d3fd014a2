"""Errors that the user can fix, as one sentence that names the flags of the command."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex

from jaxgan.options import PLACES, SECTIONS, Flag, OptionError

# The counts of a protocol (`jaxgan.metrics.protocols.COUNTS`; importing that package here would take a second).
COUNTS = ("nearest_k", "density_k", "splits", "subsets", "subset_size")

# For commands that take no config: {option: the argument that sets it}.
_WORDS = {
    "prepare": {"tfds_name": "NAME", "data_dir": "--data_dir"},
    "evaluate": {
        "data.split": "--split",
        "data.resolution": "--resolution",
        "data.channels": "--channels",
        "features": "--features",
        **{name: f"--{name}" for name in COUNTS},
        "train.protocol": "--protocol",
        "train.evaluate_of": "--of",
        "train.evaluate_num": "--num",
        "train.weights": "--weights",
    },
    "diagnose": {
        "data.split": "--held_out",
        "features": "--features",
        "train.weights": "--weights",
    },
}
# Commands that take the place of a run's data as `train` does.
_WITH_PLACES = ("evaluate", "diagnose", "lipschitz")
# Commands that take all options of the data, but none of the other sections.
_WITH_DATA = ("prepare", "data", "import")
# Commands that take --options.NAME=VALUE, and --pictures.NAME=FILE.
_WITH_OPTIONS, _WITH_PICTURES = ("sample", "make", "evaluate"), ("make",)


BAD_INPUT = 2  # exit code
# What code that reads user input raises where the user can fix it.
EXPECTED = (ValueError, OSError, ImportError, MemoryError)


class UserError(Exception):
    """An error that the user can fix; its text states what is wrong and how to fix it."""


def flags(command: str) -> Flag:
    """A function from the name of an option to the flag of `command` that sets it, or None.

    >>> flags("train")("model.batch_size"), flags("sample")("truncation"), flags("sample")("model.batch_size")
    ('--config.model.batch_size', '--options.truncation', None)
    """

    def flag(name: str) -> str | None:
        if name in _WORDS.get(command, {}):
            return _WORDS[command][name]
        section = name.partition(".")[0]
        if section == "pictures":
            return f"--{name}" if command in _WITH_PICTURES else None
        if section not in SECTIONS and command in _WITH_OPTIONS:
            return f"--options.{name}"
        if section in SECTIONS and command == "train":
            return f"--config.{name}"
        if section == "data" and command in _WITH_DATA:
            return f"--config.{name}"
        if command in _WITH_PLACES and name in {f"data.{place}" for place in PLACES}:
            return f"--config.{name}"
        return None

    return flag


def sentence(error: Exception, command: str) -> str:
    """The text of an error, in which options are named by the flags of `command`."""
    if isinstance(error, OptionError):
        return error.sentence(flags(command), shlex.quote)
    if isinstance(error, MemoryError):
        detail = f" ({error})" if str(error) else ""
        return f"this machine has too little memory for that{detail}; choose fewer or smaller examples."
    return str(error)


@contextlib.contextmanager
def user_errors(command: str):
    """Context for code that reads user input: raises its `EXPECTED` errors as `UserError`.

    With the environment variable JAXGAN_TRACEBACK=1 the original error is raised, with its traceback.
    """
    try:
        yield
    except EXPECTED as error:
        if os.environ.get("JAXGAN_TRACEBACK") == "1":
            raise
        raise UserError(sentence(error, command)) from error


def seed(text: str) -> int:
    """The value of `--seed`: a whole number that `jax.random.key` accepts."""
    if not text.isdigit() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 2^32 - 1")
    return int(text)
