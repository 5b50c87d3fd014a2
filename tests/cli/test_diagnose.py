"""`jaxgan diagnose`, from a trained run to its page; what it says to wrong input."""

import itertools
import json
import types

import numpy as np
import pytest
from html_pages import read
from PIL import Image

from jaxgan import data, train
from jaxgan.cli import diagnose
from jaxgan.cli.main import main
from jaxgan.cli.pages import diagnosis
from jaxgan.data import open_source
from jaxgan.metrics.diagnosis import Diagnosis

TINY = [
    *("--config.model.batch_size=8", "--config.model.generator_width=8"),
    *("--config.model.critic_width=8", "--config.train.devices=1", "--config.train.grid=4"),
    *("--config.train.steps=4", "--config.train.checkpoint_every=2"),
]


def run(*arguments, capsys):
    """(exit code, standard output, standard error)."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A conditional DCGAN on digits, with batch statistics and an average of its weights."""
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    options = ["--config.model.conditional=true", "--workdir", str(workdir)]
    assert main(["train", "--config", "dcgan_digits", *TINY, *options]) == 0
    return workdir


def test_an_untrained_run_end_to_end(workdir, capsys):
    code, out, err = run("diagnose", "--workdir", workdir, "--num", 200, capsys=capsys)
    assert (code, err) == (0, "")
    assert "the page is" in out
    row = json.loads((workdir / diagnose.DIAGNOSES).read_text().splitlines()[-1])
    assert json.loads(next(line for line in out.splitlines() if line.startswith("{"))) == row
    assert list(row["verdicts"]) == ["memorisation", "collapse", "classes", "batch_statistics"]
    # Noise repeats nothing, but is no digit.
    assert row["verdicts"]["memorisation"] == "green"
    assert row["verdicts"]["classes"] == "red"
    assert row["numbers"]["batch_statistics"]["layers"] > 0
    protocol = row["protocol"]
    assert (protocol["num_fake"], protocol["num_train"], protocol["num_held_out"]) == (
        200,
        1442,
        355,
    )
    assert (protocol["held_out_split"], protocol["labels"], protocol["step"]) == (
        "test",
        "balanced",
        4,
    )
    assert (protocol["ema"], protocol["features"]) == (True, "random_conv")
    page, words = read(workdir / diagnose.PAGE)
    for name, verdict in row["verdicts"].items():
        assert f"#{name}" in page.links
        mark, meaning = diagnosis.WORDS[verdict]
        assert f"{mark} {verdict}: {meaning}" in words
    # Each pair has two pictures, and four diagnoses have a plot each.
    pairs = words.count("of held-out nearer")
    assert pairs == diagnose.PAIRS
    assert page.tags.count("img") == 2 * pairs + 4


def test_a_generator_that_copies_is_told_and_shown(workdir, tmp_path, monkeypatch, capsys):
    source = open_source("digits")
    chosen = np.random.default_rng(0).choice(len(source), 300)

    def copies(engine, state, num, seed, ema):
        batch = source.gather(chosen[:num])
        return {"image": batch["image"], "label": batch["label"]}

    monkeypatch.setattr(train, "sample", copies)
    out = tmp_path / "copies.html"
    command = ["diagnose", "--workdir", workdir, "--num", 300, "--out", out, "--held_out", "none"]
    assert run(*command, capsys=capsys)[0] == 0
    row = json.loads((workdir / diagnose.DIAGNOSES).read_text().splitlines()[-1])
    assert row["verdicts"]["memorisation"] == "red"
    assert row["numbers"]["memorisation"]["exact_copies"] == 1
    assert (row["verdicts"]["collapse"], row["verdicts"]["classes"]) == ("green", "green")
    assert (row["protocol"]["held_out"], row["protocol"]["num_held_out"]) == (None, 0)
    page, words = read(out)
    assert "✕ red: fault found" in words
    assert "Nothing held out" in words
    # Beside each copy lies the very picture that it copies.
    pictures = [link for link in page.links if link.startswith("data:")]
    pairs = [(a, b) for a, b in itertools.pairwise(pictures) if a == b]
    assert len(pairs) >= diagnose.PAIRS


