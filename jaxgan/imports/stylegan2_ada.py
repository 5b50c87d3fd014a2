"""StyleGAN2 and StyleGAN2-ADA in NVIDIA's pickles for PyTorch: G, D and the average G_ema in one file.

The pickles hold code, which is not executed; see `jaxgan.weights.torch_modules`. Names, shapes and axes are those of
the format; the networks are the published ones (Karras et al. 2020, both papers). Weights of an upsampling convolution
are stored mirrored in both axes. The minibatch standard deviation is taken to have one feature, as in all published
files.

The mean of w and the constant noise, which the program copies from G to G_ema in each step, are those of G_ema.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np

from jaxgan.imports import Imported, Leaf, Tensors, _nvidia

ABOUT = (
    "NVlabs/stylegan2-ada-pytorch (files .pkl): StyleGAN2 with G, D and G_ema; licence of NVIDIA"
)


def files(names: Collection[str]) -> bool:
    return {"G_ema.synthesis.b4.const", "G_ema.mapping.fc0.weight"} <= set(names)


def read(given: Sequence[Tensors]) -> Imported:
    file = _nvidia.only(given)
    side, widths = _widths(file, "G_ema.synthesis")
    average = _generator(file, "G_ema", side)
    raw = "G.synthesis.b4.const" in file.names
    generator = average
    if raw:
        # What is not averaged there is here a part of the network with and without its average.
        shared = {path: leaf for path, leaf in average.items() if not path.startswith("params/")}
        generator = {**_generator(file, "G", side), **shared}
    options = {
        **_nvidia.options(file),
        "channel_base": widths[side] * side,
        "channel_max": max(widths.values()),
    }
    players = {"generator": generator}
    if f"D.b{side}.fromrgb.weight" in file:
        players["critic"], more = _nvidia.critic(file, side)
        options |= more
    _nvidia.finish(file)
    spec = _nvidia.spec(file, side, file.shape(f"G_ema.synthesis.b{side}.torgb.weight")[0])
    notes = _nvidia.notes(file, f"G_ema.synthesis.b{side}.conv1")
    return Imported("stylegan2", options, spec, players, {"generator": average}, notes)


def _widths(file: Tensors, name: str) -> tuple[int, dict[int, int]]:
    """(side of the pictures, {side of feature maps: channels})."""
    if f"{name}.b8.skip.weight" in file:
        raise ValueError(
            f"the generator in {file.where} has residual blocks, and only one with skips (the usual one) can be"
            " imported; give such a file."
        )
    blocks = file.count(rf"{re.escape(name)}\.b(\d+)\.")
    sides = [4 << i for i in range(blocks)]
    return sides[-1], {s: file.shape(f"{name}.b{s}.conv1.weight", 4)[0] for s in sides}


def _generator(file: Tensors, name: str, side: int) -> dict[str, Leaf]:
    """The generator called `name`, with the mean of w and the noise."""
    found = _nvidia.mapping(file, "mapping", f"{name}.mapping")
    found |= _nvidia.mean_style(file, name)
    constant = f"{name}.synthesis.b4.const"
    pixels = np.ascontiguousarray(file.take(constant, 3).transpose(1, 2, 0))
    found["params/synthesis/constant"] = Leaf(pixels, constant)
    size = 4
    while size <= side:
        block = f"{name}.synthesis.b{size}"
        if size > 4:
            found |= _styled(file, f"synthesis/up{size}", f"{block}.conv0", mirrored=True)
        found |= _styled(file, f"synthesis/conv{size}", f"{block}.conv1")
        found |= _modulated(file, f"synthesis/picture{size}", f"{block}.torgb")
        size *= 2
    return found


def _modulated(file: Tensors, path: str, name: str, mirrored: bool = False) -> dict[str, Leaf]:
    """A modulated convolution with its style and bias."""
    kernel = _nvidia.layer(file, f"{path}/conv", name, mirrored)
    bias = kernel.pop(f"params/{path}/conv/bias")
    style = _nvidia.layer(file, f"{path}/conv/style", f"{name}.affine")
    return {**kernel, **style, f"params/{path}/bias": bias}


def _styled(file: Tensors, path: str, name: str, mirrored: bool = False) -> dict[str, Leaf]:
    """A modulated convolution with noise."""
    noise = f"{name}.noise_const"
    return {
        **_modulated(file, path, name, mirrored),
        **file.scalar(f"{path}/noise_strength", f"{name}.noise_strength"),
        f"noise/{path}/map": Leaf(file.take(noise, 2), noise),
    }
