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
from jaxgan.metrics.compare import scores
from jaxgan.metrics.evaluate import evaluate
from jaxgan.metrics.features import extractor_for, pixels, points, random_conv
from jaxgan.metrics.frechet import frechet_distance
from jaxgan.metrics.moments import Moments
from jaxgan.metrics.precision_recall import precision_recall
from jaxgan.metrics.protocols import Protocol
from jaxgan.metrics.summary import Needs, summarise

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

    name, outputs = "corner", {"features": 3}

    def __call__(self, batch):
        return {"features": np.asarray(batch, np.float32)[:, 0, :3, 0]}


def _protocol(num_real, num_fake, **fields):
    """The Fréchet distance, precision and recall of so many."""
    fields = {"scores": ("fd", "pr"), "features": "some"} | fields
    return Protocol("custom", num_real=num_real, num_fake=num_fake, **fields)


_MOMENTS, _ARRAYS = Needs(frozenset(["features"])), Needs(arrays=frozenset(["features"]))


def assert_same_scores(one, two, rel=1e-6):
    assert scores(one)
    for name in scores(one):
        assert one[name] == pytest.approx(two[name], rel=rel), name


def test_is_the_metrics_on_all_features_at_once(digits):
    real, fake = digits[:403], digits[900:1210] // 2
    extractor = random_conv((8, 8, 1))
    a, b = (np.asarray(extractor(x)["features"]) for x in (real, fake))
    result = evaluate([real], [fake], extractor, _protocol(403, 310, nearest_k=5), batch_size=128)
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
    one = evaluate([real], [fake], extractor, _protocol(300, 300), batch_size=300)
    for sizes, batch_size in (((7, 1, 50), 64), ((300,), 64), ((1,), 301)):
        streams = _batches(real, sizes), _batches(fake, sizes)
        assert_same_scores(
            evaluate(*streams, extractor, _protocol(300, 300), batch_size=batch_size), one
        )


def test_takes_exactly_the_first_and_reads_no_further(digits):
    def endless():
        yield from _batches(digits[:130], [50])
        raise AssertionError("read further than needed")

    extractor = pixels((8, 8, 1))
    one = evaluate(endless(), endless(), extractor, _protocol(130, 101))
    assert_same_scores(
        one, evaluate([digits[:130]], [digits[:101]], extractor, _protocol(130, 101))
    )


def test_uses_one_program_and_keeps_every_example(digits):
    traced = chex.assert_max_traces(lambda x: {"features": x[:, 0, :3, 0].astype(np.float32)}, n=1)

    class Counted(_Plain):
        __call__ = staticmethod(jax.jit(traced))

    both = _MOMENTS.union(_ARRAYS)
    summary = summarise(
        _batches(digits[:333], [40, 3]), Counted(), 333, "real", both, batch_size=100
    )
    assert (summary.arrays["features"] == digits[:333, 0, :3, 0]).all()
    assert summary.moments["features"].count == summary.count == 333


def test_takes_all_where_no_number_is_asked_for(digits):
    summary = summarise(_batches(digits[:77], [30]), _Plain(), None, "real", _ARRAYS)
    assert (summary.arrays["features"] == digits[:77, 0, :3, 0]).all()
    result = evaluate([digits[:77]], [digits[:50]], _Plain(), _protocol(None, 50))
    assert result["protocol"]["num_real"] == 77


def test_keeps_labels_beside_arrays(digits):
    labels = np.arange(70)
    batches = [{"image": digits[a : a + 20], "label": labels[a : a + 20]} for a in range(0, 70, 20)]
    summary = summarise(batches, _Plain(), 65, "real", _ARRAYS, batch_size=32)
    assert summary.labels.tolist() == list(range(65))
    assert summarise([digits[:9], *batches], _Plain(), 65, "real", _ARRAYS).labels is None


