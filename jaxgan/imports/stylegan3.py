"""StyleGAN3 in NVIDIA's pickles: configurations T and R, with G, D and the average G_ema in one file.

The pickles hold code, which is not executed; see `jaxgan.weights.torch_modules`. Names, shapes and axes are those of
the format; the networks are the published ones (Karras et al. 2021). The filters in the file must be those that follow
from the paper's schedule, which is how this module knows that the cutoffs are the paper's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from jaxgan.imports import Imported, Leaf, Tensors, _nvidia
from jaxgan.nets import stylegan3

ABOUT = "NVlabs/stylegan3 (files .pkl): StyleGAN3 T and R with G, D and G_ema; licence of NVIDIA"
LAYER = re.compile(r"G_ema\.synthesis\.(L(\d+)_(\d+)_(\d+))\.weight")


def files(names: Collection[str]) -> bool:
    return {"G_ema.synthesis.input.freqs", "G_ema.mapping.fc0.weight"} <= set(names)


def read(given: Sequence[Tensors]) -> Imported:
    file = _nvidia.only(given)
    found = sorted((int(m[2]), m[1]) for n in file.names if (m := LAYER.fullmatch(n)))
    layers = [name for _, name in found]
    options, side, channels = _options(file, layers)
    _check_filters(file, layers, options, side, channels)
    average = _generator(file, "G_ema", layers)
    generator = average
    if "G.synthesis.input.freqs" in file:
        # What is not averaged there is here a part of the network with and without its average.
        shared = {path: leaf for path, leaf in average.items() if not path.startswith("params/")}
        generator = {**_generator(file, "G", layers), **shared}
    players = {"generator": generator}
    if f"D.b{side}.fromrgb.weight" in file:
        players["critic"], more = _nvidia.critic(file, side)
        if more.pop("critic") != "residual":
            raise ValueError(
                f"the critic in {file.where} is not residual, as that of StyleGAN3 is; give a file with such a critic."
            )
        options |= more
    _nvidia.finish(file)
    spec = _nvidia.spec(file, side, channels)
    notes = _nvidia.notes(file, f"G_ema.synthesis.{layers[0]}")
    return Imported("stylegan3", options, spec, players, {"generator": average}, notes)


def _options(file: Tensors, layers: list[str]) -> tuple[dict[str, Any], int, int]:
    """(options, side of the pictures, their channels)."""
    weights = [file.shape(f"G_ema.synthesis.{name}.weight", 4) for name in layers]
    side, channels = int(layers[-1].split("_")[1]), weights[-1][0]
    widths = [shape[0] for shape in weights[:-1]]
    rotating = weights[0][2] == 1
    wide = 2 if rotating else 1
    settings = file.settings
    options = {
        **_nvidia.options(file),
        "configuration": "R" if rotating else "T",
        "layers": len(layers) - 1,
        "critical_layers": settings.get("G_ema.synthesis.num_critical", 2),
        "margin": settings.get("G_ema.synthesis.margin_size", 10),
        "channel_base": widths[-1] * side // wide,
        "channel_max": max(widths) // wide,
    }
    return options, side, channels


def _check_filters(
    file: Tensors, layers: list[str], options: dict[str, Any], side: int, channels: int
) -> None:
    """Raises unless the filters of all layers are those of the schedule; takes them."""
    rotating = options["configuration"] == "R"
    wide = 2 if rotating else 1
    signals = stylegan3.schedule(
        side,
        options["layers"],
        options["critical_layers"],
        options["margin"],
        wide * options["channel_base"],
        wide * options["channel_max"],
        channels,
    )
    last = len(layers) - 1
    for i, (name, target) in enumerate(zip(layers, signals, strict=True)):
        source = signals[max(0, i - 1)]
        radial = rotating and i < last - options["critical_layers"]
        needed = stylegan3.filters(source, target, radial, i == last)
        for part, kernel in (("up", needed.up_kernel), ("down", needed.down_kernel)):
            filter_name = f"{name}.{part}_filter"
            held = f"G_ema.synthesis.{filter_name}"
            same = (held in file) == (kernel is not None) and (
                kernel is None
                or (
                    file.shape(held) == kernel.shape
                    and np.allclose(file.peek(held), kernel, rtol=0, atol=1e-5)
                )
            )
            if not same:
                raise ValueError(
                    f"the filter '{held}' in {file.where} is not that of configuration {options['configuration']} for"
                    f" {side} pixels; only the paper's two configurations can be imported."
                )
            file.drop(held, f"G.synthesis.{filter_name}")


def _generator(file: Tensors, name: str, layers: list[str]) -> dict[str, Leaf]:
    """The generator called `name`, with the mean of w, the frequencies and the magnitudes."""
    found = _nvidia.mapping(file, "mapping", f"{name}.mapping")
    found |= _nvidia.mean_style(file, name)
    found |= _input(file, f"{name}.synthesis.input")
    for i, layer in enumerate(layers):
        path, published = f"synthesis/layer{i}", f"{name}.synthesis.{layer}"
        found |= _nvidia.layer(file, path, published)
        found |= _nvidia.layer(file, f"{path}/style", f"{published}.affine")
        square = f"{published}.magnitude_ema"
        found[f"magnitude/{path}/mean_square"] = Leaf(file.take(square).reshape(()), square)
    return found


def _input(file: Tensors, name: str) -> dict[str, Leaf]:
    """The Fourier features."""
    if not np.array_equal(file.take(f"{name}.transform"), np.eye(3)):
        raise ValueError(
            f"the tensor '{name}.transform' in {file.where} is not the identity, so all its pictures are moved; give a"
            " file without such a transform."
        )
    path = "synthesis/input"
    style = _nvidia.layer(file, f"{path}/style", f"{name}.affine")
    mixed = _nvidia.layer(file, path, name)
    frequencies, phases = f"{name}.freqs", f"{name}.phases"
    return {
        **mixed,
        f"params/{path}/transform_kernel": style[f"params/{path}/style/kernel"],
        f"params/{path}/transform_bias": style[f"params/{path}/style/bias"],
        f"fourier/{path}/frequencies": Leaf(file.take(frequencies, 2), frequencies),
        f"fourier/{path}/phases": Leaf(file.take(phases, 1), phases),
    }
