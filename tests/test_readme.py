"""The README is true: its code runs, its commands parse, its names exist."""

import importlib
import inspect
import re
import shlex
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import table

from jaxgan import config, models, options
from jaxgan.cli import main as cli

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text()
OUTSIDE_BLOCKS = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
TABLES = [line for line in TEXT.splitlines() if line.startswith("|")]


class Block(NamedTuple):
    line: int  # of the README, on which the block's first line stands
    text: str


def blocks(language: str) -> list[Block]:
    found = re.finditer(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [Block(TEXT.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


def commands(program: str) -> list[list[str]]:
    """The words of each command of that program: those in bash blocks and those in the text that have arguments."""
    lines = "".join(block.text for block in blocks("bash")).replace("\\\n", " ").splitlines()
    lines += re.findall(r"`((?:jaxgan \w+|pip install) [^`]+)`", OUTSIDE_BLOCKS)
    words = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [command for command in words if command and command[0] == program]


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: f"line{block.line}")
def test_python_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Empty lines in front, so that an error names the line of the README.
    code = "\n" * (block.line - 1) + block.text
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("command", commands("jaxgan"), ids=" ".join)
def test_commands_parse(command):
    if "--help" in command:
        with pytest.raises(SystemExit, match="0"):
            cli.parse(command[1:])
        return
    args = cli.parse(command[1:])
    if args.command == "train":
        name = args.config or config.DEFAULT
        config.load(name, [f"{key}={value}" for key, value in args.named["config"].items()])


def test_the_main_commands_are_shown():
    shown = {command[1] for command in commands("jaxgan")}
    assert {"train", "sample", "evaluate", "lipschitz", "prepare"} <= shown
    assert len(blocks("python")) >= 4
    assert commands("pip")[0] == ["pip", "install", "."]
    assert commands("pytest") == [["pytest"]]


# Flags of data sources that sngan_digits does not use.
OF_SOURCES = {
    "data.strict": ["data.name=folder"],
    "data.path": ["data.name=folder"],
    "data.table": ["data.name=attributes"],
    "data.data_dir": ["data.name=tfds"],
}


def test_flags_in_the_text_exist():
    known = options.flatten(config.load("sngan_digits").to_dict()) | dict.fromkeys(OF_SOURCES)
    flags = re.findall(r"--config\.((?:[a-z_]+\.)+\w+)(?:=([\w.]+))?", OUTSIDE_BLOCKS)
    assert flags
    for key, value in flags:
        assert key in known
        if value:
            config.load("sngan_digits", [f"{key}={value}", *OF_SOURCES.get(key, ())])


def test_extras_exist():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = {extra for extra in re.findall(r'"\.\[(\w+)\]"', TEXT)}
    assert {"cuda12", "cuda13", "tpu", "tfds", "test"} <= named
    assert named <= set(pyproject["project"]["optional-dependencies"])


def test_tables_list_every_config_and_nothing_else():
    of_a_model = rf"`((?:{'|'.join(models.names())})_\w+)`"
    listed = set(re.findall(of_a_model, "\n".join(TABLES))) - set(models.names())
    missing, extra = set(config.names()) - listed, listed - set(config.names())
    assert not missing, f"add a row for {', '.join(sorted(missing))} to a table of the README"
    assert not extra, f"there is no config for the README's {', '.join(sorted(extra))}"


def test_published_scores_are_those_of_the_configs():
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in TABLES]
    rows = [row for row in rows if re.fullmatch(r"`\w+_cifar10`", row[0])]
    assert rows
    for name, _, _, published in rows:
        docstring = (config.folder() / f"{name.strip('`')}.py").read_text()
        scores = re.findall(r"\d+\.\d+", published)
        assert scores or published == "none"
        assert ("no FID" in docstring) == (not scores), name
        assert [score for score in scores if score not in docstring] == [], name


def test_files_and_pictures_it_names_are_there():
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT)
    files = re.findall(r"`((?:jaxgan|colab)/[a-z_/]+\.\w+|LICENSE)`", TEXT)
    assert pictures
    assert files
    assert [path for path in pictures + files if not (ROOT / path).is_file()] == []


def index_rows(name: str) -> list[str]:
    """A row for each public function or namespace of a pure module: its name, first sentence and source."""
    module = importlib.import_module(f"jaxgan.{name}")
    rows = []
    for path in dict.fromkeys(".".join(f.split(".")[:2]) for f in table.public_functions(module)):
        docstring = inspect.getdoc(getattr(module, path.split(".")[1]))
        first = " ".join(docstring.split("\n\n")[0].split())
        first = re.split(r"(?<!Eq)\. (?=[A-Z`])", first)[0].rstrip(".:")
        source = re.search(r"^Sources?:(.*?)(?:\n\n|\Z)", docstring, re.MULTILINE | re.DOTALL)
        source = " ".join(source[1].split()).rstrip(".") if source else ""
        cells = (f"`{path}`", first, source)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return rows


@pytest.mark.parametrize("module", table.PURE)
def test_the_index_of_pure_functions_is_what_their_docstrings_say(module):
    """A row that differs is shown with what to put in its place."""
    index = TEXT[TEXT.index("## Index of the pure functions") :].splitlines()
    listed = [row for row in index if row.startswith(f"| `{module}.")]
    assert listed == index_rows(module)