def test_summaries_serve_as_well_as_examples(digits):
    extractor, protocol = random_conv((8, 8, 1)), _protocol(200, 150)
    both = _MOMENTS.union(_ARRAYS)
    real = summarise([digits], extractor, 200, "real", both)
    fake = summarise([digits[300:] // 2], extractor, 150, "fake", both)
    from_examples = evaluate([digits], [digits[300:] // 2], extractor, protocol)
    assert evaluate(real, fake, extractor, protocol) == from_examples
    with pytest.raises(ValueError, match="takes 200 real examples, but 150 were summarised"):
        evaluate(fake, fake, extractor, protocol)


def test_holds_no_features_where_moments_are_enough(digits):
    extractor = _Plain()
    only_fd = _protocol(99, 99, scores=("fd",))
    result = evaluate([digits[:99]], [digits[99:198]], extractor, only_fd)
    assert set(scores(result)) == {"fd_corner"}
    assert "nearest_k" not in result["protocol"]
    summary = summarise([digits], extractor, 99, "real", _MOMENTS)
    assert not summary.arrays
    mean = summary.moments["features"].mean
    np.testing.assert_allclose(mean, digits[:99, 0, :3, 0].mean(axis=0))


@pytest.mark.parametrize("devices", [2, 8])
def test_devices_share_the_batch_and_agree(digits, devices):
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    extractor = random_conv((8, 8, 1))
    streams = [digits[:150]], [digits[150:300] // 2]
    one = evaluate(*streams, extractor, _protocol(150, 150), batch_size=64)
    many = evaluate(*streams, extractor, _protocol(150, 150), batch_size=64, sharding=sharding)
    assert_same_scores(many, one)
    with pytest.raises(ValueError, match=r"batch_size = 63 cannot be sharded over the devices"):
        evaluate(*streams, extractor, _protocol(150, 150), batch_size=63, sharding=sharding)


def test_states_its_protocol(digits):
    extractor = random_conv((8, 8, 1))
    result = evaluate(
        [digits],
        [digits],
        extractor,
        _protocol(400, 300),
        stated={"ema": True},
        measured={"step": 7},
    )
    assert json.loads(json.dumps(result)) == result
    assert result["notes"] == []
    assert result["measured"] == {"step": 7}
    assert result["better"] == {
        "fd_random_conv": "lower",
        "precision_random_conv": "higher",
        "recall_random_conv": "higher",
    }
    assert result["units"]["fd_random_conv"] == "squared distance"
    assert result["protocol"] == {
        "name": "custom",
        "scores": ["fd", "pr"],
        "of": "samples",
        "num_real": 400,
        "num_fake": 300,
        "split": "train",
        "features": "random_conv",
        "features_dim": 258,
        "features_checksum": extractor.checksum,
        "resize": "none",
        "quantisation": "uint8 = clip(round(127.5 x + 127.5), 0, 255)",
        "nearest_k": 3,
        "numbers": 1,
        "jaxgan": jaxgan.__version__,
        "ema": True,
    }


def test_notes_a_rank_deficient_covariance(digits):
    notes = evaluate([digits], [digits], random_conv((8, 8, 1)), _protocol(259, 258))["notes"]
    assert len(notes) == 1
    assert notes[0].startswith("258 fake examples are fewer than the 259 that a Fréchet distance")


class _Classifier(_Plain):
    """Has logits too; and the class of a picture is what it was made from."""

    outputs = {"features": 3, "logits": 4}  # noqa: RUF012

    def __call__(self, batch):
        features = super().__call__(batch)["features"]
        return {"features": features, "logits": np.asarray(batch, np.float32)[:, 3, 2:6, 0] / 64}


def test_every_score_of_one_pass(digits):
    """What `evaluate` puts together is each function on the very arrays."""
    from jaxgan.metrics.classification_accuracy import linear_probe_accuracy
    from jaxgan.metrics.classwise import classwise_frechet
    from jaxgan.metrics.frechet_extrapolated import extrapolated_frechet
    from jaxgan.metrics.inception_score import inception_score
    from jaxgan.metrics.kid import kernel_distance
    from jaxgan.metrics.precision_recall import density_coverage

    extractor = _Classifier()
    real, fake = digits[:400], digits[400:700] // 2
    labels = [np.arange(len(x)) % 3 for x in (real, fake)]
    streams = [{"image": x, "label": y} for x, y in zip((real, fake), labels, strict=True)]
    names = ("fd", "fd_infinity", "kd", "class", "pr", "dc", "classwise", "probe")
    protocol = _protocol(400, 300, scores=names, subsets=5, subset_size=100, splits=3)
    result = evaluate([streams[0]], [streams[1]], extractor, protocol)
    a, b = (extractor(x)["features"] for x in (real, fake))
    kernel = kernel_distance(a, b, 5, 100)
    classes = inception_score(extractor(fake)["logits"], 3)
    per_class = classwise_frechet(a, labels[0], b, labels[1])
    density = density_coverage(a, b, 5)
    overlap = precision_recall(a, b, 3)
    assert overlap.precision != overlap.recall
    expected = {
        "fd_corner": frechet_distance(*_gaussian(a), *_gaussian(b)),
        "fd_infinity_corner": extrapolated_frechet(a, b).limit,
        "kd_corner": kernel.mean,
        "kd_deviation_corner": kernel.deviation,
        "class_score_corner": classes.mean,
        "class_score_deviation_corner": classes.deviation,
        "precision_corner": overlap.precision,
        "recall_corner": overlap.recall,
        "density_corner": density.density,
        "coverage_corner": density.coverage,
        "classwise_fd_corner": per_class.mean,
        "classwise_fd_worst_corner": max(per_class.per_class.values()),
        "probe_accuracy_corner": linear_probe_accuracy(a, labels[0], b, labels[1]).accuracy,
    }
    found = {name: value for name, value in scores(result).items() if name in expected}
    assert found == {name: pytest.approx(value, rel=1e-9) for name, value in expected.items()}
    assert {"subsets", "subset_size", "splits", "density_k"} <= result["protocol"].keys()
    with pytest.raises(
        ValueError, match="needs the classes of the examples, but the fake ones have"
    ):
        evaluate([streams[0]], [fake], extractor, _protocol(400, 300, scores=("probe",)))


def _gaussian(features):
    features = features.astype(np.float64)
    return features.mean(0), np.cov(features.T)


def test_scores_of_the_pictures_themselves():
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (40, 32, 32, 1), dtype=np.uint8)
    protocol = _protocol(40, 40, scores=("swd", "ms_ssim"))
    same = evaluate([real], [real], _Plain(), protocol)
    flat = evaluate([real], [real // 8 * 8 // 9 * 9], _Plain(), protocol)
    assert scores(same).keys() == {"swd", "ms_ssim"}
    assert same["swd"] < flat["swd"]
    assert -1 < same["ms_ssim"] < 0.5
    # Two pictures, of two classes: those of a class are all equal.
    two = {"image": real[np.arange(40) % 2], "label": np.arange(40) % 2}
    within = evaluate(None, [two], _Plain(), _protocol(None, 40, scores=("ms_ssim",)))
    assert within["ms_ssim"] == pytest.approx(1, abs=1e-6)


def test_notes_a_constant_set(digits):
    constant = np.full((300, 8, 8, 1), 90, np.uint8)
    result = evaluate([digits], [constant], _Plain(), _protocol(300, 300))
    assert result["fd_corner"] > 1
    assert result["notes"][-1].startswith("3 of 3 fake features are constant: all examples agree")


def test_a_plain_object_is_an_extractor(digits):
    result = evaluate([digits], [digits], _Plain(), _protocol(200, 200))
    assert (result["fd_corner"], result["precision_corner"]) == (pytest.approx(0, abs=1e-8), 1)
    assert result["protocol"]["features_checksum"] == "not stated"


def test_points_are_scored_as_they_are():
    x = np.random.default_rng(0).normal(size=(999, 2)).astype(np.float32)
    moved = x + np.float32([3, 4])
    result = evaluate(
        [{"image": x}], [{"image": moved}], points((2,)), _protocol(999, 999, scores=("fd",))
    )
    assert result["fd_points"] == pytest.approx(25, rel=1e-5)
    assert result["protocol"]["quantisation"] == "none"


_X = np.zeros((10, 8, 8, 1), np.uint8)


@pytest.mark.parametrize(
    ("real", "fake", "options", "message"),
    [
        ([_X], [_X], {"num_real": 11}, "num_real asks for 11 real examples, .* were only 10; give"),
        ([_X], [], {}, "num_fake asks for 10 fake examples, but there were only 0"),
        ([_X], [_X], {"num_fake": 3}, "num_fake = 3 is too few: the score 'pr' needs at least 4"),
        (
            [_X],
            [_X],
            {"num_real": 1, "scores": ("fd",)},
            "1 is too few: .*; to compare samples with one picture: set train.protocol=single_image",
        ),
        ([_X[:3]], [_X], {"num_real": None}, "3 real examples are too few: the scores fd, pr need"),
        (
            [_X],
            [_X],
            {"scores": ("fid",)},
            "no score is called 'fid': it is 'fd' in the features of Inception; choose a protocol in place",
        ),
        ([_X], [_X], {"scores": ("class",)}, "'class' needs the logits of a network, but 'corn"),
        (
            [_X[:5], _X[:5, 1:]],
            [_X],
            {},
            r"real batches differ: uint8 \[8, 8, 1\] and then uint8 \[",
        ),
        ([_X], [_X / np.float32(255)], {}, "reals are uint8 and fakes are float32: quantise both"),
        ([_X], [_X * np.float32("nan")], {}, "features of the fake examples contain NaN or Inf"),
        (None, [_X], {}, "real is None, but fd, pr need examples"),
        (
            [{"image": _X, "label": np.arange(10)[:, None]}],
            [_X],
            {},
            r"labels must be a number for each example, not of shape \[10, 1\]; give labels\[:, 0\]",
        ),
        (
            [{"image": _X, "label": np.eye(10)}],
            [_X],
            {},
            r"not of shape \[10, 10\]; give labels.argmax\(axis=1\) of one-hot labels",
        ),
    ],
)
def test_refuses(real, fake, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(real, fake, _Plain(), _protocol(**{"num_real": 10, "num_fake": 10} | options))


def test_refuses_statements_that_clash():
    with pytest.raises(ValueError, match="the protocol already states resize"):
        evaluate([_X], [_X], _Plain(), _protocol(10, 10), stated={"resize": "clean"})


def test_refuses_an_extractor_that_breaks_its_word():
    class Wide(_Plain):
        outputs = {"features": 4}  # noqa: RUF012

    with pytest.raises(
        ValueError, match=r"'features' with 4 numbers per example, but returned an array \[10, 3\]"
    ):
        evaluate([_X], [_X], Wide(), _protocol(10, 10))


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
        moments = summarise([images], extractor, half, "some", _MOMENTS).moments["features"]
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


@pytest.mark.slow
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
