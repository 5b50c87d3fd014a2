"""Perceptual losses: distances of pictures, weights that are read when a program runs, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import losses
from jaxgan.game import Player
from jaxgan.nets import perceptual
from jaxgan.nets.features import lpips, vgg
from jaxgan.network import Network


def random_like(shapes, scale):
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(
        tree, [np.float32(scale * np.abs(rng.normal(size=leaf.shape))) for leaf in leaves]
    )


@pytest.fixture(scope="module")
def pairs():
    return np.random.default_rng(1).uniform(-1, 1, (2, 3, 32, 32, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file with weights of SqueezeNet, named as its publisher's are."""
    shapes = perceptual.by_name("squeezenet1_1_notop", "any").shapes["params"]
    rng = np.random.default_rng(0)
    tensors = {
        "/".join(part.key for part in path): np.float32(
            rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }
    path = tmp_path_factory.mktemp("weights") / "squeezenet.npz"
    np.savez(path, **tensors)
    return path


def test_the_distance_of_maps(file, pairs):
    """Zero of equals, more for more, of grey as of the same in colour; all of its gradient is finite."""
    seen = perceptual.by_name("squeezenet1_1_notop", str(file))
    params = jax.tree.map(jnp.asarray, seen.load())
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, seen.shapes)
    x, y = pairs
    slope = jax.jit(jax.value_and_grad(lambda y: seen.distance(params, x, y)))
    near, _ = slope(x + 0.1 * (y - x))
    far, gradient = slope(y)
    assert 0 < near < far
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
    value, gradient = slope(x)
    assert float(value) == 0.0
    assert not np.asarray(gradient).any()
    colour = jax.jit(functools.partial(seen.distance, params))(x.repeat(3, 3), y.repeat(3, 3))
    np.testing.assert_allclose(colour, far, rtol=1e-5)


def test_lpips_and_vgg_are_the_functions_of_their_files(pairs):
    x, y = (jnp.asarray(images.repeat(3, 3)) for images in pairs)
    seen = perceptual.by_name("lpips_squeeze")
    found, expected = jax.jit(
        lambda params: (seen.distance(params, *pairs), lpips.lpips(params, x, y, "squeeze").mean())
    )(random_like(seen.shapes, 0.02))
    np.testing.assert_allclose(found, expected, rtol=1e-5)

    seen = perceptual.by_name("vgg16")
    maps = seen.shapes["params"]
    assert maps["conv4_3"]["kernel"].shape == (3, 3, 512, 512)
    # Only a corner of the pictures: VGG-16 is large.
    params = {"params": random_like(maps, 0.01)}
    x, y = x[:1, :8, :8], y[:1, :8, :8]
    found, expected = jax.jit(
        lambda params: (
            seen.distance(params, x, y),
            losses.perceptual(vgg.perceptual_features(params), x, y),
        )
    )(params)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_loss_of_vgg19_is_a_weighted_mean_absolute_difference(pairs):
    x, y = (jnp.asarray(images.repeat(3, 3))[:1, :16, :16] for images in pairs)
    seen = perceptual.by_name("vgg19")
    params = {"params": random_like(seen.shapes["params"], 0.01)}
    weights = {f"relu{i}_1": 2.0 ** (i - 6) if i < 5 else 1.0 for i in range(1, 6)}

    @jax.jit
    def both(params):
        features = vgg.perceptual_features(params, tuple(weights), vgg.VGG19)
        pairs = zip(weights.values(), features(x), features(y), strict=True)
        return seen.distance(params, x, y), sum(w * jnp.abs(a - b).mean() for w, a, b in pairs)

    found, expected = both(params)
    assert expected > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_weights_are_read_when_a_program_runs_and_not_before(file):
    player = Player(perceptual.by_name("squeezenet1_1_notop", str(file)), ())
    params = jax.jit(player.init)(jax.random.key(0))["params"]
    jax.tree.map(np.testing.assert_array_equal, params, player.module.load())
    absent = Player(perceptual.by_name("squeezenet1_1_notop", "absent.npz"), ())
    shapes = jax.eval_shape(absent.init, jax.random.key(0))["params"]
    assert shapes == absent.module.shapes
    with pytest.raises(Exception, match=r"absent\.npz"):
        jax.block_until_ready(jax.jit(absent.init)(jax.random.key(0)))


def test_a_network_of_it_is_the_distance(pairs):
    """As an argument of a jitted function too, which hashes the module."""
    seen = perceptual.Perceptual(lambda params, x, y: params["a"] * jnp.mean(x - y), {}, dict)
    network = Network(seen, {"params": {"a": jnp.float32(2.0)}})
    found = jax.jit(lambda network, x, y: network(x, y))(network, *pairs)
    np.testing.assert_allclose(found, 2 * np.mean(pairs[0] - pairs[1]), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(perceptual.NAMES))
def test_shapes_are_known_without_files(name):
    """Of the published networks: parameters in millions, maps and heads only."""
    leaves = jax.tree.leaves(perceptual.by_name(name, "a,b" if "lpips" in name else "a").shapes)
    millions = {
        "lpips_vgg": 14.716,
        "lpips_alex": 2.471,
        "lpips_squeeze": 0.724,
        "vgg16": 7.635,
        "vgg19": 12.945,
        "squeezenet1_1_notop": 0.722,
        "mobilenet_v2": 3.488,
        "cifar10_resnet20": 0.271,
        "cifar10_resnet56": 0.857,
    }
    assert sum(leaf.size for leaf in leaves) / 1e6 == pytest.approx(millions[name], abs=2e-3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("vgg_16",), "no perceptual network 'vgg_16'; did you mean 'vgg16'"),
        (("inception",), "no perceptual network 'inception'; there are lpips_vgg, lpips_alex"),
        (("lpips_vgg", "one.pth"), "lpips_vgg are two files, backbone,heads, but 1 are given"),
        (("vgg16", "a.pth,b.pth"), "vgg16 are one file, but 2 are given"),
        (("mobilenet_v2",), "mobilenet_v2 are published at no address .*; give their file"),
    ],
)
def test_unknown_names_and_missing_files_are_refused_by_a_sentence(arguments, text):
    with pytest.raises(ValueError, match=text):
        perceptual.by_name(*arguments)
