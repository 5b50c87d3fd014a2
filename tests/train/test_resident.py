"""Sets in the memory of the devices: the same batches, bit for bit, as the host makes."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxgan import config, train
from jaxgan.cli.main import main
from jaxgan.data import ArraySource, Pipeline
from jaxgan.data.source import Column
from jaxgan.engine import Engine
from jaxgan.models import gan
from jaxgan.options import OptionError
from jaxgan.spec import Field, Spec
from jaxgan.train.mesh import make_mesh
from jaxgan.train.resident import MOST_BYTES, Resident, is_resident, num_bytes


def source(count=11, side=8):
    """Pictures with label maps, labels and conditions of another number of channels."""
    rng = np.random.default_rng(0)
    columns = {
        "label_map": Column(
            Field("label_map", (side, side), number=5),
            rng.integers(0, 5, (count, side, side), dtype=np.uint8),
        ),
        "condition": Column(
            Field("image", (side, side, 1)),
            rng.integers(0, 256, (count, side, side, 1), dtype=np.uint8),
        ),
    }
    images = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return ArraySource(images, np.arange(count) % 3, columns=columns)


def engine(devices=1):
    spec = Spec({"image": Field("image", (8, 8, 3))}, 11)
    game = gan.game(gan.Options(architecture="mlp", batch_size=8), spec)
    return Engine(game, mesh=make_mesh(devices))


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("resolution", [None, 4, 2])
def test_batches_are_those_of_the_host(resolution, devices):
    pipeline = Pipeline(source(), 3, flip=True, resolution=resolution, stage=1)
    player = engine(devices)
    resident = Resident(pipeline, player)
    ours, theirs = resident.iterate(2, 16), pipeline.iterate(2, 16)
    for _ in range(3):  # over the ends of several epochs
        ours_now, theirs_now = next(ours), next(theirs)
        assert ours_now.keys() == theirs_now.keys()
        for name, values in theirs_now.items():
            assert ours_now[name].dtype == values.dtype
            assert ours_now[name].sharding == player.batch_sharding
            np.testing.assert_array_equal(ours_now[name], values)
            assert player.put(ours_now)[name] is ours_now[name]
    ours.close(), theirs.close()


def test_points_and_pictures_without_mirroring():
    points = ArraySource(np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32))
    pipeline = Pipeline(points, 0)
    batches = Resident(pipeline, engine()).iterate(0, 5)
    np.testing.assert_array_equal(next(batches)["image"], pipeline.batch(0, 5)["image"])
    batches.close()


def test_a_run_is_the_same_bit_for_bit(tmp_path):
    states = []
    for choice in ("no", "yes"):
        given = [f"train.data_on_device={choice}", "train.steps=4", "data.flip=true"]
        cfg = config.load("gan_digits", [*given, "train.sample_every=4", "train.log_every=2"])
        opened = config.open_data(cfg)
        result = config.make_run(cfg, opened.spec).train(opened, tmp_path / choice)
        states.append(result.state)
        metrics = train.read_metrics(tmp_path / choice)
        assert all(0 <= row["data_wait"] <= 1 for row in metrics)
    for one, other in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(one, other)


def test_small_sets_are_kept_on_accelerators_only():
    pipeline = Pipeline(source(), 0)
    assert num_bytes(pipeline) == 11 * (8 * 8 * (3 + 1 + 1) + 4)
    assert num_bytes(Pipeline(source(), 0, resolution=4)) == 11 * (4 * 4 * 5 + 4)
    found = {
        (choice, platform): is_resident(choice, pipeline, platform)
        for choice in ("auto", "yes", "no")
        for platform in ("cpu", "gpu", "tpu")
    }
    assert {key for key, kept in found.items() if kept} == {
        *(("auto", p) for p in ("gpu", "tpu")),
        *(("yes", p) for p in ("cpu", "gpu", "tpu")),
    }
    large = Pipeline(source(), 0)
    large.spec = dataclasses.replace(large.spec, size=MOST_BYTES // 300)
    assert not is_resident("auto", large, "gpu")
    assert not is_resident("auto", Pipeline(source(), 0, jitter=2), "gpu")


def test_cropped_pictures_are_refused_with_two_ways_out(tmp_path):
    given = ["data.jitter=1", "train.data_on_device=yes", "train.steps=1"]
    cfg = config.load("gan_digits", given)
    opened = config.open_data(cfg)
    with pytest.raises(OptionError, match="pictures are cropped on the host") as error:
        config.make_run(cfg, opened.spec).train(opened, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "train.data_on_device=auto" in str(error.value)
    assert "data.jitter=0" in str(error.value)
    mended = config.load("gan_digits", [*given, "data.jitter=0"])
    config.make_run(mended, opened.spec).train(opened, tmp_path / "run")


def test_a_dry_run_states_their_memory(capsys):
    main(["train", "--config", "gan_digits", "--config.train.data_on_device=yes", "--dry_run"])
    digits = len(config.open_data(config.load("gan_digits")))
    size = digits * (8 * 8 + 4)  # pixels and a label
    assert f"data on each device: {size / 1024:.1f} KiB" in capsys.readouterr().out
    main(["train", "--config", "gan_digits", "--dry_run"])
    assert "data on each device" not in capsys.readouterr().out
