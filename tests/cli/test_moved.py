"""Data that were moved, changed or numbered otherwise, in `train`, `evaluate`, `diagnose`, `lipschitz`, `compare`."""

import itertools
import json
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxgan.cli.examples import open_examples
from jaxgan.cli.main import main

TINY = [
    *("--config", "sngan_digits", "--config.data.name=folder", "--config.model.conditional=true"),
    *("--config.model.architecture=conv", "--config.model.depth=1", "--config.model.batch_size=8"),
    *("--config.model.generator_width=8", "--config.model.critic_width=8"),
    *("--config.train.devices=1", "--config.train.grid=4", "--config.train.log_every=2"),
]
QUICK = ["--num", 40, "--scores", "fd"]


def save(root, names, count=4, seed=0):
    """`count` pictures, 8x8, in each of the folders."""
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.random.default_rng([seed, k, i]).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def run(*arguments, capsys):
    """(exit code, standard output, standard error)."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def evaluate(*arguments, capsys):
    """The result that `jaxgan evaluate` prints."""
    code, out, err = run("evaluate", *arguments, capsys=capsys)
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def refused(*arguments, capsys):
    """The one sentence that a command ends with."""
    code, _, err = run(*arguments, capsys=capsys)
    assert code == 2
    (line,) = err.splitlines()
    return line.removeprefix("jaxgan: ")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(workdir of a conditional run of two rounds, its 120 pictures of two classes)."""
    folder = tmp_path_factory.mktemp("moved")
    pictures = save(folder / "pics", ("cat", "dog"), 60)
    command = ["train", *TINY, f"--config.data.path={pictures}", "--config.train.steps=2"]
    assert main([*command, "--workdir", str(folder / "run")]) == 0
    return folder / "run", pictures


@pytest.fixture
def copied(trained, tmp_path):
    """(a copy of the run, its pictures in a new place, where they were in the old one)."""
    folder, pictures = trained
    there = shutil.copytree(pictures, tmp_path / "new place")
    copy = shutil.copytree(folder, tmp_path / "run")
    gone = tmp_path / "gone"
    text = (copy / "config.json").read_text()
    (copy / "config.json").write_text(text.replace(f'"path": "{pictures}"', f'"path": "{gone}"'))
    return copy, there, gone


def test_moved_data_take_one_flag_to_evaluate_and_to_train(copied, trained, capsys):
    copy, there, gone = copied
    text = refused("evaluate", "--workdir", copy, *QUICK, capsys=capsys)
    assert text == (
        f"--config.data.path is '{gone}', but there is no such folder or zip file: set --config.data.path=PATH."
    )
    flag = f"--config.data.path={there}"
    moved = evaluate("--workdir", copy, *QUICK, flag, capsys=capsys)
    assert (
        moved["notes"]
        == evaluate("--workdir", copy, *QUICK, "--data", there, capsys=capsys)["notes"]
    )
    former = evaluate("--workdir", trained[0], *QUICK, capsys=capsys)
    assert moved["protocol"]["data"] != former["protocol"]["data"]
    assert moved["protocol"]["data_fingerprint"] == former["protocol"]["data_fingerprint"]
    code, out, err = run("compare", copy, trained[0], capsys=capsys)
    assert (code, err) == (0, "")
    assert "fd_random_conv" in out
    code, _, err = run("train", "--workdir", copy, flag, "--config.train.steps=3", capsys=capsys)
    assert (code, f"resuming {copy} at step 2" in err) == (0, True)
    assert json.loads((copy / "config.json").read_text())["config"]["data"]["path"] == str(there)


