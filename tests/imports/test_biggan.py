"""ajbrock/BigGAN-PyTorch and huggingface/pytorch-pretrained-BigGAN as functions of the tensors of their files."""

import jax.numpy as jnp
import numpy as np
import pytest
from importing import assert_same, called, networks_of, run_of

from jaxgan import imports

torch = pytest.importorskip("torch")
F = torch.nn.functional
CLASSES, EMBEDDING, PART = 5, 6, 4
LABEL = [0, 2, 4]


def random_weight(*shape):
    return torch.randn(*shape) / np.sqrt(np.prod(shape[1:]))


def statistics(features):
    return 0.3 * torch.randn(features), torch.rand(features) + 0.5


def attended(x, query, key, value, output, gamma):
    """Self-attention with pooled keys and values; the arguments are functions."""
    key, value = (F.max_pool2d(part(x), 2).flatten(2) for part in (key, value))
    weights = torch.softmax(query(x).flatten(2).transpose(1, 2) @ key, dim=-1)
    found = (value @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
    return x + gamma * output(found)


class Brock(dict):
    """The networks for 32 pixels, attention after 16; a width of 1 has 4 channels."""

    def add(self, name, *shape, bias=True):
        self[f"{name}.weight"] = random_weight(*shape)
        self[f"{name}.u0"] = F.normalize(torch.randn(1, shape[0]), dim=1)
        self[f"{name}.sv0"] = torch.ones(1)
        if bias:
            self[f"{name}.bias"] = 0.3 * torch.randn(shape[0])

    def of(self, name):
        weight = self[f"{name}.weight"]
        flat = weight.flatten(1)
        v = F.normalize(self[f"{name}.u0"][0] @ flat, dim=0)
        return weight / (flat @ v).norm(), self.get(f"{name}.bias")

    def conv(self, name, x):
        weight, bias = self.of(name)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def attention(self, name, channels):
        few, half = channels // 8, channels // 2
        for part, size, before in (
            ("theta", few, channels),
            ("phi", few, channels),
            ("g", half, channels),
        ):
            self.add(f"{name}.{part}", size, before, 1, 1, bias=False)
        self.add(f"{name}.o", channels, half, 1, 1, bias=False)
        self[f"{name}.gamma"] = torch.tensor(0.7)

    def attend(self, name, x):
        if f"{name}.gamma" not in self:
            return x
        parts = [lambda x, p=p: self.conv(f"{name}.{p}", x) for p in ("theta", "phi", "g", "o")]
        return attended(x, *parts, self[f"{name}.gamma"])

    @classmethod
    def generator(cls, width):
        self = cls()
        self["shared.weight"] = torch.randn(CLASSES, EMBEDDING)
        self.add("linear", 16 * width, PART)
        for i in range(3):
            for n in (1, 2):
                for part in ("gain", "bias"):
                    self.add(f"blocks.{i}.0.bn{n}.{part}", width, EMBEDDING + PART, bias=False)
                mean, var = statistics(width)
                self[f"blocks.{i}.0.bn{n}.stored_mean"] = mean
                self[f"blocks.{i}.0.bn{n}.stored_var"] = var
                self.add(f"blocks.{i}.0.conv{n}", width, width, 3, 3)
            self.add(f"blocks.{i}.0.conv_sc", width, width, 1, 1)
        self.attention("blocks.1.1", width)
        mean, var = statistics(width)
        self |= {"output_layer.0.gain": torch.rand(width) + 0.5, "output_layer.0.bias": torch.randn(width),
                 "output_layer.0.stored_mean": mean, "output_layer.0.stored_var": var}  # fmt: skip
        self.add("output_layer.2", 3, width, 3, 3)
        return self

    def made(self, z, label):
        def normalised(name, x, condition):
            gain, bias = (
                F.linear(condition, *self.of(f"{name}.{p}"))[:, :, None, None]
                for p in ("gain", "bias")
            )
            y = F.batch_norm(x, self[f"{name}.stored_mean"], self[f"{name}.stored_var"])
            return F.relu(y * (1 + gain) + bias)

        first, *parts = z.split(PART, dim=1)
        x = F.linear(first, *self.of("linear")).unflatten(1, (-1, 4, 4))
        for i, part in enumerate(parts):
            name, condition = f"blocks.{i}.0", torch.cat([self["shared.weight"][label], part], 1)
            y = self.conv(
                f"{name}.conv1",
                F.interpolate(normalised(f"{name}.bn1", x, condition), scale_factor=2),
            )
            y = self.conv(f"{name}.conv2", normalised(f"{name}.bn2", y, condition))
            x = y + self.conv(f"{name}.conv_sc", F.interpolate(x, scale_factor=2))
            x = self.attend(f"blocks.{i}.1", x)
        last = [self[f"output_layer.0.{p}"] for p in ("stored_mean", "stored_var", "gain", "bias")]
        return torch.tanh(self.conv("output_layer.2", F.relu(F.batch_norm(x, *last))))

    @classmethod
    def critic(cls, width):
        self = cls()
        for i, before in enumerate((3, width, width, width)):
            self.add(f"blocks.{i}.0.conv1", width, before, 3, 3)
            self.add(f"blocks.{i}.0.conv2", width, width, 3, 3)
            if i < 2:
                self.add(f"blocks.{i}.0.conv_sc", width, before, 1, 1)
        self.attention("blocks.0.1", width)
        self.add("linear", 1, width)
        self.add("embed", CLASSES, width, bias=False)
        return self

    def judged(self, x, label):
        for i in range(4):
            name = f"blocks.{i}.0"
            y = self.conv(
                f"{name}.conv2", F.relu(self.conv(f"{name}.conv1", F.relu(x) if i else x))
            )
            if i < 2:
                x, y = self.conv(f"{name}.conv_sc", F.avg_pool2d(x, 2)), F.avg_pool2d(y, 2)
            x = self.attend(f"blocks.{i}.1", x + y)
        h = F.relu(x).sum((2, 3))
        return F.linear(h, *self.of("linear"))[:, 0] + (self.of("embed")[0][label] * h).sum(1)


def test_brocks_networks(tmp_path):
    torch.manual_seed(0)
    made, judge = Brock.generator(16), Brock.critic(16)
    run, networks = run_of(
        tmp_path, "biggan_pytorch", {"G_ema.pth": dict(made), "D.pth": dict(judge)}
    )
    assert run.spec.shape == (32, 32, 3)
    assert run.spec.num_classes == CLASSES
    z, x, label = torch.randn(3, 4 * PART), torch.randn(3, 3, 32, 32), torch.tensor(LABEL)
    found = called(networks["generator"], jnp.asarray(z.numpy()), jnp.asarray(LABEL))
    assert_same(found, made.made(z, label))
    pictures = jnp.asarray(x.numpy().transpose(0, 2, 3, 1))
    assert_same(called(networks["critic"], pictures, jnp.asarray(LABEL)), judge.judged(x, label))


def test_standing_statistics_are_divided_by_their_number():
    made, sums = Brock.generator(8), {}
    for name, tensor in made.items():
        layer, _, part = name.rpartition(".")
        if part in ("stored_mean", "stored_var"):
            sums[f"{layer}.bn.{part}"] = 4 * tensor.numpy()
            sums[f"{layer}.bn.accumulation_counter"] = np.full(1, 4.0)
        else:
            sums[name] = tensor.numpy()
    found = imports.load("biggan_pytorch").read([imports.Tensors(sums, "G.pth")])
    leaf = found.players["generator"]["batch_stats/synthesis/block1/norm0/statistics/mean"]
    np.testing.assert_allclose(leaf.value, made["blocks.1.0.bn1.stored_mean"], rtol=1e-6)


class Spectral(dict):
    """Layers under `torch.nn.utils.spectral_norm`, by name."""

    def add(self, name, *shape, bias=True):
        self[f"{name}.weight_orig"] = weight = random_weight(*shape)
        u = F.normalize(torch.randn(shape[0]), dim=0)
        v = F.normalize(u @ weight.flatten(1), dim=0)
        self[f"{name}.weight_u"], self[f"{name}.weight_v"] = (
            F.normalize(weight.flatten(1) @ v, dim=0),
            v,
        )
        if bias:
            self[f"{name}.bias"] = 0.3 * torch.randn(shape[0])

    def of(self, name):
        weight, u, v = (self[f"{name}.weight_{part}"] for part in ("orig", "u", "v"))
        return weight / (u @ weight.flatten(1) @ v), self.get(f"{name}.bias")

    def conv(self, name, x):
        weight, bias = self.of(name)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


class Deep(Spectral):
    """The generator for 128 pixels."""

    WIDTHS = (16, 16, 16, 16, 8, 8, 4, 4, 2, 2, 1)

    def __init__(self, width):
        super().__init__()
        given = EMBEDDING + PART
        self["embeddings.weight"] = torch.randn(EMBEDDING, CLASSES)
        self.add("generator.gen_z", 16 * 16 * width, given)
        for i in range(10):
            before, after = (width * self.WIDTHS[n] for n in (i, i + 1))
            hidden, name = before // 4, f"generator.layers.{i + (i > 7)}"
            sizes = (
                (hidden, before, 1),
                (hidden, hidden, 3),
                (hidden, hidden, 3),
                (after, hidden, 1),
            )
            for j, (out, inside, k) in enumerate(sizes):
                self.add(f"{name}.conv_{j}", out, inside, k, k)
                self.norm(f"{name}.bn_{j}", inside)
                for part in ("scale", "offset"):
                    self.add(f"{name}.bn_{j}.{part}", inside, given, bias=False)
        channels = 2 * width
        for part, out in (("theta", channels // 8), ("phi", channels // 8), ("g", channels // 2)):
            self.add(f"generator.layers.8.snconv1x1_{part}", out, channels, 1, 1, bias=False)
        self.add("generator.layers.8.snconv1x1_o_conv", channels, channels // 2, 1, 1, bias=False)
        self["generator.layers.8.gamma"] = torch.full((1,), 0.7)
        self.norm("generator.bn", width)
        self |= {"generator.bn.weight": torch.rand(width), "generator.bn.bias": torch.randn(width)}
        self.add("generator.conv_to_rgb", width, width, 3, 3)

    def norm(self, name, features):
        rows = [statistics(features) for _ in range(51)]
        self[f"{name}.running_means"], self[f"{name}.running_vars"] = map(
            torch.stack, zip(*rows, strict=True)
        )

    def made(self, z, label):
        def normalised(name, x):
            x = F.batch_norm(
                x, self[f"{name}.running_means"][-1], self[f"{name}.running_vars"][-1], eps=1e-4
            )
            gain, bias = (
                F.linear(given, *self.of(f"{name}.{p}"))[:, :, None, None]
                for p in ("scale", "offset")
            )
            return F.relu(x * (1 + gain) + bias)

        given = torch.cat([z, self["embeddings.weight"].T[label]], dim=1)
        x = (
            F.linear(given, *self.of("generator.gen_z"))
            .unflatten(1, (4, 4, -1))
            .permute(0, 3, 1, 2)
        )
        for i in range(10):
            if i == 8:
                parts = [lambda x, p=p: self.conv(f"generator.layers.8.snconv1x1_{p}", x)
                         for p in ("theta", "phi", "g", "o_conv")]  # fmt: skip
                x = attended(x, *parts, self["generator.layers.8.gamma"])
            name, y = f"generator.layers.{i + (i > 7)}", x
            x = x[:, : self[f"{name}.conv_3.bias"].shape[0]]
            for j in range(4):
                y = normalised(f"{name}.bn_{j}", y)
                if i % 2 and j == 1:
                    x, y = (F.interpolate(part, scale_factor=2) for part in (x, y))
                y = self.conv(f"{name}.conv_{j}", y)
            x = x + y
        last = self["generator.bn.running_means"][-1], self["generator.bn.running_vars"][-1]
        gains = self["generator.bn.weight"], self["generator.bn.bias"]
        x = F.relu(F.batch_norm(x, *last, *gains, eps=1e-4))
        return torch.tanh(self.conv("generator.conv_to_rgb", x)[:, :3])


def test_huggingfaces_generator():
    torch.manual_seed(0)
    made = Deep(4)
    networks = networks_of("biggan_huggingface", {"pytorch_model.bin": made})
    z = torch.randn(
        1, PART
    )  # one picture, and no run, which would have a critic too: they are large
    pictures = called(networks["generator"], jnp.asarray(z.numpy()), jnp.asarray([2]))
    assert_same(pictures, made.made(z, torch.tensor([2])))


class Studio(Spectral):
    """StudioGAN's networks for 32 pixels; attention, after 16, is a block of its own; ReLUs overwrite their input."""

    def attention(self, name, channels):
        few, half = channels // 8, channels // 2
        for part, size in (("theta", few), ("phi", few), ("g", half)):
            self.add(f"{name}.conv1x1_{part}", size, channels, 1, 1, bias=False)
        self.add(f"{name}.conv1x1_attn", channels, half, 1, 1, bias=False)
        self[f"{name}.sigma"] = torch.full((1,), 0.7)

    def attend(self, name, x):
        parts = [
            lambda x, p=p: self.conv(f"{name}.conv1x1_{p}", x)
            for p in ("theta", "phi", "g", "attn")
        ]
        return attended(x, *parts, self[f"{name}.sigma"])

    def norm(self, name, features, affine):
        self[f"{name}.running_mean"], self[f"{name}.running_var"] = statistics(features)
        self[f"{name}.num_batches_tracked"] = torch.tensor(5)
        if affine:
            self[f"{name}.weight"] = torch.rand(features) + 0.5
            self[f"{name}.bias"] = torch.randn(features)

    @classmethod
    def generator(cls, width):
        self = cls()
        self["shared.weight"] = torch.randn(CLASSES, EMBEDDING)
        self.add("linear0", 16 * width, PART)
        for i in (0, 1, 3):
            name = f"blocks.{i}.0"
            for n in (1, 2):
                self.norm(f"{name}.bn{n}.bn", width, False)
                for part in ("gain", "bias"):
                    self.add(f"{name}.bn{n}.{part}", width, EMBEDDING + PART, bias=False)
                self.add(f"{name}.conv2d{n}", width, width, 3, 3)
            self.add(f"{name}.conv2d0", width, width, 1, 1)
        self.attention("blocks.2.0", width)
        self.norm("bn4", width, True)
        self.add("conv2d5", 3, width, 3, 3)
        return self

    def made(self, z, label):
        def normalised(name, x, condition):
            gain, bias = (
                F.linear(condition, *self.of(f"{name}.{p}"))[:, :, None, None]
                for p in ("gain", "bias")
            )
            running = self[f"{name}.bn.running_mean"], self[f"{name}.bn.running_var"]
            return F.relu(F.batch_norm(x, *running, eps=1e-4) * (1 + gain) + bias)

        first, *parts = z.split(PART, dim=1)
        x = F.linear(first, *self.of("linear0")).unflatten(1, (-1, 4, 4))
        for i, part in zip((0, 1, 3), parts, strict=True):
            x = self.attend("blocks.2.0", x) if i == 3 else x
            name, condition = f"blocks.{i}.0", torch.cat([self["shared.weight"][label], part], 1)
            y = F.interpolate(normalised(f"{name}.bn1", x, condition), scale_factor=2)
            y = normalised(f"{name}.bn2", self.conv(f"{name}.conv2d1", y), condition)
            y = self.conv(f"{name}.conv2d2", y)
            x = y + self.conv(f"{name}.conv2d0", F.interpolate(x, scale_factor=2))
        last = [self[f"bn4.{p}"] for p in ("running_mean", "running_var", "weight", "bias")]
        return torch.tanh(self.conv("conv2d5", F.relu(F.batch_norm(x, *last, eps=1e-4))))

    @classmethod
    def critic(cls, width):
        self = cls()
        for i, before in ((0, 3), (2, width), (3, width), (4, width)):
            name = f"blocks.{i}.0"
            self.add(f"{name}.conv2d1", width, before, 3, 3)
            self.add(f"{name}.conv2d2", width, width, 3, 3)
            if i < 3:
                self.add(f"{name}.conv2d0", width, before, 1, 1)
        self.attention("blocks.1.0", width)
        self.add("linear1", 1, width)
        self.add("embedding", CLASSES, width, bias=False)
        return self

    def judged(self, x, label):
        for i in (0, 2, 3, 4):
            name = f"blocks.{i}.0"
            x = F.relu(x) if i else x
            y = self.conv(f"{name}.conv2d2", F.relu(self.conv(f"{name}.conv2d1", x)))
            if i < 3:
                x, y = self.conv(f"{name}.conv2d0", F.avg_pool2d(x, 2)), F.avg_pool2d(y, 2)
            x = x + y
            x = x if i else self.attend("blocks.1.0", x)
        h = F.relu(x).sum((2, 3))
        return F.linear(h, *self.of("linear1"))[:, 0] + (self.of("embedding")[0][label] * h).sum(1)


def test_studiogans_networks(tmp_path):
    torch.manual_seed(0)
    made, judge = Studio.generator(16), Studio.critic(16)
    files = {
        "model=G_ema.pth": {"state_dict": dict(made)},
        "model=D.pth": {"state_dict": dict(judge), "run_name": "a", "optimizer": {"state": {}}},
    }
    run, networks = run_of(tmp_path, "studiogan_biggan", files)
    assert run.spec.shape == (32, 32, 3)
    z, x, label = torch.randn(3, 4 * PART), torch.randn(3, 3, 32, 32), torch.tensor(LABEL)
    found = called(networks["generator"], jnp.asarray(z.numpy()), jnp.asarray(LABEL))
    assert_same(found, made.made(z, label))
    pictures = jnp.asarray(x.numpy().transpose(0, 2, 3, 1))
    assert_same(called(networks["critic"], pictures, jnp.asarray(LABEL)), judge.judged(x, label))
