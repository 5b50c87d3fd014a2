"""The README is true: its code runs, its commands parse, its names exist."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from jaxgan import config
from jaxgan.cli import main as cli
from jaxgan.train import workdir

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Every shell command of the README, in words: the lines of its bash blocks and what is set in code in the text."""
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    text = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    lines += re.findall(r"`((?:jaxgan (?:[a-z]+ --)|pip )[^`]+)`", text)
    words = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [command for command in words if command]


def of(program: str) -> list[list[str]]:
    return [command for command in commands() if command[0] == program]


def first_column() -> list[str]:
    """The names in code that lead the rows of the table of models, and all of those in the tables of small configs."""
    rows = [row for row in TEXT.splitlines() if row.startswith("|")]
    names = [re.findall(r"`(\w+)`", row) for row in rows]
    return [name for row in names for name in row if "_" in name]


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.split("\n", 1)[0])
def test_python_blocks_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_there_are_blocks_of_each_kind():
    assert len(blocks("python")) >= 4
    assert {"train", "sample", "evaluate", "prepare"} <= {command[1] for command in of("jaxgan")}
    assert {command[0] for command in commands()} == {"jaxgan", "pip", "pytest"}


@pytest.mark.parametrize("command", of("jaxgan"), ids=" ".join)
def test_commands_parse(command):
    args, rest = cli.parser().parse_known_args(command[1:])
    if args.command == "train":
        config.load(args.config, [word.removeprefix("--config.") for word in rest])
    else:
        assert rest == []


def test_flags_in_the_text_exist():
    flat = workdir.flatten(config.load("sngan_digits").to_dict())
    flags = re.findall(r"--config\.([\w.]+)(?:=([\w.]+))?", TEXT)
    assert flags
    for key, value in flags:
        model = "wgan_gp_digits" if key == "model.penalty_weight" else "sngan_digits"
        if value:
            config.load(model, [f"{key}={value}"])
        else:
            assert key in flat


def test_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"\.\[(\w+)\]", TEXT)
    assert {"cuda12", "cuda13", "tpu", "tfds", "test"} <= set(named)
    assert set(named) <= set(extras)


def test_every_config_is_in_the_tables_and_every_name_there_is_a_config():
    assert sorted(first_column()) == sorted(config.names())


def test_published_scores_are_those_of_the_configs():
    rows = re.findall(r"^\| `(\w+_cifar10)` \|.*\| (.*) \|$", TEXT, re.MULTILINE)
    assert rows
    for name, published in rows:
        docstring = (config.folder() / f"{name}.py").read_text()
        scores = re.findall(r"\d+\.\d+", published)
        assert scores or "no FID" in docstring
        assert all(score in docstring for score in scores), name


def test_files_named_are_there():
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    named = re.findall(r"`((?:jaxgan|colab|configs|docs)/[\w/]+\.\w+|LICENSE)`", TEXT)
    assert links
    assert named
    missing = [path for path in {*links, *named} - {"jaxgan/models/NAME.py"} if not (ROOT / path).exists()]
    assert missing == []
