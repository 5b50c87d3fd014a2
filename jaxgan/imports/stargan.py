"""StarGAN of yunjey/stargan (MIT): 200000-G.ckpt and 200000-D.ckpt.

The domains are taken to be attributes, as of CelebA; with data whose domains are labels, they are those. Instance
normalisation uses the statistics of each picture, as in the program, which never changes to evaluation mode; the
running averages in its files are left out. The size of the pictures is that of the critic, or else 128 pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from jaxgan.imports import Imported, Leaf, Tensors
from jaxgan.imports.tensors import networks
from jaxgan.spec import Field, Spec

ABOUT = "yunjey/stargan (MIT): G.ckpt and D.ckpt"
CHANNELS, DOWNS, SIDE = 3, 2, 128
RESIDUAL = (("main.0", "main.1"), ("main.3", "main.4"))  # convolution and normalisation, twice
REFUSAL = (
    "stargan writes each network into a file of its own: give that of the generator (...-G.ckpt) and, if you"
    " have it, that of the critic (...-D.ckpt)."
)


def files(names: Collection[str]) -> bool:
    return _is_generator(names) or _is_critic(names)


def _is_generator(names: Collection[str]) -> bool:
    return {"main.0.weight", "main.1.weight", "main.9.main.0.weight"} <= set(names)


def _is_critic(names: Collection[str]) -> bool:
    return {"main.0.bias", "conv1.weight", "conv2.weight"} <= set(names)


def read(given: Sequence[Tensors]) -> Imported:
    made, judge = networks(given, _is_generator, _is_critic, REFUSAL)
    generator, options, domains = _generator(made)
    players, side, notes = {"generator": generator}, SIDE, []
    if judge is not None:
        players["critic"], more, side = _critic(judge)
        options |= more
    else:
        notes.append(
            f"the size of the pictures is in the critic's file; they are taken to be of {SIDE} pixels"
        )
    fields = {
        "image": Field("image", (side, side, CHANNELS)),
        "attributes": Field("attributes", number=domains),
    }
    return Imported("stargan", options, Spec(fields, 1), players, notes=notes)


def _generator(file: Tensors) -> tuple[dict[str, Leaf], dict[str, Any], int]:
    """(variables, options, number of domains)."""
    width, inputs = file.shape("main.0.weight", 4)[:2]
    blocks = file.count(r"main\.(\d+)\.main\.")
    found = file.conv("first", "main.0") | _norm(file, "first_norm", "main.1")
    for i in range(DOWNS):
        at = 3 * (i + 1)
        found |= file.conv(f"down{i}", f"main.{at}")
        found |= _norm(file, f"down{i}_norm", f"main.{at + 1}")
    start = 3 * (DOWNS + 1)
    for i in range(blocks):
        for j, (conv, norm) in enumerate(RESIDUAL):
            name = f"main.{start + i}"
            found |= file.conv(f"block{i}_conv{j}", f"{name}.{conv}")
            found |= _norm(file, f"block{i}_norm{j}", f"{name}.{norm}")
    for i in range(DOWNS):
        at, name = start + blocks + 3 * i, f"up{DOWNS - 1 - i}"
        found |= file.transposed(name, f"main.{at}")
        found |= _norm(file, f"{name}_norm", f"main.{at + 1}")
    found |= file.conv("last", f"main.{start + blocks + 3 * DOWNS}")
    file.finish()
    return found, {"generator_width": width, "downs": DOWNS, "blocks": blocks}, inputs - CHANNELS


def _norm(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    """An instance normalisation."""
    file.drop(*(f"{name}.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")))
    return {
        **file.param(f"{path}/scale", f"{name}.weight"),
        **file.param(f"{path}/bias", f"{name}.bias"),
    }


def _critic(file: Tensors) -> tuple[dict[str, Leaf], dict[str, Any], int]:
    """(variables, options, side of the pictures)."""
    layers = file.count(r"main\.(\d+)\.")
    found: dict[str, Leaf] = {}
    for i in range(layers):
        found |= file.conv(f"conv{i}", f"main.{2 * i}")
    found |= file.conv("logits", "conv1")
    domain = file.take("conv2.weight", 4)  # over all pixels that remain
    kernel = domain.transpose(2, 3, 1, 0).reshape(-1, len(domain))
    found["params/domain/kernel"] = Leaf(np.ascontiguousarray(kernel), "conv2.weight")
    width = file.shape("main.0.weight")[0]
    file.finish()
    return found, {"critic_width": width, "critic_layers": layers}, domain.shape[2] << layers
