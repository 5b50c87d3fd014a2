"""StyleGAN2 in the format of NVIDIA's pickles: the networks of the papers as functions of its tensors."""

import jax
import jax.numpy as jnp
import numpy as np
import pickled
import pytest
from importing import assert_same, imported

torch = pytest.importorskip("torch")
from style_weights import StyleWeights  # noqa: E402  # it needs PyTorch

F = torch.nn.functional
SIDE, LATENT, STYLE, BASE, MOST = 16, 5, 6, 64, 8
FIR = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
SIZES = [4, 8, 16]
BUFFERS = ("noise_const", "w_avg", "resample_filter")


def width(size):
    return min(BASE // size, MOST)


def filtered(x, low, high, gain=1.0):
    """x, padded, convolved with FIR in both directions."""
    kernel = (gain * FIR[:, None] * FIR).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (low, high, low, high)), kernel, groups=x.shape[1])


def enlarged(x):
    zeros = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    zeros[..., ::2, ::2] = x
    return filtered(zeros, 2, 1, 4.0)


class Generator(StyleWeights):
    def __init__(self):
        super().__init__()
        self.mapping(LATENT + STYLE, STYLE, 2, True)
        self["mapping.w_avg"] = torch.randn(STYLE)
        self["synthesis.b4.const"] = torch.randn(width(4), 4, 4)
        for size in SIZES:
            block = f"synthesis.b{size}"
            self[f"{block}.resample_filter"] = FIR
            if size > 4:
                self.styled(f"{block}.conv0", width(size // 2), width(size), size)
            self.styled(f"{block}.conv1", width(size), width(size), size)
            self.layer(f"{block}.torgb", 3, width(size), 1, 1)
            self.layer(f"{block}.torgb.affine", width(size), STYLE, bias=1.0)

    def styled(self, name, inside, out, size):
        self.layer(name, out, inside, 3, 3)
        self.layer(f"{name}.affine", inside, STYLE, bias=1.0)
        self[f"{name}.noise_const"] = torch.randn(size, size)
        self[f"{name}.noise_strength"] = torch.randn(())

    def convolved(self, name, x, w):
        style = self.dense(f"{name}.affine", w)
        made = []
        for row, scale in zip(
            x, style, strict=True
        ):  # one kernel for each picture, as in the paper
            kernel = self[f"{name}.weight"] * scale[:, None, None]
            kernel = kernel / kernel.square().sum((1, 2, 3), keepdim=True).add(1e-8).sqrt()
            if name.endswith("conv0"):
                up = F.conv_transpose2d(row[None], kernel.transpose(0, 1), stride=2)
                made.append(filtered(up, 1, 1, 4.0))
            else:
                made.append(F.conv2d(row[None], kernel, padding=1))
        x = torch.cat(made) + self[f"{name}.noise_const"] * self[f"{name}.noise_strength"]
        return F.leaky_relu(x + self[f"{name}.bias"][:, None, None], 0.2) * np.sqrt(2)

    def painted(self, name, x, w):
        scale = self.dense(f"{name}.affine", w) / np.sqrt(x.shape[1])
        x = F.conv2d(x * scale[:, :, None, None], self[f"{name}.weight"])
        return x + self[f"{name}.bias"][:, None, None]

    def made(self, z, label):
        w, picture = self.mapped(z, label), 0.0
        x = self["synthesis.b4.const"].expand(len(z), -1, 4, 4)
        for size in SIZES:
            block = f"synthesis.b{size}"
            if size > 4:
                x, picture = self.convolved(f"{block}.conv0", x, w), enlarged(picture)
            x = self.convolved(f"{block}.conv1", x, w)
            picture = picture + self.painted(f"{block}.torgb", x, w)
        return picture


class Critic(StyleWeights):
    def __init__(self):
        super().__init__()
        self.mapping(MOST, MOST, 2, True)
        self.layer("b16.fromrgb", width(16), 3, 1, 1)
        for size in (16, 8):
            self.layer(f"b{size}.conv0", width(size), width(size), 3, 3)
            self.layer(f"b{size}.conv1", width(size // 2), width(size), 3, 3)
            self[f"b{size}.skip.weight"] = torch.randn(width(size // 2), width(size), 1, 1)
        self.layer("b4.conv", MOST, MOST + 1, 3, 3)
        self.layer("b4.fc", MOST, 16 * MOST)
        self.layer("b4.out", MOST, MOST)
        self["mapping.fc0.weight"] = self["mapping.fc0.weight"][:, :MOST]

    def conv(self, name, x, **options):
        weight = self[f"{name}.weight"]
        weight = weight / np.sqrt(weight[0].numel())
        return F.conv2d(x, weight, self.get(f"{name}.bias"), **options)

    def judged(self, x, label):
        def active(x):
            return F.leaky_relu(x, 0.2) * np.sqrt(2)

        x = active(self.conv("b16.fromrgb", x))
        for size in (16, 8):
            y = active(self.conv(f"b{size}.conv0", x, padding=1))
            y = active(self.conv(f"b{size}.conv1", filtered(y, 2, 2), stride=2))
            x = (y + self.conv(f"b{size}.skip", filtered(x, 1, 1)[..., ::2, ::2])) * np.sqrt(0.5)
        deviation = x.var(0, unbiased=False).add(1e-8).sqrt().mean().expand(len(x), 1, 4, 4)
        x = active(self.conv("b4.conv", torch.cat([x, deviation], 1), padding=1))
        x = self.dense("b4.out", active(self.dense("b4.fc", x.flatten(1))))
        return (x * self.mapped(None, label)).sum(1) / np.sqrt(MOST)


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(0)
    raw, average, critic = Generator(), Generator(), Critic()
    for name in raw:
        if name.endswith(BUFFERS):
            average[name] = raw[name]
    return raw, average, critic


def test_the_networks_are_those_of_the_file(tmp_path, monkeypatch, nets):
    raw, average, critic = nets
    content = {
        "training_set_kwargs": {"path": "somewhere"},
        "augment_pipe": None,
        "G": pickled.nested(raw, BUFFERS, conv_clamp=256),
        "D": pickled.nested(critic, BUFFERS, group_size=4),
        "G_ema": pickled.nested(average, BUFFERS, conv_clamp=256),
    }
    pickled.write(tmp_path / "network.pkl", content, monkeypatch)
    run, networks = imported(tmp_path, "stylegan2_ada", [tmp_path / "network.pkl"])
    assert run.spec.shape == (SIDE, SIDE, 3)
    z, label = torch.randn(4, LATENT), torch.tensor([0, 1, 2, 1])
    call = jax.jit(lambda network, x, label: network(x, label))
    given = jnp.asarray(label.numpy())
    found = call(networks["generator"], jnp.asarray(z.numpy()), given)
    assert_same(found, average.made(z, label))
    np.testing.assert_array_equal(
        networks["generator"]["average"]["style"], average["mapping.w_avg"]
    )
    x = torch.randn(4, 3, SIDE, SIDE)
    found = call(networks["critic"], jnp.asarray(x.numpy().transpose(0, 2, 3, 1)), given)
    assert_same(found, critic.judged(x, label))
