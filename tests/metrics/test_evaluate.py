import io
import itertools
import json
import os
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
import scipy.ndimage
import sklearn.datasets
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from PIL import Image

import jaxgan
from jaxgan.metrics.evaluate import evaluate, summarise
from jaxgan.metrics.features import extractor_for, pixels, points, random_conv
from jaxgan.metrics.frechet import frechet_distance
from jaxgan.metrics.moments import Moments
from jaxgan.metrics.precision_recall import precision_recall

_needs_data = pytest.mark.skipif(
    "JAXGAN_TEST_DATA" not in os.environ, reason="JAXGAN_TEST_DATA names no folder of real data"
)


@pytest.fixture(scope="module")
def digits():
    """The 1,797 digits, shuffled (they are sorted by writer): uint8 [N, 8, 8, 1]."""
    images = sklearn.datasets.load_digits().images[..., None] * (255 / 16)
    return np.random.default_rng(0).permutation(images.round().astype(np.uint8))


def _batches(images, sizes):
    """Batches of the given sizes, over and over, until the images end."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(images):
            return
        yield {"image": images[start : start + size]}
        start += size


class _Plain:
    """A user's own extractor: no base class, no checksum."""

    name, dim = "corner", 3

    def __call__(self, batch):
        return np.asarray(batch, np.float32)[:, 0, :3, 0]


def _same_scores(one, two, rel=1e-6):
    scores = [name for name in one if name != "protocol"]
    assert scores
    for name in scores:
        assert one[name] == pytest.approx(two[name], rel=rel), name


def test_is_the_metrics_on_all_features_at_once(digits):
    real, fake = digits[:403], digits[900:1210] // 2
    extractor = random_conv((8, 8, 1))
    a, b = (np.asarray(extractor(x)) for x in (real, fake))
    result = evaluate([real], [fake], extractor, 403, 310, 5, batch_size=128)
    expected = frechet_distance(
        a.mean(0), np.cov(a.astype(np.float64).T), b.mean(0), np.cov(b.astype(np.float64).T)
    )
    assert result["fd_random_conv"] == pytest.approx(expected, rel=1e-5)
    precision, recall = precision_recall(a, b, 5)
    assert result["precision_random_conv"] == pytest.approx(precision, abs=0.004)
    assert result["recall_random_conv"] == pytest.approx(recall, abs=0.004)


def test_does_not_depend_on_how_the_examples_are_batched(digits):
    real, fake = digits[:300], digits[300:600] // 2
    extractor = pixels((8, 8, 1))
    one = evaluate([real], [fake], extractor, 300, 300, batch_size=300)
    for sizes, batch_size in (((7, 1, 50), 64), ((300,), 64), ((1,), 301)):
        streams = _batches(real, sizes), _batches(fake, sizes)
        _same_scores(evaluate(*streams, extractor, 300, 300, batch_size=batch_size), one)


def test_takes_exactly_the_first_and_reads_no_further(digits):
    def endless():
        yield from _batches(digits[:130], [50])
        raise AssertionError("read further than needed")

    extractor = pixels((8, 8, 1))
    one = evaluate(endless(), endless(), extractor, 130, 101)
    _same_scores(one, evaluate([digits[:130]], [digits[:101]], extractor, 130, 101))


def test_uses_one_program_and_keeps_every_example(digits):
    traced = chex.assert_max_traces(lambda x: x[:, 0, :3, 0].astype(np.float32), n=1)

    class Counted(_Plain):
        __call__ = staticmethod(jax.jit(traced))

    summary = summarise(
        _batches(digits[:333], [40, 3]), Counted(), 333, "real", keep_features=True, batch_size=100
    )
    assert (summary.features == digits[:333, 0, :3, 0]).all()
    assert summary.moments.count == 333


def test_holds_no_features_where_moments_are_enough(digits):
    extractor = _Plain()
    result = evaluate([digits[:99]], [digits[99:198]], extractor, 99, 99, nearest_k=None)
    assert set(result) == {"fd_corner", "protocol"}
    assert result["protocol"]["nearest_k"] is None
    summary = summarise([digits], extractor, 99, "real", keep_features=False)
    assert summary.features is None
    np.testing.assert_allclose(summary.moments.mean, digits[:99, 0, :3, 0].mean(axis=0))


