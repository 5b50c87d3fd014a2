"""One picture as a set."""

import re

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import open_source
from jaxgan.options import OptionError
from jaxgan.spec import Field, Spec


def picture(**options):
    return open_source("picture", **options)


@pytest.mark.parametrize("path", ["", "china.jpg", "flower.jpg"])
def test_photographs_that_scikit_learn_carries(path):
    source = picture(path=path)
    assert source.spec == Spec({"image": Field("image", (167, 250, 3))}, 1)
    assert source.summary == f"picture {path or 'china.jpg'}: 1 picture, 167x250x3"
    assert source.images().dtype == np.uint8


def test_a_file_keeps_its_aspect_and_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 60, 3), np.uint8)
    path = str(tmp_path / "noise.png")
    Image.fromarray(pixels).save(path)
    for max_side in (0, 60, 250):  # never enlarged
        np.testing.assert_array_equal(picture(path=path, max_side=max_side)[0]["image"], pixels)
    small = picture(path=path, max_side=20)[0]["image"]
    expected = Image.fromarray(pixels).resize((20, 10), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(small, np.asarray(expected))
    assert picture(path=path, resolution=8, channels=1).spec.shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"path": "there.png"}, "path is 'there.png', but there is no such file: set path=FILE or path=china.jpg or "),
        ({"path": "."}, "path is '.', but that is a folder, not a picture: set path=FILE or path=china.jpg or path="),
        (
            {"path": "notes.png"},
            "path is 'notes.png', but it cannot be read as a picture (not a picture that Pillow can read): set path=FI",
        ),
        ({"max_side": -1}, "max_side is -1, but it must be at least 0: set max_side=0"),
        ({"split": "test"}, "split is 'test', but it must be one of train, all: set split="),
    ],
)  # fmt: skip
def test_wrong_paths_and_options_are_named(options, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(OptionError, match=re.escape(text)) as raised:
        picture(**options)
    assert raised.value.fixes
    Image.new("RGB", (30, 20)).save("FILE", "PNG")
    for fix in raised.value.fixes:
        assert len(picture(**options | fix)) == 1
