"""Wheel and source distribution hold what they need, and work from a folder that is not the checkout."""

import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_citation_has_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def run(*command, folder, **environment):
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=own | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_and_sdist_work_without_the_checkout(tmp_path):
    dist = tmp_path / "dist"
    # The sdist, and the wheel from the sdist: so the sdist is complete. No isolation, which would download hatchling.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), folder=ROOT)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    inside = zipfile.ZipFile(wheel).namelist()
    assert "jaxgan/configs/sngan_digits.py" in inside
    assert {"jaxgan/py.typed", "jaxgan/widgets/canvas.js"} <= set(inside)
    assert all(name.startswith(("jaxgan/", "jaxgan-")) for name in inside)
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "configs/sngan_digits.py"} <= files
    assert not any(name.startswith(("runs/", "docs/build/")) for name in files)

    # An environment that has the wheel itself, and its dependencies from this one.
    venv.create(tmp_path / "venv", with_pip=True, symlinks=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", str(wheel), folder=tmp_path)
    here = [path for path in sys.path if path.endswith("site-packages")]
    shown = run(
        python,
        "-c",
        "import jaxgan, jaxgan.config as c; print(jaxgan.__file__, len(c.names()))",
        folder=tmp_path,
        # Behind its own packages, so that jaxgan is the wheel's.
        PYTHONPATH=os.pathsep.join([*site_packages(tmp_path / "venv"), *here]),
    )
    assert str(tmp_path) in shown
    assert shown.split()[-1] == str(len(list((ROOT / "configs").glob("*.py"))))
    command = str(tmp_path / "venv" / "bin" / "jaxgan")
    small = ["--config.train.steps=1", "--config.model.batch_size=16", "--config.train.grid=16"]
    workdir = tmp_path / "runs" / "sngan_digits"
    # The report needs the templates.
    for words in (["train", *small], ["report", "--workdir", str(workdir)]):
        run(
            command,
            *words,
            folder=tmp_path,
            JAX_PLATFORMS="cpu",
            XLA_FLAGS="",
            PYTHONPATH=os.pathsep.join([*site_packages(tmp_path / "venv"), *here]),
        )
    assert (workdir / "samples.png").is_file()
    assert (workdir / "report.html").is_file()


def site_packages(environment):
    return [str(path) for path in environment.glob("lib/python*/site-packages")]
