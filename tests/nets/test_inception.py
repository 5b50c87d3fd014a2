"""The original Inception against torch-fidelity's port of it, on the same random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import torchvision_ready

from jaxgan.metrics.resize import resize
from jaxgan.nets.features import by_name
from jaxgan.nets.features.inception import (
    SIZE,
    Inception,
    apply,
    convert,
)

SIZES = ((32, 32), (64, 64), (299, 299), (500, 333))


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """torch-fidelity's network under random weights that keep its maps of order one."""
    torch = pytest.importorskip("torch")
    torchvision_ready()
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Unloaded(module.FeatureExtractorInceptionV3):
        def load_state_dict(self, tensors):
            assert not tensors

    path = tmp_path_factory.mktemp("inception") / "empty.pth"
    torch.save({}, path)
    net = Unloaded("port", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path))
    generator = torch.Generator().manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            fan_in = layer.weight[0].numel()
            layer.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        elif isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.uniform_(0.7, 1.3, generator=generator)
            layer.bias.normal_(0, 0.3, generator=generator)
            layer.running_mean.normal_(0, 0.3, generator=generator)
            layer.running_var.uniform_(0.6, 1.4, generator=generator)
    return net


@pytest.fixture(scope="module")
def tensors(port):
    return {name: tensor.numpy() for name, tensor in port.state_dict().items()}


@pytest.fixture(scope="module")
def variables(tensors):
    return convert(tensors)


@pytest.fixture(scope="module")
def outputs(variables):
    """Ours of uint8 pictures of any size, four at a time."""
    compiled = jax.jit(lambda x: apply(variables, x))

    def run(images):
        parts = [compiled(resize(images[i : i + 4], SIZE, "tf1")) for i in range(0, len(images), 4)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run


def port_outputs(port, images):
    import torch

    maps = []
    hook = port.Mixed_6d.branch1x1.register_forward_hook(lambda *call: maps.append(call[-1]))
    with torch.inference_mode():
        features, logits = port(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    hook.remove()
    spatial = maps[0][:, :7].permute(0, 2, 3, 1).flatten(1)
    return {"features": features.numpy(), "logits": logits.numpy(), "spatial": spatial.numpy()}


def pictures(size, count):
    """Half of them noise, half of them smooth."""
    images = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    coarse = jax.image.resize(images[::2, :4, :4].astype(np.float32), images[::2].shape, "cubic")
    images[::2] = np.clip(coarse, 0, 255)
    return images


def assert_close_outputs(ours, theirs):
    assert ours.keys() == theirs.keys() == by_name("inception").outputs.keys()
    for name, expected in theirs.items():
        assert expected.shape[1] == by_name("inception").outputs[name]
        error = np.abs(ours[name] - expected)
        assert error.max() < 1e-5 * np.abs(expected).max(), name
        if name == "features":  # each by itself, but for those that are almost always 0
            largest = expected.max(0)
            alive = largest > 1e-3 * largest.max()
            assert alive.mean() > 0.5
            assert (error.max(0) < 1e-4 * largest)[alive].all()


@pytest.mark.parametrize(
    "size", [SIZES[0], *(pytest.param(size, marks=pytest.mark.slow) for size in SIZES[1:])]
)
def test_equals_the_port(port, outputs, size):
    images = pictures(size, 4)
    theirs = port_outputs(port, images)
    assert (
        theirs["features"].std(0).mean() > 0.01 * theirs["features"].mean()
    )  # it tells them apart
    assert_close_outputs(outputs(images), theirs)


@pytest.mark.slow
def test_equals_the_port_on_256_pictures(port, outputs):
    batches = [pictures(size, 64) for size in SIZES]
    ours = [outputs(images) for images in batches]
    theirs = [port_outputs(port, images[i : i + 16]) for images in batches for i in (0, 16, 32, 48)]
    assert_close_outputs(
        *({k: np.concatenate([p[k] for p in parts]) for k in parts[0]} for parts in (ours, theirs))
    )


def test_every_tensor_is_needed_in_float32(tensors, variables):
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(variables))
    name = "Mixed_7c.branch_pool.bn.weight"
    with pytest.raises(ValueError, match=f"no tensor '{name}'"):
        convert({k: v for k, v in tensors.items() if k != name})


def test_files_of_another_network_are_refused(tensors):
    with pytest.raises(ValueError, match=r"no tensor 'Conv2d_1a_3x3.conv.weight'"):
        convert({"conv1.weight": np.zeros((64, 3, 7, 7))})
    torchvision_classes = dict(tensors, **{"fc.weight": tensors["fc.weight"][:1000]})
    with pytest.raises(ValueError, match=r"'fc.weight' has shape \[1000, 2048\].*\[1008, 2048\]"):
        convert(torchvision_classes)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 32, 32, 3), np.float32), ((2, 299, 299, 3), np.uint8)]
)
def test_refuses_pictures_that_are_not_ready(shape, dtype):
    with pytest.raises(ValueError, match=r"float32 pictures \[B, 299, 299, 3\].*resize them"):
        apply({}, np.zeros(shape, dtype))


def test_full_precision_on_every_device():
    pictures = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.float32)
    variables = jax.eval_shape(Inception().init, jax.random.key(0), pictures)
    program = jax.jit(apply).lower(variables, pictures).as_text().splitlines()
    products = [line for line in program if "convolution(" in line or "dot_general" in line]
    assert len(products) == 94 + 1  # the convolutions, and the logits
    assert all(line.count("HIGHEST") == 2 for line in products)
