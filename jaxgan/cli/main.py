"""`jaxgan COMMAND ...`: reads the command line, hands over, and turns what the user can mend into one sentence."""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings

from jaxgan.cli.errors import UserError

COMMANDS = {
    "train": "train a GAN; run it again to continue",
    "sample": "draw samples from a trained run, as a picture or an .npz",
    "evaluate": "measure a trained run or a set of pictures, by a named protocol",
    "compare": "show two results side by side, if their protocols agree",
    "diagnose": "look for memorisation, collapse and missing modes, and write a page about it",
    "lipschitz": "bound the Lipschitz constant of a trained critic, layer by layer",
    "prepare": "download and prepare a TFDS image set (once, needs the tfds extra)",
    "list": "show the configs that come with jaxgan",
}
BAD_INPUT = 2


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="jaxgan", description="The GAN canon in JAX and Flax.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        importlib.import_module(f"jaxgan.cli.{name}").add_arguments(sub)
    return top


def _overrides(rest: list[str], command: str) -> list[str]:
    """`--config.section.key=value` (or `--config.section.key value`) as "section.key=value"."""
    overrides, rest = [], list(rest)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--config.") or command != "train":
            raise UserError(f"{command} has no argument '{word}'; see jaxgan {command} --help.")
        word = word.removeprefix("--config.")
        if "=" not in word and rest and not rest[0].startswith("--"):
            word = f"{word}={rest.pop(0)}"
        overrides.append(word)
    return overrides


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, or 2 with one sentence about what was wrong with the input."""
    warnings.showwarning = lambda message, *_, **__: print(f"jaxgan: {message}", file=sys.stderr)
    args, rest = parser().parse_known_args(argv)
    try:
        args.overrides = _overrides(rest, args.command)
        return importlib.import_module(f"jaxgan.cli.{args.command}").run(args)
    except UserError as error:
        print(f"jaxgan: {error}", file=sys.stderr)
        return BAD_INPUT
