"""Every notebook in colab/ runs from top to bottom at a small size, and is stored with the outputs of its text."""

import ast
import platform
import re
import shlex
from pathlib import Path

import nbformat
import pytest
import write
from notebooks import FILES, execute

from jaxgan.cli import main as cli
from jaxgan.metrics.protocols import PROTOCOLS

IDS = [path.stem for path in FILES]
STEPS = 16
MOST_BYTES = 1_500_000
MOST_SECONDS = (
    600  # of a processor: a CPU runtime takes no longer, even if its second core has nothing to do
)


def python(source: str) -> str:
    """The cell as Python: its IPython magics become `pass`."""
    return re.sub(r"^(\s*)%.*", r"\1pass", source, flags=re.MULTILINE)


def test_the_notebooks_are_there():
    assert {"biggan", "gan_theory", "metrics", "pix2pix", "quickstart", "singan"} <= set(IDS)
    assert {"spade", "spectral_norm", "stargan2", "stylegan2", "stylegan3", "vqgan"} <= set(IDS)


def test_badges_install_cells_table_and_outputs_are_what_the_script_writes():
    """If this fails: python colab/write.py, and where it says so with --execute."""
    assert write.problems() == []


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_stored_with_its_outputs(path):
    notebook = write.read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert path.stat().st_size < MOST_BYTES
    assert 0 < notebook.metadata.jaxgan.processor_seconds < MOST_SECONDS
    assert notebook.metadata.jaxgan.version
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []
    assert [cell.id for cell in code if shows(cell.source) and not cell.outputs] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)
    # A widget's stored output is its picture: its model ended with the kernel.
    widgets = [cell for cell in code if cell.source.startswith("widgets.")]
    assert all("image/png" in cell.outputs[-1].data for cell in widgets)
    types = {name for output in outputs for name in output.get("data", {})}
    assert write.WIDGET not in types
    text = "".join(map(words, outputs))
    assert re.findall(r"(?:/tmp|/home|/root|/usr|/opt|/content)/[^\s\"]*", text) == []
    assert str(write.ROOT) not in text
    assert not re.search(rf"\b{re.escape(platform.node())}\b", text)


def words(output) -> str:
    """What an output says, without its pictures."""
    data = output.get("data", {})
    return output.get("text", "") + "".join(x for name, x in data.items() if "text" in name)


def shows(source: str) -> bool:
    """Whether a cell's code has an output: it prints or plots, or its last line is a value."""
    last = ast.parse(python(source)).body[-1]
    silent = isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant)
    value = isinstance(last, ast.Expr) and not silent and not source.rstrip().endswith(";")
    return value or "print(" in source or "plt.subplots(" in source


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("x = 1", False),
        ("x", True),
        ("for i in x:\n    print(i)", True),
        ("plt.legend();", False),
        ("figure, axes = plt.subplots(1, 2)\naxes[0].legend();", True),
        ("import os\n\nif os:\n    %pip install x", False),
    ],
)
def test_what_shows_something(source, shown):
    assert shows(source) == shown


def test_the_install_cell_keeps_the_runtimes_own_jax():
    code = write.install("https://github.com/someone/fork")
    (line,) = [line for line in code.splitlines() if "%pip" in line]
    words = shlex.split(line)
    # One requirement, no upgrade: pip then leaves alone what satisfies jaxgan's own requirements.
    assert words[2:] == ["--quiet", "jaxgan[notebooks] @ git+https://github.com/someone/fork"]
    assert 'find_spec("jaxgan") is None' in code


def test_a_fork_changes_one_line(tmp_path, monkeypatch):
    repository = "https://github.com/someone/fork"
    for path in FILES:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    files = sorted(tmp_path.glob("*.ipynb"))
    page = tmp_path / "docs" / "tutorials" / "python.md"
    page.parent.mkdir(parents=True)
    page.write_bytes(write.TABLE.read_bytes())
    project = (write.ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(project.replace(write.address(), repository))
    for name, value in (("ROOT", tmp_path), ("FILES", files), ("TABLE", page)):
        monkeypatch.setattr(write, name, value)
    stale = write.problems()
    assert len(stale) == len(files) + 1
    monkeypatch.setattr("sys.argv", ["write.py"])
    assert write.main() == 0
    assert write.problems() == []  # the outputs are still those of the text
    assert write.badge("quickstart", repository) in page.read_text()
    link = "https://colab.research.google.com/github/someone/fork/blob/main/colab/quickstart.ipynb"
    assert f"]({link})" in write.read(tmp_path / "quickstart.ipynb").cells[0].source
    assert write.main() == 0
    assert write.read(tmp_path / "quickstart.ipynb").cells[0].source.count(write.BADGE) == 1


def test_an_address_that_colab_does_not_open(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nSource = "https://example.org/a/b"\n')
    monkeypatch.setattr(write, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"is https://example.org/a/b, but .*/OWNER/NAME"):
        write.address()


def test_changed_code_has_old_outputs():
    notebook = write.read(FILES[0])
    assert write.is_current(notebook)
    notebook.cells[-1].source += " "  # prose
    notebook.cells[1].source += " "  # the install cell
    assert write.is_current(notebook)
    notebook.cells[3].source += " "
    assert not write.is_current(notebook)


def test_stored_outputs_name_no_folder_and_no_widget():
    said = "</tmp/a/tmpx_1/digits at 0x7ff9de43c950>"
    data = {"text/plain": said, "image/png": "...", write.WIDGET: {}}
    shown = nbformat.v4.new_output("display_data", data)
    printed = [
        nbformat.v4.new_output("stream", text=text)
        for text in ("resuming /tmp/a/tmpx_1/digits ", "at step 1\n")
    ]
    alarm = (
        "E1129 04:20:34.350931   24026 slow_operation_alarm.cc:73] \n****\n[Compiling module jit_f for CPU]\n****\n"
        "E1129 04:20:39.786340   24024 slow_operation_alarm.cc:140] The operation took 2m5s\n\n****\n[...]\n****\n\n"
    )
    printed += [
        nbformat.v4.new_output("stream", name="stderr", text=text)
        for text in (alarm[:30], alarm[30:])
    ]
    one, other = write.tidy([shown, *printed], Path("/tmp/a"))
    assert one.data == {"text/plain": "<runs/digits>", "image/png": "..."}
    assert other.text == "resuming runs/digits at step 1\n"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_holds_no_logic_of_its_own(path):
    cells = [cell.source for cell in write.read(path).cells if cell.cell_type == "code"]
    assert 'find_spec("jaxgan") is None' in cells[0]  # installs it where it is missing
    tree = ast.parse("\n".join(map(python, cells)))
    defined = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    assert defined == []


def test_commands_parse():
    text = "\n".join(
        cell.source
        for path in FILES
        for cell in write.read(path).cells
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


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_what_it_imports_is_there(path):
    cells = [cell.source for cell in write.read(path).cells if cell.cell_type == "code"]
    tree = ast.parse("\n".join(map(python, cells)))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and "jaxgan" in n.module]
    assert imports
    exec(compile(ast.Module(imports, type_ignores=[]), str(path), "exec"), {})


# They compile for up to a minute each, functions that the tests of models, metrics and spectral norms call too.
@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_runs(path, tmp_path):
    notebook = write.read(path)
    execute(notebook, tmp_path, {"JAXGAN_NOTEBOOK_STEPS": str(STEPS)})
    shown = [
        output.data
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type in ("display_data", "execute_result")
    ]
    assert any("image/png" in data for data in shown)
