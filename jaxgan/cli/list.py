"""`jaxgan list`: the configs that come with jaxgan."""

from __future__ import annotations


def add_arguments(parser) -> None:
    del parser


def run(args) -> int:
    from jaxgan import config

    del args
    names = config.names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {config.describe(name)}")
    return 0
