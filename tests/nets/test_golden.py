"""Real trained networks give the outputs that PyTorch gave (the README of the data folder says which)."""

import functools
import io
import itertools
import os
import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan.nets.conv import Conv
from jaxgan.nets.features import by_name
from jaxgan.nets.features._tensors import from_torch
from jaxgan.nets.norm import BatchNorm

pytestmark = pytest.mark.skipif(
    "JAXGAN_TEST_DATA" not in os.environ, reason="JAXGAN_TEST_DATA names no folder of real data"
)


def load(file: str) -> dict[str, np.ndarray]:
    with np.load(Path(os.environ["JAXGAN_TEST_DATA"], file), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


FILES = {
    "cifar10_resnet20": "cifar10_resnet20",
    "cifar10_resnet56": "cifar10_resnet56",
    "mobilenet_v2": "mobilenet_v2_1.0_224",
    "squeezenet1_1_notop": "squeezenet1_1_notop",
}


@functools.cache
def loaded(name: str):
    """The network as a function of uint8 pictures."""
    net = by_name(name)
    variables = jax.device_put(net.convert(load(f"nets/{FILES[name]}.npz")))
    apply = jax.jit(net.apply)
    return lambda images: jax.device_get(apply(variables, images.astype(np.float32)))


@pytest.mark.parametrize("name", FILES)
def test_golden_outputs(name):
    golden = load(f"nets/golden_{FILES[name]}.npz")
    found = loaded(name)(golden["input_uint8"])
    assert set(found) == golden.keys() - {"input_uint8", "labels"} == set(by_name(name).outputs)
    for output, value in found.items():
        np.testing.assert_allclose(value, golden[output], rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def cifar_test():
    folder = Path(os.environ["JAXGAN_TEST_DATA"], "cifar10")
    images = np.asarray(Image.open(folder / "cifar10_lossless_test.png")).reshape(-1, 32, 32, 3)
    return images, load("cifar10/cifar10_lossless_labels.npz")["test_labels"]


@pytest.mark.parametrize(
    ("name", "accuracy"),
    [("cifar10_resnet20", 91.6), pytest.param("cifar10_resnet56", 92.7, marks=pytest.mark.slow)],
)
def test_accuracy_on_the_true_cifar_pictures(name, accuracy, cifar_test):
    images, labels = cifar_test
    assert len(images) == 1017
    found = loaded(name)(images)
    assert 100 * np.mean(found["logits"].argmax(1) == labels) == pytest.approx(accuracy, abs=0.05)
    if name == "cifar10_resnet56":
        golden = load("nets/golden_metrics.npz")
        np.testing.assert_allclose(found["features"], golden["features_a"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(found["logits"], golden["logits_a"], rtol=0, atol=1e-4)


def test_the_published_cifar_file_has_a_wrappers_names():
    """`state_dict` of the file and `module` of the parallel wrapper stand before every name."""
    net = by_name("cifar10_resnet20")
    tensors = load("nets/cifar10_resnet20.npz")
    wrapped = {f"state_dict.module.{name}": tensor for name, tensor in tensors.items()}
    jax.tree.map(np.testing.assert_array_equal, net.convert(wrapped), net.convert(tensors))


def test_a_deeper_resnets_file_is_refused():
    """It has every tensor of the shallower one, and they fit."""
    with pytest.raises(ValueError, match="weights are of a deeper network than cifar10_resnet20"):
        by_name("cifar10_resnet20").convert(load("nets/cifar10_resnet56.npz"))


def test_mobilenets_top_1():
    """Of the pictures that its README was measured on, these two are there: a cat, and an admiral."""
    labels = Path(os.environ["JAXGAN_TEST_DATA"], "nets/imagenet_labels_1001.txt").read_text()
    golden = load("nets/golden_mobilenet_v2_1.0_224.npz")
    logits = loaded("mobilenet_v2")(golden["input_uint8"])["logits"]
    found = [labels.splitlines()[i] for i in logits.argmax(1)]
    assert found == ["Egyptian cat", "military uniform"]


@pytest.mark.slow
def test_mobilenets_features_tell_classes_apart():
    """A linear probe (ridge regression on indicators) on 20 classes of Tiny ImageNet at 128 pixels."""
    network = loaded("mobilenet_v2")
    features, labels = {}, {}
    for split in ("train", "val"):
        pack = load(f"tinyimagenet64/tinyimagenet64_20cls_{split}.npz")
        blob, labels[split] = pack["data"].tobytes(), pack["labels"]
        images = [
            np.asarray(
                Image.open(io.BytesIO(blob[a:b])).convert("RGB").resize((128, 128), Image.BILINEAR)
            )
            for a, b in itertools.pairwise(pack["offsets"])
        ]
        batches = [np.stack(images[i : i + 100]) for i in range(0, len(images), 100)]
        found = np.concatenate([network(batch)["features"] for batch in batches])
        features[split] = np.concatenate(
            [found, np.ones((len(found), 1))], axis=1, dtype=np.float64
        )
    x, y = features["train"], np.eye(20)[labels["train"]]
    weights = np.linalg.solve(x.T @ x + 100 * np.eye(x.shape[1]), x.T @ y)
    accuracy = np.mean((features["val"] @ weights).argmax(1) == labels["val"])
    assert accuracy == pytest.approx(0.80, abs=0.015)  # the README's 80.0 %; measured 79.7 %


class DCGANDiscriminator(nn.Module):
    """Grey pictures [B, 28, 28, 1] in [-1, 1] to logits [B]."""

    @nn.compact
    def __call__(self, x):
        for place, features in ((0, 64), (2, 128), (5, 256), (8, 1)):
            conv = nn.Conv(
                features, (4, 4), (2, 2), padding=1, use_bias=False, name=f"main_{place}"
            )
            x = conv(x)
            if place in (2, 5):
                x = BatchNorm(name=f"main_{place + 1}")(x, train=False)
            if place != 8:
                x = nn.leaky_relu(x, 0.2)
        return x[:, 0, 0, 0]


def torch_name(path: str) -> str:
    """ "main.3." of "main_3/statistics", "block8.0.conv." of "block8_0_conv", "block1.1.weight" of "block1_1/slope"."""
    name = re.sub("[_/]", ".", path.removesuffix("/statistics"))
    return f"{name.removesuffix('slope')}weight" if path.endswith("slope") else f"{name}."


def test_a_dcgan_discriminators_golden_logits():
    golden, module = load("nets/golden_dcgan_mnist_D.npz"), DCGANDiscriminator()
    tensors = load("nets/dcgan_mnist_D.npz")
    variables = from_torch(module, [(1, 28, 28, 1)], tensors, torch_name)
    images = (golden["input_uint8"][..., None].astype(np.float32) / 255 - 0.5) / 0.5
    logits = jax.jit(module.apply)(variables, images)
    np.testing.assert_allclose(logits, golden["logits"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(nn.sigmoid(logits), golden["prob"], rtol=0, atol=1e-4)


class PReLU(nn.Module):
    """max(x, slope x) with one learned slope."""

    @nn.compact
    def __call__(self, x):
        slope = self.param("slope", nn.initializers.constant(0.25), (1,))
        return jnp.where(x >= 0, x, slope.reshape(1, 1, 1, 1) * x)


class SRGANGenerator(nn.Module):
    """Pictures [B, H, W, 3] in [0, 1] to [B, 4H, 4W, 3] in [0, 1]."""

    @nn.compact
    def __call__(self, x):
        first = x = PReLU(name="block1_1")(Conv(64, (9, 9), name="block1_0")(x))
        for block in (f"block{i}" for i in range(2, 7)):
            y = Conv(64, name=f"{block}_conv1")(x)
            y = PReLU(name=f"{block}_prelu")(BatchNorm(name=f"{block}_bn1")(y, train=False))
            y = Conv(64, name=f"{block}_conv2")(y)
            x = x + BatchNorm(name=f"{block}_bn2")(y, train=False)
        x = first + PReLU(name="block7_1")(Conv(64, name="block7_0")(x))
        for block in ("block8_0", "block8_1"):
            x = Conv(256, name=f"{block}_conv")(x)
            # PyTorch's pixel shuffle: channel c r^2 + i r + j goes to row i and column j.
            b, h, w, _ = x.shape
            x = (
                x.reshape(b, h, w, 64, 2, 2)
                .transpose(0, 1, 4, 2, 5, 3)
                .reshape(b, 2 * h, 2 * w, 64)
            )
            x = PReLU(name=f"{block}_prelu")(x)
        return (jnp.tanh(Conv(3, (9, 9), name="block8_2")(x)) + 1) / 2


def test_an_srgan_generators_golden_picture():
    golden, module = load("nets/golden_srgan_x4.npz"), SRGANGenerator()
    variables = from_torch(module, [(1, 32, 32, 3)], load("nets/srgan_x4.npz"), torch_name)
    images = golden["input_uint8"].astype(np.float32) / 255
    found = jax.jit(module.apply)(variables, images)
    np.testing.assert_allclose(found, golden["output"], rtol=0, atol=1e-4)