@pytest.mark.parametrize("devices", [2, 8])
def test_devices_share_the_batch_and_agree(digits, devices):
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    extractor = random_conv((8, 8, 1))
    streams = [digits[:150]], [digits[150:300] // 2]
    one = evaluate(*streams, extractor, 150, 150, batch_size=64)
    many = evaluate(*streams, extractor, 150, 150, batch_size=64, sharding=sharding)
    _same_scores(many, one)
    with pytest.raises(ValueError, match=r"batch_size = 63 cannot be split over the devices"):
        evaluate(*streams, extractor, 150, 150, batch_size=63, sharding=sharding)


def test_states_its_protocol(digits):
    extractor = random_conv((8, 8, 1))
    result = evaluate([digits], [digits], extractor, 400, 300, split="train", ema=True)
    assert json.loads(json.dumps(result)) == result
    assert result["protocol"] == {
        "num_real": 400,
        "num_fake": 300,
        "features": "random_conv",
        "features_dim": 258,
        "features_checksum": extractor.checksum,
        "resize": "none",
        "quantisation": "uint8 = clip(round(127.5 x + 127.5), 0, 255)",
        "nearest_k": 3,
        "notes": [],
        "jaxgan": jaxgan.__version__,
        "split": "train",
        "ema": True,
    }


def test_notes_a_rank_deficient_covariance(digits):
    notes = evaluate([digits], [digits], random_conv((8, 8, 1)), 259, 258)["protocol"]["notes"]
    assert len(notes) == 1
    assert notes[0].startswith("num_fake = 258 is below dim + 1 = 259: the covariance is rank")


def test_a_plain_object_is_an_extractor(digits):
    result = evaluate([digits], [digits], _Plain(), 200, 200)
    assert (result["fd_corner"], result["precision_corner"]) == (pytest.approx(0, abs=1e-8), 1)
    assert result["protocol"]["features_checksum"] == "not stated"


def test_points_are_scored_as_they_are():
    x = np.random.default_rng(0).normal(size=(999, 2)).astype(np.float32)
    moved = x + np.float32([3, 4])
    result = evaluate([{"image": x}], [{"image": moved}], points((2,)), 999, 999)
    assert result["fd_points"] == pytest.approx(25, rel=1e-5)
    assert result["protocol"]["quantisation"] == "none"


_X = np.zeros((10, 8, 8, 1), np.uint8)


@pytest.mark.parametrize(
    ("real", "fake", "options", "message"),
    [
        ([_X], [_X], {"num_real": 11}, "num_real asks for 11 real examples, .* were only 10; give"),
        ([_X], [], {}, "num_fake asks for 10 fake examples, but there were only 0"),
        ([_X], [_X], {"num_fake": 3}, "num_fake = 3 is too few: nearest_k = 3 needs at least 4"),
        ([_X], [_X], {"num_real": 1, "nearest_k": None}, "1 is too few: a covariance needs at"),
        (
            [_X[:5], _X[:5, 1:]],
            [_X],
            {},
            r"real batches differ: uint8 \[8, 8, 1\] and then uint8 \[",
        ),
        ([_X], [_X / np.float32(255)], {}, "reals are uint8 and fakes are float32: quantise both"),
        ([_X], [_X * np.float32("nan")], {}, "features of the fake examples contain NaN or Inf"),
        ([_X], [_X], {"resize": "clean"}, "the protocol states resize by itself"),
    ],
)
def test_refuses(real, fake, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(real, fake, _Plain(), **{"num_real": 10, "num_fake": 10} | options)


def test_refuses_an_extractor_that_breaks_its_word():
    class Wide(_Plain):
        dim = 4

    with pytest.raises(ValueError, match=r"'corner' say dim = 4, but gave an array \[256, 3\]"):
        evaluate([_X], [_X], Wide(), 10, 10)


def _ladder(images, extractor, mild_blur, strong_blur):
    """Fréchet distances from one half of the images to ever worse versions of the other."""
    rng = np.random.default_rng(1)
    half = len(images) // 2
    other = images[half : 2 * half].astype(np.float32)

    def blur(sigma):
        return scipy.ndimage.gaussian_filter(other, (0, sigma, sigma, 0))

    versions = {
        "half": other,
        "mild blur": blur(mild_blur),
        "strong blur": blur(strong_blur),
        "mild noise": other + rng.normal(0, 20, other.shape),
        "strong noise": other + rng.normal(0, 60, other.shape),
        "uniform noise": rng.uniform(0, 255, other.shape),
    }

    def gaussian(images):
        moments = summarise([images], extractor, half, "some", keep_features=False).moments
        return moments.mean, moments.covariance()

    real = gaussian(images[:half])
    quantised = {name: x.round().clip(0, 255).astype(np.uint8) for name, x in versions.items()}
    return {name: frechet_distance(*real, *gaussian(x)) for name, x in quantised.items()}


def _assert_ordered(ladder):
    for kind in ("blur", "noise"):
        steps = [ladder[n] for n in ("half", f"mild {kind}", f"strong {kind}", "uniform noise")]
        assert all(1.2 * low < high for low, high in itertools.pairwise(steps)), ladder


def test_damaged_digits_are_further(digits):
    _assert_ordered(_ladder(digits, random_conv((8, 8, 1)), 0.4, 0.7))


@_needs_data
def test_damaged_photographs_are_further():
    with np.load(Path(os.environ["JAXGAN_TEST_DATA"], "cifar10/cifar10_jpeg_test.npz")) as pack:
        blob, offsets = pack["data"].tobytes(), pack["offsets"][:2001]
    spans = itertools.pairwise(offsets)
    images = np.stack([np.asarray(Image.open(io.BytesIO(blob[a:b]))) for a, b in spans])
    _assert_ordered(_ladder(images, extractor_for((32, 32, 3)), 0.7, 1.5))


@_needs_data
def test_real_features_score_as_published():
    """Made from ResNet-56 features by another implementation (the data folder's README)."""
    with np.load(Path(os.environ["JAXGAN_TEST_DATA"], "nets/golden_metrics.npz")) as golden:
        a, b, c = (golden[f"features_{name}"] for name in "abc")
        expected = {name: float(golden[name]) for name in ("fid_ab", "fid_ac")}
        expected |= {name: float(golden[name]) for name in ("precision_ab", "recall_ab")}
    moments = {name: Moments.of(x) for name, x in zip("abc", (a, b, c), strict=True)}
    nearest = precision_recall(a, b, 3)
    measured = {"precision_ab": nearest.precision, "recall_ab": nearest.recall}
    for other in "bc":
        one, two = moments["a"], moments[other]
        measured[f"fid_a{other}"] = frechet_distance(
            one.mean, one.covariance(), two.mean, two.covariance()
        )
    assert measured == {name: pytest.approx(value, rel=1e-6) for name, value in expected.items()}
