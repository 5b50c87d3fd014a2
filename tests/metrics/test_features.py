import numpy as np
import pytest

from jaxgan.metrics.features import extractor_for, pixels, points, random_conv

_SHAPES = [(8, 8, 1), (4, 4, 2), (32, 32, 3), (28, 28, 1), (5, 19, 4)]


def _noise(shape, count=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("name", ["pixels", "random_conv"])
def test_pictures_of_any_shape(name, shape):
    extractor = extractor_for(shape, name)
    features = extractor(_noise(shape))["features"]
    assert extractor.name == name
    assert extractor.outputs == {"features": features.shape[1]}
    assert features.shape[0] == 6
    assert features.dtype == np.float32
    assert extractor.dim <= 768
    assert np.isfinite(features).all()
    assert len(np.unique(np.asarray(features), axis=0)) == 6


@pytest.mark.parametrize("name", ["pixels", "random_conv"])
def test_a_picture_does_not_see_its_batch(name):
    images = _noise((12, 12, 3), count=8)
    extractor = extractor_for((12, 12, 3), name)
    together = np.asarray(extractor(images)["features"])
    mixed = np.concatenate([images[3:4], images[::-1][:7] // 2])
    other = np.asarray(extractor(mixed)["features"])
    np.testing.assert_allclose(other[0], together[3], rtol=1e-5, atol=1e-6)


def test_points_are_themselves():
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    extractor = extractor_for((2,))
    assert (extractor.name, extractor.dim) == ("points", 2)
    assert (np.asarray(extractor(x)["features"]) == x).all()


def test_small_pictures_keep_every_pixel():
    images = _noise((8, 8, 3))
    expected = images.reshape(6, -1) / np.float32(127.5) - 1
    np.testing.assert_allclose(pixels((8, 8, 3))(images)["features"], expected, atol=1e-6)


def test_pixels_are_block_means_where_the_sides_divide():
    images = _noise((64, 32, 3))
    blocks = images.reshape(6, 16, 4, 16, 2, 3).mean((2, 4)).reshape(6, -1) / 127.5 - 1
    np.testing.assert_allclose(pixels((64, 32, 3))(images)["features"], blocks, atol=1e-6)


def test_pixels_weigh_by_area_where_they_do_not():
    """Doubling every pixel of a 24 px picture must change no mean, though 16 does not divide 24."""
    images = _noise((24, 24, 1))
    doubled = images.repeat(2, axis=1).repeat(2, axis=2)
    one = pixels((24, 24, 1))(images)["features"]
    two = pixels((48, 48, 1))(doubled)["features"]
    np.testing.assert_allclose(one, two, atol=1e-6)
    assert float(one.mean()) == pytest.approx(images.mean() / 127.5 - 1, abs=1e-6)


# Scores carry this checksum: if it moves, every number made before is of another metric.
_CHECKSUMS = {
    (8, 8, 1): "32fe8267674ed3874411bc3479d9a585f49d38ac7f704ada75df4dadef25681c",
    (32, 32, 3): "7278532d0f4fbac66442fd56b6f3d3b5b84dfe655dddbfbab9461ee0be82267b",
}


@pytest.mark.parametrize("shape", _CHECKSUMS)
def test_the_weights_are_the_same_everywhere(shape):
    assert random_conv(shape).checksum == _CHECKSUMS[shape]


def test_random_conv_is_its_definition_in_numpy():
    """One level of it, on a 4 x 4 picture, written with loops from the docstring."""
    shape = (4, 4, 3)
    image = _noise(shape, count=1)[0]
    x = image / 127.5 - 1

    def statistics(x):
        return [x.mean((0, 1)), x.std((0, 1))]

    expected = statistics(x)
    for layer, inputs in ((0, 3), (1, 32)):
        raw = np.random.PCG64([2019, layer]).random_raw(9 * inputs * 32)
        kernel = (raw >> np.uint64(40)).astype(np.float64) - 2**23
        kernel = kernel.reshape(3, 3, inputs, 32) / 2**23
        kernel = (kernel - kernel.mean((0, 1, 2))) * np.sqrt(2 / (9 * inputs)) * np.sqrt(3)
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        y = np.zeros((4, 4, 32))
        for i, j in np.ndindex(4, 4):
            y[i, j] = np.einsum("hwc,hwco->o", padded[i : i + 3, j : j + 3], kernel)
        x = np.where(y > 0, y, 0.2 * y)
    expected += statistics(x)
    expected += [x[i : i + 2, j : j + 2].mean((0, 1)) for i in (0, 2) for j in (0, 2)]
    features = random_conv(shape)(image[None])["features"][0]
    np.testing.assert_allclose(features, np.concatenate(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: extractor_for((8, 8, 1), "fid"), "'fid'; there are pixels, points, random_conv"),
        (lambda: random_conv((3, 8, 1)), r"random_conv takes pictures .* 4, not \[3, 8, 1\]"),
        (lambda: pixels((2,)), r"pixels takes pictures \[H, W, C\]"),
        (lambda: points((8, 8, 1)), r"points takes examples of shape \[D\], not \[8, 8, 1\]"),
        (
            lambda: random_conv((8, 8, 1))(np.zeros((2, 8, 8, 1), np.float32)),
            r"made for uint8 .* given a batch float32 \[2, 8, 8, 1\]; quantise with to_uint8",
        ),
        (
            lambda: pixels((8, 8, 1))(_noise((9, 9, 1))),
            r"\[8, 8, 1\], but was given a batch uint8 \[\d+, 9, 9, 1\]; give examples of one shape$",
        ),
        (
            lambda: pixels((8, 8, 1))(np.zeros((2, 8, 8, 1), np.int64)),
            r"convert whole numbers from 0 to 255 by images.astype\(numpy.uint8\)$",
        ),
        (
            lambda: points((2,))(np.zeros((3, 2))),
            r"points was made for float32 .*; convert them by batch.astype\(numpy.float32\)$",
        ),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
