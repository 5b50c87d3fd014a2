"""The cache of compiled programs: its place, JAX's own settings, and a second command that compiles nothing."""

import os
import subprocess
import sys

import jax
import pytest
from processes import one_device

from jaxgan.cli import compiled

NAMES = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    """JAX's defaults, and an empty cache."""
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    before = {name: getattr(jax.config, name) for name in NAMES}
    for name, value in zip(NAMES, (None, -1, True, 1.0), strict=True):
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_cache_is_in_the_users_folder_and_bounded(tmp_path):
    compiled.use_cache()
    assert jax.config.jax_compilation_cache_dir == str(compiled.place())
    assert compiled.place().parent == tmp_path / "cache" / "compiled"
    assert compiled.place().is_dir()
    assert jax.config.jax_compilation_cache_max_size == compiled.MOST_BYTES


def test_the_settings_of_jax_go_first(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    compiled.use_cache()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    compiled.use_cache()
    assert jax.config.jax_compilation_cache_dir is None
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_max_size", 1000)
    compiled.use_cache()
    assert jax.config.jax_compilation_cache_max_size == 1000


def test_other_processors_and_versions_have_other_places(monkeypatch):
    here = compiled.place()
    assert compiled.place() == here
    monkeypatch.setattr(compiled, "instructions", lambda: "another processor")
    other = compiled.place()
    assert other != here
    monkeypatch.setattr("jaxlib.version.__version__", "0.0.1")
    assert compiled.place() != other


def test_a_folder_that_cannot_be_written_is_said_and_the_command_goes_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="set JAXGAN_CACHE to a folder that can be written"):
        compiled.use_cache()
    assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.slow
def test_a_second_command_compiles_nothing_and_does_the_same(tmp_path):
    def train(workdir):
        settings = ("steps=2", "devices=1", "grid=4", "log_every=1")
        options = [f"--config.train.{value}" for value in settings]
        command = [sys.executable, "-m", "jaxgan", "train", "--config=gan_mixture2d", *options]
        env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMP")}
        env |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": one_device()}
        subprocess.run([*command, f"--workdir={workdir}"], env=env, check=True, timeout=300)
        return (workdir / "samples.png").read_bytes()

    def programs():
        return {path.name for path in compiled.place().glob("*-cache")}

    made = train(tmp_path / "a")
    first = programs()
    assert len(first) > 4
    assert train(tmp_path / "b") == made
    assert programs() == first
