"""`jaxgan import`: runs of published weights, and what is said of files that are none."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxgan.cli.main import main
from jaxgan.imports import KINDS

RNG = np.random.default_rng(0)


def generator(width=8, latent=6, side=4):
    """Tensors of mimicry's generator for 32 pixels."""
    found = {"l1.weight": (side**2 * width, latent), "l1.bias": (side**2 * width,)}
    for i in range(2, 5):
        found |= {f"block{i}.{c}.weight": (width, width, 3, 3) for c in ("c1", "c2")}
        found[f"block{i}.c_sc.weight"] = (width, width, 1, 1)
        found |= {f"block{i}.{c}.bias": (width,) for c in ("c1", "c2", "c_sc")}
    for norm in ("b5", *(f"block{i}.b{j}" for i in range(2, 5) for j in (1, 2))):
        found |= {f"{norm}.{n}": (width,) for n in ("weight", "bias", "running_mean")}
        found[f"{norm}.running_var"] = (width,)
    found |= {"c5.weight": (3, width, 3, 3), "c5.bias": (3,)}
    return {name: RNG.uniform(0.1, 0.5, shape).astype(np.float32) for name, shape in found.items()}


def written(folder, tensors, name="netG.safetensors"):
    save_file(tensors, folder / name)
    return str(folder / name)


def refused(capsys, *arguments):
    assert main(["import", *arguments]) == 2
    return capsys.readouterr().err.strip()


def test_the_run_is_like_any_other(tmp_path, capsys):
    out = str(tmp_path / "run")
    file = written(tmp_path, generator())
    assert main(["import", "mimicry_wgan_gp", file, "--out", out]) == 0
    said = capsys.readouterr().out
    assert f"{out} holds wgan_gp with the generator for pictures of 32x32x3." in said
    assert "note: no file held the critic, which has random weights." in said
    assert main(["sample", "--workdir", out, "--num", "4", "--out", str(tmp_path / "a.png")]) == 0
    assert main(["export", "--workdir", out, "--out", str(tmp_path / "a.safetensors")]) == 0
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["imported"]["kind"] == "mimicry_wgan_gp"
    assert record["imported"]["players"] == ["generator"]
    capsys.readouterr()
    assert main(["lipschitz", "--workdir", out]) == 2
    assert "its files held only the generator" in capsys.readouterr().err
    assert main(["evaluate", "--workdir", out]) == 2
    assert "set --config.data.path=PATH" in capsys.readouterr().err


def test_it_is_measured_on_the_data_that_are_given(tmp_path, capsys):
    out, file = str(tmp_path / "run"), written(tmp_path, generator())
    pictures = RNG.integers(0, 256, (40, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "data.npz", images=pictures)
    data = ["--config.data.name=array", f"--config.data.path={tmp_path / 'data.npz'}"]
    assert main(["import", "mimicry_sngan", file, "--out", out, *data]) == 0
    arguments = ["--features", "pixels", "--num", "32", "--scores", "fd"]
    assert main(["evaluate", "--workdir", out, *arguments]) == 0
    assert "fd" in capsys.readouterr().out


def test_data_of_another_shape_are_refused(tmp_path, capsys):
    file, out = written(tmp_path, generator()), str(tmp_path / "run")
    np.savez(tmp_path / "data.npz", images=np.zeros((4, 32, 32, 1), np.uint8))
    data = ["--config.data.name=array", f"--config.data.path={tmp_path / 'data.npz'}"]
    said = refused(capsys, "mimicry_sngan", file, "--out", out, *data, "--config.data.channels=1")
    assert "the networks make pictures of shape (32, 32, 3), but" in said
    assert main(["import", "mimicry_sngan", file, "--out", out, *data]) == 0


def test_options_of_the_model_cannot_be_set(tmp_path, capsys):
    file, out = written(tmp_path, generator()), str(tmp_path / "run")
    said = refused(capsys, "mimicry_sngan", file, "--out", out, "--config.model.batch_size=8")
    assert "--config.model.batch_size cannot be set here" in said


def test_kinds_are_listed(capsys):
    assert main(["import", "list"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {kind} " in said for kind in KINDS)


def test_wrong_files_are_named(tmp_path, capsys):
    tensors, out = generator(), str(tmp_path / "run")
    whole = written(tmp_path, tensors, "whole.safetensors")
    assert refused(capsys, "mimicry_sngn", whole, "--out", out) == (
        "jaxgan: there is no kind of file 'mimicry_sngn'; did you mean 'mimicry_sngan'?"
    )
    assert "give KIND, its FILEs and --out FOLDER" in refused(capsys, "mimicry_sngan")
    other = written(tmp_path, {"a": np.zeros(3, np.float32)}, "other.safetensors")
    assert f"{other} does not look like mimicry_sngan, nor like any other kind" in refused(
        capsys, "mimicry_sngan", other, "--out", out
    )
    more = written(
        tmp_path, {**tensors, "attention.gamma": np.zeros(1, np.float32)}, "m.safetensors"
    )
    assert "the tensor 'attention.gamma' in" in refused(capsys, "mimicry_sngan", more, "--out", out)
    fewer = written(
        tmp_path, {n: x for n, x in tensors.items() if n != "c5.weight"}, "f.safetensors"
    )
    assert "there is no tensor 'c5.weight' in" in refused(
        capsys, "mimicry_sngan", fewer, "--out", out
    )
    changed = {**tensors, "block3.c1.weight": np.zeros((8, 4, 3, 3), np.float32)}
    wrong = written(tmp_path, changed, "w.safetensors")
    said = refused(capsys, "mimicry_sngan", wrong, "--out", out)
    assert (
        "the tensor 'block3.c1.weight' makes generator/params/block1/conv0/kernel of shape" in said
    )
    flat = written(tmp_path, {**tensors, "l1.weight": np.zeros(128, np.float32)}, "r.safetensors")
    assert "the tensor 'l1.weight' in" in refused(capsys, "mimicry_sngan", flat, "--out", out)
    assert main(["import", "mimicry_sngan", whole, "--out", out]) == 0
    capsys.readouterr()
    assert "choose a new folder" in refused(capsys, "mimicry_sngan", whole, "--out", out)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_states_what_it_is(kind):
    from jaxgan import imports

    module = imports.load(kind)
    assert module.ABOUT
    assert not module.files(["weight"])
