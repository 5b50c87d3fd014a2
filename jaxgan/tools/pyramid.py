"""What a person makes with a pyramid of networks that has learnt one picture.

    sample              random pictures of any size
    super_resolution    the picture enlarged, with more detail
    harmonisation       an object pasted into it, made one with it
    editing             the picture with parts moved about
    paint_to_image      a photograph from a painting
    animation           a film of the picture moving

Source: Shaham et al., SinGAN: Learning a Generative Model from a Single Natural Image (2019), Section 4.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nets import singan as nets
from jaxgan.options import Option, OptionError
from jaxgan.tools import Made, Tool

MOST_PIXELS = 16_384  # of a side: more is a slip, and would fill the memory


def pyramid_tools(ladder: nets.Ladder, top: int) -> dict[str, Tool]:
    """The tools of a game of such a pyramid, whose finest scale is `top`."""

    def given(picture):
        """A picture of the user's, [1, h, w, C]."""
        if picture.shape[-1] != ladder.shape[2]:
            raise ValueError(
                f"the picture 'picture' has {picture.shape[-1]} channels and the picture that was learnt"
                f" {ladder.shape[2]}; convert it to as many."
            )
        return jnp.asarray(picture)[None]

    def sample(networks, key, *, num, height, width, noise):
        size = round(height * ladder.shape[0]), round(width * ladder.shape[1])
        for name, factor, side in (("height", height, size[0]), ("width", width, size[1])):
            if not 1 <= side <= MOST_PIXELS:
                problem = f"of the learnt picture's own, that is {side:,} pixels, not 1 to {MOST_PIXELS:,}"
                raise OptionError(name, factor, problem, {name: 1.5})
        shapes = ladder.pyramid.shapes(size)
        make = jax.jit(
            lambda networks, key: ladder.samples(networks, key, num, shapes=shapes, noise=noise)
        )
        return Made(np.asarray(make(networks, key)))

    def super_resolution(networks, key, *, factor, noise, picture=None):
        image = ladder.picture(networks) if picture is None else given(picture)
        if factor * max(image.shape[1:3]) > MOST_PIXELS:
            most = MOST_PIXELS / max(image.shape[1:3])
            problem = f"that makes more than {MOST_PIXELS:,} pixels of a side"
            raise OptionError("factor", factor, problem, {"factor": math.floor(100 * most) / 100})
        larger, times = ladder.enlarge(networks, key, image, factor, noise)
        return Made(np.asarray(larger), numbers={"enlarged_times": times})

    def repaint(
        networks, key, *, picture, mask=None, scale, num, noise, grow=0, blur=0.0, palette=False
    ):
        if not top:
            raise ValueError(
                "a picture is injected above the coarsest scale, and this pyramid has no other; train one with a"
                " smaller model.min_size."
            )
        image, learnt = nets.resize(given(picture), ladder.shape[:2]), ladder.picture(networks)
        if palette:
            image = nets.quantise(image, nets.palette(nets.resize(learnt, ladder.shapes[scale])[0]))
        make = jax.jit(
            lambda networks, key, image: ladder.samples(
                networks, key, num, noise=noise, start=scale, image=image
            )
        )
        made = make(networks, key, image)
        if mask is not None:
            mask = nets.resize(jnp.asarray(mask)[None], ladder.shape[:2])[0]
            inside = nets.soften(jnp.mean(mask, axis=-1), grow, blur)
            made = learnt + inside[None, :, :, None] * (made - learnt)
        return Made(np.asarray(made))

    def animation(networks, key, *, frames, start, alpha, beta):
        begin_key, key = jax.random.split(key)
        walk = jax.jit(ladder.begin_walk)(networks, begin_key)
        step = jax.jit(partial(ladder.walk, start=start, alpha=alpha, beta=beta))
        film = []
        for t in range(frames):
            picture, walk = step(networks, jax.random.fold_in(key, t), walk)
            film.append(np.asarray(picture[0]))
        return Made(np.stack(film), film=True)

    options = tool_options(ladder.shape, top)
    return {
        "sample": Tool(
            sample,
            "random pictures of any size: height and width are factors of the learnt picture's",
            options["sample"],
        ),
        "super_resolution": Tool(
            super_resolution,
            "the learnt picture (or yours, of the same kind) enlarged, with detail from the finest scale",
            options["super_resolution"],
            optional_pictures=("picture",),
        ),
        "harmonisation": Tool(
            repaint,
            "an object pasted into the learnt picture, in its manner; the mask is white where the object is",
            options["harmonisation"],
            pictures=("picture", "mask"),
        ),
        "editing": Tool(
            repaint,
            "the learnt picture with parts moved about, made natural; the mask is white where it was edited",
            options["editing"],
            pictures=("picture",),
            optional_pictures=("mask",),
        ),
        "paint_to_image": Tool(
            repaint,
            "a photograph from a painting; palette=true first puts it in the colours of the learnt picture",
            options["paint_to_image"],
            pictures=("picture",),
        ),
        "animation": Tool(
            animation,
            "a film of the learnt picture moving: a random walk of the noise from scale `start` on",
            options["animation"],
        ),
    }


def tool_options(shape: tuple[int, ...], top: int) -> dict[str, dict[str, Option]]:
    """The options of each tool, for a learnt picture of that shape and the finest scale `top`."""
    middle, share = max(1, top // 2), max(shape[:2]) / 250
    noise = noise_option()
    scale = Option(
        middle,
        "scale that takes the picture, counted from the coarsest, 0: the higher, the more is kept of it",
        least=1,
        most=max(1, top),
    )
    injected = {"scale": scale, "num": Option(1, "pictures", least=1), "noise": noise}
    blur = Option(5 * share, "pixels by which the border of the mask is softened", least=0)
    masked = {**injected, "blur": blur}
    grow = Option(round(7 * share), "pixels by which the mask is enlarged", least=0)
    factor = "of the pictures, as a factor of the learnt picture's"

    return {
        "sample": {
            "num": Option(16, "pictures", least=1),
            "height": Option(1.0, f"height {factor}", above=0),
            "width": Option(1.0, f"width {factor}", above=0),
            "noise": noise,
        },
        "super_resolution": {
            "factor": Option(4.0, "how many times as large", above=1),
            "noise": noise,
        },
        "harmonisation": {**masked, "grow": grow},
        "editing": {**masked, "grow": dataclasses.replace(grow, default=round(20 * share))},
        "paint_to_image": {
            **injected,
            "scale": dataclasses.replace(scale, default=1),
            "palette": Option(False, "reduce the painting to the colours of the learnt picture"),
        },
        "animation": {
            "frames": Option(100, "frames of the film", least=1),
            "start": Option(
                top // 4,
                "scale from which the noise moves; the higher, the less",
                least=0,
                most=top,
            ),
            "alpha": Option(
                0.1, "share of the learnt picture's noise in each frame", least=0, most=1
            ),
            "beta": Option(
                0.9, "share of the last frame's motion in the next one", least=0, most=1
            ),
        },
    }


def noise_option() -> Option:
    """The option of how much noise is drawn."""
    return Option(1.0, "strength of the noise, as a factor of what it was in training", least=0)
