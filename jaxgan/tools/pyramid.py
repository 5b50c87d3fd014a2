"""Tools of a pyramid of networks that has learnt one picture.

    sample              random pictures of any size
    super_resolution    the picture enlarged, with more detail
    harmonisation       a pasted object adapted to the picture
    editing             the picture with parts moved about
    paint_to_image      a photograph from a painting
    animation           a film of the picture moving

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
from jaxgan.tools import Made, Tool

MOST_PIXELS = 16_384  # of a side: more is likely a mistake, and would exceed the memory


def pyramid_tools(ladder: nets.Ladder) -> dict[str, Tool]:
    """The tools of a game whose generators are such a ladder."""
    make, options = PyramidTools(ladder), tool_options(ladder.shape, ladder.top)
    return {
        "sample": Tool(
            make.sample,
            "random pictures of any size: height and width are factors of the learnt picture's",
            options["sample"],
        ),
        "super_resolution": Tool(
            make.super_resolution,
            "the learnt picture (or yours, of the same kind) enlarged, with detail from the finest scale",
            options["super_resolution"],
            optional_pictures=("picture",),
        ),
        "harmonisation": Tool(
            make.repaint,
            "an object pasted into the learnt picture, in its style; the mask is white where the object is",
            options["harmonisation"],
            pictures=("picture", "mask"),
        ),
        "editing": Tool(
            make.repaint,
            "the learnt picture with parts moved about, made natural; the mask is white where it was edited",
            options["editing"],
            pictures=("picture",),
            optional_pictures=("mask",),
        ),
        "paint_to_image": Tool(
            make.repaint,
            "a photograph from a painting; palette=true first quantises it to the learnt picture's colours",
            options["paint_to_image"],
            pictures=("picture",),
        ),
        "animation": Tool(
            make.animation,
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


@dataclasses.dataclass(frozen=True)
class PyramidTools:
    """How each tool makes its pictures: a method (play, **options and pictures) -> Made."""

    ladder: nets.Ladder

    def sample(self, play: Play, *, num: int, height: float, width: float, noise: float) -> Made:
        ladder = self.ladder
        size = round(height * ladder.shape[0]), round(width * ladder.shape[1])
        for name, factor, side in (("height", height, size[0]), ("width", width, size[1])):
            if not 1 <= side <= MOST_PIXELS:
                problem = f"of the learnt picture's own, that is {side:,} pixels, not 1 to {MOST_PIXELS:,}"
                raise OptionError(name, factor, problem, {name: 1.5})
        return Made(self._samples(play, num, shapes=ladder.pyramid.shapes(size), noise=noise))

    def super_resolution(self, play: Play, *, factor: float, noise: float, picture=None) -> Made:
        image = self.ladder.picture(play.networks) if picture is None else self._given(picture)
        if factor * max(image.shape[1:3]) > MOST_PIXELS:
            most = MOST_PIXELS / max(image.shape[1:3])
            problem = f"that makes more than {MOST_PIXELS:,} pixels of a side"
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
        """Injects a picture at a scale; outside of the mask, the result is the learnt picture."""
        if not self.ladder.top:
            raise ValueError(
                "a picture is injected above the coarsest scale, and this pyramid has no other; train one with a"
                " smaller model.min_size."
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
        walk = jax.jit(self.ladder.begin_walk)(play.networks, begin_key)
        step = jax.jit(partial(self.ladder.walk, start=start, alpha=alpha, beta=beta))
        level, film = nets.level_at(play.clock), []
        for t in range(frames):
            picture, walk = step(play.networks, level, jax.random.fold_in(key, t), walk)
            film.append(np.asarray(picture[0]))
        return Made(np.stack(film), film=True)

    def _samples(self, play: Play, num: int, image: jax.Array | None = None, **how) -> np.ndarray:
        """`Ladder.samples` of a play, compiled."""

        @jax.jit
        def make(networks, level, key, image):
            return self.ladder.samples(networks, level, key, num, image=image, **how)

        return np.asarray(make(play.networks, nets.level_at(play.clock), play.key, image))

    def _given(self, picture: np.ndarray) -> jax.Array:
        """A user's picture, [1, h, w, C]."""
        if picture.shape[-1] != self.ladder.shape[2]:
            raise ValueError(
                f"the picture 'picture' has {picture.shape[-1]} channels and the picture that was learnt"
                f" {self.ladder.shape[2]}; convert it to as many."
            )
        return jnp.asarray(picture)[None]
