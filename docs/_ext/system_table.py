"""The README's table of systems: a row for each model, from its docstring and those of its configs."""

from __future__ import annotations

import inspect
import re

import model_pages

from jaxgan import models

HEADS = ("System", "Configs", "Paper", "Published result", "Cost of the first config")
SCORE = re.compile(
    r"\b(?:r?FID|IS|mIoU)\b[^,;.(]*? \d+\.\d+|Inception scores? of \d+\.\d+ to \d+\.\d+"
)


def paper(model: str) -> str:
    """Authors and year of the paper that the docstring names first.

    >>> paper("sngan"), paper("dcgan")
    ('Miyato et al. 2018', 'Radford, Metz and Chintala 2016')
    """
    docstring = " ".join((inspect.getdoc(models.load(model)) or "").split())
    found = re.search(r"Papers?: ([^\"]+? \d{4})", docstring)
    if found is None:
        raise ValueError(f"the docstring of jaxgan.models.{model} needs 'Paper: AUTHORS YEAR'.")
    return found[1]


def result(configs: list[model_pages.ConfigPage]) -> str:
    """The first published score of a model's configs, of those of CIFAR-10 if they have one."""
    for of in sorted(configs, key=lambda of: not of.name.endswith("_cifar10")):
        found = SCORE.search(of.get("Published"))
        if found:
            return f"{found[0]} (`{of.name}`)"
    return "none"


def rows() -> list[tuple[str, ...]]:
    found = []
    for model in models.names():
        configs = model_pages.configs_of(model)
        names = ", ".join(f"`{of.name}`" for of in configs)
        cost = re.split(r"[.;(]", configs[0].get("Cost"))[0].strip()
        title = model_pages.title(model)
        cells = (title, names, paper(model), result(configs), cost)
        found.append(cells)
    return found


def block() -> str:
    """The table as Markdown."""
    lines = [HEADS, ["---"] * len(HEADS), *rows()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
