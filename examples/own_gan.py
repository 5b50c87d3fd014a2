"""A GAN of one's own on jaxgan's engine: two networks and an objective; resuming, plots and samples come with it.

python examples/own_gan.py --workdir runs/own_gan
"""

import argparse

import flax.linen as nn

from jaxgan import adversarial
from jaxgan.data import open_source
from jaxgan.nets.spectral import spectral_norm
from jaxgan.train import Options, sample, save_grid, train


class Generator(nn.Module):
    """Latent [B, L] and label to pictures [B, 8, 8, 1] in [-1, 1]."""

    @nn.compact
    def __call__(self, latent, label, train):
        x = nn.relu(nn.Dense(4 * 4 * 64)(latent)).reshape(-1, 4, 4, 64)
        x = nn.relu(nn.ConvTranspose(32, (4, 4), (2, 2))(x))
        return nn.tanh(nn.Conv(1, (3, 3))(x))


class Critic(nn.Module):
    """Pictures [B, 8, 8, 1] to logits [B]; every kernel has spectral norm 1."""

    @nn.compact
    def __call__(self, x, label, train):
        for width in (32, 64):
            x = nn.leaky_relu(spectral_norm(nn.Conv)(width, (3, 3), strides=2)(x), 0.1)
        return spectral_norm(nn.Dense)(1)(x.reshape(len(x), -1))[:, 0]


def main(workdir: str, steps: int = 2000, batch: int = 64, grid: int = 64):
    source = open_source("digits")
    options = adversarial.Options(latent_dim=16, batch_size=batch, critic_steps=1)
    game = adversarial.two_player(
        options, source.spec, generator=Generator(), critic=Critic(), objective="hinge"
    )
    result = train(game, source, workdir, Options(steps=steps, grid=grid))
    pictures = sample(result.engine, result.state, grid, seed=0)["image"]
    save_grid(f"{workdir}/own.png", pictures)
    return pictures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", default="runs/own_gan")
    parser.add_argument("--steps", type=int, default=2000)
    args = parser.parse_args()
    main(args.workdir, args.steps)
