"""The command line: what each command does, and what it says to wrong input before anything compiles."""

import dataclasses
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import yaml
from PIL import Image
from processes import one_device

import jaxgan
from jaxgan import adversarial, config, data, options
from jaxgan.cli import dry_run, sample
from jaxgan.cli.examples import open_examples
from jaxgan.cli.main import main, parse, parser
from jaxgan.engine import Engine
from jaxgan.metrics.compare import scores as metric_scores
from jaxgan.train import Checkpoints, read_metrics
from jaxgan.train import workdir as training_folder

# One device: several virtual ones compile more slowly and gain nothing.
TINY = [
    *(
        "--config.model.batch_size=8",
        "--config.model.generator_width=8",
        "--config.model.critic_width=8",
    ),
    *("--config.model.depth=1", "--config.train.devices=1", "--config.train.grid=4"),
]


def run(*arguments, capsys):
    """(exit code, standard output, the lines of standard error)."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()


def ways_out(text):
    """The arguments of each way out that an error advises: "... set --a=1 and --b=2 or --c=3."."""
    words = shlex.split(text[text.index(": set ") + 6 :].removesuffix("."))
    ways = " ".join(map(shlex.quote, words)).split(" or ")
    return [[word for word in shlex.split(way) if word != "and"] for way in ways]


@pytest.fixture
def nothing_compiles(monkeypatch):
    """Fails the test if the engine compiles, or plays, anything."""

    def fail(*args, **kwargs):
        raise AssertionError("something was compiled before the input was checked")

    for name in ("init", "_program", "make", "round"):
        monkeypatch.setattr(Engine, name, fail)


@pytest.fixture
def refused(nothing_compiles, capsys):
    """refused("train", ...): the one sentence that the command ends with, after exit code 2."""

    def check(*arguments):
        code, out, err = run(*arguments, capsys=capsys)
        assert code == 2
        assert out == ""
        assert len(err) == 1, err
        assert err[0].startswith("jaxgan: ")
        return err[0].removeprefix("jaxgan: ")

    return check


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A conditional run on digits of six rounds, with checkpoints of 3 and 6."""
    workdir = tmp_path_factory.mktemp("runs") / "trained"
    command = [*TRAIN_CONDITIONAL, "--workdir", str(workdir)]
    assert main(command) == 0
    return workdir


TRAIN_CONDITIONAL = [
    *("train", "--config", "sngan_digits", "--config.model.conditional=true", *TINY),
    *("--config.model.architecture=conv", "--config.model.ema_half_life_kimg=0.01"),
    *("--config.train.steps=6", "--config.train.checkpoint_every=3", "--config.train.log_every=2"),
]


# Train ----------------------------------------------------------------------------------------------------


def test_train_alone_means_sngan_digits(monkeypatch, tmp_path, capsys):
    args = parser().parse_args(["train"])
    assert (args.config, args.workdir, args.dry_run) == (None, None, False)
    assert config.DEFAULT == "sngan_digits" in config.names()
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxgan.train.train", lambda *args, **kwargs: seen.append(args) or stop())

    def stop():
        raise OSError("stop here")

    assert main(["train"]) == 2
    ((game, source, workdir, options),) = seen
    assert str(workdir) == "runs/sngan_digits"
    assert (tmp_path / "runs/sngan_digits/config.json").is_file()
    cfg = config.load("sngan_digits")
    assert (options.steps, game.stages[0].batch_size) == (cfg.train.steps, cfg.model.batch_size)
    assert source.summary.startswith("digits")


def test_train_says_where_everything_is_and_what_to_run_next(trained, capsys):
    code, out, err = run(*TRAIN_CONDITIONAL, "--workdir", trained, capsys=capsys)
    assert (code, out) == (0, "")
    assert err[0].startswith("jaxgan: sngan on digits (train): 1,442 images, 8x8x1, 10 classes")
    assert f"workdir {trained}" in err[1]
    assert (
        f"jaxgan: {trained} has already trained 6 of 6 steps; to go on, give more train.steps"
        in err
    )
    text = "\n".join(err)
    for promise in ("samples.png", "losses.png", "metrics.jsonl"):
        assert f"{trained}/{promise}" in text
        assert (trained / promise).is_file()
    assert f"jaxgan sample --workdir {trained}" in text
    assert f"jaxgan evaluate --workdir {trained}" in text
    assert [row["step"] for row in read_metrics(trained)] == [2, 3, 4, 6]


def test_steps_may_grow_when_a_run_continues_and_overrides_take_either_form(tmp_path, capsys):
    base = ["train", "--config", "gan_mixture2d", "--workdir", tmp_path, *TINY]
    assert run(*base, "--config.train.steps", "2", capsys=capsys)[0] == 0
    code, _, err = run(*base, "--config.train.steps=4", capsys=capsys)
    assert code == 0
    assert f"jaxgan: resuming {tmp_path} at step 2" in err
    assert Checkpoints(tmp_path / "checkpoints").steps() == [2, 4]


def test_dry_run_shows_all_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run("train", "--config", "gan_mixture2d", *TINY, "--dry_run", capsys=capsys)
    assert (code, err) == (0, [])
    assert list(tmp_path.iterdir()) == []
    # 2 -> 8 -> 1 and 32 -> 8 -> 2, with biases.
    latent = config.load("gan_mixture2d").model.latent_dim
    for expected in (
        "generator_width: 8",
        "batch_size: 8",
        "data: mixture2d",
        "devices: 1 x ",
        str(2 * 8 + 8 + 8 + 1),
        str(latent * 8 + 8 + 8 * 2 + 2),
        "GFLOP",
        "temporary",
        "real images",
        "8 x 2",
        "half-life 50 kimg, at most 5 % of the images seen",
        "parameters of critic\n",
        "parameters of generator\n",
        f"| hidden0 | {latent} x 8 ",
        "state on 1 device",
        "memory of a device: at most",
        "python benchmarks/compile_for.py gan_mixture2d --platform tpu",
    ):
        assert expected in out, expected


