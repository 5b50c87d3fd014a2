"""Feature networks as extractors: which file they take, what they do with pictures, what they say of themselves."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from jaxgan.metrics.networks import NetworkExtractor, network_extractor, open_extractor
from jaxgan.metrics.resize import resize_on_host
from jaxgan.nets.features import FeatureNet, by_name


@pytest.fixture(scope="module")
def nets():
    if "JAXGAN_TEST_DATA" not in os.environ:
        pytest.skip("JAXGAN_TEST_DATA names no folder of real data")
    return Path(os.environ["JAXGAN_TEST_DATA"], "nets")


def _mean_colour(name="colours", size=(4, 4)):
    """A network small enough to follow by hand: the mean of each channel."""
    return FeatureNet(
        name,
        {"features": 3},
        size,
        "torch",
        lambda variables, x: {"features": x.mean((1, 2)) * variables["gain"][None]},
        lambda tensors: {"gain": tensors["gain"]},
    )


@pytest.fixture
def colours():
    return NetworkExtractor(_mean_colour(), {"gain": np.float32([1, 2, 3])}, "sum")


@pytest.mark.parametrize("mode", [None, "clean", "tf1"])
def test_resizes_on_the_device_and_repeats_a_grey_channel(mode):
    colours = NetworkExtractor(_mean_colour(), {"gain": np.float32([1, 2, 3])}, "sum", mode)
    images = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3), dtype=np.uint8)
    small = np.stack([resize_on_host(x, (4, 4), mode or "torch") for x in images])
    found = colours(images)["features"]
    np.testing.assert_allclose(found, small.mean((1, 2)) * [1, 2, 3], rtol=1e-5)
    np.testing.assert_allclose(colours(small)["features"], found, rtol=1e-5)
    grey = colours(images[..., :1])["features"]
    np.testing.assert_allclose(grey, small[..., :1].mean((1, 2)) * [1, 2, 3], rtol=1e-5)


def test_states_what_it_is(colours):
    assert (colours.name, colours.outputs, colours.checksum) == ("colours", {"features": 3}, "sum")
    assert colours.resize == "torch"
    assert NetworkExtractor(_mean_colour(), {}, "", "clean").resize == "clean"
    assert NetworkExtractor(_mean_colour(size=None), {}, "").resize == "none"


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            np.zeros((2, 4, 4, 3)),
            r"takes uint8 pictures .* given a batch float64 \[2, 4, 4, 3\]; quan",
        ),
        (np.zeros((2, 5, 4, 3), np.float32), "given a batch float32"),
        (np.zeros((2, 4, 4, 4), np.uint8), r"\[B, H, W, 1 or 3\], but was given a batch uint8"),
        (np.zeros((4, 4, 3), np.uint8), "given a batch uint8"),
    ],
)
def test_refuses_other_batches(colours, batch, message):
    with pytest.raises(ValueError, match=message):
        colours(batch)


def test_an_npz_serves_a_plugin_and_its_hash_is_stated(nets):
    """The CIFAR-10 ResNet-56: from somebody's own npz, the golden features."""
    file = nets / "cifar10_resnet56.npz"
    extractor = network_extractor("cifar10_resnet56", file)
    assert extractor.checksum == hashlib.sha256(file.read_bytes()).hexdigest()
    assert extractor.outputs == {"features": 64, "logits": 10}
    with np.load(nets / "golden_cifar10_resnet56.npz") as golden:
        features = extractor(golden["input_uint8"])["features"]
        np.testing.assert_allclose(features, golden["features"], atol=1e-4)


def test_what_defines_fid_must_be_the_published_file(nets):
    file = nets / "cifar10_resnet56.npz"
    with pytest.raises(
        ValueError,
        match=r"resnet56.npz is an npz archive, which is not a published file of inception; .*: pt_incep",
    ):
        network_extractor("inception", file)


def test_a_network_that_is_published_nowhere_needs_its_file():
    with pytest.raises(ValueError, match="no download address for the weights of mobilenet_v2"):
        network_extractor("mobilenet_v2")
    assert by_name("mobilenet_v2").files == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vgg61", (8, 8, 3)), "no features are called 'vgg61'; did you mean 'vgg16'"),
        (
            ("xyzzy", (8, 8, 3)),
            "'xyzzy'; there are pixels, points, random_conv, segmenter, cifar10_resnet20",
        ),
        (("vgg16", (2,)), r"vgg16 takes pictures \[H, W, C\], not points \[2\]"),
        (("pixels", (8, 8, 3), "a.npz"), "pixels has no weights; leave out the weight file"),
        (("pixels", (8, 8, 3), None, "tf1"), "pixels does not resize pictures; leave out the"),
    ],
)
def test_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        open_extractor(*arguments)


def test_an_unknown_resize_is_refused():
    with pytest.raises(ValueError, match="no resize is called 'pil'; there are clean, tf1, torch"):
        NetworkExtractor(_mean_colour(), {}, "", "pil")
