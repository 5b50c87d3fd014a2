"""Advice after a command line that cannot be parsed: what the user probably meant."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from pathlib import Path


def meant(command: str, words: list[str], unknown: str, known: list[str]) -> str:
    """A clause that says which argument was probably meant, or where the arguments are listed.

    Args:
      command: of jaxgan.
      words: all words after it.
      unknown: the one that the command has no argument for.
      known: the flags of the command.

    >>> meant("sample", ["--work-dir", "runs/a"], "--work-dir", ["--workdir", "--num"])
    'did you mean --workdir?'
    >>> meant("train", ["sngan_digits"], "sngan_digits", ["--config"])
    'name a config as --config sngan_digits.'
    """
    flag, equals, value = unknown.partition("=")
    if not flag.startswith("-"):
        return _positional(command, unknown)
    close = _close(flag.replace("-", "_").lstrip("_"), {k.lstrip("-"): k for k in known})
    if close:
        return f"did you mean {close}?"
    if command == "train" and "." not in flag:
        option = _option(words, flag.lstrip("-"))
        if option:
            return f"set --config.{option}={shlex.quote(value) if equals else 'VALUE'}."
    return f"see jaxgan {command} --help."


def clause(message: str, prog: str) -> str:
    """An error message of argparse as a sentence.

    Args:
      message: it.
      prog: the program and its command.

    >>> clause("argument --num: invalid int value: 'x'", "jaxgan sample")
    "--num is 'x', but it must be a whole number; see jaxgan sample --help."
    >>> clause("the following arguments are required: --workdir", "jaxgan sample")
    'sample needs --workdir; see jaxgan sample --help.'
    """
    command, see = prog.partition(" ")[2] or prog, f"see {prog} --help."
    missing = message.partition("the following arguments are required: ")[2]
    if missing:
        return f"{command} needs {missing.replace(', ', ' and ')}; {see}"
    found = re.fullmatch(r"argument (\S+): (.*)", message, re.DOTALL)
    if not found:
        return f"{message}; {see}"
    flag, problem = found.groups()
    kind, _, value = problem.partition(" value: ")
    if kind in ("invalid int", "invalid float"):
        number = "a whole number" if kind == "invalid int" else "a number"
        return f"{flag} is {value}, but it must be {number}; {see}"
    if problem == "expected one argument":
        return f"{flag} has no value; {see}"
    return f"{flag}: {problem}; {see}"


def _positional(command: str, word: str) -> str:
    from jaxgan import config

    if command == "train" and (word in config.names() or word.endswith(".py")):
        return f"name a config as --config {shlex.quote(word)}."
    if command in ("train", "evaluate") and (Path(word) / "config.json").is_file():
        return f"name a run as --workdir {shlex.quote(word)}."
    return f"see jaxgan {command} --help."


def _option(words: list[str], name: str) -> str:
    """The dotted name of the option `name` of the config that the words select; empty if there is none."""
    from jaxgan import config, options

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", nargs="?")
    given = parser.parse_known_args(words)[0].config
    try:
        cfg = config.load(given or config.DEFAULT)
    except (ValueError, OSError):
        return ""
    last = {row.name.rpartition(".")[2]: row.name for row in options.describe(cfg)}
    return _close(name.replace("-", "_"), last)


def _close(word: str, known: dict[str, str]) -> str:
    """The value of the key that is most like `word`; empty if none is."""
    found = difflib.get_close_matches(word, known, 1, cutoff=0.75)
    return known[found[0]] if found else ""
