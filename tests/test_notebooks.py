"""Every notebook in colab/ runs from top to bottom at a small size, and is committed clean."""

import ast
import re
import shlex
from pathlib import Path

import nbformat
import pytest
from notebooks import execute

from jaxgan.cli import main as cli
from jaxgan.metrics.protocols import PROTOCOLS

NOTEBOOKS = sorted((Path(__file__).parents[1] / "colab").glob("*.ipynb"))
IDS = [path.stem for path in NOTEBOOKS]
STEPS = 16


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def python(source: str) -> str:
    """The cell as Python: its IPython magics become `pass`."""
    return re.sub(r"^(\s*)%.*", r"\1pass", source, flags=re.MULTILINE)


def test_the_notebooks_are_there():
    assert {"biggan", "gan_theory", "metrics", "pix2pix", "quickstart", "singan"} <= set(IDS)
    assert {"spade", "spectral_norm", "stargan2", "stylegan2", "stylegan3", "vqgan"} <= set(IDS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_committed_clean(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_holds_no_logic_of_its_own(path):
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    assert 'find_spec("jaxgan") is None' in cells[0]  # installs it where it is missing
    tree = ast.parse("\n".join(map(python, cells)))
    defined = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    assert defined == []


def test_commands_parse():
    text = "\n".join(
        cell.source
        for path in NOTEBOOKS
        for cell in read(path).cells
        if cell.cell_type == "markdown"
    )
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert {"compare", "diagnose", "evaluate"} <= {command[1] for command in commands}
    for program, *words in commands:
        args = cli.parse(words)
        assert program == "jaxgan"
        if args.command == "evaluate" and args.protocol != "list":
            assert args.protocol in PROTOCOLS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_what_it_imports_is_there(path):
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    tree = ast.parse("\n".join(map(python, cells)))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and "jaxgan" in n.module]
    assert imports
    exec(compile(ast.Module(imports, type_ignores=[]), str(path), "exec"), {})


# They compile for up to a minute each, functions that the tests of models, metrics and spectral norms call too.
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_runs(path, tmp_path):
    notebook = read(path)
    execute(notebook, tmp_path, {"JAXGAN_NOTEBOOK_STEPS": str(STEPS)})
    shown = [
        output.data
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type in ("display_data", "execute_result")
    ]
    assert any("image/png" in data for data in shown)