@pytest.mark.slow
def test_other_pictures_in_the_same_place(trained, tmp_path, capsys):
    copy = shutil.copytree(trained[0], tmp_path / "run")
    other = save(tmp_path / "other", ("cat", "dog"), 60, seed=1)
    flag = f"--config.data.path={other}"
    text = refused("train", "--workdir", copy, flag, "--config.train.steps=3", capsys=capsys)
    assert f"{copy} holds a run on other data (folder {trained[1]}: 120 pictures" in text
    words = [word.removesuffix(".") for word in shlex.split(text)]
    (fix,) = [word for word in words if word.startswith("--config.")]
    assert run("train", "--workdir", copy, fix, "--config.train.steps=3", capsys=capsys)[0] == 0
    note = f"the run was trained on other data than folder {other}: 120 pictures, 8x8x3, 2 classes; if its data were"
    result = evaluate("--workdir", copy, *QUICK, flag, capsys=capsys)
    assert [text for text in result["notes"] if text.startswith(note)]
    evaluate("--workdir", trained[0], *QUICK, capsys=capsys)
    text = refused("compare", copy, trained[0], capsys=capsys)
    assert text.startswith(
        "the protocols differ, so the scores cannot be compared: data is 'folder"
    )
    assert f" in A and other examples, 'folder {trained[1]}: 120 pictures" in text


@pytest.mark.slow
def test_diagnose_and_lipschitz_take_the_same_flag(copied, trained, capsys):
    copy, there, _ = copied
    flag = f"--config.data.path={there}"
    small = ("--num", 100, "--held_out", "none")
    for command in (("diagnose", *small), ("lipschitz", "--num", 2)):
        text = refused(command[0], "--workdir", copy, *command[1:], capsys=capsys)
        assert text.endswith("there is no such folder or zip file: set --config.data.path=PATH.")
        code, _, err = run(*command, "--workdir", copy, flag, capsys=capsys)
        assert (code, "other data" in err) == (0, False)
    other = save(copy.parent / "other", ("dog", "eel"), 60)
    text = refused("diagnose", *small, "--workdir", copy, "--data", other, capsys=capsys)
    assert "the classes of the two sets differ (only folder" in text


def test_the_place_of_the_data_is_all_that_evaluate_takes_of_the_config(copied, capsys):
    copy, there, _ = copied
    place = f"--config.data.path={there}"
    wrong = ("evaluate", "--workdir", copy, *QUICK, "--config.data.flip=true", place)
    text = refused(*wrong, capsys=capsys)
    assert text.startswith(
        "--config.data.flip cannot be set here: of the config of a trained run, only the place"
    )
    assert "--config.data.path" in text
    text = refused("evaluate", "--workdir", copy, "--real", there, place, capsys=capsys)
    assert text == (
        "--real and the place of the run's data exclude each other; leave out --data (--config.data.path), or --real."
    )
    both = ("evaluate", "--fake", there, "--real", there, *QUICK)
    for given in (["--data", there], [place]):
        text = refused(*both, *given, capsys=capsys)
        assert text.endswith(
            "apply to a run (--workdir), not to two sets of pictures; leave them out."
        )
    assert evaluate(*both[1:], capsys=capsys)["fd_random_conv"] == pytest.approx(0, abs=1e-6)


