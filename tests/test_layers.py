"""The layers of the package: who may import whom, found by walking every import with `ast`.

L0  pure maths: jax, numpy, optax, the standard library and each other
L1  nets/, weights/, imports/, tools/, network.py, game.py, engine.py, turns.py, adversarial.py, regularisers.py,
    sampling.py, conditional.py, adaptive.py, styles.py, equivariance.py, growth.py: flax and L0
L2  models/, metrics/, data/: L0, L1, but not each other
L3  train/: everything below but models
L4  cli/, config.py, widgets/, __main__.py: everything

And the length of its functions.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "jaxgan"

LAYERS = (
    {
        "options",
        "draws",
        "losses",
        "penalties",
        "spectral",
        "divergences",
        "averaging",
        "resample",
        "augment",
        "schedules",
        "scaled",
        "spec",
    },
    {
        "nets",
        "weights",
        "imports",
        "network",
        "game",
        "engine",
        "turns",
        "tools",
        "adversarial",
        "regularisers",
        "sampling",
        "conditional",
        "adaptive",
        "styles",
        "equivariance",
        "growth",
    },
    {"models", "metrics", "data"},
    {"train"},
    {"cli", "config", "widgets", "__main__"},
)
LAYER = {part: level for level, parts in enumerate(LAYERS) for part in parts}

# What the lower layers may import besides jaxgan and the standard library.
LIBRARIES = {0: {"jax", "numpy", "optax"}, 1: {"jax", "numpy", "optax", "flax", "chex"}}
# Some parts of a layer may import more: the readers of files of weights and their configs;
ALSO = {"weights": {"safetensors"}, "imports": {"yaml"}}
# and inside the function that needs it, the solver of exact transport.
LAZY = {"divergences": {"scipy"}}

# Lines of a function, docstring included. The training loop alone may be longer.
MOST_LINES = 60
MAY_BE_LONGER = {"train/loop.py: _Run.play"}


def imports(path: Path, root: Path):
    """Yields (absolute module name, line, inside a function) of every import of a file.

    `from a import b` yields both a and a.b, as b may be a module. Calls of `import_module` with a
    literal (or f-string) name count too.
    """
    package = (root.name, *path.relative_to(root).parent.parts)

    def walk(node, lazy):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*up, *filter(None, [node.module])))
            yield module, node.lineno, lazy
            yield from ((f"{module}.{alias.name}", node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            if called in ("import_module", "__import__"):
                name = node.args[0]
                parts = name.values if isinstance(name, ast.JoinedStr) else [name]
                if isinstance(parts[0], ast.Constant) and isinstance(parts[0].value, str):
                    yield parts[0].value.rstrip("."), node.lineno, lazy
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(ast.parse(path.read_text()), False)


def part_of(module: str, root: Path) -> str | None:
    """ "nets" of "jaxgan.nets.spectral"; None outside the package or for the package itself."""
    names = module.split(".")
    return names[1] if names[0] == root.name and len(names) > 1 else None


def violations(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*.py")):
        here = path.relative_to(root)
        if path.name == "utils.py":
            found.append(f"{here}: name it for its noun")
        part = here.parts[0].removesuffix(".py")
        if part not in LAYER and part != "__init__":
            found.append(f"{here}: belongs to no layer")
            continue
        for module, line, lazy in imports(path, root):
            why = complaint(part, here, module, lazy, root)
            if why:
                found.append(f"{here}:{line} imports {module}: {why}")
    return found


def complaint(part: str, here: Path, module: str, lazy: bool, root: Path) -> str | None:
    """What is wrong with `module` being imported by the file `here` of `part`; None if nothing is."""
    top, target = module.split(".")[0], part_of(module, root)
    if top == "tensorflow" and not (part == "data" and lazy):
        return "TensorFlow is only for preparing data, and lazily"
    if top == "orbax" and here != Path("train/checkpoint.py"):
        return "Orbax is confined to train/checkpoint.py"
    if part == "__init__":
        free = top in sys.stdlib_module_names or (lazy and top == root.name)
        return None if free else "importing jaxgan must cost nothing"
    level = LAYER[part]
    if top != root.name:
        allowed = LIBRARIES.get(level)
        if allowed is None or top in allowed or top in sys.stdlib_module_names:
            return None
        if top in ALSO.get(part, ()) or (lazy and top in LAZY.get(part, ())):
            return None
        return f"layer {level} uses only {', '.join(sorted(allowed))}"
    if target is None or target not in LAYER:  # the package itself, or a name in its __init__
        return None
    if LAYER[target] > level:
        return f"layer {level} imports from layer {LAYER[target]}"
    if LAYER[target] == level == 2 and target != part:
        return f"{part} and {target} are side by side"
    if part == "train" and target == "models":
        return "train receives a game and never imports models"
    return None


def test_the_package_keeps_its_layers():
    assert (ROOT / "penalties").exists()
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("losses.py", "import flax", "layer 0 uses only jax, numpy, optax"),
        ("divergences/transport.py", "import scipy", "layer 0 uses only jax, numpy, optax"),
        ("losses.py", "def f():\n    import scipy", "layer 0 uses only jax, numpy, optax"),
        ("losses.py", "from jaxgan import nets", "layer 0 imports from layer 1"),
        ("losses.py", "from . import game", "layer 0 imports from layer 1"),
        (
            "spectral.py",
            "def f():\n    from .nets.spectral import x",
            "layer 0 imports from layer 1",
        ),
        ("nets/blocks.py", "from jaxgan.models import sngan", "layer 1 imports from layer 2"),
        ("nets/blocks.py", "from ..train import loop", "layer 1 imports from layer 3"),
        ("game.py", "import tensorflow_datasets", "layer 1 uses only chex, flax, jax"),
        ("models/sngan.py", "from jaxgan.data import pipeline", "models and data are side by side"),
        ("models/sngan.py", "def f():\n    from .. import train", "layer 2 imports from layer 3"),
        ("models/sngan.py", "def f():\n    import tensorflow as tf", "TensorFlow is only for"),
        ("data/sources.py", "import tensorflow.io", "TensorFlow is only for preparing data"),
        ("data/sources.py", "from ..metrics.fid import fid", "data and metrics are side by side"),
        ("train/loop.py", "from jaxgan.models.sngan import game", "train receives a game"),
        (
            "train/loop.py",
            "import importlib\ndef f(n):\n    importlib.import_module(f'jaxgan.models.{n}')",
            "train receives a game",
        ),
        ("train/loop.py", "from orbax.checkpoint import v1", "Orbax is confined to"),
        ("train/loop.py", "from jaxgan.cli import main", "layer 3 imports from layer 4"),
        ("__init__.py", "from jaxgan import losses", "importing jaxgan must cost nothing"),
        ("__init__.py", "def f():\n    import jax", "importing jaxgan must cost nothing"),
        ("nets/blocks.py", "import safetensors", "layer 1 uses only chex, flax, jax"),
        ("nets/utils.py", "", "name it for its noun"),
        ("helpers.py", "", "belongs to no layer"),
    ],
)
def test_a_violation_is_found(tmp_path, file, source, complaint):
    path = tmp_path / "jaxgan" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    (found,) = {message.split(": ", 1)[1] for message in violations(tmp_path / "jaxgan")}
    assert found.startswith(complaint)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("divergences/transport.py", "def solve():\n    import scipy.optimize"),
        (
            "__init__.py",
            "def f(name):\n    import importlib\n    importlib.import_module(f'jaxgan.{name}')",
        ),
        ("weights/read.py", "from safetensors import deserialize"),
        ("penalties.py", "from . import losses\nimport math, jax.numpy\nfrom optax import losses"),
        (
            "nets/blocks.py",
            "import flax.linen as nn\nfrom .spectral import x\nfrom .. import losses",
        ),
        (
            "models/sngan.py",
            "from jaxgan import __version__, adversarial\nfrom jaxgan.nets import a",
        ),
        ("metrics/fid.py", "from jaxgan.nets import features\nfrom . import moments\nimport scipy"),
        ("data/prepare.py", "def prepare():\n    import tensorflow"),
        ("train/checkpoint.py", "from orbax.checkpoint import v1\nfrom ..data import pipeline"),
        ("cli/main.py", "from jaxgan.models import sngan\nfrom jaxgan import train, config"),
    ],
)
def test_what_the_layers_allow_is_let_through(tmp_path, file, source):
    path = tmp_path / "jaxgan" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    assert violations(tmp_path / "jaxgan") == []


def test_importing_the_maths_loads_nothing_beyond_jax():
    modules = sorted(
        part for part in LAYERS[0] if (ROOT / part).is_dir() or (ROOT / f"{part}.py").exists()
    )
    code = f"""
