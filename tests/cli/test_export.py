"""`jaxgan export`: what is written makes the same pictures elsewhere, without jaxgan."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors import safe_open

from jaxgan import config, train
from jaxgan.cli.main import main
from jaxgan.metrics.images import to_uint8

TINY = [
    *("--config.model.batch_size=8", "--config.train.devices=1", "--config.train.grid=4"),
    *("--config.train.steps=2", "--config.train.checkpoint_every=2"),
]
WIDTHS = ["--config.model.generator_width=8", "--config.model.critic_width=8"]

# What a user without jaxgan runs: the file, the fields as .npz, and where the result goes.
WITHOUT = """
import sys
sys.modules["jaxgan"] = sys.modules["flax"] = None
import jax, numpy as np
file, fields, out = sys.argv[1:]
function = jax.export.deserialize(bytearray(open(file, "rb").read()))
np.save(out, function.call(np.uint32(7), dict(np.load(fields))))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Makes runs: of digits with labels, and of pictures from pictures."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def train_one(name, *options):
        if name not in made:
            given = ["--config", name, *TINY, *options, "--workdir", str(folder / name)]
            assert main(["train", *given]) == 0
            made[name] = folder / name
        return made[name]

    return train_one


def called(workdir, tmp_path, fields, *arguments):
    """The rows that the exported program makes in a process without jaxgan."""
    file, out = tmp_path / "made.stablehlo", tmp_path / "made.npy"
    given = ["--workdir", str(workdir), "--out", str(file), "--num", "6", *arguments]
    assert main(["export", *given, "--platforms", "cpu,tpu"]) == 0
    np.savez(tmp_path / "fields.npz", **fields)
    command = [sys.executable, "-c", WITHOUT, file, tmp_path / "fields.npz", out]
    subprocess.run([str(part) for part in command], check=True)
    return np.load(out)


@pytest.mark.parametrize("averaged", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_samples_are_those_of_the_run(trained, tmp_path, averaged):
    workdir = trained("dcgan_digits", *WIDTHS, "--config.model.conditional=true",
                      "--config.model.ema_half_life_kimg=0.01")  # fmt: skip
    _, engine, _, state = config.restore(workdir)
    expected = train.sample(engine, state, 6, 7, averaged)
    fields = {"label": np.arange(6, dtype=np.int32)}
    found = called(workdir, tmp_path, fields, *([] if averaged else ["--no_ema"]))
    assert found.dtype == np.float32
    difference = np.int32(to_uint8(found)) - np.int32(expected["image"])
    assert np.abs(difference).max() <= 1  # a value half-way between two levels


@pytest.mark.slow
def test_transforms_take_the_examples_as_the_data_store_them(trained, tmp_path):
    workdir = trained("pix2pix_digits", *WIDTHS)
    run, engine, _, state = config.restore(workdir)
    source = config.open_data(run.config)
    needs = run.game.outputs["transforms"].needs
    batch = source.gather(np.arange(6))
    expected = train.outputs.transform(engine, state, batch, engine.key(7))
    found = called(workdir, tmp_path, {name: batch[name] for name in needs})
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_arrays_are_those_of_the_networks(trained, tmp_path, capsys):
    workdir = trained("dcgan_digits", *WIDTHS, "--config.model.conditional=true",
                      "--config.model.ema_half_life_kimg=0.01")  # fmt: skip
    file = tmp_path / "networks.safetensors"
    assert main(["export", "--workdir", str(workdir), "--out", str(file)]) == 0
    assert "critic, generator of step 2" in capsys.readouterr().out
    run, _, _, state = config.restore(workdir)
    with safe_open(file, "np") as arrays:
        known = arrays.metadata()
        assert json.loads(known["config"])["model"]["name"] == "dcgan"
        assert (known["format"], known["step"], known["averaged"]) == ("jaxgan", "2", "true")
        names = {name.partition("/")[0] for name in arrays.keys()}  # noqa: SIM118
        assert names == {"critic", "generator"}
        kernel = arrays.get_tensor("generator/params/project/kernel")
    averaged = run.game.networks(state, True)["generator"].variables["params"]
    np.testing.assert_array_equal(kernel, jax.device_get(averaged["project"]["kernel"]))


@pytest.mark.parametrize(
    ("arguments", "sentence", "way_out"),
    [
        (["--out", "a.onnx"], "--out is a.onnx; it must end in .safetensors (arrays) or .stablehlo (a program).",
         ["--out", "a.safetensors"]),
        (["--out", "a.stablehlo", "--platforms", "gpu"],
         "--platforms is 'gpu', but it must name some of cpu, cuda, rocm, tpu, such as --platforms cpu,cuda.",
         ["--out", "a.stablehlo", "--platforms", "cpu,cuda"]),
        (["--out", "a.stablehlo", "--num", "0"], "--num is 0; ask for at least one row.",
         ["--out", "a.stablehlo", "--num", "1"]),
        (["--out", "a.stablehlo", "--num", "1000"],
         "--num is 1000, but a call makes at most 100 rows; set --num 100.",
         ["--out", "a.stablehlo", "--num", "100"]),
        (["--out", "a.stablehlo", "--output", "films"], "--output is 'films', but this run makes samples.",
         ["--out", "a.stablehlo", "--output", "samples"]),
    ],
)  # fmt: skip
def test_wrong_input_is_a_sentence(
    trained, tmp_path, monkeypatch, capsys, arguments, sentence, way_out
):
    workdir = trained("dcgan_digits", *WIDTHS, "--config.model.conditional=true",
                      "--config.model.ema_half_life_kimg=0.01")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["export", "--workdir", str(workdir), *arguments]) == 2
    assert capsys.readouterr().err == f"jaxgan: {sentence}\n"
    assert not list(tmp_path.iterdir())
    assert main(["export", "--workdir", str(workdir), *way_out]) == 0
