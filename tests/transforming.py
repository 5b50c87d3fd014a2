"""A model that learns one number: it generates, transforms and has tools, so that what carries those can be tested."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.game import Game, Loss, Player, Stage, Turn
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


def game(options, spec):
    def gained(network, pictures):
        return network["params"]["gain"] * (pictures.astype(jnp.float32) / 127.5 - 1)

    def loss(params, variables, batch, key):
        target = batch["image"].astype(jnp.float32) / 127.5 - 1
        value = jnp.mean(
            jnp.square(gained({"params": params["generator"]}, batch["image"]) - target)
        )
        return Loss(value, {}, {"gain": params["generator"]["gain"]})

    def generate(networks, key, num, labels, *, brightness, grey):
        noise = jax.random.uniform(key, (num, *spec.shape), minval=-0.5, maxval=0.5)
        return jnp.clip((0.0 if grey else 1.0) * noise + brightness, -1, 1)

    def transform(networks, key, batch):
        noise = options.noise * jax.random.normal(key, batch["image"].shape)
        return gained(networks["generator"], batch["image"]) + noise

    def fade(networks, key, *, frames, start):
        levels = np.linspace(start, 1, frames, dtype=np.float32)
        made = np.broadcast_to(levels[:, None, None, None], (frames, *spec.shape))
        gain = float(networks["generator"]["params"]["gain"])
        return Made(made, columns=frames, film=True, numbers={"gain": gain}, arrays={"w": levels})

    def mix(networks, key, image, other=None, *, share):
        if other is not None and other.shape != image.shape:
            raise ValueError(f"other is {other.shape}; give a picture of the size of image.")
        other = np.zeros_like(image) if other is None else other
        return Made(np.stack([image, other, share * image + (1 - share) * other]), columns=3)

    def negative(networks, key, image):
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
    frozen = Player(lambda key: {"params": {"unused": jnp.zeros(3)}}, None)
    learner = Player(
        lambda key: {"params": {"gain": jnp.float32(0.5)}}, optax.sgd(options.learning_rate)
    )
    turn = Turn(("generator",), loss)
    last = Stage((turn,), options.batch_size)
    early = [
        Stage((turn,), options.batch_size, until=2 * i + 2, resolution=spec.shape[0] // 2)
        for i in range(options.stages - 1)
    ]
    return Game(
        {"generator": learner, "perceptual": frozen},
        (*early, last),
        generate if options.generates else None,
        spec.shape,
        options={
            "brightness": Option(0.0, "added to every pixel", least=-1, most=1),
            "grey": Option(False, "without noise"),
        }
        if options.generates
        else {},
        transform=transform if options.transforms else None,
        tools=made if options.has_tools else {},
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