class TestTwoSets:
    def test_classes_are_paired_by_their_names(self, tmp_path, capsys):
        real = save(tmp_path / "real", ("b", "c"), 20)
        fake = save(tmp_path / "fake", ("c", "b"), 20)  # the pictures of b under c, and the reverse
        same = save(tmp_path / "same", ("b", "c"), 20)
        common = ("--real", real, "--num", 40, "--scores", "classwise")
        assert evaluate("--fake", same, *common, capsys=capsys)["classwise_fd_random_conv"] < 1e-6
        assert evaluate("--fake", fake, *common, capsys=capsys)["classwise_fd_random_conv"] > 1e-3
        # A class of no pictures in one of the sets changes the numbers, not the pairs.
        more = save(tmp_path / "more", ("b", "c"), 20)
        save(more, ("a",), 4)
        common = ("--fake", same, "--real", more, "--num", 40, "--scores", "probe")
        assert evaluate(*common, capsys=capsys)["probe_accuracy_random_conv"] > 0.5

    def test_samples_keep_the_names_of_their_classes(self, trained, tmp_path, capsys):
        out = tmp_path / "a.npz"
        assert (
            run("sample", "--workdir", trained[0], "--num", 8, "--out", out, capsys=capsys)[0] == 0
        )
        assert open_examples(str(out)).classes == ("cat", "dog")

    def test_classes_that_cannot_be_paired(self, tmp_path, capsys):
        fake, real = save(tmp_path / "fake", ("a", "b")), save(tmp_path / "real", ("b", "c"))
        command = ("evaluate", "--fake", fake, "--real", real, "--num", 8)
        text = refused(*command, "--scores", "classwise", capsys=capsys)
        assert text.startswith("the classes of the two sets differ (only ")
        assert " has a; only " in text
        fix = shlex.split(text.removesuffix("."))[-2:]
        assert fix == ["--scores", "fd"]
        assert "fd_random_conv" in evaluate(*command[1:], *fix, capsys=capsys)

    def test_labels_that_are_no_classes(self, tmp_path, capsys):
        root = save(tmp_path / "edm", ("00000",))
        (root / "dataset.json").write_text(json.dumps({"labels": [["00000/0.png", [0.5, 1.5]]]}))
        np.savez(
            tmp_path / "a.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.zeros((4, 2))
        )
        for path in (root, tmp_path / "a.npz"):
            command = ("evaluate", "--fake", path, "--real", path, "--num", 4)
            text = refused(*command, "--scores", "classwise", capsys=capsys)
            assert text.endswith("or choose scores without classes, such as --scores fd.")
            fix = shlex.split(text.removesuffix("."))[-2:]
            assert "fd_random_conv" in evaluate(*command[1:], *fix, capsys=capsys)
            assert open_examples(str(path), classes=False).spec.num_classes is None
        # A set that is opened again, without labels, names its other faults as at first.
        broken = root / "00000/1.png"
        pixels = broken.read_bytes()
        broken.write_bytes(b"no picture")
        command = ("evaluate", "--fake", root, "--real", root, "--num", 4)
        text = refused(*command, capsys=capsys)
        assert text.endswith(
            "1.png is broken (not a picture that Pillow can read); repair or remove it."
        )
        broken.write_bytes(pixels)
        assert "fd_random_conv" in evaluate(*command[1:], capsys=capsys)

    def test_errors_name_no_flag_that_there_is_not(self, tmp_path, capsys):
        root = save(tmp_path / "pics", ("a",))
        file = root / "a/0.png"
        text = refused("evaluate", "--fake", file, "--real", root, capsys=capsys)
        assert text.startswith(f"{file}: the file is not a complete zip of pictures")
        assert "--options" not in text
        file.write_bytes(b"no picture")
        text = refused("evaluate", "--fake", root, "--real", root, capsys=capsys)
        assert text == (
            f"folder {root}: picture a/0.png is broken (not a picture that Pillow can read); repair or remove it."
        )
        file.unlink()
        assert len(open_examples(str(root))) == 3
        text = refused("evaluate", "--fake", "digits:tset", "--real", "digits", capsys=capsys)
        assert text == "digits:tset: split 'tset': it must be one of train, test, all."
        wrong = ("evaluate", "--fake", "digits", "--real", "digits", "--split", "tset")
        text = refused(*wrong, capsys=capsys)
        assert (
            text == "--split is 'tset', but it must be one of train, test, all: set --split=test."
        )


@pytest.mark.slow
def test_data_without_a_place_cannot_be_moved(tmp_path, capsys):
    workdir = tmp_path / "run"
    digits = [word for word in TINY if "conditional" not in word and "data.name" not in word]
    assert main(["train", *digits, "--workdir", str(workdir), "--config.train.steps=1"]) == 0
    for command, flag in itertools.product(
        ("evaluate", "diagnose", "lipschitz"), ("--data", "--config.data.path")
    ):
        text = refused(command, "--workdir", workdir, flag, "nowhere", capsys=capsys)
        assert text == (
            f"{flag} cannot be set here: the run's data, digits, have no such place; leave it out."
        )
    evaluate("--workdir", workdir, *QUICK, capsys=capsys)
