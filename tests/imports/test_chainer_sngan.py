"""pfnet-research/sngan_projection: its networks as functions of the arrays of its files, written out in PyTorch."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from importing import assert_same, called, imported, networks_of

from jaxgan import imports
from jaxgan.imports import Tensors

torch = pytest.importorskip("torch")
F = torch.nn.functional
LATENT = 10
# {side: (divisors of the generator's widths, of the critic's, blocks that halve, name of the last convolution)}
SIDES = {
    32: ((1, 1, 1), (1, 1, 1, 1), 2, "c5"),
    64: ((2, 4, 8, 16), (16, 8, 4, 2, 1), 5, "l6"),
}


class Weights(dict):
    """Random tensors by name; `spectral` ones have vectors that have not converged."""

    def add(self, name, *shape, bias=True, spectral=False):
        self[f"{name}/W"] = torch.randn(*shape) / np.sqrt(np.prod(shape[1:]))
        if spectral:
            self[f"{name}/u"] = F.normalize(torch.randn(1, shape[0]), dim=1)
        if bias:
            self[f"{name}/b"] = 0.3 * torch.randn(shape[0])

    def norm(self, name, features, classes=0):
        self[f"{name}/avg_mean"] = 0.3 * torch.randn(features)
        self[f"{name}/avg_var"] = 0.01 * torch.rand(features) + 1e-3  # epsilon matters
        self[f"{name}/N"] = torch.tensor(0)
        if classes:
            self[f"{name}/gammas/W"] = 0.1 * torch.rand(classes, features)
            self[f"{name}/betas/W"] = torch.randn(classes, features)
        else:
            self[f"{name}/gamma"] = 0.1 * torch.rand(features)
            self[f"{name}/beta"] = torch.randn(features)

    def of(self, name):
        """(weight as it is used, bias)."""
        weight, u = self[f"{name}/W"], self.get(f"{name}/u")
        if u is not None:
            flat = weight.flatten(1)
            weight = weight / (flat @ F.normalize(u[0] @ flat, dim=0)).norm()
        return weight, self.get(f"{name}/b")

    def conv(self, name, x):
        weight, bias = self.of(name)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def normalised(self, name, x, label):
        x = F.batch_norm(x, self[f"{name}/avg_mean"], self[f"{name}/avg_var"], eps=2e-5)
        classes = f"{name}/gammas/W" in self
        gain, bias = (
            self[f"{name}/{part}s/W"][label] if classes else self[f"{name}/{part}"][None]
            for part in ("gamma", "beta")
        )
        return x * gain[:, :, None, None] + bias[:, :, None, None]


def generator(side, width, classes=0):
    weights, (parts, _, _, last) = Weights(), SIDES[side]
    weights.add("l1", 16 * width, LATENT)
    channels = [width, *(width // part for part in parts)]
    for i, (before, after) in enumerate(itertools.pairwise(channels), 2):
        weights.norm(f"block{i}/b1", before, classes)
        weights.norm(f"block{i}/b2", after, classes)
        weights.add(f"block{i}/c1", after, before, 3, 3)
        weights.add(f"block{i}/c2", after, after, 3, 3)
        weights.add(f"block{i}/c_sc", after, before, 1, 1)
    weights.norm(f"b{i + 1}", channels[-1])
    weights.add(last, 3, channels[-1], 3, 3)
    return weights


def generated(weights, side, z, label=None):
    parts, _, _, last = SIDES[side]
    x = F.linear(z, *weights.of("l1")).unflatten(1, (-1, 4, 4))
    for i in range(2, 2 + len(parts)):
        y = F.interpolate(F.relu(weights.normalised(f"block{i}/b1", x, label)), scale_factor=2)
        y = F.relu(weights.normalised(f"block{i}/b2", weights.conv(f"block{i}/c1", y), label))
        shortcut = weights.conv(f"block{i}/c_sc", F.interpolate(x, scale_factor=2))
        x = weights.conv(f"block{i}/c2", y) + shortcut
    return torch.tanh(weights.conv(last, F.relu(weights.normalised(f"b{i + 1}", x, None))))


def critic(side, width, classes=0):
    weights, (_, parts, downs, _) = Weights(), SIDES[side]
    channels = [3, *(width // part for part in parts)]
    for i, (before, after) in enumerate(itertools.pairwise(channels)):
        name, hidden = f"block{i + 1}", before if i else after
        weights.add(f"{name}/c1", hidden, before, 3, 3, spectral=True)
        weights.add(f"{name}/c2", after, hidden, 3, 3, spectral=True)
        if i < downs or before != after:
            weights.add(f"{name}/c_sc", after, before, 1, 1, spectral=True)
    weights.add(f"l{len(parts) + 1}", 1, width, bias=side != 32, spectral=True)
    if classes:
        weights.add("l_y", classes, width, bias=False, spectral=True)
    return weights


def judged(weights, side, x, label=None):
    _, parts, downs, _ = SIDES[side]
    for i in range(len(parts)):
        name, down = f"block{i + 1}", F.avg_pool2d if i < downs else lambda x, _: x
        y = weights.conv(f"{name}/c1", F.relu(x) if i else x)
        y = down(weights.conv(f"{name}/c2", F.relu(y)), 2)
        x = y + (down(weights.conv(f"{name}/c_sc", x), 2) if f"{name}/c_sc/W" in weights else x)
    x = F.relu(x).sum((2, 3))
    logits = F.linear(x, *weights.of(f"l{len(parts) + 1}"))[:, 0]
    return logits if label is None else logits + (weights.of("l_y")[0][label] * x).sum(1)


@pytest.mark.parametrize(("side", "classes"), [(32, 0), (32, 5), (64, 0)])
def test_the_networks_are_those_of_the_program(tmp_path, side, classes):
    torch.manual_seed(0)
    made, judge = generator(side, 32, classes), critic(side, 32, classes)
    files = {"ResNetGenerator_9.npz": made, "SNResNetProjectionDiscriminator_9.npz": judge}
    if classes:
        for name, weights in files.items():
            np.savez(tmp_path / name, **{n: tensor.numpy() for n, tensor in weights.items()})
        run, networks = imported(tmp_path, "chainer_sngan", [tmp_path / name for name in files])
        assert run.spec.shape == (side, side, 3)
        assert run.spec.num_classes == classes
    else:
        networks = networks_of("chainer_sngan", files)
    z, x = torch.randn(3, LATENT), torch.randn(3, 3, side, side)
    label = torch.tensor([0, 2, 4]) if classes else None
    given = None if label is None else jnp.asarray(label.numpy(), jnp.int32)
    found = called(networks["generator"], jnp.asarray(z.numpy()), given)
    assert_same(found, generated(made, side, z, label))
    found = called(networks["critic"], jnp.asarray(x.numpy().transpose(0, 2, 3, 1)), given)
    assert_same(found, judged(judge, side, x, label))


def test_pictures_of_256_pixels_are_refused():
    made = generator(64, 16)
    made |= {f"block{i}/c1/W": torch.zeros(1, 1, 3, 3) for i in (6, 7)}
    file = Tensors({n: tensor.numpy() for n, tensor in made.items()}, "ResNetGenerator_9.npz")
    with pytest.raises(ValueError, match="of 256 pixels, and only those of 32, 64 and 128"):
        imports.load("chainer_sngan").read([file])
