"""The same games as `jaxgan.models.dcgan`, `sngan` and `wgan_gp` play at 32x32, in PyTorch, tuned for speed.

Tuned: channels-last tensors and weights, in-place ReLU wherever autograd allows it, one critic pass over real and
generated pictures together (two where it has batch normalisation), 1x1 shortcuts on the small side of a resampling, no
gradient for the player that rests, gradients set to None, the fused Adam, and a power iteration only where the game
asks for one. On a GPU, nothing in a round waits for it; bfloat16 is autocast's.

`rewritten=True` also gives it jaxgan's own rewrites (`jaxgan.resample`): a 3x3 convolution beside a resampling as one
4x4 convolution of stride 2, or its transpose.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


def spread(weight: torch.Tensor) -> torch.Tensor:
    """Sum of the four shifts of [O, C, 3, 3] into [O, C, 4, 4]."""
    rows = F.pad(weight, (0, 0, 0, 1)) + F.pad(weight, (0, 0, 1, 0))
    return F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))


class DownConv(nn.Conv2d):
    rewritten = False

    def forward(self, x):
        if self.rewritten:
            return F.conv2d(x, spread(self.weight) / 4, self.bias, stride=2, padding=1)
        return F.avg_pool2d(super().forward(x), 2)


class UpConv(nn.Conv2d):
    rewritten = False

    def forward(self, x):
        if self.rewritten:
            kernel = spread(self.weight.flip(2, 3)).transpose(0, 1)
            # The transpose of a convolution from `out_channels` to `in_channels`.
            return F.conv_transpose2d(x, kernel.contiguous(), self.bias, stride=2, padding=1)
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class GeneratorBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm0, self.norm1 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv0 = UpConv(width, width, 3, padding=1, bias=False)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x):
        y = self.conv0(F.relu(self.norm0(x), inplace=True))
        y = self.conv1(F.relu(self.norm1(y), inplace=True))
        return y + F.interpolate(self.shortcut(x), scale_factor=2, mode="nearest")


class Generator(nn.Module):
    def __init__(self, width: int, latent_dim: int = 128):
        super().__init__()
        self.width = width
        self.project = nn.Linear(latent_dim, 16 * width)
        self.blocks = nn.Sequential(*(GeneratorBlock(width) for _ in range(3)))
        self.norm = nn.BatchNorm2d(width)
        self.output = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, latent):
        # Linear's outputs in the order of a channels-last picture.
        x = self.project(latent).view(-1, 4, 4, self.width).permute(0, 3, 1, 2)
        x = self.blocks(x)
        return torch.tanh(self.output(F.relu(self.norm(x), inplace=True)))


class CriticBlock(nn.Module):
    def __init__(self, inputs: int, width: int, down: bool, first: bool, norm):
        super().__init__()
        self.down, self.first = down, first
        self.conv0 = norm(nn.Conv2d(inputs, width, 3, padding=1))
        self.conv1 = norm((DownConv if down else nn.Conv2d)(width, width, 3, padding=1))
        self.shortcut = norm(nn.Conv2d(inputs, width, 1)) if down else None

    def forward(self, x):
        # The input is kept for the shortcut, so this ReLU cannot be in place.
        y = F.relu(self.conv0(x if self.first else F.relu(x)), inplace=True)
        y = self.conv1(y)
        if self.down:
            x = self.shortcut(F.avg_pool2d(x, 2))
        return y + x


class Critic(nn.Module):
    def __init__(self, width: int, spectral: bool):
        super().__init__()

        def norm(layer):
            return spectral_norm(layer) if spectral else layer

        self.mean = not spectral
        self.blocks = nn.Sequential(
            CriticBlock(3, width, True, True, norm),
            CriticBlock(width, width, True, False, norm),
            CriticBlock(width, width, False, False, norm),
            CriticBlock(width, width, False, False, norm),
        )
        self.output = norm(nn.Linear(width, 1, bias=not spectral))

    def forward(self, x):
        x = F.relu(self.blocks(x), inplace=True)
        x = x.mean((2, 3)) if self.mean else x.sum((2, 3))
        return self.output(x)[:, 0]


class ConvGenerator(nn.Module):
    """The SN-GAN paper's Table 3, as DCGAN plays it: transposed 4x4 convolutions of stride 2."""

    def __init__(self, width: int, latent_dim: int = 100):
        super().__init__()
        self.top = 8 * width
        self.project = nn.Linear(latent_dim, 16 * self.top)
        layers: list[nn.Module] = []
        for channels in (self.top, self.top // 2, self.top // 4):
            up = nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1, bias=False)
            layers += [up, nn.BatchNorm2d(channels // 2), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1), nn.Tanh())

    def forward(self, latent):
        x = self.project(latent).view(-1, 4, 4, self.top).permute(0, 3, 1, 2)
        return self.layers(x)


class ConvCritic(nn.Module):
    """The same table's critic, with batch normalisation after every convolution."""

    def __init__(self, width: int, leak: float = 0.2):
        super().__init__()
        layers: list[nn.Module] = []

        def conv(inputs: int, outputs: int, kernel: int, stride: int):
            plain = nn.Conv2d(inputs, outputs, kernel, stride, padding=1, bias=False)
            layers.extend([plain, nn.BatchNorm2d(outputs), nn.LeakyReLU(leak, inplace=True)])

        inputs = 3
        for features in (width, 2 * width, 4 * width):
            conv(inputs, features, 3, 1)
            conv(features, features, 4, 2)
            inputs = features
        conv(inputs, 8 * width, 3, 1)
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(16 * 8 * width, 1)

    def forward(self, x):
        return self.output(self.layers(x).flatten(1))[:, 0]


def hinge(real, fake):
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def wasserstein(real, fake):
    return fake.mean() - real.mean()


def non_saturating(real, fake):
    return F.softplus(-real).mean() + F.softplus(fake).mean()


class Rules(NamedTuple):
    """What the games differ in; the defaults are those of `sngan`."""

    generator: Callable[[int], nn.Module] = Generator
    critic: Callable[[int], nn.Module] = lambda width: Critic(width, spectral=True)
    widths: tuple[int, int] = (256, 128)
    latent_dim: int = 128
    critic_loss: Callable = hinge
    generator_loss: Callable = lambda fake: -fake.mean()
    penalty: float = 0.0
    critic_steps: int = 5
    multiple: int = 2  # images of a generator step, as a multiple of the batch
    betas: tuple[float, float] = (0.0, 0.9)
    together: bool = True  # real and generated pictures in one critic pass
    dequantised: bool = True


RULES = {
    "sngan": Rules(),
    "wgan_gp": Rules(
        critic=lambda width: Critic(width, spectral=False),
        widths=(128, 128),
        critic_loss=wasserstein,
        penalty=10.0,
    ),
    "dcgan": Rules(
        generator=ConvGenerator,
        critic=ConvCritic,
        widths=(64, 64),
        latent_dim=100,
        critic_loss=non_saturating,
        generator_loss=lambda fake: F.softplus(-fake).mean(),
        critic_steps=1,
        multiple=1,
        betas=(0.5, 0.999),
        together=False,
        dequantised=False,
    ),
}


class Game:
    """A game of `RULES`.

    Args:
      model: "dcgan" (non-saturating, batch normalisation), "sngan" (hinge, spectral normalisation) or "wgan_gp"
        (Wasserstein, penalty of weight 10).
      batch_size: real images of one critic step.
      rewritten: with jaxgan's own rewrites; those of `dcgan` have none.
      compiled: by `torch.compile`.
      device: "cpu" or "cuda".
      dtype: "float32" or "bfloat16".
      width: of both networks; 0 for the papers'.
    """

    def __init__(
        self,
        model: str,
        batch_size: int,
        rewritten: bool = False,
        compiled: bool = False,
        device: str = "cpu",
        dtype: str = "float32",
        width: int = 0,
    ):
        torch.manual_seed(0)
        self.rules, self.batch_size = RULES[model], batch_size
        self.device, self.dtype = device, dtype
        generator, critic = self.rules.widths
        self.generator = self.rules.generator(width or generator)
        self.critic = self.rules.critic(width or critic)
        for module in (*self.generator.modules(), *self.critic.modules()):
            if isinstance(module, DownConv | UpConv):
                module.rewritten = rewritten
        for net in (self.generator, self.critic):
            net.to(device=device, memory_format=torch.channels_last)
        self.optimizers = [
            torch.optim.Adam(net.parameters(), lr=2e-4, betas=self.rules.betas, fused=True)
            for net in (self.generator, self.critic)
        ]
        self.generate, self.judge = self.generator, self.critic
        if compiled:
            # The penalty's second derivative is beyond torch.compile: its critic stays eager.
            self.generate = torch.compile(self.generator)
            self.judge = self.critic if self.rules.penalty else torch.compile(self.critic)

    def parameters(self) -> int:
        return sum(p.numel() for net in (self.generator, self.critic) for p in net.parameters())

    def precision(self):
        if self.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device, torch.bfloat16)

    def latents(self, num: int) -> torch.Tensor:
        return torch.randn(num, self.rules.latent_dim, device=self.device)

    def critic_step(self, images: torch.Tensor):
        """`images`: uint8 [B, 32, 32, 3]."""
        # Channels-last in memory already.
        real = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
        if self.rules.dequantised:
            real = real / 128 - 1
            real += torch.rand_like(real) / 128
        else:
            real = real / 127.5 - 1
        self._move_statistics(False)
        with self.precision():
            with torch.no_grad():
                fake = self.generate(self.latents(self.batch_size)).float()
            self.critic.train()  # spectral vectors move
            if self.rules.together:
                logits = self.judge(torch.cat([real, fake])).float().chunk(2)
            else:
                logits = self.judge(real).float(), self.judge(fake).float()
            loss = self.rules.critic_loss(*logits)
            if self.rules.penalty:
                loss = loss + self.rules.penalty * self._penalty(real, fake)
        self._step(1, loss)
        return loss.detach()

    def generator_step(self):
        self._move_statistics(True)
        # Spectral vectors stand still. Batch normalisation goes on with the statistics of the batch.
        self.critic.train(not self.rules.together)
        self.critic.requires_grad_(False)
        with self.precision():
            latents = self.latents(self.rules.multiple * self.batch_size)
            loss = self.rules.generator_loss(self.judge(self.generate(latents).float()).float())
        self._step(0, loss)
        self.critic.requires_grad_(True)
        return loss.detach()

    def round(self, batches) -> list[torch.Tensor]:
        """The losses; does not wait for the device."""
        steps = range(self.rules.critic_steps)
        losses = [self.critic_step(torch.from_numpy(next(batches)["image"])) for _ in steps]
        return [*losses, self.generator_step()]

    def _penalty(self, real, fake):
        alpha = torch.rand(real.shape[0], 1, 1, 1, device=self.device)
        between = torch.lerp(real, fake, alpha).requires_grad_()
        (gradient,) = torch.autograd.grad(self.judge(between).sum(), between, create_graph=True)
        return ((gradient.float().flatten(1).norm(dim=1) - 1) ** 2).mean()

    def _step(self, player: int, loss):
        self.optimizers[player].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[player].step()

    def _move_statistics(self, moving: bool):
        """In the critic's turn the running statistics of the generator stand still."""
        for module in self.generator.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1 if moving else 0.0