def test_known_modes_of_a_mixture_and_of_stacked_digits():
    mixture = open_source("mixture2d")
    (found,) = diagnose.known_modes(mixture, mixture.images(500))
    assert (found.numbers["modes"], found.verdict) == (25, "green")
    stacked = open_source("stacked_digits")
    batch = stacked.gather(np.arange(1000, 6000))
    (found,) = diagnose.known_modes(stacked, batch["image"])
    assert (found.numbers["modes"], found.verdict) == (1000, "green")
    (found,) = diagnose.known_modes(stacked, batch["image"][batch["label"] < 800])
    assert found.verdict == "red"
    assert 800 <= found.numbers["modes"] < 850  # one digit in a hundred is misread
    assert diagnose.known_modes(open_source("digits"), batch["image"]) == []


def test_points_have_a_page_too(tmp_path, capsys):
    base = ["--config", "gan_mixture2d", "--workdir", tmp_path, *TINY, "--config.model.depth=1"]
    assert run("train", *base, capsys=capsys)[0] == 0
    command = ["diagnose", "--workdir", tmp_path, "--num", 300, "--num_train", 2000]
    assert run(*command, capsys=capsys)[0] == 0
    row = json.loads((tmp_path / diagnose.DIAGNOSES).read_text())
    assert row["verdicts"]["modes"] == "red"
    assert row["numbers"]["batch_statistics"]["layers"] == 0
    assert (row["protocol"]["num_data"], row["protocol"]["num_train"]) == (100_000, 2000)
    _, words = read(tmp_path / diagnose.PAGE)
    assert "has no running batch statistics" in words
    assert "(2,000 searched)" in words


def test_rows_are_those_of_the_spread_in_any_order():
    source = open_source("digits")
    every, rows = source.images(700), np.array([699, 3, 3, 300])
    np.testing.assert_array_equal(diagnose.source_rows(source, 700, rows), every[rows])


def test_which_split_is_held_out(tmp_path):
    def splits(held_out=None, name="digits", **changes):
        options = data.options_of(name)(**changes)
        trained = types.SimpleNamespace(config=types.SimpleNamespace(data=options))
        args = types.SimpleNamespace(data=None, held_out=held_out, named={"config": {}})
        return diagnose.open_splits(trained, args)[1:]

    other, name = splits(name="digits")
    assert (len(other), name) == (355, "test")
    assert splits(name="digits", split="all") == (None, None)
    assert splits("none", name="digits") == (None, None)
    np.save(tmp_path / "pictures.npy", np.zeros((4, 8, 8), np.uint8))
    assert splits(name="array", path=str(tmp_path / "pictures.npy")) == (None, None)
    # A held-out set too small to say anything is taken only where it is asked for.
    for part in ("train", "val"):
        (tmp_path / "folder" / part).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "folder" / part / "a.png")
    folder = {"name": "folder", "path": str(tmp_path / "folder")}
    assert splits(**folder) == (None, None)
    other, name = splits("val", **folder)
    assert (len(other), name) == (1, "val")


def test_names_from_outside_are_escaped():
    evidence = {
        "names": np.array(["<i>", "b"]),
        "real": np.array([0.5, 0.5]),
        "fake": np.array([0.4, 0.6]),
        "sure": np.array([True, False]),
    }
    numbers = {"conditional": False, "rare": ["<b>&"]}
    answer = Diagnosis("classes", "amber", numbers, "<script>", evidence)
    protocol = {"num_fake": 1, "num_train": 1, "num_data": 1, "num_held_out": 0, "alpha": 0.001}
    protocol |= {"data": "folder <a>", "features": "x<y", "held_out": None}
    text = diagnosis.page("<t>", [answer], {}, protocol)
    for raw in ("<script>", "<b>", "<a>", "x<y", "<t>"):
        assert raw not in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--num", 99], "--num is 99; a diagnosis needs at least 100 examples."),
        (["--num_train", 5], "--num_train is 5; a diagnosis needs at least 100 examples."),
        (["--held_out", "train"], "--held_out is train, which the run was trained on;"),
        (
            ["--held_out", "tset"],
            "--held_out is 'tset', but it must be one of train, test, all: set --held_out=test.",
        ),
        (["--features", "vgg"], "no features are called 'vgg'; did you mean 'vgg16'"),
        (["--step", 3], "RUN/checkpoints has no checkpoint of step 3"),
        (["--out", "nowhere/page.html"], "there is no folder nowhere to put page.html into"),
    ],
)
def test_bad_input_is_named(workdir, tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("diagnose", "--workdir", workdir, *arguments, capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith(f"jaxgan: {sentence}".replace("RUN", str(workdir)))
