"""What the user can mend, told in one sentence, in the words of the command that was given."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex

from jaxgan.options import SECTIONS, Flag, OptionError

# The words of commands that take no config, for the options that they set.
_WORDS = {
    "prepare": {"tfds_name": "NAME", "data_dir": "--data_dir"},
    "evaluate": {
        "data.path": "--data",
        "data.split": "--split",
        "train.protocol": "--protocol",
        "train.evaluate_of": "--of",
        "train.evaluate_num": "--num",
        "train.weights": "--weights",
    },
    "diagnose": {"data.path": "--data", "data.split": "--held_out"},
    "lipschitz": {"data.path": "--data"},
}
# Commands that take --options.NAME=VALUE, and --pictures.NAME=FILE.
_WITH_OPTIONS, _WITH_PICTURES = ("sample", "make", "evaluate"), ("make",)


class UserError(Exception):
    """Something the user can mend; its text says what and how."""


def flags(command: str) -> Flag:
    """Which flag of a command sets an option.

    >>> flags("train")("model.batch_size"), flags("sample")("truncation"), flags("sample")("model.batch_size")
    ('--config.model.batch_size', '--options.truncation', None)
    """

    def flag(name: str) -> str | None:
        section = name.partition(".")[0]
        if section == "pictures":
            return f"--{name}" if command in _WITH_PICTURES else None
        if section not in SECTIONS and command in _WITH_OPTIONS:
            return f"--options.{name}"
        if section in SECTIONS and command == "train":
            return f"--config.{name}"
        return _WORDS.get(command, {}).get(name)

    return flag


def sentence(error: Exception, command: str) -> str:
    """What an error says, with the flags of a command."""
    if isinstance(error, OptionError):
        return error.sentence(flags(command), shlex.quote)
    return str(error)


@contextlib.contextmanager
def user_errors(command: str):
    """Around code that reads what the user gave: its errors are sentences for the user, not bugs.

    The environment variable JAXGAN_TRACEBACK=1 shows where they came from.
    """
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("JAXGAN_TRACEBACK") == "1":
            raise
        raise UserError(sentence(error, command)) from error


def seed(text: str) -> int:
    """The value of `--seed`: what a random key can be made of."""
    if not text.isdigit() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 0 to 2^32 - 1")
    return int(text)
