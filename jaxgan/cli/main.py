"""`jaxgan COMMAND ...`: parses the command line, runs the command, and prints input errors as one sentence."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import re
import signal
import sys
import warnings

import jaxgan
from jaxgan.cli import compiled, completion, processes
from jaxgan.cli.advice import clause, meant
from jaxgan.cli.errors import BAD_INPUT, UserError

COMMANDS = {
    "train": "train a GAN; run it again to continue",
    "sample": "draw samples from a trained run, as a picture or an .npz",
    "make": "run a tool of a trained run: grids, films, edited pictures",
    "export": "write trained networks as safetensors, or an output as a program that runs without jaxgan",
    "import": "make a run of published weights of another program",
    "evaluate": "measure a trained run or a set of pictures, by a named protocol",
    "compare": "show two results side by side, if their protocols agree",
    "diagnose": "test a trained run for memorisation, collapse and missing modes, and write a page of results",
    "report": "write one page of a run, or of several side by side: pictures, curves, scores, diagnosis, config",
    "lipschitz": "bound the Lipschitz constant of a trained critic, layer by layer",
    "prepare": "write any data as shards that are read fast, or download a TFDS image set",
    "data": "show what a set of data holds: fields, classes, broken pictures, a sheet of examples",
    "list": "show the configs that come with jaxgan",
}
# The kinds of --KIND.NAME=VALUE that each command accepts.
NAMED = {
    "train": ("config",),
    "sample": ("options",),
    "export": ("options",),
    "import": ("config",),
    "evaluate": ("options", "config"),
    "diagnose": ("config",),
    "lipschitz": ("config",),
    "prepare": ("config",),
    "data": ("config",),
    "make": ("options", "pictures"),
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors have the form of all others of jaxgan, after the usage."""

    def error(self, message: str):
        self.print_usage(sys.stderr)
        self.exit(BAD_INPUT, f"jaxgan: {clause(message, self.prog)}\n")


def parser() -> argparse.ArgumentParser:
    return _parsers()[0]


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of command lines, and those of the commands."""
    top = Parser(
        prog="jaxgan",
        description="The classic GANs in JAX and Flax.",
        epilog='Completion in bash and zsh: eval "$(register-python-argcomplete jaxgan)"',
    )
    top.add_argument("--version", action="version", version=f"jaxgan {jaxgan.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        importlib.import_module(f"jaxgan.cli.{name}").add_arguments(sub)
    return top, commands.choices


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments of a command line.

    Options of a config or a run are given as `--KIND.NAME=VALUE` (or `--KIND.NAME VALUE`). They are returned in the
    attribute `named`: {kind: {name: value}}, with a key for every kind that the command accepts.

    >>> parse(["sample", "--workdir", "runs/a", "--options.truncation=0.7"]).named
    {'options': {'truncation': '0.7'}}
    """
    taken, rest = _take_named(argv)
    if rest and rest[0] in NAMED and {"-h", "--help"} & set(rest):
        show_help(rest, {f"{kind}.{name}": value for _, kind, name, value in taken})
        raise SystemExit(0)
    if rest and not rest[0].startswith("-") and rest[0] not in COMMANDS:
        close = difflib.get_close_matches(rest[0], COMMANDS, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(COMMANDS)}."
        raise UserError(f"there is no command '{rest[0]}'; {hint}")
    top, commands = _parsers()
    args, unknown = top.parse_known_args(rest)
    args.named = {kind: {} for kind in NAMED.get(args.command, ())}
    for word, kind, name, value in taken:
        if kind not in args.named:
            unknown.append(word)
        elif value is None:
            raise UserError(f"--{kind}.{name} has no value; write --{kind}.{name}=VALUE.")
        else:
            args.named[kind][name] = value
    if unknown:
        known = re.findall(r"--\w+", commands[args.command].format_usage())
        hint = meant(args.command, rest[1:], unknown[0], known)
        raise UserError(f"{args.command} has no argument '{unknown[0]}'; {hint}")
    return args


def show_help(words: list[str], named: dict[str, str | None]) -> None:
    """Prints the usage of a command, and the options of the config or run that its other words name.

    argparse alone does not suffice: it prints the help before it parses the words after `--help`, and raises an error
    if a required argument is missing.
    """
    print(_parsers()[1][words[0]].format_help())
    about = argparse.ArgumentParser(prog=f"jaxgan {words[0]}", add_help=False, allow_abbrev=False)
    about.add_argument("--config")
    about.add_argument("--workdir")
    given = about.parse_known_args(words)[0]
    module = importlib.import_module(f"jaxgan.cli.{words[0]}")
    explain = getattr(module, "explain", None)  # diagnose and lipschitz list no further options
    for line in explain(given.config, given.workdir, named) if explain else ():
        print(line)


def _take_named(argv: list[str]) -> tuple[list[tuple[str, str, str, str | None]], list[str]]:
    """([(word, kind, name, value or None)], the other words).

    They are removed before argparse parses the rest: it would treat a value after a space as a positional argument.
    """
    kinds = {f"--{kind}" for kinds in NAMED.values() for kind in kinds}
    taken: list[tuple[str, str, str, str | None]] = []
    others, rest = [], list(argv)
    value: str | None
    while rest:
        word = rest.pop(0)
        flag, dot, name = word.partition(".")
        if not dot or flag not in kinds:
            others.append(word)
            continue
        name, equals, value = name.partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else None
        taken.append((word, flag.removeprefix("--"), name, value))
    return taken, others


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code; it is 2 after an input error, which is printed as one sentence."""
    if completion.REQUESTED in os.environ:
        completion.complete(*_parsers())
    warnings.showwarning = lambda message, *_, **__: print(f"jaxgan: {message}", file=sys.stderr)
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        parent = None
        if argv is None:  # the process is this command's
            if processes.check(args):
                parent = processes.supervised(args.command)
            if args.command in compiled.COMMANDS:
                compiled.use_cache()
        command = importlib.import_module(f"jaxgan.cli.{args.command}")
        return processes.run(args, command.run, parent)
    except UserError as error:
        print(f"jaxgan: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # the reader, `head` for example, has read enough
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # so that Python's last flush works
        return 128 + signal.SIGPIPE
