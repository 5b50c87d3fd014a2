"""The Fréchet distance within one picture."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import metrics
from jaxgan.metrics.evaluate import evaluate
from jaxgan.metrics.networks import NetworkExtractor
from jaxgan.metrics.protocols import by_name as protocol_by_name
from jaxgan.nets.features import by_name
from jaxgan.nets.features.inception import Inception, Stem


def textures(rng, num=1, side=48):
    """Stripes of random phase, uint8: one texture, always arranged anew."""
    phase = rng.uniform(0, 2 * np.pi, (num, 1, 1, 3))
    wave = np.sin(np.arange(side) * 0.9)[None, None, :, None]
    noise = rng.normal(size=(num, side, side, 3))
    return np.uint8(np.clip(127 + 60 * wave * np.cos(phase) + 20 * noise, 0, 255))


@pytest.fixture(scope="module")
def inception():
    """Inception's first layers on random weights of He's size."""
    params = jax.eval_shape(
        Stem().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    )
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: np.float32(rng.normal(size=x.shape) * np.sqrt(2 / max(np.prod(x.shape[:-1]), 8))),
        params,
    )
    return NetworkExtractor(by_name("inception"), variables, "random")


def test_is_the_frechet_distance_of_the_positions():
    rng = np.random.default_rng(1)
    real, fake = rng.normal(size=(9, 7, 4)), rng.normal(size=(5, 11, 4)) + 0.5
    gaussians = [
        (x.reshape(-1, 4).mean(0), np.cov(x.reshape(-1, 4), rowvar=False)) for x in (real, fake)
    ]
    expected = metrics.frechet_distance(*gaussians[0], *gaussians[1])
    np.testing.assert_allclose(metrics.single_image_frechet(real, fake), expected, rtol=1e-9)
    # What is where does not count.
    shuffled = rng.permutation(real.reshape(-1, 4)).reshape(7, 9, 4)
    assert metrics.single_image_frechet(real, shuffled) < 1e-9


def test_orders_pictures_by_their_texture():
    rng = np.random.default_rng(2)
    real, same = textures(rng)[0], textures(rng, 3)
    other = np.swapaxes(textures(rng, 3), 1, 2)  # stripes across
    maps = metrics.random_maps()
    (name,) = metrics.single_image_distance(real, same, maps)
    assert name == "single_image_fd_random_conv"
    near, far = (metrics.single_image_distance(real, x, maps)[name] for x in (same, other))
    assert metrics.single_image_distance(real, real[None], maps)[name] < 1e-6
    assert 3 * near < far


def test_is_sifid_in_inceptions_features_only(inception):
    maps = metrics.inception_maps(inception)
    found = metrics.single_image_distance(
        textures(np.random.default_rng(3))[0], textures(np.random.default_rng(4)), maps
    )
    assert list(found) == ["sifid"]
    assert found["sifid"] > 0
    with pytest.raises(
        ValueError, match="SIFID needs the features of Inception, not of cifar10_resnet20"
    ):
        metrics.inception_maps(NetworkExtractor(by_name("cifar10_resnet20"), {}, ""))


def test_inceptions_maps_are_those_in_front_of_its_second_pooling(inception):
    torch = pytest.importorskip("torch")
    pictures = np.random.default_rng(5).uniform(0, 255, (1, 43, 38, 3)).astype(np.float32)
    x = torch.tensor((pictures.transpose(0, 3, 1, 2) - 128) / 128)
    names = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    for name, stride, padding in zip(names, (2, 1, 1, 1, 1), (0, 0, 1, 0, 0), strict=True):
        layer = inception.variables["params"][name]
        if name == "Conv2d_3b_1x1":
            x = torch.nn.functional.max_pool2d(x, 3, 2)
        kernel = torch.tensor(np.transpose(layer["kernel"], (3, 2, 0, 1)))
        x = torch.relu(
            torch.nn.functional.conv2d(
                x, kernel, torch.tensor(np.array(layer["bias"])), stride, padding
            )
        )
    maps = Stem().apply(inception.variables, pictures)
    expected = x.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(maps, expected, atol=1e-4 * np.abs(expected).max())
    # The parameters are the whole network's.
    whole = jax.eval_shape(
        Inception().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a.shape, b.shape),
        inception.variables["params"],
        {name: whole["params"][name] for name in inception.variables["params"]},
    )
    maps_of_smallest = metrics.inception_maps(inception).maps(np.zeros((1, 19, 19, 3), np.uint8))
    assert maps_of_smallest.shape == (1, 1, 1, 192)


@pytest.mark.parametrize(
    ("real", "fakes", "text"),
    [
        ((4, 9, 3), (2, 9, 9, 3), r"8 x 8 pixels or more, but real has the shape \[4, 9, 3\]"),
        ((9, 9, 3), (9, 9, 3), r"fakes has the shape \[9, 9, 3\]"),
    ],
)
def test_wrong_pictures_are_named(real, fakes, text):
    with pytest.raises(ValueError, match=text):
        metrics.single_image_distance(
            np.zeros(real, np.uint8), np.zeros(fakes, np.uint8), metrics.random_maps()
        )


def test_wrong_arrays_are_named():
    real, fakes = np.zeros((9, 9, 3)), np.zeros((2, 9, 9, 3), np.uint8)
    with pytest.raises(ValueError, match="takes uint8 pictures, but real is float64; quantise"):
        metrics.single_image_distance(real, fakes, metrics.random_maps())
    with pytest.raises(ValueError, match=r"with equal D, not \[9, 9, 3\] and \[9, 9, 2\]"):
        metrics.single_image_frechet(real, real[..., :2])
    bad = real.copy()
    bad[3, 3, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 9 rows of fake contain NaN"):
        metrics.single_image_frechet(real, bad)


def test_is_a_score_of_samples_of_one_picture():
    rng = np.random.default_rng(5)
    real, fakes = textures(rng, 1, 16), textures(rng, 3, 16)
    extractor = metrics.extractor_for((16, 16, 3))
    protocol = dataclasses.replace(protocol_by_name("single_image"), num_fake=3)
    result = evaluate([real], [fakes], extractor, protocol)
    name = "single_image_fd_random_conv"
    expected = metrics.single_image_distance(real[0], fakes, metrics.random_maps())[name]
    assert result[name] == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="exactly one real picture, but there are 3"):
        evaluate([fakes], [fakes], extractor, protocol)
    pixels = metrics.extractor_for((16, 16, 3), "pixels")
    protocol = dataclasses.replace(protocol, features="pixels")
    with pytest.raises(ValueError, match="features 'inception' or 'random_conv', not 'pixels'"):
        evaluate([real], [fakes], pixels, protocol)
