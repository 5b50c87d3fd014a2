"""Configs: found, completed, overridden, and refused in sentences."""

import dataclasses
import re

import pytest

from jaxgan import config, data, models
from jaxgan import train as training
from jaxgan.game import DataSpec


def own(tmp_path, text, name="mine.py"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def refusal(*args):
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        config.load(*args)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_a_config_is_complete_and_locked():
    cfg = config.load("sngan_digits")
    assert (cfg.model_name, cfg.data_name, cfg.seed) == ("sngan", "digits", 0)
    assert set(cfg.model) == {"name"} | {
        f.name for f in dataclasses.fields(models.load("sngan").Options)
    }
    assert set(cfg.data) == {f.name for f in dataclasses.fields(data.DataOptions)}
    assert set(cfg.train) == {f.name for f in dataclasses.fields(training.Options)}
    assert cfg.train.keep == training.Options().keep  # not in the file: the owner's default
    with pytest.raises(AttributeError):
        cfg.train.stepz = 3


def test_every_config_that_comes_along_loads_and_describes_itself():
    assert "sngan_digits" in config.names()
    for name in config.names():
        assert config.load(name).model_name in models.names()
        assert config.describe(name).endswith(".")


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("train.steps=100", "train", "steps", 100),
        ("train.steps=1e3", "train", "steps", 1000),
        ("train.steps=1000.0", "train", "steps", 1000),
        ("model.beta1=1", "model", "beta1", 1.0),
        ("model.critic_learning_rate=3e-4", "model", "critic_learning_rate", 3e-4),
        ("model.conditional=True", "model", "conditional", True),
        ("model.conditional=1", "model", "conditional", True),
        ("model.dequantise=false", "model", "dequantise", False),
        ("data.path=a=b.zip", "data", "path", "a=b.zip"),
        ("data.path=", "data", "path", ""),
    ],
)
def test_overrides_take_the_type_of_what_they_override(override, section, key, value):
    got = config.load("sngan_digits", [override])[section][key]
    assert got == value
    assert type(got) is type(value)


def test_the_last_of_two_overrides_counts_and_the_seed_can_be_set():
    cfg = config.load("sngan_digits", ["train.steps=1", "seed=7", "train.steps=2"])
    assert (cfg.train.steps, cfg.seed) == (2, 7)


def test_another_model_brings_its_own_options():
    cfg = config.load("sngan_digits", ["model.name=wgan_gp", "model.penalty_weight=3"])
    assert cfg.model.penalty_weight == 3.0
    # What the file set, both have.
    assert cfg.model.generator_width == config.load("sngan_digits").model.generator_width


def test_a_config_of_ones_own(tmp_path):
    text = 'def get_config():\n    return {"model": {"name": "gan", "depth": 1}, "seed": 5}\n'
    path = own(tmp_path, text)
    cfg = config.load(path, ["model.depth=2"])
    assert (cfg.model_name, cfg.model.depth, cfg.seed, cfg.data_name) == ("gan", 2, 5, "digits")
    assert config.load(path).model.depth == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sngan_digit", "there is no config 'sngan_digit'; did you mean 'sngan_digits'?"),
        ("xyzzy", "there is no config 'xyzzy'; see them with: jaxgan list."),
        ("nowhere.py", "there is no config file nowhere.py; check --config."),
        ("some/where", "there is no config file some/where; check --config."),
    ],
)
def test_unknown_configs(name, sentence):
    assert refusal(name).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def get_config(:\n", "SyntaxError"),
        ("import nonsense_that_is_not_there\n", "ModuleNotFoundError"),
        ("x = 1\n", "AttributeError"),
        ("def get_config():\n    return 1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_config_file_that_is_broken(tmp_path, text, found):
    path = own(tmp_path, text)
    assert refusal(path).startswith(f"the config {path} cannot be read ({found}: ")


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (
            "None",
            "get_config() of FILE returns NoneType; it must return a dict of model, data and train.",
        ),
        (
            '{"model": {"name": "gan"}, "trian": {"steps": 3}}',
            "there is no trian.steps in FILE; did you mean 'train.steps'?",
        ),
        (
            '{"model": {"name": "gan"}, "train": {"stpes": 3}}',
            "there is no train.stpes in FILE; did you mean 'train.steps'?",
        ),
        (
            '{"model": {"name": "gan"}, "train": 3}',
            "there is no train in FILE; there are train.steps, ",
        ),
        ('{"model": 3}', "there is no model '' (config.model.name); the models are dcgan, gan, "),
        (
            '{"model": {"name": "gan", "depth": "two"}}',
            "model.depth in FILE is 'two', but it must be a whole number (such as 2).",
        ),
        (
            '{"model": {"name": "gna"}}',
            "there is no model 'gna' (config.model.name); did you mean 'gan'?",
        ),
        (
            '{"train": {"steps": 3}}',
            "there is no model '' (config.model.name); the models are dcgan, gan, ",
        ),
    ],
)
def test_a_config_file_with_wrong_contents(tmp_path, returned, sentence):
    path = own(tmp_path, f"def get_config():\n    return {returned}\n")
    assert refusal(path).startswith(sentence.replace("FILE", path))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.stepz=3", "there is no --config.train.stepz; did you mean 'train.steps'?"),
        ("train.learning_rate=3", "there is no --config.train.learning_rate; "),
        ("model.steps=3", "there is no --config.model.steps; did you mean 'train.steps'?"),
        ("steps=3", "there is no --config.steps; did you mean 'train.steps'?"),
        ("model.xyzzy=3", "there is no --config.model.xyzzy; there are model.name, "),
        ("xyzzy=3", "there is no --config.xyzzy; there are model.name, "),
        ("train.steps", "--config.train.steps has no value; write --config.train.steps=VALUE."),
        ("train.steps=many", "--config.train.steps is 'many', but it must be a whole number (such as "),
        ("train.steps=1.5", "--config.train.steps is '1.5', but it must be a whole number (such as "),
        ("train.steps=inf", "--config.train.steps is 'inf', but it must be a whole number (such as "),
        ("model.beta1=high", "--config.model.beta1 is 'high', but it must be a number (such as "),
        ("model.conditional=yes", "--config.model.conditional is 'yes', but it must be true or false (such as False)."),
        ("model.name=sngam", "there is no model 'sngam' (config.model.name); did you mean 'sngan'?"),
        ("seed=-1", "the seed is -1; it must be a whole number from 0 to 2^32 - 1."),
        ("seed=4294967296", "the seed is 4294967296; it must be a whole number from 0 to 2^32 - 1."),
        ("seed=x", "--config.seed is 'x', but it must be a whole number (such as 0)."),
    ],
)  # fmt: skip
def test_wrong_overrides(override, sentence):
    assert refusal("sngan_digits", [override]).startswith(sentence)


