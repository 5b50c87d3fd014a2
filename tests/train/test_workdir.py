"""The record of a run: which data a run continues on, and which it refuses."""

import json
import shlex
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import config
from jaxgan.cli.errors import sentence
from jaxgan.game import State
from jaxgan.options import OptionError
from jaxgan.train import Checkpoints, schema, workdir


def save(root, count=4, seed=0):
    """Pictures of two classes, 8x8."""
    for i in range(count):
        path = root / "train" / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng([seed, i]).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return root


def claim(folder, path, *overrides):
    """Starts or continues the run in `folder` on the pictures of `path`."""
    given = ["data.name=folder", f"data.path={path}", *overrides]
    cfg = config.load("gan_digits", given)
    source = config.open_data(cfg)
    config.make_run(cfg, source.spec).claim(folder, source)


def record(folder):
    return json.loads((folder / workdir.RECORD).read_text())


def forget(folder):
    """Makes the record that of an earlier version, which states no fingerprint."""
    left = {key: record(folder)[key] for key in ("jaxgan", "config", "spec")}
    (folder / workdir.RECORD).write_text(json.dumps(left))


@pytest.fixture
def run(tmp_path):
    """(workdir of a run, its pictures)."""
    pictures = save(tmp_path / "pics")
    claim(tmp_path / "run", pictures)
    return tmp_path / "run", pictures


def test_the_record_states_the_data_and_the_names_of_classes(run):
    folder, pictures = run
    found = record(folder)
    assert len(found["data_fingerprint"]) == 64
    assert found["data"] == f"folder {pictures}: 4 pictures, 8x8x3, 2 classes"
    assert found["spec"]["fields"]["label"]["names"] == ["cat", "dog"]
    assert config.reopen(folder).spec["label"].names == ("cat", "dog")


def test_moved_data_are_the_same(run):
    folder, pictures = run
    there = pictures.rename(pictures.parent / "moved")
    before = record(folder)["data_fingerprint"]
    claim(folder, there)
    assert record(folder)["config"]["data"]["path"] == str(there)
    assert record(folder)["data_fingerprint"] == before
    claim(folder, shutil.make_archive(str(pictures.parent / "zipped"), "zip", there))


@pytest.mark.parametrize("change", ["other pixels", "one more", "one fewer", "another class"])
def test_other_data_under_the_same_path_are_refused(run, change):
    folder, pictures = run
    if change == "other pixels":
        save(pictures, seed=1)
    elif change == "one more":
        save(pictures, 5)
    elif change == "one fewer":
        (pictures / "train/cat/0.png").unlink()
    else:
        (pictures / "train/cat").rename(pictures / "train/fox")
    before = record(folder)
    with pytest.raises(OptionError) as raised:
        claim(folder, pictures)
    text = sentence(raised.value, "train")
    assert text.startswith(f"{folder} holds a run on other data (folder {pictures}: 4 pictures, ")
    assert text.endswith("choose another workdir, or restore the former data.")
    assert record(folder) == before
    claim(folder.parent / "another", pictures)
    shutil.rmtree(pictures)
    save(pictures)
    claim(folder, pictures)


def test_other_data_under_another_path_are_refused(run):
    folder, pictures = run
    other = save(pictures.parent / "the others", seed=1)
    with pytest.raises(OptionError) as raised:
        claim(folder, other)
    text = sentence(raised.value, "train")
    assert text.endswith(f"or give the former data: set --config.data.path={pictures}.")
    (word,) = [word for word in shlex.split(text) if word.startswith("--config.data.path=")]
    claim(folder, word.partition("=")[2].removesuffix("."))


def test_another_option_of_the_data_is_another_config(run):
    folder, pictures = run
    with pytest.raises(
        ValueError, match=r"a run of another config \(data.flip is False there and True"
    ):
        claim(folder, pictures, "data.flip=true")


