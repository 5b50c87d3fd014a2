"""Transforms measured: pairs stay pairs, devices do not matter, little is held; and the grid that shows them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import transforming
from PIL import Image

from jaxgan import data, train
from jaxgan import engine as engine_lib
from jaxgan.data import ArraySource
from jaxgan.data.pictures import colours
from jaxgan.game import Output
from jaxgan.metrics.compare import scores
from jaxgan.metrics.features import random_conv
from jaxgan.metrics.paired import finite_psnr, l1
from jaxgan.metrics.protocols import Protocol
from jaxgan.metrics.summary import IMAGE, Needs
from jaxgan.schedules import Ema
from jaxgan.spec import Field, Spec
from jaxgan.train import loop, report
from jaxgan.train.outputs import examples, made_of_examples, summarise_output

DIGITS = data.open_source("digits")
PROTOCOL = Protocol(
    "custom", ("psnr", "l1", "fd"), "random_conv", num_fake=230, num_real=230, of="transforms"
)
NEEDS = Needs(frozenset(["features"]), frozenset(["psnr", "l1", IMAGE]))


def summarise_transforms(engine, state, num, extractor):
    given = examples(DIGITS, num)
    return summarise_output(engine, state, "transforms", num, given, extractor, NEEDS)


def engine_and_state(devices=1, **options):
    game = transforming.game(transforming.Options(**options), DIGITS.spec)
    engine = train.make_engine(game, train.Options(devices=devices), seed=3)
    return engine, engine.init()


def test_each_transform_meets_the_example_that_it_was_made_of():
    engine, state = engine_and_state(noise=0.0)
    found = summarise_transforms(engine, state, 230, random_conv((8, 8, 1)))
    real = DIGITS.images(230)
    # The gain is a half at first.
    made = np.round(0.5 * (real / np.float32(127.5) - 1) * 127.5 + 127.5).astype(np.uint8)
    assert (found.arrays[IMAGE] == made).all()
    assert found.count == 230
    assert found.labels.tolist() == [
        int(label) for batch in DIGITS.spread(230) for label in batch["label"]
    ]
    for name, measure in (("psnr", finite_psnr), ("l1", l1)):
        assert found.arrays[name].shape == (230, 1)
        np.testing.assert_allclose(found.arrays[name][:, 0], measure(made, real), rtol=1e-5)
    assert found.moments["features"].count == 230


def test_devices_give_the_same_numbers_of_a_transform_that_draws():
    results = [
        train.Evaluator(PROTOCOL, random_conv((8, 8, 1)), DIGITS)(*engine_and_state(n), step=0)
        for n in (1, 8)
    ]
    one, many = map(scores, results)
    assert one.keys() == {"psnr", "l1", "fd_random_conv"}
    assert many == pytest.approx(one, rel=1e-5)
    assert results[0]["protocol"] == results[1]["protocol"]
    assert results[0]["protocol"]["of"] == "transforms"
    assert results[0]["protocol"]["batch_statistics"] == "as the model transforms"


def test_large_pictures_go_in_small_parts_and_the_numbers_are_those_of_all(monkeypatch):
    """What is read and transformed at once is bounded; the last part is filled up, and that is not counted."""
    engine, state = engine_and_state(noise=0.0)
    whole = summarise_transforms(engine, state, 23, random_conv((8, 8, 1)))
    read = []
    gather = DIGITS.gather
    monkeypatch.setattr(DIGITS, "gather", lambda i: read.append(len(i)) or gather(i))
    monkeypatch.setattr(engine_lib, "MOST_PIXELS", 5 * 64)
    engine, state = engine_and_state(noise=0.0)
    parts = summarise_transforms(engine, state, 23, random_conv((8, 8, 1)))
    assert read == [5] * 5
    np.testing.assert_array_equal(parts.arrays[IMAGE], whole.arrays[IMAGE])
    # XLA sums the pixels of a picture in another order where a program has another number of rows.
    for name in NEEDS.arrays - {IMAGE}:
        np.testing.assert_allclose(parts.arrays[name], whole.arrays[name], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(
        parts.moments["features"].mean, whole.moments["features"].mean, rtol=1e-5, atol=1e-5
    )


def test_a_transform_that_diverged_and_an_extractor_that_cannot_are_named():
    engine, state = engine_and_state()
    broken = state.replace(params=jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), state.params))
    with pytest.raises(ValueError, match="features of the fake examples contain NaN or Inf"):
        summarise_transforms(engine, broken, 10, random_conv((8, 8, 1)))

    class Plain:
        name, outputs = "corner", {"features": 1}

    with pytest.raises(ValueError, match="'corner' has no `apply"):
        summarise_transforms(engine, state, 10, Plain())


# The grid -------------------------------------------------------------------------------------------------


class Pairs(ArraySource):
    """Digits in colour, each paired with its grey negative at half the size."""

    def __init__(self):
        super().__init__(np.repeat(DIGITS.images(20), 3, axis=3))
        self.spec = Spec(
            {"image": Field("image", (8, 8, 3)), "condition": Field("image", (4, 4, 1))}, 20
        )

    def gather(self, indices):
        batch = super().gather(indices)
        return {**batch, "condition": 255 - batch["image"][:, ::2, ::2, :1]}


def test_averaged_networks_transform_if_they_are_asked_for():
    game = transforming.game(transforming.Options(noise=0.0), DIGITS.spec)
    averaged = dataclasses.replace(game.players["generator"], average=Ema(1.0))
    players = {**game.players, "generator": averaged}
    engine = engine_lib.Engine(dataclasses.replace(game, players=players))
    state = engine.init()
    state = state.replace(ema=jax.tree.map(jnp.zeros_like, state.ema))
    batch, key = DIGITS.gather(np.arange(3)), engine.key(0)
    assert (train.transform(engine, state, batch, key) == 0).all()
    latest = train.transform(engine, state, batch, key, ema=False)
    np.testing.assert_allclose(latest, 0.5 * (batch["image"] / 127.5 - 1), atol=1e-6)


def test_examples_stand_beside_what_is_made_of_them():
    source = Pairs()
    game = transforming.game(transforming.Options(noise=0.0), source.spec)
    engine = train.make_engine(game, train.Options(devices=1), seed=3)
    (batch,) = source.spread(16)
    grid = loop.output_grid(engine, engine.init(), "transforms", batch)
    assert (grid.shape, grid.dtype) == ((16, 8, 8 + 1 + 8 + 1 + 8, 3), np.uint8)
    condition, image, made = grid[:, :, :8], grid[:, :, 9:17], grid[:, :, 18:]
    assert (condition[:, ::2, ::2] == batch["condition"]).all()
    assert (image == batch["image"]).all()
    assert (np.abs(made - (batch["image"] / 2 + 63.75)) <= 0.5).all()
    assert (grid[:, :, [8, 17]] == 255).all()


def test_label_maps_are_shown_in_colours():
    source = data.open_source("label_maps", resolution=8)
    game = transforming.game(transforming.Options(noise=0.0), source.spec)
    engine = train.make_engine(game, train.Options(devices=1), seed=3)
    (batch,) = source.spread(16)
    grid = loop.output_grid(engine, engine.init(), "transforms", batch)
    assert grid.shape == (16, 8, 8 + 1 + 8 + 1 + 8, 3)
    assert (grid[:, :, :8] == colours()[batch["label_map"]]).all()
    assert (grid[:, :, 9:17] == batch["image"]).all()


def test_pictures_of_other_sizes_stand_side_by_side_on_white():
    small, large = np.zeros((2, 3, 4, 1), np.uint8), np.ones((2, 7, 5, 3), np.uint8)
    shown = report.side_by_side(small, large)
    assert shown.shape == (2, 7, 2 * 4 + 1 + 5, 3)
    assert (shown[:, :6, :8] == 0).all()
    assert (shown[:, 6, :9] == 255).all()
    assert (shown[:, :, 9:] == 1).all()


def test_the_grid_of_a_run_always_shows_the_same_examples(tmp_path):
    source = Pairs()
    game = transforming.game(transforming.Options(generates=False, learning_rate=0.0), source.spec)
    options = train.Options(steps=2, sample_every=1, log_every=1, devices=1)
    result = train.train(game, source, tmp_path, options, log=lambda sentence: None)
    grids = sorted((tmp_path / "transforms").iterdir())
    assert [path.name for path in grids] == [f"{step:08d}.png" for step in range(3)]
    assert len({path.read_bytes() for path in (*grids, tmp_path / "transforms.png")}) == 1
    assert not (tmp_path / "samples").exists()
    assert set(result.engine.traces().values()) == {1}
    with Image.open(grids[0]) as picture:
        # 16 strips of 26 x 8 in three columns with gaps of 4, enlarged until the smaller side is 256.
        assert picture.size == (4 * (3 * 30 - 4), 4 * (6 * 12 - 4))


def test_a_run_shows_every_output_that_is_made_from_examples(tmp_path):
    source = Pairs()
    game = transforming.game(transforming.Options(learning_rate=0.0), source.spec)
    small = Output(lambda play: play.batch["image"][:, ::2, ::2], (4, 4, 3), ("image",))
    absent = Output(lambda play: play.batch["reference"], (8, 8, 3), ("reference",))
    game = dataclasses.replace(game, outputs={**game.outputs, "small": small, "absent": absent})
    options = train.Options(steps=1, sample_every=1, log_every=1, devices=1, grid=4)
    train.train(game, source, tmp_path, options, log=lambda sentence: None)
    assert made_of_examples(game) == ["transforms", "small"]
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        "losses",
        "samples",
        "transforms",
        "small",
    }
    with Image.open(
        tmp_path / "small.png"
    ) as picture:  # alone: it has another size than the examples
        assert picture.size == (280, 280)
