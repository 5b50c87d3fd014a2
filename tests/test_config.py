"""Configs: found, completed, overridden, and refused in sentences."""

import dataclasses
import json

import pytest

from jaxgan import config, data, models, options
from jaxgan import train as training
from jaxgan.spec import Field, Spec


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


def names(options):
    return {field.name for field in dataclasses.fields(options)}


def test_a_config_is_complete_and_frozen():
    cfg = config.load("sngan_digits")
    assert (cfg.model_name, cfg.data_name, cfg.seed) == ("sngan", "digits", 0)
    written = cfg.to_dict()
    assert set(written) == {"model", "data", "train", "seed"}
    assert set(written["model"]) == {"name"} | names(models.load("sngan").Options)
    assert set(written["data"]) == {"name"} | names(data.options_of("digits"))
    assert set(written["train"]) == names(training.Options)
    assert (written["model"]["name"], written["data"]["name"]) == ("sngan", "digits")
    assert cfg.train.keep == training.Options().keep  # not in the file: the owner's default
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.train.steps = 3


def test_every_option_says_what_it_means_and_its_default_is_allowed():
    classes = [models.load(name).Options for name in models.names()]
    classes += [data.options_of(name) for name in data.SOURCES]
    for made in [training.Options(), *(cls() for cls in classes)]:
        options.check(made)
        for row in options.describe(made):
            assert row.meaning, (type(made), row.name)
            assert row.name not in options.SECTIONS
    assert all(row.meaning for row in options.describe(config.load("sngan_digits")))


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
        ("model.beta1=0", "model", "beta1", 0.0),
        ("model.critic_learning_rate=3e-4", "model", "critic_learning_rate", 3e-4),
        ("model.conditional=True", "model", "conditional", True),
        ("model.conditional=1", "model", "conditional", True),
        ("model.dequantise=false", "model", "dequantise", False),
        ("train.weights=a=b.npz", "train", "weights", "a=b.npz"),
        ("train.weights=", "train", "weights", ""),
    ],
)
def test_overrides_take_the_type_of_what_they_override(override, section, key, value):
    name = "sngan_digits"
    got = getattr(getattr(config.load(name, [override]), section), key)
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


def test_of_another_source_the_file_counts_as_far_as_both_have_it():
    cfg = config.load("stylegan2_cifar10", ["data.name=folder", "data.path=pictures"])
    assert (cfg.data_name, cfg.data.path) == ("folder", "pictures")
    assert cfg.data.flip == config.load("stylegan2_cifar10").data.flip
    text = refusal("stylegan2_cifar10", ["data.name=folder", "data.tfds_name=cifar10"])
    assert text == "data.tfds_name is an option of tfds, not of folder; leave it out."
    assert config.load("stylegan2_cifar10", ["data.name=folder"]).data_name == "folder"


