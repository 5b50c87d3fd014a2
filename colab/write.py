"""Writes what the notebooks share and their outputs.

    python colab/write.py                       # the badge and the install cell of each, and the table of the notebooks
    python colab/write.py --check               # exit status 1 and what is wrong, if anything is
    python colab/write.py --execute [NAME ...]  # also runs these notebooks, or all with missing or old outputs

The repository's address is `Source` of `[project.urls]` in pyproject.toml. Badge and install cell are written from it:
a fork changes the address and runs the script. Outputs are old if code has changed since, other than the install cell.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import re
import resource
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import nbformat
from notebooks import FILES, execute

ROOT = Path(__file__).resolve().parents[1]
BADGE = "[![Open in Colab]("
WIDGET = "application/vnd.jupyter.widget-view+json"
TABLE = ROOT / "docs" / "tutorials" / "python.md"
MARKS = "<!-- notebooks: begin -->\n", "<!-- notebooks: end -->"
# XLA says so of a machine that does other things as well.
SLOW_COMPILE = re.compile(r".*slow_operation_alarm.*\n+\*+\n.*\n\*+\n+")
# Of a cell. A notebook takes less than that in all, but not on a machine that does other things as well.
TIMEOUT = 3600


def address() -> str:
    """The repository's address, from pyproject.toml."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    found = urls["Source"].removesuffix("/")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", found):
        raise ValueError(
            f"Source in pyproject.toml is {found}, but Colab opens notebooks of GitHub only; give an address of the"
            " form https://github.com/OWNER/NAME."
        )
    return found


def badge(name: str, repository: str) -> str:
    """A picture that opens the notebook in Colab."""
    place = repository.removeprefix("https://")
    place = place.replace("github.com", "https://colab.research.google.com/github", 1)
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    return f"{BADGE}{picture})]({place}/blob/main/colab/{name}.ipynb)"


def install(repository: str) -> str:
    """The first code cell. pip leaves a JAX alone that is new enough for jaxgan."""
    return f"""\
import importlib.util

if importlib.util.find_spec("jaxgan") is None:
    # Keeps the runtime's own JAX, if it is new enough.
    %pip install --quiet "jaxgan[notebooks] @ git+{repository}\""""


def without_badge(source: str) -> str:
    return re.sub(rf"^{re.escape(BADGE)}.*\n\n", "", source, flags=re.MULTILINE)


def with_head(notebook, name: str, repository: str):
    """The notebook with the badge below its title, and the install cell."""
    title, text = without_badge(notebook.cells[0].source).split("\n\n", 1)
    notebook.cells[0].source = f"{title}\n\n{badge(name, repository)}\n\n{text}"
    notebook.cells[1].source = install(repository)
    return notebook


def digest(notebook) -> str:
    """Identifies the code of a notebook, apart from the install cell: what its outputs depend on."""
    _, *sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def is_current(notebook) -> bool:
    """Whether the outputs are those of this code."""
    return notebook.metadata.get("jaxgan", {}).get("digest") == digest(notebook)


def executed(notebook):
    """The notebook with its outputs, and in the metadata its digest, jaxgan's version and the time taken."""
    with tempfile.TemporaryDirectory() as folder:
        began, spent = time.monotonic(), processor_seconds()
        execute(notebook, Path(folder), timeout=TIMEOUT)
        taken = time.monotonic() - began, processor_seconds() - spent
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = tidy(cell.outputs, Path(folder))
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": notebook.metadata.kernelspec,
            "language_info": {"name": "python"},
            "jaxgan": {
                "digest": digest(notebook),
                "version": importlib.metadata.version("jaxgan"),
                "seconds": round(taken[0]),
                "processor_seconds": round(taken[1]),
            },
        }
    )
    return notebook


def processor_seconds() -> float:
    """Seconds that child processes have computed: a free core takes no longer, whatever else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tidy(outputs: list, folder: Path) -> list:
    """The outputs of a cell as they are stored.

    Temporary folders are named "runs", and objects without their addresses. Of a widget, which ends with its kernel,
    the picture remains. What is printed is one output, which does not depend on when the kernel's messages came, nor on
    how busy the machine was.
    """
    temporary, kept = re.compile(rf"{re.escape(str(folder))}/tmp\w+"), []
    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            data.pop(WIDGET, None)
        for holder, name in [(output, "text"), *((data, name) for name in data)]:
            if isinstance(holder.get(name), str):
                named = temporary.sub("runs", holder[name])
                holder[name] = re.sub(r" at 0x[0-9a-f]+", "", named)
        if kept and "name" in output and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if "text" in output:
            output.text = SLOW_COMPILE.sub("", output.text)
    return [output for output in kept if output.get("text", "anything")]


def read(path: Path):
    return nbformat.read(path, as_version=4)


def text(notebook) -> str:
    """The file of a notebook."""
    return nbformat.writes(notebook) + "\n"


def table(repository: str) -> str:
    """The table of the notebooks, in Markdown."""
    rows = ["| Notebook | | Processor minutes |", "|---|---|---|"]
    for path in FILES:
        notebook = read(path)
        title = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
        seconds = notebook.metadata.get("jaxgan", {}).get("processor_seconds")
        minutes = max(1, round(seconds / 60)) if seconds else ""
        rows.append(
            f"| `colab/{path.name}`: {title} | {badge(path.stem, repository)} | {minutes} |"
        )
    return "\n".join(rows) + "\n"


def page(repository: str) -> str:
    """The page with the table."""
    before, _, rest = TABLE.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n{table(repository)}\n{MARKS[1]}{after}"


def problems() -> list[str]:
    """What is not as this script would write it."""
    repository, found = address(), []
    for path in FILES:
        notebook = read(path)
        if path.read_text() != text(with_head(read(path), path.stem, repository)):
            found.append(f"colab/{path.name}: the badge or the install cell; run colab/write.py")
        if not is_current(notebook):
            found.append(
                f"colab/{path.name} has no outputs of its present code; run colab/write.py --execute {path.stem}"
            )
    if TABLE.read_text() != page(repository):
        found.append(f"{TABLE.relative_to(ROOT)}: the table of the notebooks; run colab/write.py")
    return found


def update(path: Path, new: str) -> None:
    """Writes a file if it would change."""
    if path.read_text() != new:
        path.write_text(new)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument(
        "--execute",
        nargs="*",
        metavar="NAME",
        choices=[path.stem for path in FILES],
        help="run these notebooks, without a name all with missing or old outputs",
    )
    args = parser.parse_args()
    if args.check:
        for problem in (found := problems()):
            print(problem)
        return int(bool(found))
    repository = address()
    for path in FILES:
        update(path, text(with_head(read(path), path.stem, repository)))
    for path in FILES:
        notebook = read(path)
        if args.execute is None or not (
            path.stem in args.execute or (not args.execute and not is_current(notebook))
        ):
            continue
        path.write_text(text(executed(notebook)))
        print(f"{path.stem}: {dict(notebook.metadata.jaxgan)}, {path.stat().st_size:,} bytes")
    update(TABLE, page(repository))
    return 0


if __name__ == "__main__":
    sys.exit(main())
