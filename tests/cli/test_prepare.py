"""`jaxgan prepare --out`: any data, described as for training, become a prepared set, and what it says if not."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image

from jaxgan import config, data
from jaxgan.cli.main import main
from jaxgan.cli.progress import examples_progress
from jaxgan.metrics.compare import scores


def run(*arguments, capsys):
    """(exit code, standard output, the lines of standard error)."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()


@pytest.fixture
def refused(capsys):
    """refused(...): the sentence that the command ends with, after exit code 2."""

    def check(*arguments):
        code, out, err = run("prepare", *arguments, capsys=capsys)
        assert (code, out) == (2, "")
        return err[-1].removeprefix("jaxgan: ")

    return check


@pytest.fixture
def pictures(tmp_path):
    """A folder of two classes of pictures of different sizes."""
    for i, name in enumerate(("cat/a", "cat/b", "dog/c")):
        path = tmp_path / "two words" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(i).integers(0, 256, (9 + i, 12, 3), np.uint8)
        Image.fromarray(random).save(path)
    return tmp_path / "two words"


def of(folder):
    return [f"--config.data.path={folder}", "--config.data.name=folder"]


def trained_on(out):
    """The source that the command of the last line trains on."""
    words = shlex.split(out.splitlines()[-1])
    assert words[:4] == ["jaxgan", "train", "--config", "CONFIG"]
    changes = [word.removeprefix("--config.") for word in words[4:]]
    cfg = config.load("sngan_digits", changes)
    return cfg, config.open_data(cfg)


def test_a_folder_of_pictures(pictures, tmp_path, capsys):
    options = [*of(pictures), "--config.data.resolution=8", "--config.data.flip=true"]
    code, out, err = run("prepare", "--out", tmp_path / "my set", *options, capsys=capsys)
    assert code == 0
    assert err == [f"jaxgan: folder {pictures}: 3 pictures, 8x8x3, 2 classes"]
    cfg, source = trained_on(out)
    assert (cfg.data_name, cfg.data.flip, cfg.data.split) == ("records", True, "train")
    assert (source.spec.shape, source.classes, len(source)) == ((8, 8, 3), ("cat", "dog"), 3)
    # Again: there is nothing left to do.
    assert run("prepare", "--out", tmp_path / "my set", *options, capsys=capsys)[:2] == (0, out)


def test_the_data_of_a_config(tmp_path, capsys):
    command = ["prepare", "--config", "spade_digits", "--config.data.split=test"]
    code, out, _ = run(*command, "--out", tmp_path, capsys=capsys)
    assert code == 0
    words = shlex.split(out.splitlines()[-1])
    assert words[:4] == ["jaxgan", "train", "--config", "spade_digits"]
    cfg = config.load("spade_digits", [word.removeprefix("--config.") for word in words[4:]])
    source = config.open_data(cfg)
    assert source.spec == config.open_data(config.load("spade_digits", ["data.split=test"])).spec
    assert config.make_run(cfg, source.spec).game is not None


def test_a_tfds_set_by_its_name(tmp_path, capsys, monkeypatch):
    """NAME is downloaded if it is not there, and then written."""
    asked, found = [], data.open_source("digits")

    def open_source(options, progress):
        if not asked:
            raise FileNotFoundError("not prepared")
        assert (options.tfds_name, options.data_dir) == ("cifar10", str(tmp_path))
        return found

    monkeypatch.setattr("jaxgan.data.open_source", open_source)
    monkeypatch.setattr("jaxgan.data.prepare", lambda *arguments: asked.append(arguments))
    command = ["prepare", "cifar10", "--data_dir", tmp_path, "--out", tmp_path / "set"]
    code, _, _ = run(*command, capsys=capsys)
    assert (code, asked) == (0, [("cifar10", str(tmp_path))])
    record = json.loads((tmp_path / "set" / "train" / "manifest.json").read_text())
    assert record["origin"] == found.identity


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            [],
            "there is nothing to prepare: give NAME, a TFDS image set to download, or --out FOLDER",
        ),
        (
            ["cifar10", "--config.data.flip=true"],
            "--config and --config.data describe data to write",
        ),
        (["--out", "x", "--config.train.steps=3"], "--config.train.steps is no option of the data"),
        (
            ["cifar10", "--out", "x", "--config.data.name=folder"],
            "NAME is cifar10, a TFDS set, but --config.data.name is folder; leave out one of them.",
        ),
        (
            ["--out", "x", "--data_dir", "y"],
            "--data_dir is the folder of TFDS sets; leave it out, or",
        ),
        (
            ["--out", "x", "--config.data.name=fodler"],
            "--config.data.name is 'fodler', but it must",
        ),
        (
            ["--out", "x", "--config.data.name=folder"],
            "--config.data.path is empty, but it must name",
        ),
        (
            ["--out", "x", "--config.data.resolutoin=9"],
            "there is no option --config.data.resolutoin",
        ),
    ],
)
def test_what_cannot_be_prepared(refused, words, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused(*words).startswith(text)
    assert not (tmp_path / "x").exists()


def test_pictures_of_different_sizes(refused, pictures, tmp_path, capsys):
    text = refused("--out", tmp_path / "set", *of(pictures))
    assert "differ in size" in text
    (way,) = shlex.split(text[text.index(": set ") + 6 :].removesuffix("."))
    assert run("prepare", "--out", tmp_path / "set", *of(pictures), way, capsys=capsys)[0] == 0


@pytest.mark.parametrize("inside", [".", "new/set"])
def test_a_folder_in_the_data_themselves(refused, pictures, tmp_path, capsys, inside):
    options = [*of(pictures), "--config.data.resolution=8"]
    text = refused("--out", pictures / inside, *options)
    assert text.startswith(f"--out is {pictures / inside}, a folder in the data themselves")
    assert run("prepare", "--out", tmp_path / "outside", *options, capsys=capsys)[0] == 0


def test_a_folder_of_other_data(refused, tmp_path, capsys):
    assert run("prepare", "--out", tmp_path, capsys=capsys)[0] == 0
    text = refused("--out", tmp_path, "--config.data.resolution=16")
    assert text.startswith(f"{tmp_path}/train holds other data (digits (train): 1,442 images")


def test_ctrl_c_ends_with_a_sentence(tmp_path, capsys, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxgan.data.write", stopped)
    code, out, err = run("prepare", "--out", tmp_path, capsys=capsys)
    assert (code, out) == (130, "")
    assert err[-1] == "jaxgan: stopped; complete shards are kept, and the same command goes on"


def test_a_prepared_set_can_be_evaluated(tmp_path, capsys):
    assert run("prepare", "--out", tmp_path, capsys=capsys)[0] == 0
    words = ["--protocol", "quick", "--num", "200", "--scores", "fd", "--features", "pixels"]
    code, out, _ = run("evaluate", "--real", "digits", "--fake", tmp_path, *words, capsys=capsys)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert scores(result) == {"fd_pixels": pytest.approx(0, abs=1e-3)}
    assert result["measured"]["fake"] == f"records {tmp_path}: 1,442 examples, 8x8x1, 10 classes"


def test_progress_without_a_terminal_is_rare_lines(capsys, monkeypatch):
    monkeypatch.setattr("jaxgan.cli.progress._LINE_EVERY_SECONDS", 0.0)
    with examples_progress("writing") as show:
        show(1_000, 2_000)
    assert capsys.readouterr().err == "jaxgan: writing 1,000 of 2,000\n"


def test_progress_on_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with examples_progress("writing") as show:
        show(1_000, 2_000)
    assert "1000/2000" in capsys.readouterr().err
