"""A model that learns one number, with samples, transforms and tools: for tests of what shows and measures them."""

import dataclasses
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.game import Game, Loss, Output, Player, Stage, Turn
from jaxgan.options import Option, option
from jaxgan.tools import Made, Tool


@dataclasses.dataclass(frozen=True)
class Options:
    batch_size: int = option(8, "real images of one step", least=1)
    learning_rate: float = option(0.5, "learning rate", least=0)
    generates: bool = option(True, "has samples")
    transforms: bool = option(True, "has transforms")
    has_tools: bool = option(True, "has tools")
    stages: int = option(1, "stages, all but the last at half resolution, two rounds each", least=1)
    noise: float = option(0.1, "of the transforms, like that of dropout", least=0)


class Gain(nn.Module):
    @nn.compact
    def __call__(self, pictures):
        return self.param("gain", nn.initializers.constant(0.5), ()) * pictures


class Frozen(nn.Module):
    @nn.compact
    def __call__(self):
        return self.param("unused", nn.initializers.zeros, (3,))


def game(options, spec):
    def loss(play):
        generator, target = play.networks["generator"], play.batch["image"]
        value = jnp.mean(jnp.square(generator(target) - target))
        return Loss(value, {"gain": generator.params["gain"]})

    def samples(play, *, brightness, grey):
        noise = jax.random.uniform(play.key, (play.num, *spec.shape), minval=-0.5, maxval=0.5)
        return jnp.clip((0.0 if grey else 1.0) * noise + brightness, -1, 1)

    def transforms(play):
        pictures = play.batch["image"]
        noise = options.noise * jax.random.normal(play.key, pictures.shape)
        return play.networks["generator"](pictures) + noise

    def fade(play, *, frames, start):
        levels = np.linspace(start, 1, frames, dtype=np.float32)
        made = np.broadcast_to(levels[:, None, None, None], (frames, *spec.shape))
        gain = float(play.networks["generator"].params["gain"])
        return Made(made, columns=frames, film=True, numbers={"gain": gain}, arrays={"w": levels})

    def mix(play, image, other=None, *, share):
        if other is not None and other.shape != image.shape:
            raise ValueError(f"other is {other.shape}; give a picture of the size of image.")
        other = np.zeros_like(image) if other is None else other
        return Made(np.stack([image, other, share * image + (1 - share) * other]), columns=3)

    def negative(play, image):
        return Made(-image[None])

    made = {
        "fade": Tool(
            fade,
            "A film that grows bright.",
            {
                "frames": Option(3, "frames of the film", least=1),
                "start": Option(-1.0, "brightness of the first frame"),
            },
        ),
        "mix": Tool(
            mix,
            "The mean of two.",
            {"share": Option(0.5, "share of the image", least=0, most=1)},
            ("image",),
            ("other",),
        ),
        "negative": Tool(negative, "Of a colour picture.", pictures=("image",), channels=3),
    }
    outputs = {}
    if options.generates:
        outputs["samples"] = Output(
            samples,
            spec.shape,
            options={
                "brightness": Option(0.0, "added to every pixel", least=-1, most=1),
                "grey": Option(False, "without noise"),
            },
        )
    if options.transforms:
        outputs["transforms"] = Output(transforms, spec.shape, ("image",))
    pictures = jnp.zeros((1, *spec.shape))
    learner = Player(Gain(), (pictures,), optax.sgd(options.learning_rate))
    turn = Turn(("generator",), loss)
    early = [
        Stage((turn,), options.batch_size, until=2 * i + 2, resolution=spec.shape[0] // 2)
        for i in range(options.stages - 1)
    ]
    return Game(
        {"generator": learner, "perceptual": Player(Frozen(), ())},
        (*early, Stage((turn,), options.batch_size)),
        outputs,
        spec,
        made if options.has_tools else {},
    )


MODULE = SimpleNamespace(Options=Options, game=game)
CONFIG = """
def get_config():
    return {
        "model": {"name": "transforming"},
        "data": {"name": "digits"},
        "train": {"steps": 2, "grid": 4, "devices": 1, "log_every": 1},
    }
"""
