"""SNGAN of kwotsin/mimicry and its cGAN with projection discriminator; see `jaxgan.imports._mimicry`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from jaxgan.imports import Imported, Tensors, _mimicry
from jaxgan.spec import Spec

ABOUT = "kwotsin/mimicry (MIT): SNGAN and cGAN-PD, netG and netD; netG of SSGAN and InfoMax-GAN"


def files(names: Collection[str]) -> bool:
    return _mimicry.is_generator(names) or _mimicry.is_critic(names, "weight_orig")


def read(given: Sequence[Tensors]) -> Imported:
    file, other = _mimicry.split(given, "weight_orig")
    generator, options, fields = _mimicry.generator(file)
    options |= {**_mimicry.OPTIONS, "output_bias": True, "spectral_steps": 1}
    players, notes = {"generator": generator}, []
    if "label" in fields:
        options["conditional"] = True
    if other is not None:
        players["critic"], more = _mimicry.critic(other, spectral=True)
        options |= more
        notes = other.notes()
    return Imported("sngan", options, Spec(fields, 1), players, notes=notes)
