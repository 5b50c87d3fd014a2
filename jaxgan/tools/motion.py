"""Films of pictures that a generator moves: translations and rotations of its input.

The generator's `paint` must take a `transform` [B, 2, 3], see `jaxgan.nets.stylegan3.FourierInput`. Detail that is
attached to the pixels rather than to what is depicted stays in place in these films.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nets.stylegan3 import rotation, translation
from jaxgan.network import Network
from jaxgan.options import Option
from jaxgan.tools import Made, Tool
from jaxgan.tools.latents import Styles, every_layer, in_batches, truncate, truncation_options


def motion_tools(styles: Styles) -> dict[str, Tool]:
    """The tools "translation" and "rotation" of a style generator whose input can be transformed."""
    common = {
        "columns": Option(4, "latents, beside each other", least=1),
        "frames": Option(48, "frames of the film", least=2),
        **truncation_options(0.7, styles.num_styles),
    }
    translation_options = {
        "x": Option(0.1, "largest distance to the right, in sides of the picture"),
        "y": Option(0.0, "largest distance down, in sides of the picture"),
        **common,
    }
    rotation_options = {
        "angle": Option(360.0, "clockwise angle of all frames together, in degrees")
    }
    return {
        "translation": Tool(
            partial(_translation, styles),
            "pictures that move by (x, y), back, and by (-x, -y), as a film",
            styles.latents.options(**translation_options),
        ),
        "rotation": Tool(
            partial(_rotation, styles),
            "pictures that rotate, as a film",
            styles.latents.options(**rotation_options, **common),
        ),
    }


def _translation(styles: Styles, play, x: float, y: float, frames: int, **options) -> Made:
    phase = np.sin(2 * np.pi * np.arange(frames) / frames)
    shifts = jnp.asarray(phase[:, None] * np.array([[x, y]]), jnp.float32)
    return _film(styles, play, translation(shifts), **options)


def _rotation(styles: Styles, play, angle: float, frames: int, **options) -> Made:
    angles = np.radians(angle) * np.arange(frames) / frames
    return _film(styles, play, rotation(jnp.asarray(angles, jnp.float32)), **options)


def _film(
    styles: Styles, play, transforms, columns, truncation, truncation_layers, label=-1
) -> Made:
    """A frame for each transform [F, 2, 3], with `columns` pictures beside each other."""
    generator = play.networks["generator"]
    w = generator(*styles.latents.draw(play.key, columns, label), method="style")
    w = every_layer(w, styles.num_styles)
    w = truncate(w, generator["average"]["style"], truncation, truncation_layers)
    frames = len(transforms)
    pictures = in_batches(
        partial(_moved, generator), jnp.tile(w, (frames, 1, 1)), jnp.repeat(transforms, columns, 0)
    )
    height, width, channels = styles.sample_shape
    pictures = pictures.reshape(frames, columns, height, width, channels).swapaxes(1, 2)
    pictures = pictures.reshape(frames, height, columns * width, channels)
    return Made(
        pictures, film=True, arrays={"w": np.asarray(w), "transforms": np.asarray(transforms)}
    )


@jax.jit
def _moved(generator: Network, w: jax.Array, transform: jax.Array) -> jax.Array:
    return jnp.clip(generator(w, transform, method="paint"), -1.0, 1.0)