import importlib, sys
import jax, jax.numpy
before = set(sys.modules)
for part in {modules!r}:
    importlib.import_module(f"jaxgan.{{part}}")
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(sorted(new - set(sys.stdlib_module_names) - {{"jaxgan"}}))
"""
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_reading_data_needs_no_network_library():
    code = "import sys, jaxgan.data; print(sorted({'flax', 'optax'} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_every_module_is_an_attribute_of_the_package():
    code = """
import jaxgan, sys
assert not [name for name in sys.modules if name.startswith(("jax.", "jaxgan."))]
modules = {"losses", "metrics", "models", "train", "cli"}
assert modules <= set(dir(jaxgan)), dir(jaxgan)
assert jaxgan.losses.hinge is sys.modules["jaxgan.losses"].hinge
assert jaxgan.__version__
try:
    jaxgan.loses
except AttributeError as error:
    assert str(error) == "module 'jaxgan' has no attribute 'loses'"
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, check=True)


def long_functions(root: Path) -> list[str]:
    """ "train/loop.py: _Run.play has 70 lines" of each function that is too long."""
    found = []

    def walk(node, here, names):
        for child in ast.iter_child_nodes(node):
            inside = names
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = (*names, child.name)
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                name, lines = f"{here}: {'.'.join(inside)}", child.end_lineno - child.lineno + 1
                if lines > MOST_LINES and name not in MAY_BE_LONGER:
                    found.append(f"{name} has {lines} lines")
            walk(child, here, inside)

    for path in sorted(root.rglob("*.py")):
        walk(ast.parse(path.read_text()), path.relative_to(root).as_posix(), ())
    return found


def test_functions_are_short():
    assert long_functions(ROOT) == []


def test_a_long_function_is_named(tmp_path):
    body = "\n".join(["        pass"] * MOST_LINES)
    short = body.removesuffix("\n        pass")
    code = f"class _Run:\n    def play(self):\n{body}\n    def short(self):\n{short}\n    def long(self):\n{body}\n"
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "loop.py").write_text(code)
    assert long_functions(tmp_path) == ["train/loop.py: _Run.long has 61 lines"]
