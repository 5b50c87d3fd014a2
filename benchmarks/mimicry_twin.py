"""The networks and the train steps of kwotsin/mimicry (MIT), from a checkout of it, trained on jaxgan's batches.

Only its networks and losses are imported, so the checkout needs none of the project's dependencies but PyTorch. A round
is the body of its `Trainer.train`: critic steps, each on its own batch, then a step of the generator; Adam with its
defaults, without decay. Samples are made with running batch statistics.
"""

from __future__ import annotations

import importlib
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch

from jaxgan.data import Pipeline, Source

NETWORKS = {"sngan": ("sngan_32", "SNGAN"), "wgan_gp": ("wgan_gp_32", "WGANGP")}
LEARNING_RATE, BETAS = 2e-4, (0.0, 0.9)
CRITIC_STEPS = 5
DEVICE = torch.device("cpu")
CHUNK = 250  # samples that are made at once


class _Log:
    """Takes the place of mimicry's log of metrics."""

    def add_metric(self, *args, **kwargs) -> None:
        pass


class Peer:
    """Mimicry's training of a model, from the file `save` has written if there is one.

    Attributes:
      step: rounds that have been played.
      seconds: of these rounds.
      curve: kept in the file, for the caller.
    """

    def __init__(
        self,
        checkout: Path,
        model: str,
        source: Source,
        widths: tuple[int, int],
        batch_size: int,
        seed: int,
        file: Path,
    ):
        if model not in NETWORKS:
            known = ", ".join(NETWORKS)
            raise SystemExit(f"no twin of {model} in mimicry; there are {known}")
        torch.manual_seed(seed)
        module, name = NETWORKS[model]
        nets = _import(checkout, f"torch_mimicry.nets.{model}.{module}")
        self.generator = getattr(nets, f"{name}Generator32")(ngf=widths[0])
        self.critic = getattr(nets, f"{name}Discriminator32")(ndf=widths[1])
        self.optimizers = [
            torch.optim.Adam(net.parameters(), LEARNING_RATE, BETAS)
            for net in (self.critic, self.generator)
        ]
        self.pipeline, self.batch_size, self.file = Pipeline(source, seed), batch_size, file
        self.step, self.seconds, self.curve = 0, 0.0, []
        if file.exists():
            self._load()

    def play(self, rounds: int) -> None:
        """Plays so many rounds."""
        batches = self.pipeline.iterate(self.step * CRITIC_STEPS, self.batch_size)
        (critic_optimizer, generator_optimizer), log = self.optimizers, _Log()
        start = time.monotonic()
        for _ in range(rounds):
            for _ in range(CRITIC_STEPS):
                real = _to_torch(next(batches)["image"]), None
                self.critic.train_step(real, self.generator, critic_optimizer, log, DEVICE)
            self.generator.train_step(real, self.critic, generator_optimizer, log, DEVICE)
        self.seconds += time.monotonic() - start
        self.step += rounds
        batches.close()

    def samples(self, num: int) -> np.ndarray:
        """Pictures, uint8 [num, 32, 32, 3]."""
        draws = torch.Generator().manual_seed(0)
        self.generator.eval()
        with torch.no_grad():
            latents = torch.randn((num, self.generator.nz), generator=draws).split(CHUNK)
            pictures = torch.cat([self.generator(latent) for latent in latents])
        self.generator.train()
        levels = ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return levels.permute(0, 2, 3, 1).numpy()

    def save(self) -> None:
        """Writes everything that a continuation needs."""
        parts = [self.generator, self.critic, *self.optimizers]
        facts = {"step": self.step, "seconds": self.seconds, "curve": self.curve}
        facts |= {"parts": [part.state_dict() for part in parts], "rng": torch.get_rng_state()}
        temporary = self.file.with_suffix(".part")
        torch.save(facts, temporary)
        temporary.replace(self.file)

    def _load(self) -> None:
        facts = torch.load(self.file, weights_only=True)
        self.step, self.seconds, self.curve = facts["step"], facts["seconds"], facts["curve"]
        parts = [self.generator, self.critic, *self.optimizers]
        for part, state in zip(parts, facts["parts"], strict=True):
            part.load_state_dict(state)
        torch.set_rng_state(facts["rng"])


def _import(checkout: Path, name: str):
    """A module of mimicry, without its `__init__`s, which import TensorFlow and all models."""
    if not (checkout / "torch_mimicry").is_dir():
        raise SystemExit(f"{checkout} is no checkout of kwotsin/mimicry; it has no torch_mimicry")
    for package in ("torch_mimicry", "torch_mimicry.nets"):
        stub = types.ModuleType(package)
        stub.__path__ = [str(checkout.joinpath(*package.split(".")))]
        sys.modules.setdefault(package, stub)
    return importlib.import_module(name)


def _to_torch(images: np.ndarray) -> torch.Tensor:
    """uint8 [B, H, W, C] to float32 [B, C, H, W] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()
