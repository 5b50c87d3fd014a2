"""The same game as `jaxgan.models.stylegan2` plays, in plain PyTorch, written from the papers and tuned for speed.

Tuned: channels-last tensors and weights, styles as scales of the activations around a shared convolution (as in
jaxgan), filters as shifted sums (depthwise convolutions, with their second order, took up to ten times as long on two
CPU cores), gradients set to None, the fused Adam, autocast to bfloat16, and `torch.compile` of generator and critic
where it is asked for. Its regularisers' second derivatives are beyond `torch.compile`: there, the same networks run as
they are.
"""

from __future__ import annotations

import contextlib
import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn


def channels(resolution: int, base: int, maximum: int) -> int:
    return max(1, min(base // resolution, maximum))


def lrelu(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, 0.2) * math.sqrt(2.0)


def fir(x: torch.Tensor, pad: int, gain: float = 1.0, stride: int = 1) -> torch.Tensor:
    """[1, 3, 3, 1] / 8 along both axes, as shifted sums."""
    x = F.pad(x, (pad,) * 4)
    outer, inner = math.sqrt(gain) / 8, 3 * math.sqrt(gain) / 8
    for axis in (2, 3):
        num = (x.shape[axis] - 4) // stride + 1
        taps = [x.narrow(axis, t, stride * (num - 1) + 1) for t in range(4)]
        if stride > 1:
            taps = [tap[:, :, ::stride] if axis == 2 else tap[..., ::stride] for tap in taps]
        x = (taps[0] + taps[3]) * outer + (taps[1] + taps[2]) * inner
    return x


def enlarge(x: torch.Tensor) -> torch.Tensor:
    """To twice the size, by zeros and the filter: two of its taps for each pixel."""
    for axis in (2, 3):
        n = x.shape[axis]
        wide = F.pad(x, (0, 0, 1, 1) if axis == 2 else (1, 1, 0, 0))
        before, after = wide.narrow(axis, 0, n), wide.narrow(axis, 2, n)
        phases = (0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after)
        x = torch.stack(phases, axis + 1).flatten(axis, axis + 1)
    return x


class Dense(nn.Module):
    def __init__(self, inputs: int, outputs: int, lr: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr)
        self.bias = nn.Parameter(torch.full((outputs,), bias / lr))
        self.scale, self.lr = lr / math.sqrt(inputs), lr

    def forward(self, x):
        return F.linear(x, self.weight * self.scale, self.bias * self.lr)


class Conv(nn.Module):
    """Equalised; to half the size if `down`."""

    def __init__(self, inputs, outputs, size=3, down=False, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale, self.size, self.down = 1 / math.sqrt(inputs * size**2), size, down

    def forward(self, x):
        weight = self.weight * self.scale
        if not self.down:
            return F.conv2d(x, weight, self.bias, padding=self.size // 2)
        if self.size == 1:
            return F.conv2d(fir(x, 1, stride=2), weight, self.bias)
        return F.conv2d(fir(x, 2), weight, self.bias, stride=2)


class ModulatedConv(nn.Module):
    def __init__(self, inputs, outputs, style_dim, size=3, up=False, demodulate=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.style = Dense(style_dim, inputs, bias=1.0)
        self.scale, self.size = 1 / math.sqrt(inputs * size**2), size
        self.up, self.demodulate = up, demodulate

    def forward(self, x, w):
        weight, style = self.weight * self.scale, self.style(w)
        x = x * style[:, :, None, None].to(x.dtype)
        if self.up:
            x = fir(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 1, gain=4.0)
        else:
            x = F.conv2d(x, weight, padding=self.size // 2)
        if self.demodulate:
            square = weight.float().square().sum((2, 3))
            deviation = (style.float().square() @ square.T + 1e-8).rsqrt()
            x = x * deviation[:, :, None, None].to(x.dtype)
        return x


class StyledConv(nn.Module):
    def __init__(self, inputs, outputs, style_dim, up=False):
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, style_dim, up=up)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x, w):
        x = self.conv(x, w)
        noise = torch.randn(x.shape[0], 1, *x.shape[2:], device=x.device)
        return lrelu(x + (self.strength * noise).to(x.dtype) + self.bias[:, None, None].to(x.dtype))


class ToPicture(nn.Module):
    def __init__(self, inputs, outputs, style_dim):
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, style_dim, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x, w):
        return self.conv(x, w).float() + self.bias[:, None, None]


class Mapping(nn.Module):
    def __init__(self, latent_dim, style_dim, layers, lr):
        super().__init__()
        sizes = [latent_dim] + [style_dim] * layers
        self.layers = nn.ModuleList(Dense(i, o, lr) for i, o in itertools.pairwise(sizes))

    def forward(self, z):
        x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            x = lrelu(layer(x))
        return x


class Synthesis(nn.Module):
    def __init__(self, resolution, style_dim, base, maximum):
        super().__init__()
        width = channels(4, base, maximum)
        self.constant = nn.Parameter(torch.randn(1, width, 4, 4))
        self.ups, self.convs, self.pictures = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        size = 4
        while size <= resolution:
            before, width = width, channels(size, base, maximum)
            if size > 4:
                self.ups.append(StyledConv(before, width, style_dim, up=True))
            self.convs.append(StyledConv(width, width, style_dim))
            self.pictures.append(ToPicture(width, 3, style_dim))
            size *= 2

    def forward(self, w):
        """w: [B, styles, D]."""
        x = self.constant.expand(w.shape[0], -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.convs[0](x, w[:, 0])
        picture = self.pictures[0](x, w[:, 1])
        for i, (up, conv, added) in enumerate(
            zip(self.ups, self.convs[1:], self.pictures[1:], strict=True)
        ):
            x = conv(up(x, w[:, 2 * i + 1]), w[:, 2 * i + 2])
            picture = enlarge(picture) + added(x, w[:, 2 * i + 3])
        return picture


class Critic(nn.Module):
    def __init__(self, resolution, base, maximum, group):
        super().__init__()
        width = channels(resolution, base, maximum)
        self.group = group
        self.input = Conv(3, width, 1)
        self.blocks = nn.ModuleList()
        size = resolution
        while size > 4:
            half = channels(size // 2, base, maximum)
            block = (
                Conv(width, width),
                Conv(width, half, down=True),
                Conv(width, half, 1, True, False),
            )
            self.blocks.append(nn.ModuleList(block))
            width, size = half, size // 2
        self.conv, self.dense = Conv(width + 1, width), Dense(16 * width, width)
        self.output = Dense(width, 1)

    def forward(self, x):
        x = lrelu(self.input(x))
        for conv, down, skip in self.blocks:
            x = (lrelu(down(lrelu(conv(x)))) + skip(x)) * math.sqrt(0.5)
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            b, c, h, w = x.shape
            groups = x.reshape(self.group, -1, c, h, w)
            deviation = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
            deviation = deviation.repeat(self.group)[:, None, None, None].expand(b, 1, h, w)
            x = lrelu(self.conv(torch.cat([x, deviation], 1)))
            return self.output(lrelu(self.dense(x.flatten(1))))[:, 0]


class Game:
    """The four turns of an unconditional game without augmentation; `options` are jaxgan's."""

    def __init__(self, options, resolution: int, device: str, compiled: bool):
        torch.manual_seed(0)
        self.options, self.device = options, device
        self.styles = 2 * resolution.bit_length() - 4
        width = options.channel_base, options.channel_max
        self.mapping = Mapping(
            options.latent_dim,
            options.style_dim,
            options.mapping_layers,
            options.mapping_lr_multiplier,
        ).to(device)
        self.synthesis = Synthesis(resolution, options.style_dim, *width).to(device)
        group = min(options.minibatch_std_group, options.batch_size)
        self.critic = Critic(resolution, *width, group).to(device)
        for net in (self.synthesis, self.critic):
            net.to(memory_format=torch.channels_last)
        self.generator = nn.ModuleList([self.mapping, self.synthesis])
        self.average = [p.detach().clone() for p in self.generator.parameters()]
        self.optimizers = {
            "critic": self._adam(self.critic, options.r1_every),
            "generator": self._adam(self.generator, options.path_every),
        }
        self.mean = torch.zeros((), device=device)
        self.style_mean = torch.zeros(options.style_dim, device=device)
        self.paint, self.judge = self.synthesis, self.critic
        if compiled:
            self.paint, self.judge = torch.compile(self.synthesis), torch.compile(self.critic)

    def _adam(self, net, every):
        c = every / (every + 1)
        betas = (self.options.beta1**c, self.options.beta2**c)
        return torch.optim.Adam(net.parameters(), c * self.options.learning_rate, betas, fused=True)

    def parameters(self) -> int:
        return sum(p.numel() for net in (self.generator, self.critic) for p in net.parameters())

    def precision(self):
        if self.options.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)

    def draw(self, num):
        """w [num, styles, D], and what the first latent maps to."""
        z = torch.randn(2 * num, self.options.latent_dim, device=self.device)
        one, other = self.mapping(z).chunk(2)
        place = torch.randint(1, self.styles, (num, 1), device=self.device)
        mixed = torch.rand(num, 1, device=self.device) < self.options.mixing
        layers = mixed & (torch.arange(self.styles, device=self.device)[None] >= place)
        return torch.where(layers[:, :, None], other[:, None], one[:, None]), one

    def decode(self, image):
        return image.to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1

    def play_critic(self, image):
        with self.precision():
            with torch.no_grad():
                fake = self.paint(self.draw(len(image))[0])
            real_logits, fake_logits = self.judge(self.decode(image)), self.judge(fake)
            loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        self._step("critic", loss)

    def play_r1(self, image):
        with self.precision():
            real = self.decode(image).requires_grad_()
            (gradient,) = torch.autograd.grad(self.critic(real).sum(), real, create_graph=True)
        penalty = 0.5 * gradient.float().square().sum((1, 2, 3)).mean()
        self._step("critic", self.options.r1_every * self.options.r1_gamma * penalty)

    def play_generator(self, image):
        self.critic.requires_grad_(False)
        with self.precision():
            w, one = self.draw(len(image))
            loss = F.softplus(-self.judge(self.paint(w))).mean()
        self._step("generator", loss)
        self.critic.requires_grad_(True)
        decay = self.options.average_style_decay
        self.style_mean.lerp_(one.detach().float().mean(0), 1 - decay)

    def play_path(self, image):
        with self.precision():
            w, _ = self.draw(len(image) // self.options.path_batch_shrink)
            picture = self.synthesis(w)
            y = torch.randn_like(picture) / math.sqrt(picture.shape[2] * picture.shape[3])
            (gradient,) = torch.autograd.grad((picture * y).sum(), w, create_graph=True)
        lengths = gradient.float().square().sum(2).mean(1).sqrt()
        self.mean.lerp_(lengths.detach().mean(), 1 - self.options.path_mean_decay)
        penalty = (lengths - self.mean).square().mean()
        self._step("generator", self.options.path_every * self.options.path_weight * penalty)

    def play_average(self, image):
        half_life = 1000 * self.options.ema_half_life_kimg
        decay = 0.5 ** (len(image) / half_life)
        torch._foreach_lerp_(self.average, list(self.generator.parameters()), 1 - decay)

    def _step(self, player, loss):
        self.optimizers[player].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[player].step()
