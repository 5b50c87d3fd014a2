"""What the package never does: run what a file says, trust the paths of an archive, or listen.

That the readers refuse such files is tested beside them: `weights/test_torch_files.py`, `weights/test_store.py`,
`train/test_faults.py`.
"""

import ast
from pathlib import Path

import pytest

from jaxgan.weights.published import PUBLISHED

ROOT = Path(__file__).parents[1]

# Modules that run what they read, or listen. (`pickletools` only names the instructions of a pickle.)
FORBIDDEN = {
    *("pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "torch"),
    *("http.server", "socketserver", "xmlrpc", "wsgiref", "flask"),
}
# (module or None for any, function)
UNSAFE = {
    *(
        (None, name)
        for name in ("extract", "extractall", "unpack_archive", "unsafe_load", "full_load")
    ),
    *(("yaml", "load"), ("os", "system"), ("os", "popen"), ("builtins", "eval")),
}


def complaints(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name in FORBIDDEN]
        elif isinstance(node, ast.ImportFrom) and node.module in FORBIDDEN:
            found.append(str(node.module))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            owner = getattr(getattr(node.func, "value", None), "id", None)
            stated = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            if (
                name == "load"
                and owner in ("np", "numpy")
                and stated.get("allow_pickle") is not False
            ):
                found.append("np.load without allow_pickle=False")
            elif (owner, name) in UNSAFE or (None, name) in UNSAFE:
                found.append(name)
    return found


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import pickle", "pickle"),
        ("def f():\n    from http.server import HTTPServer", "http.server"),
        ("np.load(path)", "np.load without allow_pickle=False"),
        ("np.load(path, allow_pickle=True)", "np.load without allow_pickle=False"),
        ("archive.extractall(folder)", "extractall"),
        ("tar.extract(member, folder)", "extract"),
        ("yaml.load(text)", "load"),
    ],
)
def test_a_complaint_is_made(source, complaint):
    assert complaints(source) == [complaint]


def test_nothing_in_the_package_runs_what_it_reads():
    found = {
        path.relative_to(ROOT).as_posix(): complaint
        for path in sorted((ROOT / "jaxgan").rglob("*.py"))
        if (complaint := complaints(path.read_text()))
    }
    assert found == {}


def test_every_download_is_verified_and_encrypted():
    """By a published checksum; the SHA-256 of the first download verifies the later ones of a file that has none."""
    for entry in PUBLISHED.values():
        assert entry.url.startswith("https://"), entry.name
        assert len(entry.checksum) in (0, 8, 64), entry.name
    without = {entry.name for entry in PUBLISHED.values() if not entry.checksum}
    assert {name.partition("_vit")[0] for name in without} == {"dinov2"}  # which has none
