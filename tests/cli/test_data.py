"""`jaxgan data`: what a set holds, in words and as a sheet."""

import shlex

import numpy as np
import pytest
from PIL import Image

from jaxgan import data
from jaxgan.cli.data import LARGEST, described, sheet
from jaxgan.cli.main import main
from jaxgan.data import ArraySource, Column, encoded, open_source, write
from jaxgan.spec import Field


def run(*arguments, capsys):
    """(exit code, the lines of standard output, those of standard error)."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def test_digits(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    code, lines, err = run("data", "--num", 16, "--out", out, capsys=capsys)
    source = open_source("digits")
    assert (code, err) == (0, [])
    assert lines[:3] == [
        source.summary,
        "examples: 1,442, in memory",
        "decoded: 95.8 KiB, 68 bytes each",
    ]
    assert "  label: a label of 10, int32 []" in lines
    counts = [line for line in lines if line.startswith("  3 3: ")]
    assert counts == [f"  3 3: {(source.column('label') == 3).sum()}"]
    assert lines[-2:] == [
        f"identity: {source.identity}",
        f"16 examples, spread over the set, in {out}",
    ]
    with Image.open(out) as picture:
        assert np.ptp(np.asarray(picture)) > 0


@pytest.mark.parametrize("name", data.SOURCES)
def test_every_source_that_needs_no_files(name, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    code, lines, err = run("data", f"--config.data.name={name}", "--out", out, capsys=capsys)
    if code == 0:
        assert lines[0] == open_source(name).summary
        with Image.open(out) as picture:
            assert min(picture.size) > 8
    else:  # needs a path or a name, and says so
        assert err[0].startswith(
            f"jaxgan: --config.data.{'tfds_name' if name == 'tfds' else 'path'} is empty"
        )


def test_counts_of_attributes():
    source = open_source("attributes", attributes="even,loop")
    lines = described(source)
    even = (open_source("digits").column("label") % 2 == 0).sum()
    assert "attributes, and examples with each, of all:" in lines
    assert f"  0 even: {even}" in lines


def test_counts_of_a_set_that_is_read_at_each_access(tmp_path, monkeypatch):
    write(open_source("digits"), tmp_path)
    monkeypatch.setattr(encoded, "CACHE_BYTES", 0)
    records = open_source("records", path=str(tmp_path))
    lines = described(records)
    assert "examples: 1,442, read at each access" in lines
    assert "classes, and examples with each, of all:" in lines
    assert [x for x in lines if x.startswith("  ")] == [
        x for x in described(open_source("digits")) if x.startswith("  ")
    ]
    monkeypatch.setattr("jaxgan.cli.data.SAMPLED", 100)
    lines = described(records)
    start = lines.index("classes, and examples with each, of 100 spread over the set:")
    assert sum(int(line.rpartition(": ")[2]) for line in lines[start + 1 : start + 11]) == 100


def test_many_classes_and_broken_pictures_are_cut_short():
    images = np.zeros((200, 4, 4, 1), np.uint8)
    broken = tuple((f"{i}.png", "empty") for i in range(30))
    source = ArraySource(images, np.arange(200) % 100, broken=broken)
    lines = described(source)
    assert "  and 50 more, with 2 to 2" in lines
    assert "broken: 30" in lines
    assert "  19.png: empty" in lines
    assert "  and 10 more" in lines


def test_a_sheet_shows_all_fields_of_pixels():
    source = open_source("label_maps")
    drawn = sheet(source, 6)
    assert drawn.shape == (6, 32, 32 + 1 + 32, 3)
    batch = next(source.spread(6))
    np.testing.assert_array_equal(drawn[:, :, 33:], np.repeat(batch["image"], 3, axis=3))


def test_large_pictures_are_reduced():
    images = np.random.default_rng(0).integers(0, 256, (2, 600, 300, 1), np.uint8)
    condition = Column(Field("image", (600, 300, 3)), np.repeat(images, 3, axis=3))
    drawn = sheet(ArraySource(images, columns={"condition": condition}), 2)
    assert drawn.shape == (2, 200, 201, 3)
    assert max(drawn.shape[1:3]) <= LARGEST
    np.testing.assert_allclose(drawn[0, 0, 0, 0], images[0, :3, :3].mean(), atol=1)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--num", "0"], "--num is 0; it must be at least 1."),
        (["--out", "x.jpg"], "--out is x.jpg; it must end in .png."),
        (["--out", "no/x.png"], "there is no folder no to put x.png into; create it first."),
        (["--config.model.batch_size=3"], "--config.model.batch_size is no option of the data"),
        (["--config.data.name=folder"], "--config.data.path is empty, but it must name"),
    ],
)
def test_what_cannot_be_shown(words, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("data", *words, capsys=capsys)
    assert (code, out) == (2, [])
    assert err[-1].startswith(f"jaxgan: {text}")


def test_pictures_of_different_sizes(tmp_path, capsys):
    for i in (0, 1):
        Image.fromarray(np.zeros((8 + i, 8), np.uint8)).save(tmp_path / f"{i}.png")
    words = ["data", "--config.data.name=folder", f"--config.data.path={tmp_path}"]
    _, _, err = run(*words, capsys=capsys)
    (way,) = shlex.split(err[-1][err[-1].index(": set ") + 6 :].removesuffix("."))
    assert run(*words, way, capsys=capsys)[0] == 0