@pytest.mark.slow
def test_a_dry_run_says_how_the_state_is_split_and_what_a_device_needs(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    wide = ["--config.model.generator_width=1024", "--config.model.depth=2"]
    command = ["train", "--config", "gan_mixture2d", *wide, "--dry_run"]
    code, out, _ = run(*command, "--config.train.devices=8", "--config.train.fsdp=8", capsys=capsys)
    assert code == 0
    assert "state on one of 8 devices" in out
    (row,) = re.findall(r"│ generator .* of .* of .*", out)
    # 1024 x 1024 and smaller ones, which are whole: 0.6 MiB of 4.2; Adam has twice as much, the average as much.
    kernels, latent = 1024 * 1024, config.load("gan_mixture2d").model.latent_dim
    small = latent * 1024 + 2 * 1024 + 1024 * 2 + 2
    device, whole = (f"{4 * (kernels / n + small) / 2**20:.1f} MiB" for n in (8, 1))
    if 4 * (kernels / 8 + small) < 2**20:
        device = f"{4 * (kernels / 8 + small) / 2**10:.1f} KiB"
    assert row.count(f"{device} of {whole}") == 2
    (need,) = re.findall(
        r"memory of a device: at most (.*) MiB \(during (?:critic|generator|samples|init)", out
    )
    assert float(need) > 4 * 4 * kernels / 8 / 2**20
    monkeypatch.setattr("jaxgan.train.memory.limit", lambda engine: 2.0**10)
    code, out, _ = run("train", "--config", "gan_mixture2d", *TINY, "--dry_run", capsys=capsys)
    assert code == 0
    line = next(line for line in out.splitlines() if "needs" in line and "1.0 KiB for JAX" in line)
    (way,) = re.findall(r"set (train\.accumulate=2)", line)
    assert (
        run(
            "train",
            "--config",
            "gan_mixture2d",
            *TINY,
            f"--config.{way}",
            "--dry_run",
            capsys=capsys,
        )[0]
        == 0
    )


def test_absurd_sizes_are_refused_before_memory_is_taken_for_them(monkeypatch, capsys):
    def refusal(*changes):
        code, _, err = run("train", *changes, "--dry_run", capsys=capsys)
        assert code == 2
        return err[-1]

    stargan = ["--config", "stargan_digits"]
    assert "from 0 to 8192: set --config.data.resolution=8192." in refusal(
        *stargan, "--config.data.resolution=16777216"
    )
    deep = refusal(*stargan, "--config.model.critic_layers=24")
    assert deep.endswith("and the data has 16x16: set --config.model.critic_layers=4.")
    large = refusal("--config", "sngan_digits", "--config.model.latent_dim=2147483647")
    assert large.endswith("it must be from 1 to 65536: set --config.model.latent_dim=65536.")

    def full(*args, **kwargs):
        raise MemoryError("Unable to allocate 360. PiB")

    monkeypatch.setattr("jaxgan.config.open_data", full)
    text = refusal("--config", "sngan_digits")
    assert (
        "this machine has too little memory for that (Unable to allocate 360. PiB); choose fewer"
        in text
    )


def test_a_device_that_runs_out_of_memory_ends_in_a_sentence(tmp_path, capsys):
    """More bytes than a processor has addresses for."""
    wide = ["--config.model.generator_width=200000000", "--config.model.depth=2"]
    command = ["train", "--config", "gan_mixture2d", "--workdir", tmp_path / "run"]
    code, _, err = run(*command, *wide, "--config.train.devices=1", capsys=capsys)
    assert code == 2
    assert err[-1].startswith(
        "jaxgan: a device ran out of memory; --dry_run prints what training needs; "
    )
    assert "train.accumulate=2 or a smaller model.batch_size." in err[-1]


def test_a_dry_run_cuts_nothing_on_a_terminal_of_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(dry_run, "_cost", lambda *given: dry_run.Cost(1.5e9, 2.0**24, 2.0**25))
    for name in ("stylegan2_digits", "vqgan_digits", "progressive_digits", "singan_china"):
        command = ["train", "--config", name, "--config.train.devices=1", "--dry_run"]
        code, out, _ = run(*command, capsys=capsys)
        assert code == 0
        tables = out[out.index("devices: ") : out.index("memory of a device: ")]
        assert "…" not in tables
        assert "=" not in tables  # no Python object
        assert max(map(len, tables.splitlines())) <= 80
        assert "temporary" in tables
        assert "16.0 MiB" in tables


def test_the_config_of_a_dry_run_is_yaml_that_says_all(capsys):
    cfg = config.load("progressive_digits", ["model.learning_rate=(4,0.001),(8,0.002)"])
    printed = yaml.safe_load(dry_run.as_yaml(cfg.to_dict()))
    assert printed == cfg.to_dict()
    assert "  learning_rate: [[4, 0.001], [8, 0.002]]\n" in dry_run.as_yaml(cfg.to_dict())


def test_help_explains_every_option_of_a_config(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help", "--config", "stylegan2_digits"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    cfg = config.load("stylegan2_digits")
    flags = [line.split()[0] for line in out.splitlines() if line.startswith("  --config.")]
    rows = options.describe(cfg)
    assert sorted(flags) == sorted(
        f"--config.{name}" for name in ("model.name", "data.name", *(row.name for row in rows))
    )
    words = " ".join(out.split())
    assert (
        "--config.model.mixing number, from 0 to 1; default 0.9 share of the images with" in words
    )
    assert (
        "--config.model.batch_size whole number, at least 1; default 64 in this config, 32" in words
    )
    for row in rows:
        assert row.meaning in words, row.name


def test_help_of_another_model_and_without_a_config(capsys):
    for words in ([], ["--config.model.name=wgan_gp"]):
        with pytest.raises(SystemExit):
            main(["train", *words, "--help"])
        out = capsys.readouterr().out
        assert "options of the config sngan_digits" in out
        assert ("--config.model.penalty_weight" in out) == bool(words)


def test_nan_ends_with_a_sentence_and_exit_code_1(tmp_path, capsys):
    rate = "--config.model.critic_learning_rate=1e38"
    options = ["--config.train.steps=20", "--config.train.log_every=5", rate]
    command = ["train", "--config", "gan_mixture2d", "--workdir", tmp_path, *TINY, *options]
    code, _, err = run(*command, capsys=capsys)
    assert code == 1
    assert err[-1].startswith("jaxgan: stopped: ")
    assert "became NaN or infinite at step " in err[-1]
    assert "no checkpoint was saved yet" in err[-1]


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_to_the_command_saves_and_sets_the_exit_code(tmp_path, number):
    command = [sys.executable, "-m", "jaxgan", "train", "--config", "gan_mixture2d"]
    options = [
        "--workdir",
        str(tmp_path),
        "--config.train.steps=1000000000",
        "--config.train.log_every=1",
    ]
    env = dict(os.environ, JAX_PLATFORMS="cpu", XLA_FLAGS=one_device())
    with subprocess.Popen(
        [*command, *options, *TINY], env=env, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            deadline = time.monotonic() + 120
            while len(read_metrics(tmp_path)) < 3 and time.monotonic() < deadline:
                assert child.poll() is None, child.stderr.read()
                time.sleep(0.05)
            child.send_signal(number)
            err = child.communicate(timeout=60)[1].splitlines()
        finally:
            child.kill()
    assert child.returncode == 128 + number
    (step,) = Checkpoints(tmp_path / "checkpoints").steps()
    assert step >= 3
    assert err[-1] == (
        f"jaxgan: stopped at step {step:,} with a checkpoint; run the same command to continue"
    )
    assert read_metrics(tmp_path)[-1]["step"] == step


def test_a_run_is_continued_by_its_folder_alone(tmp_path, capsys):
    folder = tmp_path / "my run"
    base = ["train", "--workdir", folder]
    given = ["--config", "gan_mixture2d", *TINY, "--config.train.steps=2"]
    assert run(*base, *given, capsys=capsys)[0] == 0
    code, _, err = run(*base, "--config.train.steps=4", capsys=capsys)
    assert code == 0
    assert f"jaxgan: resuming {folder} at step 2" in err
    assert Checkpoints(folder / "checkpoints").steps() == [2, 4]
    (command,) = [shlex.split(line) for line in err if "jaxgan sample" in line]
    assert command[:4] == ["jaxgan", "sample", "--workdir", str(folder)]  # quoted for a shell
    assert run(*command[1:-1], tmp_path / "samples.png", capsys=capsys)[0] == 0
    # What a run cannot change is refused as it is with --config.
    code, _, err = run(*base, "--config.model.latent_dim=9", capsys=capsys)
    assert code == 2
    assert "model.latent_dim is" in err[-1]
    with pytest.raises(SystemExit):
        main([*map(str, base), "--help"])
    assert (
        f"options of the run in {folder}, which trains gan on mixture2d:" in capsys.readouterr().out
    )
    # Without a run in it, it is the folder of a new one.
    code, out, _ = run("train", "--workdir", tmp_path / "new", "--dry_run", *TINY, capsys=capsys)
    assert code == 0
    assert yaml.safe_load(out.partition("data: ")[0])["model"]["name"] == "sngan"


HOLD = """
import sys, time
from jaxgan.train.workdir import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_workdir_has_one_run_at_a_time(tmp_path, capsys):
    train = ["train", "--config", "gan_mixture2d", *TINY, "--config.train.steps=1"]
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "held\n"
            code, _, err = run(*train, "--workdir", tmp_path, capsys=capsys)
            assert code == 2
            assert err[-1].startswith(f"jaxgan: {tmp_path} is in use: process {child.pid} on ")
            assert err[-1].endswith(" trains in it; wait until it ends, or choose another workdir.")
            assert not (tmp_path / "config.json").exists()
            assert run(*train, "--workdir", tmp_path / "another", capsys=capsys)[0] == 0
        finally:
            child.kill()
    # The lock of a process that was killed holds nobody up.
    assert run(*train, "--workdir", tmp_path, capsys=capsys)[0] == 0


def test_a_signal_in_the_last_round_does_not_ask_to_continue(tmp_path, capsys, monkeypatch):
    play = Engine.round

    def ended(self, state, step, batches):
        if step == 1:
            signal.raise_signal(signal.SIGTERM)
        return play(self, state, step, batches)

    monkeypatch.setattr(Engine, "round", ended)
    command = ["train", "--config", "gan_mixture2d", *TINY, "--config.train.steps=2"]
    code, _, err = run(*command, "--workdir", tmp_path, capsys=capsys)
    assert code == 0
    assert any(line.startswith("jaxgan: done: 2 steps.") for line in err)
    assert not any("continue" in line for line in err)


# Bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config", "sngan_digit"], "there is no config 'sngan_digit'; did you mean 'sngan_digits'?"),
        (["--config", "mine.py"], "there is no config file mine.py."),
        (["--config.train.stepz=3"], "there is no option --config.train.stepz; did you mean --config.train.steps?"),
        (["--config.train.steps=many"], "--config.train.steps is 'many', but it must be a whole number"),
        (["--config.train.steps"], "--config.train.steps has no value; write --config.train.steps=VALUE."),
        (["--config.train.steps=0"], "--config.train.steps is 0, but it must be at least 1: set --config.train.s"),
        (["--config.seed=-1"], "--config.seed is -1, but it must be from 0 to 4294967295: set --config.seed=0."),
        (["--config.model.name=sngam"], "--config.model.name is 'sngam', but it must be one of biggan, dcgan, gan, "),
        (["--config.data.name=foldr"], "--config.data.name is 'foldr', but it must be one of array, attributes, "),
        (["--steps=3"], "train has no argument '--steps=3'; set --config.train.steps=3."),
        (["--config", "stylegan2_digits", "--gamma", "1"], "train has no argument '--gamma'; set --config.model.r1_g"),
        (["sngan_digits"], "train has no argument 'sngan_digits'; name a config as --config sngan_digits."),
        (["mine too.py"], "train has no argument 'mine too.py'; name a config as --config 'mine too.py'."),
        (["sngan"], "train has no argument 'sngan'; see jaxgan train --help."),
        (["--dry-run"], "train has no argument '--dry-run'; did you mean --dry_run?"),
        (["--xyzzy"], "train has no argument '--xyzzy'; see jaxgan train --help."),
        (
            ["--config.model.batch_size=12", "--config.train.devices=8"],
            "the batch of 12 cannot be split evenly over 8 devices: set --config.model.batch_size=16 or"
            " --config.train.devices=4.",
        ),
        (
            ["--config.model.batch_size=8", "--config.train.devices=4", "--config.train.accumulate=4"],
            "the batch of 8 cannot be split evenly over 16 parts (4 micro-batches on 4 devices): set "
            "--config.model.batch_size=16 or --config.train.accumulate=2.",
        ),
        (["--config.train.devices=9"], "--config.train.devices is 9, but JAX has 8: set --config.train.devices=8."),
        (["--config.train.fsdp=3"], "--config.train.fsdp is 3, but it must divide the 8 devices: set --config.train."),
        (["--config.data.resolution=20"], "sngan"),
        (["--config", "sngan_mixture2d", "--config.model.architecture=resnet"], "sngan"),
        (
            ["--config", "gan_mixture2d", "--config.data.flip=true"],
            "--config.data.flip is an option of array, attributes, digits and ",
        ),
        (["--config.data.jitter=-3"], "--config.data.jitter is -3, but it must be at least 0"),
        (
            ["--config", "sngan_mixture2d", "--config.model.conditional=true"],
            "sngan on a multi-layer perceptron has no conditional form: set --config.model.conditional=false.",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_of_train(refused, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert refused("train", *arguments).startswith(sentence)
    assert list(tmp_path.iterdir()) == []  # not even a workdir


@pytest.mark.parametrize(
    ("wrong", "ways"),
    [
        (["--config.model.batch_size=12", "--config.train.devices=8"], 2),
        (["--config.model.batch_size=8", "--config.train.devices=4", "--config.train.accumulate=4"], 2),
        (["--config.train.fsdp=3"], 1),
        (["--config.train.devices=9"], 1),
        (["--config.data.resolution=20"], 1),
        (["--config.data.channels=2"], 1),
        (["--config.data.name=mixture2d", "--config.data.modes=24"], 3),
        (["--config=vqgan_digits", "--config.model.channel_multiples=1,2,2,2,2,2"], 2),
        (["--config=progressive_digits", "--config.model.batch_size=(8,16)"], 1),
        (["--config=singan_china", "--config.train.evaluate_every=100", "--config.train.devices=1"], 1),
        (["--config.train.evaluate_every=100", "--config.train.evaluate_num=1"], 1),
        (["--config.train.evaluate_every=100", "--config.train.evaluate_num=3"], 1),
    ],
)  # fmt: skip
def test_the_way_out_works_in_the_command_that_names_it(refused, monkeypatch, wrong, ways):
    fixes = ways_out(refused("train", *wrong))
    assert len(fixes) == ways
    monkeypatch.setattr(dry_run, "show", lambda *_: None)
    for words in fixes:
        assert main(["train", "--dry_run", *wrong, *words]) == 0, words


def test_a_way_out_to_other_data_names_the_options_to_leave_out(refused, monkeypatch):
    """They were refused once the way out had been followed; the first one led to data without a condition."""
    wrong = ["--config=pix2pix_digits", "--config.data.name=mixture2d", "--config.train.devices=1"]
    only = ["--config.data.modes=9", "--config.data.std=0.1"]
    text = refused("train", *wrong, *only)
    left_out = "leave out --config.data.modes and --config.data.std and choose other data"
    assert text.endswith(f"; {left_out}: set --config.data.name=pairs.")
    (fix,) = ways_out(text)
    for option in only:
        name = option.partition("=")[0]
        text = refused("train", *wrong, *fix, option)
        assert text == f"{name} is an option of mixture2d, not of pairs; leave it out."
    monkeypatch.setattr(dry_run, "show", lambda *_: None)
    assert main(["train", "--dry_run", *wrong, *fix]) == 0


def test_a_run_of_other_data_is_refused_before_these_are_opened(trained, refused, tmp_path, capsys):
    wrong = ["--config.data.name=folder", "--config.data.path=nowhere", "--config.data.split=train"]
    text = refused("train", "--workdir", trained, *wrong)
    assert text == (
        f"--config.data.name is 'folder', but the run in {trained} is of digits, and a run keeps its data source;"
        " choose another workdir, or keep digits and leave out --config.data.path: set --config.data.name=digits."
    )
    (fix,) = ways_out(text)
    keep = ["--config.data.split=train", *fix]
    assert run("train", "--workdir", trained, *keep, capsys=capsys)[0] == 0
    # By a config's name, too, and the name of the data comes before their options.
    other = ["train", "--config", "sngan_cifar10", "--workdir"]
    text = refused(*other, trained)
    found = "(data.name is 'digits' there and 'tfds' here; model.architecture is "
    assert text.startswith(f"{trained} holds a run of another config {found}")
    assert "choose another workdir or the same config" in text
    text = refused(*other, tmp_path / "another", f"--config.data.data_dir={tmp_path}")
    assert text.startswith(f"the TFDS set cifar10 is not prepared in {tmp_path}")


def test_a_picture_that_is_too_small_can_be_enlarged(refused, tmp_path, monkeypatch):
    """`max_side`, which was advised, never enlarges."""
    path = tmp_path / "tiny.png"
    Image.new("RGB", (5, 5)).save(path)
    wrong = ["--config=singan_picture", f"--config.data.path={path}", "--config.train.devices=1"]
    text = refused("train", *wrong)
    assert text == (
        "--config.model.min_size is 25, but the picture has only 5 x 5 pixels: set --config.data.resolution=25."
    )
    monkeypatch.setattr(dry_run, "show", lambda *_: None)
    assert main(["train", "--dry_run", *wrong, *ways_out(text)[0]]) == 0


def test_pix2pix_facades_says_that_its_data_is_missing(refused, tmp_path, monkeypatch):
    """It trained on outlines of digits instead; each of the three ways out is followed."""
    monkeypatch.chdir(tmp_path)
    text = refused("train", "--config", "pix2pix_facades")
    assert text.startswith(
        "--config.data.path is 'facades', but there is no such folder, zip or .npz"
    )
    assert "facades.tar.gz, are at http" in text
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(dry_run, "show", lambda *_: None)
    ((flag,),) = ways_out(text)
    for folder in ("facades", "mine"):  # the authors' archive unpacked here, and one's own
        (tmp_path / folder / "train").mkdir(parents=True)
        Image.new("RGB", (512, 256)).save(tmp_path / folder / "train" / "1.jpg")
    own = ["--config=pix2pix_facades", flag.replace("PATH", "mine")]
    for words in (["--config=pix2pix_facades"], own, ["--config=pix2pix_digits"]):
        assert main(["train", "--dry_run", "--config.train.devices=1", *words]) == 0, words


def test_scores_that_no_data_of_this_size_have_are_refused_before_anything_is_written(
    refused, tmp_path
):
    sentence = refused(
        *("train", "--config", "singan_china", "--workdir", tmp_path / "run"),
        *("--config.train.evaluate_every=100", "--config.train.devices=1"),
    )
    assert "too few" in sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("protocol", "sentence"),
    [
        ("ms_ssim10k", "MS-SSIM needs pictures with sides of 17 pixels or more, not 8"),
        (
            "single_image",
            "the single-image distance needs exactly one real picture, but there are 1,442",
        ),
    ],
)
def test_a_protocol_that_does_not_fit_the_pictures_is_refused_before_training(
    refused, tmp_path, protocol, sentence
):
    """It ended the run with a traceback at the first evaluation."""
    protocol = ["--config.train.evaluate_every=100", f"--config.train.protocol={protocol}"]
    num = "--config.train.evaluate_num=50"
    text = refused("train", *protocol, num, "--workdir", tmp_path / "run")
    assert text.startswith(sentence)
    assert not (tmp_path / "run").exists()


def test_a_run_of_any_batch_is_sampled_and_measured_on_all_devices(tmp_path, capsys):
    workdir = tmp_path / "run"
    one = ["--config.model.batch_size=1", "--config.train.steps=1"]
    assert (
        run("train", "--workdir", workdir, "--config=gan_digits", *TINY, *one, capsys=capsys)[0]
        == 0
    )
    code, out, _ = run("evaluate", "--workdir", workdir, "--num", "200", capsys=capsys)
    assert code == 0
    assert json.loads(out.splitlines()[-1])["measured"]["step"] == 1


def test_stages_that_are_not_reached_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(config.Run, "train", lambda *_: pytest.fail("trained"))
    with pytest.raises(pytest.fail.Exception):
        run("train", "--workdir", tmp_path, "--config=vqgan_digits", "--config.train.steps=10",
            capsys=capsys)  # fmt: skip
    assert "trains 1 of " in capsys.readouterr().err


def test_weights_that_cannot_be_had_are_told_before_anything_is_written(refused, tmp_path):
    sentence = refused(
        *("train", "--config", "vqgan_digits", "--workdir", tmp_path / "run"),
        *("--config.model.perceptual=vgg16", f"--config.model.perceptual_file={tmp_path}/gone.pth"),
    )
    assert "the weights of the perceptual network cannot be read" in sentence
    assert "gone.pth" in sentence
    assert not (tmp_path / "run").exists()


def test_a_resolution_that_the_model_cannot_make_names_those_it_can(refused):
    text = refused("train", "--config.data.resolution=20")
    assert "20" in text
    assert "32" in text


@pytest.fixture
def pictures(tmp_path):
    """A folder with three good 8x8 pictures and a broken one."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        pixels = np.full((8, 8, 3), 50 * i, np.uint8)
        Image.fromarray(pixels).save(folder / f"good{i}.png")
    broken = (folder / "good0.png").read_bytes()
    (folder / "holiday.png").write_bytes(broken[: len(broken) // 2])
    return folder


FOLDER = ["train", "--config.data.name=folder", "--config.model.batch_size=8"]


def test_missing_and_empty_folders(refused, tmp_path):
    missing = tmp_path / "nothing"
    text = refused(*FOLDER, f"--config.data.path={missing}")
    found = f"--config.data.path is '{missing}', but there is no such folder or zip file"
    assert text == f"{found}: set --config.data.path=PATH."
    missing.mkdir()
    text = refused(*FOLDER, f"--config.data.path={missing}")
    assert text.startswith(f"folder {missing}: holds no pictures")
    assert "--config.data.path=PATH" in refused(*FOLDER)


def test_a_broken_picture_is_refused_by_name_if_strict(refused, pictures, monkeypatch):
    text = refused(*FOLDER, f"--config.data.path={pictures}", "--config.data.strict=true")
    assert text.startswith(f"folder {pictures}: picture holiday.png is broken (")
    (words,) = ways_out(text)
    monkeypatch.setattr(dry_run, "show", lambda *_: None)
    command = [*FOLDER, f"--config.data.path={pictures}", "--config.data.strict=true", *words]
    assert main([*map(str, command), "--dry_run"]) == 0


def test_labels_that_are_none_are_left_out(refused, tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", images=np.zeros((64, 8, 8, 1), np.uint8), labels=np.arange(64) - 1)
    wrong = [
        "--config=sngan_digits",
        "--config.data.name=array",
        f"--config.data.path={tmp_path}/a.npz",
    ]
    text = refused("train", *wrong)
    assert "not numbers from -1: number the classes from 0" in text
    monkeypatch.setattr(dry_run, "show", lambda *_: None)
    assert main(["train", "--dry_run", *wrong, *ways_out(text)[0]]) == 0


def test_a_broken_picture_is_skipped_named_and_counted_otherwise(pictures, tmp_path, capsys):
    command = ["train", "--config", "gan_digits", "--config.data.name=folder", *TINY]
    options = [
        f"--config.data.path={pictures}",
        "--config.train.steps=1",
        "--workdir",
        tmp_path / "run",
    ]
    code, _, err = run(*command, *options, capsys=capsys)
    assert code == 0
    said = [line for line in err if "holiday.png" in line]
    assert any(
        f"folder {pictures}: 3 pictures, 1 broken one skipped (holiday.png)" in line
        for line in said
    )


def test_a_workdir_of_a_different_config(refused, trained):
    text = refused(
        *TRAIN_CONDITIONAL, "--workdir", trained, "--config.model.batch_size=16", "--config.seed=3"
    )
    assert text == (
        f"{trained} holds a run of another config (model.batch_size is 8 there and 16 here; seed is 0 there and 3"
        " here); choose another workdir, or the same config: set --config.model.batch_size=8 and --config.seed=0."
    )
    (way,) = ways_out(text)
    assert (
        main([*TRAIN_CONDITIONAL, "--workdir", str(trained), *way, "--config.train.steps=6"]) == 0
    )


def test_a_workdir_of_another_model_or_source_names_only_these(refused, trained):
    text = refused("train", "--config", "wgan_gp_digits", "--workdir", trained)
    assert "model.name is 'sngan' there and 'wgan_gp' here" in text
    assert "model.beta1" not in text
    assert "None" not in text


def test_a_workdir_that_cannot_be_written(refused, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for workdir in (file, file / "run"):  # not a mode: root may write anywhere
        text = refused("train", "--workdir", workdir)
        assert text.startswith(f"cannot write to the workdir {workdir} (")
        assert text.endswith("); choose another workdir.")
        assert ("(it is a file)" in text) == (workdir == file)


def test_a_tfds_set_that_is_not_prepared(refused, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    where = tmp_path / "tfds"
    options = [
        "--config.data.name=tfds",
        "--config.data.tfds_name=cifar10",
        f"--config.data.data_dir={where}",
    ]
    text = refused("train", *options)
    assert text.startswith(f"the TFDS set cifar10 is not prepared in {where}")
    assert f"jaxgan prepare cifar10 --data_dir {where}" in text


def truncate(checkpoint):
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# Warnings are errors in these tests; the command prints them.
warned = pytest.mark.filterwarnings("default:the checkpoint of step:UserWarning")


@pytest.mark.slow
@warned
def test_a_truncated_checkpoint_costs_only_itself(trained, tmp_path, capsys):
    workdir = shutil.copytree(trained, tmp_path / "copy")
    truncate(workdir / "checkpoints" / "6")
    code, _, err = run(*TRAIN_CONDITIONAL, "--workdir", workdir, capsys=capsys)
    assert code == 0
    start = f"jaxgan: the checkpoint of step 6 in {workdir / 'checkpoints'} cannot be read ("
    assert [
        line
        for line in err
        if line.startswith(start) and line.endswith("falling back to the one before.")
    ]
    assert f"jaxgan: resuming {workdir} at step 3" in err
    assert not [line for line in err if "Traceback" in line]
    assert Checkpoints(workdir / "checkpoints").steps() == [3, 6]
    # What was lost has been played again, bit for bit.
    for name in ("samples.png", "samples/00000006.png"):
        assert (workdir / name).read_bytes() == (trained / name).read_bytes()


@pytest.mark.slow
def test_a_damaged_checkpoint_is_one_line_whatever_its_reader_prints(trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "copy")
    truncate(workdir / "checkpoints" / "6")

    def sample(*arguments):
        command = [
            sys.executable,
            "-m",
            "jaxgan",
            "sample",
            "--workdir",
            workdir,
            "--num",
            "4",
            *arguments,
        ]
        environment = os.environ | {"XLA_FLAGS": one_device()}
        found = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return found.returncode, found.stderr

    broken = (
        f"jaxgan: the checkpoint of step 6 in {workdir / 'checkpoints'} cannot be read (its files are damaged or"
        " incomplete); "
    )
    assert sample() == (0, f"{broken}falling back to the one before.\n")
    assert sample("--step", "6") == (2, f"{broken}there is that of step 3.\n")
    assert sample("--step", "3") == (0, "")


@warned
def test_if_no_checkpoint_can_be_read_nothing_is_trained(
    trained, tmp_path, nothing_compiles, capsys
):
    workdir = shutil.copytree(trained, tmp_path / "copy")
    for step in (3, 6):
        truncate(workdir / "checkpoints" / str(step))
    code, _, err = run(*TRAIN_CONDITIONAL, "--workdir", workdir, capsys=capsys)
    assert code == 2
    assert err[-1] == (
        f"jaxgan: none of the checkpoints in {workdir / 'checkpoints'} can be read (steps 3, 6); remove that folder"
        " to start again."
    )
    code, _, err = run("sample", "--workdir", workdir, capsys=capsys)
    assert code == 2
    assert err[-1].startswith("jaxgan: none of the checkpoints in ")


# Sample ---------------------------------------------------------------------------------------------------


def load(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_sample_to_arrays(trained, tmp_path, capsys):
    def draw(*arguments):
        out = tmp_path / "out.npz"
        assert run("sample", "--workdir", trained, "--out", out, *arguments, capsys=capsys)[0] == 0
        return load(out)

    first = draw("--num", 30)
    assert first.keys() == {"images", "labels", "label_names"}
    assert first["label_names"].tolist() == list("0123456789")
    assert (first["images"].dtype, first["images"].shape) == (np.uint8, (30, 8, 8, 1))
    assert first["labels"].dtype == np.int32
    assert np.bincount(first["labels"]).tolist() == [3] * 10
    more = draw("--num", 120)
    assert (more["images"][:30] == first["images"]).all()
    assert (draw("--num", 30)["images"] == first["images"]).all()
    for other in (["--seed", 1], ["--no_ema"], ["--step", 3]):
        assert (draw("--num", 30, *other)["images"] != first["images"]).any(), other


def test_samples_of_one_class_by_name_or_number(trained, tmp_path, capsys):
    out = tmp_path / "out.npz"
    draw = ("sample", "--workdir", trained, "--num", 5, "--out", out)
    assert run(*draw, "--label", "7", capsys=capsys)[0] == 0
    seven = load(out)
    assert seven["labels"].tolist() == [7] * 5
    assert run(*draw, "--label", "8", capsys=capsys)[0] == 0
    assert (load(out)["images"] != seven["images"]).any()
    game = SimpleNamespace(
        num_classes=3, spec={"label": SimpleNamespace(names=("cat", "dog", "fox"))}
    )
    assert [sample.class_number(text, game) for text in ("dog", "2")] == [1, 2]
    with pytest.raises(ValueError, match=r"--label is dgo, .* from 0 to 2; did you mean dog"):
        sample.class_number("dgo", game)


def test_samples_as_a_folder_of_pictures_are_read_back_with_their_classes(
    trained, tmp_path, capsys
):
    folder = tmp_path / "made"
    draw = ("sample", "--workdir", trained, "--num", 20)
    assert run(*draw, "--out", folder, capsys=capsys)[0] == 0
    assert run(*draw, "--out", tmp_path / "made.npz", capsys=capsys)[0] == 0
    source = open_examples(str(folder))
    expected = load(tmp_path / "made.npz")
    order = np.argsort(expected["labels"], kind="stable")
    read = source.gather(np.arange(20))
    assert source.classes == tuple("0123456789")
    assert (read["label"] == expected["labels"][order]).all()
    assert (read["image"][..., :1] == expected["images"][order]).all()


def test_samples_are_not_added_to_a_folder_with_files(trained, tmp_path, refused):
    (tmp_path / "notes.txt").write_text("mine")
    text = refused("sample", "--workdir", trained, "--out", tmp_path)
    assert text == f"--out is {tmp_path}, which is a folder with files in it; choose a new folder."


def test_sample_to_a_picture(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("sample", "--workdir", trained, "--num", 20, capsys=capsys)
    assert (code, out) == (0, "20 samples of step 6 in samples.png\n")
    with Image.open("samples.png") as picture:
        # A column for each class: 10 x 2 pictures of 8 pixels and a gap, enlarged 16 times to be seen.
        width, height = 16 * (10 * 9 - 1), 16 * (2 * 9 - 1)
        assert picture.width == width
        assert height < picture.height < height + 64  # the names of the classes


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "samples.jpg"], "--out is samples.jpg; it must end in .png (a grid) or .npz (arrays), or be a"),
        (["--num", "0"], "--num is 0; ask for at least one sample."),
        (["--num", "9" * 12], "--num is 999,999,999,999, but a grid holds at most 4,194,304 pictures of 8x8; give a"),
        (["--out", "nowhere/samples.png"], "there is no folder nowhere to put samples.png into; create it first."),
        (["--out", "folder.png"], "folder.png is a folder; give the name of a file."),
        (["--step", "4"], "{workdir}/checkpoints has no checkpoint of step 4; there are those of steps 3, 6."),
        (["--workdir", "nowhere"], "nowhere holds no run (there is no config.json in it); give the workdir of a"),
        (["--config.train.steps=3"], "sample has no argument '--config.train.steps=3'; see jaxgan sample --help."),
    ],
)  # fmt: skip
def test_bad_arguments_of_sample(refused, trained, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    text = refused("sample", "--workdir", trained, *arguments)
    assert text.startswith(sentence.format(workdir=trained))


def test_sampling_from_a_run_without_a_checkpoint(refused, trained, tmp_path):
    (tmp_path / "config.json").write_text((trained / "config.json").read_text())
    assert (
        refused("sample", "--workdir", tmp_path)
        == f"{tmp_path} has no checkpoint yet; train it first: jaxgan train --workdir {tmp_path}"
    )


# Lipschitz ------------------------------------------------------------------------------------------------


def test_lipschitz_prints_a_table_and_json(trained, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, err = run("lipschitz", "--workdir", trained, "--num", 4, capsys=capsys)
    assert (code, err) == (0, ["jaxgan: bounding the critic, which takes a minute or two"])
    result = json.loads(out.splitlines()[-1])
    assert result.keys() == {"upper", "lower", "layers", "protocol"}
    assert 0 < result["lower"] <= result["upper"]
    layers = {layer["name"]: layer for layer in result["layers"]}
    assert layers.keys() == {f"ConvCritic/{name}" for name in ("same0", "down0", "same1", "output")}
    for name, layer in layers.items():
        assert layer["flattened_norm"] == pytest.approx(1, abs=0.01), name  # spectrally normalised
        line = next(line for line in out.splitlines() if name in line)
        for number in (layer["flattened_norm"], layer["operator_norm"]):
            assert f"{number:.4f}" in line
    assert layers["ConvCritic/same0"]["kernel_shape"] == [3, 3, 1, 8]
    assert layers["ConvCritic/same1"]["operator_norm"] > 1.05  # which is not the flattened one
    protocol = result["protocol"]
    expected = {"step": 6, "player": "critic", "label": 0, "num_real": 4, "seed": 0, "norm": "l2"}
    assert {name: protocol[name] for name in expected} == expected
    assert "sngan, step 6, critic, label 0" in map(str.strip, out.splitlines())
    assert f"{result['lower']:.6g} <= Lipschitz constant <= {result['upper']:.6g}" in out
    kept = (trained / "lipschitz.jsonl").read_text().splitlines()
    assert json.loads(kept[-1]) == result
    # Another label is another function; the same is the same.
    other = ["lipschitz", "--workdir", trained, "--num", 4, "--label", 3]
    assert json.loads(run(*other, capsys=capsys)[1].splitlines()[-1])["lower"] != result["lower"]


@pytest.mark.slow
def test_lipschitz_of_a_class_by_name_or_number(trained, tmp_path, capsys, monkeypatch):
    """As `sample --label` takes them; a run whose classes have names states the name beside the number."""
    monkeypatch.setenv("COLUMNS", "120")
    named = shutil.copytree(trained, tmp_path / "named")
    record = json.loads((named / "config.json").read_text())
    record["spec"]["fields"]["label"]["names"] = names = [f"[{k}] class" for k in range(10)]
    (named / "config.json").write_text(json.dumps(record))
    ask = ["lipschitz", "--workdir", named, "--num", 2]
    for given in ("[3] class", "3"):
        code, out, _ = run(*ask, "--label", given, capsys=capsys)
        assert code == 0
        assert "sngan, step 6, critic, label 3 ([3] class)" in out
        protocol = json.loads(out.splitlines()[-1])["protocol"]
        assert (protocol["label"], protocol["label_name"]) == (3, names[3])
    code, _, err = run(*ask, "--label", "3] clas", capsys=capsys)
    hint = "by name or by number from 0 to 9; did you mean [3] class?"
    assert (code, err) == (
        2,
        [f"jaxgan: --label is 3] clas, but this run has no such class, {hint}"],
    )


@pytest.mark.slow
def test_lipschitz_of_a_critic_with_batch_statistics(tmp_path, monkeypatch, capsys):
    """In evaluation they are constants; what couples samples is refused with a sentence."""
    command = ["train", "--config", "dcgan_digits", "--workdir", tmp_path, *TINY]
    assert run(*command, "--config.train.steps=2", capsys=capsys)[0] == 0
    ask = ["lipschitz", "--workdir", tmp_path, "--num", 2]
    code, out, _ = run(*ask, capsys=capsys)
    assert code == 0
    protocol = json.loads(out.splitlines()[-1])["protocol"]
    assert (protocol["label"], protocol["label_name"]) == (None, None)
    code, _, err = run(*ask, "--label", 0, capsys=capsys)
    unconditional = "--label is 0, but this model is not conditioned on labels; leave it out."
    assert (code, err) == (2, [f"jaxgan: {unconditional}"])

    def in_training(network, x, label):
        return network(x, label, train=True)

    def two_player(*args, **kwargs):
        game = build(*args, **kwargs)
        player = dataclasses.replace(game.players["critic"], score=in_training)
        return dataclasses.replace(game, players={**game.players, "critic": player})

    build = adversarial.two_player
    monkeypatch.setattr(adversarial, "two_player", two_player)
    code, out, err = run(*ask, capsys=capsys)
    assert (code, out) == (2, "")
    assert err[-1].startswith("jaxgan: the critic couples the samples of a batch: ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--num", "0"], "--num is 0; the ascent needs at least one real example."),
        (["--label", "10"], "--label is 10, but this run has no such class, by name or by number from 0 to 9; "),
        (["--player", "crtic"], "--player is 'crtic', but this run has only critic, generator to bound."),
        (["--step", "4"], "{workdir}/checkpoints has no checkpoint of step 4; there are those of steps 3, 6."),
        (["--workdir", "nowhere"], "nowhere holds no run (there is no config.json in it);"),
    ],
)  # fmt: skip
def test_bad_arguments_of_lipschitz(refused, trained, arguments, sentence):
    text = refused("lipschitz", "--workdir", trained, *arguments)
    assert text.startswith(sentence.format(workdir=trained))


# Evaluate -------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def evaluate(*arguments, capsys):
    """The result that `jaxgan evaluate` prints."""
    code, out, _ = run("evaluate", *arguments, capsys=capsys)
    assert code == 0, out
    return json.loads(out.splitlines()[-1])


def test_evaluate_prints_a_table_and_json_with_its_protocol(trained, capsys):
    code, out, _ = run("evaluate", "--workdir", trained, "--num", 50, capsys=capsys)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert result.keys() == {
        "fd_random_conv",
        "precision_random_conv",
        "recall_random_conv",
        "better",
        "units",
        "protocol",
        "measured",
        "notes",
    }
    assert result["fd_random_conv"] > 0
    assert 0 <= result["precision_random_conv"] <= 1
    protocol = result["protocol"]
    expected = {"name": "custom", "split": "train", "ema": True, "labels": "balanced"}
    assert {name: protocol[name] for name in expected} == expected
    assert result["measured"] == {
        "step": 6, "kimg": result["measured"]["kimg"], "seed": 0, "model": "sngan"
    }  # fmt: skip
    assert (protocol["num_real"], protocol["num_fake"]) == (50, 50)
    table = out.splitlines()[:-1]
    (line,) = (line for line in table if "fd_random_conv" in line)
    assert "lower" in line
    assert "squared distance" in line
    assert any("note: 50 real examples are fewer than the 259" in line for line in table)
    kept = (trained / "evaluations.jsonl").read_text().splitlines()
    assert json.loads(kept[-1]) == result
    # The same measurement gives the same numbers.
    assert evaluate("--workdir", trained, "--num", 50, capsys=capsys) == result
    for other, stated in ((["--seed", 1], (1, True)), (["--no_ema"], (0, False))):
        found = evaluate("--workdir", trained, "--num", 50, *other, capsys=capsys)
        assert (found["measured"]["seed"], found["protocol"]["ema"]) == stated
        assert found["fd_random_conv"] != result["fd_random_conv"]


def test_a_terminal_is_told_where_the_whole_result_is(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    _, out, _ = run("evaluate", "--workdir", trained, "--num", 50, capsys=capsys)
    file = trained / "evaluations.jsonl"
    assert out.endswith(f"the whole result, with its protocol, is the last line of {file}\n")
    np.savez(tmp_path / "a.npz", images=np.zeros((64, 8, 8, 1), np.uint8))
    sets = ("evaluate", "--fake", tmp_path / "a.npz", "--real", "digits", "--num", 64)
    _, out, _ = run(*sets, capsys=capsys)
    assert out.endswith("to keep the whole result, with its protocol, give --out FILE.json\n")
    kept = [tmp_path / name for name in ("a.json", "b.json")]
    for file in kept:
        assert run(*sets, "--out", file, capsys=capsys)[0] == 0
    assert run("compare", *kept, capsys=capsys)[0] == 0


def test_evaluate_takes_what_there_is_unless_a_protocol_is_named(trained, refused, capsys):
    protocol = evaluate("--workdir", trained, "--scores", "fd", capsys=capsys)["protocol"]
    assert (protocol["num_real"], protocol["num_fake"]) == (1442, 1442)
    text = refused("evaluate", "--workdir", trained, "--protocol", "prdc10k_train",
                   "--features", "pixels")  # fmt: skip
    assert text.startswith(
        "the protocol 'custom' compares with 10,000 real examples, but digits (train)"
    )


def test_sets_are_measured_against_sets(tmp_path, capsys):
    """An .npz, a folder and a data set by name; the same examples give the same numbers however they come."""
    from sklearn.datasets import load_digits

    images = np.rint(load_digits().images[:300, :, :, None] * (255 / 16)).astype(np.uint8)
    np.savez(tmp_path / "fakes.npz", images=images)
    (tmp_path / "fakes").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(tmp_path / "fakes" / f"{i:05}.png")
    results = [
        evaluate("--fake", tmp_path / name, "--real", "digits:test", capsys=capsys)
        for name in ("fakes.npz", "fakes")
    ]
    assert results[0]["fd_random_conv"] == results[1]["fd_random_conv"] > 0
    assert results[0]["protocol"] == results[1]["protocol"]
    assert results[0]["protocol"]["num_fake"] == 300
    assert results[0]["protocol"]["data"].startswith("digits (test): 355 images")
    # A number asked for is the number of fakes, whatever reals there are.
    more = evaluate("--fake", "digits", "--real", "digits:test", "--num", 1000, capsys=capsys)
    assert (more["protocol"]["num_fake"], more["protocol"]["num_real"]) == (1000, 355)
    itself = evaluate("--fake", "digits:test", "--real", "digits:test", capsys=capsys)
    assert itself["fd_random_conv"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "named", "split"),
    [
        ("tfds:cifar10", "cifar10", "train"),
        ("tfds:cifar10:test", "cifar10", "test"),
        ("tfds:imagenet_resized/64x64:validation[:5000]", "imagenet_resized/64x64", "validation[:5000]"),
    ],
)  # fmt: skip
def test_tfds_sets_are_named_with_their_split(monkeypatch, text, named, split):
    monkeypatch.setattr("jaxgan.data.open_source", lambda name, **options: (name, options))
    assert open_examples(text) == ("tfds", {"tfds_name": named, "split": split})


def test_pictures_of_several_sizes_need_features_that_resize(tmp_path, refused):
    for i, size in enumerate(((8, 8), (9, 8))):
        Image.new("RGB", size).save(tmp_path / f"{i}.png")
    text = refused("evaluate", "--fake", tmp_path, "--real", "digits", "--num", 2, "--scores", "fd")
    assert text == (
        f"the pictures of {tmp_path} differ in size, and these features do not resize pictures; choose features"
        " that do, or one size: set --resolution=8."
    )
    fitted = open_examples(str(tmp_path), size=(4, 4), fit=lambda x: x[:4, :4].astype(np.float32))
    assert fitted.images().shape == (2, 4, 4, 3)
    Image.new("RGB", (8, 8), (90, 30, 200)).save(tmp_path / "0.png")
    grey = open_examples(
        str(tmp_path), size=(4, 4), fit=lambda x: x[:4, :4].astype(np.float32), channels=1
    )
    assert grey.images().shape == (2, 4, 4, 1)
    assert set(grey.images()[0].ravel()) == {67}  # 0.299 R + 0.587 G + 0.114 B
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(
        ValueError, match=r"picture 0.png is broken \(not a picture that Pillow can"
    ):
        open_examples(str(tmp_path), size=(4, 4), fit=lambda x: x[:4, :4]).images()


def test_compare_shows_like_beside_like_and_refuses_the_rest(trained, tmp_path, capsys, refused):
    for num, name in ((60, "a"), (60, "b"), (61, "c")):
        arguments = ["--workdir", trained, "--num", num, "--seed", ord(name)]
        result = evaluate(*arguments, capsys=capsys)
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    code, out, _ = run("compare", tmp_path / "a.json", tmp_path / "b.json", capsys=capsys)
    assert code == 0
    assert "precision_random_conv" in out
    assert "B - A" in out
    assert run("compare", tmp_path / "c.json", trained, capsys=capsys)[0] == 0  # its last result
    text = refused("compare", tmp_path / "a.json", tmp_path / "c.json")
    assert text.startswith("the protocols differ, so the scores cannot be compared: num_fake is 60")
    (tmp_path / "d.json").write_text("no json")
    assert "d.json holds no result in JSON" in refused("compare", tmp_path / "d.json", trained)
    text = refused("compare", tmp_path / "nowhere", trained)
    assert text.startswith(
        f"there is no {tmp_path}/nowhere; give a file with a result of jaxgan ev"
    )


def test_the_protocols_are_listed(capsys):
    code, out, _ = run("evaluate", "--protocol", "list", capsys=capsys)
    assert code == 0
    lines = out.splitlines()
    assert {"fid50k_train", "is50k_10splits", "quick"} <= set(lines)
    assert max(map(len, lines)) <= 80
    words = " ".join(out.split())
    assert (
        "kd of samples, in inception; 50,000 generated, all real of train. Bińkowski et al."
        in words
    )


def test_a_run_is_no_set_of_pictures(trained, refused, capsys):
    """The way out is followed."""
    text = refused("evaluate", "--fake", trained, "--real", "digits", "--scores", "fd")
    assert text.startswith(f"{trained} is a run, not a set of pictures; evaluate it by --workdir")
    flag = text.partition(" by ")[2].partition(",")[0]
    command = ("evaluate", *shlex.split(flag), "--real", "digits", "--scores", "fd", "--num", 40)
    assert run(*command, capsys=capsys)[0] == 0


@pytest.mark.slow
def test_evaluate_counts_modes_of_a_known_mixture(tmp_path, capsys):
    command = [
        "train",
        "--config",
        "gan_mixture2d",
        "--workdir",
        tmp_path,
        *TINY,
        "--config.train.steps=1",
    ]
    assert main([str(word) for word in command]) == 0
    code, out, _ = run("evaluate", "--workdir", tmp_path, "--num", 100, capsys=capsys)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert 0 <= result["modes_of_100_samples"] <= 25
    assert 0 <= result["high_quality_share"] <= 1
    assert result["better"]["modes_of_100_samples"] == "higher"
    assert result["units"]["modes_of_100_samples"] == "of 25 modes"
    assert "fd_points" in result
    # Papers take 2,500; with scores by name, there are no others.
    result = evaluate("--workdir", tmp_path, capsys=capsys)
    assert "modes_of_2500_samples" in result
    assert result["protocol"]["name"] == "quick"
    result = evaluate("--workdir", tmp_path, "--num", 100, "--scores", "fd", capsys=capsys)
    assert list(metric_scores(result)) == ["fd_points"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--num", "3"], "num_real = 3 is too few: the score 'pr' needs at least 4: set --nearest_k=2 or --num=4."),
        (["--num", "1"], "num_real = 1 is too few: the score 'pr' needs at least 4: set --num=4."),
        (["--nearest_k", "0"], "--nearest_k is 0, but it must be at least 1: set --nearest_k=1."),
        (["--subset_size", "1"], "--subset_size is 1, but it must be at least 2: set --subset_size=2."),
        (["--resolution", "4"], "--resolution and --channels convert the sets --real and --fake; leave them out"),
        (["--real", "digits", "--resolution", "0"], "--resolution is 0; it must be at least 1."),
        (["--num", "0"], "--num is 0; it must be at least 1."),
        (["--split", "tset"], "--split is 'tset', but it must be one of train, test, all: set --split=test."),
        (["--protocol", "fid50k"], "no protocol is called 'fid50k'; did you mean 'fid50k_train'"),
        (["--features", "incption"], "no features are called 'incption'; did you mean 'inception'?"),
        (["--features", "points"], "points takes examples of shape [D], not [8, 8, 1]"),
        (["--scores", "is"], "choose a protocol in place of the scores: set --protocol=is50k_10splits."),
        (["--scores", "class"], "the score 'class' needs the logits of a network, but 'random_conv'"),
        (["--resize", "clean"], "random_conv does not resize pictures; leave out the resize 'clean'"),
        (["--weights", "x.pth"], "random_conv has no weights; leave out the weight file"),
        (["--workdir", "nowhere"], "nowhere holds no run"),
        (["--best"], "has no best checkpoint, since it was not evaluated during training"),
        (["--fake", "digits"], "--workdir and --fake exclude each other; give one of them."),
        (["--real", "mixture2d"], "the run was trained on examples of shape (8, 8, 1), but mixture2d"),
        (["--real", "nowhere"], "there is no nowhere; give a folder or zip of pictures, a prepared set, a .npz"),
    ],
)  # fmt: skip
def test_bad_arguments_of_evaluate(refused, trained, arguments, sentence):
    assert sentence in refused("evaluate", "--workdir", trained, *arguments)


def test_evaluate_asks_what_to_measure(refused):
    assert refused("evaluate").startswith(
        "there is nothing to evaluate: give --workdir (a run), or --fake"
    )
    text = refused("evaluate", "--fake", "digits", "--real", "digits", "--protocol", "fid10k_test",
                   "--features", "pixels")  # fmt: skip
    assert "takes 10,000 generated examples, but digits (test): 355 images" in text


@pytest.fixture
def sets(tmp_path):
    """Sets of twelve pictures each: large.npz, small.npz, broken/ and sizes/."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "small.npz", images=small)
    np.savez(tmp_path / "one.npz", images=small[:1])
    np.savez(
        tmp_path / "large.npz", images=random.integers(0, 256, (12, 12, 16, 3), dtype=np.uint8)
    )
    for name in ("broken", "sizes"):
        (tmp_path / name).mkdir()
        for i, picture in enumerate(small[..., 0]):
            sides = (8, 9 if (name, i) == ("sizes", 11) else 8)
            Image.fromarray(picture).resize(sides).save(tmp_path / name / f"{i:02}.png")
    (tmp_path / "broken" / "05.png").write_bytes(b"no picture")
    return tmp_path


@pytest.mark.parametrize(
    ("wrong", "error", "fixes"),
    [
        ("--fake large.npz --real small.npz", "must have one shape", "--channels=3 --resolution=8"),
        ("--fake large.npz --real digits", "must have one shape", "--channels=3 --resolution=8"),
        ("--fake sizes --real small.npz", "differ in size", "--resolution=8"),
        ("--fake small.npz --real small.npz --scores kd", "at least 1000", "--subset_size=12"),
        ("--fake small.npz --real small.npz --scores pr --nearest_k 12", "at least 13", "--nearest_k=11"),
        ("--fake small.npz --real small.npz --scores dc --density_k 15", "at least 16", "--density_k=11"),
        ("--fake small.npz --real small.npz --scores kd,pr --nearest_k 20", "at least 1000",
         "--subset_size=12 --nearest_k=11"),
        ("--fake small.npz --real small.npz --num 3", "needs at least 4", "--nearest_k=2|--num=4"),
        ("--fake small.npz --real digits --scores kd --num 13", "only 12", "--num=12 --subset_size=12"),
        ("--fake small.npz --real digits --protocol kid50k_train --features pixels", "only 12",
         "--num=12 --subset_size=12"),
        ("--fake digits --real small.npz --protocol kid50k_train --features pixels --num 20", "at least 1000",
         "--subset_size=12"),
        ("--fake digits:test --real small.npz --protocol prdc10k_train --features pixels --num 6", "needs at least 6",
         ""),
        ("--fake small.npz --real one.npz", "num_real = 1 is too few", "--protocol=single_image --num=12"),
    ],
)  # fmt: skip
def test_the_way_out_of_a_measurement_works_in_that_command(
    sets, refused, monkeypatch, capsys, wrong, error, fixes
):
    monkeypatch.chdir(sets)
    if not fixes:
        assert run("evaluate", *wrong.split(), capsys=capsys)[0] == 0
        return
    text = refused("evaluate", *wrong.split())
    assert error in text
    assert "|".join(map(" ".join, ways_out(text))) == fixes
    for words in ways_out(text):
        evaluate(*wrong.split(), *words, capsys=capsys)


@pytest.mark.parametrize(
    ("wrong", "fixes"),
    [
        ("--protocol reconstruction --num 20", "--of=samples --protocol=quick"),
        ("--num 3", "--nearest_k=2|--num=4"),
        ("--scores kd --num 30", "--subset_size=30|--num=1000"),
        ("--protocol prdc10k_train --features random_conv", "--num=1442"),
        ("--real one.npz", "--protocol=single_image"),
    ],
)
def test_the_way_out_of_measuring_a_run(trained, sets, monkeypatch, capsys, wrong, fixes):
    wrong = wrong.replace("one.npz", str(sets / "one.npz")).split()
    code, _, (text,) = run("evaluate", "--workdir", trained, *wrong, capsys=capsys)
    assert code == 2
    assert "|".join(map(" ".join, ways_out(text))) == fixes
    for words in ways_out(text):
        evaluate("--workdir", trained, *wrong, *words, capsys=capsys)


def test_scores_that_a_set_has_not_are_left_out_or_the_set_is_converted(
    sets, refused, monkeypatch, capsys
):
    """Both ways out that the sentences name are followed."""
    monkeypatch.chdir(sets)
    wrong = ["--fake", "small.npz", "--real", "small.npz", "--scores"]
    text = refused("evaluate", *wrong, "ms_ssim,swd")
    assert text == (
        "MS-SSIM needs pictures with sides of 17 pixels or more, not 8; leave the score 'ms_ssim' out, or measure"
        " larger pictures"
    )
    evaluate(*wrong, "swd", capsys=capsys)
    evaluate(*wrong, "ms_ssim,swd", "--resolution", 17, capsys=capsys)
    text = refused("evaluate", *wrong, "classwise,fd")
    assert text.endswith("ones have no labels; give their labels, or leave this score out")
    evaluate(*wrong, "fd", capsys=capsys)
    text = refused("evaluate", *wrong, "fd_infinity")
    few = ["--fake", "digits", "--real", "digits", "--scores", "fd_infinity", "--num"]
    text = refused("evaluate", *few, 40)
    evaluate(*few, text.rpartition("give at least ")[2], capsys=capsys)


def test_what_converts_sets_is_part_of_the_protocol(sets, monkeypatch, capsys):
    monkeypatch.chdir(sets)
    sets = ["--fake", "small.npz", "--real", "small.npz"]
    plain = evaluate(*sets, capsys=capsys)["protocol"]
    converted = evaluate(*sets, "--resolution", 8, "--channels", 3, capsys=capsys)["protocol"]
    assert not {"resolution", "channels"} & plain.keys()
    assert (converted["resolution"], converted["channels"]) == (8, 3)
    counts = evaluate(*sets, "--scores", "kd", "--subset_size", 6, "--subsets", 3, capsys=capsys)
    assert (counts["protocol"]["subset_size"], counts["protocol"]["subsets"]) == (6, 3)


def test_a_run_is_measured_against_a_set_of_another_shape(trained, sets, refused, monkeypatch):
    monkeypatch.chdir(sets)
    wrong = ["--workdir", trained, "--real", "large.npz", "--num", 8]
    text = refused("evaluate", *wrong)
    assert ways_out(text) == [["--resolution=8", "--channels=1"]]
    monkeypatch.undo()
    monkeypatch.chdir(sets)
    assert main(["evaluate", *map(str, wrong), *ways_out(text)[0]]) == 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("broken", "folder broken: picture 05.png is broken (not a picture that Pillow can read); repair or remove it"),
        ("digits:tset", "digits:tset: split 'tset': it must be one of train, test, all."),
        ("one.txt", "one.txt: the file is not a complete zip of pictures (File is not a zip file); give a folder"),
        ("mixture2d", "mixture2d: has no channels; leave this option out"),
    ],
)  # fmt: skip
def test_errors_of_sets_advise_nothing_that_evaluate_refuses(
    sets, refused, monkeypatch, capsys, wrong, sentence
):
    """--config.data.strict=false, --options.labels=false, --split=test, --data and more were."""
    monkeypatch.chdir(sets)
    (sets / "one.txt").write_text("text")
    channels = ["--channels", 3] if wrong == "mixture2d" else []
    text = refused("evaluate", "--fake", wrong, "--real", "small.npz", *channels)
    assert text.startswith(sentence)
    assert "set --" not in text
    (sets / "broken" / "05.png").unlink()
    for mended in ("broken", "small.npz", "digits:test"):
        evaluate("--fake", mended, "--real", "small.npz", capsys=capsys)


def test_every_count_of_a_protocol_has_a_flag():
    from jaxgan.cli import errors
    from jaxgan.metrics import protocols

    assert set(errors.COUNTS) == set(protocols.COUNTS)
    known = parser().parse_args(["evaluate", *(f"--{name}=3" for name in protocols.COUNTS)])
    assert all(getattr(known, name) == 3 for name in protocols.COUNTS)


# The others -----------------------------------------------------------------------------------------------


def test_list_names_every_config_with_its_first_line(capsys):
    code, out, err = run("list", capsys=capsys)
    assert (code, err) == (0, [])
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert tuple(lines) == config.names()
    assert lines["sngan_digits"] == config.describe("sngan_digits")


def test_list_fits_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _, out, _ = run("list", capsys=capsys)
    assert max(map(len, out.splitlines())) <= 80
    assert " ".join(out.split()) == " ".join(
        f"{name} {config.describe(name)}" for name in config.names()
    )


def test_prepare_without_a_network_ends_with_one_sentence(refused, monkeypatch, tmp_path):
    requests = pytest.importorskip("requests")
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("tensorflow")

    def fail(self, **kwargs):
        request = requests.Request("GET", "https://pictures.example/cifar.tar.gz").prepare()
        raise requests.ConnectionError("HTTPSConnectionPool(...)", request=request)

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    assert refused("prepare", "cifar10", "--data_dir", tmp_path) == (
        "cifar10 cannot be downloaded: pictures.example cannot be reached; try again with a network, or prepare"
        " cifar10 on a machine that has one, and copy it to the folder that --data_dir names."
    )


def test_prepare_says_how_to_train_on_the_set(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr("jaxgan.data.prepare", lambda *arguments: asked.append(arguments))
    code, out, _ = run("prepare", "cifar10", "--data_dir", tmp_path, capsys=capsys)
    assert (code, asked) == (0, [("cifar10", str(tmp_path))])
    command = out.splitlines()[-1].split()
    assert command[:3] == ["jaxgan", "train", "--config"]
    config.load(
        command[3], [word.removeprefix("--config.") for word in command[4:]]
    )  # is a good one


@pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow"), reason="needs TensorFlow (extra tfds)"
)
def test_prepare_refuses_sets_that_tfds_does_not_know(refused, tmp_path):
    text = refused("prepare", "cifar01", "--data_dir", tmp_path)
    assert text == (
        "NAME is 'cifar01', but TFDS (https://www.tensorflow.org/datasets) has no such set; the nearest is cifar10."
    )
    assert refused("evaluate", "--fake", "tfds:cifar01", "--real", "digits") == (
        "tfds:cifar01: TFDS (https://www.tensorflow.org/datasets) has no such set; the nearest is tfds:cifar10."
    )
    assert "tfds:cifar10 is not prepared" not in refused(
        "evaluate", "--fake", "tfds:cifar10", "--real", "digits"
    )


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"jaxgan {jaxgan.__version__}\n"


def test_an_unknown_command_is_told_what_it_is_like(refused):
    assert refused("trian") == "there is no command 'trian'; did you mean 'train'?"
    assert refused("xyzzy").startswith(
        "there is no command 'xyzzy'; there are train, sample, make, "
    )


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("", "jaxgan needs COMMAND; see jaxgan --help."),
        ("sample", "sample needs --workdir; see jaxgan sample --help."),
        ("compare", "compare needs A and B; see jaxgan compare --help."),
        ("sample --workdir x --num many", "--num is 'many', but it must be a whole number; see jaxgan sample --help."),
        ("sample --workdir x --num", "--num has no value; see jaxgan sample --help."),
        ("sample --workdir x --seed -1", "--seed: -1 is not a whole number from 0 to 2^32 - 1; see jaxgan sample"),
        ("sample --workdir x --be=1", "--best: ignored explicit argument '1'; see jaxgan sample --help."),
    ],
)  # fmt: skip
def test_missing_arguments_and_those_that_are_no_numbers_end_with_usage(command, sentence, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    assert stopped.value.code == 2
    usage, *_, last = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: jaxgan")
    assert last.startswith(f"jaxgan: {sentence}")


def test_a_run_without_its_flag_is_told_the_flag(refused, trained, monkeypatch):
    monkeypatch.chdir(trained.parent)
    for command in ("train", "evaluate"):
        text = refused(command, trained.name)
        assert text.endswith(f"'{trained.name}'; name a run as --workdir {trained.name}.")


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5"])
def test_seeds_that_make_no_key_are_refused(seed, capsys):
    with pytest.raises(SystemExit):
        main(["sample", "--workdir", "x", "--seed", seed])
    assert f"{seed} is not a whole number from 0 to 2^32 - 1" in capsys.readouterr().err


def test_a_traceback_is_there_for_those_who_ask(monkeypatch):
    monkeypatch.setenv("JAXGAN_TRACEBACK", "1")
    with pytest.raises(ValueError, match="there is no config 'xyzzy'"):
        main(["train", "--config", "xyzzy"])


def test_a_reader_that_has_read_enough_ends_the_command_without_a_word():
    command = [sys.executable, "-m", "jaxgan", "train", "--config", "stylegan2_digits", "--help"]
    env = dict(os.environ, JAX_PLATFORMS="cpu", PYTHONUNBUFFERED="1")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=env, text=True, **pipes) as child:
        assert child.stdout.readline().startswith("usage: jaxgan train")
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 128 + signal.SIGPIPE


def test_the_command_needs_no_device_to_list(monkeypatch, capsys):
    monkeypatch.setattr(jax, "devices", lambda *args: pytest.fail("looked for devices"))
    assert run("list", capsys=capsys)[0] == 0


def test_packages_are_advised_by_names_that_pip_knows():
    """`pip install "jaxgan[video]"` finds nothing: jaxgan is not on PyPI, and the command may run anywhere."""
    root = Path(jaxgan.__file__).parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    advised = {
        name
        for path in (root / "jaxgan").rglob("*.py")
        for name in re.findall(r'pip install \\?"?([^"\\ ]+)', path.read_text())
    }
    assert advised == {
        x for name in ("mlflow", "notebooks", "tfds", "video", "wandb") for x in extras[name]
    }


def test_commands_in_messages_quote_the_names_of_files(tmp_path, capsys, monkeypatch):
    """Each command is split as a shell splits it, and parsed."""
    monkeypatch.setattr("jaxgan.data.prepare", lambda *_: None)
    folder = str(tmp_path / "two words")
    _, out, _ = run("prepare", "cifar10", "--data_dir", folder, capsys=capsys)
    args = parse(shlex.split(out.splitlines()[1])[1:])
    assert args.named["config"]["data.data_dir"] == folder
    with pytest.raises(FileNotFoundError, match="is not prepared") as raised:
        data.open_source("tfds", tfds_name="cifar10", data_dir=folder)
    command = shlex.split(re.search("run `jaxgan (.*)` once", str(raised.value))[1])
    assert parse(command).data_dir == folder
    digits = config.make_run(config.load("gan_digits"), data.open_source("digits").spec)
    training_folder.claim(folder, digits.record)
    with pytest.raises(FileNotFoundError, match="has no checkpoint yet; train it first") as raised:
        config.restore(folder)
    command = shlex.split(str(raised.value).rpartition("jaxgan ")[2])
    assert parse(command).workdir == folder
    words = shlex.split(dry_run.elsewhere(f"{folder}/my.py", ["data.path=my pictures"]))
    assert {f"{folder}/my.py", "data.path=my pictures"} <= set(words)
