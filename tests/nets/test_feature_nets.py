"""What holds for every feature network, and VGG-16 against torchvision's."""

import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import torchvision_ready

from jaxgan import losses
from jaxgan.nets import features
from jaxgan.nets.features import _tensors, by_name, cifar_resnet, mobilenet, squeezenet, vgg, vit

# Parameters, without batch statistics. VGG-16's is torchvision's; CLIP's are those of OpenAI's image towers (87.8 and
# 304.0 million); DINOv2's are those published, less the mask token, with the positions of 16 x 16 patches, not 37 x 37.
MODULES = {
    "cifar10_resnet20": (cifar_resnet.CifarResNet(3), 269_722),
    "cifar10_resnet56": (cifar_resnet.CifarResNet(9), 853_018),
    "clip_vit_b_32": (vit.CLIP(224, 32, 768, 12, 12, projection=512), 87_849_216),
    "clip_vit_l_14": (vit.CLIP(224, 14, 1024, 24, 16, projection=768), 303_966_208),
    "dinov2_vitb14": (vit.DINOv2(224, 14, 768, 12, 12), 86_580_480 - 1_114 * 768),
    "dinov2_vitb14_reg4": (vit.DINOv2(224, 14, 768, 12, 12, 4), 86_580_480 - 1_110 * 768),
    "dinov2_vitl14": (vit.DINOv2(224, 14, 1024, 24, 16), 304_368_640 - 1_114 * 1024),
    "dinov2_vitl14_reg4": (vit.DINOv2(224, 14, 1024, 24, 16, 4), 304_368_640 - 1_110 * 1024),
    "dinov2_vits14": (vit.DINOv2(224, 14, 384, 12, 6), 22_056_576 - 1_114 * 384),
    "dinov2_vits14_reg4": (vit.DINOv2(224, 14, 384, 12, 6, 4), 22_056_576 - 1_110 * 384),
    "mobilenet_v2": (mobilenet.MobileNetV2(), 3_489_097),
    "squeezenet1_1_notop": (squeezenet.SqueezeNet(), 722_496),
    "vgg16": (vgg.VGG16(("fc8",)), 138_357_544),
}
SMALL = sorted(set(MODULES) - {"clip_vit_l_14", "dinov2_vitb14", "dinov2_vitb14_reg4",
                               "dinov2_vitl14", "dinov2_vitl14_reg4"})  # fmt: skip


def shapes_of(module, side=224):
    x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), x)


def pictures_of(net, batch=2):
    return jax.ShapeDtypeStruct((batch, *net.size, 3), jnp.float32)