def test_types_in_a_file_are_held_too():
    for given, wanted in ((True, 3), (None, 3), ([1], 3), (3, "text"), (True, 1.5)):
        with pytest.raises(ValueError, match=r"^model\.x in the file is"):
            config._coerce("model.x in the file", given, wanted)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.steps=0", "config.train.steps is 0; it must be at least 1."),
        ("train.keep=0", "config.train.keep is 0; it must be at least 1."),
        ("model.dtype=float16", "config.model.dtype is 'float16'; the networks compute in 'float32' or 'bfloat16'."),
        ("model.optimizer=adamw", "config.model.optimizer is 'adamw'; it is 'adam' or 'rmsprop'."),
        ("model.architecture=unet", "config.model.architecture is 'unet'; it is one of auto, "),
        ("model.objective=hinged", "hinge"),
    ],
)  # fmt: skip
def test_values_that_no_game_can_be_made_of(override, sentence):
    cfg = config.load("sngan_digits", [override])
    with pytest.raises(ValueError, match=re.escape(sentence)) as raised:
        config.make_run(cfg, DataSpec((8, 8, 1), 10, 100))
    assert "\n" not in str(raised.value)


def test_what_a_model_cannot_make_is_refused():
    def refused(override, spec):
        with pytest.raises(ValueError, match=r"\S") as raised:
            config.make_run(config.load("sngan_digits", [override]), spec)
        return str(raised.value)

    assert "21" in refused("seed=0", DataSpec((21, 21, 3), None, 100))
    assert "(32, 48, 3)" in refused("seed=0", DataSpec((32, 48, 3), None, 100))
    text = "config.model.conditional is on, but the data has no labels"
    assert text in refused("model.conditional=true", DataSpec((8, 8, 1), None, 100))


def test_a_run_is_reopened_from_its_workdir_alone(tmp_path):
    path = own(tmp_path, 'def get_config():\n    return {"model": {"name": "gan", "depth": 1}}\n')
    cfg = config.load(path, ["train.steps=3", "seed=4"])
    run = config.make_run(cfg, DataSpec((8, 8, 1), 10, 100))
    training.workdir.claim(tmp_path / "run", run.record)
    (tmp_path / "mine.py").unlink()
    again = config.reopen(tmp_path / "run")
    assert again.config == run.config
    assert again.spec == run.spec
    assert again.train_options == run.train_options
    assert again.game.sample_shape == (8, 8, 1)


def test_a_workdir_that_holds_no_run_or_a_broken_one_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run") as raised:
        config.reopen(tmp_path)
    assert str(tmp_path) in str(raised.value)
    record = tmp_path / training.workdir.RECORD
    record.write_text('{"config": {')
    with pytest.raises(ValueError, match="is not valid JSON"):
        config.reopen(tmp_path)
    record.write_text("{}")
    with pytest.raises(ValueError, match="is no record of a run"):
        config.reopen(tmp_path)


def test_training_augments_as_the_data_section_says(tmp_path, monkeypatch):
    cfg = config.load("pix2pix_digits", ["data.flip=true", "data.jitter=3"])
    source, given = config.open_data(cfg), {}
    monkeypatch.setattr(config.training, "train", lambda *args, **options: given.update(options))
    config.make_run(cfg, source.spec).train(source, tmp_path / "run")
    assert (given["flip"], given["jitter"]) == (True, 3)


def test_a_run_with_a_checkpoint_needs_no_files_of_weights(tmp_path):
    gone = ["model.perceptual=vgg16", f"model.perceptual_file={tmp_path}/gone.pth"]
    cfg = config.load("vqgan_digits", gone)
    run = config.make_run(cfg, config.open_data(cfg).spec)
    with pytest.raises(ValueError, match="weights of the perceptual network cannot be had"):
        run.train(config.open_data(cfg), tmp_path)
    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    run.prepare(tmp_path)
