"""The page of each model, from what the code states: docstrings of the module and its configs, its game and options.

Sphinx runs `write` before it reads the pages. A model is a module of `jaxgan.models`; there is no list of them here.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import plain_docstrings
import shipped
import turn_diagram

from jaxgan import config, models, options
from jaxgan.game import Game

FOLDER = "models"  # of the pages, written when the site is built
DIAGRAMS = (
    "diagrams"  # written by `docs/write_tables.py` and committed, for readers of the repository
)


class ConfigPage(NamedTuple):
    """What a config's docstring states."""

    name: str
    first: str
    fields: list[tuple[str, str]]

    def get(self, label: str) -> str:
        """The text of a label such as "Cost"; "" if it has none."""
        return next((text for name, text in self.fields if name == label), "")


def configs_of(model: str) -> list[ConfigPage]:
    """The configs of a model; those that need no download first."""
    found = [name for name in config.names() if config.load(name).model_name == model]
    return [read(name) for name in sorted(found, key=lambda name: (not offline(name), name))]


def offline(name: str) -> bool:
    """Whether the data of a config come with the packages that jaxgan requires."""
    cfg = config.load(name)
    return cfg.data_name != "tfds" and name not in shipped.SPECS


def read(name: str) -> ConfigPage:
    text = (config.folder() / f"{name}.py").read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    return ConfigPage(name, *plain_docstrings.fields(docstring))


def summary(model: str) -> str:
    """The first sentence of the model's docstring."""
    docstring = inspect.getdoc(models.load(model)) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def title(model: str) -> str:
    """The name of a model, as its docstring begins.

    >>> title("sngan"), title("wgan"), title("gan")
    ('SN-GAN', 'WGAN with weight clipping', 'The original GAN')
    """
    first = summary(model).rstrip(".")
    for mark in (":", ","):
        first = first.split(mark)[0]
    return first


def game_of(name: str) -> Game:
    """The game of a config. It is only described: no network is initialised."""
    cfg = config.load(name)
    return config.make_run(cfg, shipped.open_spec(name, cfg)).game


def write(folder: Path) -> list[Path]:
    """Writes the pages of all models and the page that lists them; returns the files."""
    pages = {}
    for model in models.names():
        configs = configs_of(model)
        game = game_of(configs[0].name)
        pages[f"{model}.rst"] = page(model, configs, game)
    pages["index.rst"] = index()
    return write_changed(folder, pages)


def diagrams() -> dict[str, str]:
    """{file: the picture of a model's game}, of the config that comes first on its page."""
    return {
        f"{model}.svg": turn_diagram.svg(game_of(configs_of(model)[0].name))
        for model in models.names()
    }