def products(jaxpr):
    """Every convolution and matrix product of a program, also of the programs that it calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield equation
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "jaxpr")
        ):
            if hasattr(inner, "jaxpr"):
                yield from products(inner.jaxpr)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_golden_parameter_count(name):
    module, expected = MODULES[name]
    net = by_name(name)
    leaves = jax.tree.leaves(shapes_of(module, net.size[0])["params"])
    assert sum(leaf.size for leaf in leaves) == expected


@pytest.mark.parametrize("name", SMALL)
def test_outputs_are_as_declared_at_full_precision(name):
    net = by_name(name)
    variables = shapes_of(MODULES[name][0], net.size[0])
    program, outputs = jax.make_jaxpr(net.apply, return_shape=True)(variables, pictures_of(net))
    found = {key: (value.shape, value.dtype) for key, value in outputs.items()}
    assert found == {k: ((2, size), jnp.float32) for k, size in net.outputs.items()}
    precisions = [equation.params["precision"] for equation in products(program.jaxpr)]
    assert len(precisions) >= 16  # VGG-16 has fewest
    assert set(precisions) == {(jax.lax.Precision.HIGHEST,) * 2}


@pytest.mark.parametrize("name", SMALL)
def test_pictures_of_another_kind_are_refused(name):
    net = by_name(name)
    with pytest.raises(ValueError, match=rf"{name} takes float32 pictures .*not uint8"):
        net.apply({}, np.zeros((2, *net.size, 3), np.uint8))
    with pytest.raises(ValueError, match=rf"{name} takes .*not float32 \[2, 64, 64, 1\]; resize"):
        net.apply({}, np.zeros((2, 64, 64, 1), np.float32))


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_file_of_another_network_is_refused(name):
    sentence = "the weights have no tensor .* a file of another network .*'other'"
    with pytest.raises(ValueError, match=sentence):
        by_name(name).convert({"other": np.zeros(3)})


def test_names_are_known():
    assert set(MODULES) <= set(features.networks())
    with pytest.raises(
        ValueError, match=r"no feature network is called 'vgg17'; there are .*vgg16"
    ):
        by_name("vgg17")


def test_the_package_alone_imports_no_network():
    code = "import sys, jaxgan.nets.features; print([m for m in sys.modules if 'features.' in m])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_tensor_that_is_not_as_the_network_needs_it():
    tensors = {"conv.weight": np.zeros((5, 2, 3, 3)), "conv.bias": np.zeros(4)}
    module = nn.Sequential([nn.Conv(5, (3, 3))])
    rename = {"layers_0": "conv."}.__getitem__
    with pytest.raises(ValueError, match=r"'conv.bias' has shape \[4\], but .* needs \[5\]"):
        _tensors.from_torch(module, [(1, 8, 8, 2)], tensors, rename)
    tensors["conv.bias"] = np.zeros(5)
    with pytest.raises(ValueError, match=r"shape \[5, 2, 3, 3\], but .* needs \[5, 7, 3, 3\]"):
        _tensors.from_torch(module, [(1, 8, 8, 7)], tensors, rename)


WIDTHS, HIDDEN, CLASSES = (3, 4, 5, 6, 7), 11, 13


@pytest.fixture(scope="module", params=[vgg.VGG16, vgg.VGG19])
def torchvision_vgg(request):
    """(ours, torchvision's VGG-16 or VGG-19 of few channels, pictures to look at)."""
    network = request.param
    torch = pytest.importorskip("torch", reason="the yardstick is torchvision")
    torchvision_ready()
    models = pytest.importorskip("torchvision.models", reason="the yardstick is torchvision")
    torch.manual_seed(0)
    configuration = [
        layer
        for width, depth in zip(WIDTHS, network.depths, strict=True)
        for layer in (*(width,) * depth, "M")
    ]
    model = models.VGG(models.vgg.make_layers(configuration), init_weights=False).eval()
    for place, (inputs, outputs) in {
        0: (49 * WIDTHS[-1], HIDDEN),
        3: (HIDDEN, HIDDEN),
        6: (HIDDEN, CLASSES),
    }.items():
        model.classifier[place] = torch.nn.Linear(inputs, outputs)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3)  # signals would fade out through thirteen layers of PyTorch's own scale
    images = np.random.default_rng(0).normal(size=(2, 224, 224, 3)).astype(np.float32)
    return network, model, images


def run_torch(model, images):
    """Every layer's output by torchvision's index, "features.3" and "classifier.4"."""
    import torch

    found = {}
    with torch.no_grad():
        x = torch.tensor(images).permute(0, 3, 1, 2)
        for i, layer in enumerate(model.features):
            x = layer(x) if not isinstance(layer, torch.nn.ReLU) else torch.relu(x)
            found[f"features.{i}"] = x.permute(0, 2, 3, 1).numpy()
        x = torch.flatten(model.avgpool(x), 1)
        for i, layer in enumerate(model.classifier):
            x = layer(x) if not isinstance(layer, torch.nn.ReLU) else torch.relu(x)
            found[f"classifier.{i}"] = x.numpy()
    return found


