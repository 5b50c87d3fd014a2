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
from typing import Any

import numpy as np

from jaxgan.imports import Imported, Leaf, Tensors
from jaxgan.imports.tensors import oihw
from jaxgan.spec import Field, Spec

ABOUT = (
    "NVlabs/stylegan2-ada-pytorch (files .pkl): StyleGAN2 with G, D and G_ema; licence of NVIDIA"
)


def files(names: Collection[str]) -> bool:
    return {"G_ema.synthesis.b4.const", "G_ema.mapping.fc0.weight"} <= set(names)


def read(given: Sequence[Tensors]) -> Imported:
    if len(given) != 1:
        raise ValueError("NVIDIA's programs write all networks into one file; give that alone.")
    file = given[0]
    side, widths = _widths(file, "G_ema.synthesis")
    average = _generator(file, "G_ema", side)
    raw = "G.synthesis.b4.const" in file.names
    generator = average
    if raw:
        # What is not averaged there is here a part of the network with and without its average.
        shared = {path: leaf for path, leaf in average.items() if not path.startswith("params/")}
        generator = {**_generator(file, "G", side), **shared}
    latent, styles = (file.shape(f"G_ema.mapping.fc{i}.weight") for i in (0, 1))
    classes, embedding = 0, 0
    if "G_ema.mapping.embed.weight" in file:
        embedding, classes = file.shape("G_ema.mapping.embed.weight")
    options: dict[str, Any] = {
        "latent_dim": latent[1] - embedding,
        "style_dim": styles[1],
        "mapping_layers": file.count(r"G_ema\.mapping\.fc(\d+)\."),
        "channel_base": widths[side] * side,
        "channel_max": max(widths.values()),
        "conditional": bool(classes),
    }
    players = {"generator": generator}
    if f"D.b{side}.fromrgb.weight" in file:
        players["critic"], more = _critic(file, side)
        options |= more
    file.drop(*(name for name in file.names if name.endswith(".resample_filter")))
    file.drop(*(name for name in file.names if name.startswith("augment_pipe.")))
    file.finish()
    channels = file.shape(f"G_ema.synthesis.b{side}.torgb.weight")[0]
    fields = {"image": Field("image", (side, side, channels))}
    if classes:
        fields["label"] = Field("label", number=classes)
    spec = Spec(fields, 1)
    return Imported("stylegan2", options, spec, players, {"generator": average}, _notes(file, side))


def _notes(file: Tensors, side: int) -> list[str]:
    """A sentence if the program computes in float16."""
    clamp = file.settings.get(f"G_ema.synthesis.b{side}.conv1.conv_clamp")
    if clamp is None:
        return []
    return [
        f"its program computes the layers of the largest pictures in float16 and clamps them at {clamp}; here they are"
        " float32 and not clamped"
    ]


def _widths(file: Tensors, name: str) -> tuple[int, dict[int, int]]:
    """(side of the pictures, {side of feature maps: channels})."""
    if f"{name}.b8.skip.weight" in file:
        raise ValueError(
            f"the generator in {file.where} has residual blocks, and only one with skips (the usual one) can be"
            " imported; give such a file."
        )
    blocks = file.count(rf"{re.escape(name)}\.b(\d+)\.")
    sides = [4 << i for i in range(blocks)]
    return sides[-1], {s: file.shape(f"{name}.b{s}.conv1.weight")[0] for s in sides}


def _layer(file: Tensors, path: str, name: str, mirrored: bool = False) -> dict[str, Leaf]:
    """A convolution or dense layer with `weight` and perhaps `bias`."""
    weight = f"{name}.weight"
    tensor = file.take(weight)
    kernel = oihw(tensor) if tensor.ndim == 4 else np.ascontiguousarray(tensor.T)
    if mirrored:
        kernel = np.ascontiguousarray(kernel[::-1, ::-1])
    return {f"params/{path}/kernel": Leaf(kernel, weight), **file.bias(path, name)}


def _mapping(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    found: dict[str, Leaf] = {}
    if f"{name}.embed.weight" in file:
        found |= _layer(file, f"{path}/embed", f"{name}.embed")
    for i in range(len([n for n in file.names if n.startswith(f"{name}.fc") and "weight" in n])):
        found |= _layer(file, f"{path}/dense{i}", f"{name}.fc{i}")
    return found


def _generator(file: Tensors, name: str, side: int) -> dict[str, Leaf]:
    """The generator called `name`, with the mean of w and the noise."""
    found = _mapping(file, "mapping", f"{name}.mapping")
    mean, constant = f"{name}.mapping.w_avg", f"{name}.synthesis.b4.const"
    found["average/style"] = Leaf(file.take(mean, 1), mean)
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
    kernel = _layer(file, f"{path}/conv", name, mirrored)
    bias = kernel.pop(f"params/{path}/conv/bias")
    style = _layer(file, f"{path}/conv/style", f"{name}.affine")
    return {**kernel, **style, f"params/{path}/bias": bias}


def _styled(file: Tensors, path: str, name: str, mirrored: bool = False) -> dict[str, Leaf]:
    """A modulated convolution with noise."""
    noise = f"{name}.noise_const"
    return {
        **_modulated(file, path, name, mirrored),
        **file.scalar(f"{path}/noise_strength", f"{name}.noise_strength"),
        f"noise/{path}/map": Leaf(file.take(noise, 2), noise),
    }


def _critic(file: Tensors, side: int) -> tuple[dict[str, Leaf], dict[str, Any]]:
    """(variables, options)."""
    if "D.b4.fromrgb.weight" in file:
        raise ValueError(
            f"the critic in {file.where} takes pictures of several sizes (skips), which cannot be imported; give a file"
            " whose critic is residual or plain."
        )
    found = _layer(file, "input", f"D.b{side}.fromrgb")
    size = side
    while size > 4:
        found |= _layer(file, f"conv{size}", f"D.b{size}.conv0")
        found |= _layer(file, f"down{size}", f"D.b{size}.conv1")
        if f"D.b{size}.skip.weight" in file:
            found |= _layer(file, f"skip{size}", f"D.b{size}.skip")
        size //= 2
    found |= _layer(file, "conv4", "D.b4.conv")
    dense = "D.b4.fc.weight"
    pictures = file.take(dense, 2)
    rows = pictures.reshape(len(pictures), -1, 4, 4).transpose(2, 3, 1, 0)
    found["params/dense/kernel"] = Leaf(
        np.ascontiguousarray(rows).reshape(-1, len(pictures)), dense
    )
    found |= file.bias("dense", "D.b4.fc") | _layer(file, "output", "D.b4.out")
    layers = file.count(r"D\.mapping\.fc(\d+)\.")
    if "D.mapping.embed.weight" in file:
        found |= _mapping(file, "mapping", "D.mapping")
    group = file.settings.get("D.b4.mbstd.group_size", 4)
    options = {
        "critic": "residual" if f"D.b{side}.skip.weight" in file else "plain",
        "critic_mapping_layers": layers or 8,
        "minibatch_std_group": group or 0,
    }
    return found, options
