"""LPIPS against its package, on random backbones and the package's own heads."""

import functools
import os
import warnings
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import torchvision_ready

from jaxgan.nets.features import lpips as module
from jaxgan.nets.features.lpips import BACKBONES, MAPS, convert, lpips

torch = pytest.importorskip("torch", reason="the yardstick is PyTorch")


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request):
    return request.param


@pytest.fixture(scope="module")
def reference(backbone):
    """The package's LPIPS, its backbone as torchvision initialises it."""
    torchvision_ready()
    package = pytest.importorskip("lpips", reason="the yardstick is the lpips package")
    torch.manual_seed(0)
    with warnings.catch_warnings():  # of torchvision, that `pretrained` has another name now
        warnings.simplefilter("ignore")
        return package.LPIPS(net=backbone, pnet_rand=True, verbose=False)


@pytest.fixture(scope="module")
def variables(backbone, reference):
    # The package cuts torchvision's Sequential into slices: net.slice2.5.weight is features.5.weight.
    slices = {name: tensor.numpy() for name, tensor in reference.net.state_dict().items()}
    tensors = {f"features.{name.split('.', 1)[1]}": tensor for name, tensor in slices.items()}
    heads = {name: tensor.numpy() for name, tensor in reference.state_dict().items()}
    return convert(tensors, heads, backbone)


@pytest.fixture(scope="module")
def pairs():
    """A size that no pooling divides."""
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 3, 65, 54, 3)).astype(np.float32)
    y[2] = x[2] + 0.1 * y[2]  # nearer pairs lose digits to cancellation
    return x, y


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(name, marks=() if name == "alex" else pytest.mark.slow, id=name)
        for name in BACKBONES
    ],
    indirect=True,
)
def test_it_and_its_gradient_are_the_packages(backbone, reference, variables, pairs):
    x, y = (torch.tensor(images).permute(0, 3, 1, 2) for images in pairs)
    x.requires_grad_()
    expected = reference(x, y).ravel()
    expected.sum().backward()
    slope = x.grad.permute(0, 2, 3, 1).numpy()

    @functools.partial(jax.value_and_grad, has_aux=True)
    def total(x, variables):
        found = lpips(variables, x, pairs[1], backbone)
        return found.sum(), found

    (_, found), gradient = jax.jit(total)(pairs[0], variables)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-4 * np.abs(slope).max())


def test_real_heads_are_those_of_the_package(backbone, reference):
    if "JAXGAN_TEST_DATA" not in os.environ:
        pytest.skip("JAXGAN_TEST_DATA names no folder of real data")
    path = Path(os.environ["JAXGAN_TEST_DATA"], "nets/lpips_v0.1_lin.npz")
    with np.load(path, allow_pickle=False) as file:
        for i in range(len(MAPS[backbone])):
            name = f"lin{i}.model.1.weight"
            np.testing.assert_array_equal(
                file[f"{backbone}/{name}"], reference.state_dict()[name].numpy()
            )


@pytest.fixture(scope="module")
def random_variables():
    """AlexNet's, and positive heads, without PyTorch."""
    shapes = jax.eval_shape(module.AlexNet().init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    leaves, tree = jax.tree.flatten(shapes["params"])
    rng = np.random.default_rng(0)
    params = [rng.normal(0, 0.05, leaf.shape).astype(np.float32) for leaf in leaves]
    heads = tuple(rng.uniform(0, 1, c).astype(np.float32) for c in MAPS["alex"].values())
    return {"backbone": tree.unflatten(params), "heads": heads}


def test_it_is_a_distance_of_each_pair(random_variables, pairs):
    x, y = pairs
    distance = jax.jit(chex.assert_max_traces(lpips, 1))
    d = distance(random_variables, x, y)
    assert d.shape == (3,)
    assert d.dtype == jnp.float32
    np.testing.assert_array_equal(distance(random_variables, x, x), 0)
    np.testing.assert_allclose(distance(random_variables, y, x), d, rtol=1e-6)
    assert (d > 0).all()
    assert d[2] < d[1] / 10  # the pair that differs by a tenth
    np.testing.assert_allclose(distance(random_variables, x[::-1], y[::-1]), d[::-1], rtol=1e-5)


def test_its_gradient_is_finite_where_no_channel_answers(random_variables, pairs):
    """The root of a norm of 0 has an infinite slope: the package's gradient is NaN there."""
    dead = jax.tree.map(
        lambda leaf: np.full_like(leaf, -100) if leaf.ndim == 1 else leaf,
        random_variables["backbone"],
    )
    x, y = pairs
    value_and_gradient = jax.jit(
        jax.value_and_grad(lambda x, variables: lpips(variables, x, y).sum())
    )
    for backbone in (dead, random_variables["backbone"]):
        value, gradient = value_and_gradient(x, random_variables | {"backbone": backbone})
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()
        assert (value == 0) == (backbone is dead)


def test_what_does_not_fit_is_refused(random_variables):
    images = np.zeros((2, 64, 64, 3), np.float32)
    with pytest.raises(ValueError, match="backbone is 'resnet'; LPIPS has heads for vgg, alex, sq"):
        lpips(random_variables, images, images, "resnet")
    with pytest.raises(ValueError, match="backbone is 'resnet'"):
        convert({}, {}, "resnet")
    with pytest.raises(
        ValueError, match=r"equal shape, not \[2, 64, 64, 3\] with \[1, 64, 64, 3\]"
    ):
        lpips(random_variables, images, images[:1])
    with pytest.raises(ValueError, match=r"lpips's y takes float32 pictures.*uint8"):
        lpips(random_variables, images, images.astype(np.uint8))
    small = np.zeros((2, 16, 16, 3), np.float32)
    with pytest.raises(ValueError, match=r"\[2, 16, 16, 3\] are too small for the poolings of 'al"):
        lpips(random_variables, small, small)


def test_heads_of_another_backbone_are_refused(random_variables):
    kernels = {
        f"features.{j}.{'weight' if field == 'kernel' else field}": (
            value.transpose(3, 2, 0, 1) if field == "kernel" else value
        )
        for i, j in enumerate((0, 3, 6, 8, 10), 1)
        for field, value in random_variables["backbone"][f"conv{i}"].items()
    }
    heads = {f"lin{i}.model.1.weight": np.ones((1, c, 1, 1)) for i, c in enumerate((64, 128))}
    with pytest.raises(ValueError, match=r"'lin1.model.1.weight' has shape \[1, 128, 1, 1\], but"):
        convert(kernels, heads, "alex")