def test_an_option_of_other_modules_is_named_with_them(tmp_path):
    text = "data.modes is an option of mixture2d, not of digits; leave it out, or choose mixture2d by data.name."
    assert refusal("sngan_digits", ["data.modes=9"]) == text
    cfg = config.load("sngan_digits", ["data.modes=9", "data.name=mixture2d"])
    assert (cfg.data_name, cfg.data.modes) == ("mixture2d", 9)
    text = "not of gan; leave it out, or choose one of these by model.name."
    assert refusal("gan_digits", ["model.penalty_weight=3"]).endswith(text)
    owners = refusal("gan_digits", ["model.penalty_weight=3"]).partition(" is an option of ")[2]
    owners = owners.partition(", not of")[0].partition(" and ")[0].split(", ")
    assert len(owners) > 1
    for owner in owners:
        cfg = config.load("gan_digits", ["model.penalty_weight=3", f"model.name={owner}"])
        assert cfg.model.penalty_weight == 3
    # A very similar option of the same model is meant.
    text = "there is no option model.learning_rate; did you mean model.critic_learning_rate?"
    assert refusal("gan_digits", ["model.learning_rate=1e-3"]) == text
    path = own(
        tmp_path, 'def get_config():\n    return {"model": {"name": "gan"}, "data": {"modes": 9}}\n'
    )
    text = f"data.modes in {path} is an option of mixture2d, not of digits; leave it out, or choose"
    assert refusal(path).startswith(text)
    assert config.load(path, ["data.name=mixture2d"]).data.modes == 9


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["data.name=mixture2d"],
            "data.name is 'mixture2d', but the run in RUN is of digits, and a run keeps its data source; choose another"
            " workdir, or keep digits: set data.name=digits.",
        ),
        (
            ["model.name=wgan", "model.depth=1"],
            "model.name is 'wgan', but the run in RUN is of gan, and a run keeps its model; choose another workdir, or"
            " keep gan: set model.name=gan.",
        ),
    ],
)
def test_a_run_keeps_its_model_and_its_data_source(tmp_path, overrides, sentence):
    cfg = config.load("gan_digits", ["model.depth=1"])
    spec = Spec({"image": Field("image", (8, 8, 1)), "label": Field("label", number=10)}, 100)
    run = tmp_path / "run"
    training.workdir.claim(run, config.make_run(cfg, spec).record)
    with pytest.raises(options.OptionError) as raised:
        config.of_workdir(run, overrides)
    assert str(raised.value) == sentence.replace("RUN", str(run))
    (fix,) = raised.value.fixes
    fixed = [*overrides, *(f"{name}={value}" for name, value in fix.items())]
    assert config.of_workdir(run, fixed) == cfg
    # Its other options are not those of another source, which cannot be chosen.
    with pytest.raises(
        options.UnknownOption, match=r"of mixture2d, not of digits; leave it out\.$"
    ):
        config.of_workdir(run, ["data.modes=9"])


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
        ("nowhere.py", "there is no config file nowhere.py."),
        ("some/where", "there is no config file some/where."),
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
            "there is no option trian.steps in FILE; did you mean train.steps?",
        ),
        (
            '{"model": {"name": "gan"}, "train": {"stpes": 3}}',
            "there is no option train.stpes in FILE; did you mean train.steps?",
        ),
        (
            '{"model": {"name": "gan"}, "train": 3}',
            "there is no option train in FILE; there are model.name, ",
        ),
        ('{"model": 3}', "model.name in FILE is empty, but it must be one of biggan, dcgan, gan, "),
        (
            '{"model": {"name": "gan", "depth": "two"}}',
            "model.depth in FILE is 'two', but it must be a whole number: set model.depth=2.",
        ),
        (
            '{"model": {"name": "gna"}}',
            "model.name in FILE is 'gna', but it must be one of biggan, dcgan, gan, ",
        ),
        (
            '{"train": {"steps": 3}}',
            "model.name in FILE is empty, but it must be one of biggan, dcgan, gan, ",
        ),
    ],
)
def test_a_config_file_with_wrong_contents(tmp_path, returned, sentence):
    path = own(tmp_path, f"def get_config():\n    return {returned}\n")
    assert refusal(path).startswith(sentence.replace("FILE", path))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.stepz=3", "there is no option train.stepz; did you mean train.steps?"),
        ("train.learning_rate=3", "there is no option train.learning_rate; there are steps, "),
        ("model.steps=3", "there is no option model.steps; did you mean train.steps?"),
        ("steps=3", "there is no option steps; did you mean train.steps?"),
        ("model.xyzzy=3", "there is no option model.xyzzy; there are name, "),
        ("data.mode=3", "there is no option data.mode; there are data.name, "),
        ("xyzzy=3", "there is no option xyzzy; there are model.name, "),
        ("train.steps", "train.steps has no value; give train.steps=VALUE."),
        ("train.steps=many", "train.steps is 'many', but it must be a whole number: set train.steps="),
        ("train.steps=1.5", "train.steps is '1.5', but it must be a whole number: set "),
        ("train.steps=inf", "train.steps is 'inf', but it must be a whole number: set "),
        ("train.steps=0", "train.steps is 0, but it must be at least 1: set train.steps=1."),
        ("model.beta1=high", "model.beta1 is 'high', but it must be a number: set "),
        ("model.conditional=yes", "model.conditional is 'yes', but it must be true or false: set model.conditional=f"),
        ("model.name=sngam", "model.name is 'sngam', but it must be one of biggan, dcgan, gan, "),
        ("data.name=foldr", "data.name is 'foldr', but it must be one of array, "),
        ("model.dtype=float16", "model.dtype is 'float16', but it must be one of float32, bfloat16: set model."),
        ("model.objective=hinged", "model.objective is 'hinged', but it must be one of minimax, "),
        ("seed=-1", "seed is -1, but it must be from 0 to 4294967295: set seed=0."),
        ("seed=4294967296", "seed is 4294967296, but it must be from 0 to 4294967295: set seed=4294967295."),
        ("seed=x", "seed is 'x', but it must be a whole number: set seed=0."),
    ],
)  # fmt: skip
def test_wrong_overrides(override, sentence):
    assert refusal("sngan_digits", [override]).startswith(sentence)