def test_vgg_is_torchvisions(torchvision_vgg):
    network, model, images = torchvision_vgg
    maps = vgg.maps(network.depths)
    module = network((*maps, *vgg.VECTORS), WIDTHS, HIDDEN, CLASSES)
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    found = jax.jit(module.apply)(vgg.convert(module, tensors), images)
    expected = run_torch(model, images)
    layers = list(model.features)
    places = [i for i, layer in enumerate(layers) if type(layer).__name__ != "MaxPool2d"]
    names = dict(zip(maps, (f"features.{i}" for i in places), strict=True))
    names |= dict(zip(vgg.VECTORS, (f"classifier.{i}" for i in (0, 1, 3, 4, 6)), strict=True))
    assert set(found) == set(names)
    for ours, theirs in names.items():
        value = expected[theirs]
        assert np.abs(value).max() > 1e-3, ours  # or it would show nothing
        np.testing.assert_allclose(found[ours], value, rtol=0, atol=1e-5 * np.abs(value).max())


def test_vgg19_has_as_many_parameters_as_published():
    leaves = jax.tree.leaves(shapes_of(vgg.VGG19(("fc8",))))
    assert sum(leaf.size for leaf in leaves) == 143_667_240


def test_vgg_computes_no_further_than_asked():
    module = vgg.VGG16(("relu2_2", "conv1_1"), WIDTHS)
    variables = shapes_of(module)
    assert sorted(variables["params"]) == ["conv1_1", "conv1_2", "conv2_1", "conv2_2"]
    images = jax.ShapeDtypeStruct((2, 40, 20, 3), jnp.float32)
    maps = jax.eval_shape(module.apply, variables, images)
    assert {name: value.shape for name, value in maps.items()} == {
        "relu2_2": (2, 20, 10, 4),
        "conv1_1": (2, 40, 20, 3),
    }


def test_vgg_says_what_it_cannot_give():
    with pytest.raises(
        ValueError, match=r"VGG16 has no outputs \['relu9'\]; ask for some of conv1"
    ):
        shapes_of(vgg.VGG16(("relu1_1", "relu9")))
    with pytest.raises(ValueError, match=r"VGG16 has no outputs \[\]"):
        shapes_of(vgg.VGG16(()))
    with pytest.raises(
        ValueError, match=r"need pictures of \(224, 224\): their last map is \(1, 1\)"
    ):
        shapes_of(vgg.VGG16(("relu7",)), 32)


def test_vgg_in_a_perceptual_loss():
    """The distance of pictures in [-1, 1], seen as ImageNet's are."""
    outputs = ("relu2_2", "relu1_2")
    module = vgg.VGG16(outputs)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), shapes_of(module)
    )
    x, y = rng.uniform(-1, 1, (2, 2, 16, 16, 3)).astype(np.float32)

    @jax.jit
    @jax.value_and_grad
    def loss(x):
        features = vgg.perceptual_features(variables, outputs)
        return losses.perceptual(features, x, y, [1.0, 0.5])

    @jax.jit
    def maps(images):
        seen = ((images + 1) / 2 - jnp.array([[[vgg.MEAN]]])) / jnp.array([[[vgg.DEVIATION]]])
        return module.apply(variables, seen)

    a, b = maps(x), maps(y)
    expected = sum(
        w * jnp.mean((a[name] - b[name]) ** 2) for name, w in zip(outputs, (1.0, 0.5), strict=True)
    )
    value, gradient = loss(x)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    lower, _ = loss(x - 1e-2 * gradient / jnp.linalg.norm(gradient))
    assert lower < value
    assert loss(y)[0] < 1e-6 * value  # the two may be rounded differently


@pytest.mark.slow
def test_vgg_features_are_torch_fidelitys(tmp_path):
    torch = pytest.importorskip("torch", reason="the yardstick is torch-fidelity")
    torchvision_ready()
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_vgg16")
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    state = models.vgg16().state_dict()
    torch.save(state, tmp_path / "vgg16.pth")
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    reference = extractor.FeatureExtractorVGG16("vgg16", ["fc2_relu"], tmp_path / "vgg16.pth")
    (expected,) = reference(torch.tensor(images).permute(0, 3, 1, 2))
    net = by_name("vgg16")
    variables = net.convert({name: tensor.numpy() for name, tensor in state.items()})
    found = jax.jit(net.apply)(variables, images.astype(np.float32))["features"]
    expected = expected.numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())
