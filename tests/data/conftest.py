"""Small sets of pictures on the disk."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import encoded


@pytest.fixture(params=["in memory", "decoded at access"])
def both_ways(request, monkeypatch):
    """Runs a test twice: with a set that fits into memory, and with one that does not."""
    if request.param == "decoded at access":
        monkeypatch.setattr(encoded, "CACHE_BYTES", 0)
    return request.param


@pytest.fixture
def save_pictures(tmp_path):
    """save_pictures("cat/a.png", ...) writes random 12x10 pictures; folder, {name: pixels}."""

    def save(*names: str, size: tuple[int, int] = (12, 10)) -> tuple[Path, dict[str, np.ndarray]]:
        root, pixels = tmp_path / "pics", {}
        for seed, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(seed)
            pixels[name] = random.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels[name]).save(path)
        return root, pixels

    return save


@pytest.fixture
def png():
    """png(array) is the bytes of a PNG file."""

    def encode(pixels: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()

    return encode