def test_the_way_out_of_a_wrong_override_is_one():
    for override in (
        "train.steps=0",
        "model.beta1=2",
        "model.dtype=float16",
        "data.split=tset",
        "seed=x",
    ):
        with pytest.raises(options.OptionError) as raised:
            config.load("sngan_digits", [override])
        for fix in raised.value.fixes:
            config.load("sngan_digits", [f"{name}={options.text(v)}" for name, v in fix.items()])


def test_what_a_file_gets_wrong_can_be_set_right_from_outside(tmp_path):
    path = own(
        tmp_path, 'def get_config():\n    return {"model": {"name": "gan", "depth": "two"}}\n'
    )
    assert config.load(path, ["model.depth=2"]).model.depth == 2


def test_what_a_model_cannot_make_is_refused():
    def refused(override, spec):
        with pytest.raises(ValueError, match=r"\S") as raised:
            config.make_run(config.load("sngan_digits", [override]), spec)
        return str(raised.value)

    assert "21" in refused("seed=0", Spec({"image": Field("image", (21, 21, 3))}, 100))
    assert "(32, 48, 3)" in refused("seed=0", Spec({"image": Field("image", (32, 48, 3))}, 100))
    text = "model.conditional is true, but the data has no labels: set model.conditional=false."
    assert text in refused(
        "model.conditional=true", Spec({"image": Field("image", (8, 8, 1))}, 100)
    )


def test_a_run_is_reopened_from_its_workdir_alone(tmp_path):
    path = own(tmp_path, 'def get_config():\n    return {"model": {"name": "gan", "depth": 1}}\n')
    cfg = config.load(path, ["train.steps=3", "seed=4"])
    run = config.make_run(
        cfg, Spec({"image": Field("image", (8, 8, 1)), "label": Field("label", number=10)}, 100)
    )
    training.workdir.claim(tmp_path / "run", run.record)
    (tmp_path / "mine.py").unlink()
    again = config.reopen(tmp_path / "run")
    assert again.config == run.config
    assert again.spec == run.spec
    assert again.train_options == run.train_options
    assert again.game.outputs["samples"].shape == (8, 8, 1)


OLD = {
    "progressive": {"batch_size": "16,256:14,512:6,1024:3", "learning_rate": "0.001,256:0.002"},
    "vqgan": {"channel_multiples": "1,1,2", "attention_resolutions": "", "perceptual": "none"},
}
OLD_DATA = {
    **{
        "name": "digits",
        "path": "",
        "split": "train",
        "resolution": 16,
        "channels": 3,
        "labels": True,
    },
    **{
        "flip": False,
        "jitter": 0,
        "strict": False,
        "direction": "AtoB",
        "modes": 25,
        "layout": "grid",
    },
    **{"std": 0.0, "tfds_name": "", "max_side": 250, "data_dir": ""},
}


