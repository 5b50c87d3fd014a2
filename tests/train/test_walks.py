"""Path lengths and separability of trained generators: the named spaces, by hand, and what cannot be measured."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import models, train
from jaxgan.data.source import ArraySource
from jaxgan.engine import Engine
from jaxgan.game import Play
from jaxgan.metrics.networks import open_extractor
from jaxgan.metrics.perceptual_path_length import perceptual_path_length
from jaxgan.metrics.protocols import Protocol, adapted, by_name
from jaxgan.options import OptionError
from jaxgan.spec import Field, Spec
from jaxgan.train.evaluation import protocol_of
from jaxgan.train.walks import faces, path_lengths

SPEC = Spec({"image": Field("image", (16, 16, 1)), "label": Field("label", number=3)}, 64)


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 16, 16, 1), np.uint8)
    return ArraySource(images, rng.integers(0, 3, 64), classes=("a", "b", "c"))


def game(name, **options):
    module = models.load(name)
    return module.game(
        module.Options(latent_dim=4, channel_base=64, channel_max=6, **options), SPEC
    )


STYLE = {"style_dim": 4, "mapping_layers": 2, "mapping_lr_multiplier": 1.0}


@pytest.fixture(scope="module")
def styled():
    engine = Engine(game("stylegan", conditional=True, **STYLE), seed=3)
    return engine, engine.init()


def protocol(space, sampling="full", **changes):
    named = by_name(f"ppl_{space}_{sampling}")
    return adapted(named, features="pixels", num_fake=40, **changes)


def by_hand(engine, state, space, sampling, step):
    """With the modules' methods in place of the tool's spaces, in the first stage 8 x 8 pixels."""
    module = engine.game.players["generator"].module
    variables = {**state.variables["generator"], "params": state.ema["generator"]["params"]}
    level = engine.game.stage_at(step)[0] // 2 + 1

    def style(z, label):
        return module.apply(variables, z, label, method="style")

    def paint(w):
        w = jnp.broadcast_to(w[:, None], (len(w), 6, 4))
        picture = module.apply(variables, w, "constant", level, method="paint")
        times = 16 // picture.shape[1]
        return jnp.repeat(jnp.repeat(picture, times, 1), times, 2)

    def distance(one, other):
        return jnp.sum(jnp.square(jnp.clip(one, -1, 1) - jnp.clip(other, -1, 1)), axis=(1, 2, 3))

    def labels(key, num):
        _, label_key = jax.random.split(key)
        return jax.random.randint(label_key, (num,), 0, 3)

    return perceptual_path_length(
        lambda w, label: paint(w),
        distance,
        4,
        jax.random.key(0),
        mapping=style,
        space=space,
        sampling=sampling,
        labels=labels,
        num_samples=40,
        batch_size=16,
    )


@pytest.mark.parametrize(
    ("space", "sampling", "step"),
    [
        ("w", "full", 0),
        *(pytest.param(*c, marks=pytest.mark.slow) for c in (("z", "end", 0), ("w", "end", 10**6))),
    ],
)
def test_path_lengths_are_those_of_the_mapping_and_synthesis(source, styled, space, sampling, step):
    """Pixels as features, so that the distance is that of the pictures; the clock chooses the level."""
    engine, state = styled
    state = state.replace(step=jnp.int32(step))
    evaluator = train.make_evaluator(source, protocol(space, sampling))
    result = evaluator(engine, state, step)
    expected = by_hand(engine, state, space, sampling, step)
    name = f"path_length_{space}_{sampling}_pixels"
    np.testing.assert_allclose(result[name], expected.mean, rtol=1e-2)
    np.testing.assert_allclose(
        result[f"path_length_{space}_{sampling}_deviation_pixels"], expected.deviation, rtol=2e-2
    )
    assert result["protocol"]["space"] == space
    assert result["protocol"]["labels"] == "drawn"
    assert result["better"][name] == "lower"


def test_the_crop_is_that_of_faces():
    """Rows 3/8 to 7/8, columns 2/8 to 6/8."""
    rows, columns = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    pictures = np.stack([rows, columns], axis=-1)[None]
    found = faces(pictures)
    assert found.shape == (1, 4, 4, 2)
    np.testing.assert_array_equal(found[0, :, 0, 0], [3, 4, 5, 6])
    np.testing.assert_array_equal(found[0, 0, :, 1], [2, 3, 4, 5])


@pytest.mark.slow
def test_separability_uses_the_latents_of_the_space_and_the_classifiers_logits(source, styled):
    engine, state = styled

    class Classifier:
        name, outputs = "brightness", {"features": 1, "logits": 2}

        def __call__(self, batch):
            mean = np.asarray(batch, np.float32).mean(axis=(1, 2, 3))[:, None]
            return {"features": mean, "logits": np.concatenate([mean - 128, 128 - mean], axis=1)}

    scores = {}
    for space in "zw":
        named = adapted(f"separability_{space}", features="brightness", num_fake=60)
        evaluator = train.evaluation.Evaluator(named, Classifier(), source)
        result = evaluator(engine, state, 0)
        scores[space] = result[f"separability_{space}_brightness"]
    assert all(1 <= score <= 4 for score in scores.values())
    assert scores["z"] != scores["w"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["progressive", "msg_gan"])
def test_models_without_styles_have_lengths_in_z(name):
    engine = Engine(game(name), seed=3)
    assert protocol_of(engine.game, "ppl_z_full").name == "ppl_z_full"
    play = Play(engine.game.networks(engine.init()), {}, jax.random.key(0), engine.game.clock(0), 0)
    walk = engine.game.tools["interpolation"].walk(play)
    extractor = open_extractor("pixels", (16, 16, 1))
    lengths = path_lengths(walk, protocol("z"), extractor, jax.random.key(0))["path_length"]
    assert lengths.shape == (40, 1)
    assert (lengths > 0).all()


def test_what_cannot_be_measured_is_refused_with_a_way_out(source):
    plain = game("msg_gan")
    with pytest.raises(
        OptionError,
        match=r"latent space w, and this model has only z: set train.protocol=ppl_z_end",
    ):
        protocol_of(plain, "ppl_w_end")
    without = dataclasses.replace(plain, tools={})
    with pytest.raises(
        ValueError, match=r"this model has no tool 'interpolation' .* protocol of samples"
    ):
        protocol_of(without, "separability_z")
    mixed = Protocol("custom", ("path_length", "fd"), "pixels", num_fake=40)
    with pytest.raises(
        ValueError, match="'path_length' measures the latents of a run, and is computed alone"
    ):
        train.make_evaluator(source, mixed)
    with pytest.raises(
        OptionError, match="needs the logits of a network, but 'pixels' has only features"
    ):
        train.make_evaluator(source, adapted("separability_z", features="pixels", num_fake=40))
