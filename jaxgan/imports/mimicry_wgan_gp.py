"""WGAN-GP of kwotsin/mimicry, pictures of 32, 48, 64 and 128 pixels; see `jaxgan.imports._mimicry`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from jaxgan.imports import Imported, Tensors, _mimicry
from jaxgan.spec import Spec

ABOUT = "kwotsin/mimicry (MIT): WGAN-GP, netG and netD"


def files(names: Collection[str]) -> bool:
    conditional = "block2.b1.embed.weight" in names
    critic = _mimicry.is_critic(names, "weight")
    return critic or (_mimicry.is_generator(names) and not conditional)


def read(given: Sequence[Tensors]) -> Imported:
    file, other = _mimicry.split(given, "weight")
    generator, options, fields = _mimicry.generator(file)
    options |= _mimicry.OPTIONS
    players = {"generator": generator}
    if other is not None:
        players["critic"], more = _mimicry.critic(other, spectral=False)
        options |= more
    return Imported("wgan_gp", options, Spec(fields, 1), players)
