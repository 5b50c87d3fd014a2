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
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.game import Play
from jaxgan.nets import singan as nets
from jaxgan.tools import Made, Tool, at_least

MOST_PIXELS = 16_384  # of a side: more is likely a mistake, and would exceed the memory


def pyramid_tools(ladder: nets.Ladder) -> dict[str, Tool]:
    """The tools of a game whose generators are such a ladder."""
    make, top = PyramidTools(ladder), ladder.top
    share = max(ladder.shape[:2]) / 250  # the reference's borders of masks are for 250 pixels
    injected = {"scale": max(1, top // 2), "num": 1, "noise": 1.0}
    masked = {**injected, "blur": 5 * share}
    return {
        "sample": Tool(
            make.sample,
            "random pictures of any size: height and width are factors of the learnt picture's",
            {"num": 16, "height": 1.0, "width": 1.0, "noise": 1.0},
        ),
        "super_resolution": Tool(
            make.super_resolution,
            "the learnt picture (or yours, of the same kind) enlarged, with detail from the finest scale",
            {"factor": 4.0, "noise": 1.0},
            optional_pictures=("picture",),
        ),
        "harmonisation": Tool(
            make.repaint,
            "an object pasted into the learnt picture, in its style; the mask is white where the object is",
            {**masked, "grow": round(7 * share)},
            pictures=("picture", "mask"),
        ),
        "editing": Tool(
            make.repaint,
            "the learnt picture with parts moved about, made natural; the mask is white where it was edited",
            {**masked, "grow": round(20 * share)},
            pictures=("picture",),
            optional_pictures=("mask",),
        ),
        "paint_to_image": Tool(
            make.repaint,
            "a photograph from a painting; palette=true first quantises it to the learnt picture's colours",
            {**injected, "scale": 1, "palette": False},
            pictures=("picture",),
        ),
        "animation": Tool(
            make.animation,
            "a film of the learnt picture moving: a random walk of the noise from scale `start` on",
            {"frames": 100, "start": top // 4, "alpha": 0.1, "beta": 0.9},
        ),
    }


@dataclasses.dataclass(frozen=True)
class PyramidTools:
    """How each tool makes its pictures: a method (play, **options and pictures) -> Made."""

    ladder: nets.Ladder

    def sample(self, play: Play, *, num: int, height: float, width: float, noise: float) -> Made:
        at_least(1, num=num)
        ladder = self.ladder
        size = round(height * ladder.shape[0]), round(width * ladder.shape[1])
        if not 1 <= min(size) <= max(size) <= MOST_PIXELS:
            raise ValueError(
                f"--options.height={height:g} and --options.width={width:g} make pictures of {size[0]} x {size[1]}"
                f" pixels; they are factors of the picture's own size: give some like 1.5, for at most {MOST_PIXELS:,}."
            )
        return Made(self._samples(play, num, shapes=ladder.pyramid.shapes(size), noise=noise))

    def super_resolution(self, play: Play, *, factor: float, noise: float, picture=None) -> Made:
        if factor <= 1:
            raise ValueError(f"--options.factor={factor:g} does not enlarge; give more than 1.")
        image = self.ladder.picture(play.networks) if picture is None else self._given(picture)
        if factor * max(image.shape[1:3]) > MOST_PIXELS:
            raise ValueError(
                f"--options.factor={factor:g} makes more than {MOST_PIXELS:,} pixels of a side; give less."
            )
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
        at_least(1, num=num)
        at_least(0, grow=grow)
        check_scale("scale", scale, self.ladder.top)
        size, learnt = self.ladder.shape[:2], self.ladder.picture(play.networks)
        image = nets.resize(self._given(picture), size)
        if palette:
            small = nets.resize(learnt, self.ladder.shapes[scale])[0]
            image = nets.quantise(image, nets.palette(small))
        made = self._samples(play, num, image, start=scale, noise=noise)
        if mask is not None:
            mask = nets.resize(jnp.asarray(mask)[None], size)[0]
            inside = nets.soften(jnp.mean(mask, axis=-1), grow, blur)
            made = learnt + inside[None, :, :, None] * (made - learnt)
        return Made(np.asarray(made))

    def animation(self, play: Play, *, frames: int, start: int, alpha: float, beta: float) -> Made:
        at_least(0, start=start)
        at_least(1, frames=frames)
        if start:
            check_scale("start", start, self.ladder.top)
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
                f"--pictures.picture has {picture.shape[-1]} channels and the picture that was learnt"
                f" {self.ladder.shape[2]}; convert it to as many."
            )
        return jnp.asarray(picture)[None]


def check_scale(name: str, scale: int, top: int) -> None:
    """Raises unless a picture can be injected at this scale; `name` is the option's."""
    if not 1 <= scale <= top:
        raise ValueError(
            f"--options.{name}={scale}: a picture is injected above the coarsest scale, and this pyramid has scales 0"
            f" to {top}; give another, or train with a smaller --config.model.min_size."
        )
