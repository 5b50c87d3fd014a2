"""The README and the pages under docs/ are true: code runs, commands parse, names exist, links resolve."""

import itertools
import pkgutil
import re
import shlex
import tomllib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import api_pages
import pytest
import write_tables
import yaml

from jaxgan import config, models, options
from jaxgan.cli import main as cli

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "README.zh-CN.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(f for f in (ROOT / "docs").rglob("*.md") if "build" not in f.parts),
]
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
README = TEXTS["README.md"]
# Their blocks are those of the English pages: tests/test_translations.py.
TRANSLATED = re.compile(r"README\.zh-CN\.md|docs/zh/.*")
# Written when the site is built: docs/models and docs/api.
GENERATED = re.compile(r"docs/(models|api)/(\w+)\.rst")


class Block(NamedTuple):
    page: str
    line: int  # of the page, on which the block's first line stands
    text: str


def blocks(language: str) -> list[Block]:
    """All blocks of the language; those in a list are indented."""
    found = []
    for page, text in TEXTS.items():
        for match in re.finditer(
            rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL
        ):
            lines = [line.removeprefix(match[1]) for line in match[2].splitlines(keepends=True)]
            found.append(Block(page, text.count("\n", 0, match.start(2)) + 1, "".join(lines)))
    return found


def outside_blocks(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


OUTSIDE = {page: outside_blocks(text) for page, text in TEXTS.items()}
PROSE = "\n".join(OUTSIDE.values())


def commands(program: str) -> list[tuple[str, ...]]:
    """The words of each command, once: of those in bash blocks, and of those in the text that have arguments."""
    lines = "".join(block.text for block in blocks("bash")).replace("\\\n", " ").splitlines()
    lines += re.findall(r"`((?:jaxgan \w+|pip install|python) [^`]+)`", PROSE)
    words = [part for line in lines for part in parts(shlex.split(line, comments=True))]
    words += [inner for line in words for inner in inside(line)]
    return list(dict.fromkeys(tuple(line) for line in words if line and line[0] == program))


def parts(words: list[str]) -> list[list[str]]:
    """The commands of a line, between && and what redirects their output."""
    groups = itertools.groupby(words, key=lambda word: bool(re.match("&|[0-9]?[<>]", word)))
    return [list(group) for separates, group in groups if not separates]


def inside(line: list[str]) -> list[list[str]]:
    """The commands that a command runs: srun here, ssh on another machine, or after a setting of the environment."""
    if line and (line[0] in ("srun", "nohup") or re.match("[A-Z_]+=", line[0])):
        return [line[1:]]
    remote = [word.partition("=")[2] for word in line if word.startswith("--command=")]
    found = [part for words in remote for part in parts(shlex.split(words))]
    found = [part for command in found for part in (command, *inside(command))]
    return [[Path(part[0]).name, *part[1:]] for part in found]


def specs() -> list[dict]:
    """The objects of the pages' YAML blocks."""
    return [spec for block in blocks("yaml") for spec in yaml.safe_load_all(block.text)]


def containers() -> list[dict]:
    pods = [spec["spec"]["template"]["spec"] for spec in specs() if spec["kind"] == "Job"]
    return [container for pod in pods for container in pod["containers"]]


PYTHON = [block for block in blocks("python") if not TRANSLATED.fullmatch(block.page)]


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{Path(block.page).stem}-{block.line}")
def test_python_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Empty lines in front, so that an error names the line of the page.
    code = "\n" * (block.line - 1) + block.text
    exec(compile(code, block.page, "exec"), {"__name__": "page"})


def test_no_python_block_is_there_twice():
    texts = [block.text for block in PYTHON]
    assert len(texts) >= 10
    assert len(set(texts)) == len(texts)


COMMANDS = commands("jaxgan") + [tuple(container["command"]) for container in containers()]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_parse(command):
    if "--help" in command:
        with pytest.raises(SystemExit, match="0"):
            cli.parse(list(command[1:]))
        return
    args = cli.parse(list(command[1:]))
    if args.command == "train":
        name = args.config or config.DEFAULT
        config.load(name, [f"{key}={value}" for key, value in args.named["config"].items()])


def test_commands_inside_others_are_read():
    among = [command for command in COMMANDS if "--distributed" in command]
    assert {command[1] for command in among} == {"train", "evaluate"}
    for folder in (
        "/mnt/runs/cifar10",
        "/shared/runs/cifar10",
        "/runs/cifar10",
        "/shared/runs/try",
    ):
        assert any(folder in command for command in among), folder


def test_the_job_of_the_page_finds_its_pods():
    """Pods see each other by the name of a service, which finds them by the name of the job."""
    service = next(spec for spec in specs() if spec["kind"] == "Service")
    job = next(spec for spec in specs() if spec["spec"].get("completionMode") == "Indexed")
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"]


def test_the_main_commands_are_shown():
    shown = {command[1] for command in commands("jaxgan")}
    assert {"train", "sample", "evaluate", "lipschitz", "prepare"} <= shown
    assert commands("pip")[0] == ("pip", "install", ".")
    assert commands("pytest") == [("pytest",)]


def test_scripts_that_commands_run_are_there():
    scripts = {word for command in commands("python") for word in command if word.endswith(".py")}
    assert {"docs/write_tables.py", "benchmarks/compile_for.py"} <= scripts
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


# Flags of data sources that sngan_digits does not use.
OF_SOURCES = {
    "data.strict": ["data.name=folder"],
    "data.path": ["data.name=folder"],
    "data.table": ["data.name=attributes"],
    "data.data_dir": ["data.name=tfds"],
}


def test_flags_in_the_text_exist():
    known = options.flatten(config.load("sngan_digits").to_dict()) | dict.fromkeys(OF_SOURCES)
    flags = re.findall(r"--config\.((?:[a-z_]+\.)+\w+)(?:=([\w.]+))?", PROSE)
    assert flags
    for key, value in flags:
        assert key in known
        if value:
            config.load("sngan_digits", [f"{key}={value}", *OF_SOURCES.get(key, ())])


def test_extras_exist():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = set(pyproject["project"]["optional-dependencies"])
    named = set(re.findall(r'"\.\[([\w,]+)\]"', "\n".join(TEXTS.values())))
    named = {extra for group in named for extra in group.split(",")}
    assert {"cuda12", "cuda13", "tpu", "tfds", "test", "docs"} <= named
    assert named <= extras
    rows = re.findall(r"^\| `(\w+)` \|", TEXTS["docs/install.md"], re.MULTILINE)
    assert extras == {*rows, "cuda12", "cuda13", "tpu"}


def test_the_readme_is_short_and_names_every_config():
    assert len(README.splitlines()) <= 200
    of_a_model = rf"`((?:{'|'.join(models.names())})_\w+)`"
    rows = "\n".join(line for line in README.splitlines() if line.startswith("|"))
    assert set(re.findall(of_a_model, rows)) - set(models.names()) == set(config.names())


def test_tables_and_diagrams_are_what_the_code_says():
    """If this fails: python docs/write_tables.py."""
    assert write_tables.stale() == []


def test_files_and_names_in_the_text_are_there():
    folders = "jaxgan|colab|docs|benchmarks|tests|examples|configs"
    files = re.findall(rf"`((?:{folders})/[a-z0-9_/]+\.\w+|LICENSE|CHANGELOG\.md)`", PROSE)
    assert len(files) > 10
    assert [path for path in files if not (ROOT / path).is_file()] == []
    for name in set(re.findall(r"`(jaxgan(?:\.\w+)+)`", PROSE)):
        pkgutil.resolve_name(name)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", outside_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_link(page: str, link: str) -> str:
    """What is wrong with a relative link of a page; "" if nothing is."""
    path, _, anchor = unquote(link).partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    inside = str(file.resolve().relative_to(ROOT))
    generated = GENERATED.fullmatch(inside)
    if generated:
        known = {"models": models.names(), "api": api_pages.names()}[generated[1]]
        return "" if generated[2] in (*known, "index") else f"the site has no page {inside}"
    if not file.exists():
        return f"there is no {inside}"
    if anchor and anchor not in anchors(file.read_text()):
        return f"{inside} has no heading for #{anchor}"
    return ""


@pytest.mark.parametrize("page", TEXTS)
def test_links_resolve(page):
    links = re.findall(r"\]\(([^)\s]+)\)", OUTSIDE[page])
    links = [link for link in links if not re.match(r"https?:|mailto:", link)]
    problems = {link: broken_link(page, link) for link in links}
    assert {link: problem for link, problem in problems.items() if problem} == {}


def test_a_broken_link_is_found():
    assert broken_link("README.md", "docs/nothing.md") == "there is no docs/nothing.md"
    assert "no heading for #nothing" in broken_link("README.md", "docs/index.md#nothing")