class TestRecordsOfEarlierVersions:
    def test_a_run_continues_and_then_states_a_fingerprint(self, run):
        folder, pictures = run
        there = record(folder)
        forget(folder)
        claim(folder, pictures)
        assert record(folder) == there

    def test_another_number_of_pictures_or_classes_is_refused(self, run):
        folder, pictures = run
        forget(folder)
        save(pictures, 5)
        text = r"holds a run on other data \(4 examples\) than these \(folder .*: 5 pictures"
        with pytest.raises(OptionError, match=text):
            claim(folder, pictures)
        (pictures / "train/cat/4.png").unlink()
        (pictures / "train/fox").mkdir()
        (pictures / "train/cat/0.png").rename(pictures / "train/fox/0.png")
        with pytest.raises(OptionError, match="holds a run on other data"):
            claim(folder, pictures)

    def test_moved_data_are_not_known_to_be_the_same(self, run):
        folder, pictures = run
        forget(folder)
        there = pictures.rename(pictures.parent / "moved")
        text = r"data.path is .*pics' there and .*moved' here\); choose .* Continue it once with the data in their form"
        with pytest.raises(ValueError, match=text):
            claim(folder, there)
        there.rename(pictures)
        claim(folder, pictures)
        claim(folder, pictures.rename(there))


def lacking(folder, section, option):
    """Makes the record that of an earlier version, which did not have this option."""
    left = record(folder)
    del left["config"][section][option]
    (folder / workdir.RECORD).write_text(json.dumps(left))


def test_a_run_of_a_version_without_an_option_continues_with_its_default(run):
    folder, pictures = run
    for section, option in (("model", "depth"), ("data", "jitter"), ("train", "accumulate")):
        lacking(folder, section, option)
    claim(folder, pictures)
    assert record(folder)["config"]["train"]["accumulate"] == 1


def test_another_value_of_an_option_that_the_run_lacks_is_refused(run):
    folder, pictures = run
    lacking(folder, "train", "accumulate")
    with pytest.raises(OptionError, match=r"train.accumulate is 1 there and 2 here") as error:
        claim(folder, pictures, "train.accumulate=2")
    assert "train.accumulate=1" in str(error.value)
    claim(folder, pictures, "train.accumulate=1")


def test_where_the_examples_are_kept_may_change(run):
    folder, pictures = run
    for choice in ("yes", "no"):
        claim(folder, pictures, f"train.data_on_device={choice}")
        assert record(folder)["config"]["train"]["data_on_device"] == choice


# The format ------------------------------------------------------------------------------------------------


def restate(folder, **changes):
    left = {**record(folder), **changes}
    (folder / workdir.RECORD).write_text(json.dumps(left))


def test_a_record_of_a_later_format_is_refused_and_kept(run):
    folder, pictures = run
    restate(folder, schema=schema.SCHEMA + 1, jaxgan="9.9", config="of another form")
    before = record(folder)
    text = rf"^{folder}/config.json is of format {schema.SCHEMA + 1}, written by jaxgan 9.9, .*; install that version"
    for read in (lambda: claim(folder, pictures), lambda: config.reopen(folder)):
        with pytest.raises(schema.NewerSchema, match=text):
            read()
    assert record(folder) == before
    claim(folder.parent / "another", pictures)


def test_a_record_without_a_format_is_read_and_then_states_one(run):
    folder, pictures = run
    there = record(folder)
    left = {key: value for key, value in there.items() if key != "schema"}
    (folder / workdir.RECORD).write_text(json.dumps(left))
    claim(folder, pictures)
    assert record(folder) == there


@pytest.mark.parametrize("how", ["missing", "half", "not text"])
def test_a_lost_record_is_taken_from_the_latest_checkpoint(run, how):
    """So a run neither ends with its record nor continues with another config."""
    folder, pictures = run
    there, path = record(folder), folder / workdir.RECORD
    checkpoints = Checkpoints(folder / workdir.CHECKPOINTS, record=there)
    checkpoints.save(1, State(jnp.int32(1), {"critic": {"w": jnp.ones(3)}}, {}, {}, {}))
    checkpoints.close()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100] if how == "half" else b"\xff\xfe\x00\xd8")
    said = f"config.json is {'missing' if how == 'missing' else 'damaged'}; the copy in its latest checkpoint is used"
    with pytest.warns(UserWarning, match=said):
        assert config.reopen(folder).config.to_dict() == there["config"]
    with (
        pytest.warns(UserWarning, match=said),
        pytest.raises(OptionError, match=r"model\.depth is 2 there and 9 here"),
    ):
        claim(folder, pictures, "model.depth=9")
    with pytest.warns(UserWarning, match=said):
        claim(folder, pictures)
    assert record(folder) == there
