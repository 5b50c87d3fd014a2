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

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nets import singan as nets
from jaxgan.tools import Made, Tool, at_least

MOST_PIXELS = 16_384  # of a side: more is a slip, and would fill the memory


def pyramid_tools(ladder: nets.Ladder, top: int) -> dict[str, Tool]:
    """The tools of a game of such a pyramid, whose finest scale is `top`."""

    def given(picture):
        """A picture of the user's, [1, h, w, C]."""
        if picture.shape[-1] != ladder.shape[2]:
            raise ValueError(
                f"--pictures.picture has {picture.shape[-1]} channels and the picture that was learnt"
                f" {ladder.shape[2]}; convert it to as many."
            )
        return jnp.asarray(picture)[None]

    def sample(networks, key, *, num, height, width, noise):
        at_least(1, num=num)
        size = round(height * ladder.shape[0]), round(width * ladder.shape[1])
        if not 1 <= min(size) <= max(size) <= MOST_PIXELS:
            raise ValueError(
                f"--options.height={height:g} and --options.width={width:g} make pictures of {size[0]} x {size[1]}"
                f" pixels; they are factors of the picture's own size: give some like 1.5, for at most {MOST_PIXELS:,}."
            )
        shapes = ladder.pyramid.shapes(size)
        make = jax.jit(
            lambda networks, key: ladder.samples(networks, key, num, shapes=shapes, noise=noise)
        )
        return Made(np.asarray(make(networks, key)))

    def super_resolution(networks, key, *, factor, noise, picture=None):
        if factor <= 1:
            raise ValueError(f"--options.factor={factor:g} does not enlarge; give more than 1.")
        image = ladder.picture(networks) if picture is None else given(picture)
        if factor * max(image.shape[1:3]) > MOST_PIXELS:
            raise ValueError(
                f"--options.factor={factor:g} makes more than {MOST_PIXELS:,} pixels of a side; give less."
            )
        larger, times = ladder.enlarge(networks, key, image, factor, noise)
        return Made(np.asarray(larger), numbers={"enlarged_times": times})

    def repaint(
        networks, key, *, picture, mask=None, scale, num, noise, grow=0, blur=0.0, palette=False
    ):
        at_least(1, num=num)
        at_least(0, grow=grow)
        check_scale("scale", scale, top)
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
        at_least(0, start=start)
        at_least(1, frames=frames)
        if start:
            check_scale("start", start, top)
        begin_key, key = jax.random.split(key)
        walk = jax.jit(ladder.begin_walk)(networks, begin_key)
        step = jax.jit(partial(ladder.walk, start=start, alpha=alpha, beta=beta))
        film = []
        for t in range(frames):
            picture, walk = step(networks, jax.random.fold_in(key, t), walk)
            film.append(np.asarray(picture[0]))
        return Made(np.stack(film), film=True)

    middle, share = max(1, top // 2), max(ladder.shape[:2]) / 250
    injected = {"scale": middle, "num": 1, "noise": 1.0}
    masked = {**injected, "blur": 5 * share}
    return {
        "sample": Tool(
            sample,
            "random pictures of any size: height and width are factors of the learnt picture's",
            {"num": 16, "height": 1.0, "width": 1.0, "noise": 1.0},
        ),
        "super_resolution": Tool(
            super_resolution,
            "the learnt picture (or yours, of the same kind) enlarged, with detail from the finest scale",
            {"factor": 4.0, "noise": 1.0},
            optional_pictures=("picture",),
        ),
        "harmonisation": Tool(
            repaint,
            "an object pasted into the learnt picture, in its manner; the mask is white where the object is",
            {**masked, "grow": round(7 * share)},
            pictures=("picture", "mask"),
        ),
        "editing": Tool(
            repaint,
            "the learnt picture with parts moved about, made natural; the mask is white where it was edited",
            {**masked, "grow": round(20 * share)},
            pictures=("picture",),
            optional_pictures=("mask",),
        ),
        "paint_to_image": Tool(
            repaint,
            "a photograph from a painting; palette=true first puts it in the colours of the learnt picture",
            {**injected, "scale": 1, "palette": False},
            pictures=("picture",),
        ),
        "animation": Tool(
            animation,
            "a film of the learnt picture moving: a random walk of the noise from scale `start` on",
            {"frames": 100, "start": top // 4, "alpha": 0.1, "beta": 0.9},
        ),
    }


def check_scale(name: str, scale: int, top: int) -> None:
    if not 1 <= scale <= top:
        raise ValueError(
            f"--options.{name}={scale}: a picture is injected above the coarsest scale, and this pyramid has scales 0"
            f" to {top}; give another, or train with a smaller --config.model.min_size."
        )
