"""kwotsin/mimicry: its networks as functions of the tensors of its checkpoints."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from importing import assert_same, called, networks_of, run_of

torch = pytest.importorskip("torch")
F = torch.nn.functional
SIDES = {32: (4, (1, 1, 1), (1, 1, 1, 1), 2), 48: (6, (2, 4, 8), (16, 8, 4, 2, 1), 4)}


class Weights(dict):
    """Random tensors by name; `spectral` ones have vectors that have not converged."""

    def add(self, name, *shape, bias=True, spectral=False):
        weight = torch.randn(*shape) / np.sqrt(np.prod(shape[1:]))
        self[f"{name}.weight_orig" if spectral else f"{name}.weight"] = weight
        if spectral:
            u, w = torch.randn(shape[0]), weight.flatten(1)
            for _ in range(2):
                v = F.normalize(w.T @ u, dim=0)
                u = F.normalize(w @ v, dim=0)
            self[f"{name}.weight_u"], self[f"{name}.weight_v"] = u, v
        if bias:
            self[f"{name}.bias"] = 0.3 * torch.randn(shape[0])

    def norm(self, name, features, classes=0):
        inner = f"{name}.bn" if classes else name
        self[f"{inner}.running_mean"] = 0.3 * torch.randn(features)
        self[f"{inner}.running_var"] = torch.rand(features) + 0.5
        self[f"{inner}.num_batches_tracked"] = torch.tensor(3)
        if classes:
            self[f"{name}.embed.weight"] = torch.randn(classes, 2 * features)
        else:
            self[f"{name}.weight"] = torch.rand(features) + 0.5
            self[f"{name}.bias"] = torch.randn(features)

    def of(self, name):
        """(weight as it is used, bias)."""
        if f"{name}.weight" in self:
            return self[f"{name}.weight"], self.get(f"{name}.bias")
        weight, u, v = (self[f"{name}.weight_{part}"] for part in ("orig", "u", "v"))
        return weight / (u @ weight.flatten(1) @ v), self.get(f"{name}.bias")

    def conv(self, name, x):
        weight, bias = self.of(name)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def normalised(self, name, x, label):
        inner = name if f"{name}.running_mean" in self else f"{name}.bn"
        statistics = self[f"{inner}.running_mean"], self[f"{inner}.running_var"]
        if inner == name:
            return F.batch_norm(x, *statistics, self[f"{name}.weight"], self[f"{name}.bias"])
        gain, bias = self[f"{name}.embed.weight"][label].chunk(2, dim=1)
        return F.batch_norm(x, *statistics) * gain[:, :, None, None] + bias[:, :, None, None]


def generator(side, width, classes=0):
    weights, (bottom, parts, _, _) = Weights(), SIDES[side]
    weights.add("l1", bottom**2 * width, 10)
    channels = [width, *(width // part for part in parts)]
    for i, (before, after) in enumerate(itertools.pairwise(channels), 2):
        weights.norm(f"block{i}.b1", before, classes)
        weights.norm(f"block{i}.b2", after, classes)
        weights.add(f"block{i}.c1", after, before, 3, 3)
        weights.add(f"block{i}.c2", after, after, 3, 3)
        weights.add(f"block{i}.c_sc", after, before, 1, 1)
    weights.norm(f"b{i + 1}", channels[-1])
    weights.add(f"c{i + 1}", 3, channels[-1], 3, 3)
    return weights


def generated(weights, side, z, label=None):
    def up(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    bottom, parts = SIDES[side][:2]
    x = F.linear(z, *weights.of("l1")).unflatten(1, (-1, bottom, bottom))
    for i in range(2, 2 + len(parts)):
        y = F.relu(weights.normalised(f"block{i}.b1", x, label))
        y = F.relu(weights.normalised(f"block{i}.b2", weights.conv(f"block{i}.c1", up(y)), label))
        x = weights.conv(f"block{i}.c2", y) + weights.conv(f"block{i}.c_sc", up(x))
    return torch.tanh(weights.conv(f"c{i + 1}", F.relu(weights.normalised(f"b{i + 1}", x, label))))


def critic(side, width, spectral, classes=0):
    weights, (_, _, parts, downs) = Weights(), SIDES[side]
    channels = [3, *(width // part for part in parts)]
    for i, (before, after) in enumerate(itertools.pairwise(channels)):
        name = f"block{i + 1}"
        hidden = before if i else after
        weights.add(f"{name}.c1", hidden, before, 3, 3, spectral=spectral)
        weights.add(f"{name}.c2", after, hidden, 3, 3, spectral=spectral)
        if i < downs or before != after:
            weights.add(f"{name}.c_sc", after, before, 1, 1, spectral=spectral)
    last = 6 if side == 48 and not spectral else 5  # as the program numbers it
    weights.add(f"l{last}", 1, width, spectral=spectral)
    if classes:
        weights.add("l_y", classes, width, bias=False, spectral=True)
    return weights


def judged(weights, side, x, mean, label=None):
    _, _, parts, downs = SIDES[side]
    for i in range(len(parts)):
        name, down = f"block{i + 1}", F.avg_pool2d if i < downs else lambda x, _: x
        x = F.relu(x) if i else x  # in place: the shortcut sees it too
        y = weights.conv(f"{name}.c2", F.relu(weights.conv(f"{name}.c1", x)))
        shortcut = any(n.startswith(f"{name}.c_sc.") for n in weights)
        x = down(y, 2) + down(weights.conv(f"{name}.c_sc", x) if shortcut else x, 2)
    x = F.relu(x).mean((2, 3)) if mean else F.relu(x).sum((2, 3))
    last = next(n for n in weights if n.startswith("l") and n[1].isdigit()).partition(".")[0]
    logits = F.linear(x, *weights.of(last))[:, 0]
    return logits if label is None else logits + (weights.of("l_y")[0][label] * x).sum(1)


@pytest.mark.parametrize(
    ("kind", "side", "classes"),
    [
        ("mimicry_sngan", 32, 0),
        ("mimicry_sngan", 48, 0),
        ("mimicry_sngan", 32, 5),
        ("mimicry_wgan_gp", 32, 0),
        ("mimicry_wgan_gp", 48, 0),
    ],
)
def test_the_networks_are_those_of_the_program(tmp_path, kind, side, classes):
    torch.manual_seed(0)
    spectral = kind == "mimicry_sngan"
    made, judge = generator(side, 16, classes), critic(side, 16, spectral, classes)
    files = {
        "netG.pth": {"model_state_dict": dict(made), "global_step": 7},
        "netD.pth": {
            "model_state_dict": dict(judge),
            "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(3)}}},
        },
    }
    if classes:
        run, networks = run_of(tmp_path, kind, files)
        assert run.spec.shape == (side, side, 3)
    else:  # the same without the checkpoint of a run
        networks = networks_of(
            kind, {name: file["model_state_dict"] for name, file in files.items()}
        )
    z, x = torch.randn(3, 10), torch.randn(3, 3, side, side)
    label = torch.tensor([0, 2, 4]) if classes else None
    given = None if label is None else jnp.asarray(label.numpy(), jnp.int32)
    found = called(networks["generator"], jnp.asarray(z.numpy()), given)
    assert_same(found, generated(made, side, z, label))
    found = called(networks["critic"], jnp.asarray(x.numpy().transpose(0, 2, 3, 1)), given)
    assert_same(found, judged(judge, side, x, not spectral, label))
