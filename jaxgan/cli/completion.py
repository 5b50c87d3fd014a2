"""Completion of command lines in a shell, by argcomplete.

The shell is told once, in its start file: eval "$(register-python-argcomplete jaxgan)". Values that only a config or a
run knows are read from the same texts as `--help` shows.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import shlex
from collections.abc import Iterable, Mapping

REQUESTED = "_ARGCOMPLETE"  # the environment variable by which the shell asks for completions


def complete(top: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser]) -> None:
    """Prints the completions of the command line that the shell passes, and ends the process.

    Args:
      top: the parser of command lines.
      commands: {command: its parser, a part of `top`}.
    """
    import argcomplete

    words = _words(os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])])
    command = next((word for word in words[1:] if word in commands), None)
    if command is not None:
        parser = commands[command]
        for action in parser._actions:
            if action.dest in _VALUES:
                action.completer = _VALUES[action.dest]  # type: ignore[attr-defined]  # read by argcomplete
        if (
            "." in words[-1]
        ):  # reading a config takes a second; arguments of the command itself do not wait for it
            for option in _named_options(command, words):
                parser.add_argument(option)
    argcomplete.autocomplete(top)


def _words(line: str) -> list[str]:
    """The words of an incomplete command line; the last one, empty after a space, is to be completed.

    >>> _words("jaxgan train --config digits "), _words("jaxgan sample --workdir 'runs/a b")
    (['jaxgan', 'train', '--config', 'digits', ''], ['jaxgan', 'sample', '--workdir', 'runs/a b'])
    """
    for closing in ("", "'", '"'):
        with contextlib.suppress(ValueError):
            ended = not closing and line[-1:].isspace()
            return shlex.split(line + closing) + ([""] if ended else [])
    return line.split()


def _named_options(command: str, words: list[str]) -> Iterable[str]:
    """The flags of options in the help of a command, for the config or run that the other words name."""
    explain = getattr(importlib.import_module(f"jaxgan.cli.{command}"), "explain", None)
    if explain is None:
        return []
    about = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    about.add_argument("--config")
    about.add_argument("--workdir")
    try:
        given = about.parse_known_args(words[2:-1])[0]
        lines = explain(given.config, given.workdir, {})
    except Exception:  # the command itself states what is wrong, once it is run
        return []
    flags = (re.fullmatch(r" +(--[\w.]+)", line) for line in lines)
    return dict.fromkeys(flag[1] for flag in flags if flag)


def _configs(**_) -> Iterable[str]:
    from jaxgan import config

    return config.names()


def _protocols(**_) -> Iterable[str]:
    from jaxgan.metrics import protocols

    return ["list", *protocols.PROTOCOLS]


def _tools(parsed_args: argparse.Namespace, **_) -> Iterable[str]:
    from jaxgan import config
    from jaxgan.tools import LIST

    if parsed_args.workdir is None:
        return [LIST]
    with contextlib.suppress(Exception):  # as above
        return [LIST, *config.reopen(parsed_args.workdir).game.tools]
    return [LIST]


# {attribute of the parsed arguments: function that returns the values}
_VALUES = {"config": _configs, "protocol": _protocols, "tool": _tools}
