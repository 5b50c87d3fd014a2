"""Scores of recovered label maps: a segmenter from a file, and the protocol of runs that paint label maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config, train
from jaxgan.cli.main import main
from jaxgan.metrics import segmentation_scores
from jaxgan.metrics.images import to_uint8
from jaxgan.metrics.segmenter import LABEL_MAP, Segmenter
from jaxgan.options import OptionError

TINY = [
    *("model.width=1", "model.doublings=1", "model.spade_hidden=4", "model.latent_dim=2"),
    *("model.critic_width=2", "model.critic_layers=2", "model.batch_size=8", "train.steps=1"),
    *("data.resolution=16", "train.grid=4"),
]
NUM = 50  # not a multiple of the devices


def by_ink(pictures, labels=11):
    """Logits of paper, label 0, and of the ink of ten digits: bright pixels are label 1, and no other is found."""
    ink = pictures[..., :1].astype(jnp.float32) - 127.5
    return jnp.concatenate([-ink, ink, *[jnp.full_like(ink, -999.0)] * (labels - 2)], axis=-1)


def export(path, function=by_ink, shape=(16, 16, 1), dtype=jnp.uint8, batch="b"):
    sizes = (*(jax.export.symbolic_shape("b") if batch == "b" else (batch,)), *shape)
    exported = jax.export.export(jax.jit(function))(jax.ShapeDtypeStruct(sizes, dtype))
    path.write_bytes(exported.serialize())
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return export(tmp_path_factory.mktemp("segmenter") / "ink.jax")


@pytest.fixture(scope="module")
def spade():
    """(run, test set, states by devices) of untrained networks."""
    cfg = config.load("spade_digits", TINY)
    run = config.make_run(cfg, config.open_data(cfg).spec)
    source = config.open_data(config.load("spade_digits", [*TINY, "data.split=test"]))
    engines = {n: train.make_engine(run.game, train.Options(devices=n), seed=0) for n in (1, 8)}
    state = engines[1].init()
    return (
        run,
        source,
        {n: (e, jax.device_put(state, e.state_shardings)) for n, e in engines.items()},
    )


@pytest.mark.parametrize(("devices", "ignored"), [(1, ()), (8, ()), (1, (3, 0))])
def test_the_protocol_scores_the_maps_that_the_segmenter_finds(spade, file, devices, ignored):
    _, source, engines = spade
    engine, state = engines[devices]
    protocol = train.evaluation.protocols.adapted("label_maps", ignored=ignored)
    evaluator = train.make_evaluator(source, protocol, weights=file, num=NUM)
    result = evaluator(engine, state, 0)
    examples = source.gather(source.spread_indices(NUM))
    made = train.transform(engine, state, examples, engine.key(0))
    found = np.asarray(by_ink(to_uint8(made)).argmax(-1))
    expected = segmentation_scores(found, examples["label_map"], 11, ignored)
    assert result["mean_iou_segmenter"] == pytest.approx(expected.mean_iou, rel=1e-3)
    assert result["pixel_accuracy_segmenter"] == pytest.approx(expected.accuracy, rel=1e-3)
    assert 0 < expected.mean_iou < expected.accuracy < 0.9
    assert result["protocol"]["ignored"] == list(ignored)
    assert result["protocol"]["features_checksum"] == Segmenter(file).checksum


@pytest.mark.slow
def test_a_run_is_measured_by_the_command(tmp_path, file, capsys):
    folder = tmp_path / "run"
    assert main(["train", "--config", "spade_digits", *(f"--config.{x}" for x in TINY),
                 "--config.train.devices=1", f"--workdir={folder}"]) == 0  # fmt: skip
    base = ["evaluate", f"--workdir={folder}", "--protocol=label_maps", f"--num={NUM}"]
    capsys.readouterr()
    assert main(base) == 2
    assert "give its file" in (said := capsys.readouterr().err)
    assert said.rstrip().endswith("set --weights=FILE.")
    assert main([*base, f"--weights={file}", "--ignored=0"]) == 0
    assert "mean_iou_segmenter" in capsys.readouterr().out
    assert main([*base, f"--weights={file}", "--ignored=ink"]) == 2
    assert "must be numbers of labels, separated by commas" in capsys.readouterr().err


def test_a_segmenter_is_one_function_of_pictures_of_any_number(file):
    segmenter = Segmenter(file)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)
    np.testing.assert_array_equal(segmenter(pictures)[LABEL_MAP], pictures[..., 0] > 127)
    assert (segmenter.shape, segmenter.labels) == ((16, 16, 1), 11)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"dtype": jnp.float32}, "not uint8"),
        ({"batch": 4}, "for any number b"),
        ({"function": lambda x: by_ink(x).argmax(-1)}, "not logits"),
        ({"function": lambda x: by_ink(x)[:, ::2]}, "not logits"),
    ],
)
def test_another_function_is_refused_by_a_sentence(tmp_path, how, text):
    with pytest.raises(ValueError, match=text):
        Segmenter(export(tmp_path / "other.jax", **how))


def test_what_cannot_be_measured_is_refused_before_anything_compiles(tmp_path, spade, file):
    _, source, _ = spade

    def evaluator(file, **changes):
        protocol = train.evaluation.protocols.adapted("label_maps", **changes)
        return train.make_evaluator(source, protocol, weights=file, num=NUM)

    (tmp_path / "text.jax").write_text("no program")
    with pytest.raises(ValueError, match="is no function that JAX has exported"):
        evaluator(tmp_path / "text.jax")
    with pytest.raises(
        ValueError, match=r"takes pictures \[8, 8, 1\], but those of the data are \[16"
    ):
        evaluator(export(tmp_path / "small.jax", shape=(8, 8, 1)))
    with pytest.raises(ValueError, match="has 3 labels, but"):
        evaluator(export(tmp_path / "three.jax", lambda x: by_ink(x, 3)))
    with pytest.raises(
        ValueError, match="there is no label 11 to ignore: there are 11, from 0 to 10"
    ):
        evaluator(file, ignored=(11,))
    with pytest.raises(OptionError, match="needs the label_agreement"):
        evaluator(None, features="random_conv")


def test_a_game_without_label_maps_is_refused():
    cfg = config.load("pix2pix_digits")
    game = config.make_run(cfg, config.open_data(cfg).spec).game
    with pytest.raises(OptionError, match="makes its transforms of none") as error:
        train.evaluation.protocol_of(game, "label_maps")
    assert error.value.fixes == ({"train.protocol": "reconstruction"},)
    train.evaluation.protocol_of(game, "reconstruction")
