"""StyleGAN3 in the format of NVIDIA's pickles: the generator of the paper as a function of its tensors."""

import jax
import jax.numpy as jnp
import numpy as np
import pickled
import pytest
import scipy.signal
import scipy.special
from importing import assert_same, imported

from jaxgan.cli.main import main
from jaxgan.nets.stylegan3 import schedule

torch = pytest.importorskip("torch")
from style_weights import StyleWeights  # noqa: E402  # it needs PyTorch

F = torch.nn.functional
SIDE, LATENT, STYLE, LAYERS, CRITICAL, MARGIN = 16, 5, 6, 4, 2, 10
BUFFERS = ("w_avg", "magnitude_ema", "up_filter", "down_filter", "freqs", "phases", "transform")


def lowpass(taps, cutoff, width, rate, radial):
    """A Kaiser window on the ideal filter, as SciPy makes it; of two dimensions if it is radial."""
    if not radial:
        return torch.tensor(scipy.signal.firwin(taps, cutoff, width=width, fs=rate)).float()
    at = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(at[:, None], at)
    ideal = scipy.special.j1(2 * np.pi * cutoff * radius) / (np.pi * radius)
    beta = scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(taps, 2 * width / rate))
    window = np.kaiser(taps, beta)
    ideal = ideal * window[:, None] * window
    return torch.tensor(ideal / ideal.sum()).float()


def filtered(x, kernel, step=1):
    """x convolved with a kernel of one or two dimensions, every `step`-th value."""
    kernel = kernel if kernel.ndim == 2 else kernel[:, None] * kernel
    kernel = kernel.flip(0, 1).expand(x.shape[1], 1, *kernel.shape)
    return F.conv2d(x, kernel, stride=step, groups=x.shape[1])


class Generator(StyleWeights):
    def __init__(self, rotating):
        super().__init__()
        wide = 2 if rotating else 1
        self.rotating = rotating
        self.signals = schedule(SIDE, LAYERS, CRITICAL, MARGIN, wide * 64, wide * 6, 3)
        self.mapping(LATENT + STYLE, STYLE, 2, True)
        self["mapping.w_avg"] = torch.randn(STYLE)
        first = self.signals[0].channels
        self |= {
            "synthesis.input.weight": torch.randn(first, first),
            "synthesis.input.freqs": torch.randn(first, 2),
            "synthesis.input.phases": torch.rand(first) - 0.5,
            "synthesis.input.transform": torch.eye(3),
        }
        self.layer("synthesis.input.affine", 4, STYLE)
        self.names = []
        for i, target in enumerate(self.signals):
            source, last = self.signals[max(0, i - 1)], i == LAYERS
            name = f"synthesis.L{i}_{target.size}_{target.channels}"
            size = 1 if last or rotating else 3
            self.layer(name, target.channels, source.channels, size, size)
            self.layer(f"{name}.affine", source.channels, STYLE, bias=1.0)
            self[f"{name}.magnitude_ema"] = torch.rand(()) + 0.5
            self.names.append(name)
            if not last:
                self.filters(name, source, target, rotating and i < LAYERS - CRITICAL)

    def filters(self, name, source, target, radial):
        rate = 2 * max(source.rate, target.rate)
        for part, signal, round_ in (("up", source, False), ("down", target, radial)):
            taps = 6 * (rate // signal.rate)
            self[f"{name}.{part}_filter"] = lowpass(
                taps, signal.cutoff, 2 * signal.half_width, rate, round_
            )

    def made(self, z, label):
        w = self.mapped(z, label)
        x = self.waves(w)
        for i, name in enumerate(self.names):
            x = self.passed(i, name, x, w)
        return x / 4

    def waves(self, w):
        signal = self.signals[0]
        moved = self.dense("synthesis.input.affine", w)
        moved = moved / moved[:, :2].norm(dim=1, keepdim=True)
        c, s, tx, ty = moved[:, :, None].unbind(1)
        fx, fy = self["synthesis.input.freqs"].T
        fx, fy = fx * c + fy * s, fy * c - fx * s
        at = (torch.arange(signal.size) + 0.5 - signal.size / 2) / signal.rate
        phase = self["synthesis.input.phases"] - fx * tx - fy * ty
        turns = fx[:, None, None] * at[:, None] + fy[:, None, None] * at[:, None, None]
        fading = (signal.rate / 2 - torch.hypot(fx, fy)) / (signal.rate / 2 - signal.cutoff)
        x = (
            torch.sin(2 * np.pi * (turns + phase[:, None, None]))
            * fading.clamp(0, 1)[:, None, None]
        )
        return (x @ self["synthesis.input.weight"].T / np.sqrt(signal.channels)).permute(0, 3, 1, 2)

    def passed(self, i, name, x, w):
        style, kernel = self.dense(f"{name}.affine", w), self[f"{name}.weight"]
        x = x / self[f"{name}.magnitude_ema"].sqrt()
        bias = self[f"{name}.bias"][:, None, None]
        if i == LAYERS:
            style = style / np.sqrt(x.shape[1])
            return F.conv2d(x * style[:, :, None, None], kernel) + bias
        rows = []
        for row, scale in zip(x, style, strict=True):
            own = kernel * scale[:, None, None]
            own = own / own.square().sum((1, 2, 3), keepdim=True).sqrt()
            rows.append(F.conv2d(row[None], own, padding=kernel.shape[2] - 1))
        return self.active(i, name, torch.cat(rows) + bias)

    def active(self, i, name, x):
        source, target = self.signals[max(0, i - 1)], self.signals[i]
        rate = 2 * max(source.rate, target.rate)
        up, down = rate // source.rate, rate // target.rate
        kernels = [self[f"{name}.{part}_filter"] for part in ("up", "down")]
        total = (target.size - 1) * down + 1 - x.shape[2] * up + sum(map(len, kernels)) - 2
        low = (total + up) // 2
        zeros = torch.zeros(*x.shape[:2], up * x.shape[2], up * x.shape[3])
        zeros[..., ::up, ::up] = x
        high = total - low
        x = filtered(F.pad(zeros, (low, high, low, high)), up * kernels[0])
        return filtered(F.leaky_relu(x, 0.2) * np.sqrt(2), kernels[1], down)


def written(folder, generator, monkeypatch):
    content = {
        "G_ema": pickled.nested(generator, BUFFERS, num_critical=CRITICAL, margin_size=MARGIN)
    }
    pickled.write(folder / "network.pkl", content, monkeypatch)
    return folder / "network.pkl"


@pytest.mark.parametrize("rotating", [False, True])
def test_the_generator_is_that_of_the_file(tmp_path, monkeypatch, rotating):
    torch.manual_seed(0)
    generator = Generator(rotating)
    file = written(tmp_path, generator, monkeypatch)
    run, networks = imported(tmp_path, "stylegan3", [file])
    assert run.config.model.configuration == ("R" if rotating else "T")
    z, label = torch.randn(3, LATENT), torch.tensor([0, 1, 2])
    call = jax.jit(lambda network, x, label: network(x, label))
    found = call(networks["generator"], jnp.asarray(z.numpy()), jnp.asarray(label.numpy()))
    assert_same(found, generator.made(z, label))


def test_other_filters_are_refused(tmp_path, monkeypatch, capsys):
    generator = Generator(False)
    name = f"{generator.names[1]}.down_filter"
    generator[name] = generator[name].flip(0) + 0.01
    file = written(tmp_path, generator, monkeypatch)
    assert main(["import", "stylegan3", str(file), "--out", str(tmp_path / "run")]) == 2
    assert f"the filter 'G_ema.{name}' in" in capsys.readouterr().err
