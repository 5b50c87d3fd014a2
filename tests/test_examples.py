"""The scripts in examples/ run, with small settings, and do what they say; each fits on a screen."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "examples"
NAMES = {"measure_folder", "own_gan", "own_loop", "spectral_equinox", "spectral_nnx"}


@pytest.fixture(autouse=True)
def _promotion_as_by_default():
    """Optax divides by powers of an integer count."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_they_are_short_and_all_tested():
    assert {path.stem for path in FOLDER.glob("*.py")} == NAMES
    for path in FOLDER.glob("*.py"):
        lines = path.read_text().splitlines()
        code = [line for line in lines if line.strip()]
        assert len(code) < 60, path.name


def test_own_loop_approaches_the_ring():
    example = load("own_loop")
    assert example.main(steps=300, batch=64) < 0.5 * example.main(steps=0, batch=64)


@pytest.mark.parametrize("name", ["spectral_nnx", "spectral_equinox"])
def test_kernels_have_norm_one_and_the_critic_learns(name):
    if name == "spectral_equinox":
        pytest.importorskip("equinox")
    example = load(name)
    before, _ = example.main(steps=1)
    after, norm = example.main(steps=40)
    assert after < before
    assert norm == pytest.approx(1, abs=0.03)


def test_a_folder_is_measured(tmp_path):
    rng = np.random.default_rng(0)
    for name, brightness in (("real", 100), ("fake", 180)):
        (tmp_path / name).mkdir()
        for i in range(12):
            pixels = rng.integers(0, 60, (16, 16, 3)) + brightness
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name / f"{i}.png")
    example = load("measure_folder")
    apart = example.main(str(tmp_path / "real"), str(tmp_path / "fake"), resolution=16)
    same = example.main(str(tmp_path / "real"), str(tmp_path / "real"), resolution=16)
    assert same["fd_random_conv"] < 1e-3 < apart["fd_random_conv"]
    low, high = apart["interval"]
    assert low < high
    assert apart["protocol"]["num_fake"] == 12


def test_own_gan_trains_and_samples(tmp_path):
    pictures = load("own_gan").main(str(tmp_path / "run"), steps=2, batch=16, grid=16)
    assert pictures.shape == (16, 8, 8, 1)
    assert pictures.dtype == np.uint8
    assert {"own.png", "samples.png", "losses.png"} <= {
        f.name for f in (tmp_path / "run").iterdir()
    }