def write_changed(folder: Path, pages: Mapping[str, str]) -> list[Path]:
    """Writes the files that differ, so that Sphinx reads only those again, and deletes all others of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        file = folder / name
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
    for file in folder.iterdir():
        if file.name not in pages:
            file.unlink()
    return [folder / name for name in pages]


def page(model: str, configs: list[ConfigPage], game: Game) -> str:
    docstring = inspect.getdoc(models.load(model)) or ""
    first, _, rest = docstring.partition("\n\n")
    parts = [
        f".. _model-{model}:",
        heading(title(model), "="),
        "\n".join(plain_docstrings.rest(first)),
        "\n".join(plain_docstrings.rest(rest)),
        f"Source: ``jaxgan/models/{model}.py``.",
        heading("Players and turns", "-"),
        f"A round of ``{configs[0].name}``, from left to right. A dot marks a player that the turn updates; *averaged*"
        " players have a moving average of their parameters, from which samples are made.",
        f".. image:: ../{DIAGRAMS}/{model}.svg\n   :alt: Players and turns of {configs[0].name}",
        heading("Configs", "-"),
        *(config_section(each) for each in configs),
        *made(game),
        heading("Options", "-"),
        "On the command line ``--config.model.NAME=VALUE``. Defaults are those of the model; a config may change them.",
        option_table(options.describe(models.load(model).Options())),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def config_section(of: ConfigPage) -> str:
    lines = [heading(of.name, "~"), plain_docstrings.escaped(of.first), ""]
    for label, text in of.fields:
        if label == "Command":
            command, _, more = text.partition(" (")
            more = f" ({plain_docstrings.escaped(more)}" if more else ""
            lines.append(f":Command: ``{command}``{more}")
        else:
            lines.append(f":{label or 'Note'}: {plain_docstrings.escaped(text)}")
    return "\n".join(lines)


def made(game: Game) -> Iterable[str]:
    """The sections of outputs and tools."""
    yield heading("Outputs", "-")
    yield "``jaxgan sample`` makes samples; training and evaluation make all of them."
    outputs = [
        (
            f"``{name}``",
            "x".join(map(str, output.shape)),
            ", ".join(output.needs) or "nothing",
            own(output.options),
        )
        for name, output in game.outputs.items()
    ]
    yield table(("Output", "Shape", "Needs", "Options"), outputs, (20, 15, 20, 45))
    if not game.tools:
        return
    yield heading("Tools", "-")
    yield "``jaxgan make NAME --workdir RUN``; options are ``--options.NAME=VALUE``, pictures ``--pictures.NAME=FILE``."
    tools = [
        (
            f"``{name}``",
            plain_docstrings.escaped(tool.help),
            ", ".join([*tool.pictures, *(f"{p} (optional)" for p in tool.optional_pictures)])
            or "none",
            own(tool.options),
        )
        for name, tool in game.tools.items()
    ]
    yield table(("Tool", "What it makes", "Pictures", "Options"), tools, (15, 40, 15, 30))


def own(of: Mapping[str, options.Option]) -> str:
    rows = options.describe(of)
    return ", ".join(f"``{row.name}={options.text(row.default)}``" for row in rows) or "none"


def option_table(rows: Iterable[options.Row]) -> str:
    cells = [
        (f"``{row.name}``", f"``{options.text(row.value) or '()'}``", meaning(row)) for row in rows
    ]
    return table(("Option", "Default", "Meaning"), cells, (25, 20, 55))


def meaning(row: options.Row) -> str:
    allowed = f" ({row.allowed})" if row.allowed else ""
    return plain_docstrings.escaped(f"{row.meaning}{allowed}")


def index() -> str:
    """The page that lists the models."""
    rows = [
        (f":ref:`{title(model)} <model-{model}>`", plain_docstrings.escaped(summary(model)))
        for model in models.names()
    ]
    tree = "\n".join(f"   {model}" for model in models.names())
    return (
        "\n\n".join(
            [
                heading("Models", "="),
                "A page for each model, made from its docstring, its configs and its game. A model is one file in"
                " ``jaxgan/models``, a config one file in ``configs``.",
                table(("Model", "What it is"), rows, (25, 75)),
                heading("Configs", "-"),
                "Published results are not results of jaxgan. A config without *Published* is a small one of ours.",
                configs_table(),
                f".. toctree::\n   :hidden:\n\n{tree}",
            ]
        )
        + "\n"
    )


def configs_table() -> str:
    rows = []
    for model in models.names():
        for of in configs_of(model):
            result = of.get("Published") or of.get("Expected")
            cells = (of.first, result, of.get("Cost"))
            rows.append((f"``{of.name}``", *map(plain_docstrings.escaped, cells)))
    heads = ("Config", "What it is", "Published or expected", "Cost")
    return table(heads, rows, (20, 25, 35, 20))


def heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}"


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], widths: tuple[int, ...]) -> str:
    """A list-table; cells are reStructuredText of one line, `widths` percentages."""
    shares = " ".join(map(str, widths))
    lines = [
        ".. list-table::",
        "   :header-rows: 1",
        f"   :widths: {shares}",
        "   :class: wrapped",
        "",
    ]
    for row in (heads, *rows):
        for i, cell in enumerate(row):
            lines.append(f"   {'* -' if i == 0 else '  -'} {cell}".rstrip())
    return "\n".join(lines)