@pytest.mark.parametrize("name", OLD)
def test_a_run_of_an_earlier_version_reopens_and_continues(tmp_path, name):
    """Its config held the options of all sources, and lists as text."""
    old = {"model": {"name": name, **OLD[name]}, "data": OLD_DATA, "train": {"steps": 3}, "seed": 4}
    if name == "vqgan":
        old["model"] |= {"critic_layers": 1, "codes": 16}
    spec = {"shape": [16, 16, 3], "num_classes": 10, "size": 1442, "condition": None}
    record = {"jaxgan": "0.1.0", "config": old, "spec": spec}
    (tmp_path / training.workdir.RECORD).write_text(json.dumps(record))
    run = config.reopen(tmp_path)
    assert (run.config.data_name, run.config.data.resolution, run.config.seed) == ("digits", 16, 4)
    if name == "progressive":
        assert run.config.model.batch_size == models.load(name).Options().batch_size
        assert run.config.model.learning_rate == ((4, 0.001), (256, 0.002))
    else:
        assert run.config.model.channel_multiples == (1, 1, 2)
        assert run.config.model.attention_resolutions == ()
    record["config"] = run.record["config"] | {"data": OLD_DATA}
    record["config"]["model"] |= OLD[name]
    (tmp_path / training.workdir.RECORD).write_text(json.dumps(record))
    training.workdir.claim(tmp_path, run.record)


def test_a_run_with_an_option_that_there_is_no_more_is_refused(tmp_path):
    run = config.make_run(
        config.load("gan_digits"),
        Spec({"image": Field("image", (8, 8, 1)), "label": Field("label", number=10)}, 100),
    )
    record = run.record
    record["config"]["model"]["krylov"] = 8
    (tmp_path / training.workdir.RECORD).write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"there is no option model.krylov in .*config.json; "):
        config.reopen(tmp_path)


def test_a_workdir_that_holds_no_run_or_a_broken_one_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run") as raised:
        config.reopen(tmp_path)
    assert str(tmp_path) in str(raised.value)
    record = tmp_path / training.workdir.RECORD
    record.write_text('{"config": {')
    with pytest.raises(ValueError, match=r"is damaged \(line 1 is not valid JSON\)"):
        config.reopen(tmp_path)
    record.write_text("{}")
    with pytest.raises(ValueError, match="is not the record of a run"):
        config.reopen(tmp_path)


def test_training_augments_as_the_data_section_says(tmp_path, monkeypatch):
    cfg = config.load("pix2pix_digits", ["data.flip=true", "data.jitter=3"])
    source, given = config.open_data(cfg), {}
    monkeypatch.setattr(config.training, "train", lambda *args, **options: given.update(options))
    config.make_run(cfg, source.spec).train(source, tmp_path / "run")
    assert (given["flip"], given["jitter"]) == (True, 3)


def test_training_starts_from_the_seed_of_the_config(tmp_path, monkeypatch):
    cfg, given = config.load("gan_digits", ["seed=5"]), {}
    source = config.open_data(cfg)
    monkeypatch.setattr(config.training, "train", lambda *args, **options: given.update(options))
    config.make_run(cfg, source.spec).train(source, tmp_path / "run")
    assert given["seed"] == 5


@pytest.mark.parametrize("split", ["train", "test"])
def test_evaluations_during_training_use_the_split_of_their_protocol(split):
    cfg = config.load("gan_digits", [f"data.split={split}", "train.evaluate_num=100"])
    source = config.open_data(cfg)
    evaluator = config.make_run(cfg, source.spec).evaluator(source)
    assert evaluator.source.summary.startswith("digits (train)")
    assert (evaluator.source is source) == (split == "train")
    assert (evaluator.protocol.num_fake, evaluator.protocol.num_real) == (100, 100)


def test_only_a_default_protocol_is_fitted_to_the_number_of_examples():
    cfg = config.load("gan_digits", ["train.protocol=quick"])
    source = config.open_data(cfg)
    fitted = config.make_run(cfg, source.spec).evaluator(source).protocol
    assert fitted.num_fake == fitted.num_real == len(source)
    named = config.load("gan_digits", ["train.protocol=swd16k_train"])
    with pytest.raises(ValueError, match="compares with 16,384 real examples, but digits"):
        config.make_run(named, source.spec).evaluator(source)


def test_a_run_with_a_checkpoint_needs_no_files_of_weights(tmp_path):
    gone = ["model.perceptual=vgg16", f"model.perceptual_file={tmp_path}/gone.pth"]
    cfg = config.load("vqgan_digits", gone)
    run = config.make_run(cfg, config.open_data(cfg).spec)
    with pytest.raises(ValueError, match="weights of the perceptual network cannot be read"):
        run.train(config.open_data(cfg), tmp_path)
    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    run.prepare(tmp_path)
