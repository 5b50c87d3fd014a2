"""Tools of a pyramid of networks that was trained on one picture.

    sample              random pictures of any size
    super_resolution    the picture enlarged, with more detail
    harmonisation       a pasted object adapted to the picture
    editing             the picture with some parts moved
    paint_to_image      a photograph from a painting
    animation           a film in which the picture moves

Source: Shaham et al., SinGAN: Learning a Generative Model from a Single Natural Image (2019), Section 4.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.game import Play
from jaxgan.nets import singan as nets
from jaxgan.options import Option, OptionError
from jaxgan.tools import Made, Tool, compiled

MOST_PIXELS = (
    16_384  # largest side of a picture: more is likely a mistake and would exceed the memory
)


def pyramid_tools(ladder: nets.Ladder) -> dict[str, Tool]:
    """The tools of a game with the generators of a `Ladder`."""
    make, options = PyramidTools(ladder), tool_options(ladder.shape, ladder.top)
    return {
        "sample": Tool(
            make.sample,
            "random pictures of any size; height and width are multiples of those of the training picture",
            options["sample"],
        ),
        "super_resolution": Tool(
            make.super_resolution,
            "the training picture (or a similar given picture) enlarged, with detail from the finest scale",
            options["super_resolution"],
            optional_pictures=("picture",),
        ),
        "harmonisation": Tool(
            make.repaint,
            "an object pasted into the training picture, adapted to its style; the mask is white at the object",
            options["harmonisation"],
            pictures=("picture", "mask"),
        ),
        "editing": Tool(
            make.repaint,
            "an edited training picture, made realistic; the mask is white where it was edited",
            options["editing"],
            pictures=("picture",),
            optional_pictures=("mask",),
        ),
        "paint_to_image": Tool(
            make.repaint,
            "a photograph from a painting; palette=true first quantises it to the training picture's colours",
            options["paint_to_image"],
            pictures=("picture",),
        ),
        "animation": Tool(
            make.animation,
            "a film in which the training picture moves: a random walk of the noise from scale `start` on",
            options["animation"],
        ),
    }


def tool_options(shape: tuple[int, ...], top: int) -> dict[str, dict[str, Option]]:
    """The options of each tool, for a training picture of that shape and the finest scale `top`."""
    middle, share = max(1, top // 2), max(shape[:2]) / 250
    noise = noise_option()
    scale = Option(
        middle,
        "scale at which the picture is injected, counted from the coarsest, 0; a higher scale changes it less",
        least=1,
        most=max(1, top),
    )
    injected = {"scale": scale, "num": Option(1, "pictures", least=1), "noise": noise}
    blur = Option(5 * share, "standard deviation in pixels of the blur of the mask", least=0)
    masked = {**injected, "blur": blur}
    grow = Option(round(7 * share), "number of pixels by which the mask is enlarged", least=0)
    factor = "of the pictures, as a multiple of the training picture's"

    return {
        "sample": {
            "num": Option(16, "pictures", least=1),
            "height": Option(1.0, f"height {factor}", above=0),
            "width": Option(1.0, f"width {factor}", above=0),
            **sampling(top),
        },
        "super_resolution": {
            "factor": Option(4.0, "factor by which the picture is enlarged", above=1),
            "noise": noise,
        },
        "harmonisation": {**masked, "grow": grow},
        "editing": {**masked, "grow": dataclasses.replace(grow, default=round(20 * share))},
        "paint_to_image": {
            **injected,
            "scale": dataclasses.replace(scale, default=1),
            "palette": Option(
                False, "quantise the painting to the main colours of the training picture"
            ),
        },
        "animation": {
            "frames": Option(100, "number of frames of the film", least=1),
            "start": Option(
                top // 4,
                "first scale whose noise changes; a higher scale gives less motion",
                least=0,
                most=top,
            ),
            "alpha": Option(
                0.1, "weight of the training picture's noise in each frame", least=0, most=1
            ),
            "beta": Option(
                0.9,
                "weight of the previous motion of the noise in the next motion",
                least=0,
                most=1,
            ),
        },
    }


def sampling(top: int) -> dict[str, Option]:
    """The options of random pictures, for a pyramid whose finest scale is `top`."""
    meaning = (
        "scale into which the training picture is injected, counted from the coarsest; 0 for none"
    )
    return {"scale_from": Option(0, meaning, least=0, most=top), "noise": noise_option()}


def noise_option() -> Option:
    """The option for the strength of the noise."""
    return Option(1.0, "strength of the noise relative to training", least=0)


@dataclasses.dataclass(frozen=True)
class PyramidTools:
    """The functions of the tools: methods (play, **options and pictures) -> Made."""

    ladder: nets.Ladder

    def sample(
        self,
        play: Play,
        *,
        num: int,
        height: float,
        width: float,
        scale_from: int,
        noise: float,
    ) -> Made:
        ladder = self.ladder
        size = round(height * ladder.shape[0]), round(width * ladder.shape[1])
        for name, factor, side in (("height", height, size[0]), ("width", width, size[1])):
            if not 1 <= side <= MOST_PIXELS:
                problem = (
                    f"that is {side:,} pixels for this training picture, not 1 to {MOST_PIXELS:,}"
                )
                raise OptionError(name, factor, problem, {name: 1.5})
        shapes = ladder.pyramid.shapes(size)
        return Made(self._samples(play, num, shapes=shapes, start=scale_from, noise=noise))

    def super_resolution(self, play: Play, *, factor: float, noise: float, picture=None) -> Made:
        image = self.ladder.picture(play.networks) if picture is None else self._given(picture)
        if factor * max(image.shape[1:3]) > MOST_PIXELS:
            most = MOST_PIXELS / max(image.shape[1:3])
            problem = f"that makes a side of more than {MOST_PIXELS:,} pixels"
            raise OptionError("factor", factor, problem, {"factor": math.floor(100 * most) / 100})
        level = nets.level_at(play.clock)
        larger, times = self.ladder.enlarge(play.networks, level, play.key, image, factor, noise)
        return Made(np.asarray(larger), numbers={"enlarged_times": times})

    def repaint(
        self,
        play: Play,
        *,
        picture: np.ndarray,
        mask: np.ndarray | None = None,
        scale: int,
        num: int,
        noise: float,
        grow: int = 0,
        blur: float = 0.0,
        palette: bool = False,
    ) -> Made:
        """Injects a picture at a scale; outside the mask, the result is the training picture."""
        if not self.ladder.top:
            raise ValueError(
                "a picture can be injected only above the coarsest scale, but this pyramid has one scale; train one"
                " with a smaller model.min_size."
            )
        size, learnt = self.ladder.shape[:2], self.ladder.picture(play.networks)
        image = nets.resize(self._given(picture), size)
        if palette:
            small = nets.resize(learnt, self.ladder.shapes[scale])[0]
            image = nets.quantise(image, nets.palette(small))
        made: Any = self._samples(play, num, image, start=scale, noise=noise)
        if mask is not None:
            shape = nets.resize(jnp.asarray(mask)[None], size)[0]
            inside = nets.soften(jnp.mean(shape, axis=-1), grow, blur)
            made = learnt + inside[None, :, :, None] * (made - learnt)
        return Made(np.asarray(made))

    def animation(self, play: Play, *, frames: int, start: int, alpha: float, beta: float) -> Made:
        begin_key, key = jax.random.split(play.key)
        walk = compiled(self.ladder.begin_walk, play.networks, begin_key)
        step = partial(compiled, self.ladder.walk, start=start, alpha=alpha, beta=beta)
        level, film = nets.level_at(play.clock), []
        for t in range(frames):
            picture, walk = step(play.networks, level, jax.random.fold_in(key, t), walk)
            film.append(np.asarray(picture[0]))
        return Made(np.stack(film), film=True)

    def _samples(self, play: Play, num: int, image: jax.Array | None = None, **how) -> np.ndarray:
        """`Ladder.samples`, compiled."""
        level = nets.level_at(play.clock)
        return np.asarray(
            compiled(self._made, play.networks, level, play.key, image, num=num, **how)
        )

    def _made(self, networks, level: jax.Array, key: jax.Array, image, *, num: int, **how):
        return self.ladder.samples(networks, level, key, num, image=image, **how)

    def _given(self, picture: np.ndarray) -> jax.Array:
        """A given picture as [1, h, w, C]; raises for another number of channels."""
        if picture.shape[-1] != self.ladder.shape[2]:
            raise ValueError(
                f"the picture 'picture' has {picture.shape[-1]} channels, but the training picture"
                f" has {self.ladder.shape[2]}; convert it."
            )
        return jnp.asarray(picture)[None]
