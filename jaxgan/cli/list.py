"""`jaxgan list`: the configs that come with jaxgan."""

from __future__ import annotations


def add_arguments(parser) -> None:
    del parser


def run(args) -> int:
    import shutil
    import sys
    import textwrap

    from jaxgan import config

    del args
    names = config.names()
    width = max(map(len, names)) + 2
    # A pipe gets a line for each config, a terminal lines that fit it.
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for name in names:
        text = textwrap.wrap(
            config.describe(name), max(columns - width, 20), break_on_hyphens=False
        )
        print(f"\n{' ' * width}".join([f"{name:{width}}{text[0]}", *text[1:]]))
    return 0
